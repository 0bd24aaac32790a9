"""Track and state of the next prompt, Track Object and its parameters, and tracks from a segmentation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from magicgui.widgets import CheckBox, ComboBox, Container, FloatSlider, FloatSpinBox, RadioButtons
from napari.layers import Labels
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from micro_sam.sam_annotator.view.panels.confidence_strip import ConfidenceStrip
from micro_sam.sam_annotator.view.panels.parts import button, column, folded, row
from micro_sam.sam_annotator.view.panels.prompts import CHECKED
from micro_sam.sam_annotator.view.panels.volume import PROJECTIONS
from micro_sam.session.current_tracks import CurrentTrack

if TYPE_CHECKING:
    from micro_sam.sam_annotator.annotator_tracking import AnnotatorTracking

OPTIONS = ("iou_threshold", "projection", "motion_smoothing", "box_extension", "backward")


class TrackingMenu(QWidget):
    """``Track Object`` (key ``v``) and the menus ``track_id`` and ``track_state``."""

    title = "Tracking"

    def __init__(self, annotator: AnnotatorTracking) -> None:
        super().__init__()
        self._annotator = annotator
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        layout.addWidget(self._make_prompt_menus())
        self.run = button(
            "Track Object [V]",
            "Follow the tracks at work from their prompts through the movie. After a correction only what follows it "
            "is tracked again.",
            annotator.track_objects,
            primary=True,
        )
        self.strip = ConfidenceStrip(annotator)
        layout.addWidget(self.run.native)
        layout.addWidget(self.strip)
        layout.addLayout(self._make_corrections())
        self.parameters = folded("Parameters of Track Object", self._make_parameters())
        layout.addWidget(self.parameters)
        self.all_frames = button(
            "Segment and Track All",
            "Find the objects of every frame with the method and thresholds of Segment All Objects, link them between "
            "frames, find divisions, and show the tracks in auto_segmentation; commit them with C.",
            annotator.segment_and_track_all,
        )
        layout.addWidget(self.all_frames.native)
        layout.addWidget(folded("Track a segmentation", self._make_linking()))
        annotator.session_changed.connect(self._follow)
        annotator.tool_changed.connect(self._show_tool)
        layers = annotator.viewer.layers.events
        for event in (layers.inserted, layers.removed):
            event.connect(lambda _event: self._show_layers())
        self._show_layers()

    # ------------------------------------------------------------------ parts

    def _make_prompt_menus(self) -> QWidget:
        annotator = self._annotator
        self.track_id = ComboBox(
            choices=[("1", 1)],
            label="track_id",
            tooltip="The track that the next prompts belong to. After a division it lists mother and daughters.",
        )
        self.track_id.changed.connect(self._set_track)
        self.new = button("New [N]", "The next prompt begins a new track.", annotator.new_track)
        self.next = button("Next [E]", "The next track of the menu: after a division, the other daughter.", self._next)
        self.track_state = RadioButtons(
            choices=["track", "division"],
            value="track",
            orientation="horizontal",
            label="track_state [D]",
            tooltip="Division: the object under the next click (or box) divides after this frame. Two daughters begin.",
        )
        self.track_state.changed.connect(annotator.set_state)
        return column(self.track_id, row(self.new, self.next), self.track_state, labels=True).native

    def _make_corrections(self) -> QHBoxLayout:
        annotator = self._annotator
        self.weakest = QPushButton("Least certain [W]")
        self.weakest.setToolTip("Go to the frame of the tracks at work that is worth a look first.")
        self.weakest.clicked.connect(lambda: annotator.go_to_weakest_slice())
        self.correct = QPushButton("Correct track [O]")
        self.correct.setCheckable(True)
        self.correct.setStyleSheet(CHECKED)
        self.correct.setToolTip(
            "Then click a committed track: it opens again with its prompts. Key O does it for the one under the mouse."
        )
        self.correct.clicked.connect(lambda checked: annotator.correct_by_click(checked))
        beside = QHBoxLayout()
        beside.setSpacing(3)
        beside.addWidget(self.weakest)
        beside.addWidget(self.correct)
        return beside

    def _make_parameters(self) -> QWidget:
        options = self._annotator.tracking_options
        self.iou_threshold = FloatSlider(
            value=options.iou_threshold,
            min=0.0,
            max=1.0,
            step=0.01,
            label="stop below overlap",
            tooltip="A track ends where its overlap with the expected mask is lower. Lower it to go further.",
        )
        self.projection = ComboBox(
            choices=PROJECTIONS,
            value=options.projection,
            label="projection",
            tooltip="How the object in one frame prompts the next one.",
        )
        self.motion_smoothing = FloatSlider(
            value=options.motion_smoothing,
            min=0.0,
            max=1.0,
            step=0.05,
            label="smooth motion",
            tooltip="How much the motion of earlier frames counts; 0: only the last step.",
        )
        self.box_extension = FloatSpinBox(
            value=options.box_extension,
            min=0.0,
            max=500.0,
            step=0.05,
            label="grow boxes by",
            tooltip="Below 1: a fraction of the box; from 1 on: pixels.",
        )
        self.backward = CheckBox(
            text="also backward",
            value=options.backward,
            tooltip="Follow the tracks from their first prompt toward the first frame, too.",
        )
        self.follow = CheckBox(
            text="show the frame at work",
            value=self._annotator.follow.on,
            tooltip="The view goes along while a track grows, until you move to another frame.",
        )
        for name in OPTIONS:
            getattr(self, name).changed.connect(lambda value, name=name: self._set(name, value))
        self.follow.changed.connect(self._set_follow)
        names = ("iou_threshold", "projection", "motion_smoothing", "box_extension", "backward", "follow")
        form = Container(widgets=[getattr(self, name) for name in names], labels=True)
        form.margins = (0, 0, 0, 0)
        return form.native

    def _make_linking(self) -> QWidget:
        self.segmentation = ComboBox(
            choices=[],
            nullable=False,
            label="layer",
            tooltip="A label layer with the objects of all frames; a label may mean another object in each frame.",
        )
        self.link = button(
            "Track Segmentation",
            "Link the objects of this layer between frames, find divisions, and show the tracks; commit them with C.",
            lambda: self._annotator.link_segmentation(self.segmentation.value),
        )
        return column(self.segmentation, self.link, labels=True).native

    # ------------------------------------------------------------------ person -> tool

    def _set(self, name: str, value: object) -> None:
        self._annotator.tracking_options = replace(self._annotator.tracking_options, **{name: value})

    def _set_follow(self, on: bool) -> None:
        self._annotator.follow.on = on

    def _set_track(self, track_id: int | None) -> None:
        if track_id is not None:
            self._annotator.set_track(track_id)
            self._show_tracks()

    def _next(self) -> None:
        self._annotator.next_track()

    # ------------------------------------------------------------------ tool -> menu

    def _follow(self, session) -> None:
        session.events.track_changed.connect(self._show_next)
        session.events.lineage_changed.connect(self._show_tracks)
        self._show_next(session.tracks.active, session.tracks.next_state)
        self._show_layers()

    def _show_next(self, _track_id: int, state: str) -> None:
        with self.track_state.changed.blocked():
            self.track_state.value = state
        self._show_tracks()

    def _show_tracks(self) -> None:
        session = self._annotator.session
        if session is None:
            return
        at_work = session.tracks.current
        choices = [(describe(i, at_work.get(i)), i) for i in session.tracks.ids]
        with self.track_id.changed.blocked():
            self.track_id.choices = choices
            self.track_id.value = session.tracks.active
        self.next.enabled = len(choices) > 1

    def _show_layers(self) -> None:
        layers = self._annotator.layers
        own = set(layers.all) if layers is not None else set()
        others = [layer for layer in self._annotator.viewer.layers if isinstance(layer, Labels) and layer not in own]
        mine = [layers.labels["auto"].layer] if layers is not None and "auto" in layers.labels else []
        self.segmentation.choices = [(layer.name, layer) for layer in [*mine, *others]]

    def _show_tool(self) -> None:
        self.correct.setChecked(self._annotator.corrects_by_click)


def describe(track_id: int, track: CurrentTrack | None) -> str:
    """A track at work in a few words."""
    words = [str(track_id)]
    if track is None:
        words.append("new")
    elif track.parent is not None:
        words.append(f"daughter of {track.parent}, from frame {track.begin}")
    if track is not None and track.division is not None:
        words.append(f"divides in frame {track.division}")
    return ": ".join([words[0], ", ".join(words[1:])]) if words[1:] else words[0]
