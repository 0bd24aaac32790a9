"""From prompts to the current object, without making anybody wait.

Every edit of the prompts asks for a preview; key and button ask explicitly. Both go the same way: the session takes
the question down, a thread answers it, the session shows the answer unless it has become stale. A question that comes
before its tiles are there waits for them; so does the rest of an object that reaches into tiles that are not there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from psygnal import Signal

from micro_sam.errors import InputError, NotComputedYet
from micro_sam.sam_annotator.runtime.threads import LatestWins
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.session.session import Session

if TYPE_CHECKING:
    from micro_sam.embeddings.store import Item
    from micro_sam.session.prompts import PromptSet
    from micro_sam.session.requests import FrameRequest, SliceRequest, SliceResult

WAITS = "Your prompt is kept: its place is not embedded yet, but comes next. Its mask appears by itself."
WAITS_FOR_MODEL = "Your prompt is kept: it will be segmented as soon as the model is ready."
ALONE = "A negative point alone shows no object. Press T, then click the object itself."
IS_CUT = "The object reaches beyond what is embedded: the rest appears by itself."


@dataclass(frozen=True)
class _Question:
    """What the prompts of a slice ask.

    Attributes
    ----------
    drawn
        The prompts; while the slice has others, the question does not count.
    explicit
        Whether the user asked by key or button.
    items
        Tiles that it waits for; empty before it is known which.
    request
        Taken down already, when a part of the answer is shown and the rest is waited for.
    """

    z: int
    drawn: PromptSet
    explicit: bool
    items: tuple[Item, ...] = ()
    request: SliceRequest | FrameRequest | None = None


@dataclass(frozen=True, eq=False)
class _Asked:
    """A question that is being answered.

    Attributes
    ----------
    number
        Counts the questions.
    answering
        Model and features, or what answers in their place.
    """

    session: Session
    question: _Question
    number: int
    answering: tuple[object, object] | None


class Preview:
    """Segments the prompts of the slice in view.

    Parameters
    ----------
    state
        Of the window: `live` and `batched` say how it answers.

    Signals
    -------
    waiting_changed
        Other tiles are waited for.
    answered
        What was asked, with a mask or an error.
    """

    waiting_changed = Signal()
    answered = Signal()

    def __init__(self, state: WindowState) -> None:
        self._state = state
        self._status = state.status
        self._waiting: dict[int, _Question] = {}  # slice -> question, the newest last
        self._asked = 0
        self._answered = 0
        self._then: Callable[[], object] | None = None
        self._dropped = 0  # number of the last question whose answer nobody wants
        self._latest = LatestWins("preview")
        self._latest.done.connect(self._show)
        self._latest.failed.connect(self._failed)
        state.events.session.connect(self.drop)

    @property
    def busy(self) -> bool:
        """Whether an answer is on its way."""
        return self._answered < self._asked

    @property
    def waits(self) -> bool:
        """Whether a question waits for its tiles."""
        return any(self._counts(question) for question in self._waiting.values())

    @property
    def completes(self) -> bool:
        """Whether a part of an object is shown, and the rest waits for its tiles."""
        return any(question.request and self._counts(question) for question in self._waiting.values())

    @property
    def wanted(self) -> tuple[Item, ...]:
        """The tiles that are waited for, those of the newest question first."""
        questions = [question for question in self._waiting.values() if self._counts(question)]
        return tuple(dict.fromkeys(item for question in reversed(questions) for item in question.items))

    def edited(self) -> None:
        """The prompts of the slice in view were edited by the user."""
        if self._state.live and self._state.session is not None:
            self._ask(explicit=False)

    def segment(self) -> None:
        """Segment the prompts of the slice in view because the user says so.

        Raises
        ------
        InputError
            When there is nothing to segment.
        """
        self._ask(explicit=True)

    def retry(self) -> None:
        """More features are there: ask the newest question that waited for them, if any."""
        session = self._state.session
        if session is None or session.model.embeddings is None or self.busy:
            return
        for question in reversed(list(self._waiting.values())):
            if self._counts(question) and all(session.model.embeddings.is_complete(*item) for item in question.items):
                self._ask_again(question)
                return

    def attached(self) -> None:
        """There is another model, or other features: ask what waits anew."""
        for z, question in self._waiting.items():
            self._waiting[z] = replace(question, items=(), request=None)
        self.retry()

    def drop(self) -> None:
        """Forget all questions, also the one that is being answered: something else answers them."""
        self._waiting.clear()
        self._forget_asked()
        self.waiting_changed.emit()

    def then(self, do: Callable[[], object]) -> None:
        """Do something as soon as the answer that is on its way is shown; forgotten when the answer is not wanted."""
        self._then = do

    def close(self) -> None:
        """End the thread."""
        self._latest.close()

    def _counts(self, question: _Question) -> bool:
        """Whether the prompts of the slice still ask this; undo may have taken them back, and redo brings them."""
        session = self._state.session
        return session is not None and session.prompts.drawn.in_slice(question.z) == question.drawn

    def _forget_asked(self) -> None:
        self._then = None
        self._dropped = self._answered = self._asked
        self._latest.forget()

    def _ask(self, explicit: bool) -> None:
        session, z = self._state.needed(), self._state.z
        question = _Question(z, session.prompts.drawn.in_slice(z), explicit)
        self._waiting.pop(z, None)
        try:
            if session.model.answering is None:
                self._keep(question, WAITS_FOR_MODEL)
            else:
                self._send(question, session.segment.plan(z, batched=self._state.batched))
        except NotComputedYet as error:
            self._keep(replace(question, items=error.items), WAITS)
        except InputError as error:
            # Prompts that ask nothing yet (only negative points) are no mistake while somebody is still clicking.
            self._forget_asked()
            if explicit:
                raise
            if question.drawn.has_positive:
                self._status.report(error)
            else:
                self._say_alone(session)
        self.waiting_changed.emit()

    def _say_alone(self, session: Session) -> None:
        """There are negative points only; in a stack they may end an object of other slices."""
        drawn = session.prompts.drawn
        if len(drawn) and not (drawn.has_positive or session.has_current):
            self._status.say(ALONE)

    def _ask_again(self, question: _Question) -> None:
        """Ask what has waited; the other questions go on waiting."""
        session, z = self._state.needed(), question.z
        del self._waiting[z]
        try:
            request = question.request
            if request is None:
                request = session.segment.plan(z, batched=self._state.batched)
            self._send(question, request)
        except NotComputedYet as error:
            self._waiting[z] = replace(question, items=error.items)
        except InputError as error:
            self._status.report(error)
        self.waiting_changed.emit()

    def _send(self, question: _Question, request: SliceRequest | FrameRequest) -> None:
        session = self._state.needed()
        self._asked += 1
        tag = _Asked(session, question, self._asked, session.model.answering)
        self._latest.ask(tag, lambda: session.segment.compute(request))

    def _keep(self, question: _Question, text: str) -> None:
        """Wait for the tiles of a question."""
        if question.drawn.has_positive:
            self._waiting[question.z] = question
            self._status.say(text)
        elif question.explicit:
            raise InputError("There is nothing to segment yet. Click an object, or draw a box around one.")
        else:
            self._say_alone(self._state.needed())

    def _show(self, asked: _Asked, result: SliceResult) -> None:
        session, question, number = asked.session, asked.question, asked.number
        if not self._state.shows(session) or number <= self._dropped:
            return
        try:
            shown = session.segment.apply(result, preview=not question.explicit, completes=question.request is not None)
            if shown and result.cut_at:
                index = question.z if session.ndim == 3 else None
                items = tuple((index, tile) for tile in result.cut_at)
                self._keep(replace(question, items=items, request=result.request), IS_CUT)
            if not shown and asked.answering != session.model.answering and self._counts(question):
                self._waiting[question.z] = replace(question, items=(), request=None)  # it is for the new model
        except Exception as error:
            self._status.report(error)
        self._after(number)

    def _failed(self, asked: _Asked, error: Exception) -> None:
        session, question, number = asked.session, asked.question, asked.number
        if not self._state.shows(session) or number <= self._dropped:
            return
        self._then = None
        if isinstance(error, NotComputedYet):  # a tile that the prompts did not tell
            text = WAITS if error.items else WAITS_FOR_MODEL
            self._keep(replace(question, items=error.items, request=None), text)
        else:
            self._status.report(error)
        self._after(number)

    def _after(self, number: int) -> None:
        self._answered = number
        self.answered.emit()
        self.retry()
        self.waiting_changed.emit()
        if not self.busy and self._then is not None:
            do, self._then = self._then, None
            do()
