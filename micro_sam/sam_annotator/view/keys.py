"""Every key of a tool, in one place.

napari asks the selected layer before the viewer, and each kind of layer has keys of its own (``s`` selects points,
``c`` changes the contrast of an image, ``v`` hides a layer). So every key is bound on the viewer *and* on each layer,
also on those that the user adds later. Where several tools share a viewer, a key goes to the one whose layer is
selected, else to the one that was opened last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from napari import Viewer
from napari.layers import Layer
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QWidget

_IN_WINDOW: WeakKeyDictionary[QWidget, list[Keys]] = WeakKeyDictionary()
DIGITS = range(1, 10)


@dataclass(frozen=True)
class Key:
    """A key and what it does.

    Attributes
    ----------
    keys
        In napari's spelling; all do the same, the first is shown.
    text
        For the key list in the window.
    act
        Called without arguments.
    """

    keys: tuple[str, ...]
    text: str
    act: Callable[[], object]

    @property
    def shown(self) -> str:
        """The first key as people read it: ``"Ctrl-Z"``."""
        return self.keys[0].replace("Control", "Ctrl")


class Keys:
    """Binds keys to a viewer and to all its layers, now and later.

    Parameters
    ----------
    viewer
        Gets the bindings.
    keys
        What to bind.
    own_layers
        The layers of the tool that the keys are of.
    digit
        Called with 1 to 9 for ``Shift-1`` to ``Shift-9``: napari's own bindings do not know them, since 1 is another
        sign with Shift.
    """

    def __init__(
        self,
        viewer: Viewer,
        keys: Sequence[Key],
        own_layers: Callable[[], Iterable[Layer]] = tuple,
        digit: Callable[[int], object] | None = None,
    ) -> None:
        self.viewer = viewer
        self.keys = tuple(keys)
        self._own_layers = own_layers
        self._digit = digit
        self._together = _IN_WINDOW.setdefault(viewer.window._qt_window, [])
        if not self._together:
            _bind_digits(viewer, self._together)
        self._together.append(self)
        for provider in (viewer, *viewer.layers):
            self._bind(provider)
        viewer.layers.events.inserted.connect(self._inserted)

    def add(self, keys: Sequence[Key]) -> None:
        """Bind more keys."""
        self.keys = (*self.keys, *keys)
        for provider in (self.viewer, *self.viewer.layers):
            self._bind(provider)

    def close(self) -> None:
        """Give the keys back to napari, but for those of other tools in the viewer."""
        self.viewer.layers.events.inserted.disconnect(self._inserted)
        self._together.remove(self)
        theirs = {name for other in self._together for key in other.keys for name in key.keys}
        for provider in (self.viewer, *self.viewer.layers):
            for key in self.keys:
                for name in set(key.keys) - theirs:
                    provider.bind_key(name, None)

    def _inserted(self, event) -> None:
        self._bind(event.value)

    def _bind(self, provider: Viewer | Layer) -> None:
        for key in self.keys:
            for name in key.keys:
                provider.bind_key(name, self._caller(name), overwrite=True)

    def _caller(self, name: str) -> Callable[[object], None]:
        together, viewer = self._together, self.viewer

        def pressed(_) -> None:
            able = [keys for keys in together if keys._action_of(name) is not None]
            keys = _whose(viewer, able)
            if keys is not None:
                keys._action_of(name)()

        return pressed

    def _action_of(self, name: str) -> Callable[[], object] | None:
        return next((key.act for key in self.keys if name in key.keys), None)


def _whose(viewer: Viewer, tools: Sequence[Keys]) -> Keys | None:
    """The tool whose layer is selected, else the last one."""
    active = viewer.layers.selection.active
    mine = [keys for keys in tools if any(layer is active for layer in keys._own_layers())]
    return next(reversed(mine or list(tools)), None)


def _bind_digits(viewer: Viewer, together: list[Keys]) -> None:
    window = viewer.window._qt_window

    def pressed(number: int) -> None:
        chosen = _whose(viewer, [keys for keys in together if keys._digit is not None])
        if chosen is not None:
            chosen._digit(number)

    for number in DIGITS:
        shortcut = QShortcut(QKeySequence(f"Shift+{number}"), window)
        shortcut.activated.connect(lambda number=number: pressed(number))
