"""How good tracks are, compared to the truth: the measures of the Cell Tracking Challenge, and divisions.

SEG, DET and TRA are those of Maška et al. 2014 (doi 10.1093/bioinformatics/btu080) and Matula et al. 2015 (doi
10.1371/journal.pone.0144959), with the challenge's weights. They agree with py-ctcmetrics 1.3.3 where that gives a
result, and are defined here, too, where it stops (a result without objects) and where traccuracy 0.4.3 pairs wrong
frames (first frames without objects).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from micro_sam.errors import InputError
from micro_sam.io.inputs import is_path
from micro_sam.io.tracks import Tracks, daughters, load_tracks, tracks_from_labels

__all__ = ["COLUMNS", "evaluate_tracks"]

COLUMNS = ("SEG", "DET", "TRA", "division_precision", "division_recall", "division_f1")
# the challenge's price of each correction: split a node, add a node, remove a node; remove, add, change a link
_SPLIT, _ADD, _REMOVE, _UNLINK, _LINK, _RELINK = 5.0, 10.0, 1.0, 1.0, 1.5, 1.0

Spot = tuple[int, int]  # frame, track


def evaluate_tracks(
    prediction: Tracks | np.ndarray | str | os.PathLike[str], truth: Tracks | np.ndarray | str | os.PathLike[str]
) -> dict[str, float]:
    """The figures of merit of tracks with masks.

    A cell of the truth is found by the mask that covers more than half of it; a mask finds several cells at most by
    covering them all, which counts as a missing split.

    Parameters
    ----------
    prediction, truth : Tracks, path, or array (T, Y, X) of integers
        As :func:`micro_sam.io.load_tracks` reads them; an array has no divisions.

    Returns
    -------
    dict
        ``SEG``: mean overlap (intersection over union) of all cells of the truth, 0 for one that is not found.
        ``DET``, ``TRA``: 1 less the price of correcting cells, and cells and links, by the price of making all anew.
        ``division_precision``, ``division_recall``, ``division_f1``: of divisions, right when the mother's last frame
        and the first frames of all daughters, two or more, are found. All are 1 when there is nothing to find and
        nothing was found, and 0 when only one of them holds.

    Raises
    ------
    InputError
        When masks are missing, or the shapes differ.
    """
    pair = [_with_masks(tracks) for tracks in (prediction, truth)]
    result, reference = (_Graph.of(tracks) for tracks, _ in pair)
    masks = [labels for _, labels in pair]
    shapes = [labels.shape for labels in masks]
    if shapes[0] != shapes[1]:
        raise InputError(f"The tracks have the shape {shapes[0]}, the truth {shapes[1]}: they are not of one movie.")
    found, overlaps = _match(masks[0], masks[1])
    finders: dict[Spot, list[Spot]] = {}
    for spot, finder in found.items():
        finders.setdefault(finder, []).append(spot)
    alone = {finder: spots[0] for finder, spots in finders.items() if len(spots) == 1}

    nodes = _SPLIT * (len(found) - len(finders))
    nodes += _ADD * (len(reference.spots) - len(found)) + _REMOVE * (len(result.spots) - len(finders))
    mapped = {(alone[a], alone[b]): kind for (a, b), kind in result.links.items() if a in alone and b in alone}
    shared = mapped.keys() & reference.links.keys()
    links = _UNLINK * (len(mapped) - len(shared)) + _LINK * (len(reference.links) - len(shared))
    links += _RELINK * sum(mapped[link] != reference.links[link] for link in shared)
    all_nodes, all_links = _ADD * len(reference.spots), _LINK * len(reference.links)

    right = sum(_same_division(mother, spots, found, result) for mother, spots in reference.divisions.items())
    wanted, made = len(reference.divisions), len(result.divisions)
    return {
        "SEG": _share(sum(overlaps), len(reference.spots), len(result.spots)),
        "DET": _merit(nodes, all_nodes),
        "TRA": _merit(nodes + links, all_nodes + all_links),
        "division_precision": _share(right, made, wanted),
        "division_recall": _share(right, wanted, made),
        "division_f1": _share(2 * right, wanted + made, 0),
    }


@dataclass(frozen=True)
class _Graph:
    """Masks and how they are linked.

    Attributes
    ----------
    spots : set
        Frame and track of each mask.
    links : dict
        (earlier, later) -> whether it leads from a mother to a daughter.
    divisions : dict
        Last spot of a mother -> first spots of her daughters.
    """

    spots: set[Spot]
    links: dict[tuple[Spot, Spot], bool]
    divisions: dict[Spot, set[Spot]]

    @staticmethod
    def of(tracks: Tracks) -> _Graph:
        spots = [(int(t), int(track)) for track, t in tracks.positions[:, :2]]
        links = {(a, b): False for a, b in zip(spots, spots[1:], strict=False) if a[1] == b[1]}
        first = {track: (t, track) for t, track in reversed(spots)}
        last = {track: (t, track) for t, track in spots}
        children = daughters(tracks.rows)
        links |= {(last[mother], first[child]): True for mother, found in children.items() for child in found}
        divisions = {last[m]: {first[child] for child in found} for m, found in children.items() if len(found) > 1}
        return _Graph(set(spots), links, divisions)


def _with_masks(tracks: Tracks | np.ndarray | str | os.PathLike[str]) -> tuple[Tracks, np.ndarray]:
    if not isinstance(tracks, Tracks):
        tracks = load_tracks(tracks) if is_path(tracks) else tracks_from_labels(np.asarray(tracks))
    if tracks.labels is None:
        raise InputError("Tracks are compared by their masks, but only positions are known.")
    return tracks, tracks.labels


def _match(result: np.ndarray, truth: np.ndarray) -> tuple[dict[Spot, Spot], list[float]]:
    """The spot of the result that covers more than half of each spot of the truth, and their overlaps."""
    found: dict[Spot, Spot] = {}
    overlaps = []
    for t in range(len(truth)):
        areas = dict(zip(*(values.tolist() for values in np.unique(result[t], return_counts=True)), strict=True))
        sizes = dict(zip(*(values.tolist() for values in np.unique(truth[t], return_counts=True)), strict=True))
        both = (truth[t] > 0) & (result[t] > 0)
        # two labels of 32 bits as one number: many times faster than pairs
        pairs, counts = np.unique((truth[t][both].astype(np.uint64) << 32) | result[t][both], return_counts=True)
        for pair, shared in zip(pairs.tolist(), counts.tolist(), strict=True):
            wanted, finder = pair >> 32, pair & 0xFFFFFFFF
            if 2 * shared > sizes[wanted]:
                found[t, wanted] = (t, finder)
                overlaps.append(shared / (sizes[wanted] + areas[finder] - shared))
    return found, overlaps


def _same_division(mother: Spot, children: Iterable[Spot], found: dict[Spot, Spot], result: _Graph) -> bool:
    made = result.divisions.get(found.get(mother, (-1, 0)))
    return made is not None and {found.get(child) for child in children} == made


def _merit(price: float, of_all: float) -> float:
    if of_all == 0:
        return float(price == 0)
    return 1 - min(price, of_all) / of_all


def _share(part: float, whole: int, other: int) -> float:
    return part / whole if whole else float(other == 0)
