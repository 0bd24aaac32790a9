"""What the layers of a tool are called."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import asdict, dataclass


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
