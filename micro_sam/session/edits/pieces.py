"""Connected pieces of objects that others have cut, and which of them stay.

Everything is found from runs of pixels (:class:`~micro_sam.session.label_edits.Runs`), for all objects at once: no
object is looked at alone, and no image is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy  # its parts are loaded when they are used

from micro_sam.models.sizes import Box
from micro_sam.segmentation.label_runs import values_and_places
from micro_sam.session.label_edits import Runs
from micro_sam.session.prompts import AnyPrompt, PointPrompt, PromptSet

Windows = Mapping[int, tuple[Box, Runs]]
"""Slice -> rectangle, and the runs of two layers in it; in the order of the slices."""


@dataclass(frozen=True, eq=False)
class Spans:
    """The runs of some objects, with their place in the stack, sorted by slice, row and column.

    Attributes
    ----------
    z, y, left, right
        (n,) int64: slice, row, first column and the column after the last.
    label
        (n,) the object.
    other
        (n,) what another layer has there; 0: nothing.
    """

    z: np.ndarray
    y: np.ndarray
    left: np.ndarray
    right: np.ndarray
    label: np.ndarray
    other: np.ndarray
    _places: Mapping[int, np.ndarray]

    @classmethod
    def of(cls, windows: Windows, layer: int, labels: np.ndarray | None = None) -> Spans:
        """The objects of layer 0 or 1 of some windows (with `labels`: only these), beside what the other one has."""
        columns: list[list[np.ndarray]] = [[] for _ in range(6)]
        places = {}
        for z, ((y0, x0, _, x1), runs) in windows.items():
            values = runs.values[layer]
            places[z] = np.flatnonzero(values > 0 if labels is None else np.isin(values, labels))
            rows, left = np.divmod(runs.starts[places[z]], max(x1 - x0, 1))
            found = (
                np.full(len(rows), z),
                rows + y0,
                left + x0,
                left + x0 + runs.lengths[places[z]],
                values[places[z]],
                runs.values[1 - layer][places[z]],
            )
            for column, values in zip(columns, found, strict=True):
                column.append(values)
        kinds = (np.int64,) * 4 + (np.uint32,) * 2
        joined = (np.concatenate([np.zeros(0, kind), *column]) for column, kind in zip(columns, kinds, strict=True))
        slices, ys, begins, ends, labels, others = joined
        return cls(slices, ys, begins, ends, labels, others, places)

    @property
    def length(self) -> np.ndarray:
        """(n,) pixels of each run."""
        length: np.ndarray = self.right - self.left
        return length

    @cached_property
    def objects(self) -> tuple[np.ndarray, np.ndarray]:
        """Sorted labels, and (n,) the place of each run's label among them."""
        return values_and_places(self.label)

    def in_window(self, windows: Windows, flags: np.ndarray) -> dict[int, np.ndarray]:
        """Flags (n,) of these runs -> per slice the flags of all runs of its window; runs that are not here: False."""
        found, begin = {}, 0
        for z, place in self._places.items():
            found[z] = np.zeros(len(windows[z][1].starts), bool)
            found[z][place] = flags[begin : begin + len(place)]
            begin += len(place)
        return found

    def pieces(self, group: np.ndarray, across: bool) -> tuple[np.ndarray, int]:
        """Connected pieces: runs of one group that share the side of a pixel.

        Parameters
        ----------
        group
            (n,) of each run; negative: in no piece.
        across
            Whether pieces go on from slice to slice.

        Returns
        -------
        piece
            (n,) from 0 on; -1 where `group` is negative.
        number
            Of pieces.
        """
        piece = np.full(len(self.z), -1)
        here = np.flatnonzero(group >= 0)
        if not len(here):
            return piece, 0
        group, row_length = group[here], int(self.right.max()) + 1
        slice_length = (int(self.y.max()) + 2) * row_length
        row = self.z[here] * slice_length + self.y[here] * row_length
        begin, end = row + self.left[here], row + self.right[here]
        beside = np.flatnonzero((begin[1:] == end[:-1]) & (group[1:] == group[:-1]))
        pairs = [(beside, beside + 1)]
        for step in (row_length, slice_length) if across else (row_length,):
            first = np.searchsorted(end, begin + step, side="right")
            number = np.maximum(np.searchsorted(begin, end + step, side="left") - first, 0)
            a = np.repeat(np.arange(len(here)), number)
            b = np.arange(len(a)) - np.repeat(np.cumsum(number) - number - first, number)
            same = group[a] == group[b]
            pairs.append((a[same], b[same]))
        a, b = (np.concatenate(ends) for ends in zip(*pairs, strict=True))
        links = scipy.sparse.coo_matrix((np.ones(len(a), bool), (a, b)), (len(here), len(here)))
        number, piece[here] = scipy.sparse.csgraph.connected_components(links, directed=False)
        return piece, number

    def prompted(self, prompts: Mapping[int, PromptSet], piece: np.ndarray) -> np.ndarray:
        """The pieces that prompts ask for: with a positive point, or the largest part of what a shape encloses.

        Parameters
        ----------
        prompts
            Label -> its prompts.
        piece
            (n,) piece of each run; -1: none.

        Returns
        -------
        pieces
            Their numbers.
        """
        wanted: set[int] = set()
        for label, drawn in prompts.items():
            mine = np.flatnonzero((self.label == label) & (piece >= 0)) if len(drawn) else np.zeros(0, np.int64)
            if len(mine):
                wanted |= {self._asked(mine, prompt, piece) for prompt in drawn}
        return np.array(sorted(wanted - {-1}), np.int64)

    def _asked(self, mine: np.ndarray, prompt: AnyPrompt, piece: np.ndarray) -> int:
        if isinstance(prompt, PointPrompt):
            y, x = (float(np.floor(value + 0.5)) for value in prompt.position[-2:])
            box = (y, x, y, x)
        else:
            corners = prompt.corners
            box = (*np.floor(corners.min(axis=0)), *np.ceil(corners.max(axis=0)))
        if isinstance(prompt, PointPrompt) and not prompt.positive:
            return -1
        inside = mine[(self.z[mine] == prompt.z) & (self.y[mine] >= box[0]) & (self.y[mine] <= box[2])]
        shared = np.minimum(self.right[inside], box[3] + 1) - np.maximum(self.left[inside], box[1])
        inside, shared = inside[shared > 0], shared[shared > 0]
        return int(np.bincount(piece[inside], weights=shared).argmax()) if len(inside) else -1


