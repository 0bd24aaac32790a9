"""Dense maps of all tiles, stitched on one grid so that no seam shows.

A tile's maps have the resolution of the decoder's answers, and border tiles are magnified differently by the network.
All are brought to one working grid, coarser than or as fine as the maps, and blended with weights that fall towards
the border of what each tile sees. The working grid of an untiled image is that of its maps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from micro_sam.embeddings.tiles import Tile
from micro_sam.errors import InputError

if TYPE_CHECKING:
    from micro_sam.models.predictor import ImageFeatures, Predictor

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


def tile_maps(predictor: Predictor, image: ImageFeatures) -> torch.Tensor:
    """The maps (K, h, w) of one tile without the padding, foreground as probability; on the predictor's device."""
    model = predictor.model
    maps: torch.Tensor | None = image.dense
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


def iter_stitched(
    tiles: Sequence[Tile], shape: tuple[int, int], kind: str, maps_of: Callable[[Tile], torch.Tensor]
) -> Iterator[tuple[int, DenseMaps | None]]:
    """Stitch the maps of the tiles of an image.

    Parameters
    ----------
    tiles : sequence of Tile
        Of one grid; not necessarily all.
    shape : (H, W)
        Of the image.
    kind : "offsets" or "distances"
    maps_of : callable
        The maps (K, h, w) of a tile, see :func:`tile_maps`.

    Yields
    ------
    done : int
        Tiles.
    maps : DenseMaps or None
        With the last tile, the maps of the image.
    """
    if not tiles:
        raise InputError("No tile of this image was embedded, so there is nothing to segment.")
    side = max(max(tile.shape) for tile in tiles)
    total: np.ndarray | None = None
    weight: np.ndarray = np.zeros(0)
    for done, tile in enumerate(tiles, 1):
        maps = maps_of(tile)
        if tile.shape == shape:
            yield 1, DenseMaps(maps.cpu().numpy().astype("float16"), kind, shape)
            return
        if total is None:
            work = work_shape(shape, (maps.shape[1], maps.shape[2]), tile.shape, side)
            total, weight = np.zeros((len(maps), *work), "float32"), np.zeros(work, "float32")
        area, blend = _placement(tile, shape, total.shape[1:])
        size = tuple(s.stop - s.start for s in area)
        total[(slice(None), *area)] += resized(maps, size) * blend
        weight[area] += blend
        if done < len(tiles):
            yield done, None
    assert total is not None  # there is a tile
    total /= np.maximum(weight, 1e-6)
    yield len(tiles), DenseMaps(total.astype("float16"), kind, shape)


def placed_size(tile: Tile, shape: tuple[int, int], work: tuple[int, int]) -> tuple[int, int]:
    """Size (h, w) that the maps of a tile have in those of the image."""
    return _placement(tile, shape, work)[1].shape


def resized(maps: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    """Maps (K, h, w) of another size, on the CPU."""
    if maps.shape[1:] != size:
        maps = F.interpolate(maps[None], size, mode="bilinear", align_corners=False, antialias=True)[0]
    return maps.cpu().numpy()


def work_shape(
    shape: tuple[int, int], maps_shape: tuple[int, int], tile_shape: tuple[int, int], side: int
) -> tuple[int, int]:
    """Size of the maps of an image (H, W), from those of one of its tiles and the longest side of any tile."""
    pixel = max(maps_shape) / max(tile_shape)  # map pixels per pixel of the image
    scale = min(1.0, pixel, LARGEST_SIDE / side)
    height, width = (max(1, int(np.ceil(size * scale))) for size in shape)
    return height, width


def stitched_part(
    tiles: Sequence[Tile],
    shape: tuple[int, int],
    work: tuple[int, int],
    area: tuple[slice, slice],
    maps_of: Callable[[Tile], torch.Tensor | None],
) -> np.ndarray | None:
    """A part of the maps of an image, as :func:`iter_stitched` makes them; None when no tile has any.

    Parameters
    ----------
    tiles : sequence of Tile
        All that see something of the part.
    shape, work : (H, W), (h, w)
        Of the image, and of its maps.
    area : (slice, slice)
        The part, in pixels of the maps.
    maps_of : callable
        The maps (K, h, w) of a tile; None for tiles that are left out.

    Returns
    -------
    values : (K, h, w) float32
    """
    total: np.ndarray | None = None
    weight: np.ndarray = np.zeros(0)
    for tile in tiles:
        place, blend = _placement(tile, shape, work)
        shared = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(area, place, strict=True)]
        maps = maps_of(tile) if all(s.start < s.stop for s in shared) else None
        if maps is None:
            continue
        if total is None:
            size = tuple(s.stop - s.start for s in area)
            total, weight = np.zeros((len(maps), *size), "float32"), np.zeros(size, "float32")
        here, there = (
            tuple(slice(s.start - o.start, s.stop - o.start) for s, o in zip(shared, origin, strict=True))
            for origin in (area, place)
        )
        total[(slice(None), *here)] += resized(maps, blend.shape)[(slice(None), *there)] * blend[there]
        weight[here] += blend[there]
    return None if total is None else total / np.maximum(weight, 1e-6)


def _placement(tile: Tile, shape: Sequence[int], work: Sequence[int]) -> tuple[tuple[slice, slice], np.ndarray]:
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
