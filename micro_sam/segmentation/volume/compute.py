"""The work of the maps: one block after the other, the region in focus first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from micro_sam.embeddings.embeddings import Embeddings
from micro_sam.errors import InputError, NotComputedYet
from micro_sam.io.normalization import estimate_normalization, smooth, to_rgb_uint8
from micro_sam.segmentation.automatic.dense import DenseInstanceSegmenter
from micro_sam.segmentation.automatic.states import iter_initialize_kept
from micro_sam.segmentation.volume.geometry import MapBlock
from micro_sam.segmentation.volume.maps import VolumeMaps, Window

if TYPE_CHECKING:
    from micro_sam.models.predictor import Predictor

__all__ = ["Focus", "compute_volume_maps", "iter_volume_maps"]

Focus = Callable[[], tuple[float, float, float] | None]
SLAB = 64 * 2**20  # bytes of a lazy image that are read at once, for planes that lie across its chunks
NEARBY = 8.0  # pixels: blocks whose distances to the focus differ by less are alike, and the cheapest comes first


def iter_volume_maps(
    predictor: Predictor,
    embeddings: Embeddings,
    maps: VolumeMaps,
    *,
    focus: Focus | None = None,
    image: Any = None,
    window: Window | None = None,
    blocks: Iterable[MapBlock] | None = None,
) -> Iterator[MapBlock]:
    """Compute what is missing of the maps; every block is yielded when others can read it.

    Closing the generator cancels; what was yielded stays.

    Parameters
    ----------
    predictor : Predictor
    embeddings : Embeddings
        Slices along z take their features; those that are not embedded yet are left out at first and waited for by
        whoever calls again.
    maps : VolumeMaps
        From :func:`open_volume_maps`.
    focus : callable, optional
        Tells the place (z, y, x) in voxels that the user is looking at, or None; asked before every block.
    image : array, optional
        (Z, H, W[, C]), for planes along y and x; None: that of the embeddings.
    window : three slices, optional
        In the grid of the maps: only blocks that meet it are computed.
    blocks : iterable of MapBlock, optional
        Only these are computed: the share of this process, where others work on the same maps.

    Raises
    ------
    NotComputedYet
        At the end, when slices were left out because they are not embedded yet.
    InputError
        When planes along y or x are missing and the image is not at hand.
    """
    missing = [block for block in maps.missing() if window is None or _meets(maps.geometry.area(block), window)]
    if blocks is not None:
        share = set(blocks)
        missing = [block for block in missing if block in share]
    if not missing:
        return
    image = image if image is not None else embeddings.image
    if image is None and any(block.axis for block in missing):
        raise InputError(
            "The maps along y and x need the image, and only its features are at hand: give the image (volume=...)."
        )
    reader = _PlaneReader(image, embeddings, maps)
    postponed, waiting = 0, _Waiting(missing, maps)
    while waiting:
        block = waiting.take(focus() if focus is not None else None)
        if block.axis == 0:
            if not embeddings.is_complete(block.plane):
                postponed += 1
                continue
            values = _slice_maps(predictor, embeddings, block.plane)
        else:
            values = _plane_maps(predictor, reader, block, maps)
        maps.add(block, _fitted(values, maps, block))
        yield block
    if postponed:
        raise NotComputedYet(f"{postponed} slices have no maps yet: their embeddings are not computed.")


def compute_volume_maps(
    predictor: Predictor, embeddings: Embeddings, maps: VolumeMaps, image: Any = None, verbose: bool = False
) -> VolumeMaps:
    """Drive :func:`iter_volume_maps` to the end, with a progress bar if ``verbose``, and return the maps."""
    steps, total = iter_volume_maps(predictor, embeddings, maps, image=image), len(maps.missing())
    for _ in tqdm(steps, total=total, desc="Compute maps", unit="plane", disable=not (verbose and total)):
        pass
    return maps


class _Waiting:
    """The blocks that are yet to be computed; the next one is found in one pass over arrays, however many there are."""

    def __init__(self, blocks: list[MapBlock], maps: VolumeMaps) -> None:
        self._blocks, self._geometry = blocks, maps.geometry
        areas = [maps.geometry.area(block) for block in blocks]
        self._low = np.array([[s.start for s in area] for area in areas], float).reshape(-1, 3)
        self._high = np.array([[s.stop - 1 for s in area] for area in areas], float).reshape(-1, 3)
        self._order = np.array([(block.axis, block.plane, block.tile) for block in blocks]).reshape(-1, 3)
        self._left = np.ones(len(blocks), bool)

    def __len__(self) -> int:
        return int(self._left.sum())

    def take(self, place: tuple[float, float, float] | None) -> MapBlock:
        """The block nearest to a place (z, y, x) in voxels, or the first; it waits no longer."""
        left = np.flatnonzero(self._left)
        keys = list(self._order[left].T[::-1])
        if place is not None:
            centre = self._geometry.to_work(place)
            beyond = np.maximum(self._low[left] - centre, centre - self._high[left]) * self._geometry.spacing
            far = np.maximum(beyond.max(1), 0)
            keys = [*keys[:2], far, keys[2], far // NEARBY]
        first = int(left[np.lexsort(keys)[0]])
        self._left[first] = False
        return self._blocks[first]


def _meets(area: Window, window: Window) -> bool:
    return all(a.start < w.stop and w.start < a.stop for a, w in zip(area, window, strict=True))


def _slice_maps(predictor: Predictor, embeddings: Embeddings, z: int) -> torch.Tensor:
    """Foreground and depth (2, h, w) of a slice, from its features; kept with the slice's other states."""
    tiles = range(len(embeddings.grid))
    if all(embeddings.store.is_skipped(z, tile) for tile in tiles):
        return torch.zeros(2, 1, 1)
    segmenter = DenseInstanceSegmenter(predictor)
    for _ in iter_initialize_kept(segmenter, embeddings, z):
        pass
    return _foreground_and_depth(torch.from_numpy(segmenter.maps.values.astype("float32")), segmenter.maps.kind)


