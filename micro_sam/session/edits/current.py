"""The current object: how answers of the network and brush strokes get into `current`.

The functions write through a :class:`~micro_sam.session.commands.Draft` and keep ``state.regions`` true: outside the
rectangles listed there, `current` is zero.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from micro_sam.errors import InputError
from micro_sam.models.sizes import Box
from micro_sam.segmentation.values import ObjectMask
from micro_sam.session.commands import Draft
from micro_sam.session.label_edits import Runs, bounding_box, crop, shift, union
from micro_sam.session.prompts import PromptSet
from micro_sam.session.state import State
from micro_sam.session.values import Anchors, SliceAnswer, SliceConfidence, count

Block = tuple[int, Box, np.ndarray, np.ndarray | None]
"""Slice, rectangle, content after and (where it is no longer in the array) before."""


def assign_labels(state: State, z: int, masks: Sequence[ObjectMask]) -> tuple[int, ...]:
    """Which label each mask gets in `current`.

    In 2D and in an empty stack they are counted, 1..n. Where objects exist already, in this slice or in the nearest
    one that has any, each mask continues the object it overlaps most; a lone mask continues a lone object anyhow.
    """
    answer = state.answers.get(z)
    if answer is not None and len(answer.labels) == len(masks):
        return answer.labels
    if state.labels["current"].ndim == 2:
        return tuple(range(1, len(masks) + 1))
    for other in sorted(state.regions, key=lambda slice_: abs(slice_ - z)):
        plane = state.plane("current", other)
        existing = np.unique(plane[crop(state.regions[other])])
        existing = existing[existing > 0]
        if len(existing):
            return _continue_objects(plane, existing.tolist(), masks)
    return tuple(range(1, len(masks) + 1))


def _continue_objects(plane: np.ndarray, existing: Sequence[int], masks: Sequence[ObjectMask]) -> tuple[int, ...]:
    if len(existing) == 1 and len(masks) == 1:
        return (int(existing[0]),)
    pairs = []
    for k, mask in enumerate(masks):
        values, counts = np.unique(plane[mask.slices][mask.mask], return_counts=True)
        pairs += [(int(n), k, int(v)) for v, n in zip(values, counts, strict=True) if v > 0]
    return match_labels(pairs, len(masks), existing)


def match_labels(pairs: Iterable[tuple[float, int, int]], number: int, existing: Iterable[int]) -> tuple[int, ...]:
    """Give each of `number` masks a label.

    Parameters
    ----------
    pairs
        (overlap, mask, label). The largest overlaps are matched first, each mask and each label once.
    existing
        Labels in use. Masks that match none get new ones.
    """
    found: dict[int, int] = {}
    for overlap, k, label in sorted(pairs, reverse=True):
        if overlap > 0 and k not in found and label not in found.values():
            found[k] = label
    following = max(existing)
    for k in range(number):
        if k not in found:
            following += 1
            found[k] = following
    return tuple(found[k] for k in range(number))


def show(
    draft: Draft,
    z: int,
    masks: Sequence[ObjectMask],
    labels: Sequence[int],
    drawn: PromptSet,
    batched: bool = False,
    keep_others: bool = False,
    imposed: bool = False,
) -> None:
    """Show the answer to prompts in one slice.

    Parameters
    ----------
    keep_others
        Whether objects with other labels stay in the slice. In 2D an answer speaks for all prompts and replaces all.
    imposed
        See :class:`~micro_sam.session.values.SliceAnswer`.
    """
    state = draft.state
    is_stack = state.labels["current"].ndim == 3
    answer = state.answers.get(z)
    replaced = {*labels, *(answer.labels if answer is not None else ())}
    paint_masks(draft, z, masks, labels, replaced if is_stack or keep_others else None)
    draft.put("answers", z, SliceAnswer(tuple(masks), tuple(labels), drawn, batched, imposed))
    note_confidence(
        draft,
        z,
        {label: SliceConfidence(float(mask.score)) for mask, label in zip(masks, labels, strict=True)},
        replaced if is_stack else None,
    )
    region = state.regions.get(z)
    if region is None or not set(np.unique(state.plane("current", z)[crop(region)]).tolist()) - {0, *labels}:
        draft.put("painted", z, None)  # where other objects are, the strokes may be theirs


def paint_masks(
    draft: Draft,
    z: int,
    masks: Sequence[ObjectMask],
    labels: Sequence[int],
    replaced: set[int] | None,
    yield_to_others: bool = False,
) -> None:
    """Write masks into a slice of `current`, in place of the labels `replaced` (None: of all).

    Where masks overlap, the smaller object lies on top, so that none hides another completely. With `yield_to_others`
    they leave pixels of other labels alone.
    """
    state = draft.state
    region = state.regions.get(z)
    for mask in masks:
        if not mask.is_empty:
            region = union(region, mask.box)
    if region is None:
        return
    after = state.plane("current", z)[crop(region)].copy()
    after[np.isin(after, list(replaced)) if replaced is not None else ...] = 0
    y, x = region[:2]
    for mask, label in sorted(zip(masks, labels, strict=True), key=lambda pair: -pair[0].area):
        if not mask.is_empty:
            y0, x0, y1, x1 = mask.box
            window = after[y0 - y : y1 - y, x0 - x : x1 - x]
            window[mask.mask & (window == 0) if yield_to_others else mask.mask] = label
    draft.paint("current", z, region, after)
    inner = bounding_box(after)
    new = None if inner is None else shift(inner, y, x)
    if new != state.regions.get(z):
        draft.put("regions", z, new)


def note_confidence(draft: Draft, z: int, values: dict[int, SliceConfidence], replaced: set[int] | None = None) -> None:
    """Set the confidence of objects in a slice; those of `replaced` labels (None: all others) are forgotten."""
    before = draft.state.confidence.get(z, {})
    kept = {} if replaced is None else {label: c for label, c in before.items() if label not in replaced}
    after = {**kept, **values}
    if after != before:
        draft.put("confidence", z, after or None)


def erase(draft: Draft, z: int, labels: Iterable[int]) -> None:
    """Remove some objects from one slice of `current`."""
    labels = set(labels)
    region = draft.state.regions.get(z)
    if region is None or not np.isin(draft.state.plane("current", z)[crop(region)], list(labels)).any():
        return
    paint_masks(draft, z, [], [], labels)
    note_confidence(draft, z, {}, labels)
    if z not in draft.state.regions:
        clear_slice(draft, z)


def without_prompts(state: State, prompts: PromptSet) -> set[int]:
    """The labels of `current` that none of these prompts speaks for. As long as one is not answered: none of them."""
    if state.reopened is not None and state.reopened.record_before.is_given:
        return set()
    positive = {prompt.id for prompt in prompts if getattr(prompt, "positive", True)}
    founded, free = set(), set(positive)
    for answer in state.answers.values():
        for label in answer.labels:
            own = positive & {prompt.id for prompt in answer.drawn_for(label)}
            founded |= {label} if own else set()
            free -= own
    if free:
        return set()
    shown = {label for known in state.confidence.values() for label in known}
    return shown.union(*(answer.labels for answer in state.answers.values())) - founded


def forget_unfounded(draft: Draft, labels: Iterable[int]) -> None:
    """Remove objects that no prompt speaks for any more from all slices, unless one of their slices is painted."""
    state = draft.state
    gone = {label for label in labels if not any(_holds(state, z, label) for z in state.painted)}
    for z in list(state.regions) if gone else ():
        erase(draft, z, gone)
    if gone and not any(state.plane("current", z)[crop(region)].any() for z, region in state.regions.items()):
        for z in {*state.regions, *state.painted, *state.answers}:
            clear_slice(draft, z)
        draft.set("anchors", None)


def _holds(state: State, z: int, label: int) -> bool:
    region = state.regions.get(z)
    return region is not None and bool((state.plane("current", z)[crop(region)] == label).any())


def end_at_stop(draft: Draft, label: int, stop: int, decided: Collection[int]) -> None:
    """Remove an object from a slice in which it is said to be absent, and from those beyond, where nobody decided.

    Of a loaded or merged object only the slice itself is emptied: what lies beyond the corrections is kept.
    """
    state = draft.state
    first, last = min(decided), max(decided)
    is_kept = state.reopened is not None and state.reopened.record_before.is_given
    for z in sorted(state.regions):
        is_beyond = z > stop > last or z < stop < first
        if (z == stop and z not in decided) or (is_beyond and not is_kept):
            erase(draft, z, [label])


def clear_slice(draft: Draft, z: int) -> None:
    """Empty one slice of `current` and forget what was known of it."""
    region = draft.state.regions.get(z)
    if region is not None:
        runs = Runs.of(draft.state.plane("current", z)[crop(region)])
        (values,) = runs.values
        draft.paint_runs("current", z, region, runs.with_values(values, np.zeros_like(values)))
    for key in ("regions", "answers", "confidence", "painted"):
        draft.put(key, z, None)


def clear_all(draft: Draft) -> None:
    """Empty `current` and remove all prompts."""
    state = draft.state
    for z in {*state.regions, *state.answers, *state.confidence, *state.painted}:
        clear_slice(draft, z)
    draft.drop_all("current_tracks")
    draft.set("prompts", PromptSet())
    draft.set("anchors", None)
    draft.set("reopened", None)
    draft.set("current_class", 0)


def keep_only(draft: Draft, labels: Collection[int], prompts: PromptSet) -> None:
    """Remove all objects but some, of which `prompts` are the prompts."""
    state = draft.state
    for z, answer in list(state.answers.items()):
        k = [k for k, label in enumerate(answer.labels) if label in labels]
        masks, left = tuple(answer.masks[i] for i in k), tuple(answer.labels[i] for i in k)
        kept = replace(answer, masks=masks, labels=left, drawn=_among(answer.drawn, prompts))
        draft.put("answers", z, kept if k else None)
    for z, region in list(state.regions.items()):
        gone = set(np.unique(state.plane("current", z)[crop(region)]).tolist()) - {0, *labels}
        erase(draft, z, gone)
    for label in [label for label in state.current_tracks if label not in labels]:
        draft.put("current_tracks", label, None)
    if state.anchors is not None:
        painted = {z: number for z, number in state.anchors.painted.items() if z in state.regions}
        draft.set("anchors", Anchors(_among(state.anchors.prompts, prompts), painted))
    if state.reopened is not None and 1 not in labels:
        draft.set("reopened", None)
    draft.set("prompts", prompts)


def _among(some: PromptSet, prompts: PromptSet) -> PromptSet:
    return some.without([prompt.id for prompt in some if prompt.id not in prompts])


def paint(draft: Draft, name: str, blocks: Sequence[Block]) -> None:
    """Take brush strokes over into `current` or `auto`."""
    if name == "auto" and blocks:
        draft.set("auto_in_pieces", True)
    for z, box, after, before in blocks:
        runs = draft.paint(name, z, box, after, before)
        if runs is None or name != "current":
            continue
        changed = runs.box(runs.values[0] != runs.values[1])
        assert changed is not None  # there are runs only where something changed
        box = shift(changed, *box[:2])
        draft.put("regions", z, union(draft.state.regions.get(z), box))
        draft.put("painted", z, draft.state.painted.get(z, 0) + 1)
        known = draft.state.confidence.get(z, {})
        labels = {int(label) for label in np.unique(draft.state.plane("current", z)[crop(box)]) if label > 0}
        values = {label: SliceConfidence(None, None, "painted") for label in labels}
        note_confidence(draft, z, values, set(known) & labels)


def split_region(
    region: tuple[slice, ...], values: np.ndarray, before: np.ndarray | None, shape: tuple[int, ...]
) -> list[Block]:
    """A painted block as rectangles of slices. Checks shapes, values and that the block lies in the image."""
    if len(region) != len(shape):
        raise InputError(f"A painted region of this image needs {len(shape)} slices, but got {len(region)}.")
    bounds = [index.indices(size) for index, size in zip(region, shape, strict=True)]
    extent = tuple(len(range(*bound)) for bound in bounds)
    if any(bound[2] != 1 for bound in bounds) or extent != np.shape(values):
        raise InputError(f"The painted values have the shape {np.shape(values)}, but the region has {extent}.")
    return list(_blocks(bounds, extent, values, before))


def _blocks(
    bounds: Sequence[tuple[int, int, int]], extent: Sequence[int], values: np.ndarray, before: np.ndarray | None
) -> Iterator[Block]:
    (y0, y1, _), (x0, x1, _) = bounds[-2:]
    first = bounds[0][0] if len(bounds) == 3 else 0
    planes = _as_labels(values).reshape(-1, *extent[-2:])
    planes_before: Iterable[np.ndarray | None] = (
        [None] * len(planes) if before is None else _as_labels(before).reshape(planes.shape)
    )
    for offset, (plane, plane_before) in enumerate(zip(planes, planes_before, strict=True)):
        yield first + offset, (y0, x0, y1, x1), plane, plane_before


def _as_labels(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values)
    if values.size and (values.dtype.kind not in "uib" or values.min() < 0 or values.max() > np.iinfo(np.uint32).max):
        raise InputError("Painted labels must be whole numbers from 0 to 4294967295.")
    return values.astype(np.uint32)


def describe(masks: Sequence[ObjectMask], where: str, preview: bool) -> str:
    """What an answer shows, and what to do next, for the status line."""
    found = [mask for mask in masks if not mask.is_empty]
    if not found:
        return f"The model finds no object there in {where}. Click nearer to its centre, or draw a box around it."
    area = sum(mask.area for mask in found)
    text = f"{count(len(found), 'object')}, {count(area, 'pixel')} in {where}."
    if len(found) < len(masks):
        text += f" {count(len(masks) - len(found), 'prompt')} gave no object."
    if min(mask.score for mask in found) < 0.5:
        text += " The model is unsure: a box or a negative point outside the object often helps."
        return text
    return text + " Commit with C, or add points to correct it."
