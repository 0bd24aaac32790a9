"""Every key of a tool, in one place.

napari asks the selected layer before the viewer, and each kind of layer has keys of its own (``s`` selects points,
``c`` changes the contrast of an image, ``v`` hides a layer). So every key is bound on the viewer *and* on each layer,
also on those that the person adds later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from napari import Viewer
from napari.layers import Layer


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
    """

    def __init__(self, viewer: Viewer, keys: Sequence[Key]) -> None:
        self.viewer = viewer
        self.keys = tuple(keys)
        self._bind(viewer)
        for layer in viewer.layers:
            self._bind(layer)
        viewer.layers.events.inserted.connect(self._inserted)

    def add(self, keys: Sequence[Key]) -> None:
        """Bind more keys."""
        self.keys = (*self.keys, *keys)
        for provider in (self.viewer, *self.viewer.layers):
            self._bind(provider)

    def close(self) -> None:
        """Give all keys back to napari."""
        self.viewer.layers.events.inserted.disconnect(self._inserted)
        for provider in (self.viewer, *self.viewer.layers):
            for key in self.keys:
                for name in key.keys:
                    provider.bind_key(name, None)

    def _inserted(self, event) -> None:
        self._bind(event.value)

    def _bind(self, provider: Viewer | Layer) -> None:
        for key in self.keys:
            for name in key.keys:
                provider.bind_key(name, _caller(key.act), overwrite=True)


def _caller(act: Callable[[], object]) -> Callable[[object], None]:
    def pressed(_) -> None:
        act()

    return pressed
