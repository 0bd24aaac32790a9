"""The maps of a volume beside its embeddings: ``<cache>/state/volume/<key>``.

Layout (zarr, format 2)::

    attributes        about: model, normalisation, voxel size, grid and directions; the key is the hash of it
    <axis>_<tile>     uint8 (planes, 2, y, x), one chunk per plane: foreground and depth, 255 is 1
    checksum_<axis>   uint64 (planes, tiles), one chunk per block: 0 missing, otherwise the hash of the block's bytes,
                      written after them

Whoever comes with another model, normalisation or voxel size finds nothing under its own key. A block whose bytes do
not have their hash (a killed process, a copy in progress) counts as missing. Programs that know nothing of this group
are not disturbed by it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xxhash
import zarr

from micro_sam.embeddings.embeddings import Embeddings
from micro_sam.embeddings.plain_files import describe_array
from micro_sam.embeddings.zarr_layout import ZARR_FORMAT, array_in
from micro_sam.segmentation.volume.geometry import AXES, MapBlock, MapGeometry

if TYPE_CHECKING:
    from micro_sam.models.predictor import Predictor

logger = logging.getLogger(__name__)

FORMAT = 1
FOLDER = "state/volume"


class MapsOnDisc:
    """Reads and writes the blocks of one set of maps. Nothing is made before the first block is written.

    Parameters
    ----------
    path : Path
        Of the cache.
    about : dict
        What the maps depend on.
    geometry : MapGeometry
    writable : bool
        Whether blocks are kept.
    """

    def __init__(self, path: Path, about: dict[str, Any], geometry: MapGeometry, writable: bool) -> None:
        self.path, self.about, self.geometry, self._writable = path, about, geometry, writable
        self.name = f"{FOLDER}/{_key(about)}"
        self._group: zarr.Group | None = None
        self._arrays: dict[str, zarr.Array[Any]] = {}

    @classmethod
    def beside(
        cls, embeddings: Embeddings, predictor: Predictor, geometry: MapGeometry, scale: Sequence[float] | None
    ) -> MapsOnDisc | None:
        """For these embeddings; None when they are in memory only."""
        path = getattr(embeddings.store, "path", None)
        if path is None:
            return None
        about = _about(embeddings, predictor, scale)
        return cls(Path(path), about, geometry, embeddings.store.writable)

    @classmethod
    def exists(cls, embeddings: Embeddings, predictor: Predictor, scale: Sequence[float] | None) -> bool:
        """Whether maps with this voxel size were begun."""
        path = getattr(embeddings.store, "path", None)
        return path is not None and (Path(path) / FOLDER / _key(_about(embeddings, predictor, scale))).exists()

    @classmethod
    def known_scale(cls, embeddings: Embeddings, predictor: Predictor) -> tuple[float, float, float] | None:
        """The voxel size of maps that are kept for this model; None when there are none with one."""
        path = getattr(embeddings.store, "path", None)
        if path is None or not (Path(path) / FOLDER).exists():
            return None
        for folder in sorted((Path(path) / FOLDER).iterdir()):
            try:
                about = json.loads(str(zarr.open_group(str(folder), mode="r").attrs["about"]))
                if about["scale"] and about == _about(embeddings, predictor, about["scale"]):
                    z, y, x = about["scale"]
                    return z, y, x
            except Exception:  # a damaged or foreign folder says nothing
                logger.debug("%s holds no maps", folder)
        return None

    def read_all(self, geometry: MapGeometry) -> Iterator[tuple[MapBlock, np.ndarray]]:
        """All blocks that are there wholly, (2, z, y, x) uint8."""
        group = self._open("r")
        if group is None:
            return
        for axis in geometry.axes:
            try:
                marks = np.asarray(array_in(group, f"checksum_{AXES[axis]}")[:])
            except Exception:  # none yet, or copied half
                continue
            for plane, tile in zip(*np.nonzero(marks[: geometry.planes(axis)]), strict=True):
                block = MapBlock(axis, int(plane), int(tile))
                try:
                    data = np.asarray(array_in(group, f"{AXES[axis]}_{tile}")[plane])
                    whole = _checksum(data) == marks[plane, tile]
                    values = np.expand_dims(data, axis + 1).reshape(2, *_sizes(geometry.area(block)))
                except Exception:  # a chunk copied half: made again
                    whole = False
                if whole:
                    yield block, values

    def write(self, block: MapBlock, values: np.ndarray) -> None:
        """Keep a block, wholly or not at all. A folder that cannot be written costs the time to compute it again."""
        if not self._writable:
            return
        try:
            group, axis = self._open("a"), AXES[block.axis]
            if group is None:
                raise OSError("the folder cannot be opened")
            data = np.ascontiguousarray(values.squeeze(block.axis + 1))
            planes = self.geometry.planes(block.axis)
            tiles = len(self.geometry.grid(block.axis))
            self._array(group, f"{axis}_{block.tile}", (planes, *data.shape), (1, *data.shape), "uint8")[
                block.plane
            ] = data
            marks = self._array(group, f"checksum_{axis}", (planes, tiles), (1, 1), "uint64")
            marks[block.plane, block.tile] = np.uint64(_checksum(data))
        except OSError as error:
            self._writable = False
            logger.warning("The maps of the volume are not kept in %s: %s", self.path, error)

    def _open(self, mode: Literal["r", "a"]) -> zarr.Group | None:
        if self._group is None or mode == "a":
            try:
                self._group = self._group_for(mode)
            except Exception as error:  # zarr raises many kinds for what is no group, or is not there
                if mode == "a":
                    raise OSError(str(error)) from error
        return self._group

    def _group_for(self, mode: Literal["r", "a"]) -> zarr.Group:
        if mode == "r":
            return zarr.open_group(str(self.path / self.name), mode="r")
        if self._group is None or self._group.read_only:
            root = zarr.open_group(str(self.path), mode="r+", zarr_format=ZARR_FORMAT)
            try:
                group = root.require_group(self.name)
            except Exception:  # another process made it at the same moment
                group = zarr.open_group(str(self.path / self.name), mode="r+")
            if "about" not in group.attrs:
                group.attrs["about"] = json.dumps(self.about)
            self._arrays.clear()
            return group
        return self._group

    def _array(
        self, group: zarr.Group, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str
    ) -> zarr.Array[Any]:
        if name not in self._arrays:
            # one that was copied half is described anew, and what it holds stays
            describe_array(self.path / self.name / name, shape, chunks, dtype)
            self._arrays[name] = array_in(group, name)
        return self._arrays[name]


def _about(embeddings: Embeddings, predictor: Predictor, scale: Sequence[float] | None) -> dict[str, Any]:
    normalization, grid = embeddings.store.normalization, embeddings.grid
    values = None if normalization is None else [*normalization.lower, *normalization.upper, normalization.smoothing]
    sizes = None if scale is None else [float(v) for v in scale]
    return {
        "format": FORMAT,
        "model": predictor.model_hash or predictor.model_name,
        "shape": list(embeddings.shape),
        "tiles": None if grid.tile_shape is None else [*grid.tile_shape, *(grid.halo or (0, 0))],
        "normalization": values,
        "scale": sizes,
    }


def _key(about: dict[str, Any]) -> str:
    # one unit is as good as another, so that the same voxels find the same maps
    sizes = about["scale"]
    same = dict(about, scale=None if not sizes or not sizes[2] else [f"{v / sizes[2]:.4g}" for v in sizes])
    return xxhash.xxh3_64_hexdigest(json.dumps(same, sort_keys=True).encode())


def _sizes(area: tuple[slice, ...]) -> tuple[int, ...]:
    return tuple(s.stop - s.start for s in area)


def _checksum(data: np.ndarray) -> int:
    return max(xxhash.xxh3_64_intdigest(np.ascontiguousarray(data).tobytes()), 1)
