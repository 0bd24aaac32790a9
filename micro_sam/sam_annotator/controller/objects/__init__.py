"""Committed objects: committing, editing, looking through them, the table, similar ones."""
