"""What the user can do with a session, one file per kind of action. Every action is one step of undo."""
