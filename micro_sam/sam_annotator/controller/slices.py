"""Going to slices: what the tools on stacks and movies share."""

from __future__ import annotations

from micro_sam.errors import InputError
from micro_sam.sam_annotator.controller.acts import act


class SliceActs:
    """Acts of tools whose session has slices and runs. Mixed into an annotator, before it."""

    place = "slice"
    """What the person calls it: slice, or frame."""

    @act
    def go_to_slice(self, z: int) -> None:
        """Show a slice (or frame)."""
        self._needed()
        dims, raw = self.viewer.dims, self.layers.raw
        z = min(max(int(z), 0), self.session.shape[0] - 1)
        world = raw.data_to_world((z, *[0] * (raw.ndim - 1)))
        dims.set_point(dims.ndim - raw.ndim, float(world[0]))

    def review_next(self) -> None:
        """The least certain slice of the object that is open; without one, the most doubtful committed object."""
        session = self.session
        if session is None or session.has_current or len(session.prompts.drawn) or not session.objects:
            self.go_to_weakest_slice()
        else:
            super().review_next()

    @act
    def go_to_weakest_slice(self) -> None:
        """Show the slice of the current object that is worth a look first."""
        session = self._needed().session
        z = session.propagation.weakest_slice()
        if z is None:
            raise InputError(f"No {self.place} was filled in by a run yet. Click an object and press V first.")
        self.go_to_slice(z)
        confidence = session.propagation.confidence[z]
        self.status.say(
            f"{self.place.capitalize()} {z} is the least certain ({confidence.value:.2f}). If it is wrong, click or "
            f"draw a box here, {self._then}."
        )
