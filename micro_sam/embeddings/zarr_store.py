"""The embedding cache on disc (``zarr_layout.py`` describes how it lies there).

An item counts when its checksum is there and its chunk has its full size; its bytes are compared with the checksum
when they are read. So a killed process, a full disc or a copy in progress leaves items that are missing, never items
that are wrong.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from micro_sam.embeddings.cache_check import faulty_attribute, is_network_size
from micro_sam.embeddings.cache_key import CacheKey
from micro_sam.embeddings.item_files import ItemFiles, OlderFiles
from micro_sam.embeddings.plain_files import PlainFiles
from micro_sam.embeddings.shards import ShardFiles
from micro_sam.embeddings.store import EmbeddingStore, Item, describe
from micro_sam.embeddings.zarr_layout import (
    MISSING,
    SKIPPED,
    checksum,
    is_cache,
    is_writable,
    key_of,
    make_group,
    remove_partial_files,
)
from micro_sam.errors import CacheError, NotComputedYet, OutputError
from micro_sam.io.atomic import locked, recover, replacing
from micro_sam.io.normalization import Normalization
from micro_sam.models.sizes import resized_size

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
        self._damaged_items: set[Item] = set()  # found when they were read, and not noted on disc
        attrs: dict[str, Any] = dict(group.attrs)
        self._is_ours = "cache" in attrs
        self._image_size = int(attrs.get("cache", {}).get("image_size", 0))
        self._files = _files_of(attrs)(path, group, self.grid, self.n_slices)
        self._is_half = attrs.get("cache", {}).get("dtype") == "float16"
        self._feature_shape = tuple(attrs.get("cache", {}).get("feature_shape", ()))  # empty: an older version's
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
            attrs: dict[str, Any] = dict(group.attrs)
            key = key_of(group, attrs)
            fault = faulty_attribute(attrs, key)
            if fault is None:
                store = cls(path, group, key, writable)
                store._files.check()
                fault = store._faulty_size()
            if fault is not None:
                raise _changed(path, fault)
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
        half: bool = False,
    ) -> ZarrStore | None:
        """Make an empty cache; None if another process was quicker, whose cache may be of anything.

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
        half
            Features in half precision.

        Raises
        ------
        OutputError
            When the folder cannot be made.
        """
        path = Path(path)
        try:
            with replacing(path, only_new=True) as (place,):
                shard = min(shard, len(key.grid) * (key.n_slices or 1))
                make_group(place, key, feature_shape, normalization, image_size, shard, half)
        except OutputError as error:
            if is_cache(path):
                return None
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise OutputError(
                    f"{path} exists and does not hold embeddings. Choose another embedding path."
                ) from error
            raise _cannot_write(path, error.__cause__ if isinstance(error.__cause__, OSError) else error) from error
        return cls.open(path)

    # the store's interface

    @property
    def writable(self) -> bool:
        return self._writable

    def is_complete(self, i: int | None, tile: int) -> bool:
        return self._mark(i, tile) > SKIPPED and self._files.is_whole(i, tile)

    def is_skipped(self, i: int | None, tile: int) -> bool:
        return self._mark(i, tile) == SKIPPED

    def skip(self, i: int | None, tile: int) -> None:
        self.check_item(i, tile)
        with self._writing():
            self._set_mark(i, tile, SKIPPED)

    def write(self, i: int | None, tile: int, features: ImageFeatures) -> None:
        import torch

        from micro_sam.embeddings.views import as_numpy

        self.check_item(i, tile)
        # torch rounds to half precision, ten times as fast as numpy and to the same bits
        values = features.features.to(torch.float16) if self._is_half else features.features
        data = np.ascontiguousarray(as_numpy(values))  # the checksum is that of what is read
        expected = self._feature_shape or self._files.item_shape(tile) or data.shape
        if data.shape != expected:
            raise CacheError(f"The model gives features {data.shape}, but the cache {self.path} holds {expected}.")
        with self._writing():
            if self.is_complete(i, tile):  # another process was quicker; on another device its bytes may differ
                return
            dense = None if features.dense is None else as_numpy(features.dense, torch.float16)
            sizes = {"original_size": list(features.original_size), "input_size": list(features.input_size)}
            self._files.write(i, tile, data, dense, sizes)
            self._set_mark(i, tile, checksum(data, dense))

    def missing(self) -> list[Item]:
        """The items that are yet to be computed; what other processes stored since is not among them."""
        self.found_damage = False
        if "state/checksum" not in self._group:
            return super().missing()
        self._refresh()
        marks = self._marks
        return [
            item
            for item in self.items()
            if not (marks.get(item) == SKIPPED or (item in marks and self._files.is_whole(*item)))
        ]

    def finish(self) -> bool:
        """Note that the job came to the end if nothing is missing; returns whether that is so."""
        if self.missing():
            return False
        if self._writable and not self.is_finished and any(self.is_complete(i, t) for i, t in self.items()):
            original, size = self._sizes(0)
            with self._writing():
                self._note(lambda attrs: attrs.update(input_size=list(size), original_size=list(original)))
        return True

    @property
    def is_finished(self) -> bool:
        """Whether the end of a job was noted, for micro_sam 1.x; it knows by that that a stack is complete."""
        return self.grid.is_tiled or bool(self._group.attrs.get("input_size"))

    @property
    def data_signature(self) -> str | None:
        """The image's hash as micro_sam 1.x stores it."""
        signature: Any = self._group.attrs.get("data_signature")
        return None if signature is None else str(signature)

    def remember_file(self, state: tuple[int, int]) -> None:
        """Note size and time of change of the image's file after its content was compared: quick the next time."""
        if self._writable and self._is_ours:
            with contextlib.suppress(OSError):
                self._note(lambda attrs: attrs["cache"]["image"].update(file=list(state)))

    def _note(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change the attributes as they are now: another process may have changed them since they were read."""
        with locked(self.path):
            attrs: dict[str, Any] = dict(zarr.open_group(str(self.path), mode="r").attrs)
            change(attrs)
            self._group.update_attributes(attrs)

    def features(self) -> Any:
        found = self._files.features()
        return super().features() if found is None else found

    @property
    def items_per_file(self) -> int:
        return self._files.items_per_file

    def _read(self, i: int | None, tile: int) -> ImageFeatures:
        import torch

        from micro_sam.models.predictor import ImageFeatures

        try:
            data, dense = self._files.read(i, tile)
        except MemoryError:
            raise
        except Exception as error:  # a damaged chunk: the codecs and file systems raise many kinds
            raise self._damaged(i, tile) from error
        if self._feature_shape and data.shape != self._feature_shape:
            raise self._damaged(i, tile)
        if self._is_ours and self._mark(i, tile) != checksum(data, dense):
            self._marks.pop((i, tile), None)  # another process may have written both anew
            if self._mark(i, tile) != checksum(data, dense):
                raise self._damaged(i, tile)
        original_size, input_size = self._sizes(tile)
        dense_map = None if dense is None else torch.from_numpy(dense.astype("float32"))
        return ImageFeatures(torch.from_numpy(data), input_size, original_size, dense_map)

    # inside

    def _refresh(self) -> None:
        """Read all checksums at once (also those that other processes wrote)."""
        values = self._files.marks()
        if values is not None:
            damaged = self._damaged_items
            self._marks = {
                (i, t): int(values[i or 0, t]) for i, t in self.items() if values[i or 0, t] and (i, t) not in damaged
            }

    def _sizes(self, tile: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Size of a tile, and as the network sees it."""
        shape = self.grid[tile].shape
        if self._is_ours:
            return shape, resized_size(shape, self._image_size)
        size: Any = self._files.input_size(tile) if self.grid.is_tiled else self._group.attrs.get("input_size")
        if not is_network_size(size, shape, (self._files.item_shape(tile) or (1,))[-1]):
            raise _changed(self.path, f"input_size {str(size)[:80]} cannot be true for {shape} pixels")
        return shape, (int(size[0]), int(size[1]))

    def _faulty_size(self) -> str | None:
        """What is wrong with the sizes that micro_sam 1.x has noted, as half a sentence."""
        size = self._group.attrs.get("input_size")
        if self._is_ours or self.grid.is_tiled or size is None:
            return None
        shape = self._files.item_shape(0) or ()
        if len(shape) != 4 or shape[0] != 1 or shape[2] != shape[3]:
            return f"features of the shape {shape} cannot be used"
        fits = is_network_size(size, self.grid.shape, shape[-1])
        return None if fits else f"input_size {str(size)[:80]} cannot be true"

    def _mark(self, i: int | None, tile: int) -> int:
        """0 missing, 1 skipped, larger: complete as far as the writer knew."""
        item = (i, tile)
        if item in self._damaged_items:
            return 0
        if item in self._marks:
            return self._marks[item]
        value = self._files.read_mark(i, tile)
        if value:
            self._marks[item] = value
        return value

    def _set_mark(self, i: int | None, tile: int, value: int) -> None:
        self._files.write_mark(i, tile, value)
        self._marks[i, tile] = value
        self._damaged_items.discard((i, tile))

    def _damaged(self, i: int | None, tile: int) -> NotComputedYet:
        """From now on the item is missing, for other processes and later jobs as well; the next job computes it."""
        self.found_damage = True
        self._marks.pop((i, tile), None)
        what = f"The embedding of {describe(i, tile, self)} in {self.path} is damaged (an interrupted copy?)"
        try:
            with self._writing():
                self._files.write_mark(i, tile, MISSING)
        except OutputError:
            self._damaged_items.add((i, tile))
            return NotComputedYet(
                f"{what}, and that cannot be noted there, because the folder cannot be written. Copy the folder to "
                "where you may write, or choose another embedding path, and compute it there.",
                ((i, tile),),
            )
        return NotComputedYet(
            f"{what}. It is noted as missing: start again, or run micro_sam.precompute_embeddings, which computes it.",
            ((i, tile),),
        )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
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


def _files_of(attrs: dict[str, Any]) -> type[ItemFiles]:
    """How the items of a cache with these attributes lie in files."""
    notes = attrs.get("cache", {})
    if not notes.get("feature_shape"):
        return OlderFiles
    return PlainFiles if notes.get("shard", 1) == 1 else ShardFiles


def _changed(path: Path, fault: str) -> CacheError:
    return CacheError(
        f"The embeddings in {path} were changed or damaged: {fault}. Copy the folder again, choose another embedding "
        "path, or delete it if it is no longer needed."
    )


def _cannot_write(path: Path, error: Exception) -> OutputError:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return OutputError(
        f"The embeddings cannot be written to {path}: {reason}. What was stored before is intact; free some space or "
        "choose another embedding path, and start again to go on from there."
    )
