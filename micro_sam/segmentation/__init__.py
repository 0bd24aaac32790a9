"""Features and prompts in, masks and label images out. No napari, no Qt.

``files`` and ``stacks`` segment whole images, ``volume`` objects in 3D, ``propagation`` follows them through slices and
frames, ``automatic`` finds those of an image, ``prompted`` those that a user has marked. Each may import those after
it; the other modules here are what all of them share.
"""
