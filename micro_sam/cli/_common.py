"""What the commands share: arguments, and how a command ends.

Nothing heavy is imported here, so that ``-h`` and a mistyped argument are answered at once.
"""

from __future__ import annotations

import argparse
import functools
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, PrivateAttr, model_validator

from micro_sam import __version__
from micro_sam.cli._fields import Options, add_options, option
from micro_sam.errors import InputError, MicroSamError
from micro_sam.io.atomic import recover
from micro_sam.models.malloc import keep_memory

Main = Callable[["Sequence[str] | None"], "int | None"]

IMAGE = (
    "the image: tif, OME-TIFF, png, jpg, mrc, hdf5, n5, zarr, OME-Zarr, czi, nd2, lif; a folder of slices or a pattern "
    "in quotes"
)
FAILED = 2  # also argparse's exit code for arguments that cannot be
INTERRUPTED = 130  # what shells expect after Ctrl-C


def run(main: Main) -> Callable[..., int]:
    """Decorator of a command's ``main(arguments)``: what is foreseen ends with one message and the exit code 2.

    A `MicroSamError` is printed to stderr without a traceback. Any other error keeps its traceback: it is a bug.
    """

    @functools.wraps(main)
    def wrapped(arguments: Sequence[str] | None = None) -> int:
        logging.basicConfig(level=logging.WARNING, format="%(message)s")
        logging.getLogger("micro_sam").setLevel(logging.INFO)
        if arguments is None:  # a process of our own, not a call from someone else's
            keep_memory()
        try:
            return main(arguments) or 0
        except MicroSamError as error:
            print(f"{_command(main)}: {error}", file=sys.stderr)
            return FAILED
        except KeyboardInterrupt:
            print(f"{_command(main)}: stopped", file=sys.stderr)
            return INTERRUPTED

    return wrapped


def make_parser(
    name: str, description: str, kind: type[BaseModel] | None = None, epilog: str | None = None
) -> argparse.ArgumentParser:
    """The parser of the command ``micro_sam.<name>``, with ``--version`` and the options of a model."""
    parser = argparse.ArgumentParser(prog=f"micro_sam.{name}", description=description, allow_abbrev=False)
    if epilog is not None:
        parser.epilog, parser.formatter_class = epilog, argparse.RawDescriptionHelpFormatter
    parser.add_argument("--version", action="version", version=f"micro_sam {__version__}")
    if kind is not None:
        add_options(parser, kind)
    return parser


class ImageOptions(Options):
    """Which image; none: the window opens and takes a dropped file."""

    input: str | None = option(
        None,
        f"{IMAGE}; sample:NAME for a sample. Without it the window opens and takes a dropped file",
        "-i",
        metavar="PATH",
    )
    key: str | None = option(
        None,
        "which image, where a file holds several: the dataset in a container (hdf5, zarr, n5), the number or name "
        "of an image or position in a tif, czi, nd2 or lif, or a pattern of file names in a folder",
        "-k",
    )
    axes: str | None = option(
        None,
        "what the axes of the image are, where its file does not say: T time, Z slices, C channels, Y, X; for "
        "instance CZYX",
        metavar="LETTERS",
    )
    _is_stack: bool = PrivateAttr(False)

    @property
    def is_stack(self) -> bool:
        """Whether the files of a folder were asked for as the slices of a stack."""
        return self._is_stack

    @model_validator(mode="after")
    def _key_of_files(self) -> Self:
        """In micro-sam 1.x the key of a folder is the pattern of its slices."""
        folder, key = self.input, self.key
        if folder is not None and key is not None and any(c in key for c in "*?[") and Path(folder).is_dir():
            self.input, self.key, self._is_stack = str(Path(folder) / key), None, True
        return self


class RequiredImage(ImageOptions):
    """Which image; a sample, too."""

    input: str = option(..., f"{IMAGE}; sample:NAME for a sample", "-i", "--input", "--input_path", metavar="PATH")


def _model_type(name: str) -> str:
    from micro_sam.models.registry import get_architecture_name

    get_architecture_name(name)
    return name


def model_option(default: str) -> Any:
    """``-m``."""
    tip = f"the model (default: {default}); nano_lm ships with the package; micro_sam.info lists them all"
    return option(None, tip, "-m", metavar="NAME", reads=_model_type)


class WeightsOptions(Options):
    """Which model.

    ``model_type`` becomes the default where neither it nor a checkpoint is given. It is None with a checkpoint of which
    no type was said: that is found in the file.
    """

    model_type: str | None = model_option("vit_h")
    checkpoint: str | None = option(None, "weights of your own; their type is found in the file", "-c", metavar="PATH")
    has_default: ClassVar[bool] = True

    @model_validator(mode="after")
    def _complete(self) -> Self:
        from micro_sam.models.registry import DEFAULT_MODEL, get_spec

        if self.checkpoint is not None:
            recover(self.checkpoint)
        if self.checkpoint is None and (self.model_type is not None or self.has_default):
            self.model_type = get_spec(self.model_type or DEFAULT_MODEL).name
        elif self.checkpoint is not None and not Path(self.checkpoint).is_file():
            what = "is a folder" if Path(self.checkpoint).is_dir() else "does not exist"
            raise InputError(f"The checkpoint {self.checkpoint} {what}; give the file with the weights.")
        return self


class ModelOptions(WeightsOptions):
    """Which model, and where it computes."""

    device: str | None = option(None, "auto (default: the best there is), cpu, cuda, cuda:1, ... or mps (Apple)", "-d")


class WindowModel(ModelOptions):
    """Which model a window begins with; None without a checkpoint: the one that works at once."""

    model_type: str | None = model_option("nano_lm, which works at once; the window offers vit_h")
    has_default: ClassVar[bool] = False


def _positive(text: str) -> int:
    value = _not_negative(text)
    if value == 0:
        raise InputError("must be at least 1 pixel")
    return value


def _not_negative(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise InputError(f"{text!r} is no whole number of pixels") from None
    if value < 0:
        raise InputError(f"{value} is negative")
    return value


class TilingOptions(Options):
    """How a large image is cut, (y, x) in pixels; None: by itself."""

    tile_shape: tuple[int, int] | None = option(
        None, "process the image in tiles of this size, in pixels", metavar=("Y", "X"), reads=_positive
    )
    halo: tuple[int, int] | None = option(
        None, "overlap of the tiles, in pixels", metavar=("Y", "X"), reads=_not_negative
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.halo is not None and self.tile_shape is None:
            raise InputError("--halo is the overlap of tiles and needs --tile_shape Y X as well.")
        return self


EMBEDDING_PATH = (
    "where the embeddings are kept (a zarr folder, made if it is not there), so that the next start needs "
    "not compute them"
)
PREFER_DECODER = "begin the automatic segmentation with the model's decoder where it has one (default)"
ALL_IMAGES = 'take every image of the input folder that matches, for instance "*.tif"'


def _command(main: Main) -> str:
    return f"micro_sam.{main.__module__.rpartition('.')[2]}" if main.__module__ != "__main__" else "micro_sam"
