"""The panels of the dock, a file for each menu. A panel shows a state and calls actions; it does no work."""
