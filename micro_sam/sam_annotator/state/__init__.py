"""What a window shows: values that the view reads and the controller changes."""
