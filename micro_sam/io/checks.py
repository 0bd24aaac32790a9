"""Whether an image fits a tool, decided before anything is computed."""

from __future__ import annotations

import contextlib
import logging
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from micro_sam.errors import AxesError, ChoiceError, InputError
from micro_sam.io.addresses import is_address
from micro_sam.io.axes import LETTERS, check_axes, guess_axes, readings, what_it_could_be
from micro_sam.io.choices import listed
from micro_sam.io.inputs import as_array
from micro_sam.io.mixing import MixedChannels
from micro_sam.io.source import ImageSource, is_movie

log = logging.getLogger(__name__)

Tool = Literal["2d", "3d", "tracking"]
SPACE = {"2d": "YX", "3d": "ZYX", "tracking": "ZYX"}
NEEDS = {"2d": "one image (H, W)", "3d": "a stack (Z, H, W)", "tracking": "a movie (time, H, W)"}
NAMES = {"2d": "The 2D annotator", "3d": "The 3D annotator", "tracking": "The tracking annotator"}
LARGEST_EAGER = 2**28  # bytes; larger lazy arrays are rearranged through dask
CHUNK_BYTES = 2**22  # of an array that has no chunks of its own


@dataclass(frozen=True)
class CheckedImage:
    """An image as a tool uses it.

    Attributes
    ----------
    data
        (H, W) or (Z, H, W), with a last axis of 3 colours if `is_rgb`; slices or frames first.
    ndim
        2 for an image, 3 for a stack or time series.
    is_rgb
        Whether the last axis holds colours.
    note
        What was assumed, as sentences for the user; empty when nothing was.
    n_channels
        Number of channels to choose from; 1: there is no choice.
    channel
        The channel that is shown; None: all of them, as colours or mixed.
    scale
        Size of a pixel along each axis without colours; None: not known.
    """

    data: Any
    ndim: int
    is_rgb: bool = False
    note: str = ""
    n_channels: int = 1
    channel: int | None = None
    scale: tuple[float, ...] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape without colours: (H, W) or (Z, H, W)."""
        return tuple(int(s) for s in self.data.shape[: self.ndim])


def check_image(
    image: ImageSource | Any,
    tool: Tool = "2d",
    *,
    axes: str | None = None,
    scale: tuple[float, ...] | None = None,
    channel: int | Literal["mix"] | None = None,
) -> CheckedImage:
    """Understand the axes of an image and bring them into the order that a tool needs.

    Singleton axes are dropped. Three channels, or four with alpha, are colours. Of other numbers of channels the first
    is used unless `channel` says otherwise. Values are not looked at: any integer, bool or float image will do.

    Parameters
    ----------
    image
        From `open_image`, or an array.
    tool
        "2d", "3d" or "tracking".
    axes, scale
        As in `ImageSource`; taken from the image if it is one. Axes that are given here count more.
    channel
        Channel number from 0; "mix": the mean of all channels, each stretched to its own range.

    Raises
    ------
    InputError
        When the image does not fit the tool; the message proposes what it could be.
    AxesError
        When nothing says what four axes are, since channels, slices and time points look alike.
    ChoiceError
        When it holds several positions, of which one has to be chosen.
    """
    path, choices, said = None, {}, ""
    if isinstance(image, ImageSource):
        path, choices, said = image.path, image.choices, image.note
        axes, scale, image = axes or image.axes, scale or image.scale, image.data
    data = as_array(image)
    shape = tuple(int(s) for s in data.shape)
    _check_values(data, shape)
    axes = None if axes is None else check_axes(axes, shape)
    check_positions(shape, axes, path, choices)
    notes: list[str] = [said] if said else []
    kept = _axes_to_keep(shape, axes, tool)
    if len(kept) < len(shape):
        notes.append(f"Axes of length 1 were left out of the shape {shape}.")
    long_shape = tuple(shape[k] for k in kept)
    known = None if axes is None else "".join(axes[k] for k in kept)
    wants_stack = tool != "2d"
    letters = known or guess_axes(long_shape, wants_stack)
    letters = _time_as_slices(letters, tool, notes)
    space = "".join(letter for letter in letters if letter in "ZYX")
    colours = "".join(letter for letter in letters if letter in "CS")
    if not letters and wants_stack and len(long_shape) == 4 and readings(long_shape, tool):
        raise _ask_for_axes(shape, [shape[k] for k in kept], kept, tool, path)
    if sorted(space) != sorted(SPACE[tool]) or len(colours) > 1 or len(space) + len(colours) != len(long_shape):
        raise InputError(
            f"{NAMES[tool]} needs {NEEDS[tool]}, but this image has the shape {shape}: "
            f"{what_it_could_be(long_shape, known or letters)}.{_other_axes(len(long_shape), known, tool, letters)}"
        )
    if known is None and wants_stack and long_shape[0] <= 4 and letters == "ZYX":
        noun = "slices" if tool == "3d" else "frames"
        notes.append(f"The first axis was taken for {long_shape[0]} {noun}, not channels (which --axes CYX would say).")
    if scale is not None:
        scale = tuple(float(scale[kept[letters.index(letter)]]) for letter in SPACE[tool])
        if tool == "3d" and is_movie(known):
            scale = (1.0, *scale[1:])  # seconds are no distance of slices
    order = [kept[letters.index(letter)] for letter in SPACE[tool] + colours]
    data = _rearrange(data, kept, order)
    ndim = len(SPACE[tool])
    if not colours:
        return CheckedImage(data, ndim, note=" ".join(notes), scale=scale)
    return _with_channels(data, ndim, letters.index(colours), colours == "S", notes, scale, channel)


def check_any(image: ImageSource | Any, ndim: int | None = None, *, axes: str | None = None) -> CheckedImage:
    """As `check_image`, for callers that have no tool: an image, or a stack with ``ndim=3``.

    Parameters
    ----------
    image, axes
        See `check_image`.
    ndim
        2 or 3; None: an image if it can be one, otherwise a stack.

    Raises
    ------
    InputError
        See `check_image`.
    """
    if ndim is not None:
        return check_image(image, "2d" if ndim == 2 else "3d", axes=axes)
    try:
        return check_image(image, "2d", axes=axes)
    except ChoiceError:
        raise
    except InputError as not_2d:
        try:
            return check_image(image, "3d", axes=axes)
        except AxesError:
            raise
        except InputError:
            raise not_2d from None


def check_network_input(image: ImageSource | Any, ndim: int | None = None) -> CheckedImage:
    """As `check_any`, for functions in which nobody can choose a channel: grey or colours only.

    Three planes that nothing explains are colours, as everywhere; two or four are then slices, and it is said.

    Raises
    ------
    InputError
        Also when there are channels to choose from.
    """
    checked = check_any(image, ndim)
    is_choice = checked.n_channels > 1 and not checked.is_rgb
    if is_choice and ndim is None and checked.ndim == 2:
        with contextlib.suppress(InputError):
            stack = check_image(image, "3d")
            log.info("%s", stack.note)
            return stack
    if is_choice:
        raise InputError(
            f"The image has {checked.n_channels} channels; choose one of them, or mix them into one or three, before "
            "it is given to the model."
        )
    return checked


def check_positions(shape: tuple[int, ...], axes: str | None, path: Any, choices: dict[str, str]) -> None:
    """Raise ChoiceError for an axis of several positions."""
    if axes is None:
        return
    for letter, size in zip(axes, shape, strict=True):
        if letter not in LETTERS and size > 1:
            choices = choices or {str(k): f"position {k}" for k in range(size)}
            how = "choose it with the key (--key)" if path is not None else "take one of them from the array"
            raise ChoiceError(
                f"{path or 'The image'} has {size} positions ({letter}); which one? Please {how}: {listed(choices)}.",
                choices,
                path,
            )


def _other_axes(ndim: int, known: str | None, tool: Tool, letters: str) -> str:
    """What to do when the file names the wrong axes, or when they were guessed wrong."""
    wanted = SPACE[tool] if tool != "tracking" else "TYX"
    if known is None and tool != "2d" and ndim == 3 and letters[-1:] in ("S", "C"):
        return f" If its last axis is no channels, but x, name the axes: --axes {wanted}."
    if known is None or ndim != len(wanted) or sorted(known) == sorted(wanted):
        return ""
    return f" If its axes are not {known}, as the file says, name them: --axes {wanted}."


def _ask_for_axes(shape: tuple[int, ...], long_shape: list[int], kept: list[int], tool: Tool, path: Any) -> AxesError:
    """The question what four axes are that nothing explains, with what they could be."""
    possible = {}
    for letters, words in readings(long_shape, tool).items():
        named = dict(zip(kept, letters, strict=True))
        spare = iter(letter for letter in "STZC" if letter not in letters)
        possible["".join(named[k] if k in named else next(spare) for k in range(len(shape)))] = words
    options = " or ".join(f"{words} (axes {letters})" for letters, words in possible.items())
    example = next(iter(possible))
    other = "positions" if tool == "tracking" else "time points"
    return AxesError(
        f"{NAMES[tool]} needs {NEEDS[tool]}, but this image has the shape {shape}, and nothing says what its axes are: "
        f"it could be {options}; say which, with axes={example!r} in a script or --axes {example} on the command line. "
        f"If it has several {other}, choose one of them and save it as a file of its own.",
        possible,
        path,
    )


def _with_channels(
    data: Any,
    ndim: int,
    position: int,
    are_colours: bool,
    notes: list[str],
    scale: tuple[float, ...] | None,
    channel: int | Literal["mix"] | None,
) -> CheckedImage:
    """Decide what to show of an image whose channels are the last axis."""
    count = int(data.shape[-1])
    if channel is not None:
        shown = mix_channels(data) if channel == "mix" else select_channel(data, channel)
        notes.append(
            f"The mean of {count} channels is used." if channel == "mix" else f"Channel {channel} of {count} is used."
        )
        return CheckedImage(shown, ndim, False, " ".join(notes), count, None if channel == "mix" else channel, scale)
    if count == 3 or (are_colours and count == 4):
        if position < ndim:
            notes.append(f"Axis {position} of length {count} was taken for the colours red, green, blue.")
        if count == 4:
            notes.append("The fourth channel (alpha) is not used.")
            data = _take(data, slice(0, 3))
        return CheckedImage(data, ndim, True, " ".join(notes), 3, None, scale)
    if are_colours and count == 2:  # grey with alpha needs no word
        return CheckedImage(_take(data, 0), ndim, False, " ".join(notes), scale=scale)
    notes.append(f"The image has {count} channels; channel 0 is used. Another one, or their mix, can be chosen.")
    return CheckedImage(_take(data, 0), ndim, False, " ".join(notes), count, 0, scale)


def select_channel(data: Any, channel: int) -> Any:
    """One channel of an array whose last axis holds the channels.

    Raises
    ------
    InputError
        When there is no such channel.
    """
    count = int(data.shape[-1])
    if not 0 <= channel < count:
        raise InputError(f"There is no channel {channel}; the image has the channels 0 to {count - 1}.")
    return _take(data, channel)


def mix_channels(data: Any) -> np.ndarray | MixedChannels:
    """The mean of all channels (last axis), each stretched between its percentiles 1 and 99.7, as float32 in 0..1.

    Of an array that is not in memory and large, it is computed where it is looked at.
    """
    mixed = MixedChannels([_take(data, channel) for channel in range(data.shape[-1])])
    return mixed if not isinstance(data, np.ndarray) and _nbytes(data) > LARGEST_EAGER else mixed[...]


def _check_values(data: Any, shape: tuple[int, ...]) -> None:
    kind = np.dtype(data.dtype).kind
    if kind not in "biuf":
        raise InputError(
            f"Images must hold numbers (integers, floats or bool), but this one has the type {data.dtype}."
        )
    if 0 in shape:
        raise InputError(f"The image is empty: its shape is {shape}.")
    if len(shape) < 2:
        raise InputError(
            f"An image needs at least two axes, but this one has the shape {shape}: it is a list of values."
        )


def _axes_to_keep(shape: tuple[int, ...], axes: str | None, tool: Tool) -> list[int]:
    """Indices of the axes that stay: all long ones, and of the short ones those that the tool needs."""
    if axes is not None:
        needed = set("YX")
        if tool != "2d":
            # the first axis of a stack is Z, that of a movie T; or the other one, where that is longer
            first, other = "ZT" if tool == "3d" else "TZ"
            sizes = dict(zip(axes, shape, strict=True))
            needed.add(other if sizes.get(other, 0) > sizes.get(first, 0) else first)
        return [k for k, (size, letter) in enumerate(zip(shape, axes, strict=True)) if size > 1 or letter in needed]
    kept = list(range(len(shape)))
    wanted = len(SPACE[tool])
    for k in [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]:  # the leading ones first
        if len(kept) > wanted and shape[k] == 1:
            kept.remove(k)
    return kept


def _time_as_slices(letters: str, tool: Tool, notes: list[str]) -> str:
    """For stacks and time series both kinds of first axis are called Z; says so if the file says otherwise."""
    if tool == "2d" or ("T" in letters and "Z" in letters):
        return letters
    if tool == "3d" and "T" in letters:
        notes.append(
            "The file says that the first axis is time; it is used as slices. annotator_tracking follows time."
        )
    if tool == "tracking" and "Z" in letters:
        return letters  # most files call time "slices"
    return letters.replace("T", "Z")


def _rearrange(data: Any, kept: list[int], order: list[int]) -> Any:
    """Drop singleton axes and move the others; arrays that are in order already are not touched."""
    n_axes = len(data.shape)
    if order == list(range(n_axes)):
        return data
    if not isinstance(data, np.ndarray):
        data = _movable(data)
    return data[tuple(slice(None) if k in kept else 0 for k in range(n_axes))].transpose([kept.index(k) for k in order])


def _take(data: Any, channel: int | slice) -> Any:
    if not isinstance(data, np.ndarray):
        data = _movable(data)
    return data[..., channel]


def _movable(data: Any) -> Any:
    """A lazy array whose axes can be moved: in memory if it fits, otherwise as dask array."""
    if hasattr(data, "dask"):
        return data
    if _nbytes(data) <= LARGEST_EAGER and not is_address(getattr(data, "path", None)):
        return np.asarray(data[...])
    import dask.array

    # Whole planes as chunks would be read for every tile of a large plane.
    chunks = getattr(data, "chunks", None) or dask.array.core.normalize_chunks(
        "auto", tuple(data.shape), limit=CHUNK_BYTES, dtype=np.dtype(data.dtype)
    )
    return dask.array.from_array(data, chunks=chunks)


def _nbytes(data: Any) -> int:
    return math.prod(int(n) for n in data.shape) * int(np.dtype(data.dtype).itemsize)
