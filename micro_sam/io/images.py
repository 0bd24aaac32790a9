"""Images from files: whatever a microscopist has, with what the file says about axes and voxel size."""

from __future__ import annotations

import difflib
import glob
import os
import re
import zipfile
from pathlib import Path
from typing import Any

from micro_sam.errors import InputError
from micro_sam.io.addresses import is_address, path_of, refuse_address
from micro_sam.io.atomic import recover
from micro_sam.io.formats import folders, hdf5, microscopes, mrc, n5, numpy_files, pictures, tif, tif_sets, zarrs
from micro_sam.io.lazy import in_memory
from micro_sam.io.marks import read_kind
from micro_sam.io.source import ImageSource

PICTURE_SUFFIXES = (*pictures.SUFFIXES, ".npy")
OTHER_SUFFIXES = (*hdf5.SUFFIXES, *mrc.SUFFIXES, *microscopes.SUFFIXES, ".n5", ".zarr", ".npz", ".companion.ome")
SUFFIXES = (*tif.SUFFIXES, *PICTURE_SUFFIXES, *OTHER_SUFFIXES)
LABEL_SUFFIXES = (".zip", ".roi", ".geojson")  # outlines, which are labels only
RESULTS = (
    "_objects.tif",
    "_objects.zarr",
    "_objects.ome.zarr",
    "_objects.h5",
    "_seg.npy",
)  # of annotators, of Cellpose
HEAD = 1024  # bytes that tell what a file is


