"""What the user can do in stacks and movies: go to slices, look at the weakest one, open a committed object again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from micro_sam.errors import InputError
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.layers.mouse import Mouse
from micro_sam.sam_annotator.view.sight import Sight


class StackActions:
    """Actions of tools whose image has slices or frames.

    Parameters
    ----------
    state
        Of the window.
    mouse, sight
        Get the tool that is needed, go to slices.
    select_one
        Selects a committed object beside others.
    after_correction
        What the user does after a correction, to end a sentence.
    """

    def __init__(
        self,
        state: WindowState,
        mouse: Mouse,
        sight: Sight,
        select_one: Callable[[int], object],
        after_correction: Callable[[], str],
    ) -> None:
        self._state, self._mouse, self._sight = state, mouse, sight
        self._select_one = select_one
        self._after_correction = after_correction
        state.events.mouse.connect(self._mouse_changed)

    def go_to_slice(self, z: int) -> None:
        """Show a slice (or frame)."""
        self._state.needed()
        self._sight.go_to_slice(z)

    def set_option(self, name: str, value: Any) -> None:
        """Change one of the options of the next propagation."""
        options = self._state.options
        if options is not None:
            self._state.options = options.changed(**{name: value})

    def go_to_weakest_slice(self) -> None:
        """Show the slice of the current object that is worth a look first."""
        session, place = self._state.needed(), self._state.tool.place
        z = session.propagation.weakest_slice()
        if z is None:
            raise InputError(f"No {place} was filled in by propagation yet. Click an object and press V first.")
        self._sight.go_to_slice(z)
        confidence = session.propagation.confidence[z]
        self._state.status.say(
            f"{place.capitalize()} {z} is the least certain ({confidence.value:.2f}). If it is wrong, click or "
            f"draw a box here, {self._after_correction()}."
        )

    def correct_by_click(self, on: bool = True) -> None:
        """Let the next click on a committed object open it again."""
        if on:
            self._check_free()
        self._mouse.use("pick" if on else "point")
        self._state.corrects = on
        if on:
            self._state.status.say(f"Click the committed {self._state.tool.noun} that needs a correction.")

    def click_object(self, object_id: int) -> None:
        """Select the committed object that was clicked, or open it again after :meth:`correct_by_click`."""
        if self._state.corrects and object_id:
            self.reopen(object_id)
        else:
            self._select_one(object_id)

    def reopen_under_mouse(self) -> None:
        """Open the committed object under the mouse again."""
        self._state.needed()
        object_id = self._sight.object_under_mouse()
        if object_id == 0:
            noun = self._state.tool.noun
            raise InputError(f"There is no committed {noun} under the mouse. Point at one, then press O.")
        self.reopen(object_id)

    def reopen(self, object_id: int) -> None:
        """Make a committed object the current one, with its prompts, to correct it anywhere."""
        state, tool = self._state, self._state.tool
        state.needed().objects.reopen(object_id)
        state.corrects, state.selected = False, ()
        self._mouse.use("point")
        state.status.say(
            f"{tool.noun.capitalize()} {object_id} is open again. Click or draw in the {tool.place}s that are wrong, "
            f"{self._after_correction()}. Commit with C."
        )

    def _mouse_changed(self, mouse: str | None) -> None:
        """Another tool ends the correction."""
        if mouse != "pick":
            self._state.corrects = False

    def _check_free(self) -> None:
        session, noun = self._state.needed(), self._state.tool.noun
        if session.has_current or len(session.prompts.drawn):
            raise InputError(
                f"There is a current {noun}. Commit it (C) or clear it (Shift-C) before correcting another."
            )
