"""What the user did: prompts, the current object, committed objects, lineages, undo. No Qt, no napari."""
