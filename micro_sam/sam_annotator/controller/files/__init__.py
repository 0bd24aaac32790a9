"""What is opened, recorded and saved."""
