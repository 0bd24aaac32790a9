"""The menus of the dock, one file each. A menu shows the state of an annotator and calls its acts; it does no work."""
