"""Sections of the volume along y and x: follows what is shown, and takes the clicks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from napari import Viewer

from micro_sam.sam_annotator.runtime.threads import LatestWins
from micro_sam.sam_annotator.state.images import full_scale
from micro_sam.sam_annotator.state.window import WindowState, image_of
from micro_sam.sam_annotator.view.frame import keep_height_of_dock
from micro_sam.sam_annotator.view.layers.session_layers import SessionLayers
from micro_sam.sam_annotator.view.sections import Plane, SectionsView
from micro_sam.sam_annotator.view.sight import Sight
from micro_sam.session.prompts import PromptSet
from micro_sam.session.session import Session

TITLE = "Sections"
NEAR = 32  # slices above and below that are read of a volume on disc, where a section may touch every chunk


class Sections:
    """Shows the sections through a place: the last point, or where the user went in them.

    Parameters
    ----------
    state, viewer, layers, sight
        Of the window.
    edited
        Called after a prompt in a section, as after one in the slice.

    Attributes
    ----------
    view
        The widget; None before the user has asked for it.
    """

    def __init__(
        self,
        state: WindowState,
        viewer: Viewer,
        layers: SessionLayers,
        sight: Sight,
        edited: Callable[[], object],
    ) -> None:
        self._state, self._viewer, self._layers, self._sight = state, viewer, layers, sight
        self._edited = edited
        self.view: SectionsView | None = None
        self._place = (0, 0)
        self._dock: Any = None
        self._reader: LatestWins | None = None
        self._raw: Any = None
        self._planes: dict[int, Plane] = {}

    def show(self, on: bool) -> None:
        """Show the sections below the image, or put them away."""
        if on:
            self._state.needed()
            self._make()
        if self._dock is not None:
            self._dock.setVisible(on)

    def prompt(self, position: tuple[float, float, float]) -> None:
        """Place a point (z, y, x), positive or negative as the next one is; its slice comes into view."""
        session = self._state.needed()
        self.go_to(position)
        session.prompts.add_point(position)
        self._edited()

    def go_to(self, position: tuple[float, float, float]) -> None:
        """Show the sections, and the slice, through a place (z, y, x)."""
        shape = self._state.needed().shape
        z, *place = (int(np.clip(round(v), 0, n - 1)) for v, n in zip(position, shape, strict=True))
        self._sight.go_to_slice(z)
        self._cut((place[0], place[1]))

    def close(self) -> None:
        """End the thread, and put the dock away."""
        if self._reader is not None:
            self._reader.close()
        if self._raw is not None:
            self._raw.events.contrast_limits.disconnect(self._contrast_changed)
            self._raw.events.gamma.disconnect(self._contrast_changed)
        if self.view is not None:
            self._dock.hide()
            self.view.end()

    # ------------------------------------------------------------------ inside

    def _make(self) -> None:
        if self._reader is None:
            self._reader = LatestWins("micro_sam sections")
            self._reader.done.connect(self._show)
            self._reader.failed.connect(lambda _tag, error: self._state.status.report(error))
            self._state.events.z.connect(self._moved)
            self._state.events.session.connect(self._follow)
            self._layers.shown.connect(self._follow_contrast)
            self._follow_contrast()
            self._follow(self._state.needed())
        if self.view is None:
            self.view = SectionsView(self._clicked, self._turned, self._layers.colours.of_committed)
            self._layers.colours.changed.connect(self.view.recolour)
            self._dock = self._viewer.window.add_dock_widget(self.view, name=TITLE, area="bottom")
            keep_height_of_dock(self._viewer)
            self._dock.visibilityChanged.connect(self._visibility_changed)
            self._dock.destroyOnClose = self._dock.hide  # its cross would delete it

    def _follow(self, session: Session) -> None:
        height, width = session.shape[-2:]
        session.events.prompts_changed.connect(self._prompts_changed)
        session.events.labels_changed.connect(self._read)
        self._place = (height // 2, width // 2)
        self._prompts_changed(session.prompts.drawn)

    def _prompts_changed(self, prompts: PromptSet) -> None:
        y, x = prompts.points[-1].position[-2:] if prompts.points else self._place
        self._cut((round(y), round(x)))

    def _cut(self, place: tuple[int, int]) -> None:
        """Show the sections through (y, x)."""
        self._place = place
        if self._state.section is not None:
            self._state.section = place
        self._read()

    def _visibility_changed(self, shown: bool) -> None:
        if not self._state.closed:
            self._state.section = self._place if shown else None
            self._read()

    def _moved(self, _z: int) -> None:
        if self._needs_other_slices():
            self._read()
        self._update()

    def _needs_other_slices(self) -> bool:
        plane = self._planes.get(1)
        return plane is None or not plane.first <= self._state.z < plane.first + len(plane.committed)

    def _read(self, *_: Any) -> None:
        """Read the sections in the background; of several requests only the last one counts."""
        state = self._state
        if state.closed or self._reader is None or state.session is None or state.section is None:
            return
        image, session, place = image_of(state), state.session, state.section
        depth = session.shape[0]
        is_quick = isinstance(image.data, np.ndarray) and not isinstance(image.data, np.memmap)
        first, stop = (0, depth) if is_quick else (max(state.z - NEAR, 0), min(state.z + NEAR + 1, depth))
        limits, gamma = self._contrast()
        scale = full_scale(image.scale, 3)
        points = tuple((p.position, p.positive) for p in session.prompts.drawn.points)

        def read() -> dict[int, Plane]:
            found = {}
            for axis in (1, 2):
                at = place[axis - 1]
                where = (slice(first, stop), *((at, slice(None)) if axis == 1 else (slice(None), at)))
                found[axis] = Plane(
                    np.asarray(image.data[where]),
                    np.asarray(session.labels.layer("committed")[where]),
                    np.asarray(session.labels.layer("current")[where]),
                    first,
                    (scale[0], scale[3 - axis]),
                    tuple((p[0] - first, p[3 - axis], good) for p, good in points if round(p[axis]) == at),
                    limits,
                    gamma,
                )
            return found

        self._reader.ask(session, read)

    def _show(self, session: Session, planes: dict[int, Plane]) -> None:
        if self._state.shows(session):
            self._planes = planes
            self._stretch()  # the contrast may have changed meanwhile
            self._update()

    def _update(self) -> None:
        if self.view is None or self._state.closed:
            return
        y, x = self._place
        for axis, section, along in ((1, self.view.xz, x), (2, self.view.yz, y)):
            section.show_plane(self._planes.get(axis), (self._state.z, along))

    # ------------------------------------------------------------------ contrast

    def _follow_contrast(self) -> None:
        """Another image is shown, maybe in another layer."""
        raw = self._layers.raw
        if raw is not self._raw:
            self._raw = raw
            raw.events.contrast_limits.connect(self._contrast_changed)
            raw.events.gamma.connect(self._contrast_changed)

    def _contrast(self) -> tuple[tuple[float, float] | None, float]:
        raw = self._layers.raw
        return None if raw.rgb else (float(raw.contrast_limits[0]), float(raw.contrast_limits[1])), float(raw.gamma)

    def _contrast_changed(self, _event: Any = None) -> None:
        if self._state.section is not None:
            self._stretch()
            self._update()

    def _stretch(self) -> None:
        limits, gamma = self._contrast()
        if any((plane.limits, plane.gamma) != (limits, gamma) for plane in self._planes.values()):
            self._planes = {k: replace(plane, limits=limits, gamma=gamma) for k, plane in self._planes.items()}

    def _clicked(self, axis: int, z: float, along: float, is_prompt: bool) -> None:
        y, x = self._place
        position = (z, float(y), along) if axis == 1 else (z, along, float(x))
        try:
            (self.prompt if is_prompt else self.go_to)(position)
        except Exception as error:
            self._state.status.report(error)

    def _turned(self, axis: int, steps: int) -> None:
        y, x = self._place
        moved = (y + steps, x) if axis == 1 else (y, x + steps)
        self.go_to((self._state.z, *moved))
