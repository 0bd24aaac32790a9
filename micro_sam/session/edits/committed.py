"""The committed labels: what may enter them, and how they are written so that the records stay true."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from micro_sam.errors import InputError
from micro_sam.models.sizes import Box
from micro_sam.session.commands import Draft
from micro_sam.session.label_edits import LabelEdit, Runs, crop, shift, union
from micro_sam.session.state import State
from micro_sam.session.values import ObjectRecord, listing

MAX_ID = int(np.iinfo(np.uint32).max)


def check_labels(labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A label image as uint32 of `shape`; axes of length 1 may be missing or too many.

    Raises
    ------
    InputError
        For another shape, fractions, negative or too large values.
    """
    labels = np.asarray(labels)
    if labels.shape != tuple(shape):
        squeezed = tuple(size for size in labels.shape if size != 1)
        if squeezed != tuple(size for size in shape if size != 1):
            raise InputError(
                f"The label image has the shape {labels.shape}, but the image has {tuple(shape)}. "
                "Choose the result that belongs to this image."
            )
        labels = labels.reshape(shape)
    if labels.dtype == np.uint32:
        return labels
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all() or (labels != np.floor(labels)).any():
            raise InputError("The label image has values that are not whole numbers. Is it an intensity image?")
    elif labels.dtype.kind not in "uib":
        raise InputError(
            f"A label image cannot have the data type {labels.dtype}. Use whole numbers, 0 for background."
        )
    if labels.min() < 0 or labels.max() > MAX_ID:
        raise InputError(
            f"The label image has values from {labels.min()} to {labels.max()}; "
            f"labels go from 0 (background) to {MAX_ID}."
        )
    return labels.astype(np.uint32)


def check_ids(state: State, ids: Iterable[int]) -> list[int]:
    """Sorted unique ids of committed objects; InputError for unknown ones or none."""
    ids = sorted({int(i) for i in ids})
    unknown = [i for i in ids if i not in state.objects]
    if unknown:
        raise InputError(f"There is no committed object {listing(unknown)}. Click on an object to select it.")
    if not ids:
        raise InputError("No object is selected. Click on a committed object first.")
    return ids


def check_free_ids(last: int) -> None:
    """Raise InputError when there are no ids up to `last`."""
    if last > MAX_ID:
        raise InputError(f"There are no free ids left: the largest is {MAX_ID}. Save and relabel the objects.")


@dataclass
class Extent:
    """Where an id gained pixels."""

    z0: int
    z1: int
    box: Box
    area: int = 0


@dataclass
class CommittedWriter:
    """Writes the committed labels and keeps area and extent of the records true, without looking anywhere else."""

    draft: Draft
    gained: dict[int, Extent] = field(default_factory=dict)
    lost: dict[int, int] = field(default_factory=dict)

    def write(self, z: int, box: Box, after: np.ndarray, before: np.ndarray | None = None) -> None:
        """Give a rectangle of a slice new content (see :meth:`Draft.paint`)."""
        self._note(z, box, self.draft.paint("committed", z, box, after, before))

    def write_runs(self, z: int, box: Box, runs: Runs) -> None:
        """As :meth:`write`, for who has the runs of what is there (array 0) and of what is to come (array 1)."""
        self._note(z, box, self.draft.paint_runs("committed", z, box, runs))

    def _note(self, z: int, box: Box, runs: Runs | None) -> None:
        if runs is None:
            return
        different = runs.values[0] != runs.values[1]
        for value, number in runs.areas(0, different).items():
            self.lost[value] = self.lost.get(value, 0) + number
        for value, inner, number, _ in runs.measure(1, different):
            inner = shift(inner, box[0], box[1])
            extent = self.gained.get(value)
            if extent is None:
                self.gained[value] = Extent(z, z + 1, inner, number)
                continue
            extent.z0, extent.z1 = min(extent.z0, z), max(extent.z1, z + 1)
            extent.box, extent.area = union(extent.box, inner), extent.area + number

    def finish(self, new_record: Callable[[int, Extent], ObjectRecord]) -> tuple[int, ...]:
        """Bring the records up to date; `new_record` makes those of new ids. Returns the ids that vanished."""
        objects = self.draft.state.objects
        records: dict[int, ObjectRecord | None] = {}
        vanished = []
        for i in sorted({*self.gained, *self.lost}):
            extent, record = self.gained.get(i), objects.get(i)
            if record is None:
                assert extent is not None  # who has no record has lost nothing
                records[i] = new_record(i, extent)
                continue
            area = record.area - self.lost.get(i, 0) + (extent.area if extent else 0)
            if area <= 0:
                vanished.append(i)
                records[i] = None
                continue
            slices, box = record.slices, record.box
            if extent is not None:
                slices = (min(slices[0], extent.z0), max(slices[1], extent.z1))
                box = union(box, extent.box)
            if (area, slices, box) != (record.area, record.slices, record.box):
                records[i] = record.changed(area=area, slices=slices, box=box)
        self.draft.put_all("objects", records)
        largest = max((i for i in self.gained), default=0)
        self.draft.set("last_id", max(self.draft.state.last_id, largest))
        return tuple(vanished)


def relabel(draft: Draft, ids: Sequence[int], target: int) -> tuple[CommittedWriter, list[LabelEdit]]:
    """Give all pixels of some objects the value `target`. Looks only where the objects are."""
    writer = CommittedWriter(draft)
    extents: dict[int, Box] = {}
    for i in ids:
        record = draft.state.objects[i]
        for z in range(*record.slices):
            extents[z] = union(extents.get(z), record.box)
    first = len(draft.edits)
    for z, box in sorted(extents.items()):
        runs = Runs.of(draft.state.plane("committed", z)[crop(box)])
        (values,) = runs.values
        relabelled = values == ids[0] if len(ids) == 1 else np.isin(values, ids)
        writer.write_runs(z, box, runs.with_values(values, np.where(relabelled, np.uint32(target), values)))
    return writer, [edit for edit in draft.edits[first:] if isinstance(edit, LabelEdit)]