@dataclass(frozen=True, eq=False)
class Rest:
    """What stays of objects that were cut.

    Attributes
    ----------
    stays
        (n,) bool: the runs that stay.
    cut
        (n,) bool: runs of free pixels that are left out, because a larger piece stays or too little is left.
    """

    stays: np.ndarray
    cut: np.ndarray


def what_stays(
    spans: Spans,
    unit: np.ndarray,
    *,
    across: bool,
    min_size: int,
    always: bool = False,
    own: np.ndarray | None = None,
    prompts: Mapping[int, PromptSet] | None = None,
    small_too: bool = False,
) -> Rest:
    """Which runs stay of objects that others cover in part.

    Of a unit that is covered by more than half nothing stays. Of another one that is cut its largest piece stays, or
    all pieces that its prompts ask for, unless they have fewer than `min_size` pixels.

    Parameters
    ----------
    spans
        The objects; ``other`` is what covers them.
    unit
        (n,) what is decided as one: an object, or its mask in one frame. Numbered from 0.
    across
        Whether pieces go on from slice to slice.
    min_size
        Pixels.
    always
        Whether units that nothing covers are reduced to one piece, too (or to those that prompts ask for).
    own
        (n,) runs that the user painted: their pieces stay, and units with nothing else stay however small or covered.
    prompts
        Label -> prompts.
    small_too
        Whether units that were smaller than `min_size` before the cut may stay.
    """
    free = spans.other == 0
    length = spans.length
    number = int(unit.max(initial=-1)) + 1
    own = np.zeros(len(unit), bool) if own is None else own
    total, left = (np.bincount(unit, weights=length * flag, minlength=number) for flag in (1, free))
    all_own = np.bincount(unit, weights=~own, minlength=number) == 0
    mostly_covered = (2 * left < total) & ~all_own
    touched = (total > left) | always
    stays = free & ~mostly_covered[unit]
    group = np.where(stays & touched[unit] & ~all_own[unit], unit, -1)
    piece, n_pieces = spans.pieces(group, across)
    if n_pieces:
        inside = piece >= 0
        size = np.bincount(piece[inside], weights=length[inside], minlength=n_pieces)
        unit_of = np.zeros(n_pieces, np.int64)
        unit_of[piece[inside]] = unit[inside]
        asked = np.zeros(n_pieces, bool)
        asked[piece[inside & own]] = True
        asked[spans.prompted(prompts or {}, piece)] = True
        # Without prompts in any of its pieces, a unit keeps its largest one (the first of several as large).
        order = np.lexsort((-np.arange(n_pieces), size, unit_of))
        largest = np.zeros(n_pieces, bool)
        largest[order[np.append(unit_of[order][1:] != unit_of[order][:-1], True)]] = True
        has_asked = np.bincount(unit_of, weights=asked, minlength=number) > 0
        kept = np.where(has_asked[unit_of], asked, largest)
        rest = np.bincount(unit_of, weights=size * kept, minlength=number)
        too_small = (rest < min_size) & (rest < total)
        if small_too:
            too_small &= total >= min_size
        kept &= ~too_small[unit_of]
        stays[inside] = kept[piece[inside]]
    return Rest(stays, free & ~stays)


def units_of(spans: Spans, per_slice: bool) -> np.ndarray:
    """Number of each run's object, from 0; with `per_slice` of the object in that slice."""
    _, which = spans.objects
    if not per_slice:
        return which
    return values_and_places(which + spans.z * np.int64(which.max(initial=0) + 1))[1]


def pixels_per_label(spans: Spans, flags: np.ndarray) -> dict[int, int]:
    """Pixels of each label in the flagged runs; labels without any are left out."""
    labels, which = spans.objects
    numbers = np.bincount(which, weights=spans.length * flags, minlength=len(labels)).astype(np.int64)
    found = numbers > 0
    return dict(zip(labels[found].tolist(), numbers[found].tolist(), strict=True))