def load_image_data(path: str | Path, key: str | None = None, lazy_loading: bool = False) -> Any:
    """The pixels of an image.

    Parameters
    ----------
    path
        A file, a folder of slices, a glob, a container (hdf5, n5, zarr, OME-Zarr), the address of a zarr
        (``https://...``, ``s3://...``), or ``sample:NAME``.
    key
        Which image, where there are several: the dataset of a container, the number or name of an image or position
        in a tif, czi, nd2 or lif, or a pattern such as ``*.tif`` for a folder of slices.
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
    source = open_image(path, key)
    return source.data if lazy_loading else in_memory(source.data, source.path)


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
    return open_source(path, key)


def open_source(path: str | Path, key: str | None = None, as_labels: bool = False) -> ImageSource:
    """As `open_image`; `as_labels` takes numbers as they are stored and prefers the labels of an OME-Zarr."""
    if str(path).startswith("sample:"):
        return _open_sample(str(path)[len("sample:") :])
    if is_address(path):
        return zarrs.open_zarr(path_of(path), key, as_labels)
    if glob.has_magic(str(path)) and not Path(path).exists():
        path = Path(path).expanduser()
        return _open_stack(_files_of(path.parent, path.name), path, as_labels)
    path = Path(path).expanduser()
    recover(path)
    _check_exists(path)
    try:
        if path.is_dir():
            if path.suffix.lower() == ".n5" or (path / "attributes.json").exists():
                return n5.open_n5(path, key)
            if path.suffix.lower() == ".zarr" or any((path / name).exists() for name in zarrs.MARKS):
                return zarrs.open_zarr(path, key, as_labels)
            return _open_stack(_files_of(path, key), path, as_labels)
        return _open_file(path, key, as_labels)
    except PermissionError as error:
        raise InputError(f"{path} cannot be read: permission denied. Ask its owner for read access.") from error


def find_images(folder: str | Path, pattern: str | None = None, *, as_labels: bool = False) -> list[Path]:
    """The images in a folder, naturally sorted (slice 2 before slice 10).

    Results that lie beside their image (``a_objects.tif`` beside ``a.tif``) are none, unless a pattern names them.
    Images of classes that lie beside a result are neither images nor label images.

    Parameters
    ----------
    folder
        Where to look.
    pattern
        Glob inside the folder; None: all files and containers of a known kind.
    as_labels
        Look for label images: outlines (ROIs, GeoJSON) and results, too.

    Raises
    ------
    InputError
        When there are none, or it is no folder.
    """
    refuse_address(folder, "a folder of images")
    folder = Path(folder)
    _check_exists(folder)
    recover(folder / "inside")
    if not folder.is_dir():
        raise InputError(f"{folder} is a file. Give the folder that holds it, and its name as the pattern.")
    if pattern is None:
        found = [p for p in folder.iterdir() if _is_known(p, as_labels) and not p.name.startswith(".")]
        found = found if as_labels else _without_results(found)
    else:
        found = [p for p in folder.glob(pattern) if not p.name.startswith(".")]
    found = [p for p in found if not is_class_image(p)]
    if not found:
        noun = "label images" if as_labels else "images"
        what = f"There are no {noun}" if pattern is None else f"Nothing matches the pattern {pattern!r}"
        raise InputError(f"{what} in {folder}.")
    return tif_sets.without_members(sorted(found, key=natural_order))


def is_class_image(path: Path) -> bool:
    """Whether a file is the image of classes that is saved beside a result."""
    return path.name.endswith("_classes.tif") and read_kind(path) in ("classes", "track_classes")


def natural_order(path: Path) -> list[Any]:
    """Sort key in which numbers count as numbers."""
    return [
        (1, int(part), "") if part.isascii() and part.isdigit() else (0, 0, part.lower())
        for part in re.split(r"([0-9]+)", str(path))
    ]


def _is_known(path: Path, as_labels: bool = False) -> bool:
    return path.name.lower().endswith((*SUFFIXES, *LABEL_SUFFIXES) if as_labels else SUFFIXES)


def _without_results(paths: list[Path]) -> list[Path]:
    """Without what was saved beside an image under the name that is proposed for its labels."""
    images = {path.with_suffix("") for path in paths}
    ends = [next((end for end in RESULTS if path.name.endswith(end)), None) for path in paths]
    return [
        path
        for path, end in zip(paths, ends, strict=True)
        if end is None or path.with_name(path.name.removesuffix(end)) not in images
    ]


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
    if path.is_symlink():
        raise InputError(f"{path} is a link to {os.readlink(path)}, and nothing is there. Copy the file itself.")
    hint = ""
    if path.parent.is_dir():
        close = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir()], n=1, cutoff=0.7)
        hint = f" Did you mean {close[0]}?" if close else ""
    else:
        hint = f" The folder {path.parent} does not exist either."
    raise InputError(f"There is no file {path}.{hint}")


def _open_file(path: Path, key: str | None, as_labels: bool) -> ImageSource:
    """A file by what it holds, whatever its name is."""
    with open(path, "rb") as file:
        head = file.read(HEAD)
    if not head:
        raise InputError(f"{path} is empty (0 bytes). Was it copied completely?")
    suffix = path.suffix.lower()
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return tif.open_tif(path, key, as_labels)
    if b"<OME" in head or path.name.lower().endswith(".companion.ome"):
        return tif.open_tif(path, key, as_labels)
    if head[:8] == b"\x89HDF\r\n\x1a\n" or suffix in hdf5.SUFFIXES:
        return hdf5.open_hdf5(path, key)
    if head[:6] == b"\x93NUMPY":
        return _single(numpy_files.open_npy(path), key)
    if head[:10] == b"ZISRAWFILE":
        return microscopes.open_czi(path, key)
    if head[:4] == b"\xda\xce\xbe\x0a" or suffix == ".nd2":
        return microscopes.open_nd2(path, key)
    if head[:4] == b"\x70\0\0\0" and head[8:9] == b"\x2a":
        return microscopes.open_lif(path, key)
    if head[:2] == b"PK" and suffix == ".npz":
        return numpy_files.open_npz(path, key)
    if mrc.is_mrc(head, suffix):
        return _single(mrc.open_mrc(path), None if key == "data" else key)
    if head[:4] == b"PK\x03\x04" and _is_zarr_in_zip(path):
        raise InputError(f"{path} is a zarr in a zip file, which is not read as it is. Unpack it, and open the folder.")
    if head[:4] in (b"PK\x03\x04", b"Iout") or head.lstrip()[:1] in (b"{", b"["):
        raise InputError(
            f"{path} is no image. If it holds outlines of objects (ROIs of ImageJ or StarDist, GeoJSON of QuPath), "
            "give it as the labels of its image: -s, or drop it onto the window when the image is open."
        )
    if suffix in tif.SUFFIXES and not head.startswith(pictures.MARKS):
        raise InputError(
            f"{path} cannot be read as a tif. It may be damaged, copied incompletely, or another kind of file with a "
            f"changed name; {pictures.KNOWN}"
        )
    return _single(pictures.open_picture(path, as_labels), key)


def _is_zarr_in_zip(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.rpartition("/")[2] in zarrs.MARKS for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _single(source: ImageSource, key: str | None) -> ImageSource:
    if key is not None:
        raise InputError(f"{source.path} holds one image and has no dataset {key!r}; leave out the key.")
    return source


def _files_of(folder: Path, pattern: str | None) -> list[Path]:
    """The image files in a folder, or those that match a pattern; a set of OME-TIFFs by its first one."""
    known = (*tif.SUFFIXES, *PICTURE_SUFFIXES, ".companion.ome")
    start = glob.escape(str(folder)) if folder.exists() else str(folder)
    found = [Path(p) for p in glob.glob(os.path.join(start, pattern or "*"))]
    found = [p for p in found if p.name.lower().endswith(known) and not p.name.startswith(".") and not p.is_dir()]
    found = [p for p in (found if pattern else _without_results(found)) if not is_class_image(p)]
    if not found:
        raise InputError(
            f"There are no images that match {folder / (pattern or '*')}. A folder is read as a stack of slices: tif, "
            "png, jpg or bmp files of the same shape."
        )
    for path in found:
        _check_exists(path)  # a link to nothing is a slice that is missing
    return tif_sets.without_members(sorted(found, key=natural_order))


def _open_stack(paths: list[Path], path: Path, as_labels: bool) -> ImageSource:
    return folders.open_stack(paths, path, lambda p: _open_file(p, None, as_labels))
