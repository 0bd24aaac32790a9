"""The mark that results carry: that this program wrote them, and what they are.

It lies where other readers do not mind it: in tif as tag Software, in png as text, in zarr and hdf5 as attribute, in
XML and Markdown as comment, in JSON, Parquet and safetensors as entry, in PyTorch's files as one more record. Two
formats have no room for it, and it lies in what their standards leave free: a csv has quotes around every other name of
a column, an npy has a header of a certain length, filled up with spaces. Whoever writes the file anew removes the mark.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from micro_sam import __version__

if TYPE_CHECKING:
    import h5py
    import numpy as np

KEY = "micro_sam"
"""Name of the entry or attribute that holds the mark."""
KINDS = {
    "labels": "labels",
    "tracks": "tracks",
    "classes": "classes",
    "track_classes": "classes of tracks",
    "embeddings": "embeddings",
    "table": "a table",
    "weights": "a model",
    "training": "the state of a training",
    "run": "notes on a run",
}
"""Kind of a result -> what it is called in messages."""
MOVIES = ("tracks", "track_classes")
"""Kinds of label images whose first axis is time."""

_NPY_HEADERS = {"labels": 17 * 64, "tracks": 19 * 64, "classes": 21 * 64, "track_classes": 23 * 64}
"""Bytes; others write 128, or a little more."""
_EARLIER_STATE = (b"settings", b"chunk", b"objects", b"average", b"scaler", b"history")
_EARLIER_CARD = re.compile(r"with micro_sam \S+\. Use it with `-c ")
_EARLIER_LOG = "step,name,value"
_MARK = re.compile(r"micro_sam \S+ (" + "|".join(KINDS) + r")\b")
_MASK = re.compile(r"(TRA/|SEG/)?(mask|man_track|man_seg)\d+\.tif")
_LITTER = re.compile(r"(.*/)?(\.DS_Store|Thumbs\.db|desktop\.ini|\._[^/]*|\.nfs[^/]*)")
_META, _CHUNK = r"(\.zarray|\.zattrs|\.zgroup|zarr\.json)", r"(\.zarray|\.zattrs|zarr\.json|\d+([./]\d+)*|c(/\d+)*)"
_ARRAY = re.compile(_CHUNK)
_PYRAMID = re.compile(rf"{_META}|\d+/{_CHUNK}")
_GEFF = re.compile(
    rf"{_META}|\.zmetadata|labels/{_CHUNK}|(nodes|edges)/({_META}|ids/{_CHUNK}|props/({_META}|"
    rf"(t|y|x|track_id|seg_id)/({_META}|(values|missing)/{_CHUNK})))"
)
_CTC = re.compile(r"(TRA/|SEG/)?((mask|man_track|man_seg)\d+\.tif|(res|man)_track\.txt)")


def mark(kind: str) -> str:
    """The mark of a result, for example ``micro_sam 1.0.0 labels``."""
    if kind not in KINDS:
        raise ValueError(f"there is no kind of result {kind!r}")
    return f"micro_sam {__version__} {kind}"


def find_mark(text: Any) -> str | None:
    """The kind that a mark names; None when there is no mark in the text."""
    found = _MARK.search(text) if isinstance(text, str) else None
    return found.group(1) if found else None


def read_kind(path: Path) -> str | None:
    """The kind of a result of this program; None for everything else, also for what cannot be read."""
    try:
        if path.is_dir():
            return _kind_of_folder(path)
        reader = _READERS.get(path.suffix.lower())
        return None if reader is None else reader(path)
    except Exception:  # a file of another program, damaged or not what its name says: not ours
        return None


def csv_header(columns: Sequence[str], kind: str) -> str:
    """The first line of a csv file: every other name stands in quotes, of tracks the second and fourth, else the first
    and third, and so on."""
    first = int(kind == "tracks")
    return ",".join(f'"{name}"' if k % 2 == first else name for k, name in enumerate(columns))


def write_npy(path: Path, array: np.ndarray, kind: str) -> None:
    """`numpy.save` with a header whose length is the mark."""
    import numpy as np

    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    text = header.getvalue()[10:].rstrip()
    length = _NPY_HEADERS[kind]
    with open(path, "wb") as file:
        file.seek(length - len(header.getvalue()))
        np.save(file, array, allow_pickle=False)
        file.seek(0)
        padded = text + b" " * (length - 10 - len(text) - 1) + b"\n"
        file.write(np.lib.format.magic(1, 0) + struct.pack("<H", length - 10) + padded)


def mark_torch_file(path: Path, kind: str) -> None:
    """Add the mark to a file that ``torch.save`` wrote."""
    with zipfile.ZipFile(path, "a") as file:
        folder = file.namelist()[0].split("/")[0]
        file.writestr(f"{folder}/{KEY}", mark(kind))


def strangers(path: Path, kind: str) -> list[str]:
    """What a folder or container holds that a result of this kind does not have, as names; none: it may be replaced."""
    if path.is_dir():
        attributes = _attributes(path)
        if "geff" in attributes:
            known = _GEFF
        elif "multiscales" in attributes or "ome" in attributes:
            known = _PYRAMID
        elif attributes or is_zarr(path):
            known = _ARRAY
        else:
            known = _CTC if kind == "tracks" else re.compile("(?!)")
        files = (file.relative_to(path).as_posix() for file in path.rglob("*") if not file.is_dir())
        return sorted(name for name in files if not known.fullmatch(name) and not _LITTER.fullmatch(name))
    if path.suffix.lower() in (".h5", ".hdf5"):
        try:
            with _hdf5_root(path) as root:
                return sorted(name for name in root if name != "labels")
        except OSError:
            return []
    return []


def _kind_of_folder(path: Path) -> str | None:
    attributes = _attributes(path)
    if KEY in attributes:
        return find_mark(attributes[KEY])
    if "cache" in attributes or ("data_signature" in attributes and (path / "features").is_dir()):
        return "embeddings"  # of an earlier version, or of micro_sam 1.x
    masks = [
        file
        for file in (*path.glob("*.tif"), *path.glob("TRA/*.tif"), *path.glob("SEG/*.tif"))
        if not file.name.startswith(".")
    ]
    ours = masks and all(_MASK.fullmatch(f.relative_to(path).as_posix()) and _tif(f) == "tracks" for f in masks)
    return "tracks" if ours else None


def is_zarr(path: Path) -> bool:
    """Whether a folder is an array or a group of zarr."""
    return any((path / name).is_file() for name in (".zarray", ".zgroup", "zarr.json"))


def _attributes(path: Path) -> dict[str, Any]:
    """The attributes of a zarr folder, of either version of the format."""
    try:
        if (path / "zarr.json").is_file():
            content = json.loads((path / "zarr.json").read_text()).get("attributes", {})
        else:
            content = json.loads((path / ".zattrs").read_text())
    except (OSError, ValueError, AttributeError):
        return {}
    return content if isinstance(content, dict) else {}


def _tif(path: Path) -> str | None:
    import tifffile

    with tifffile.TiffFile(path) as file:
        tag = file.pages.first.tags.get("Software")
        return None if tag is None else find_mark(tag.value)


def _png(path: Path) -> str | None:
    from PIL import Image

    with Image.open(path) as image:
        return find_mark(image.info.get("Software"))


def _hdf5(path: Path) -> str | None:
    with _hdf5_root(path) as root:
        return find_mark(root.attrs.get(KEY))


@contextlib.contextmanager
def _hdf5_root(path: Path) -> Iterator[h5py.Group]:
    import h5py

    file = h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY)
    try:
        yield h5py.Group(h5py.h5g.open(file, b"/"))
    finally:
        file.close()


def _safetensors(path: Path) -> str | None:
    with open(path, "rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        if length > path.stat().st_size:
            return None
        known = json.loads(file.read(length)).get("__metadata__", {})
    # earlier versions wrote with which of them a model was trained
    is_earlier = "micro_sam" in known.get("versions", "") and "settings" in known
    return find_mark(known.get(KEY)) or ("weights" if is_earlier else None)


def _text(path: Path) -> str | None:
    with open(path, "rb") as file:
        text = file.read(400).decode("utf-8", "replace")
    return find_mark(text) or ("weights" if _EARLIER_CARD.search(text) else None)


def _json(path: Path) -> str | None:
    content = json.loads(path.read_text())
    is_earlier = content.get("state") in ("starting", "running", "stopped", "failed", "done")
    return find_mark(content.get(KEY)) or ("run" if is_earlier else None)


def _csv(path: Path) -> str | None:
    with open(path, newline="", encoding="utf-8") as file:
        line = file.readline(1000).rstrip("\r\n")
    if line == _EARLIER_LOG:
        return "table"
    columns = next(csv.reader([line]), [])
    return next((kind for kind in ("tracks", "table") if columns[1:] and line == csv_header(columns, kind)), None)


def _parquet(path: Path) -> str | None:
    import pyarrow.parquet as pq

    return find_mark((pq.read_schema(path).metadata or {}).get(KEY.encode(), b"").decode())


def _npy(path: Path) -> str | None:
    with open(path, "rb") as file:
        start = file.read(10)
    length = 10 + struct.unpack("<H", start[8:])[0]
    return next(
        (kind for kind, own in _NPY_HEADERS.items() if start[:8] == b"\x93NUMPY\x01\x00" and length == own), None
    )


def _torch(path: Path) -> str | None:
    with zipfile.ZipFile(path) as file:
        found = [name for name in file.namelist() if name.endswith((f"/{KEY}", "/data.pkl"))]
        content = {name.rpartition("/")[2]: file.read(name) for name in found}
    if KEY in content:
        return find_mark(content[KEY].decode())
    return "training" if all(word in content["data.pkl"] for word in _EARLIER_STATE) else None


_READERS = {
    ".tif": _tif,
    ".tiff": _tif,
    ".png": _png,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".safetensors": _safetensors,
    ".xml": _text,
    ".geojson": _text,
    ".md": _text,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
    ".npy": _npy,
    ".pt": _torch,
    ".pth": _torch,
}
