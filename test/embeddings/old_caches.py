"""Caches of micro_sam 1.x, written by hand."""

import hashlib

import zarr

from micro_sam.embeddings.tiles import TileGrid
from micro_sam.models.sizes import resized_size


def write_old_cache(path, image, tiled=False, leave_out=None, **attributes):
    """A cache as micro_sam 1.x wrote it: no completeness, the image known by the sha1 of its bytes."""
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    stack = image.ndim == 3
    shape, chunks = (1, 4, 8, 8), (1, 4, 8, 8)
    if stack:
        shape, chunks = (len(image), *shape), (1, *chunks)
    sizes = {"original_size": list(image.shape[-2:]), "input_size": [46, 64]}
    if tiled:
        features = group.create_group("features")
        features.attrs.update({"shape": list(image.shape[-2:]), "tile_shape": [32, 32], "halo": [4, 4]})
        for tile in range(4):
            if tile != leave_out:
                array = features.create_array(str(tile), shape=shape, chunks=chunks, dtype="float32")
                array[:] = tile + 1
                outer = TileGrid(image.shape[-2:], (32, 32), (4, 4))[tile].shape
                array.attrs.update(original_size=list(outer), input_size=list(resized_size(outer, 64)))
    else:
        array = group.create_array("features", shape=shape, chunks=chunks, dtype="float32")
        for i in range(len(image)) if stack else [None]:
            if i is None or i != leave_out:
                array[... if i is None else i] = 1 + (i or 0)
        group.attrs.update(sizes)
    signature = hashlib.sha1(image.tobytes()).hexdigest()
    group.attrs.update(
        {
            "data_signature": signature,
            "tile_shape": [32, 32] if tiled else None,
            "halo": [4, 4] if tiled else None,
            "model_type": "vit_b",
            "model_name": "fake",
            "model_hash": "0123456789abcdef",
            "micro_sam_version": "1.8.0",
            **attributes,
        }
    )
    return path
