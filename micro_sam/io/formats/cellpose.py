"""Cellpose's ``_seg.npy``: a pickled dict, of which the masks are read. No code of the file is ever run.

The file is not unpickled: its instructions are listed, and those that build dicts, lists, numbers, texts and arrays are
followed. Whatever else the file names becomes an inert placeholder.
"""

from __future__ import annotations

import math
import pickletools
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np

from micro_sam.errors import InputError
from micro_sam.io.lazy import reading

LARGEST = 2**33  # bytes of the file


def is_cellpose(path: Path) -> bool:
    """Whether a file is a numpy file with Python objects, as Cellpose writes it."""
    try:
        with open(path, "rb") as file:
            if np.lib.format.read_magic(file)[0] != 1:
                return False
            return np.lib.format.read_array_header_1_0(file)[2].hasobject
    except Exception:  # numpy raises many kinds for a header that is damaged
        return False


def read_cellpose(path: Path) -> np.ndarray:
    """The masks (Y, X) or (Z, Y, X) of a ``_seg.npy``.

    Raises
    ------
    InputError
        When it holds no masks, or is damaged.
    """
    hint = " In Cellpose, save the masks as png or tif (File > Save masks), and use that file."
    if path.stat().st_size > LARGEST:
        raise InputError(f"{path} is too large to be read.{hint}")
    with reading(path, "a segmentation of Cellpose", hint), open(path, "rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        found = _plain(_follow(file))
        while isinstance(found, list) and len(found) == 1:
            found = found[0]
        masks = _plain(found.get("masks")) if isinstance(found, dict) else None
        if not isinstance(masks, np.ndarray) or masks.ndim < 2:
            raise InputError(f"{path} holds no masks.{hint}")
        return masks


class _DType:
    """A dtype as numpy pickles it; only numbers become one."""

    def __init__(self, text: Any = "", *_: Any) -> None:
        self.text, self.order = str(text), "="

    def set_state(self, state: Any) -> None:
        """Take over the byte order."""
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|", "="):
            self.order = state[1]

    def dtype(self) -> np.dtype | None:
        """None for objects and whatever is no number."""
        if self.text[:1] not in ("i", "u", "f", "b"):
            return None
        order: Literal["<", ">", "="] = "<" if self.order == "<" else ">" if self.order == ">" else "="
        return np.dtype(self.text).newbyteorder(order)


class _Array:
    """An array as numpy pickles it."""

    def __init__(self, *_: Any) -> None:
        self.found: Any = None

    def set_state(self, state: Any) -> None:
        """Take over shape, type and bytes."""
        if not isinstance(state, tuple) or len(state) < 5:
            return
        _, shape, described, is_fortran, data = state[:5]
        dtype = described.dtype() if isinstance(described, _DType) else None
        if dtype is None:
            self.found = list(data) if isinstance(data, list) else None
        elif isinstance(data, (bytes, bytearray, str)) and all(isinstance(n, int) and n >= 0 for n in shape):
            raw = data.encode("latin1") if isinstance(data, str) else data
            if len(raw) != math.prod(shape) * dtype.itemsize:
                raise ValueError("an array of the file is not complete")
            self.found = np.frombuffer(raw, dtype).reshape(shape, order="F" if is_fortran else "C")


class _Ignored:
    """Stands for everything that is no array. It does nothing."""


_MARK = object()
_SIMPLE = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = ("INT", "LONG", "FLOAT", "STRING", "UNICODE", "BININT", "BINFLOAT", "BINSTRING", "BINUNICODE", "BINBYTES")
_EMPTY = {"EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict, "EMPTY_SET": list}


def _follow(file: BinaryIO) -> Any:
    """What a pickle describes, as far as it is made of dicts, lists, numbers, texts and arrays."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for opcode, argument, _ in pickletools.genops(file):
        name = opcode.name
        if name == "STOP":
            return stack.pop()
        if name in ("PROTO", "FRAME", "READONLY_BUFFER"):
            continue
        if name in _SIMPLE:
            stack.append(_SIMPLE[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name.removeprefix("SHORT_").rstrip("0123456789").removesuffix("_") in (*_VALUES, "BYTEARRAY"):
            stack.append(argument)
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if name == "MEMOIZE" else cast(int, argument)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[cast(int, argument)])
        elif name in ("POP", "DUP"):
            stack.append(stack[-1]) if name == "DUP" else stack.pop()
        else:
            _build(name, argument, stack)
    raise ValueError("the file ends too early")


def _build(name: str, argument: Any, stack: list[Any]) -> None:
    """One instruction that puts values together."""
    if name in ("TUPLE1", "TUPLE2", "TUPLE3"):
        n = int(name[-1])
        stack[-n:] = [tuple(stack[-n:])]
    elif name in ("TUPLE", "LIST", "FROZENSET", "DICT", "POP_MARK", "APPENDS", "ADDITEMS", "SETITEMS", "OBJ", "INST"):
        items = _since_mark(stack)
        if name == "TUPLE":
            stack.append(tuple(items))
        elif name in ("LIST", "FROZENSET"):
            stack.append(items)
        elif name == "DICT":
            stack.append(dict(zip(items[::2], items[1::2], strict=True)))
        elif name in ("APPENDS", "ADDITEMS") and isinstance(stack[-1], list):
            stack[-1].extend(items)
        elif name == "SETITEMS" and isinstance(stack[-1], dict):
            stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif name in ("OBJ", "INST"):
            stack.append(_Ignored())
    elif name == "APPEND":
        item = stack.pop()
        if isinstance(stack[-1], list):
            stack[-1].append(item)
    elif name == "SETITEM":
        value, key = stack.pop(), stack.pop()
        if isinstance(stack[-1], dict):
            stack[-1][key] = value
    elif name in ("GLOBAL", "STACK_GLOBAL"):
        attribute, module = (stack.pop(), stack.pop()) if name == "STACK_GLOBAL" else reversed(argument.split(" ", 1))
        stack.append(_KNOWN.get((str(module).replace("numpy._core", "numpy.core"), str(attribute)), _Ignored))
    elif name in ("REDUCE", "NEWOBJ"):
        arguments, function = stack.pop(), stack.pop()
        is_ours = any(function is known for known in _KNOWN.values())
        stack.append(function(*arguments) if is_ours else _Ignored())
    elif name == "NEWOBJ_EX":
        del stack[-3:]
        stack.append(_Ignored())
    elif name == "BUILD":
        state = stack.pop()
        if isinstance(stack[-1], (_Array, _DType)):
            stack[-1].set_state(state)
    elif name in ("PERSID", "NEXT_BUFFER", "EXT1", "EXT2", "EXT4"):
        stack.append(_Ignored())
    elif name == "BINPERSID":
        stack[-1] = _Ignored()
    else:
        raise ValueError(f"the file has an instruction {name} that is not known")


def _since_mark(stack: list[Any]) -> list[Any]:
    place = next(k for k in range(len(stack) - 1, -1, -1) if stack[k] is _MARK)
    items = stack[place + 1 :]
    del stack[place:]
    return items


def _frombuffer(data: Any = b"", described: Any = None, shape: Any = (), order: Any = "C") -> _Array:
    """Arrays of pickle protocol 5."""
    array = _Array()
    array.set_state((1, shape, described, order == "F", bytes(data) if isinstance(data, (bytes, bytearray)) else b""))
    return array


def _encode(text: Any = "", _encoding: Any = "latin1") -> bytes:
    return text.encode("latin1") if isinstance(text, str) else b""


_KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _encode,
}


def _plain(value: Any) -> Any:
    return value.found if isinstance(value, _Array) else value
