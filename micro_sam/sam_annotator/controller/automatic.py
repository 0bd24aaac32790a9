"""Segment All Objects: the network looks once, thresholds act at once.

A segmenter is initialised in the background (the network passes). Its ``generate`` only applies thresholds, so each
change of a parameter gives a new segmentation a moment later, in a thread that answers the newest question only.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from psygnal import Signal

from micro_sam.embeddings.store import Item
from micro_sam.errors import InputError
from micro_sam.io.label_arrays import LARGEST_RESULT, new_labels, release
from micro_sam.sam_annotator.controller.embedding.engine import Engine
from micro_sam.sam_annotator.controller.embedding.looking import Looking
from micro_sam.sam_annotator.controller.embedding.preparation import Preparation
from micro_sam.sam_annotator.runtime.jobs import Job, Jobs, Progress
from micro_sam.sam_annotator.runtime.threads import LatestWins
from micro_sam.sam_annotator.runtime.timers import once
from micro_sam.sam_annotator.state.options import THRESHOLDS, LookOptions
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.segmentation.region_of_interest import RegionPart
from micro_sam.session.large_commits import AutoRequest, PlannedAuto, apply_auto, is_large, plan_auto, run_auto
from micro_sam.session.session import Session

DEBOUNCE_MS = 120

Key = tuple[str, int, bool, str]
"""Method, slice, whether all of the image was looked at, or the part around the region, and how closely."""
LOOKS = {"auto": None, "always": True, "never": False}
"""Value of the option ``look_closer`` -> what the segmenter takes."""


class Automatic:
    """Automatic segmentation of the image (or of the slice in view).

    Attributes
    ----------
    method
        ``"dense"`` or ``"grid"``; None until the model is there.
    values
        Parameter name -> value, for both methods.
    look
        How closely it looks; see :class:`~micro_sam.sam_annotator.state.options.LookOptions`.

    Signals
    -------
    methods_changed
        Which methods the model has: the menu adapts.
    method_changed
        Which one is used.
    """

    methods_changed = Signal(tuple)
    method_changed = Signal(str)

    def __init__(
        self, state: WindowState, jobs: Jobs, engine: Engine, preparation: Preparation, looking: Looking
    ) -> None:
        self._state, self._jobs, self._engine, self._preparation = state, jobs, engine, preparation
        self._looking = looking
        self.method: str | None = None
        self.methods: tuple[str, ...] = ()
        self.values = {name: value for kind in THRESHOLDS.values() for name, value in kind()}
        self.look = LookOptions().look_closer
        self._segmenters: dict[Key, Any] = {}
        self._part: RegionPart | None = None
        self._wants_stack = False
        self._shown = False
        self._waits_for: tuple[int, bool] | None = None
        self._latest = LatestWins("thresholds")
        self._latest.done.connect(self._show)
        self._latest.failed.connect(lambda _, error: state.status.report(error))
        self._timer = once(self._generate, DEBOUNCE_MS)
        state.events.session.connect(self._follow)
        preparation.attached.connect(self._reset)
        engine.progressed.connect(self._retry)
        engine.ready.connect(self._prepare)
        looking.serve_last(self)

    @property
    def thresholds(self) -> dict[str, Any]:
        """Name -> value of the thresholds of the method that is used."""
        return {name: self.values[name] for name in THRESHOLDS[self.method or "grid"].model_fields}

    @property
    def can_look_closer(self) -> bool:
        """Whether the option ``look_closer`` changes anything: images of models that take close-ups."""
        session = self._state.session
        model = None if session is None else getattr(session.model.predictor, "model", None)
        return self._state.tool.ndim == 2 and self.method == "dense" and getattr(model, "close_up", None) is not None

    @property
    def busy(self) -> bool:
        """Whether thresholds are being applied."""
        return self._latest.busy or self._timer.isActive()

    @property
    def wanted(self) -> tuple[Item, ...]:
        """The tiles of the region that it waits for (see :class:`.Looking`)."""
        session = self._state.session
        embeddings = None if session is None else session.model.embeddings
        if session is None or embeddings is None or (self._waits_for is None and not self._wants_stack):
            return ()
        region, index = session.automatic.region, self._state.tool.index(self._state.z)
        items = [] if region is None else region.items(embeddings.grid, embeddings.n_slices)
        store = embeddings.store
        there = (item for item in items if self._wants_stack or item[0] == index)
        return tuple(item for item in there if not (store.is_complete(*item) or store.is_skipped(*item)))

    def part(self, *, whole: bool = False) -> RegionPart | None:
        """What is looked at for the region of the session; None before there are features.

        `whole`: what is known of the whole image is used, and only the objects are chosen by the region.
        """
        session = self._state.needed()
        embeddings, region = session.model.embeddings, session.automatic.region
        if embeddings is None or whole or region is None:
            return None if embeddings is None else RegionPart.of(region, embeddings, whole=whole)
        if self._part is None or self._part.region != region:  # kept: it has maps that were computed
            self._part = RegionPart.of(region, embeddings)
        return self._part

    def _follow(self, session: Session) -> None:
        """Another session is open."""
        session.events.region_changed.connect(self._region_changed)
        self._shown = self._wants_stack = False
        self._part = self._waits_for = None
        self._segmenters.clear()
        self._latest.forget()
        self._timer.stop()

    def _reset(self) -> None:
        """The model or the features changed: what the network saw before is void (PITFALLS: reused states)."""
        self._segmenters.clear()
        self._part = None
        self._latest.forget()
        predictor = self._state.needed().model.predictor
        methods = ("dense", "grid") if getattr(getattr(predictor, "model", None), "dense_kind", None) else ("grid",)
        if methods != self.methods:
            self.methods = methods
            self.method = methods[0 if self._state.settings.prefer_decoder else -1]
            self.method_changed.emit(self.method)
        self.methods_changed.emit(methods)  # another model may look closer, or not

    def _region_changed(self) -> None:
        """What is shown stays until the user asks again; the sliders do not change it to another region's objects."""
        self._shown = self._wants_stack = False
        self._part = self._waits_for = None
        self._segmenters = {key: found for key, found in self._segmenters.items() if key[2]}

    def set_method(self, method: str) -> None:
        """Choose how objects are found."""
        self.method = method
        self.method_changed.emit(method)
        self._again()

    def set_look_closer(self, look: Literal["auto", "always", "never"]) -> None:
        """How closely the image is looked at from now on; what is shown stays until the user asks again."""
        self.look = look

    def set_threshold(self, name: str, value: float) -> None:
        """Change a threshold; a segmentation that is shown follows at once."""
        if self.values.get(name) != value:
            self.values[name] = value
            self._again()

    def segment(self, show: bool = True) -> None:
        """Look at the whole image (the slice in view) and show the objects; without `show` only look."""
        state, session = self._state, self._state.needed()
        index, method = state.tool.index(state.z), self.method
        part = self.part()
        if part is None or method is None or not part.embeddings.is_complete(index):
            self._wait(show)
            return
        self._waits_for = None
        if self._known() is not None:
            self._generate()
            return
        predictor, embeddings, look = session.model.predictor, part.embeddings, self.look
        key = (method, state.z, embeddings is session.model.embeddings, look)
        self._jobs.start(
            "Segmenting all objects",
            lambda _: self._steps(predictor, embeddings, index, method, LOOKS[look]),
            on_done=lambda segmenter: self._initialised(session, key, segmenter, show),
        )
        if show:
            where = "all objects" if session.automatic.region is None else "the objects in the region"
            state.status.say(f"Looking for {where}. You can go on annotating meanwhile.")

    def _prepare(self) -> None:
        """All is embedded: let the network look at it before somebody asks."""
        if self._state.settings.precompute_amg_state and self._engine.there == self._engine.total:
            self._start(show=False)

    def _start(self, show: bool) -> None:
        try:
            self.segment(show)
        except Exception as error:
            self._state.status.report(error)

    def _wait(self, show: bool) -> None:
        """Begin when the features of the slice in view are there."""
        self._waits_for = (self._state.z, show)
        self._state.status.say("Segment All Objects begins as soon as the embedding is ready.")
        self._preparation.needed()
        if self._state.needed().automatic.region is None:
            self._engine.want(self._state.tool.index(self._state.z))
        else:
            self._looking.tell()

    def _retry(self) -> None:
        """More features are there: begin, if the user still looks at the slice that was meant."""
        session = self._state.session
        if self._waits_for is None or session is None or session.model.embeddings is None:
            return
        (z, show), part = self._waits_for, self.part()
        if z != self._state.z:
            self._waits_for = None
        elif part is not None and part.embeddings.is_complete(self._state.tool.index(self._state.z)):
            self._start(show)

    def want_all(self) -> None:
        """Embed all slices, if that is not done; with a region, what it needs of them."""
        self._preparation.needed()
        if self._state.needed().automatic.region is None:
            self._engine.want_all()
        else:
            self._wants_stack = True
            self._looking.tell()

    def close(self) -> None:
        """End the thread."""
        self._timer.stop()
        self._latest.close()

    # In the thread of the job.

    @staticmethod
    def _steps(
        predictor: Any, embeddings: Any, index: int | None, method: str, look_closer: bool | None
    ) -> Generator[Any, None, Any]:
        from micro_sam.segmentation.automatic.states import iter_initialize_kept

        yield Progress("Segmenting all objects")
        segmenter = make_segmenter(predictor, embeddings, method, look_closer)
        for done, total in iter_initialize_kept(segmenter, embeddings, index):
            yield Progress("Segmenting all objects", done, total)
        return segmenter

    # In the window's thread.

    def _initialised(self, session: Session, key: Key, segmenter: Any, show: bool) -> None:
        if self._state.shows(session):
            self._segmenters[key] = segmenter
            if show:
                self._generate()

    def _again(self) -> None:
        if self._shown and self._known() is not None:
            self._timer.start()

    def _known(self) -> tuple[RegionPart, Any] | None:
        """What the network said of the slice in view, as far as it was asked: of the image, or around the region."""
        if self._state.session is None or self.method is None:
            return None
        for whole in (True, False):
            key = (self.method, self._state.z, whole, self.look)
            segmenter, part = self._segmenters.get(key), self.part(whole=whole)
            if part is not None and segmenter is not None:
                return part, segmenter
        return None

    def _generate(self) -> None:
        session, z, method, known = self._state.session, self._state.z, self.method, self._known()
        if session is None or method is None or known is None:
            return
        part, segmenter = known
        self._shown = True
        values = self.thresholds
        details = {**values, "look_closer": self.look} if self.can_look_closer else values
        request = self._plan(session, method, details)

        def answer() -> tuple[Any, str | None, PlannedAuto | None]:
            labels = part.place(segmenter.generate(**values))
            return labels, segmenter.hint, None if request is None else run_auto(request, labels)

        self._latest.ask((session, z, method, details), answer)

    @staticmethod
    def _plan(session: Session, method: str, details: dict[str, Any]) -> AutoRequest | None:
        """What a large segmentation changes is found in the thread that makes it."""
        is_planned = session.ndim == 2 and is_large(session, "auto")
        return plan_auto(session, method=method, **details) if is_planned else None

    def _show(self, tag: tuple[Session, int, str, dict[str, Any]], result: tuple[Any, str | None, Any]) -> None:
        session, z, method, details = tag
        if not self._state.shows(session):
            return
        try:
            labels, hint, planned = result
            if planned is None:
                session.automatic.show(labels, z if session.ndim == 3 else None, method=method, **details)
            elif not apply_auto(planned):  # objects changed meanwhile
                request = planned.request
                again = self._plan(session, method, details) or request
                self._latest.ask(tag, lambda: (labels, hint, run_auto(again, labels)))
                return
            if hint:
                self._state.status.say(hint, "warning")
            if not session.has_current and (session.automatic.exists if planned is None else planned.objects):
                self._state.source = "auto"
        except Exception as error:
            self._state.status.report(error)


