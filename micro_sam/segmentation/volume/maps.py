"""The maps of a volume: how probable an object is in each voxel, and how deep inside of it the voxel lies.

They come from the dense head of the network, slice by slice along z, and along y and x where voxels allow it; where a
voxel was seen from several sides the mean counts. No prompt enters them, so that every prompt is a look-up.

For windows
-----------
``open_volume_maps`` gives a :class:`VolumeMaps`, which may be empty or filled from the cache; ``iter_volume_maps``
(``compute.py``) fills it, in any thread, the region in focus first. Meanwhile others may read: ``is_ready(window)``
tells whether a window is known from all sides, ``progress`` how much is done. ``segment_volume_object`` (``object.py``)
is a pure function of maps and prompts, cheap enough for every click.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from micro_sam.errors import CacheError, InputError
from micro_sam.io.label_arrays import new_labels, release
from micro_sam.segmentation.volume.geometry import CoarseGeometry, MapBlock, MapGeometry, plan_geometry
from micro_sam.segmentation.volume.maps_store import MapsOnDisc

if TYPE_CHECKING:
    from micro_sam.embeddings.embeddings import Embeddings
    from micro_sam.models.predictor import Predictor

__all__ = ["VolumeMaps", "Window", "open_volume_maps"]

T = TypeVar("T")
Window = tuple[slice, slice, slice]
IN_MEMORY = 2**29  # bytes of all directions; larger maps lie in a temporary file
KEPT = 8  # results derived from windows


class VolumeMaps:
    """Foreground and depth of a volume, growing while they are computed.

    Parameters
    ----------
    geometry : MapGeometry
    disc : MapsOnDisc, optional
        Where finished blocks are kept.

    Attributes
    ----------
    version : int
        Goes up with every block.
    """

    def __init__(self, geometry: MapGeometry, disc: MapsOnDisc | None = None) -> None:
        self.geometry, self.disc, self.version = geometry, disc, 0
        largest = IN_MEMORY // len(geometry.axes)
        self._values = {axis: new_labels((2, *geometry.work), np.uint8, largest) for axis in geometry.axes}
        self._ready = {
            axis: np.zeros((geometry.planes(axis), len(geometry.grid(axis))), bool) for axis in geometry.axes
        }
        self._derived: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self._adding = threading.Lock()  # a prompt may need a block while others are computed in the background
        for block, values in disc.read_all(geometry) if disc is not None else ():
            self._fill(block, values)
            self.release()

    @classmethod
    def from_arrays(cls, foreground: np.ndarray, depth: np.ndarray, spacing: float = 1.0) -> VolumeMaps:
        """Maps (Z, H, W) that come from elsewhere, values from 0 to 1, ``spacing`` pixels between slices."""
        depths, height, width = (int(n) for n in foreground.shape)
        shape = (depths, height, width)
        maps = cls(MapGeometry(shape, shape, (spacing, spacing), side=max(shape[1:])))
        for z in range(shape[0]):
            maps.add(MapBlock(0, z), np.stack([foreground[z], depth[z]])[:, None])
        return maps

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the volume, (Z, H, W)."""
        return self.geometry.shape

    @property
    def note(self) -> str:
        """Which directions are left out and why; empty when none is."""
        return self.geometry.note

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing."""
        return all(ready.all() for ready in self._ready.values())

    @property
    def progress(self) -> tuple[int, int]:
        """Blocks done, and of how many."""
        return sum(int(r.sum()) for r in self._ready.values()), sum(r.size for r in self._ready.values())

    def missing(self) -> list[MapBlock]:
        """The blocks that are yet to be computed."""
        return [block for block in self.geometry.blocks() if not self._ready[block.axis][block.plane, block.tile]]

    def is_ready(self, window: Window | None = None, every_direction: bool = True) -> bool:
        """Whether a window (slices z, y, x in voxels of the volume; None: all) is known.

        With ``every_direction`` False slices along z are enough.
        """
        z, y, x = self.geometry.work
        inside = self._to_work(window) if window is not None else (slice(0, z), slice(0, y), slice(0, x))
        return self.knows(inside, every_direction)

    def knows(self, window: Window, every_direction: bool = True) -> bool:
        """As :meth:`is_ready`, for a window in the grid of the maps."""
        axes = self.geometry.axes if every_direction else (0,)
        return all(bool(self._known(axis, window).all()) for axis in axes)

    def add(self, block: MapBlock, values: np.ndarray) -> None:
        """Take up a block: (2, z, y, x) floats from 0 to 1 of the size of its area; kept on disc where there is one."""
        coded = np.rint(np.clip(np.nan_to_num(values), 0, 1) * 255).astype("uint8")
        with self._adding:
            if self.disc is not None:
                self.disc.write(block, coded)
            self._fill(block, coded)
            self.release()

    def release(self) -> None:
        """Let the memory go that maps in a file take; they are read again where somebody looks."""
        release(*self._values.values())

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Foreground and depth, float32 from 0 to 1, of a window in the grid of the maps; 0 where nothing is known."""
        total = np.zeros((2, *(s.stop - s.start for s in window)), "float32")
        count = np.zeros(total.shape[1:], "float32")
        for axis in self.geometry.axes:
            known = self._known(axis, window)
            if known.all():
                total += self._values[axis][(slice(None), *window)]
                count += 1
            elif known.any():
                total += self._values[axis][(slice(None), *window)] * known
                count += known
        total /= 255 * np.maximum(count, 1)
        return total[0], total[1]

    def coarser(self, factor: int) -> VolumeMaps | CoarseMaps:
        """The same maps with so many rows and columns taken together."""
        return self if factor == 1 else self.derived(("coarser", factor), lambda: CoarseMaps(self, factor))

    def pooled(self, window: Window, factor: int) -> tuple[np.ndarray, np.ndarray]:
        """As :meth:`read`, the mean of each ``factor`` x ``factor`` voxels of a slice; the last ones may be less."""
        total: np.ndarray | None = None
        count, rest = 0.0, []
        for axis in self.geometry.axes:
            known = self._known(axis, window)
            if known.all():
                values = _pooled(self._values[axis][(slice(None), *window)], factor)
                total = values if total is None else total + values
                count += 1
            elif known.any():
                rest.append(axis)
        if rest or total is None:
            total, count = _pooled(np.stack(self.read(window)), factor), 1 / 255
        total = total / np.float32(255 * count)
        return total[0], total[1]

    def derived(self, key: tuple[Any, ...], make: Callable[[], T]) -> T:
        """What ``make()`` returns, remembered under a key as long as the maps do not grow."""
        key = (self.version, *key)
        found: T | None = self._derived.get(key)
        if found is None:
            found = self._derived[key] = make()
            while len(self._derived) > KEPT:
                self._derived.pop(next(iter(self._derived)), None)
        return found

    def _fill(self, block: MapBlock, coded: np.ndarray) -> None:
        self._values[block.axis][(slice(None), *self.geometry.area(block))] = coded
        self._ready[block.axis][block.plane, block.tile] = True  # after the values: readers ask for it first
        self.version += 1

    def _known(self, axis: int, window: Window) -> np.ndarray:
        """Which voxels of a window were seen along an axis; of a shape that broadcasts to it."""
        ready = self._ready[axis]
        along = window[axis]
        if ready.shape[1] == 1:
            shape = [1, 1, 1]
            shape[axis] = -1
            return ready[along, 0].reshape(shape)
        known = np.zeros(tuple(s.stop - s.start for s in window), bool)
        for tile in range(ready.shape[1]):
            area = list(self.geometry.area(MapBlock(axis, 0, tile)))
            area[axis] = along
            inside = tuple(
                slice(max(a.start, w.start) - w.start, max(min(a.stop, w.stop) - w.start, 0))
                for a, w in zip(area, window, strict=True)
            )
            shape = [1, 1, 1]
            shape[axis] = -1
            known[inside] = ready[along, tile].reshape(shape)
        return known

    def _to_work(self, window: Window) -> Window:
        inside = []
        for one, pixel, size in zip(window, self.geometry.pixel, self.geometry.work, strict=True):
            start = min(max(int(one.start / pixel), 0), size - 1)
            inside.append(slice(start, min(max(int(np.ceil(one.stop / pixel)), start + 1), size)))
        return inside[0], inside[1], inside[2]


