"""The session: what a person has done with one image. No window is needed, and none is known here.

All acts (methods that change something) belong to one thread, usually the main one. Segmentation is split so that a
window never waits: :meth:`Session.plan_slice` takes down the question, :meth:`Session.run` answers it in any thread
and touches nothing, :meth:`Session.apply` shows the answer unless it has become stale meanwhile.

An act that cannot be done raises :class:`~micro_sam.errors.InputError` with a sentence for the person, and changes
nothing. Every act that changes something is one step of undo.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.segmentation.values import ObjectMask, Prompts
from micro_sam.session import committed, committing, current, objects
from micro_sam.session.base import SessionEvents
from micro_sam.session.commands import Draft
from micro_sam.session.committing import CommitRules
from micro_sam.session.labels import present
from micro_sam.session.prompting import PromptActs
from micro_sam.session.prompts import PointPrompt, PromptSet
from micro_sam.session.recalling import Recall, needs_recall, questions_behind
from micro_sam.session.values import (
    MIN_SIZE,
    CommitReport,
    LayerName,
    PreserveMode,
    SliceRequest,
    SliceResult,
    count,
    listing,
)

__all__ = ["Session", "SessionEvents"]


class Session(PromptActs):
    """Prompts, the object at work, committed objects and their history, for an image or a stack of slices.

    Parameters
    ----------
    shape
        (H, W) or (Z, H, W) of the image, without channels.
    max_history_bytes
        Memory bound of undo; the oldest steps are forgotten first.

    Attributes
    ----------
    events
        Signals (:class:`SessionEvents`).
    """

    _noun = "object"
    _per_slice = False
    """Whether what an object is in one slice says nothing of the next, as in movies."""
    _recalled: tuple[Any, Recall] | None = None
    """The model that was asked again after a restart, and for what."""

    # ------------------------------------------------------------------ segmentation

    def plan_slice(self, z: int | None = None, batched: bool = False) -> SliceRequest:
        """Take down the question that the prompts of one slice ask.

        Parameters
        ----------
        z
            Slice; may be left out in 2D. Prompts of other slices play no part.
        batched
            Whether each positive point is an object of its own.

        Raises
        ------
        InputError
            When no model is attached, or the slice has nothing to segment.
        NotComputedYet
            When the features of the slice are not there yet.
        """
        z = self._check_slice(z)
        return self._plan(z, self.prompts.in_slice(z), batched)

    def plan_hover(self, position: Sequence[float], z: int | None = None) -> SliceRequest:
        """Take down the question that a click would ask, together with the prompts that are there; it is not placed.

        The answer is only to be looked at: :meth:`apply` refuses it.

        Parameters
        ----------
        position
            (y, x) or (z, y, x), in the image.
        z
            Slice; may be left out in 2D.

        Raises
        ------
        InputError, NotComputedYet
            As :meth:`plan_slice`.
        """
        z = self._check_slice(z)
        click = PointPrompt(None, tuple(position), self.next_positive)
        return self._plan(z, self.prompts.in_slice(z).add(click), batched=False)

    def _plan(self, z: int, drawn: PromptSet, batched: bool) -> SliceRequest:
        current.check_prompts(drawn, self._where(z))
        previous = current.previous_masks(self._state.answers.get(z), drawn, batched)
        return self._slice_request(z, drawn, previous, batched)

    def _slice_request(
        self, z: int, drawn: PromptSet, previous: tuple[ObjectMask, ...] | None, batched: bool = False
    ) -> SliceRequest:
        prompts = drawn.to_prompts(self.shape[-2:])
        self._check_ready(z, prompts, batched, previous)
        return SliceRequest(
            z=z,
            index=z if self.ndim == 3 else None,
            prompts=prompts,
            drawn=drawn,
            batched=batched,
            previous=previous,
            epoch=self._epoch,
            predictor=self._predictor,
            embeddings=self._embeddings,
            recall=self._recall(z, drawn) if needs_recall(previous) else None,
        )

    def _recall(self, z: int, drawn: PromptSet) -> Callable[[Any], tuple[ObjectMask, ...]] | None:
        """How the answer in a slice came about whose logits are gone; the same one until another is needed."""
        found = questions_behind(self._history.done, z, drawn)
        if found is None:
            return None
        known = self._recalled
        if known is None or known[0] is not self._predictor or known[1].questions != found.questions:
            known = self._recalled = (self._predictor, found)
        return known[1].masks

    @staticmethod
    def run(request: SliceRequest) -> SliceResult:
        """Ask the network. Changes nothing, so any thread may do it."""
        from micro_sam.segmentation.prompted import segment_objects

        def ask(prompts: Prompts, previous: tuple[ObjectMask, ...] | None) -> tuple[ObjectMask, ...]:
            where = (request.predictor, prompts, request.embeddings, request.index)
            return tuple(segment_objects(*where, batched=request.batched, previous=previous))

        previous = request.previous
        if request.recall is not None and previous is not None:
            shape = request.embeddings.shape[-2:]
            recalled = request.recall(lambda drawn, before: ask(drawn.to_prompts(shape), before))
            previous = recalled if len(recalled) == len(previous) else previous
        return SliceResult(request, ask(request.prompts, previous))

    def apply(self, result: SliceResult, preview: bool = False, completes: bool = False) -> bool:
        """Show an answer in `current`.

        Parameters
        ----------
        preview
            Whether the answer came without being asked for, right after a click: then it is one step of undo
            together with the click.
        completes
            Whether it takes the place of an answer to the same question that lacked a part of the object (see
            :attr:`SliceResult.cut_at`): then it is no step of its own.

        Returns
        -------
        shown
            False when the answer is stale: the prompts of the slice, or what they stand for, changed meanwhile.
        """
        request = result.request
        if request.epoch != self._epoch or self.prompts.in_slice(request.z) != request.drawn:
            return False
        last = self._history.last
        asked = last is not None and last.kind == "prompts" and request.z in last.details["slices"]
        answered = last is not None and last.kind == "answer" and request.z == last.details["z"]
        join = self._history.next is None and ((preview and asked) or (completes and (asked or answered)))
        name = "Segment object" if self.ndim == 2 else f"Segment {self._where(request.z)}"
        with self._act(
            name, kind="answer", join=join, z=request.z, preview=preview, model=self._model_facts()
        ) as draft:
            labels = self._assign_labels(result)
            imposed = not preview and self._imposes(request.z)
            current.show(draft, request.z, result.masks, labels, request.drawn, request.batched, imposed=imposed)
        self._say(current.describe(result.masks, self._where(request.z), preview))
        return True

    def segment_slice(self, z: int | None = None, batched: bool = False) -> None:
        """Segment the prompts of one slice into `current`, waiting for it: plan, run and apply."""
        self.apply(self.run(self.plan_slice(z, batched)))

    def set_auto(self, labels: np.ndarray, z: int | None = None, in_pieces: bool = False, **details: Any) -> None:
        """Show an automatic segmentation in `auto`, in place of the one before.

        Parameters
        ----------
        labels
            Any integer labels of the session's shape, or (H, W) with `z`.
        z
            In a stack: replace this slice only.
        in_pieces
            Whether objects in several pieces are meant so, as in labels of another program. Otherwise a commit takes
            the largest piece of each.
        details
            JSON-able settings it was made with (method, thresholds, ...), for the record.

        Notes
        -----
        Successive calls are one step of undo, since a slider calls this many times.
        """
        self._show_auto(labels, z, in_pieces, details)

    def _show_auto(
        self,
        labels: np.ndarray,
        z: int | None,
        in_pieces: bool,
        details: dict[str, Any],
        also: Callable[[Draft], None] | None = None,
    ) -> None:
        last = self._history.last
        join = last is not None and last.kind == "auto" and self._history.next is None
        shape = self.shape if z is None else self.shape[-2:]
        labels = committed.check_labels(labels, shape)
        with self._act("Segment all objects", kind="auto", join=join, **details, model=self._model_facts()) as draft:
            for plane_z, plane in enumerate(labels.reshape(-1, *self.shape[-2:]), start=0 if z is None else z):
                draft.paint("auto", plane_z, (0, 0, *plane.shape), plane)
            draft.set("auto_in_pieces", in_pieces)
            if also is not None:
                also(draft)
        self.say_found(int((present(labels) > 0).sum()))

    def say_found(self, number: int) -> None:
        """Tell how many objects an automatic segmentation has, and what to do next."""
        if number:
            how = "Commit them with C" if not self.has_current else "C commits the current object, not these"
            self._say(f"Found {count(number, 'object')}. {how}, or change the thresholds.")
        else:
            self._say(
                "No object passes the thresholds. Lower them, beginning with the foreground or quality threshold."
            )

    # ------------------------------------------------------------------ committed objects

    def commit(
        self,
        source: LayerName = "current",
        preserve: PreserveMode = "pixels",
        min_size: int = MIN_SIZE,
        **details: Any,
    ) -> CommitReport:
        """Move the current object(s), or the automatic segmentation, into the committed objects, with new ids.

        Parameters
        ----------
        source
            ``"current"`` or ``"auto"``.
        preserve
            What happens where committed objects are in the way. ``"pixels"``: they keep their pixels, the new objects
            get the free ones. ``"objects"``: new objects that overlap a committed one are left out whole.
            ``"none"``: the new objects overwrite, and the report says who lost what.
        min_size
            Pixels that must stay of an object that is cut (in a movie: in a frame).
        details
            JSON-able facts for the record.

        Notes
        -----
        No rims and crumbs are committed (the rule is in ``session.committing``): an object that is covered by more than
        half is not committed, of another one its largest piece is. Current objects that are not committed stay open.

        Returns
        -------
        report
            Ids, and all that was not committed or was overwritten.

        Raises
        ------
        InputError
            When there is nothing to commit, or nothing of it is free.
        """
        rules = CommitRules(preserve, int(min_size), self._noun, per_slice=self._per_slice)
        with self._act("Commit", **rules.record(source), **details) as draft:
            report = self._commit(draft, source, rules)
            draft.details.update(ids=list(report.ids))
        if source == "current":
            self._epoch += 1
            self.set_next_polarity(True)
        self._keeper.say_when_written(report.message)
        return report

    def load_committed(self, labels: np.ndarray, source: str = "loaded") -> None:
        """Replace the committed objects by a label image, keeping its ids.

        Raises
        ------
        InputError
            For another shape, negative values or values that are not integers.
        """
        labels = committed.check_labels(labels, self.shape)
        with self._act("Load objects") as draft:
            objects.load(draft, labels, source)
        number = len(self._state.objects)
        self._say(f"{count(number, 'object')} loaded. Click an object to segment, or reopen one to correct it.")

    def delete(self, ids: Iterable[int]) -> None:
        """Remove committed objects."""
        ids = committed.check_ids(self._state, ids)
        with self._act(f"Delete {'object' if len(ids) == 1 else 'objects'} {listing(ids)}", ids=ids) as draft:
            objects.delete(draft, ids)
        self._say(f"{'Object' if len(ids) == 1 else 'Objects'} {listing(ids)} deleted. Undo brings it back.")

    def merge(self, ids: Iterable[int]) -> int:
        """Make one committed object of several; the smallest id stays and is returned."""
        ids = committed.check_ids(self._state, ids)
        if len(ids) < 2:
            raise InputError("Merging needs at least two objects. Choose another one that belongs to it.")
        with self._act(f"Merge objects {listing(ids)}", ids=ids) as draft:
            kept = self._merge(draft, ids)
        self._say(f"Objects {listing(ids)} are one now: object {kept}.")
        return kept

    def reopen(self, object_id: int) -> None:
        """Take a committed object back to work, with its prompts. The next commit gives it its id again.

        Raises
        ------
        InputError
            When another object is at work, or there is no such object.
        """
        (object_id,) = committed.check_ids(self._state, [object_id])
        if self.has_current or len(self.prompts):
            raise InputError(
                "There is an object at work. Commit it (C) or clear it (Shift-C) before reopening another."
            )
        with self._act(f"Reopen object {object_id}", ids=[object_id]) as draft:
            self._reopen(draft, object_id)
        self._epoch += 1
        self._say(f"Object {object_id} is open again. Add prompts or paint to correct it, then commit it with C.")

    # ------------------------------------------------------------------ painting and clearing

    def paint(
        self, name: LayerName, region: tuple[slice, ...], values: np.ndarray, before: np.ndarray | None = None
    ) -> None:
        """Take over what a brush drew.

        Parameters
        ----------
        name
            Layer.
        region
            Index of the painted rectangle or block, one slice object per axis.
        values
            Its content now, any integer dtype, of the shape of the region.
        before
            Its content before; needed when the brush drew into the session's own array, as a labels layer does.
        """
        self._paint("Paint", name, region, values, before)

    def replace_labels(self, name: LayerName, labels: np.ndarray) -> None:
        """Give a layer other content: what a person, a script or another program put in its place.

        Objects that keep their id keep what is known of them; an id that is new becomes a new object.

        Parameters
        ----------
        name
            Layer.
        labels
            Any integer labels of the session's shape; copied.

        Raises
        ------
        InputError
            For another shape, negative values or values that are not integers.
        """
        labels = committed.check_labels(labels, self.shape)
        if np.may_share_memory(labels, self.layer(name)):
            labels = labels.copy()
        self._paint("Replace", name, tuple(slice(0, size) for size in self.shape), labels, None)
        number = int((present(labels) > 0).sum())
        self._say(f"The layer has other content now: {count(number, 'object')}. Undo brings back what was there.")

    def _paint(self, verb: str, name: LayerName, region: tuple[slice, ...], values: Any, before: Any) -> None:
        self.layer(name)
        if before is not None and self.is_writing:
            values, before = self._painted_on_top(name, region, values, before)
        blocks = current.split_region(region, values, before, self.shape)
        with self._act(f"{verb} {name} {'object' if name == 'current' else 'objects'}", layer=name) as draft:
            if name == "committed":
                objects.paint(draft, blocks)
            else:
                current.paint(draft, name, blocks)
        if name == "current":
            self._epoch += 1

    def _painted_on_top(self, name: LayerName, region: tuple[slice, ...], values: Any, before: Any) -> tuple:
        """Values after and before of a stroke that was drawn while pixels of the step before were being written."""
        below = self.layer(name)[region].copy()
        return np.where(np.not_equal(values, before), values, below), below

    def clear(self, z: int | None = None) -> None:
        """Remove the prompts and the current object, everywhere or in one slice.

        A reopened object that is cleared everywhere goes back to the committed objects as it was.
        """
        reopened = self.reopened
        if z is None:
            with self._act("Clear", z=None) as draft:
                self._clear_all(draft)
        else:
            z = self._check_slice(z)
            with self._act(f"Clear {self._where(z)}", z=z) as draft:
                current.clear_slice(draft, z)
                draft.set("prompts", self.prompts.without([prompt.id for prompt in self.prompts.in_slice(z)]))
        self._epoch += 1
        self.set_next_polarity(True)
        if z is None and reopened is not None:
            self._say(f"Object {reopened} is back as it was. Click the next object.")
        else:
            self._say("Prompts and current object cleared. Click the next object.")

    # ------------------------------------------------------------------ inside

    # Sessions with more state than label images do their part of these acts here.

    def _commit(self, draft: Draft, source: str, rules: CommitRules) -> CommitReport:
        return committing.commit(draft, source, rules, self._model_facts())

    def _merge(self, draft: Draft, ids: Sequence[int]) -> int:
        return objects.merge(draft, ids)

    def _reopen(self, draft: Draft, object_id: int) -> None:
        objects.reopen(draft, object_id)

    def _clear_all(self, draft: Draft) -> None:
        objects.clear_all(draft)

    def _assign_labels(self, result: SliceResult) -> tuple[int, ...]:
        return current.assign_labels(self._state, result)
