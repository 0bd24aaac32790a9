"""Names, tools and factors that the layers of a tool share."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import asdict, dataclass
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

    def beside(self, present: Iterable[str]) -> LayerNames:
        """Names that no layer of a viewer has yet: with `` (2)``, `` (3)``, ... where another tool has these."""
        present, names = set(present), asdict(self)
        own = {name for key, name in names.items() if name and key != "raw"}
        number = next(n for n in itertools.count(1) if not present & {_numbered(name, n) for name in own})
        return LayerNames(**{key: _numbered(name, number) if name else "" for key, name in names.items()})


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name} ({number})"


def full_scale(scale: tuple[float, ...] | None, ndim: int) -> tuple[float, ...]:
    """One factor per axis; 1 where nothing is known."""
    return tuple(scale) if scale is not None else (1.0,) * ndim
