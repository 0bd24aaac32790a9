"""What can be asked of the state of a session; nothing is changed here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from micro_sam.segmentation.values import ObjectMask
from micro_sam.session.label_edits import Runs, crop, present
from micro_sam.session.state import State
from micro_sam.session.values import SliceConfidence

if TYPE_CHECKING:
    from micro_sam.segmentation.volume.maps import VolumeMaps

MARGIN = 16
"""Pixels around the prompts that must be known before the maps are asked; what lies farther is computed on the way."""


def has_current(state: State) -> bool:
    """Whether any pixel of `current` is set. Looks at the touched slices only."""
    return any(state.plane("current", z)[crop(box)].any() for z, box in state.regions.items())


def object_at(state: State, position: Sequence[float], name: str = "committed") -> int:
    """Id of the committed object at (y, x) or (z, y, x), or the label of another layer; 0: background and outside."""
    labels = state.layer(name)
    index = tuple(int(np.floor(value + 0.5)) for value in position)
    inside = len(index) == labels.ndim and all(0 <= i < size for i, size in zip(index, labels.shape, strict=True))
    return int(labels[index]) if inside else 0


def masks_in(state: State, z: int) -> dict[int, ObjectMask]:
    """Label -> what `current` shows in a slice."""
    region = state.regions.get(z)
    if region is None:
        return {}
    window = state.plane("current", z)[crop(region)]
    known = state.confidence.get(z, {})
    masks = {}
    for label in np.unique(window[window > 0]).tolist():
        score = known[label].score if label in known else None
        masks[label] = ObjectMask.from_array(window == label, 1.0 if score is None else score, offset=region[:2])
    return masks


def decided_slices(state: State) -> list[int]:
    """Sorted slices whose mask the user has decided: prompted or painted ones."""
    prompted = {z for z in state.prompts.slices if state.prompts.in_slice(z).has_positive}
    return sorted(prompted | (state.painted.keys() & state.regions.keys()))


def slices_decided_of(state: State) -> dict[int, list[int]]:
    """Label of `current` -> the decided slices in which it is, sorted."""
    found: dict[int, list[int]] = {}
    for z in decided_slices(state):
        for label in masks_in(state, z):
            found.setdefault(label, []).append(z)
    return found


def is_by_maps(state: State, label: int) -> bool:
    """Whether the maps of the volume have told what an object is."""
    return any(label in known and known[label].source == "maps" for known in state.confidence.values())


def is_given(state: State) -> bool:
    """Whether a loaded or merged object is open, of which only the corrected slices may change."""
    return state.reopened is not None and state.reopened.record_before.is_given


def confidence(state: State) -> dict[int, SliceConfidence]:
    """Slice -> confidence of the current object there (of the least certain one, when there are several)."""
    known = sorted(state.confidence.items())
    return {z: min(values.values(), key=lambda c: c.value) for z, values in known if values}


def weakest_slice(state: State) -> int | None:
    """The slice that is worth a look first: the least certain one that the user has neither prompted nor painted."""
    decided = decided_slices(state)
    candidates = {z: c.value for z, c in confidence(state).items() if z not in decided}
    return min(candidates, key=lambda z: (candidates[z], z)) if candidates else None


def next_unlabelled(state: State, after: Sequence[float] | None = None) -> tuple[int, ...] | None:
    """A pixel of the next automatic object that nothing committed touches; None when there is none left.

    Parameters
    ----------
    after
        Position (y, x) or (z, y, x) to go on from, in reading order. None: from the beginning.
    """
    shape = state.labels["auto"].shape
    is_stack = len(shape) == 3
    after = tuple(after) if after is not None else (-1.0,) * len(shape)
    seen: set[int] = set()  # labels of the slice before: an object is proposed once, where it begins
    for z in range(max(int(after[0]), 0) if is_stack else 0, shape[0] if is_stack else 1):
        auto, committed = (state.plane(name, z) for name in ("auto", "committed"))
        runs = Runs.of(auto, committed)
        taken = seen | set(np.unique(runs.values[0][runs.values[1] > 0]).tolist())
        found: list[tuple[int, ...]] = []
        for label, box, _, _ in runs.measure():
            if label not in taken:
                inside = np.argwhere(auto[crop(box)] == label) + box[:2]
                centre = inside[np.abs(inside - inside.mean(axis=0)).sum(axis=1).argmin()].tolist()
                found.append((z, *centre) if is_stack else tuple(centre))
        later = [position for position in sorted(found) if position > after]
        if later:
            return later[0]
        seen = set(present(auto).tolist())
    return None


def maps_ready(state: State, maps: VolumeMaps | None) -> bool:
    """Whether the maps of a volume are known around the prompts and painted slices of the current objects."""
    if maps is None or maps.is_complete:
        return maps is not None
    corners = [(point.z, *point.position[1:]) for point in state.prompts.points if point.positive]
    corners += [(shape.z, *corner) for shape in state.prompts.shapes for corner in shape.corners]
    painted = {z: state.regions[z] for z in state.painted if z in state.regions}
    corners += [(z, *corner) for z, box in painted.items() for corner in (box[:2], box[2:])]
    if not corners:
        return False
    spacing = maps.geometry.spacing
    margin = MARGIN * maps.geometry.pixel * spacing[1] / np.array(spacing)
    low = np.maximum(np.floor(np.min(corners, axis=0) - margin), 0).astype(int)
    high = np.minimum(np.ceil(np.max(corners, axis=0) + margin) + 1, maps.shape).astype(int)
    z, y, x = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return maps.is_ready((z, y, x))


def can_tell_whole(state: State, maps: VolumeMaps | None) -> bool:
    """Whether the maps can tell the whole of the current object."""
    return maps_ready(state, maps) and not is_given(state)
