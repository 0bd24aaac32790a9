"""Every key of a tool, in one place, and the list of them.

napari asks the selected layer before the viewer, and each kind of layer has keys of its own (``s`` selects points,
``c`` changes the contrast of an image, ``v`` hides a layer). So every key is bound on the viewer *and* on each layer,
also on those that the user adds later. Where several tools share a viewer, a key goes to the one whose layer is
selected, else to the one that was opened last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from napari import Viewer
from napari.layers import Layer
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QGridLayout, QLabel, QSizePolicy, QWidget

from micro_sam.sam_annotator.actions import Action, Actions
from micro_sam.sam_annotator.view.frame import kept_with

DIGITS = range(1, 10)


class Keys:
    """Binds the keys of all actions to a viewer and to all its layers, now and later.

    Parameters
    ----------
    viewer
        Gets the bindings.
    actions
        Those with keys are bound. ``set_class`` is called for ``Shift-1`` to ``Shift-9``: napari's own bindings do not
        know them, since 1 is another sign with Shift.
    own_layers
        The layers of the tool that the keys are of.
    """

    def __init__(self, viewer: Viewer, actions: Actions, own_layers: Callable[[], Iterable[Layer]] = tuple) -> None:
        self._viewer = viewer
        self._actions = actions
        self._own_layers = own_layers
        self._together: list[Keys] = kept_with(viewer, "keys")
        if not self._together:
            _bind_digits(viewer, self._together)
        self._together.append(self)
        self._bind_all()
        viewer.layers.events.inserted.connect(self._inserted)
        actions.added.connect(self._bind_all)

    @property
    def keys(self) -> tuple[Action, ...]:
        """The actions that have keys."""
        return tuple(action for action in self._actions if action.keys)

    def close(self) -> None:
        """Give the keys back to napari, but for those of other tools in the viewer."""
        self._actions.added.disconnect(self._bind_all)
        self._viewer.layers.events.inserted.disconnect(self._inserted)
        self._together.remove(self)
        theirs = {name for other in self._together for action in other.keys for name in action.keys}
        for provider in (self._viewer, *self._viewer.layers):
            for action in self.keys:
                for name in set(action.keys) - theirs:
                    provider.bind_key(name, None)

    def _inserted(self, event: Any) -> None:
        self._bind(event.value)

    def _bind_all(self) -> None:
        for provider in (self._viewer, *self._viewer.layers):
            self._bind(provider)

    def _bind(self, provider: Viewer | Layer) -> None:
        for action in self.keys:
            for name in action.keys:
                provider.bind_key(name, self._caller(name), overwrite=True)

    def _caller(self, name: str) -> Callable[[object], None]:
        together, viewer = self._together, self._viewer

        def pressed(_: object) -> None:
            able = [keys for keys in together if keys._action_of(name) is not None]
            keys = _whose(viewer, able)
            action = None if keys is None else keys._action_of(name)
            if action is not None:
                action()

        return pressed

    def _action_of(self, name: str) -> Callable[[], object] | None:
        found = next((action for action in self.keys if name in action.keys), None)
        return None if found is None else getattr(self._actions, found.name)


def _whose(viewer: Viewer, tools: Sequence[Keys]) -> Keys | None:
    """The tool whose layer is selected, else the last one."""
    active = viewer.layers.selection.active
    mine = [keys for keys in tools if any(layer is active for layer in keys._own_layers())]
    return next(reversed(mine or list(tools)), None)


def _bind_digits(viewer: Viewer, together: list[Keys]) -> None:
    window = viewer.window._qt_window

    def pressed(number: int) -> None:
        tool = _whose(viewer, [keys for keys in together if "set_class" in keys._actions])
        if tool is not None:
            tool._actions.set_class(number)

    for number in DIGITS:
        shortcut = QShortcut(QKeySequence(f"Shift+{number}"), window)
        shortcut.activated.connect(lambda number=number: pressed(number))


class KeyList(QWidget):
    """Key and what it does, one line each."""

    def __init__(self, actions: Actions) -> None:
        super().__init__()
        self._actions = actions
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setVerticalSpacing(1)
        self._grid.setColumnStretch(1, 1)
        self._shown: set[str] = set()
        actions.added.connect(self._show)
        self._show()

    def _show(self) -> None:
        """Add the keys that are not in the list yet."""
        for action in self._actions:
            if not action.keys or action.name in self._shown:
                continue
            text = QLabel(action.text)
            text.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
            self._grid.addWidget(QLabel(f"<b>{action.key}</b>"), len(self._shown), 0)
            self._grid.addWidget(text, len(self._shown), 1)
            self._shown.add(action.name)
