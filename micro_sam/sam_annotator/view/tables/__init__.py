"""The table of objects or tracks: the Qt model of it, and the panel."""
