"""Pictures: png, jpg, bmp, gif, webp, jpeg 2000."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.io.lazy import reading
from micro_sam.io.source import ImageSource

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".jp2")
MARKS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF", b"\0\0\0\x0cjP  ")  # how they begin
_LOCK = threading.Lock()  # images are opened in threads, and the limit is one for all
MOST_PIXELS = 2**30  # one picture is decoded as a whole
INT_MODES = ("I", "I;16", "I;16B", "I;16L", "F")
KNOWN = "tif, OME-TIFF, png, jpg, bmp, mrc, hdf5, n5, zarr, OME-Zarr, czi, nd2 and lif are known."


def open_picture(path: Path, as_labels: bool = False) -> ImageSource:
    """A picture with its colours; the frames of a moving one are a stack.

    Parameters
    ----------
    path
        The file.
    as_labels
        Take the numbers of a palette as they are, not their colours.

    Raises
    ------
    InputError
        When it is no picture, is damaged or too large.
    """
    from PIL import ImageFile

    with reading(path, "an image", f" It may also be of another format than its name says; {KNOWN}"):
        with _open_any_size(path) as picture:
            frames = int(getattr(picture, "n_frames", 1))
            width, height = picture.size
            if width * height * frames > MOST_PIXELS:
                raise InputError(
                    f"{path} is too large to be read as a picture: {width} x {height} pixels. Convert it to a tiled "
                    "tif or to OME-Zarr, which are read piece by piece."
                )
            if ImageFile.LOAD_TRUNCATED_IMAGES:
                ImageFile.LOAD_TRUNCATED_IMAGES = False
            if frames == 1 and _is_deep_colour_png(path):
                import imagecodecs

                found = [imagecodecs.png_decode(path.read_bytes())]
            else:
                found = []
                for number in range(frames):
                    picture.seek(number)
                    found.append(_pixels(picture, as_labels))
        if len({one.ndim for one in found}) > 1:  # some frames of a moving picture are grey
            found = [one if one.ndim == 3 else np.stack([one] * 3, -1) for one in found]
        data = found[0] if frames == 1 else np.stack(found)
    axes = "YXS" if found[0].ndim == 3 else "YX"
    return ImageSource(data, axes if frames == 1 else "Z" + axes, path=path)


def _is_deep_colour_png(path: Path) -> bool:
    """Whether a png has several samples of 16 bits per pixel, of which Pillow keeps 8."""
    with open(path, "rb") as file:
        head = file.read(26)
    return head[:4] == MARKS[0] and len(head) == 26 and head[24] == 16 and head[25] in (2, 4, 6)


def _pixels(picture: Any, as_labels: bool) -> np.ndarray:
    mode = picture.mode
    if mode == "P" and as_labels:
        return np.asarray(picture)
    if mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV", "RGBX", "La", "RGBa"):
        rgb = np.asarray(picture.convert("RGB"))
        is_grey = np.array_equal(rgb[..., 0], rgb[..., 1]) and np.array_equal(rgb[..., 0], rgb[..., 2])
        return np.ascontiguousarray(rgb[..., 0]) if is_grey and mode in ("P", "PA") else rgb
    data = np.asarray(picture)
    if mode == "1":
        return data.astype(np.uint8) * np.uint8(1 if as_labels else 255)
    if mode == "I" and data.size and data.min() >= 0 and data.max() <= 65535 and picture.format == "PNG":
        return data.astype(np.uint16)
    return data


def _open_any_size(path: Path) -> Any:
    """Without Pillow's limit for pictures from the internet, checked here; ours is larger and says what to do."""
    from PIL import Image

    with _LOCK:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = before
