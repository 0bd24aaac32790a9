"""Correcting what is committed: what the tools on stacks and movies share."""

from __future__ import annotations

from micro_sam.errors import InputError
from micro_sam.sam_annotator.controller.acts import act


class CorrectionActs:
    """Acts that open a committed object again. Mixed into an annotator, before it."""

    noun = "object"
    """What the person calls it: object, or track."""
    place = "slice"
    """What the object is made of: slices, or frames."""
    _corrects = False

    @property
    def corrects_by_click(self) -> bool:
        """Whether the next click on a committed object opens it again."""
        return self._corrects and self.layers is not None and self.layers.tool_in_hand() == "pick"

    @act
    def correct_by_click(self, on: bool = True) -> None:
        """Let the next click on a committed object open it again."""
        if on:
            self._check_free()
        self._corrects = on
        self.use_tool("pick" if on else "point")
        if on:
            self.status.say(f"Click the committed {self.noun} that needs a correction.")

    def pick(self, object_id: int) -> None:
        """Choose a committed object, or open it again after :meth:`correct_by_click`."""
        if self.corrects_by_click and object_id:
            self.reopen(object_id)
        else:
            super().pick(object_id)

    @act
    def reopen_under_mouse(self) -> None:
        """Open the committed object under the mouse again."""
        self._needed()
        layer = self.layers.labels["committed"].layer
        object_id = self.session.objects.at(layer.world_to_data(self.viewer.cursor.position))
        if object_id == 0:
            raise InputError(f"There is no committed {self.noun} under the mouse. Point at one, then press O.")
        self.reopen(object_id)

    @act
    def reopen(self, object_id: int) -> None:
        """Make a committed object the current one, with its prompts, to correct it anywhere."""
        self._needed().session.objects.reopen(object_id)
        self._corrects = False
        self.choose(())
        self.use_tool("point")
        self.status.say(
            f"{self.noun.capitalize()} {object_id} is open again. Click or draw in the {self.place}s that are wrong, "
            f"{self._then}. Commit with C."
        )

    _then = "then press V: only what lies between your corrections is done again"

    def _check_free(self) -> None:
        session = self._needed().session
        if session.has_current or len(session.prompts.drawn):
            raise InputError(
                f"There is a current {self.noun}. Commit it (C) or clear it (Shift-C) before correcting another."
            )
