"""What happens when the user does something: a file for each matter, a folder for what belongs together."""