class CoarseMaps:
    """What an object needs of maps, on a coarser grid; see :meth:`VolumeMaps.coarser`."""

    def __init__(self, maps: VolumeMaps, factor: int) -> None:
        self._maps, self.factor = maps, factor
        self.shape, self.geometry = maps.shape, CoarseGeometry.of(maps.geometry, factor)

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`VolumeMaps`."""
        fine = self._maps.geometry.work
        rows, columns = (
            slice(s.start * self.factor, min(s.stop * self.factor, n))
            for s, n in zip(window[1:], fine[1:], strict=True)
        )
        return self._maps.pooled((window[0], rows, columns), self.factor)


def _pooled(values: np.ndarray, factor: int) -> np.ndarray:
    """Means (c, z, y, x) float32 of ``factor`` x ``factor`` values; the border is repeated where they are less."""
    missing = [-n % factor for n in values.shape[2:]]
    if any(missing):
        values = np.pad(values, ((0, 0), (0, 0), (0, missing[0]), (0, missing[1])), "edge")
    kind = "uint16" if values.dtype == np.uint8 else "float32"
    rows: Any = sum(values[:, :, k::factor].astype(kind) for k in range(factor))
    total: Any = sum(rows[..., k::factor] for k in range(factor))
    means: np.ndarray = total.astype("float32") / np.float32(factor**2)
    return means


def open_volume_maps(predictor: Predictor, embeddings: Embeddings, scale: Iterable[float] | None = None) -> VolumeMaps:
    """The maps of a volume as far as they are kept beside its embeddings; nothing is computed.

    Parameters
    ----------
    predictor : Predictor
        Of a model with a dense head.
    embeddings : Embeddings
        Of a stack. Their image, where it is at hand, is needed for planes along y and x.
    scale : (z, y, x), optional
        Size of a voxel. None: that of maps that are kept already, else not known. See :func:`plan_geometry`.

    Raises
    ------
    InputError
        For a model without a dense head, or a 2D image.
    CacheError
        When the features come from another model.
    """
    model = predictor.model
    if getattr(model, "dense_kind", None) is None:
        raise InputError(
            f"The model {predictor.model_name} has no dense head, so there are no maps of a volume. Use "
            'method="propagation", or a model that has one, such as nano_lm.'
        )
    if embeddings.n_slices is None:
        raise InputError("These embeddings belong to a 2D image; a volume has slices.")
    theirs = embeddings.model_hash
    if theirs and predictor.model_hash and theirs != predictor.model_hash:
        raise CacheError(
            f"The embeddings come from the model {embeddings.model_name} (weights {theirs[:12]}), not from "
            f"{predictor.model_name} (weights {predictor.model_hash[:12]}). Compute them with this model first."
        )
    sizes: Sequence[float] | None = None if scale is None else [float(v) for v in scale]
    if sizes is None:
        sizes = MapsOnDisc.known_scale(embeddings, predictor)
    geometry = plan_geometry(
        (embeddings.n_slices, *embeddings.grid.shape),
        model.image_size,
        4 * model.grid_size,
        embeddings.grid,
        sizes,
        has_image=embeddings.image is not None or MapsOnDisc.exists(embeddings, predictor, sizes),
    )
    return VolumeMaps(geometry, MapsOnDisc.beside(embeddings, predictor, geometry, sizes))
