"""Run-length encoded masks in the format of COCO (column by column), written from the object's box alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.segmentation.values import ObjectMask


def rle_from_object(mask: ObjectMask, shape: tuple[int, int]) -> dict[str, Any]:
    """A mask as ``{"size": [H, W], "counts": [...]}``: lengths of runs of 0 and 1 in turn, beginning with 0."""
    columns, rows = np.nonzero(mask.mask.T)
    position = (columns + mask.box[1]) * shape[0] + rows + mask.box[0]
    total = shape[0] * shape[1]
    if len(position) == 0:
        return {"size": list(shape), "counts": [total]}
    breaks = np.flatnonzero(np.diff(position) != 1)
    starts = position[np.concatenate([[0], breaks + 1])]
    ends = position[np.concatenate([breaks, [len(position) - 1]])] + 1
    edges = np.concatenate([[0], np.stack([starts, ends], 1).ravel(), [total]])
    counts = np.diff(edges).tolist()
    return {"size": list(shape), "counts": counts[:-1] if counts[-1] == 0 else counts}


def compress_rle(rle: dict[str, Any]) -> dict[str, Any]:
    """The counts as string, as ``pycocotools`` writes it: differences in base 32, low digits first."""
    counts, out = rle["counts"], []
    for k, count in enumerate(counts):
        value = int(count - counts[k - 2] if k > 2 else count)
        more = True
        while more:
            digit = value & 0x1F
            value >>= 5
            more = value != -1 if digit & 0x10 else value != 0
            out.append(chr((digit | 0x20 if more else digit) + 48))
    return {"size": list(rle["size"]), "counts": "".join(out)}


def decompress_rle(rle: dict[str, Any]) -> dict[str, Any]:
    """The inverse of :func:`compress_rle`."""
    counts: list[int] = []
    text = rle["counts"] if isinstance(rle["counts"], str) else rle["counts"].decode("ascii")
    value = shift = 0
    for character in text:
        digit = ord(character) - 48
        value |= (digit & 0x1F) << shift
        shift += 5
        if digit & 0x20:
            continue
        if digit & 0x10:
            value |= -1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    return {"size": list(rle["size"]), "counts": counts}


def mask_from_rle(rle: dict[str, Any]) -> np.ndarray:
    """An encoded mask, compressed or not, as bool array (H, W)."""
    if not isinstance(rle["counts"], (list, tuple, np.ndarray)):
        rle = decompress_rle(rle)
    height, width = rle["size"]
    counts = np.asarray(rle["counts"], "int64")
    if counts.sum() != height * width:
        raise InputError(f"The run-length encoded mask does not fill its size of {height} x {width} pixels.")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(width, height).T
