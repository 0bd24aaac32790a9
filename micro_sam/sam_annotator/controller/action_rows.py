"""One row of the table of actions, and the action that a window makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from micro_sam.sam_annotator.actions import Action, key_shown
from micro_sam.sam_annotator.state.tool import Tool


@dataclass(frozen=True)
class Row:
    """One action of a tool.

    Captions and tips may have ``{key}`` and ``{keys[NAME]}`` (its own key, and that of another row), ``{noun}``,
    ``{place}``, ``{part}``, ``{image}``, ``{committed}`` (of the tool) and ``{formats}`` (in which it saves).
    """

    name: str
    do: Callable[[Any], Callable[..., Any]]
    caption: str = ""
    tip: str = ""
    keys: tuple[str, ...] = ()
    text: str = ""


def bind(rows: tuple[Row, ...], handlers: Any, tool: Tool, formats: str = "") -> list[Action]:
    """The actions of a window."""
    words = {"noun": tool.noun, "place": tool.place, "part": tool.part, "image": tool.image_noun}
    keys = {row.name: key_shown(row.keys) for row in rows}

    def filled(text: str, row: Row) -> str:
        return text.format(key=keys[row.name], keys=keys, formats=formats, committed=tool.names.committed, **words)

    return [
        Action(row.name, row.do(handlers), filled(row.caption, row), filled(row.tip, row), row.keys, row.text)
        for row in rows
    ]
