"""What happens when the user does something, one file for each matter."""
