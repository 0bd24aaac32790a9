"""The dock: all panels of a tool in the order in which a user needs them, and one main button at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from napari import Viewer
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QScrollArea, QVBoxLayout, QWidget

from micro_sam.sam_annotator.actions import Actions
from micro_sam.sam_annotator.runtime.jobs import Jobs
from micro_sam.sam_annotator.runtime.timers import once
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.canvas_overlays import CanvasOverlay, CurrentOutline, SelectedFrames
from micro_sam.sam_annotator.view.first_card import FirstCard
from micro_sam.sam_annotator.view.found_division import DivisionOutline, DivisionPanel, DivisionsState
from micro_sam.sam_annotator.view.frame import is_first_start
from micro_sam.sam_annotator.view.keys import KeyList
from micro_sam.sam_annotator.view.layers.session_layers import SessionLayers
from micro_sam.sam_annotator.view.layers.track_layers import TrackLayers
from micro_sam.sam_annotator.view.panels.automatic import AutomaticPanel, AutomaticState
from micro_sam.sam_annotator.view.panels.classes import ClassPanel
from micro_sam.sam_annotator.view.panels.commit import CommitOptions, CommitPanel, SavePanel, SavingState
from micro_sam.sam_annotator.view.panels.confidence_strip import ConfidenceStrip, FeaturesState
from micro_sam.sam_annotator.view.panels.image import ImagePanel, SeriesPanel
from micro_sam.sam_annotator.view.panels.lineage import LineagePanel
from micro_sam.sam_annotator.view.panels.model import ModelPanel, PredictorState
from micro_sam.sam_annotator.view.panels.objects import ObjectsPanel, ReviewBar, ReviewState, SimilarState
from micro_sam.sam_annotator.view.panels.offers import (
    EmbedAllPanel,
    EmbeddingState,
    ModelOfferPanel,
    OfferState,
    PreparationState,
    SessionOfferPanel,
    StartAgainPanel,
)
from micro_sam.sam_annotator.view.panels.parts import PRIMARY, SECONDARY, FoldedMenu, give_keys_back, section
from micro_sam.sam_annotator.view.panels.prompts import PromptPanel, SegmentPanel
from micro_sam.sam_annotator.view.panels.stacks import MethodState, TrackingPanel, VolumePanel
from micro_sam.sam_annotator.view.panels.status_bar import StatusBar
from micro_sam.sam_annotator.view.panels.training import TrainingPanel, TrainingState
from micro_sam.sam_annotator.view.panels.view import ViewRow
from micro_sam.sam_annotator.view.sections import SectionLines
from micro_sam.session.session import Session

WIDTH = 380
"""In pixels; enough for all menus with usual fonts, so that the dock keeps it when they are opened."""
SCROLL_BAR = 24
SETTLED_MS = 300
"""After a menu was unfolded everything has its size."""


class EngineState(FeaturesState, PredictorState, EmbeddingState, Protocol):
    """What the panels read of model and embedding."""

    @property
    def active(self) -> bool:
        """Whether a preparation goes on, or begins when what is being stopped has ended."""


class Panels(QWidget):
    """The panels that scroll, in the order in which a user needs them.

    Parameters
    ----------
    state, actions
        Of the window.
    layers
        Images and labels of the user are offered.
    jobs, engine, automatic, recording, preparation, review, training, similar, volume, divisions
        What panels show beside the state; `volume` is there in the 3D tool, `divisions` in the tracking tool.
    """

    def __init__(
        self,
        state: WindowState,
        actions: Actions,
        *,
        layers: SessionLayers,
        jobs: Jobs,
        engine: EngineState,
        automatic: AutomaticState,
        recording: OfferState,
        preparation: PreparationState,
        review: ReviewState,
        training: TrainingState,
        similar: SimilarState,
        volume: MethodState | None = None,
        divisions: DivisionsState | None = None,
    ) -> None:
        super().__init__()
        self._state, self._actions = state, actions
        self.series: SeriesPanel | None = None
        self.image = FoldedMenu("Image", lambda: ImagePanel(state, actions, layers))
        self.offer = ModelOfferPanel(state, actions)
        self.start_again = StartAgainPanel(preparation, actions)
        self.session_offer = SessionOfferPanel(recording, actions)
        self.embed_all = EmbedAllPanel(engine, actions)
        self.prompts = PromptPanel(state, actions)
        self.segment = SegmentPanel(state, actions)
        self.automatic = AutomaticPanel(state, automatic, actions)
        self.extra: list[VolumePanel | TrackingPanel] = []
        self.objects: FoldedMenu[Any]
        if isinstance(layers, TrackLayers):
            strip = ConfidenceStrip(state, actions, jobs, engine)
            self.extra.append(TrackingPanel(state, actions, strip, layers))
            self.objects = FoldedMenu("Committed tracks and lineage", LineagePanel(state, actions))  # it opens itself
        else:
            self.objects = FoldedMenu("Committed objects", lambda: ObjectsPanel(state, actions, similar))
        if volume is not None:
            strip = ConfidenceStrip(state, actions, jobs, engine)
            self.extra.append(VolumePanel(state, actions, strip, volume))
        self.review = ReviewBar(review, actions, state.tool.noun)
        self.classes = FoldedMenu("Classes", lambda: ClassPanel(state, actions))
        self.commit_options = FoldedMenu("Options of Commit", lambda: CommitOptions(state, actions))
        self.model = FoldedMenu("Model and embeddings", lambda: ModelPanel(state, actions, engine))
        self.training = FoldedMenu("Train a model", lambda: TrainingPanel(state, actions, training))
        self.keys = FoldedMenu("Keys", lambda: KeyList(actions))
        self.division = None if divisions is None else DivisionPanel(divisions, actions)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(4, 0, 8, 4)
        self._column.setSpacing(4)
        for widget in (
            self.session_offer,
            self.start_again,
            self.offer,
            self.embed_all,
            self.review,
            *([self.division] if self.division is not None else []),
            self.image,
            self.prompts,
            self.segment,
            *(section(panel.title, panel) for panel in self.extra),
            self.automatic,
            self.objects,
            self.classes,
            self.commit_options,
            self.model,
            self.training,
            self.keys,
        ):
            self._column.addWidget(widget)
        self._column.addStretch(1)
        state.events.session.connect(lambda _session: self.image.collapse(animate=False))
        state.events.question.connect(self._show_question)
        review.changed.connect(lambda: self._give_room(review.doubt is not None))

    def _show_question(self, question: Exception | None) -> None:
        if question is not None:
            self.image.setVisible(True)
            self.image.expand(animate=False)

    def _give_room(self, is_review: bool) -> None:
        """On a small screen the bar of a review needs the room of the menu of images, unless that asks something."""
        self.image.setVisible(not is_review or self._state.question is not None)

    def add_on_top(self, title: str, panel: QWidget) -> None:
        """Add a panel above the others."""
        self._column.insertWidget(0, section(title, panel))


class Dock(QWidget):
    """Always in sight: the status line on top; commit, undo, save and the view at the bottom. The other panels scroll.

    Parameters
    ----------
    state, actions
        Of the window.
    viewer
        The frames of selected objects lie over its canvas.
    panels
        Those that scroll.
    layers, jobs, engine, saving, divisions
        What is shown beside the state.
    """

    def __init__(
        self,
        state: WindowState,
        actions: Actions,
        viewer: Viewer,
        panels: Panels,
        layers: SessionLayers,
        jobs: Jobs,
        engine: EngineState,
        saving: SavingState,
        divisions: DivisionsState | None = None,
    ) -> None:
        super().__init__()
        self._state, self._viewer, self._actions = state, viewer, actions
        self.card: FirstCard | None = None
        self.panels = panels
        self.status = StatusBar(state.status, actions, jobs, lambda: engine.active)
        self.commit = CommitPanel(state, actions)
        self.save = SavePanel(saving, actions)
        self.view = ViewRow(viewer, layers.fit, layers.colours.outline, actions, state.tool.work == "volume")
        extend = self.panels.extra[0].run.native if self.panels.extra else None
        shown = self.panels
        offers = (shown.offer.instead, shown.start_again.run, shown.session_offer.go_on, shown.review.fine)
        self.main_button = MainButton(
            self,
            state,
            self.commit.run.native,
            extend,
            None if shown.division is None else shown.division.divide.native,
            [offer.native for offer in offers],
        )
        shown.training.made.connect(lambda: self.main_button.add_offer(shown.training.panel.use.native))
        self.outline = CurrentOutline(state, viewer, layers)
        self.selected = SelectedFrames(state, viewer, layers)
        self._overlays: list[CanvasOverlay] = [self.outline, self.selected]
        if self.view.sections is not None:
            self._overlays.append(SectionLines(state, viewer, layers))
            state.events.section.connect(self.view.show_sections)
        if divisions is not None:
            self._overlays.append(DivisionOutline(state, viewer, layers, divisions))
        self.scroll: Any = QScrollArea()
        self.scroll.setWidgetResizable(True)
        self.scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        self._widen()
        self._widens = once(self._widen, parent=self)
        for menu in self.panels.findChildren(FoldedMenu):
            menu.made.connect(self._widens.start)
        self.panels.setMinimumWidth(1)  # the panels give way when the scroll bar comes
        self.scroll.setWidget(self.panels)
        self._keys_come = once(lambda: None, SETTLED_MS, parent=self)
        self.scroll.verticalScrollBar().rangeChanged.connect(self._scroll_to_keys)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(4, 4, 4, 4)
        outer.setSpacing(4)
        outer.addWidget(self.status)
        outer.addWidget(self.scroll, 1)
        for widget in (self.commit, self.save, self.view):
            outer.addWidget(widget)
        give_keys_back(self, self._canvas)
        to_image = QShortcut(QKeySequence("Escape"), self)
        to_image.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        to_image.activated.connect(lambda: self._canvas().setFocus())
        state.events.keys_shown.connect(self._show_keys)

    def welcome(self) -> None:
        """Somebody sits in front of the window: where it is the first one ever, a card says how it works."""
        if self.card is None and is_first_start():
            self.card = FirstCard(self._state, self._viewer, self._actions)

    def ask_for_image(self) -> None:
        """No image is coming: the menu of images is open."""
        self.panels.image.expand(animate=False)

    def end(self) -> None:
        """Draw nothing over the canvas any more; the viewer stays."""
        for overlay in self._overlays:
            overlay.end()
        if self.card is not None:
            self.card.end()

    def _widen(self) -> None:
        """Wide enough for all that was made so far, also with large fonts."""
        self.setMinimumWidth(max(WIDTH, self.panels.minimumSizeHint().width() + SCROLL_BAR))

    def _canvas(self) -> QWidget:
        return self._viewer.window._qt_viewer.canvas.native

    def _show_keys(self, shown: bool) -> None:
        if not shown:
            self.panels.keys.collapse(animate=False)
            return
        self.panels.keys.expand(animate=False)
        self._keys_come.start()
        self._scroll_to_keys()

    def _scroll_to_keys(self) -> None:
        """The list gets its height, and the scroll bar its range, a little after it was unfolded."""
        if self._keys_come.isActive():
            self.scroll.ensureWidgetVisible(self.panels.keys, 0, 0)

    def add_series(self) -> None:
        """Add the list of a series of images."""
        self.panels.series = SeriesPanel(self._state, self._actions)
        self.add_on_top("Series", self.panels.series)

    def add_on_top(self, title: str, panel: QWidget) -> None:
        """Add a panel above the others, for instance the one of a series of images."""
        self.panels.add_on_top(title, panel)
        give_keys_back(panel, self._canvas)


class MainButton(QObject):
    """Marks the button that goes on from here, one at a time.

    A division that is offered comes first. Then the object: whole object or track while it is in one slice only, then
    Commit. Where there is none, what the window offers otherwise.

    Parameters
    ----------
    dock
        Its parent.
    state
        Of the window.
    commit, extend
        The buttons; without a second one Commit follows at once.
    division
        The button of the division that is offered.
    offers
        Buttons that come and go, the most urgent first.
    """

    def __init__(
        self,
        dock: QWidget,
        state: WindowState,
        commit: QWidget,
        extend: QWidget | None = None,
        division: QWidget | None = None,
        offers: Sequence[QWidget] = (),
    ) -> None:
        super().__init__(dock)
        self._state, self._commit, self._extend = state, commit, extend
        self._division, self._offers = division, tuple[QWidget, ...]()
        self._marked: QWidget | None = None
        for button in (commit, extend, division):
            if button is not None:
                button.setStyleSheet(SECONDARY)
        if division is not None:
            division.installEventFilter(self)
        for button in offers:
            self.add_offer(button)
        state.events.source.connect(self._mark)
        state.events.session.connect(self._follow)

    def add_offer(self, button: QWidget) -> None:
        """Another one, less urgent than those that are known."""
        self._offers += (button,)
        button.setStyleSheet(SECONDARY)
        button.installEventFilter(self)

    def main(self) -> QWidget | None:
        """The main button; None when there is nothing to go on with yet."""
        if self._division is not None and self._division.isVisible():
            return self._division
        session = self._state.session
        if session is not None and self._state.source == "auto":
            return self._commit
        if session is not None and session.has_current:
            return self._commit if self._extend is None or len(session.labels.current_slices) > 1 else self._extend
        return next((button for button in self._offers if button.isVisible()), None)

    def eventFilter(self, _watched: QObject, event: QEvent) -> bool:
        """See Qt. An offer comes or goes."""
        if event.type() in (QEvent.Type.Show, QEvent.Type.Hide):
            self._mark()
        return False

    def _follow(self, session: Session) -> None:
        session.events.labels_changed.connect(self._mark)
        self._mark()

    def _mark(self, *_: Any) -> None:
        button = None if self._state.closed else self.main()
        if self._state.closed or button is self._marked:
            return
        if self._marked is not None:
            self._marked.setStyleSheet(SECONDARY)
        if button is not None:
            button.setStyleSheet(PRIMARY)
        self._marked = button
