"""What every session has: state, signals, history, and the one way in which acts change the state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal, SignalGroup

from micro_sam.errors import InputError, NotComputedYet
from micro_sam.io.label_arrays import any_label
from micro_sam.segmentation.values import ObjectMask, Prompts
from micro_sam.session.classes import ClassActions
from micro_sam.session.commands import Changes, Command, Draft
from micro_sam.session.history import History
from micro_sam.session.journal.keeper import Keeper
from micro_sam.session.journal.recorder import Journal
from micro_sam.session.journal.restoring import Restored, restore
from micro_sam.session.journal.rows import Row
from micro_sam.session.labels import Box, Runs, crop, present
from micro_sam.session.prompts import PromptSet
from micro_sam.session.state import LAYERS, State
from micro_sam.session.values import LayerName, ObjectRecord

if TYPE_CHECKING:
    from micro_sam.embeddings.embeddings import Embeddings
    from micro_sam.models.predictor import Predictor


class SessionEvents(SignalGroup):
    """Signals of a session, emitted in the thread of the act, after the act is complete."""

    prompts_changed = Signal(PromptSet)
    """The prompts are different now."""
    labels_changed = Signal(str, tuple)
    """Layer name ("current", "committed", "auto") and the index of the smallest region that changed."""
    objects_changed = Signal()
    """Records of committed objects were added, replaced or removed, or classes changed."""
    lineage_changed = Signal()
    """Tracks or their relations changed (tracking only)."""
    polarity_changed = Signal(bool)
    """Whether the next point is positive."""
    history_changed = Signal()
    """What undo and redo would do is different now."""
    message = Signal(str)
    """Short sentences for the status line: what happened, and what to do next."""


class SessionBase:
    """State, signals and history of a session; see :class:`~micro_sam.session.session.Session`."""

    _events_type = SessionEvents
    _place = "slice"
    can_write_later = True
    """Whether :attr:`writes_later` may be set."""

    def __init__(self, shape: Sequence[int], *, max_history_bytes: int = 512 * 1024**2) -> None:
        shape = tuple(int(size) for size in shape)
        if len(shape) not in (2, 3) or min(shape) < 1:
            raise InputError(f"A session needs an image of shape (H, W) or (Z, H, W), but this one has {shape}.")
        self.events = self._events_type()
        self._state = State.empty(shape)
        self._history = History(max_history_bytes)
        self._epoch = 0
        self._revision = 0
        """Counts the steps in which committed or automatic objects changed."""
        self.writes_later = False
        """Whether the pixels of large steps are left to :meth:`write_some`, which the window then calls."""
        self._last_prompt_id = 0
        self._keeper = Keeper(self._say)
        self._keeper.follow(self.events)
        self.classes = ClassActions(self._act, self._state, self._say)
        """Classes of objects, and the actions on them."""
        self._positive = True
        self._predictor: Predictor | None = None
        self._embeddings: Embeddings | None = None

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
        return self._state.layer("current")

    @property
    def committed(self) -> np.ndarray:
        """Committed objects, uint32. Always the same array."""
        return self._state.layer("committed")

    @property
    def auto(self) -> np.ndarray:
        """Automatic segmentation, uint32. Always the same array."""
        return self._state.layer("auto")

    def layer(self, name: LayerName) -> np.ndarray:
        """One of the three label arrays by its name."""
        if name not in LAYERS:
            raise InputError(f"There is no label layer '{name}'; there are {', '.join(LAYERS)}.")
        return self._state.layer(name)

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

    @property
    def has_auto(self) -> bool:
        """Whether there is an automatic segmentation that was not committed."""
        return any_label(self.auto)

    def object_at(self, position: Sequence[float]) -> int:
        """Id of the committed object at (y, x) or (z, y, x); 0 for background and outside."""
        index = tuple(int(np.floor(value + 0.5)) for value in position)
        inside = len(index) == self.ndim and all(0 <= i < size for i, size in zip(index, self.shape, strict=True))
        return int(self.committed[index]) if inside else 0

    def next_unlabelled(self, after: Sequence[float] | None = None) -> tuple[int, ...] | None:
        """A pixel of the next automatic object that nothing committed touches; None when there is none left.

        Parameters
        ----------
        after
            Position (y, x) or (z, y, x) to go on from, in reading order. None: from the beginning.
        """
        after = tuple(after) if after is not None else (-1.0,) * self.ndim
        seen: set[int] = set()  # labels of the slice before: an object is proposed once, where it begins
        for z in range(max(int(after[0]), 0) if self.ndim == 3 else 0, self.shape[0] if self.ndim == 3 else 1):
            auto, committed = (self._state.plane(name, z) for name in ("auto", "committed"))
            runs = Runs.of(auto, committed)
            taken = seen | set(np.unique(runs.values[0][runs.values[1] > 0]).tolist())
            found = []
            for label, box, _, _ in runs.measure():
                if label not in taken:
                    inside = np.argwhere(auto[crop(box)] == label) + box[:2]
                    centre = inside[np.abs(inside - inside.mean(axis=0)).sum(axis=1).argmin()].tolist()
                    found.append(tuple(centre) if self.ndim == 2 else (z, *centre))
            later = [position for position in sorted(found) if position > after]
            if later:
                return later[0]
            seen = set(present(auto).tolist())
        return None

    # ------------------------------------------------------------------ model

    def attach(self, predictor: Predictor, embeddings: Embeddings) -> None:
        """Use this model and these features from now on. Prompts and objects stay; plans made before become stale."""
        self._predictor, self._embeddings = predictor, embeddings
        self._epoch += 1

    @property
    def predictor(self) -> Predictor | None:
        """The model in use; None before :meth:`attach`."""
        return self._predictor

    @property
    def embeddings(self) -> Embeddings | None:
        """The features in use; None before :meth:`attach`."""
        return self._embeddings

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
        self._after(command.undo(self._state, later=self.writes_later and command.is_large))
        self._keeper.note(command, "undo")
        self._say(f"Undone: {command.name}.")
        return command.name

    def redo(self) -> str | None:
        """Do the step again that was undone last; its name, or None when there is none."""
        command = self._history.step_forward()
        if command is None:
            self._say("There is nothing to redo.")
            return None
        self._after(command.do(self._state, later=self.writes_later and command.is_large))
        self._keeper.note(command, "redo")
        self._say(f"Redone: {command.name}.")
        return command.name

    @property
    def is_writing(self) -> bool:
        """Whether pixels of the last step are still to be written or told."""
        return bool(self._state.unwritten or self._state.written)

    def write_some(self) -> bool:
        """Write some more pixels of the last step, and tell which; whether there are more. It takes a moment only.

        Whoever asks for a layer of the session meanwhile gets it with all pixels written.
        """
        self._state.write_next()
        while self._state.written:
            name, z, box = self._state.written.popleft()
            self._emit_labels(name, z, z + 1, box)
        return self.is_writing

    # ------------------------------------------------------------------ journal

    @property
    def journal(self) -> Journal | None:
        """Where everything that is done is written down; None: nowhere."""
        return self._keeper.journal

    def keep_journal(self, journal: Journal | None) -> None:
        """Write down everything that is done from now on; what was done before must be in the journal already."""
        self._keeper.journal = journal

    def begin_here(self) -> None:
        """Let what is there now be the beginning, for instance a result that was loaded: it cannot be taken back."""
        self._history.clear()
        self._keeper.note_beginning()

    def restore(self, rows: Sequence[Row], is_damaged: bool = False) -> Restored:
        """Do the actions of a journal again, in a session in which nothing was done; no network is asked.

        Parameters
        ----------
        rows
            All actions, in order.
        is_damaged
            Some are missing: what is there is done, and cannot be taken back.

        Raises
        ------
        CacheError
            When they are not of such a session.
        """
        result = restore(self._state, self._history, rows, is_damaged)
        self._last_prompt_id = result.last_prompt_id
        self._positive = bool(result.next.get("positive", True))
        self._epoch += 1
        self._revision += 1
        return result

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything that was done is on disc; False when it cannot be, or takes longer (seconds)."""
        return self._keeper.flush(timeout)

    def tell_written(self) -> None:
        """Send the messages of actions that are on disc by now. For the thread of the actions."""
        self._keeper.tell_written()

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
            self._remember(Command(name, draft.edits, draft.details, kind), join)
            self._revision += bool(draft.changes.regions.keys() & {"committed", "auto"})
            self._emit(draft.changes)

    def _perform(self, command: Command, join: bool = False) -> None:
        """Do a command that was made elsewhere, as a step of the history; `join` adds it to the step before."""
        self._revision += 1
        changes = command.do(self._state, later=self.writes_later and command.is_large)
        self._remember(command, join)
        self._emit(changes)

    def _remember(self, command: Command, join: bool = False) -> None:
        """Put a step that was just done into the history and into the journal; `join` adds it to the step before."""
        last = self._history.last if join else None
        if last is None:
            self._history.push(command)
            self._keeper.note(command)
        else:
            self._keeper.note(command, "join", last)  # before the two share their edits
            self._history.extend(command)

    def _complete(self, draft: Draft) -> None:
        """Bring what depends on the edits of an act in line with them, before it becomes a step of the history."""

    def _after(self, changes: Changes) -> None:
        self._epoch += 1
        self._revision += 1
        self._emit(changes)

    def _emit_labels(self, name: str, z0: int, z1: int, box: Box) -> None:
        plane = crop(box)
        self.events.labels_changed.emit(name, plane if self.ndim == 2 else (slice(z0, z1), *plane))

    def _emit(self, changes: Changes) -> None:
        self._state.release()
        for name, (z0, z1, box) in changes.regions.items():
            self._emit_labels(name, z0, z1, box)
        if "prompts" in changes.keys:
            self.events.prompts_changed.emit(self.prompts)
        if changes.keys & {"objects", "classes"}:
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

    def _imposes(self, z: int) -> bool:
        """Whether an answer that was asked for by key or button overrules what is known from other slices."""
        return False

    def _check_model(self) -> None:
        if self._predictor is None or self._embeddings is None:
            raise InputError("The model is not ready yet. Wait until the embeddings are computed, then try again.")

    def _check_ready(
        self, z: int, prompts: Prompts, batched: bool = False, previous: Sequence[ObjectMask] | None = None
    ) -> None:
        """Raise NotComputedYet when a tile is missing that these prompts of a slice need."""
        self._check_model()
        from micro_sam.segmentation.readiness import missing_tiles  # torch is not there before the window

        index = z if self.ndim == 3 else None
        missing = missing_tiles(self._predictor, self._embeddings, index, prompts, batched=batched, previous=previous)
        if missing:
            what = "this part of " if len(self._embeddings.grid) > 1 else ""
            raise NotComputedYet(
                f"The embedding of {what}{self._where(z)} is not computed yet. It will be ready soon.",
                tuple((index, tile) for tile in missing),
            )

    def _model_facts(self) -> dict[str, str]:
        return {key: str(getattr(self._predictor, key, "") or "") for key in ("model_name", "model_hash")}

    def _where(self, z: int) -> str:
        return "the image" if self.ndim == 2 else f"{self._place} {z}"