def make_segmenter(predictor: Any, embeddings: Any, method: str, look_closer: bool | None = None) -> Any:
    """A segmenter with the protocol ``iter_initialize(embeddings, i)``, ``generate(**thresholds)``."""
    from micro_sam.segmentation.automatic.dense import DenseInstanceSegmenter
    from micro_sam.segmentation.automatic.masks import get_amg

    if method == "dense":
        return DenseInstanceSegmenter(predictor, look_closer)
    return get_amg(predictor, embeddings.grid.is_tiled)


@dataclass(frozen=True)
class SliceWork:
    """What is to be done: the method and thresholds of Segment All Objects, on all slices of some features."""

    predictor: Any
    part: RegionPart
    method: str
    values: Mapping[str, Any]

    @property
    def embeddings(self) -> Any:
        """Of what is looked at."""
        return self.part.embeddings

    @classmethod
    def of(cls, state: WindowState, automatic: Automatic, *, whole: bool = False) -> SliceWork:
        """The work as the panels say now; `whole` as for :meth:`.Automatic.part`.

        Raises
        ------
        InputError
            When there is no image, or slices are still being embedded.
        """
        session, place = state.needed(), state.tool.place
        part, method = automatic.part(whole=whole), automatic.method
        if part is None or method is None or not part.embeddings.is_complete():
            automatic.want_all()
            raise InputError(f"Not all {place}s are embedded yet. Wait for them, or segment the {place} in view alone.")
        return cls(session.model.predictor, part, method, automatic.thresholds)

    def segment(self, job: Job, name: str) -> Generator[Progress, None, np.ndarray]:
        """Segment one slice after the other; returns labels (z, h, w) uint32 of the part, different in all slices."""
        from micro_sam.segmentation.automatic.states import iter_initialize_kept

        n = self.embeddings.n_slices
        labels, last = new_labels(self.embeddings.shape, largest=LARGEST_RESULT), 0
        for z in range(n):
            progress = Progress(f"{name}: {z + 1} of {n}", z, n)
            yield progress
            segmenter = make_segmenter(self.predictor, self.embeddings, self.method)
            for _ in iter_initialize_kept(segmenter, self.embeddings, z):
                job.report(progress)
            found = segmenter.generate(**self.values)
            labels[z] = np.where(found > 0, found + last, 0)
            last += int(found.max(initial=0))
            release(labels)
        return labels
