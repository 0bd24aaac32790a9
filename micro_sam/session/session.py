"""The session: what a person has done with one image. No window is needed, and none is known here.

All acts (methods that change something) belong to one thread, usually the main one. Segmentation is split so that a
window never waits: :meth:`Session.plan_slice` takes down the question, :meth:`Session.run` answers it in any thread
and touches nothing, :meth:`Session.apply` shows the answer unless it has become stale meanwhile.

An act that cannot be done raises :class:`~micro_sam.errors.InputError` with a sentence for the person, and changes
nothing. Every act that changes something is one step of undo.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import numpy as np
from psygnal import Signal, SignalGroup

from micro_sam.errors import InputError, NotComputedYet
from micro_sam.session import current, objects
from micro_sam.session.commands import Changes, Command, Draft
from micro_sam.session.history import History
from micro_sam.session.labels import Box
from micro_sam.session.prompting import PromptActs
from micro_sam.session.prompts import PromptSet
from micro_sam.session.state import LAYERS, State
from micro_sam.session.values import (
    CommitReport,
    LayerName,
    ObjectRecord,
    PreserveMode,
    SliceRequest,
    SliceResult,
    count,
    listing,
)


class SessionEvents(SignalGroup):
    """Signals of a session, emitted in the thread of the act, after the act is complete."""

    prompts_changed = Signal(PromptSet)
    """The prompts are different now."""
    labels_changed = Signal(str, tuple)
    """Layer name ("current", "committed", "auto") and the index of the smallest region that changed."""
    objects_changed = Signal()
    """Records of committed objects were added, replaced or removed."""
    lineage_changed = Signal()
    """Tracks or their relations changed (tracking only)."""
    polarity_changed = Signal(bool)
    """Whether the next point is positive."""
    history_changed = Signal()
    """What undo and redo would do is different now."""
    message = Signal(str)
    """Short sentences for the status line: what happened, and what to do next."""


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

    _events_type = SessionEvents
    _place = "slice"

    def __init__(self, shape: Sequence[int], *, max_history_bytes: int = 512 * 1024**2) -> None:
        shape = tuple(int(size) for size in shape)
        if len(shape) not in (2, 3) or min(shape) < 1:
            raise InputError(f"A session needs an image of shape (H, W) or (Z, H, W), but this one has {shape}.")
        self.events = self._events_type()
        self._state = State.empty(shape)
        self._history = History(max_history_bytes)
        self._epoch = 0
        self._last_prompt_id = 0
        self._positive = True
        self._predictor: Any = None
        self._embeddings: Any = None

    # ------------------------------------------------------------------ what there is

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W) or (Z, H, W)."""
        return self._state.labels["current"].shape

    @property
    def ndim(self) -> int:
        """2 or 3."""
        return len(self.shape)

    @property
    def prompts(self) -> PromptSet:
        """The prompts of the object at work."""
        return self._state.prompts

    @property
    def current(self) -> np.ndarray:
        """Labels 1..n of the objects at work, uint32. Always the same array; only acts change it."""
        return self._state.labels["current"]

    @property
    def committed(self) -> np.ndarray:
        """Committed objects, uint32. Always the same array."""
        return self._state.labels["committed"]

    @property
    def auto(self) -> np.ndarray:
        """Automatic segmentation, uint32. Always the same array."""
        return self._state.labels["auto"]

    def layer(self, name: LayerName) -> np.ndarray:
        """One of the three label arrays by its name."""
        if name not in LAYERS:
            raise InputError(f"There is no label layer '{name}'; there are {', '.join(LAYERS)}.")
        return self._state.labels[name]

    @property
    def objects(self) -> Mapping[int, ObjectRecord]:
        """Committed id -> where the object came from (read-only)."""
        return MappingProxyType(self._state.objects)

    @property
    def reopened(self) -> int | None:
        """Id of the committed object that is being corrected, if any."""
        return self._state.reopened.id if self._state.reopened else None

    @property
    def current_slices(self) -> tuple[int, ...]:
        """Sorted slices in which there may be a current object."""
        return tuple(sorted(self._state.regions))

    @property
    def has_current(self) -> bool:
        """Whether any pixel of `current` is set. Looks at the touched slices only."""
        return any(self._state.plane("current", z)[y0:y1, x0:x1].any() for z, (y0, x0, y1, x1) in self._regions())

    def object_at(self, position: Sequence[float]) -> int:
        """Id of the committed object at (y, x) or (z, y, x); 0 for background and outside."""
        index = tuple(int(np.floor(value + 0.5)) for value in position)
        inside = len(index) == self.ndim and all(0 <= i < size for i, size in zip(index, self.shape, strict=True))
        return int(self.committed[index]) if inside else 0

    # ------------------------------------------------------------------ model

    def attach(self, predictor: Any, embeddings: Any) -> None:
        """Use this model and these features from now on. Prompts and objects stay; plans made before become stale."""
        self._predictor, self._embeddings = predictor, embeddings
        self._epoch += 1

    @property
    def predictor(self) -> Any:
        """The model in use; None before :meth:`attach`."""
        return self._predictor

    @property
    def embeddings(self) -> Any:
        """The features in use; None before :meth:`attach`."""
        return self._embeddings

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
        drawn = self.prompts.in_slice(z)
        current.check_prompts(drawn, self._where(z))
        self._check_ready(z)
        return SliceRequest(
            z=z,
            index=z if self.ndim == 3 else None,
            prompts=drawn.to_prompts(self.shape[-2:]),
            drawn=drawn,
            batched=batched,
            previous=current.previous_masks(self._state.answers.get(z), drawn, batched),
            epoch=self._epoch,
            predictor=self._predictor,
            embeddings=self._embeddings,
        )

    @staticmethod
    def run(request: SliceRequest) -> SliceResult:
        """Ask the network. Changes nothing, so any thread may do it."""
        from micro_sam.segmentation.prompted import segment_objects

        masks = segment_objects(
            request.predictor,
            request.prompts,
            request.embeddings,
            request.index,
            batched=request.batched,
            previous=request.previous,
        )
        return SliceResult(request, tuple(masks))

    def apply(self, result: SliceResult, preview: bool = False) -> bool:
        """Show an answer in `current`.

        Parameters
        ----------
        preview
            Whether the answer came without being asked for, right after a click: then it is one step of undo
            together with the click.

        Returns
        -------
        shown
            False when the answer is stale: the prompts of the slice, or what they stand for, changed meanwhile.
        """
        request = result.request
        if request.epoch != self._epoch or self.prompts.in_slice(request.z) != request.drawn:
            return False
        last = self._history.last
        join = preview and last is not None and last.kind == "prompts" and self._history.next is None
        name = "Segment object" if self.ndim == 2 else f"Segment {self._where(request.z)}"
        with self._act(name, join=join, z=request.z, preview=preview, model=self._model_facts()) as draft:
            labels = self._assign_labels(result)
            current.show(draft, request.z, result.masks, labels, request.drawn, request.batched)
        self._say(current.describe(result.masks, self._where(request.z), preview))
        return True

    def segment_slice(self, z: int | None = None, batched: bool = False) -> None:
        """Segment the prompts of one slice into `current`, waiting for it: plan, run and apply."""
        self.apply(self.run(self.plan_slice(z, batched)))

    def set_auto(self, labels: np.ndarray, z: int | None = None, **details: Any) -> None:
        """Show an automatic segmentation in `auto`, in place of the one before.

        Parameters
        ----------
        labels
            Any integer labels of the session's shape, or (H, W) with `z`.
        z
            In a stack: replace this slice only.
        details
            JSON-able settings it was made with (method, thresholds, ...), for the record.

        Notes
        -----
        Successive calls are one step of undo, since a slider calls this many times.
        """
        self._show_auto(labels, z, details)

    def _show_auto(
        self, labels: np.ndarray, z: int | None, details: dict[str, Any], also: Callable[[Draft], None] | None = None
    ) -> None:
        last = self._history.last
        join = last is not None and last.kind == "auto" and self._history.next is None
        shape = self.shape if z is None else self.shape[-2:]
        labels = objects.check_labels(labels, shape)
        with self._act("Segment all objects", kind="auto", join=join, **details, model=self._model_facts()) as draft:
            for plane_z, plane in enumerate(labels.reshape(-1, *self.shape[-2:]), start=0 if z is None else z):
                draft.paint("auto", plane_z, (0, 0, *plane.shape), plane)
            if also is not None:
                also(draft)
        number = np.unique(labels)
        number = int((number > 0).sum())
        if number:
            self._say(f"Found {count(number, 'object')}. Commit them with C, or change the thresholds.")
        else:
            self._say(
                "No object passes the thresholds. Lower them, beginning with the foreground or quality threshold."
            )

    # ------------------------------------------------------------------ committed objects

    def commit(self, source: LayerName = "current", preserve: PreserveMode = "pixels", **details: Any) -> CommitReport:
        """Move the current object(s), or the automatic segmentation, into the committed objects, with new ids.

        Parameters
        ----------
        source
            ``"current"`` or ``"auto"``.
        preserve
            What happens where committed objects are in the way. ``"pixels"``: they keep their pixels, the new objects
            get the free ones. ``"objects"``: new objects that overlap a committed one are left out whole.
            ``"none"``: the new objects overwrite, and the report says who lost what.

        Returns
        -------
        report
            Ids, and all that was not committed or was overwritten.

        Raises
        ------
        InputError
            When there is nothing to commit, or nothing of it is free.
        """
        with self._act("Commit", source=source, preserve=preserve, **details) as draft:
            report = self._commit(draft, source, preserve)
            draft.details.update(ids=list(report.ids))
        if source == "current":
            self._epoch += 1
            self.set_next_polarity(True)
        self._say(report.message)
        return report

    def load_committed(self, labels: np.ndarray, source: str = "loaded") -> None:
        """Replace the committed objects by a label image, keeping its ids.

        Raises
        ------
        InputError
            For another shape, negative values or values that are not integers.
        """
        labels = objects.check_labels(labels, self.shape)
        with self._act("Load objects") as draft:
            objects.load(draft, labels, source)
        number = len(self._state.objects)
        self._say(f"{count(number, 'object')} loaded. Click an object to segment, or reopen one to correct it.")

    def delete(self, ids: Iterable[int]) -> None:
        """Remove committed objects."""
        ids = objects.check_ids(self._state, ids)
        with self._act(f"Delete {'object' if len(ids) == 1 else 'objects'} {listing(ids)}", ids=ids) as draft:
            objects.delete(draft, ids)
        self._say(f"{'Object' if len(ids) == 1 else 'Objects'} {listing(ids)} deleted. Undo brings it back.")

    def merge(self, ids: Iterable[int]) -> int:
        """Make one committed object of several; the smallest id stays and is returned."""
        ids = objects.check_ids(self._state, ids)
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
        (object_id,) = objects.check_ids(self._state, [object_id])
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
        self.layer(name)
        blocks = current.split_region(region, values, before, self.shape)
        with self._act(f"Paint {name} {'object' if name == 'current' else 'objects'}", layer=name) as draft:
            if name == "committed":
                objects.paint(draft, blocks)
            else:
                current.paint(draft, name, blocks)
        if name == "current":
            self._epoch += 1

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

    # ------------------------------------------------------------------ history

    @property
    def history(self) -> History:
        """The list of what was done."""
        return self._history

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to take back."""
        return self._history.last is not None

    @property
    def can_redo(self) -> bool:
        """Whether there is a step to do again."""
        return self._history.next is not None

    def undo(self) -> str | None:
        """Take the last step back; its name, or None when there is none."""
        command = self._history.step_back()
        if command is None:
            self._say("There is nothing to undo.")
            return None
        self._after(command.undo(self._state))
        self._say(f"Undone: {command.name}.")
        return command.name

    def redo(self) -> str | None:
        """Do the step again that was undone last; its name, or None when there is none."""
        command = self._history.step_forward()
        if command is None:
            self._say("There is nothing to redo.")
            return None
        self._after(command.do(self._state))
        self._say(f"Redone: {command.name}.")
        return command.name

    # ------------------------------------------------------------------ inside

    @contextmanager
    def _act(self, name: str, *, kind: str = "", join: bool = False, **details: Any) -> Iterator[Draft]:
        """One step: all edits of the draft, or none when the act raises. `join` adds them to the step before."""
        draft = Draft(self._state, details)
        try:
            yield draft
            self._complete(draft)
        except BaseException:
            draft.rollback()
            raise
        if draft.edits:
            command = Command(name, draft.edits, draft.details, kind)
            if join:
                self._history.extend(command)
            else:
                self._history.push(command)
            self._emit(draft.changes)

    # Sessions with more state than label images do their part of these acts here.

    def _commit(self, draft: Draft, source: str, preserve: str) -> CommitReport:
        return objects.commit(draft, source, preserve, self._model_facts())

    def _merge(self, draft: Draft, ids: Sequence[int]) -> int:
        return objects.merge(draft, ids)

    def _reopen(self, draft: Draft, object_id: int) -> None:
        objects.reopen(draft, object_id)

    def _clear_all(self, draft: Draft) -> None:
        objects.clear_all(draft)

    def _complete(self, draft: Draft) -> None:
        """Bring what depends on the edits of an act in line with them, before it becomes a step of the history."""

    def _after(self, changes: Changes) -> None:
        self._epoch += 1
        self._emit(changes)

    def _emit(self, changes: Changes) -> None:
        for name, (z0, z1, (y0, x0, y1, x1)) in changes.regions.items():
            plane = (slice(y0, y1), slice(x0, x1))
            self.events.labels_changed.emit(name, plane if self.ndim == 2 else (slice(z0, z1), *plane))
        if "prompts" in changes.keys:
            self.events.prompts_changed.emit(self.prompts)
        if "objects" in changes.keys:
            self.events.objects_changed.emit()
        if changes.keys & {"tracks", "current_tracks"}:
            self.events.lineage_changed.emit()
        self.events.history_changed.emit()

    def _say(self, text: str) -> None:
        self.events.message.emit(text)

    def _regions(self) -> Iterable[tuple[int, Box]]:
        return self._state.regions.items()

    def _check_slice(self, z: int | None) -> int:
        if self.ndim == 2:
            if z not in (None, 0):
                raise InputError(f"A 2D image has no slice {z}.")
            return 0
        if z is None:
            raise InputError(f"Say which {self._place} is meant.")
        if not 0 <= z < self.shape[0]:
            raise InputError(f"There is no {self._place} {z}; the last one is {self.shape[0] - 1}.")
        return int(z)

    def _check_ready(self, z: int) -> None:
        if self._predictor is None or self._embeddings is None:
            raise InputError("The model is not ready yet. Wait until the embeddings are computed, then try again.")
        is_complete = getattr(self._embeddings, "is_complete", None)
        index = z if self.ndim == 3 else None
        # The network needs only the tiles around the prompts, so a slice is refused only when none of it is there;
        # a missing tile is reported by the segmentation itself.
        if is_complete is not None and not is_complete(index) and not getattr(self._embeddings, "is_tiled", False):
            raise NotComputedYet(f"The embeddings of {self._where(z)} are not computed yet. It will be ready soon.")

    def _assign_labels(self, result: SliceResult) -> tuple[int, ...]:
        return current.assign_labels(self._state, result)

    def _model_facts(self) -> dict[str, str]:
        return {key: str(getattr(self._predictor, key, "") or "") for key in ("model_name", "model_hash")}

    def _where(self, z: int) -> str:
        return "the image" if self.ndim == 2 else f"{self._place} {z}"
