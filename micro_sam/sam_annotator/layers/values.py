"""Names, tools and factors that the layers of a tool share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Tool = Literal["point", "box", "polygon", "ellipse", "paint", "erase", "pick", "move"]
SHAPE_MODES = {"box": "add_rectangle", "polygon": "add_polygon", "ellipse": "add_ellipse"}


@dataclass(frozen=True)
class LayerNames:
    """What the layers of a tool are called; people and scripts rely on these names."""

    raw: str = "raw"
    prompts: str = "prompts"
    box_prompts: str = "box_prompts"
    current: str = "current_object"
    committed: str = "committed_objects"
    auto: str = "auto_segmentation"
    tracks: str = ""


def full_scale(scale: tuple[float, ...] | None, ndim: int) -> tuple[float, ...]:
    """One factor per axis; 1 where nothing is known."""
    return tuple(scale) if scale is not None else (1.0,) * ndim
