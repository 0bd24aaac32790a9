"""Dense maps of all tiles, stitched on one grid so that no seam shows.

A tile's maps have the resolution of the decoder's answers, and border tiles are magnified differently by the network.
All are brought to one working grid, coarser than or as fine as the maps, and blended with weights that fall towards
the border of what each tile sees. The working grid of an untiled image is that of its maps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from micro_sam.errors import InputError

LARGEST_SIDE = 512  # of a tile in the working grid: finer maps add time and memory, not objects


@dataclass(frozen=True)
class DenseMaps:
    """What a dense head says about an image.

    Parameters
    ----------
    values : (K, h, w) float16
        "offsets" (nano): foreground probability, distance to the boundary (0 there, 1 in the middle), offset to the
        centre (y, x) in object radii. "distances" (decoders of models fine-tuned for microscopy): foreground
        probability, distance to the centre (0 there, 1 far away), closeness of the boundary (1 there, 0 in the middle).
    kind : "offsets" or "distances"
    shape : (H, W)
        Of the image, which the maps cover exactly.
    """

    values: np.ndarray
    kind: str
    shape: tuple[int, int]


def tile_maps(predictor, image) -> torch.Tensor:
    """The maps (K, h, w) of one tile without the padding, foreground as probability; on the predictor's device."""
    model = predictor.model
    maps = image.dense
    if maps is None:
        with torch.no_grad():
            maps = model.dense_from_features(image.features.to(predictor.device))[0]
    maps = maps.float().to(predictor.device)
    ratio = maps.shape[-1] / model.image_size
    height, width = (max(1, int(round(size * ratio))) for size in image.input_size)
    maps = maps[:, :height, :width].clone()
    if model.dense_kind == "offsets":
        maps[0] = maps[0].sigmoid()
    return maps


def iter_stitched(predictor, embeddings, i: int | None) -> Iterator[tuple[int, int, DenseMaps | None]]:
    """Stitch the maps of a slice; yields (done, total, None), and the maps with the last."""
    grid, kind = embeddings.grid, predictor.model.dense_kind
    tiles = [tile for tile in grid if not embeddings.store.is_skipped(i, tile.index)]
    if len(grid) == 1:
        maps = tile_maps(predictor, embeddings.load(i, 0, device=predictor.device))
        yield 1, 1, DenseMaps(maps.cpu().numpy().astype("float16"), kind, grid.shape)
        return
    side = max(max(s.stop - s.start for s in tile.outer) for tile in grid)
    total = weight = None
    for done, tile in enumerate(tiles, 1):
        maps = tile_maps(predictor, embeddings.load(i, tile.index, device=predictor.device))
        if total is None:
            pixel = max(maps.shape[1:]) / max(tile.shape)  # map pixels per pixel of the image
            scale = min(1.0, pixel, LARGEST_SIDE / side)
            work = tuple(max(1, int(np.ceil(size * scale))) for size in grid.shape)
            total, weight = np.zeros((len(maps), *work), "float32"), np.zeros(work, "float32")
        area, blend = _placement(tile, grid.shape, total.shape[1:])
        size = tuple(s.stop - s.start for s in area)
        resized = F.interpolate(maps[None], size, mode="bilinear", align_corners=False, antialias=True)
        total[(slice(None), *area)] += resized[0].cpu().numpy() * blend
        weight[area] += blend
        if done < len(tiles):
            yield done, len(tiles), None
    if total is None:
        raise InputError("No tile of this image was embedded, so there is nothing to segment.")
    total /= np.maximum(weight, 1e-6)
    yield len(tiles), len(tiles), DenseMaps(total.astype("float16"), kind, grid.shape)


def _placement(tile, shape, work) -> tuple[tuple[slice, slice], np.ndarray]:
    """Where a tile lies in the working grid, and its weight there: 1 in the middle, falling in the halo."""
    area, ramps = [], []
    for outer, inner, size, length in zip(tile.outer, tile.inner, shape, work, strict=True):
        scale = length / size
        begin, end = round(outer.start * scale), max(round(outer.stop * scale), round(outer.start * scale) + 1)
        position = (np.arange(begin, end) + 0.5) / scale
        ramp = np.ones(end - begin)
        # The ramp is as wide as both sides of the border together, so that neighbours sum up smoothly.
        for distance, halo in (
            (position - outer.start, inner.start - outer.start),
            (outer.stop - position, outer.stop - inner.stop),
        ):
            if halo > 0:
                ramp = np.minimum(ramp, np.clip(distance / (2 * halo), 1e-3, 1))
        area.append(slice(begin, end))
        ramps.append(ramp)
    return (area[0], area[1]), np.outer(*ramps).astype("float32")
