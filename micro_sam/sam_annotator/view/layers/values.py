"""Tools and factors that the layers of a tool share."""

from __future__ import annotations

from typing import Literal

MouseTool = Literal["point", "box", "polygon", "ellipse", "paint", "erase", "pick", "move"]
SHAPE_MODES = {"box": "add_rectangle", "polygon": "add_polygon", "ellipse": "add_ellipse"}


def full_scale(scale: tuple[float, ...] | None, ndim: int) -> tuple[float, ...]:
    """One factor per axis; 1 where nothing is known."""
    return tuple(scale) if scale is not None else (1.0,) * ndim
