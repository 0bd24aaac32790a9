"""The napari layers of a tool: a view of its session. Nothing outside this folder touches the data of a layer."""
