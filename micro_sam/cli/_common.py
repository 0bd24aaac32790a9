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
from typing import Any

from micro_sam import __version__
from micro_sam.errors import InputError, MicroSamError
from micro_sam.io.atomic import recover
from micro_sam.models.malloc import keep_memory

Main = Callable[["Sequence[str] | None"], "int | None"]

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


def make_parser(name: str, description: str) -> argparse.ArgumentParser:
    """The parser of the command ``micro_sam.<name>``, with ``--version``."""
    parser = argparse.ArgumentParser(prog=f"micro_sam.{name}", description=description, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"micro_sam {__version__}")
    return parser


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse, and check whatever can be checked without reading an image or a model.

    ``model_type`` is filled in: the default model, or None with a checkpoint of which no type was said (it is then
    found in the file; or nothing was said to a command that opens a window). Shapes become tuples.

    Raises
    ------
    InputError
        When arguments contradict each other or name files that are not there.
    """
    options = parser.parse_args(arguments)
    if "model_type" in options:
        _complete_model(options)
    if "tile_shape" in options:
        _check_tiling(options)
    if "input" in options and "key" in options:
        _key_of_files(options)
    return options


def add_input(parser: argparse.ArgumentParser, *names: str, required: bool, more: str = "") -> None:
    """``-i`` and ``-k``; ``names`` are further spellings of the first, which is kept as ``input``."""
    parser.add_argument(
        "-i",
        "--input",
        *names,
        dest="input",
        required=required,
        metavar="PATH",
        help="the image: tif, OME-TIFF, png, jpg, mrc, hdf5, n5, zarr, OME-Zarr, czi, nd2, lif; a folder of "
        f"slices or a pattern in quotes{more}",
    )
    parser.add_argument(
        "-k",
        "--key",
        help="which image, where a file holds several: the dataset in a container (hdf5, zarr, n5), the number or name "
        "of an image or position in a tif, czi, nd2 or lif, or a pattern of file names in a folder",
    )
    parser.add_argument(
        "--axes",
        metavar="LETTERS",
        help="what the axes of the image are, where its file does not say: T time, Z slices, C channels, Y, X; for "
        "instance CZYX",
    )


def add_embedding_path(parser: argparse.ArgumentParser) -> None:
    """``-e``."""
    parser.add_argument(
        "-e",
        "--embedding_path",
        metavar="PATH",
        help="where the embeddings are kept (a zarr folder, made if it is not there), so that the next start needs "
        "not compute them",
    )


def add_model(parser: argparse.ArgumentParser, window: bool = False) -> None:
    """``-m``, ``-c`` and ``-d``; a `window` begins with the model that works at once."""
    default = "nano_lm, which works at once; the window offers vit_h" if window else "vit_h"
    parser.set_defaults(is_window=window)
    parser.add_argument(
        "-m",
        "--model_type",
        type=_model_type,
        metavar="NAME",
        help=f"the model (default: {default}); nano_lm ships with the package; micro_sam.info lists them all",
    )
    parser.add_argument(
        "-c", "--checkpoint", metavar="PATH", help="weights of your own; their type is found in the file"
    )
    parser.add_argument(
        "-d", "--device", help="auto (default: the best there is), cpu, cuda, cuda:1, ... or mps (Apple)"
    )


def add_tiling(parser: argparse.ArgumentParser) -> None:
    """``--tile_shape`` and ``--halo``."""
    pair: dict[str, Any] = {"type": _positive, "nargs": 2, "metavar": ("Y", "X")}
    parser.add_argument("--tile_shape", **pair, help="process the image in tiles of this size, in pixels")
    parser.add_argument("--halo", **{**pair, "type": _not_negative}, help="overlap of the tiles, in pixels")


def add_annotator(parser: argparse.ArgumentParser, result: str = "segmentation", short: str = "s") -> None:
    """All arguments of an annotator but what is its own; ``result`` and ``short`` name the result to go on with."""
    add_input(
        parser, required=False, more="; sample:NAME for a sample. Without it the window opens and takes a dropped file"
    )
    add_embedding_path(parser)
    parser.add_argument(
        f"-{short}",
        f"--{result}_result",
        metavar="PATH",
        help=f"an earlier {result} to go on with: labels of any program, also of Cellpose (_seg.npy), ROIs of ImageJ "
        "or StarDist (zip), GeoJSON of QuPath",
    )
    parser.add_argument(
        f"-{short}k", f"--{result}_key", metavar="KEY", help="the dataset of that result in a container"
    )
    add_model(parser, window=True)
    add_tiling(parser)
    parser.add_argument("--decoder_path", metavar="PATH", help="a decoder for automatic segmentation, in its own file")
    parser.add_argument(
        "--prefer_decoder",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="begin the automatic segmentation with the model's decoder where it has one (default)",
    )
    parser.add_argument("--show_embeddings", action="store_true", help="show the embeddings as an image layer")
    parser.add_argument(
        "--precompute_amg_state",
        action="store_true",
        help="prepare the automatic segmentation at the start, so that it answers at once later",
    )
    add_session(parser)


def add_session(parser: argparse.ArgumentParser) -> None:
    """``--session``, ``--resume`` and ``--new_session``."""
    parser.add_argument(
        "--session",
        metavar="FOLDER",
        help="where everything that is done is kept, and what to go on with if it is there (default: beside the "
        "result once it is saved)",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--resume", action="store_true", help="go on with the last session on this image at once")
    which.add_argument(
        "--new_session", action="store_true", help="begin a new session and do not offer to go on with an earlier one"
    )


def resume_of(options: argparse.Namespace) -> bool | str:
    """What the window does about an earlier session."""
    return True if options.resume else False if options.new_session else "ask"


def _model_type(name: str) -> str:
    from micro_sam.models.registry import get_architecture_name

    try:
        get_architecture_name(name)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return name


def _positive(text: str) -> int:
    value = _not_negative(text)
    if value == 0:
        raise argparse.ArgumentTypeError("must be at least 1 pixel")
    return value


def _not_negative(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of pixels") from None
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative")
    return value


def _key_of_files(options: argparse.Namespace) -> None:
    """In micro-sam 1.x the key of a folder is the pattern of its slices."""
    folder, key = options.input, options.key
    if folder is not None and key is not None and any(c in key for c in "*?[") and Path(folder).is_dir():
        options.input, options.key = str(Path(folder) / key), None
        if getattr(options, "ndim", 0) is None:
            options.ndim = 3


def _complete_model(options: argparse.Namespace) -> None:
    from micro_sam.models.registry import DEFAULT_MODEL, get_spec

    if options.checkpoint is not None:
        recover(options.checkpoint)
    if options.checkpoint is None and (options.model_type is not None or not getattr(options, "is_window", False)):
        options.model_type = get_spec(options.model_type or DEFAULT_MODEL).name
    elif options.checkpoint is not None and not Path(options.checkpoint).is_file():
        what = "is a folder" if Path(options.checkpoint).is_dir() else "does not exist"
        raise InputError(f"The checkpoint {options.checkpoint} {what}; give the file with the weights.")


def _check_tiling(options: argparse.Namespace) -> None:
    if options.halo is not None and options.tile_shape is None:
        raise InputError("--halo is the overlap of tiles and needs --tile_shape Y X as well.")
    for name in ("tile_shape", "halo"):
        value = getattr(options, name)
        setattr(options, name, None if value is None else tuple(value))


def _command(main: Main) -> str:
    return f"micro_sam.{main.__module__.rpartition('.')[2]}" if main.__module__ != "__main__" else "micro_sam"
