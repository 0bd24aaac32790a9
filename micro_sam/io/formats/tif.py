"""Tif files of every kind: OME-TIFF, ImageJ, LSM, STK, SVS, QPTIFF, BigTIFF and plain ones."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.io.axes import LETTERS
from micro_sam.io.choices import choose, no_such_image
from micro_sam.io.formats import tif_check, tif_colours
from micro_sam.io.formats.tif_sets import describe_set
from micro_sam.io.formats.tif_sizes import pixel_sizes
from micro_sam.io.lazy import LazyArray, reading
from micro_sam.io.source import ImageSource
from micro_sam.io.units import scale_for

SUFFIXES = (".tif", ".tiff", ".lsm", ".stk", ".btf", ".tf2", ".tf8", ".qptiff", ".svs", ".ndpi", ".scn", ".gel")
LARGEST_EAGER_TIF = 2**28  # bytes; larger files are memory-mapped, or read page by page when compressed
_HERE = threading.local()
UNKNOWN = "QI"  # tifffile's letters for axes that nothing explains


@dataclass(frozen=True)
class _Image:
    """One image of the file: a series of tifffile, or several of single pages."""

    number: int
    shape: tuple[int, ...]
    axes: str
    name: str
    pages: tuple[int, ...] | None = None  # series that are the slices of one stack

    @property
    def words(self) -> str:
        return f"{self.name} {self.shape}".strip()


def open_tif(path: Path, key: str | None = None, as_labels: bool = False) -> ImageSource:
    """An image of a tif file with its axes and pixel size.

    Parameters
    ----------
    path
        Any file of a set of OME-TIFFs stands for the whole.
    key
        Number or name of the image, if there are several.
    as_labels
        Take the numbers as they are stored: no palette, no inks, no inversion.

    Raises
    ------
    InputError
        When the file is no tif, is damaged, or files of its set are missing.
    """
    import tifffile

    with reading(path, "a tif"), quiet():
        files, xml = describe_set(path)
        inside = path.resolve() in {one.resolve() for one in files} and xml is None
        opened = files[0] if files and not inside else path
        for one in files or [path]:
            tif_check.check_directories(one)
        with tifffile.TiffFile(opened, omexml=xml) as file:
            if not file.series:
                raise InputError(f"{path} is a tif file without any image.")
            if file.is_imagej:
                tif_check.check_imagej(path, file)
            return _open(file, path, key, as_labels, lambda: tifffile.TiffFile(opened, omexml=xml))


def _open(file: Any, path: Path, key: str | None, as_labels: bool, again: Callable[[], Any]) -> ImageSource:
    images = _images(file)
    words = {str(one.number): one.words for one in images}
    inner: str | None = None
    if key is not None and "/" in str(key).strip("/"):
        key, _, inner = str(key).strip("/").partition("/")
    elif key is not None and len(images) == 1 and _extra(images[0]):
        key, inner = None, str(key)
    selected, note = choose(path, key, words)
    image = next(one for one in images if str(one.number) == selected)
    several = [file.series[k] for k in image.pages] if image.pages else [file.series[image.number]]
    for series in several:
        tif_check.check_pages(path, series)
    if not image.pages and any(page is None for page in several[0].pages) and file.is_ome:
        there = sum(page is not None for page in several[0].pages)
        raise InputError(
            f"{path} is incomplete: it speaks of {len(several[0].pages)} slices, but only {there} are there."
        )
    data, axes, said = _pixels(file, path, image, as_labels, again)
    if not as_labels and "C" not in axes and tif_colours.are_channels(file.series[image.number].keyframe):
        axes = axes.replace("S", "C")
    sizes = pixel_sizes(file, image.number)
    choices = words if len(words) > 1 else {}
    extra = [k for k, letter in enumerate(axes) if letter not in LETTERS + UNKNOWN and data.shape[k] > 1]
    if len(axes) == data.ndim and extra:
        data, axes, choices, selected = _place(data, axes, extra, path, inner, selected if len(images) > 1 else "")
    elif inner is not None:
        raise no_such_image(path, f"{selected}/{inner}", words)
    known = _known_axes(axes, data.shape)
    scale, unit = scale_for(known, sizes)
    is_selected = len(images) > 1 or inner is not None
    notes = " ".join(part for part in (note, said) if part)
    return ImageSource(data, known, scale, unit, path, selected if is_selected else None, notes, choices)


def _images(file: Any) -> list[_Image]:
    """The images of a file. Pages of equal shape that were appended one by one are the slices of one stack."""
    found: list[_Image] = []
    run: list[int] = []
    single = [
        not file.is_ome and s.axes in ("YX", "YXS", "SYX") and len(s.levels) == 1 and len(s.pages) == 1
        for s in file.series
    ]
    for k, series in enumerate(file.series):
        same = run and single[k] and (series.shape, series.dtype) == _kind(file.series[run[0]])
        if not same:
            found += _stack_of(file, run)
            run = []
        if single[k]:
            run.append(k)
        else:
            found.append(_Image(k, tuple(series.shape), series.axes, _name(series)))
    return found + _stack_of(file, run)


def _kind(series: Any) -> tuple[Any, Any]:
    return series.shape, series.dtype


def _stack_of(file: Any, run: list[int]) -> list[_Image]:
    if not run:
        return []
    first = file.series[run[0]]
    if len(run) == 1:
        return [_Image(run[0], tuple(first.shape), first.axes, _name(first))]
    return [_Image(run[0], (len(run), *first.shape), "Q" + first.axes, "", tuple(run))]


def _name(series: Any) -> str:
    name = str(series.name or "").strip()
    return "" if name.lower() in ("generic", "shaped", "uniform", "none") else name


def _extra(image: _Image) -> bool:
    return any(letter not in LETTERS + UNKNOWN for letter in image.axes)


def _pixels(file: Any, path: Path, image: _Image, as_labels: bool, again: Callable[[], Any]) -> tuple[Any, str, str]:
    """Data, axes and a sentence about what the numbers mean; `again` opens the file for an array that stays on disc."""
    import tifffile

    series = file.series[image.number]
    page = series.keyframe
    nbytes = math.prod(image.shape) * np.dtype(series.dtype).itemsize
    axes = image.axes
    if nbytes <= LARGEST_EAGER_TIF:
        if image.pages:
            data: Any = np.stack([file.series[k].asarray() for k in image.pages])
        else:
            data = series.asarray(level=0)
    elif series.dataoffset is not None and not image.pages and len(file.series) == 1 and _is_one_file(series):
        data = tifffile.memmap(path, mode="r")
    else:
        import zarr

        which = {"key": range(len(file.pages))} if image.pages else {"series": image.number, "level": 0}
        store = again().aszarr(**which)  # keeps its file open
        data = LazyArray(zarr.open(store, mode="r"), path)
    if tuple(data.shape) != image.shape:
        axes = ""
    meaning = tif_colours.meaning(file, page, as_labels)
    if meaning is None:
        return data, axes, ""
    return tif_colours.convert(data, axes, meaning, path)


def _is_one_file(series: Any) -> bool:
    return len({page.parent.filehandle.path for page in series.pages if page is not None}) == 1


def _place(
    data: Any, axes: str, extra: list[int], path: Path, inner: str | None, outer: str
) -> tuple[Any, str, dict[str, str], str]:
    """One position of an image that has an axis of positions; without a choice all of them, as axis R."""
    counts = [int(data.shape[k]) for k in extra]
    prefix = f"{outer}/" if outer else ""
    left = tuple(int(n) for k, n in enumerate(data.shape) if k not in extra)
    places = list(np.ndindex(*counts))
    names = {f"{prefix}{n}": f"position {n} {left}" for n in range(len(places))}
    if inner is None:
        if len(extra) == 1:
            return data, axes[: extra[0]] + "R" + axes[extra[0] + 1 :], names, outer
        where, inner = places[0], "0"
    elif not inner.isdigit() or int(inner) >= len(places):
        raise no_such_image(path, inner, names)
    else:
        where = places[int(inner)]
    fixed = dict(zip(extra, where, strict=True))
    kept = "".join(letter for k, letter in enumerate(axes) if k not in fixed)
    if isinstance(data, np.ndarray):
        data = data[tuple(fixed.get(k, slice(None)) for k in range(data.ndim))]
    else:
        data = LazyArray(data, path, fixed=fixed)
    return data, kept, names, f"{prefix}{inner}"


def _known_axes(axes: str, shape: tuple[int, ...]) -> str | None:
    """The letters, if they mean something."""
    if len(axes) != len(shape) or len(set(axes)) != len(axes):
        return None
    spare = iter(letter for letter in LETTERS if letter not in axes)
    named = ""
    for letter, size in zip(axes, shape, strict=True):
        if letter in LETTERS + "R":
            named += letter
        elif size == 1:
            named += next(spare)  # whatever it is, it has no length
        else:
            return None
    return named if len(set(named)) == len(named) else None


@contextmanager
def quiet() -> Iterator[None]:
    """Without tifffile's own messages in this thread: what matters is said in ours."""
    logging.getLogger("tifffile").addFilter(_is_heard)
    before = getattr(_HERE, "quiet", False)
    _HERE.quiet = True
    try:
        yield
    finally:
        _HERE.quiet = before


def _is_heard(_record: logging.LogRecord) -> bool:
    return not getattr(_HERE, "quiet", False)
