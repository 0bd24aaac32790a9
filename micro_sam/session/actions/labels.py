"""The three label layers: their arrays, and what a brush or another program does to them."""

from __future__ import annotations

from typing import Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.segmentation.values import ObjectMask
from micro_sam.session import queries
from micro_sam.session.edits import current, objects
from micro_sam.session.edits.committed import check_labels
from micro_sam.session.label_edits import present
from micro_sam.session.state import LAYERS
from micro_sam.session.steps import Steps
from micro_sam.session.values import LayerName, count


class LabelActions:
    """The layers ``"current"``, ``"committed"`` and ``"auto"`` of a session."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def layer(self, name: LayerName) -> np.ndarray:
        """One of the three label arrays by its name. Always the same array; only actions change it."""
        if name not in LAYERS:
            raise InputError(f"There is no label layer '{name}'; there are {', '.join(LAYERS)}.")
        return self._steps.state.layer(name)

    @property
    def current_slices(self) -> tuple[int, ...]:
        """Sorted slices in which there may be a current object."""
        return tuple(sorted(self._steps.state.regions))

    def current_in(self, z: int = 0) -> dict[int, ObjectMask]:
        """Label -> what the current objects are in a slice (0 in 2D)."""
        return queries.masks_in(self._steps.state, z)

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

    def replace(self, name: LayerName, labels: np.ndarray) -> None:
        """Give a layer other content: what the user, a script or another program put in its place.

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
        shape = self._steps.state.shape
        labels = check_labels(labels, shape)
        if np.may_share_memory(labels, self.layer(name)):
            labels = labels.copy()
        self._paint("Replace", name, tuple(slice(0, size) for size in shape), labels, None)
        number = int((present(labels) > 0).sum())
        self._steps.say(f"The layer has other content now: {count(number, 'object')}. Undo brings back what was there.")

    def _paint(self, verb: str, name: LayerName, region: tuple[slice, ...], values: Any, before: Any) -> None:
        steps, layer = self._steps, self.layer
        layer(name)
        if before is not None and steps.is_writing:
            # the stroke was drawn while pixels of the step before were being written
            below = layer(name)[region].copy()
            values, before = np.where(np.not_equal(values, before), values, below), below
        blocks = current.split_region(region, values, before, steps.state.shape)
        with steps.step(f"{verb} {name} {'object' if name == 'current' else 'objects'}", layer=name) as draft:
            if name == "committed":
                objects.paint(draft, blocks)
            else:
                current.paint(draft, name, blocks)
            if name == "current":
                steps.rules.follow_brush(draft)
        if name == "current":
            steps.make_stale()
