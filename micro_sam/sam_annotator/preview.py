"""From prompts to the current object, without making anybody wait.

Every edit of the prompts asks for a preview; key and button ask explicitly. Both go the same way: the session takes
the question down, a thread answers it, the session shows the answer unless it has become stale. A question that comes
before the features are there is kept and asked when they are.
"""

from __future__ import annotations

from collections.abc import Callable

from micro_sam.errors import InputError, NotComputedYet
from micro_sam.sam_annotator.latest import LatestWins
from micro_sam.sam_annotator.status import Status
from micro_sam.session.session import Session


class Preview:
    """Segments the prompts of the slice in view.

    Parameters
    ----------
    status
        Where it reports.

    Attributes
    ----------
    live
        Whether edits of prompts are answered without a key.
    batched
        Whether each positive point is an object of its own.
    """

    def __init__(self, status: Status) -> None:
        self.live = True
        self.batched = False
        self._status = status
        self._session: Session | None = None
        self._kept: tuple[int, bool] | None = None
        self._asked = 0
        self._answered = 0
        self._then: Callable[[], object] | None = None
        self._dropped = 0  # number of the last question whose answer nobody wants
        self._latest = LatestWins("preview")
        self._latest.done.connect(self._show)
        self._latest.failed.connect(self._failed)

    @property
    def busy(self) -> bool:
        """Whether an answer is on its way."""
        return self._answered < self._asked

    @property
    def waits(self) -> bool:
        """Whether a question is kept until the features are there."""
        return self._kept is not None

    def follow(self, session: Session | None) -> None:
        """Work for this session from now on."""
        self._session = session
        self.drop()

    def edited(self, z: int) -> None:
        """The prompts of slice `z` were edited by the person."""
        if self.live and self._session is not None:
            self._ask(z, explicit=False)

    def segment(self, z: int) -> None:
        """Segment the prompts of slice `z` because the person says so.

        Raises
        ------
        InputError
            When there is nothing to segment.
        """
        if self._session is None:
            raise InputError("There is no image yet. Drop a file onto the window, or open one with the menu above.")
        self._ask(z, explicit=True)

    def retry(self) -> None:
        """More features are there: ask what was kept, if anything."""
        if self._kept is not None:
            z, explicit = self._kept
            self._kept = None
            self._ask(z, explicit)

    def drop(self) -> None:
        """Forget all questions, also the one that is being answered: something else answers them."""
        self._kept = None
        self._then = None
        self._dropped = self._answered = self._asked
        self._latest.forget()

    def then(self, act: Callable[[], object]) -> None:
        """Do something as soon as the answer that is on its way is shown; forgotten when the answer is not wanted."""
        self._then = act

    def close(self) -> None:
        """End the thread."""
        self._session = None
        self._latest.close()

    def _ask(self, z: int, explicit: bool) -> None:
        session = self._session
        if session.predictor is None or session.embeddings is None:
            self._keep(z, explicit)
            return
        try:
            request = session.plan_slice(z, batched=self.batched)
        except NotComputedYet:
            self._keep(z, explicit)
            return
        except InputError:
            # Prompts that ask nothing yet (only negative points) are no mistake while somebody is still clicking.
            self.drop()
            if explicit:
                raise
            return
        self._kept = None
        self._asked += 1
        self._latest.ask((session, z, explicit, self._asked), lambda: session.run(request))

    def _keep(self, z: int, explicit: bool) -> None:
        has_something = self._session.prompts.in_slice(z).has_positive
        if not has_something and explicit:
            raise InputError("There is nothing to segment yet. Click an object, or draw a box around one.")
        self._kept = (z, explicit) if has_something else None
        if has_something:
            self._status.say("Your prompt is kept: it will be segmented as soon as the embedding is ready.")

    def _show(self, tag: tuple, result) -> None:
        session, z, explicit, number = tag
        if session is not self._session or number <= self._dropped:
            return
        try:
            session.apply(result, preview=not explicit)
        except Exception as error:
            self._status.report(error)
        self._after(number)

    def _failed(self, tag: tuple, error: Exception) -> None:
        session, z, explicit, number = tag
        if session is not self._session or number <= self._dropped:
            return
        self._then = None
        self._after(number)
        if isinstance(error, NotComputedYet):  # a tile that the object reaches into
            self._keep(z, explicit)
        else:
            self._status.report(error)

    def _after(self, number: int) -> None:
        self._answered = number
        if not self.busy and self._then is not None:
            act, self._then = self._then, None
            act()
