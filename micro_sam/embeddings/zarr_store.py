"""The embedding cache on disc (``zarr_layout.py`` describes how it lies there).

An item counts when its checksum is there and its chunk has its full size; its bytes are compared with the checksum
when they are read. So a killed process, a full disc or a copy in progress leaves items that are missing, never items
that are wrong.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.errors import ContainsArrayError

from micro_sam.embeddings.cache_key import CacheKey
from micro_sam.embeddings.plain_files import chunk_name, describe_array, read_number, write_file
from micro_sam.embeddings.store import EmbeddingStore, Item, describe
from micro_sam.embeddings.zarr_layout import (
    SKIPPED,
    checksum,
    is_cache,
    is_raw,
    is_writable,
    key_of,
    make_array,
    make_group,
    make_marks,
    read_mark,
    remove_partial_files,
    stack_shape,
)
from micro_sam.errors import CacheError, NotComputedYet, OutputError
from micro_sam.io.atomic import locked, recover, remove_folder, replacing
from micro_sam.io.normalization import Normalization

if TYPE_CHECKING:
    from micro_sam.models.predictor import ImageFeatures

logger = logging.getLogger(__name__)


class ZarrStore(EmbeddingStore):
    """A cache folder. Use `ZarrStore.open` or `ZarrStore.create`.

    Several processes may write into one cache: an item is written whole, and who comes second writes the same again.
    """

    def __init__(self, path: Path, group: zarr.Group, key: CacheKey, writable: bool) -> None:
        super().__init__(key.grid, key.n_slices, key.model_name, key.model_hash)
        self.path = path
        self.key = key
        self._group = group
        self._writable = writable
        self._marks: dict[Item, int] = {}  # checksums read so far; only those that are set
        self._damaged_items: set[Item] = set()  # found when they were read
        self._arrays: dict[str, zarr.Array] = {}
        attrs = dict(group.attrs)
        self._is_ours = "cache" in attrs
        # a cache of micro_sam 1.x says with these attributes that its run came to the end
        finished = key.tile_shape is not None or bool(attrs.get("input_size"))
        self._foreign_complete = not self._is_ours and "state/checksum" not in group and finished
        # noted by caches whose arrays are made when they are written: thousands are not opened
        self._feature_shape = tuple(attrs.get("cache", {}).get("feature_shape", ()))
        self._made: set[int] = set()  # tiles whose array is there
        self._described: set[str] = set()  # arrays that were made or checked here
        stored = attrs.get("cache", {}).get("normalization_values")
        self.normalization = None if stored is None else Normalization(*stored)
        self._refresh()

    # opening and making

    @classmethod
    def open(cls, path: str | Path) -> ZarrStore:
        """Open a cache, also one of micro_sam 1.x; a folder that cannot be written is opened for reading.

        Raises
        ------
        CacheError
            When there is no cache at the path, or it cannot be read.
        """
        path = Path(path)
        recover(path)
        if not path.exists():
            raise CacheError(
                f"There are no embeddings at {path}. Compute them first (micro_sam.precompute_embeddings)."
            )
        if not is_cache(path):  # nothing is tried in a folder that is not ours
            raise CacheError(
                f"{path} is not a folder with embeddings. Choose another embedding path, or delete it if it is not "
                "needed."
            )
        writable = is_writable(path)
        try:
            group = zarr.open_group(str(path), mode="r+" if writable else "r")
            attrs = dict(group.attrs)
            key = key_of(group, attrs)
            store = _class_for(attrs, cls)(path, group, key, writable)
            store._check_arrays()
        except CacheError:
            raise
        except Exception as error:  # zarr raises many kinds for a folder that is no zarr group, or a damaged one
            raise CacheError(
                f"{path} is not a folder with embeddings, or it is damaged ({type(error).__name__}). Choose another "
                "embedding path, or delete it if it is no longer needed."
            ) from error
        if writable:
            remove_partial_files(path)
        return store

    @classmethod
    def create(
        cls,
        path: str | Path,
        key: CacheKey,
        feature_shape: tuple[int, int, int, int],
        normalization: Normalization,
        image_size: int = 1024,
        shard: int = 1,
    ) -> ZarrStore:
        """Make an empty cache; if another process is quicker, open the one that it made.

        Parameters
        ----------
        path
            A folder that does not exist yet, or is empty.
        key
            What the features belong to; its signature must be set.
        feature_shape
            (1, C, g, g).
        normalization
            The grey values that become 0 and 255.
        image_size
            Longest side of the network's input in pixels.
        shard
            Items in one file; see ``shards.py``.

        Raises
        ------
        OutputError
            When the folder cannot be made.
        """
        path = Path(path)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise OutputError(f"{path} exists and does not hold embeddings. Choose another embedding path.")
        try:
            with replacing(path, only_new=True) as (place,):
                shard = min(shard, len(key.grid) * (key.n_slices or 1))
                make_group(place, key, feature_shape, normalization, image_size, shard)
        except OutputError as error:
            if not path.exists():
                raise _cannot_write(path, error.__cause__ or error) from error
        return cls.open(path)

    # the store's interface

    @property
    def writable(self) -> bool:
        return self._writable

    def is_complete(self, i: int | None, tile: int) -> bool:
        return self._mark(i, tile) > SKIPPED and self._chunk_is_whole(i, tile)

    def is_skipped(self, i: int | None, tile: int) -> bool:
        return self._mark(i, tile) == SKIPPED

    def skip(self, i: int | None, tile: int) -> None:
        self.check_item(i, tile)
        with self._writing():
            self._set_mark(i, tile, SKIPPED)

    def write(self, i: int | None, tile: int, features: ImageFeatures) -> None:
        from micro_sam.embeddings.views import as_numpy

        self.check_item(i, tile)
        data = np.ascontiguousarray(as_numpy(features.features))
        expected = self._feature_shape or tuple(self._features(tile).shape[-4:])
        if data.shape != expected:
            raise CacheError(f"The model gives features {data.shape}, but the cache {self.path} holds {expected}.")
        with self._writing():
            if self.is_complete(i, tile):  # another process was quicker; on another device its bytes may differ
                return
            dense = None if features.dense is None else features.dense.detach().to("cpu").numpy().astype("float16")
            sizes = {"original_size": list(features.original_size), "input_size": list(features.input_size)}
            self._store_item(i, tile, data, dense, sizes)
            self._set_mark(i, tile, checksum(data, dense))

    def _store_item(self, i: int | None, tile: int, data: np.ndarray, dense: np.ndarray | None, sizes: dict) -> None:
        if not self._feature_shape:  # of an older version
            array = self._features(tile, make=data.shape)
            if dense is not None:
                self._put(self._dense(tile, dense.shape), i, dense)
            if self.grid.is_tiled and not array.attrs.get("input_size"):
                array.attrs.update(sizes)
            self._put(array, i, data)
            return
        if dense is not None:
            self._write_plain(f"state/dense/{tile}", i, dense, None)
        name, notes = (f"features/{tile}", sizes) if self.grid.is_tiled else ("features", None)
        self._write_plain(name, i, data, notes)

    def _write_plain(self, name: str, i: int | None, data: np.ndarray, attributes: dict | None) -> None:
        folder = self.path / name
        if name not in self._described:
            describe_array(folder, *stack_shape(self.n_slices, data.shape), str(data.dtype), attributes)
            self._described.add(name)
        write_file(folder / chunk_name(i, data.ndim), np.ascontiguousarray(data).tobytes())

    def missing(self) -> list[Item]:
        """The items that are yet to be computed; what other processes stored since is not among them."""
        if "state/checksum" not in self._group:
            return super().missing()
        self._refresh()
        marks = self._marks
        return [
            item
            for item in self.items()
            if not (marks.get(item) == SKIPPED or (item in marks and self._chunk_is_whole(*item)))
        ]

    def finish(self) -> bool:
        """Note that the run came to the end if nothing is missing; returns whether that is so."""
        if self.missing():
            return False
        if self._writable and not self.grid.is_tiled and not self._group.attrs.get("input_size"):
            loaded = next((self.load(i, t) for i, t in self.items() if self.is_complete(i, t)), None)
            if loaded is not None:
                sizes = {"input_size": list(loaded.input_size), "original_size": list(self.grid.shape)}
                with self._writing():
                    self._note(lambda attrs: attrs.update(sizes))
        return True

    @property
    def data_signature(self) -> str | None:
        """The image's hash as micro_sam 1.x stores it."""
        return self._group.attrs.get("data_signature")

    def remember_file(self, state: tuple[int, int]) -> None:
        """Note size and time of change of the image's file after its content was compared: quick the next time."""
        if self._writable and self._is_ours:
            with contextlib.suppress(OSError):
                self._note(lambda attrs: attrs["cache"]["image"].update(file=list(state)))

    def _note(self, change: Callable[[dict], object]) -> None:
        """Change the attributes as they are now: another process may have changed them since they were read."""
        with locked(self.path):
            attrs = dict(zarr.open_group(str(self.path), mode="r").attrs)
            change(attrs)
            self._group.attrs.update(attrs)

    def features(self) -> Any:
        return self._group["features"]

    def _read(self, i: int | None, tile: int) -> ImageFeatures:
        import torch

        from micro_sam.models.predictor import ImageFeatures

        try:
            data, dense = self._stored(i, tile)
        except Exception as error:  # a damaged chunk: the codecs and file systems raise many kinds
            raise self._damaged(i, tile) from error
        if self._is_ours and self._mark(i, tile) != checksum(data, dense):
            self._marks.pop((i, tile), None)  # another process may have written both anew
            if self._mark(i, tile) != checksum(data, dense):
                raise self._damaged(i, tile)
        original_size, input_size = self._sizes(tile)
        dense_map = None if dense is None else torch.from_numpy(dense.astype("float32"))
        return ImageFeatures(torch.from_numpy(data), input_size, original_size, dense_map)

    def _stored(self, i: int | None, tile: int) -> tuple[np.ndarray, np.ndarray | None]:
        array = self._features(tile)
        if not self._is_ours:  # no checksums: caches of micro_sam 1.x are compressed with Blosc
            from micro_sam.io.formats.blosc import with_checked_chunks

            array = with_checked_chunks(array)
        return np.asarray(array[:] if i is None else array[i], dtype="float32"), self._read_dense(i, tile)

    # inside

    def _refresh(self) -> None:
        """Read all checksums at once (also those that other processes wrote)."""
        if "state/checksum" in self._group:
            marks = self._group["state/checksum"]
            try:
                values = np.asarray(marks[:])
            except Exception:  # a mark was copied half: look at each
                values = np.zeros(marks.shape, marks.dtype)
                for index in np.ndindex(*marks.shape):
                    values[index] = read_mark(marks, *index)
            values = values.reshape(self.n_slices or 1, len(self.grid))
            damaged = self._damaged_items
            self._marks = {
                (i, t): int(values[i or 0, t]) for i, t in self.items() if values[i or 0, t] and (i, t) not in damaged
            }

    def _check_arrays(self) -> None:
        """Raise unless the arrays are there that were made at the start."""
        if self._is_ours:
            for tile in range(0 if self._feature_shape and self.grid.is_tiled else len(self.grid)):
                self._features(tile)
            if "features" not in self._group or "state/checksum" not in self._group:
                raise CacheError(
                    f"The embeddings in {self.path} lack the note of what is complete (an interrupted copy?). Copy the "
                    "folder again, or delete it and compute them anew."
                )

    def _features(self, tile: int, make: tuple[int, ...] | None = None) -> zarr.Array:
        """The array of a tile; `make`: shape of its items if it is not there yet, otherwise that is a KeyError."""
        name = f"features/{tile}" if self.grid.is_tiled else "features"
        if name not in self._arrays:
            if make is None:
                self._arrays[name] = self._group[name]
            else:
                self._arrays[name] = self._for_writing(name, *stack_shape(self.n_slices, make), "float32")
        return self._arrays[name]

    def _for_writing(self, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str) -> zarr.Array:
        """An array, made if it is not there."""
        try:
            return self._group[name]
        except KeyError:
            pass
        except Exception:  # its description was copied half: all its items are made again
            remove_folder(self.path / name)
        with contextlib.suppress(ContainsArrayError):  # another process was quicker
            make_array(self._group, name, shape, chunks, dtype)
        return self._group[name]

    def _sizes(self, tile: int) -> tuple[tuple[int, int], tuple[int, int]]:
        attrs = self._features(tile).attrs if self.grid.is_tiled else self._group.attrs
        size = attrs.get("input_size") or self._network_size(tile)
        return self.grid[tile].shape, (int(size[0]), int(size[1]))

    def _network_size(self, tile: int) -> tuple[int, int]:
        """Size of a tile as the network sees it; the model's longest side is in the cache's own notes."""
        height, width = self.grid[tile].shape
        scale = self._group.attrs["cache"]["image_size"] / max(height, width)
        return int(height * scale + 0.5), int(width * scale + 0.5)

    def _mark(self, i: int | None, tile: int) -> int:
        """0 missing, 1 skipped, larger: complete as far as the writer knew."""
        item = (i, tile)
        if item in self._damaged_items:
            return 0
        if item in self._marks:
            return self._marks[item]
        value = self._stored_mark(i, tile)
        if value:
            self._marks[item] = value
        return value

    def _stored_mark(self, i: int | None, tile: int) -> int:
        if self._feature_shape:
            return read_number(self.path / "state/checksum" / f"{i or 0}.{tile}")
        if "checksum" not in self._arrays:
            self._arrays["checksum"] = self._group["state/checksum"] if "state/checksum" in self._group else None
        marks = self._arrays["checksum"]
        if marks is not None:
            return read_mark(marks, i or 0, tile)
        if self.grid.is_tiled and str(tile) not in self._group["features"]:
            return SKIPPED  # micro_sam 1.x leaves out the tiles outside the mask
        return SKIPPED + 1 if self._foreign_complete else 0

    def _set_mark(self, i: int | None, tile: int, value: int) -> None:
        self._store_mark(i, tile, value)
        self._marks[i, tile] = value
        self._damaged_items.discard((i, tile))

    def _store_mark(self, i: int | None, tile: int, value: int) -> None:
        if self._feature_shape:
            write_file(self.path / "state/checksum" / f"{i or 0}.{tile}", np.uint64(value).tobytes())
            return
        if "state/checksum" not in self._group:  # a cache of 1.x goes on here: keep what it has
            complete = [(k, t) for k, t in self.items() if self.is_complete(k, t)]
            marks = make_marks(self._group, self.n_slices or 1, len(self.grid))
            self._arrays["checksum"] = marks
            for k, t in complete:
                marks[k or 0, t] = SKIPPED + 1
        marks = self._arrays.get("checksum") or self._group["state/checksum"]
        marks[i or 0, tile] = np.uint64(value)

    def _chunk_is_whole(self, i: int | None, tile: int) -> bool:
        try:
            if self._feature_shape and self.grid.is_tiled:
                folder = self.path / "features" / str(tile)
                if tile not in self._made and (folder / ".zarray").stat():
                    self._made.add(tile)
                return (folder / chunk_name(i, 4)).stat().st_size == 4 * math.prod(self._feature_shape)
            array = self._features(tile)
            chunk = array.metadata.encode_chunk_key((0,) * array.ndim if i is None else (i,) + (0,) * (array.ndim - 1))
            size = (self.path / array.path / chunk).stat().st_size
        except (OSError, KeyError):
            return False
        return size == np.prod(array.chunks) * array.dtype.itemsize if is_raw(array) else size > 0

    def _dense(self, tile: int, shape: tuple[int, ...]) -> zarr.Array:
        name = f"state/dense/{tile}"
        if name not in self._arrays:
            self._arrays[name] = self._for_writing(name, *stack_shape(self.n_slices, shape), "float16")
        return self._arrays[name]

    def _read_dense(self, i: int | None, tile: int) -> np.ndarray | None:
        name = f"state/dense/{tile}"
        if name not in self._arrays:
            if name not in self._group:
                return None
            self._arrays[name] = self._group[name]
        array = self._arrays[name]
        return np.asarray(array[:] if i is None else array[i])

    @staticmethod
    def _put(array: zarr.Array, i: int | None, data: np.ndarray) -> None:
        if i is None:
            array[:] = data
        else:
            array[i] = data

    def _damaged(self, i: int | None, tile: int) -> NotComputedYet:
        self._damaged_items.add((i, tile))  # counts as missing from now on; the next run computes it again
        return NotComputedYet(
            f"The embedding of {describe(i, tile, self)} in {self.path} is damaged (an interrupted copy?) and must be "
            "computed again."
        )

    @contextlib.contextmanager
    def _writing(self):
        if not self._writable:
            raise OutputError(
                f"The embeddings in {self.path} are incomplete and the folder cannot be written. Choose another "
                "embedding path, or copy the folder to where you may write."
            )
        try:
            yield
        except OutputError:
            raise
        except OSError as error:
            raise _cannot_write(self.path, error) from error


def _class_for(attrs: dict, default: type[ZarrStore]) -> type[ZarrStore]:
    """Which store reads a cache with these attributes."""
    if attrs.get("cache", {}).get("shard", 1) == 1:
        return default
    from micro_sam.embeddings.shards import ShardStore

    return ShardStore


def _cannot_write(path: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    return OutputError(
        f"The embeddings cannot be written to {path}: {reason}. What was stored before is intact; free some space or "
        "choose another embedding path, and start again to go on from there."
    )
