"""The whole object of a volume, or the tracks of a movie: parameters, the certainty of each slice, corrections."""

from __future__ import annotations

from typing import Protocol

from magicgui.widgets import CheckBox, ComboBox, RadioButtons
from psygnal import SignalInstance
from qtpy.QtWidgets import QHBoxLayout, QWidget

from micro_sam.sam_annotator.actions import Actions
from micro_sam.sam_annotator.state.options import TrackingOptions, VolumeOptions, VolumeThresholds
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.forms import Form
from micro_sam.sam_annotator.view.layers.track_layers import TrackLayers
from micro_sam.sam_annotator.view.panels.confidence_strip import ConfidenceStrip
from micro_sam.sam_annotator.view.panels.parts import (
    FoldedMenu,
    action_button,
    action_switch,
    button,
    column,
    menu_layout,
    row,
)
from micro_sam.session.current_tracks import CurrentTrack
from micro_sam.session.session import TrackingSession


class MethodState(Protocol):
    """What the panel reads of the automatic segmentation."""

    @property
    def by_maps(self) -> bool:
        """Whether all slices are segmented by the maps of the volume."""

    @property
    def method_changed(self) -> SignalInstance:
        """Another method was selected."""


class Corrections(QWidget):
    """Go to the weakest slice, and the switch that opens a committed object again when it is clicked."""

    def __init__(self, state: WindowState, actions: Actions) -> None:
        super().__init__()
        self.weakest = action_button(actions, "go_to_weakest_slice")
        self.correct = action_switch(actions, "correct_by_click", lambda: state.corrects)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        layout.addWidget(self.weakest.native)
        layout.addWidget(self.correct)
        state.events.corrects.connect(self._show)

    def _show(self, on: bool) -> None:
        self.correct.setChecked(on)


class VolumePanel(QWidget):
    """``Whole object``; the strip shows how certain each slice is, and the object growing."""

    title = "Volume"

    def __init__(self, state: WindowState, actions: Actions, strip: ConfidenceStrip, automatic: MethodState) -> None:
        super().__init__()
        self._state, self._automatic, self.strip = state, automatic, strip
        self.run = action_button(actions, "segment_volume")
        self.corrections = Corrections(state, actions)
        self.all_slices = action_button(actions, "segment_all_slices")
        self.form = Form([VolumeOptions], actions.set_option, dict(state.options or VolumeOptions()))
        self.method, self.iou_threshold = self.form.widgets["method"], self.form.widgets["iou_threshold"]
        self.parameters = FoldedMenu("Parameters of the whole object", self.form.native)
        self.all_form = Form([VolumeThresholds], actions.set_volume_threshold)
        self.thresholds = self.all_form.widgets
        self.all_parameters = FoldedMenu("Parameters of Segment All in Volume", self.all_form.native)
        layout = menu_layout(self, 3)
        layout.addWidget(self.run.native)
        layout.addWidget(strip)
        layout.addWidget(self.corrections)
        layout.addWidget(self.parameters)
        layout.addWidget(self.all_slices.native)
        layout.addWidget(self.all_parameters)
        state.events.options.connect(self._show_thresholds)
        automatic.method_changed.connect(self._show_thresholds)
        self._show_thresholds()

    def _show_thresholds(self) -> None:
        self.all_parameters.setVisible(self._automatic.by_maps)


class TrackingPanel(QWidget):
    """``Track Object`` and the menus ``track_id`` and ``track_state``."""

    title = "Tracking"

    def __init__(self, state: WindowState, actions: Actions, strip: ConfidenceStrip, layers: TrackLayers) -> None:
        super().__init__()
        self._state, self._actions, self._layers = state, actions, layers
        layout = menu_layout(self, 3)
        layout.addWidget(self._make_prompt_menus())
        self.run = action_button(actions, "track_objects")
        self.strip = strip
        layout.addWidget(self.run.native)
        layout.addWidget(strip)
        self.corrections = Corrections(state, actions)
        layout.addWidget(self.corrections)
        self.parameters = FoldedMenu("Parameters of Track Object", self._make_parameters())
        layout.addWidget(self.parameters)
        self.all_frames = action_button(actions, "segment_and_track_all")
        layout.addWidget(self.all_frames.native)
        layout.addWidget(FoldedMenu("Track a segmentation", self._make_linking()))
        state.events.session.connect(self._follow)
        layers.present_changed.connect(self._show_layers)
        self._show_layers()

    # ------------------------------------------------------------------ parts

    def _make_prompt_menus(self) -> QWidget:
        actions = self._actions
        self.track_id = ComboBox(
            choices=[("1", 1)], label=actions["set_track"].caption, tooltip=actions["set_track"].tip
        )
        self.track_id.changed.connect(self._set_track)
        self.new = action_button(actions, "new_track")
        self.next = action_button(actions, "next_track")
        self.track_state = RadioButtons(
            choices=["track", "division"],
            value="track",
            orientation="horizontal",
            label=actions["toggle_state"].caption,
            tooltip=actions["toggle_state"].tip,
        )
        self.track_state.changed.connect(actions.set_state)
        return column(self.track_id, row(self.new, self.next), self.track_state, labels=True).native

    def _make_parameters(self) -> QWidget:
        follows = self._actions["set_follows"]
        self.form = Form([TrackingOptions], self._actions.set_option, dict(self._state.options or TrackingOptions()))
        self.backward = self.form.widgets["backward"]
        self.follow = CheckBox(text=follows.caption, value=True, tooltip=follows.tip)
        self.follow.changed.connect(self._actions.set_follows)
        self.form.insert(len(self.form.widgets), self.follow)
        return self.form.native

    def _make_linking(self) -> QWidget:
        self.segmentation = ComboBox(
            choices=[],
            nullable=False,
            label="layer",
            tooltip="A label layer with the objects of all frames; a label may mean another object in each frame.",
        )
        link = self._actions["link_segmentation"]
        self.link = button(link.caption, link.tip, lambda: self._actions.link_segmentation(self.segmentation.value))
        return column(self.segmentation, self.link, labels=True).native

    # ------------------------------------------------------------------ user -> tool

    def _set_track(self, track_id: int | None) -> None:
        if track_id is not None:
            self._actions.set_track(track_id)
            self._show_tracks()

    # ------------------------------------------------------------------ tool -> panel

    def _follow(self, session: TrackingSession) -> None:
        session.events.track_changed.connect(self._show_next)
        session.events.lineage_changed.connect(self._show_tracks)
        self._show_next(session.tracks.active, session.tracks.next_state)
        self._show_layers()

    def _show_next(self, _track_id: int, state: str) -> None:
        with self.track_state.changed.blocked():
            self.track_state.value = state
        self._show_tracks()

    def _show_tracks(self) -> None:
        session = self._state.session
        if session is None:
            return
        current = session.tracks.current
        choices = [(describe(i, current.get(i)), i) for i in session.tracks.ids]
        with self.track_id.changed.blocked():
            self.track_id.choices = choices
            self.track_id.value = session.tracks.active
        self.next.enabled = len(choices) > 1

    def _show_layers(self) -> None:
        self.segmentation.choices = [(layer.name, layer) for layer in self._layers.segmentations()]


def describe(track_id: int, track: CurrentTrack | None) -> str:
    """A current track in a few words."""
    words = [str(track_id)]
    if track is None:
        words.append("new")
    elif track.parent is not None:
        words.append(f"daughter of {track.parent}, from frame {track.begin}")
    if track is not None and track.division is not None:
        words.append(f"divides in frame {track.division}")
    return ": ".join([words[0], ", ".join(words[1:])]) if words[1:] else words[0]
