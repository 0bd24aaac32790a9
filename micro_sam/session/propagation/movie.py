"""Propagation in a movie: objects are followed from the prompted frames through time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from micro_sam.errors import InputError
from micro_sam.segmentation.values import Prompts
from micro_sam.session import queries
from micro_sam.session.prompts import PromptSet
from micro_sam.session.propagation.shared import Propagation, PropagationStep
from micro_sam.session.propagation.track_parts import TrackRequest, plan_parts, run_tracks
from micro_sam.session.requests import FrameRequest
from micro_sam.session.values import Anchors


class MoviePropagation(Propagation):
    """Propagation through the frames of a movie."""

    _name = "Track objects"
    _blind = ""  # name of the model that has been told to see no divisions
    _tells_blind = False

    def plan(
        self,
        track_ids: Iterable[int] | None = None,
        iou_threshold: float = 0.5,
        projection: str = "default",
        motion_smoothing: float = 0.5,
        box_extension: float = 0.0,
        backward: bool = False,
        divisions: bool = False,
    ) -> TrackRequest:
        """Take down what is known of the current tracks.

        After a correction only what follows it is tracked again; tracks without a change are left alone.

        Parameters
        ----------
        track_ids
            Tracks to follow. None: those that changed since the last propagation, or all when none did.
        iou_threshold
            A track stops after its last prompted frame where the overlap with the expected mask is lower.
        projection
            How the mask of one frame prompts the next; see :meth:`VolumePropagation.plan`.
        motion_smoothing
            Between 0 and 1: how much the motion of the frames before counts.
        box_extension
            Pixels (>= 1) or fraction (< 1) by which box prompts grow.
        backward
            Whether tracks are also followed from their first prompted frame toward the first frame of the movie.
            Daughters are always followed back to their mother's division.
        divisions
            Whether a track stops where its object becomes two; see :meth:`.PromptActions.divide`.

        Raises
        ------
        InputError
            When there is nothing to track, or prompts contradict each other.
        """
        if not 0 <= iou_threshold <= 1 or not 0 <= motion_smoothing < 1:
            raise InputError("The IoU threshold lies between 0 and 1, the motion smoothing too, but below 1.")
        options = {
            "iou_threshold": iou_threshold,
            "projection": projection,
            "motion_smoothing": motion_smoothing,
            "box_extension": box_extension,
            "divisions": divisions,
        }
        steps, model = self._steps, self._model
        state = steps.state
        shown = {t: queries.masks_in(state, t) for t in state.regions}
        parts = plan_parts(state, shown, track_ids, backward)
        labels = {part.label for part in parts}
        asked = {p.z for p in state.prompts if p.track_id in labels}
        unanswered = [t for t in sorted(asked) if self._has_unanswered(t, labels)]
        model.check()
        for part in parts:
            if part.known:
                t = min(part.known)
                model.check_ready(
                    t, steps.rules.where(t, state.shape), Prompts(boxes=np.array([part.known[t].box], np.float64))
                )
        self._planned = request = TrackRequest(
            parts=parts,
            pending=tuple(self._frame(t) for t in unanswered),
            n_frames=state.shape[0],
            options=options,
            prompts=state.prompts,
            epoch=steps.epoch,
            predictor=model.predictor,
            embeddings=model.embeddings,
            occupied=state.layer("committed"),
        )
        return request

    @staticmethod
    def compute(request: TrackRequest) -> Iterator[PropagationStep]:
        """Follow the tracks, frame by frame. Changes nothing, so any thread may drive it; closing it cancels."""
        return run_tracks(request)

    def finish(self, request: TrackRequest, cancelled: bool = False) -> str:  # type: ignore[override]
        """See :class:`Propagation`; says once of a model that it passes divisions."""
        model = getattr(request.predictor, "model", None)
        is_blind = request.options["divisions"] and model is not None and model.dense_kind is None
        name = request.predictor.model_name if is_blind else ""
        self._tells_blind = bool(name) and name != self._blind and not cancelled
        if self._tells_blind:
            self._blind = name
        return super().finish(request, cancelled)

    # ------------------------------------------------------------------ inside

    def _frame(self, t: int) -> FrameRequest:
        request = self._segment.plan(t)
        assert isinstance(request, FrameRequest)
        return request

    def _has_unanswered(self, t: int, labels: set[int]) -> bool:
        """Whether prompts of these tracks in a frame were never answered, or have changed since."""
        state = self._steps.state
        answer, anchors = state.answers.get(t), state.anchors
        for label in labels:
            mine = state.prompts.in_slice(t).of_track(label)
            answered = answer is not None and label in answer.labels and answer.drawn.of_track(label) == mine
            as_before = anchors is not None and anchors.prompts.in_slice(t).of_track(label) == mine
            if mine.has_positive and not answered and not (as_before and label in queries.masks_in(state, t)):
                return True
        return False

    def _anchors(self, request: TrackRequest) -> Anchors:
        state = self._steps.state
        followed = {part.label for part in request.parts}
        before = state.anchors or Anchors(PromptSet())
        others = [prompt for prompt in before.prompts if prompt.track_id not in followed]
        mine = [prompt for prompt in state.prompts if prompt.track_id in followed]
        return Anchors(PromptSet().add(*others, *mine), dict(state.painted))

    def _describe(self, reasons: Sequence[str]) -> str:
        state = self._steps.state
        frames: dict[int, list[int]] = {}
        for t in sorted(state.regions):
            for label in queries.masks_in(state, t):
                frames.setdefault(label, []).append(t)
        texts = [f"Track {i}: frames {ts[0]} to {ts[-1]}." for i, ts in sorted(frames.items())]
        if len(texts) + len(reasons) > 2 and len(texts) > 1:
            ends = min(ts[0] for ts in frames.values()), max(ts[-1] for ts in frames.values())
            texts = [f"{len(texts):,} tracks: frames {ends[0]} to {ends[1]}."]
        texts += reasons[:2]
        for label, track in sorted(state.current_tracks.items()):
            if label not in frames and track.parent is not None:
                texts.append(f"Track {label} has no prompts yet: go to frame {track.begin} and click it.")
        weakest = self.weakest_slice()
        if self._tells_blind:
            texts.append(f"{self._blind} does not see divisions: mark them with D and a click.")
        elif weakest is not None and not reasons:
            texts.append(f"The least certain frame is {weakest}.")
        return " ".join([*texts, self._what_next])
