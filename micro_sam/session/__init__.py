"""What a person did: prompts, the object at work, committed objects, lineages, undo. No Qt, no napari."""
