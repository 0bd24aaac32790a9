"""Dense maps of an image at the scale that suits its objects.

An object of 15 pixels is two feature positions wide for a network with stride 8, and touching ones become one; an
object that fills much of a tile is seen without its surroundings and falls to pieces. A model whose encoder is cheap
enough looks at a 2D image again in smaller, enlarged tiles, or in larger ones, as long as that helps.

Whether it helps, the maps tell themselves: every pixel says where the centre of its object lies, and at a wrong scale
that disagrees with the objects that the same maps show. See ``docs/decisions/scale_of_automatic_segmentation.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import maximum_filter

from micro_sam.embeddings.close_ups import can_look_closer
from micro_sam.embeddings.compute import network_image
from micro_sam.embeddings.tiles import TileGrid
from micro_sam.segmentation.automatic.dense_maps import DenseMaps, iter_stitched, tile_maps

if TYPE_CHECKING:
    import torch

    from micro_sam.embeddings.embeddings import Embeddings
    from micro_sam.embeddings.tiles import Tile
    from micro_sam.models.predictor import Predictor

ENLARGED = 1.5  # times, from one look to the next closer one
REDUCED = 2.0  # times, from the tiles of the image to what is seen from farther off
HALO = 0.125  # of the side of what the network sees
MOST_TILES = 128  # of one look; that is more than an image or a block of 16 tiles needs
EMPTY = 0.1  # foreground below which a tile of a large image is not looked at closer: nothing is there

# Diameters (median) are in pixels of the network's input, disagreements in radii of the objects.
LOOK_CLOSER = (40.0, 28.0)  # where objects are smaller: a first, and a second time
LOOK_ANYWAY = 0.45  # disagreement above which the diameter is not believed: a first closer look
TAKE_CLOSER = 45.0  # a closer look is taken when it shows smaller objects
WORSE = 1.2  # and when its disagreement is at most so many times as large
LOOK_FARTHER = 0.45  # disagreement above which tiles are looked at from farther off
TAKE_FARTHER = 24.0  # which is taken when it shows larger objects, and disagrees less

Area = tuple[slice, slice]
Objects = Callable[[DenseMaps], np.ndarray]


@dataclass(frozen=True)
class Look:
    """Maps of an image, and how well they suit.

    Attributes
    ----------
    maps : DenseMaps
    scale : float
        Pixels of the network's input per pixel of the image.
    diameter : float
        Median of the objects in pixels of the network's input; NaN without objects.
    disagreement : float
        Mean distance between the centre that a pixel tells and that of its object, in radii; infinite without objects.
    """

    maps: DenseMaps
    scale: float
    diameter: float
    disagreement: float

    @classmethod
    def of(cls, maps: DenseMaps, scale: float, objects: Objects) -> Look:
        """``objects`` labels the objects of maps (h, w)."""
        labels = objects(maps)
        areas = np.bincount(labels.ravel())[1:]
        areas = areas[areas > 0]
        if not len(areas):
            return cls(maps, scale, float("nan"), float("inf"))
        pixel = scale * max(maps.shape) / max(labels.shape)
        diameter = float(np.median(2 * np.sqrt(areas / np.pi))) * pixel
        return cls(maps, scale, diameter, disagreement(maps, labels))


def iter_best_scale(
    predictor: Predictor,
    embeddings: Embeddings,
    i: int | None,
    maps: DenseMaps,
    objects: Objects,
    part: Area | None = None,
    look_closer: bool = False,
) -> Iterator[tuple[int, int, DenseMaps | None]]:
    """Look again, closer or from farther off; yields (tiles done, tiles at most, None), at last with the maps to use.

    Where there is nothing to look at again (stacks, models with a dear encoder, without the image), the maps come back
    at once. A part of a large image is looked at closer as a sample of it tells: the tile with most objects.

    Parameters
    ----------
    predictor : Predictor
    embeddings : Embeddings
    i : int or None
        Slice; None for a 2D image.
    maps : DenseMaps
        From the embeddings.
    objects : callable
        Labels (h, w) of the objects that maps show.
    part : (slice, slice), optional
        The maps are of this part of a large image, which is looked at again on its own.
    look_closer : bool
        Whether such a part is looked at closer where its objects are small, too, and not only where its maps
        contradict themselves.
    """
    farther, closer = looks(predictor, embeddings, i, part)
    done, total = 0, sum(len(grid) for grid in (*farther, *closer))
    if not total:
        yield 0, 0, maps
        return
    scale, origin = (
        network_scale(predictor, embeddings.grid),
        (0, 0) if part is None else (part[0].start, part[1].start),
    )
    measure = Look.of if part is None else _sampler(maps)
    first = best = measure(maps, scale, objects)
    for grid in farther if best.disagreement > LOOK_FARTHER else ():
        seen = yield from _iter_encoded(predictor, embeddings, grid, done, total, origin)
        done += len(grid)
        look = measure(seen, network_scale(predictor, grid), objects)
        if look.disagreement >= best.disagreement or not look.diameter > TAKE_FARTHER:
            break
        best = look
    if best is first and part is None:
        best, _ = yield from _iter_closer(predictor, embeddings, best, closer, objects, (done, total), origin)
    elif best is first and closer:
        area = _most_objects(maps, embeddings.grid.tile_shape)
        rows, columns = (slice(s.start + o, s.stop + o) for s, o in zip(area, origin, strict=True))
        sample = Look.of(_cropped(maps, area), scale, objects)
        grids = looks(predictor, embeddings, i, (rows, columns))[1]
        taken = 0
        if look_closer or sample.disagreement > LOOK_ANYWAY:
            start = rows.start, columns.start
            _, taken = yield from _iter_closer(predictor, embeddings, sample, grids, objects, (done, total), start)
        if taken:
            grid = closer[taken - 1]
            seen = yield from _iter_encoded(predictor, embeddings, grid, done, total, origin, maps)
            best = Look(seen, network_scale(predictor, grid), best.diameter, best.disagreement)
    yield total, total, best.maps


def _iter_closer(
    predictor: Predictor,
    embeddings: Embeddings,
    best: Look,
    grids: list[TileGrid],
    objects: Objects,
    steps: tuple[int, int],
    origin: tuple[int, int],
) -> Generator[tuple[int, int, None], None, tuple[Look, int]]:
    """Look closer and closer as long as it helps; returns the best look, and how many were taken."""
    (done, total), taken = steps, 0
    for n, grid in enumerate(grids):
        if not (best.diameter <= LOOK_CLOSER[n] or (n == 0 and best.disagreement > LOOK_ANYWAY)):
            break
        seen = yield from _iter_encoded(predictor, embeddings, grid, done, total, origin)
        done += len(grid)
        look = Look.of(seen, network_scale(predictor, grid), objects)
        if look.disagreement > WORSE * best.disagreement or look.diameter > TAKE_CLOSER:
            break
        best, taken = look, n + 1
    return best, taken


def _most_objects(maps: DenseMaps, tile_shape: tuple[int, int] | None) -> Area:
    """The tile (slices of the image or part) in which maps show the most middles of objects."""
    foreground, depth = maps.values[:2].astype("float32")
    middles = (maximum_filter(depth, 5) == depth) & (depth > 0.5) & (foreground > 0.5)
    seen = DenseMaps(middles[None], maps.kind, maps.shape)
    height, width = tile_shape or maps.shape
    tiles = TileGrid(maps.shape, (min(height, maps.shape[0]), min(width, maps.shape[1])), (0, 0))
    return max((tile.inner for tile in tiles), key=lambda area: np.count_nonzero(_cropped(seen, area).values))


def _cropped(maps: DenseMaps, area: Area) -> DenseMaps:
    """The maps of a part."""
    inside = []
    for side, size, length in zip(area, maps.shape, maps.values.shape[1:], strict=True):
        begin = min(round(side.start * length / size), length - 1)
        inside.append(slice(begin, max(round(side.stop * length / size), begin + 1)))
    shape = (area[0].stop - area[0].start, area[1].stop - area[1].start)
    return DenseMaps(maps.values[(slice(None), *inside)], maps.kind, shape)


def _sampler(maps: DenseMaps) -> Callable[[DenseMaps, float, Objects], Look]:
    """As ``Look.of``, but from the quarter of an area that shows the most foreground: to find all objects is dear."""

    def quarter(values: np.ndarray, row: int, column: int) -> np.ndarray:
        y, x = (max(size // 2, 1) for size in values.shape[-2:])
        return values[..., y * row : y * (row + 1), x * column : x * (column + 1)]

    places = [(row, column) for row in (0, 1) for column in (0, 1)]
    best = max(places, key=lambda place: quarter(maps.values[0], *place).sum(dtype="float32"))

    def look(seen: DenseMaps, scale: float, objects: Objects) -> Look:
        shape = (max(seen.shape[0] // 2, 1), max(seen.shape[1] // 2, 1))
        return replace(Look.of(DenseMaps(quarter(seen.values, *best), seen.kind, shape), scale, objects), maps=seen)

    return look


def looks(
    predictor: Predictor, embeddings: Embeddings, i: int | None, part: Area | None = None
) -> tuple[list[TileGrid], list[TileGrid]]:
    """What can be looked at again (of a part of the image): from farther and farther off, and closer and closer."""
    grid = embeddings.grid
    if part is not None:
        shape = (part[0].stop - part[0].start, part[1].stop - part[1].start)
        height, width = grid.tile_shape or grid.shape
        grid = TileGrid(shape, (min(height, shape[0]), min(width, shape[1])), grid.halo)
    if i is not None or not can_look_closer(predictor, embeddings) or predictor.model.dense_kind != "offsets":
        return [], []
    scale, whole = network_scale(predictor, grid), predictor.model.image_size / max(grid.shape)
    farther = []
    while len(grid) > 1 and scale > 1.05 * whole:
        scale = scale / REDUCED
        farther.append(TileGrid(grid.shape) if scale < 1.25 * whole else _grid(predictor, grid.shape, scale))
        scale = max(scale, whole)
    scale = network_scale(predictor, embeddings.grid)  # of any part the same
    closer = [_grid(predictor, grid.shape, scale * ENLARGED ** (n + 1)) for n in range(len(LOOK_CLOSER))]
    return [g for g in farther if g and len(g) <= MOST_TILES], [g for g in closer if g and len(g) <= MOST_TILES]


def _grid(predictor: Predictor, shape: tuple[int, int], scale: float) -> TileGrid | None:
    """Tiles that the network sees at ``scale``; None where they would be too small."""
    seen = predictor.model.image_size / scale
    halo, inner = round(HALO * seen), round((1 - 2 * HALO) * seen)
    return TileGrid(shape, (inner, inner), (halo, halo)) if inner >= 32 else None


def _iter_encoded(
    predictor: Predictor,
    embeddings: Embeddings,
    grid: TileGrid,
    before: int,
    total: int,
    origin: tuple[int, int] = (0, 0),
    known: DenseMaps | None = None,
) -> Generator[tuple[int, int, None], None, DenseMaps]:
    """Encode the tiles of a grid; yields as :func:`iter_best_scale`, returns the maps of the image.

    Tiles where ``known`` maps show no foreground are left out, and stay empty.
    """

    def encode(tile: Tile) -> torch.Tensor:
        (rows, columns), (y, x) = tile.outer, origin
        area = slice(rows.start + y, rows.stop + y), slice(columns.start + x, columns.stop + x)
        pixels = network_image(embeddings.image, None, area, embeddings.store)
        return tile_maps(predictor, predictor.encode(pixels))

    kind, maps = predictor.model.dense_kind, None
    assert kind is not None
    tiles = list(grid)
    if known is not None:
        tiles = [tile for tile in tiles if _cropped(known, tile.outer).values[0].max() > EMPTY]
    for done, maps in iter_stitched(tiles, grid.shape, kind, encode):  # noqa: B007
        yield before + done, total, None
    assert maps is not None  # with the last tile come the maps of the image
    return maps


def disagreement(maps: DenseMaps, labels: np.ndarray) -> float:
    """Mean distance between the centre that pixels of "offsets" maps tell and that of their object, in its radii.

    Parameters
    ----------
    maps : DenseMaps
    labels : (h, w) integer
        Objects at the resolution of the maps; one at least.
    """
    inside = labels > 0
    y, x = np.nonzero(inside)
    ids, offsets = labels[inside], maps.values[2:4, inside].astype("float32")
    counts = np.maximum(np.bincount(ids), 1)
    radius = np.sqrt(counts / np.pi)[ids]
    dy = np.bincount(ids, y)[ids] / counts[ids] - y
    dx = np.bincount(ids, x)[ids] / counts[ids] - x
    return float(np.hypot(offsets[0] - dy / radius, offsets[1] - dx / radius).mean())


def network_scale(predictor: Predictor, grid: TileGrid) -> float:
    """Pixels of the network's input per pixel of the image."""
    return predictor.model.image_size / max(max(tile.shape) for tile in grid)
