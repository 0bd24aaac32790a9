"""The panels of the dock, one file each. A panel shows a state and calls actions; it does no work."""
