"""Segment All Objects: the network looks once, thresholds act at once.

A segmenter is initialised in the background (the network passes). Its ``generate`` only applies thresholds, so each
change of a parameter gives a new segmentation a moment later, in a thread that answers the newest question only.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psygnal import Signal
from qtpy.QtCore import QTimer

from micro_sam.errors import InputError
from micro_sam.sam_annotator.runtime.jobs import Job, Progress
from micro_sam.sam_annotator.runtime.latest import LatestWins
from micro_sam.session.large_commits import AutoRequest, PlannedAuto, apply_auto, is_large, plan_auto, run_auto
from micro_sam.session.session import Session
from micro_sam.session.values import MIN_SIZE

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator

DEBOUNCE_MS = 120


@dataclass(frozen=True)
class Parameter:
    """A threshold of an automatic segmentation.

    Attributes
    ----------
    name
        Argument of the segmenter's ``generate``.
    label, tip
        For the person.
    default, low, high, step
        Range of the slider; integers for sizes.
    """

    name: str
    label: str
    tip: str
    default: float
    low: float
    high: float
    step: float


MIN_SIZE_TIP = "Objects with fewer pixels are left out, also what a commit would leave of one that others cover."
PARAMETERS: dict[str, tuple[Parameter, ...]] = {
    "dense": (
        Parameter("foreground_threshold", "foreground", "Lower it to find fainter objects.", 0.5, 0.05, 0.95, 0.01),
        Parameter("distance_threshold", "middle", "Lower it when objects are missed.", 0.55, 0.02, 0.95, 0.01),
        Parameter(
            "prominence",
            "split",
            "Raise it when objects are cut, lower it when they are merged.",
            0.15,
            0.0,
            0.9,
            0.01,
        ),
        Parameter("min_size", "minimal size", MIN_SIZE_TIP, MIN_SIZE, 0, 100_000, 5),
    ),
    "grid": (
        Parameter("pred_iou_thresh", "quality", "Lower it to keep more masks.", 0.88, 0.3, 1.0, 0.01),
        Parameter("stability_score_thresh", "stability", "Lower it to keep soft edges.", 0.95, 0.4, 1.0, 0.01),
        Parameter("box_nms_thresh", "overlap", "Raise it to keep masks that overlap.", 0.7, 0.05, 1.0, 0.05),
        Parameter("min_size", "minimal size", MIN_SIZE_TIP, MIN_SIZE, 0, 100_000, 5),
    ),
}
METHODS = {"dense": "object maps of the model", "grid": "grid of points"}


class Automatic:
    """Automatic segmentation of the image (or of the slice in view).

    Attributes
    ----------
    method
        ``"dense"`` or ``"grid"``; None until the model is there.
    values
        Parameter name -> value, for both methods.

    Signals
    -------
    methods_changed
        Which methods the model has: the menu adapts.
    method_changed
        Which one is used.
    """

    methods_changed = Signal(tuple)
    method_changed = Signal(str)

    def __init__(self, annotator: Annotator) -> None:
        self._annotator = annotator
        self.method: str | None = None
        self.methods: tuple[str, ...] = ()
        self.values = {parameter.name: parameter.default for group in PARAMETERS.values() for parameter in group}
        self._segmenters: dict[tuple[str, int], Any] = {}
        self._shown = False
        self._waits_for: tuple[int, bool] | None = None
        self._session: Session | None = None
        self._latest = LatestWins("thresholds")
        self._latest.done.connect(self._show)
        self._latest.failed.connect(lambda _, error: annotator.status.report(error))
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(DEBOUNCE_MS)
        self._timer.timeout.connect(self._generate)
        annotator.engine.progressed.connect(self._retry)

    @property
    def busy(self) -> bool:
        """Whether thresholds are being applied."""
        return self._latest.busy or self._timer.isActive()

    def follow(self, session: Session) -> None:
        """Work for this session from now on."""
        self._session = session
        self._shown = False
        self._waits_for = None
        self._segmenters.clear()
        self._latest.forget()
        self._timer.stop()

    def reset(self) -> None:
        """The model or the features changed: what the network saw before is void (PITFALLS: reused states)."""
        self._segmenters.clear()
        self._latest.forget()
        predictor = self._session.model.predictor
        methods = ("dense", "grid") if getattr(predictor.model, "dense_kind", None) else ("grid",)
        if methods != self.methods:
            self.methods = methods
            self.method = methods[0 if self._annotator.settings.prefer_decoder else -1]
            self.methods_changed.emit(methods)
            self.method_changed.emit(self.method)

    def set_method(self, method: str) -> None:
        """Choose how objects are found."""
        self.method = method
        self.method_changed.emit(method)
        self._again()

    def set_value(self, name: str, value: float) -> None:
        """Change a parameter; a segmentation that is shown follows at once."""
        if self.values.get(name) != value:
            self.values[name] = value
            self._again()

    def run(self, show: bool = True) -> None:
        """Look at the whole image (the slice in view) and show the objects; without `show` only look."""
        annotator, session = self._annotator, self._session
        try:
            if session is None:
                raise InputError("There is no image yet. Drop a file onto the window, or open one with the menu above.")
            z = annotator.z
            index = z if session.ndim == 3 else None
            if session.model.embeddings is None or not session.model.embeddings.is_complete(index):
                self._wait(z, show)
                return
            self._waits_for = None
            key = (self.method, z)
            if key in self._segmenters:
                self._generate()
                return
            predictor, embeddings, method = session.model.predictor, session.model.embeddings, self.method
            annotator.jobs.start(
                "Segmenting all objects",
                lambda job: self._steps(job, predictor, embeddings, index, method),
                on_done=lambda segmenter: self._initialised(session, key, segmenter, show),
            )
            if show:
                annotator.status.say("Looking for all objects. You can go on annotating meanwhile.")
        except Exception as error:
            annotator.status.report(error)

    def _wait(self, z: int, show: bool) -> None:
        """Begin when the features of a slice are there."""
        self._waits_for = (z, show)
        self._annotator.status.say("Segment All Objects begins as soon as the embedding is ready.")
        self._annotator.preparation.needed()
        self._annotator.engine.want(z if self._session.ndim == 3 else None)

    def _retry(self, *_) -> None:
        """More features are there: begin, if the person still looks at the slice that was meant."""
        if self._waits_for is None or self._session.model.embeddings is None:
            return
        (z, show), annotator = self._waits_for, self._annotator
        if z != annotator.z:
            self._waits_for = None
        elif self._session.model.embeddings.is_complete(z if self._session.ndim == 3 else None):
            self.run(show)

    def close(self) -> None:
        """End the thread."""
        self._timer.stop()
        self._latest.close()

    # In the thread of the run.

    @staticmethod
    def _steps(job: Job, predictor, embeddings, index: int | None, method: str) -> Generator[Any, None, Any]:
        from micro_sam.segmentation.automatic.states import iter_initialize_kept

        yield Progress("Segmenting all objects")
        segmenter = make_segmenter(predictor, embeddings, method)
        for done, total in iter_initialize_kept(segmenter, embeddings, index):
            yield Progress("Segmenting all objects", done, total)
        return segmenter

    # In the window's thread.

    def _initialised(self, session: Session, key: tuple[str, int], segmenter: Any, show: bool) -> None:
        if session is self._session:
            self._segmenters[key] = segmenter
            if show:
                self._generate()

    def _again(self) -> None:
        if (self.method, self._annotator.z) in self._segmenters and self._shown:
            self._timer.start()

    def _generate(self) -> None:
        session, z, method = self._session, self._annotator.z, self.method
        segmenter = self._segmenters.get((method, z)) if session is not None else None
        if segmenter is None:
            return
        self._shown = True
        values = {parameter.name: self.values[parameter.name] for parameter in PARAMETERS[method]}
        request = self._plan(session, method, values)

        def answer() -> tuple[Any, str | None, PlannedAuto | None]:
            labels = segmenter.generate(**values)
            return labels, segmenter.hint, None if request is None else run_auto(request, labels)

        self._latest.ask((session, z, method, values), answer)

    @staticmethod
    def _plan(session: Session, method: str, values: dict[str, Any]) -> AutoRequest | None:
        """What a large segmentation changes is found in the thread that makes it."""
        is_planned = session.ndim == 2 and is_large(session, "auto")
        return plan_auto(session, method=method, **values) if is_planned else None

    def _show(self, tag: tuple, result: tuple) -> None:
        session, z, method, values = tag
        if session is not self._session:
            return
        try:
            labels, hint, planned = result
            if planned is None:
                session.automatic.show(labels, z if session.ndim == 3 else None, method=method, **values)
            elif not apply_auto(planned):  # objects changed meanwhile
                request = self._plan(session, method, values)
                self._latest.ask(tag, lambda: (labels, hint, run_auto(request, labels)))
                return
            if hint:
                self._annotator.status.say(hint, "warning")
            if not session.has_current and (session.automatic.exists if planned is None else planned.objects):
                self._annotator.set_source("auto")
        except Exception as error:
            self._annotator.status.report(error)


def make_segmenter(predictor: Any, embeddings: Any, method: str) -> Any:
    """A segmenter with the protocol ``iter_initialize(embeddings, i)``, ``generate(**thresholds)``."""
    from micro_sam.segmentation.automatic.dense import DenseInstanceSegmenter
    from micro_sam.segmentation.automatic.masks import get_amg

    return DenseInstanceSegmenter(predictor) if method == "dense" else get_amg(predictor, embeddings.grid.is_tiled)
