"""What the user sees: layers, panels, tables, keys. Reads the state, calls actions."""
