"""What is known about an image besides its pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ImageSource:
    """An image as it lies in its file, before a tool interprets its axes.

    Attributes
    ----------
    data
        Numpy or lazy array (memory-mapped, :class:`~micro_sam.io.lazy.LazyArray`), axes as in the file.
    axes
        One letter per axis where the file says: T time, Z, C channel, Y, X, S colour samples, R positions; None: not
        known.
    scale
        Size of a pixel along each axis of `data`: µm for lengths, seconds for time (1 where the file does not say);
        None: not known.
    unit
        "µm" where `scale` is known.
    path, key
        Where it comes from.
    note
        What was assumed about the file, as sentences for the user; empty when nothing was.
    choices
        The other images of the same file: key -> what it is, in words; empty when there is one image.
    levels
        The same image at lower resolutions, as the file holds it: the finest first, without `data` itself.
    """

    data: Any
    axes: str | None = None
    scale: tuple[float, ...] | None = None
    unit: str | None = None
    path: Path | None = None
    key: str | None = None
    note: str = ""
    choices: dict[str, str] = field(default_factory=dict, compare=False)
    levels: tuple[Any, ...] = field(default=(), compare=False)

    @property
    def name(self) -> str:
        """A short name for windows and messages."""
        if self.path is None:
            return "image"
        return self.path.name.split(".")[0] or self.path.name

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(int(s) for s in self.data.shape)


def is_movie(axes: str | None) -> bool:
    """Whether the slices of a stack with these axes (as in `ImageSource`) are frames, so that they have no distance."""
    letters = (axes or "").upper()
    return "T" in letters and "Z" not in letters
