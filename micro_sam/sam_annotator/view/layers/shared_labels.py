"""The label array of a session as a layer shows it: the same memory, but who writes into it is heard.

Scripts and plugins write into ``layer.data`` as into any array. napari sends no event for that, and once the pixels are
there nobody knows what was there before. A second copy of each layer would tell, but doubles the memory of large
volumes; an array that reports its writes costs nothing until somebody writes.

What numpy does (indexing, ``+=``, ``out=``, ``np.copyto``, ...) is heard. Compiled code that takes the bare memory
(``np.asarray(layer.data)``) is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

Region = tuple[slice, ...]
_WRITERS = {np.copyto, np.putmask, np.place, np.put, np.put_along_axis, np.fill_diagonal}


@dataclass
class Listener:
    """Who hears of writes into an array.

    Attributes
    ----------
    array
        C-contiguous; the bare array of the session.
    written
        Called with (region, values now, values before) after something changed.
    is_deaf
        Whether a write is to be passed over now, since it is told in another way.
    """

    array: np.ndarray
    written: Callable[[Region, np.ndarray, np.ndarray], None] | None = None
    is_deaf: Callable[[], bool] = lambda: False


class SharedLabels(np.ndarray):
    """A view of the session's labels that tells of every write; views of it tell, too, copies do not."""

    listener: Listener | None = None

    def __array_finalize__(self, source: Any) -> None:
        self.listener = getattr(source, "listener", None)

    def __setitem__(self, key: Any, value: Any) -> None:
        with _heard(self, key):
            super().__setitem__(key, value)

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, out: tuple[Any, ...] = (), **options: Any
    ) -> Any:
        written = (*out, *(inputs[:1] if method == "at" else ()))
        if out:
            options["out"] = tuple(_bare(array) for array in out)
        with ExitStack() as stack:
            for array in written:
                stack.enter_context(_heard(array))
            result = getattr(ufunc, method)(*(_bare(value) for value in inputs), **options)
        return out[0] if len(out) == 1 else result

    def __array_function__(self, function: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
        with _heard(args[0] if function in _WRITERS and args else None):
            return super().__array_function__(function, types, args, kwargs)

    def fill(self, value: Any) -> None:
        """See numpy."""
        self[...] = value

    def put(self, indices: Any, values: Any, mode: Any = "raise") -> None:
        """See numpy."""
        with _heard(self):
            super().put(indices, values, mode)

    def sort(self, *args: Any, **kwargs: Any) -> None:
        """See numpy."""
        with _heard(self):
            super().sort(*args, **kwargs)


def share(array: np.ndarray) -> SharedLabels:
    """A view of an array of the session whose listener is still to be told what to do."""
    view = array.view(SharedLabels)
    view.listener = Listener(array)
    return view


def _bare(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, SharedLabels) else value


@contextmanager
def _heard(target: Any, key: Any = ...) -> Iterator[None]:
    """Tell the listener of `target` what the write inside this context changes."""
    listener = target.listener if isinstance(target, SharedLabels) else None
    # Copies have the listener of what they were copied from, but other memory.
    if listener is None or listener.written is None or not np.may_share_memory(target, listener.array):
        yield
        return
    if listener.is_deaf():
        yield
        return
    region = _region(target, key, listener.array)
    before = listener.array[region].copy()
    yield
    after = listener.array[region]
    if not np.array_equal(before, after):
        listener.written(region, after.copy(), before)


def _region(target: np.ndarray, key: Any, array: np.ndarray) -> Region:
    """A block of `array` that holds all that a write to ``target[key]`` can reach."""
    target, keys = _bare(target), key if isinstance(key, tuple) else (key,)
    is_whole = target.shape == array.shape and target.strides == array.strides
    if is_whole and len(keys) == array.ndim and all(isinstance(k, (int, np.integer, slice, np.ndarray)) for k in keys):
        return tuple(_bounds(k, size) for k, size in zip(keys, array.shape, strict=True))
    is_mask = isinstance(key, np.ndarray) and key.dtype.kind == "b" and key.shape == array.shape
    if is_whole and is_mask:
        axes = range(array.ndim)
        return tuple(_bounds(np.flatnonzero(key.any(axis=tuple(a for a in axes if a != axis))), 0) for axis in axes)
    if all(k is None or k is ... or isinstance(k, (int, np.integer, slice)) for k in keys):
        target = target[keys if any(k is ... for k in keys) else (*keys, ...)]
    return _block(target, array)


def _bounds(index: Any, size: int) -> slice:
    """The range of an axis in which an index lies."""
    if isinstance(index, np.ndarray):
        if index.size == 0:
            return slice(0, 0)
        if index.dtype.kind not in "iu" or index.min() < 0:
            return slice(0, size)
        return slice(int(index.min()), int(index.max()) + 1)
    if isinstance(index, slice):
        selected = range(*index.indices(size))
        return slice(min(selected), max(selected) + 1) if selected else slice(0, 0)
    return slice(index % size, index % size + 1)


def _block(view: np.ndarray, array: np.ndarray) -> Region:
    """The smallest block of `array` that is contiguous in memory and holds a view of it."""
    if view.size == 0:
        return (slice(0, 0),) * array.ndim
    steps = [(size - 1) * stride for size, stride in zip(view.shape, view.strides, strict=True)]
    start = view.__array_interface__["data"][0] - array.__array_interface__["data"][0]
    first = start + sum(step for step in steps if step < 0)
    last = start + sum(step for step in steps if step > 0)
    low, high = (np.unravel_index(byte // array.itemsize, array.shape) for byte in (first, last))
    region = []
    for axis, (a, b) in enumerate(zip(low, high, strict=True)):
        region.append(slice(int(a), int(b) + 1))
        if a != b:
            return (*region, *(slice(0, size) for size in array.shape[axis + 1 :]))
    return tuple(region)