def _plane_maps(predictor: Predictor, reader: _PlaneReader, block: MapBlock, maps: VolumeMaps) -> torch.Tensor:
    """Foreground and depth (2, h, w) of the inner area of a block along y or x."""
    tile = maps.geometry.grid(block.axis)[block.tile]
    pixels = reader.read(block)
    dense = predictor.encode_dense(pixels).cpu()
    kind = predictor.model.dense_kind
    assert kind is not None  # a model without maps is refused before
    if kind == "offsets":
        dense[0] = dense[0].sigmoid()
    found = _foreground_and_depth(dense, kind)
    inside = []
    for inner, outer, size in zip(tile.inner, tile.outer, found.shape[1:], strict=True):
        scale = size / (outer.stop - outer.start)
        begin = round((inner.start - outer.start) * scale)
        inside.append(slice(begin, max(begin + 1, round((inner.stop - outer.start) * scale))))
    return found[(slice(None), *inside)]


def _foreground_and_depth(values: torch.Tensor, kind: str) -> torch.Tensor:
    depth = values[1] if kind == "offsets" else 1 - values[2]
    return torch.stack([values[0], depth])


def _fitted(values: torch.Tensor, maps: VolumeMaps, block: MapBlock) -> np.ndarray:
    """Maps (2, h, w) of a plane at the size of the block's area, (2, z, y, x)."""
    area = maps.geometry.area(block)
    size = [s.stop - s.start for axis, s in enumerate(area) if axis != block.axis]
    fitted = F.interpolate(values[None].float(), size, mode="bilinear", align_corners=False, antialias=True)[0]
    return fitted.numpy().reshape(2, *(s.stop - s.start for s in area))


class _PlaneReader:
    """Planes along y and x as the network sees them; of lazy images, several are read at once."""

    def __init__(self, image: Any, embeddings: Embeddings, maps: VolumeMaps) -> None:
        self._image, self._geometry = image, maps.geometry
        normalization = embeddings.store.normalization
        if normalization is None and image is not None:
            normalization = estimate_normalization(image, 3)
        self._normalization = normalization
        self._slab: tuple[tuple[int, int, int], np.ndarray] | None = None

    def read(self, block: MapBlock) -> np.ndarray:
        """The outer area of a block, (h, w, 3) uint8."""
        geometry, axis = self._geometry, block.axis
        step = geometry.pixel[axis]
        start, stop = int(block.plane * step), max(int(block.plane * step) + 1, int((block.plane + 1) * step))
        plane = self._planes(axis, start, stop)
        if plane.shape[axis] > 1:
            plane = plane.mean(axis, dtype="float32")  # as the slices are made smaller for the network
        else:
            plane = plane.take(0, axis)
        outer = geometry.grid(axis)[block.tile].outer
        plane = _stretched(plane[:, outer[1]], geometry.grid(axis).shape[0])
        normalization = self._normalization
        assert normalization is not None  # planes are read of an image
        if normalization.smoothing:
            plane = smooth(plane, normalization)
        return to_rgb_uint8(plane[outer[0]], normalization)

    def _planes(self, axis: int, start: int, stop: int) -> np.ndarray:
        image = self._image
        if isinstance(image, np.ndarray):
            return image[:, start:stop] if axis == 1 else image[:, :, start:stop]
        if self._slab is None or self._slab[0][0] != axis or not self._slab[0][1] <= start < stop <= self._slab[0][2]:
            one = int(np.prod(image.shape, dtype=float)) // image.shape[axis] * np.dtype(image.dtype).itemsize
            first = start // max(1, SLAB // one) * max(1, SLAB // one)
            last = min(max(stop, first + max(1, SLAB // one)), image.shape[axis])
            data = np.asarray(image[:, first:last] if axis == 1 else image[:, :, first:last])
            self._slab = ((axis, first, last), data)
        (_, first, _), data = self._slab
        inside = slice(start - first, stop - first)
        return data[:, inside] if axis == 1 else data[:, :, inside]


def _stretched(plane: np.ndarray, rows: int) -> np.ndarray:
    """A plane (Z, W[, C]) with its slices interpolated to so many rows."""
    if len(plane) == rows:
        return plane
    position = np.clip((np.arange(rows) + 0.5) * len(plane) / rows - 0.5, 0, len(plane) - 1)
    low = np.floor(position).astype(int)
    weight = (position - low).astype("float32").reshape(-1, *(1,) * (plane.ndim - 1))
    values = plane.astype("float32")
    stretched: np.ndarray = values[low] * (1 - weight) + values[np.minimum(low + 1, len(plane) - 1)] * weight
    return stretched
