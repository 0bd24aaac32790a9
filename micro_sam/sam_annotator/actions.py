"""What the user can do in a window: a name, a caption, a tip, keys, and the function behind them.

A :class:`Row` says it for every window of a kind; an :class:`Action` is what one window makes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from psygnal import Signal

from micro_sam.sam_annotator.state.tool import Tool


@dataclass(frozen=True)
class Action:
    """One thing that the user can do.

    Attributes
    ----------
    name
        How panels and scripts call it.
    do
        Does it.
    caption, tip
        Of its button or switch. ``[KEY]`` in them is its key.
    keys
        In napari's spelling; all do the same, the first is shown.
    text
        For the list of keys; empty: not in the list.
    """

    name: str
    do: Callable[..., Any]
    caption: str = ""
    tip: str = ""
    keys: tuple[str, ...] = ()
    text: str = ""

    @property
    def key(self) -> str:
        """The first key as it is read: ``"Ctrl-Z"``, ``"S"``."""
        return key_shown(self.keys)


def key_shown(keys: Sequence[str]) -> str:
    """The first of some keys as it is read; empty without keys."""
    shown = keys[0].replace("Control", "Ctrl") if keys else ""
    return shown.upper() if len(shown) == 1 else shown


class Actions:
    """The actions of one window: ``actions.commit()`` does one, ``actions["commit"].tip`` tells of it.

    What goes wrong in an action reaches the user, and never the event loop: it then returns None.

    Parameters
    ----------
    report
        Called with the exception of an action.
    acted
        Called when the user does something, before it is done.

    Signals
    -------
    added
        There are more actions.
    """

    added = Signal()

    def __init__(self, report: Callable[[Exception], None], acted: Callable[[], object] = lambda: None) -> None:
        self._report, self._acted = report, acted
        self._actions: dict[str, Action] = {}

    def add(self, actions: Iterable[Action]) -> None:
        """Take more actions."""
        self._actions |= {action.name: action for action in actions}
        self.added.emit()

    def __getitem__(self, name: str) -> Action:
        return self._actions[name]

    def __iter__(self) -> Iterator[Action]:
        return iter(self._actions.values())

    def __contains__(self, name: str) -> bool:
        return name in self._actions

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._actions]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_") or name not in self._actions:
            raise AttributeError(f"There is no action {name!r}.")

        def call(*args: Any, **kwargs: Any) -> Any:
            self._acted()
            try:
                return self._actions[name].do(*args, **kwargs)
            except Exception as error:
                self._report(error)
                return None

        return call


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
