"""What the axes of an image mean.

Files that say (OME-TIFF, ImageJ, OME-Zarr) are believed. Most do not say: then an axis is judged by its length, and
where that leaves it open, the user is asked.
The letters are those of `ImageSource.axes`: "C" is an axis of separate channels, "S" the colours of a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

from micro_sam.errors import InputError

LETTERS = "TZCYXS"
POSITIONS = "R"  # images of several places in one array: one of them is chosen
NAMES = {
    "T": ("t", "time", "times", "timepoint", "timepoints", "frame", "frames"),
    "Z": ("z", "slice", "slices", "plane", "planes", "depth", "section", "sections"),
    "C": ("c", "ch", "channel", "channels", "band", "bands", "wavelength"),
    "Y": ("y", "row", "rows", "height"),
    "X": ("x", "col", "cols", "column", "columns", "width"),
    "S": ("s", "rgb", "rgba", "color", "colour", "sample", "samples"),
    "R": ("r", "p", "pos", "position", "positions", "region", "site", "scene", "fov", "field", "view", "angle"),
}
FEW = 4  # an axis this short, beside long ones, is taken for channels
CHANNELS_LAST = 16  # at the end of the shape more are believed: no image is 16 pixels wide and 500 high


def axes_from_names(names: Sequence[object]) -> str | None:
    """Letters for the names that a container gives its axes ("z", "time", "channel"); None unless all are known."""
    letters = [next((k for k, known in NAMES.items() if str(name).strip().lower() in known), "") for name in names]
    joined = "".join(letters)
    if not names or "" in letters or len(set(joined)) != len(joined) or not {"Y", "X"} <= set(joined):
        return None
    return joined


def guess_axes(shape: Sequence[int], wants_stack: bool) -> str:
    """Letters for a shape without singleton axes, or "" when it cannot be told.

    Parameters
    ----------
    shape
        Two to four axes.
    wants_stack
        Whether the tool works on stacks or time series.
    """
    shape = tuple(shape)
    if len(shape) == 2:
        return "YX"
    if len(shape) == 3:
        return _guess_three(shape, wants_stack)
    if len(shape) == 4:
        return _guess_four(shape)
    return ""


def _guess_three(shape: tuple[int, ...], wants_stack: bool) -> str:
    first, second, last = shape
    if last in (3, 4) and min(first, second) > 4:
        return "YXS"
    if last <= CHANNELS_LAST and min(first, second) > 4 * last:
        return "YXC"
    if first <= FEW and min(second, last) > 4 * first and not wants_stack:
        return "CYX"
    return "ZYX"


def _guess_four(shape: tuple[int, ...]) -> str:
    first, second, third, last = shape
    if last in (3, 4) and min(second, third) > 4:
        return "ZYXS"
    if last <= CHANNELS_LAST and min(second, third) > 4 * last:
        return "ZYXC"
    return ""  # channels, time points and slices look alike


def check_axes(axes: str, shape: Sequence[int]) -> str:
    """Axes that somebody has named, as capital letters.

    Raises
    ------
    InputError
        When they do not fit the shape, or are no axes.
    """
    letters = axes.upper()
    if len(letters) != len(shape) or len(set(letters)) != len(letters) or set(letters) - set(LETTERS + POSITIONS):
        raise InputError(
            f"The axes {axes!r} do not fit an image of shape {tuple(shape)}. Name each of its {len(shape)} axes with "
            "one letter: T time, Z slices, C channels, Y, X, S colours, R positions; for instance CZYX."
        )
    return letters


def readings(shape: Sequence[int], tool: str) -> dict[str, str]:
    """What the first two of four axes could be, for a tool on stacks: axes -> what they would mean, in words."""
    first, second = shape[:2]
    letter, noun = ("T", "time points") if tool == "tracking" else ("Z", "slices")
    found = {}
    if first <= CHANNELS_LAST:
        found[f"C{letter}YX"] = f"{first} channels of {second} {noun}"
    if second <= CHANNELS_LAST:
        found[f"{letter}CYX"] = f"{first} {noun} with {second} channels"
    return found


def what_it_could_be(shape: Sequence[int], axes: str | None) -> str:
    """A proposal for an image that does not fit the tool."""
    shape = tuple(shape)
    if axes and "T" in axes and "Z" in axes:
        return "it has both time points and slices: choose one time point or one slice and save it as a file of its own"
    if axes and "T" in axes:
        return f"it holds {shape[axes.index('T')]} time points: open it with annotator_tracking, or choose one of them"
    if axes and "Z" in axes and "C" not in axes and len(shape) == 3 and axes == "ZYX":
        return f"it could be a stack of {shape[0]} slices (annotator_3d) or time points (annotator_tracking)"
    if axes in ("YXS", "YXC", "CYX"):
        return "it is a single image with several channels: open it with annotator_2d"
    if axes == "YX":
        return "it is a single image: open it with annotator_2d, or open the folder with all slices or frames"
    if len(shape) == 3:
        return (
            f"it could be a stack of {shape[0]} slices (annotator_3d), {shape[0]} time points (annotator_tracking), or "
            f"{shape[0]} channels (choose one of them)"
        )
    return "choose one channel, time point or position and save it as a file of its own"
