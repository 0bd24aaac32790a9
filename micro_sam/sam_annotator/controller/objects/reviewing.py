"""Looking through the committed objects, the most doubtful first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from psygnal import Signal

from micro_sam.errors import InputError
from micro_sam.sam_annotator.actions import Actions
from micro_sam.sam_annotator.controller.objects.table import ObjectTable
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.session.values import ObjectRecord, count

if TYPE_CHECKING:
    from micro_sam.measure.review import Doubt

NAME = "review"


class Reviewing:
    """The review of one window.

    Parameters
    ----------
    state, actions
        Of the window; objects are selected, shown and re-opened by its actions.
    table
        Has the reasons.
    passed_divisions
        Tells tracks that go on where their object became two: id -> frame.

    Attributes
    ----------
    doubt
        The object that is looked at, and why; None when there is no review.
    left
        How many objects were not looked at yet.

    Signals
    -------
    changed
        Another object is looked at, or none.
    """

    changed = Signal()

    def __init__(
        self,
        state: WindowState,
        actions: Actions,
        table: ObjectTable,
        passed_divisions: Callable[[], Mapping[int, int]] = dict,
    ) -> None:
        self._state, self._actions, self._table = state, actions, table
        self._passed_divisions = passed_divisions
        self._hears = False
        self._fine: dict[int, ObjectRecord] = {}
        self._passed: set[int] = set()
        self._waits = False
        self.doubt: Doubt | None = None
        self.left = 0
        state.events.session.connect(self._follow)

    def next(self) -> None:
        """Go to the next object, when all are measured; of an open object in a stack, to its least certain slice.

        Raises
        ------
        InputError
            When there is nothing to look at, or an object is open.
        """
        session, tool = self._state.needed(), self._state.tool
        noun = tool.noun
        is_open = session.has_current or len(session.prompts.drawn)
        if tool.ndim == 3 and (is_open or not session.objects):
            self._actions.go_to_weakest_slice()
            return
        if is_open:
            raise InputError(f"One {noun} is open. Commit it (C) or clear it (Shift-C), then go on with W.")
        if not session.objects:
            raise InputError(f"There are no committed {noun}s to look at.")
        if self.doubt is not None:
            self._passed.add(self.doubt.id)
        measuring = self._table.measuring
        if not self._hears:
            self._hears = True
            measuring.changed.connect(self._measured)
        measuring.want(NAME, True)
        self._waits = not measuring.is_complete
        if self._waits:
            self._state.status.say(f"Measuring the {noun}s, to begin with the most doubtful ...")
        else:
            self._go()

    def fine(self) -> None:
        """The object is right: it does not come again unless it changes."""
        if self.doubt is not None:
            self._fine[self.doubt.id] = self._state.needed().objects[self.doubt.id]
            self.next()

    def correct(self) -> None:
        """Open the object again."""
        if self.doubt is not None:
            self._passed.add(self.doubt.id)
            self._actions.select((self.doubt.id,))
            self._actions.reopen_selected()
            self._show(None)

    def delete(self) -> None:
        """Remove the object, and go on."""
        if self.doubt is not None:
            session = self._state.needed()
            session.objects.delete([self.doubt.id])
            if session.objects:
                self.next()
            else:
                self.stop()

    def stop(self) -> None:
        """End the review; the next one begins with the most doubtful object again."""
        self._passed.clear()
        self._waits = False
        if self._hears:
            self._table.measuring.want(NAME, False)
        self._show(None)

    def _follow(self) -> None:
        """Another session is open."""
        self._fine.clear()
        self.stop()

    def _measured(self, _table: object) -> None:
        if self._waits:
            self._waits = False
            self._go()

    def _go(self) -> None:
        from micro_sam.measure.review import review_order

        session, noun = self._state.needed(), self._state.tool.noun
        objects, measuring = session.objects, self._table.measuring
        table, passed = measuring.table(), self._passed_divisions()
        order = (
            []
            if table is None
            else review_order(table, session.shape, cut_by_tiles=measuring.cut_by_tiles(), passed_divisions=passed)
        )
        order = [
            doubt
            for doubt in order
            if doubt.id in objects
            and doubt.id not in self._passed
            and self._fine.get(doubt.id) is not objects[doubt.id]
        ]
        if not order:
            self.stop()
            self._state.status.say(f"All {count(len(objects), noun)} were looked at.", "good")
            return
        doubt, self.left = order[0], len(order) - 1
        self._actions.select((doubt.id,))
        self._actions.go_to_object(doubt.id)
        self._show(doubt)
        why = ", ".join(doubt.reasons) or "nothing speaks against it"
        self._state.status.say(f"{noun.capitalize()} {doubt.id}: {why}. {self.left} left.")

    def _show(self, doubt: Doubt | None) -> None:
        self.doubt = doubt
        self.changed.emit()
