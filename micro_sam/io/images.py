"""Images from files: whatever a microscopist has, with what the file says about axes and voxel size."""

from __future__ import annotations

import difflib
import glob
import re
from pathlib import Path
from typing import Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.io.atomic import recover
from micro_sam.io.containers import is_container, open_container
from micro_sam.io.source import FileStack, ImageSource
from micro_sam.io.tif import TIF_SUFFIXES, open_tif

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
OTHER_SUFFIXES = (".h5", ".hdf5", ".hdf", ".n5", ".zarr", ".mrc", ".rec", ".npy")
LARGEST_EAGER_STACK = 2**30  # bytes; larger folders of slices stay on disc


def load_image_data(path: str | Path, key: str | None = None, lazy_loading: bool = False) -> Any:
    """The pixels of an image.

    Parameters
    ----------
    path
        A file, a folder of slices, a glob, a container (hdf5, n5, zarr, OME-Zarr), or ``sample:NAME``.
    key
        Dataset inside a container, or a pattern such as ``*.tif`` for a folder of slices.
    lazy_loading
        Leave the pixels on disc where the format allows it.

    Returns
    -------
    Array with the axes of the file; a numpy array unless `lazy_loading`.

    Raises
    ------
    InputError
        When there is no such image, or it cannot be read.
    """
    data = open_image(path, key).data
    return data if lazy_loading else np.asarray(data)


def open_image(path: str | Path, key: str | None = None) -> ImageSource:
    """An image with what its file says about it; large ones stay on disc.

    Parameters
    ----------
    path, key
        See `load_image_data`.

    Raises
    ------
    InputError
        When there is no such image, or it cannot be read.
    """
    if str(path).startswith("sample:"):
        return _open_sample(str(path)[len("sample:") :])
    if glob.has_magic(str(path)) and not Path(path).exists():
        return _open_stack(_files_of(Path(path)), Path(path))
    path = Path(path).expanduser()
    recover(path)
    _check_exists(path)
    try:
        if is_container(path):
            return open_container(path, key)
        if path.is_dir():
            return _open_stack(_files_of(path / (key or "*")), path)
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes). Was it copied completely?")
        return _open_file(path)
    except PermissionError as error:
        raise InputError(f"{path} cannot be read: permission denied. Ask its owner for read access.") from error


def find_images(folder: str | Path, pattern: str | None = None) -> list[Path]:
    """The images in a folder, naturally sorted (slice 2 before slice 10).

    Parameters
    ----------
    folder
        Where to look.
    pattern
        Glob inside the folder; None: all files and containers of a known kind.

    Raises
    ------
    InputError
        When there are none, or it is no folder.
    """
    folder = Path(folder)
    _check_exists(folder)
    recover(folder / "inside")
    if not folder.is_dir():
        raise InputError(f"{folder} is a file. Give the folder that holds it, and its name as the pattern.")
    if pattern is None:
        suffixes = (*TIF_SUFFIXES, *PICTURE_SUFFIXES, *OTHER_SUFFIXES)
        found = [p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith(".")]
    else:
        found = [p for p in folder.glob(pattern) if not p.name.startswith(".")]
    if not found:
        what = "There are no images" if pattern is None else f"Nothing matches the pattern {pattern!r}"
        raise InputError(f"{what} in {folder}.")
    return sorted(found, key=natural_order)


def natural_order(path: Path) -> list[Any]:
    """Sort key in which numbers count as numbers."""
    return [(1, int(part), "") if part.isdigit() else (0, 0, part.lower()) for part in re.split(r"(\d+)", str(path))]


def _open_sample(name: str) -> ImageSource:
    from micro_sam.sample_data import open_sample

    sample = open_sample(name)
    axes = {"2d": "YX", "3d": "ZYX", "tracking": "TYX"}[sample.kind]
    colours = sample.image.ndim == len(axes) + 1
    scale = tuple(sample.scale) + (1.0,) * colours if sample.scale else None
    return ImageSource(sample.image, axes + "S" * colours, scale, path=Path(f"{name}.sample"))


def _check_exists(path: Path) -> None:
    try:
        exists = path.exists()
    except PermissionError as error:
        raise InputError(f"{path} cannot be read: permission denied. Ask its owner for read access.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    if exists:
        return
    hint = ""
    if path.parent.is_dir():
        close = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir()], n=1, cutoff=0.7)
        hint = f" Did you mean {close[0]}?" if close else ""
    else:
        hint = f" The folder {path.parent} does not exist either."
    raise InputError(f"There is no file {path}.{hint}")


def _open_file(path: Path) -> ImageSource:
    suffix = path.suffix.lower()
    if suffix in TIF_SUFFIXES:
        return open_tif(path)
    if suffix == ".npy":
        return ImageSource(_read(path, lambda p: np.load(p, mmap_mode="r", allow_pickle=False)), path=path)
    data = _read(path, _imread)
    return ImageSource(data, "YXS" if data.ndim == 3 else "YX" if data.ndim == 2 else None, path=path)


def _read(path: Path, function: Any) -> np.ndarray:
    try:
        return np.asanyarray(function(path))
    except (InputError, PermissionError, MemoryError):
        raise
    except Exception as error:  # readers raise many kinds for a file that is not what its name says
        raise InputError(
            f"{path} cannot be read as an image ({type(error).__name__}). It may be damaged, or of another format than "
            "its name says; tif, OME-TIFF, png, jpg, bmp, mrc, hdf5, n5, zarr and OME-Zarr are known."
        ) from error


def _imread(path: Path) -> np.ndarray:
    import imageio.v3 as imageio

    return imageio.imread(path)


def _files_of(pattern: Path) -> list[Path]:
    """The image files that a glob finds."""
    known = (*TIF_SUFFIXES, *PICTURE_SUFFIXES)
    found = [Path(p) for p in glob.glob(str(pattern))]
    found = [p for p in found if p.is_file() and p.suffix.lower() in known and not p.name.startswith(".")]
    if not found:
        raise InputError(
            f"There are no images that match {pattern}. A folder is read as a stack of slices: tif, png, jpg or bmp "
            "files of the same shape."
        )
    return sorted(found, key=natural_order)


def _open_stack(paths: list[Path], path: Path) -> ImageSource:
    first = open_image(paths[0])
    if len(paths) == 1:
        return first
    stack = FileStack(paths, lambda p: np.asarray(_open_file(p).data))
    data: Any = np.asarray(stack) if stack.nbytes <= LARGEST_EAGER_STACK else stack
    axes = "Z" + first.axes if first.axes and "Z" not in first.axes else None
    scale = None if first.scale is None or axes is None else (1.0, *first.scale)
    return ImageSource(data, axes, scale, first.unit, path)
