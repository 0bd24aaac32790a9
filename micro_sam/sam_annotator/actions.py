"""What the user can do in a window: a name, a caption, a tip, keys, and the function behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from psygnal import Signal


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
