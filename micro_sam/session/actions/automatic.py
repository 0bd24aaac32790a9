"""Automatic segmentations: shown in `auto` until they are committed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from micro_sam.io.label_arrays import any_label
from micro_sam.segmentation.region_of_interest import RegionOfInterest
from micro_sam.session import queries
from micro_sam.session.commands import Draft
from micro_sam.session.edits.committed import check_labels
from micro_sam.session.label_edits import present
from micro_sam.session.lineage import Lineage
from micro_sam.session.model import Model
from micro_sam.session.rules import Relations
from micro_sam.session.steps import Steps
from micro_sam.session.values import count


class AutomaticActions:
    """The automatic segmentation of a session."""

    def __init__(self, steps: Steps, model: Model) -> None:
        self._steps = steps
        self._model = model

    @property
    def exists(self) -> bool:
        """Whether there is an automatic segmentation that was not committed."""
        return any_label(self._steps.state.layer("auto"))

    def at(self, position: Sequence[float]) -> int:
        """Label of the automatic object at (y, x) or (z, y, x); 0 for background and outside."""
        return queries.object_at(self._steps.state, position, "auto")

    @property
    def can_join(self) -> bool:
        """Whether what is shown now is one step of undo with what was shown last: a slider shows many."""
        last = self._steps.history.last
        return last is not None and last.kind == "auto" and self._steps.history.next is None

    @property
    def region(self) -> RegionOfInterest | None:
        """Where objects are looked for; None: in the whole image."""
        return self._steps.state.region_of_interest

    def set_region(self, region: RegionOfInterest | None) -> None:
        """Look for objects inside a region only, or (None) in the whole image again.

        What is committed, and what is shown in `auto` already, stays as it is.

        Raises
        ------
        InputError
            When the region lies outside the image.
        """
        if region == self.region:
            return
        if region is None:
            with self._steps.step("Clear region") as draft:
                draft.set("region_of_interest", None)
            self._steps.say("Segment All looks at the whole image again.")
            return
        region.box(self._steps.state.shape)  # inside the image
        with self._steps.step("Set region") as draft:
            draft.set("region_of_interest", region)
        self._steps.say("Segment All looks inside the region only, and keeps objects whose centre lies in it.")

    def show(
        self,
        labels: np.ndarray,
        z: int | None = None,
        lineage: Relations | None = None,
        in_pieces: bool = False,
        **details: Any,
    ) -> None:
        """Show an automatic segmentation in `auto`, in place of the one before.

        Parameters
        ----------
        labels
            Any integer labels of the session's shape, or (H, W) with `z`.
        z
            In a stack: replace this slice only.
        lineage
            Movies only: the relations of tracks, mother -> daughters.
        in_pieces
            Whether objects in several pieces are meant so, as in labels of another program. Otherwise a commit takes
            the largest piece of each.
        details
            JSON-able settings it was made with (method, thresholds, ...), for the record.

        Notes
        -----
        Successive calls are one step of undo, since a slider calls this many times.
        """
        steps, shape = self._steps, self._steps.state.shape
        labels = check_labels(labels, shape if z is None else shape[-2:])
        relations = steps.rules.auto_lineage(labels, lineage)
        facts = {**details, "model": self._model.facts}
        with steps.step("Segment all objects", kind="auto", join=self.can_join, **facts) as draft:
            for plane_z, plane in enumerate(labels.reshape(-1, *shape[-2:]), start=0 if z is None else z):
                draft.paint("auto", plane_z, (0, 0, *plane.shape), plane)
            draft.set("auto_in_pieces", in_pieces)
            if relations is not None:
                _set_parents(draft, relations)
        self.say_found(int((present(labels) > 0).sum()))

    def relate(self, lineage: Lineage) -> None:
        """Say how the tracks in `auto` are related, after :meth:`show` has shown them frame by frame.

        One step of undo together with that.
        """
        with self._steps.step("Link objects", kind="auto", join=self.can_join) as draft:
            _set_parents(draft, lineage)

    def next_unlabelled(self, after: Sequence[float] | None = None) -> tuple[int, ...] | None:
        """See :func:`micro_sam.session.queries.next_unlabelled`."""
        return queries.next_unlabelled(self._steps.state, after)

    def say_found(self, number: int) -> None:
        """Tell how many objects an automatic segmentation has, and what to do next."""
        where = "" if self.region is None else " in the region"
        if number:
            how = "Commit them with C, or change the thresholds."
            if queries.has_current(self._steps.state):
                how = (
                    f"C commits the current {self._steps.rules.noun} first; for these, choose auto_segmentation in "
                    "'Options of Commit'."
                )
            self._steps.say(f"Found {count(number, 'object')}{where}. {how}")
        else:
            self._steps.say(
                f"No object{where} passes the thresholds. "
                "Lower them, beginning with the foreground or quality threshold."
            )


def _set_parents(draft: Draft, lineage: Lineage) -> None:
    draft.drop_all("auto_parents")
    for track in lineage.tracks:
        if track.parent is not None:
            draft.put("auto_parents", track.id, track.parent)
