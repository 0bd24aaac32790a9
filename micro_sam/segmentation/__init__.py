"""Features and prompts in, masks and label images out. No napari, no Qt."""
