"""The dock: all menus of a tool in the order in which a person needs them, scrollable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QScrollArea, QVBoxLayout, QWidget

from micro_sam.sam_annotator.view.panels.automatic import AutomaticMenu
from micro_sam.sam_annotator.view.panels.chosen_frames import ChosenFrames
from micro_sam.sam_annotator.view.panels.classes import ClassActions, ClassMenu
from micro_sam.sam_annotator.view.panels.commit import CommitMenu
from micro_sam.sam_annotator.view.panels.key_list import KeyList
from micro_sam.sam_annotator.view.panels.model import ModelMenu
from micro_sam.sam_annotator.view.panels.parts import folded, give_keys_back, section
from micro_sam.sam_annotator.view.panels.prompts import PromptMenu
from micro_sam.sam_annotator.view.panels.review import ReviewActions, ReviewBar
from micro_sam.sam_annotator.view.panels.save import SaveMenu
from micro_sam.sam_annotator.view.panels.segment import SegmentMenu
from micro_sam.sam_annotator.view.panels.start import EmbedAllMenu, ImageMenu, OfferMenu, SessionOffer, StartAgainMenu
from micro_sam.sam_annotator.view.panels.status_bar import StatusBar
from micro_sam.sam_annotator.view.panels.training import TrainingMenu

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator

WIDTH = 330
SCROLL_BAR = 24


class Dock(QWidget):
    """Status line on top (always in sight), menus below it in a scroll area."""

    def __init__(self, annotator: Annotator) -> None:
        super().__init__()
        self.annotator = annotator
        self.status = StatusBar(annotator)
        self.image = ImageMenu(annotator)
        self.offer = OfferMenu(annotator)
        self.start_again = StartAgainMenu(annotator)
        self.session_offer = SessionOffer(annotator)
        self.embed_all = EmbedAllMenu(annotator)
        self.prompts = PromptMenu(annotator)
        self.segment = SegmentMenu(annotator)
        self.commit = CommitMenu(annotator)
        self.automatic = AutomaticMenu(annotator)
        committed_title, self.objects = annotator.committed_menu()
        self.classes = ClassMenu(
            annotator, ClassActions(annotator.set_class, annotator.define_class, annotator.save_class_image)
        )
        self.review = ReviewBar(
            annotator.review,
            ReviewActions(
                annotator.review_next,
                annotator.review_fine,
                annotator.review_correct,
                annotator.review_delete,
                annotator.review_stop,
            ),
            annotator.noun,
        )
        self.save = SaveMenu(annotator)
        self.model = ModelMenu(annotator)
        self.training = TrainingMenu(annotator)
        self.training_section = folded("Train a model", self.training)
        self.keys = KeyList(annotator)
        self.chosen = ChosenFrames(annotator)
        self.extra = [menu for menu in annotator.extra_menus()]
        self._image_section = folded("Image", self.image, is_open=annotator.image is None)
        menus = QWidget()
        layout = QVBoxLayout(menus)
        layout.setContentsMargins(4, 0, 8, 4)
        layout.setSpacing(4)
        for widget in (
            self.session_offer,
            self.start_again,
            self.offer,
            self.embed_all,
            self.review,
            self._image_section,
            section("Prompts", self.prompts),
            section("Segment", self.segment),
            *(section(menu.title, menu) for menu in self.extra),
            self.automatic,
            section("Commit", self.commit),
            folded(committed_title, self.objects),
            folded("Classes", self.classes),
            section("Save", self.save),
            folded("Model and embeddings", self.model),
            self.training_section,
            folded("Keys", self.keys, is_open=True),
        ):
            layout.addWidget(widget)
        layout.addStretch(1)
        self.scroll = QScrollArea()
        self.scroll.setWidgetResizable(True)
        self.scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        natural = menus.minimumSizeHint().width()
        menus.setMinimumWidth(1)  # the menus give way when the scroll bar comes
        self.scroll.setWidget(menus)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(4, 4, 0, 0)
        outer.addWidget(self.status)
        outer.addWidget(self.scroll, 1)
        self.setMinimumWidth(max(WIDTH, natural + SCROLL_BAR))
        self._canvas = lambda: annotator.viewer.window._qt_viewer.canvas.native
        self._menus = layout
        give_keys_back(self, self._canvas)
        annotator.session_changed.connect(lambda _session: self._image_section.collapse(animate=False))
        annotator.axes_asked.connect(lambda _question: self._image_section.expand(animate=False))

    def add_on_top(self, title: str, menu: QWidget) -> None:
        """Add a menu above the others, for instance the one of a series of images."""
        self._menus.insertWidget(0, section(title, menu))
        self.keys.show_keys()
        give_keys_back(menu, self._canvas)
