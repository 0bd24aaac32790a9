"""Writes into the array of a label layer are heard, whichever way numpy makes them."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from micro_sam.sam_annotator.view.layers.shared_labels import SharedLabels, share

SHAPES = ((20, 30), (4, 20, 30))
POINTS = np.array([1, 2])


def everywhere(a: np.ndarray) -> np.ndarray:
    return np.random.default_rng(1).random(a.shape) > 0.9


WRITES = {
    "a block": lambda a: a.__setitem__((..., slice(3, 5), slice(3, 7)), 4),
    "every other column": lambda a: a.__setitem__((..., slice(None, None, 2)), 4),
    "one element": lambda a: a.__setitem__((-1,) * a.ndim, 5),
    "a mask": lambda a: a.__setitem__(everywhere(a), 7),
    "indices": lambda a: a.__setitem__((POINTS,) * a.ndim, 8),
    "negative indices": lambda a: a.__setitem__((-POINTS,) * a.ndim, 8),
    "a list of rows": lambda a: a.__setitem__([0, 1], 8),
    "a view of a view": lambda a: a[-1][..., 2:5].__setitem__(slice(None), 9),
    "turned axes": lambda a: a.T[::-1].__setitem__(slice(2, 4), 9),
    "a new axis": lambda a: a.__setitem__((..., None, 3), 9),
    "flat": lambda a: a.reshape(-1).__setitem__(slice(5, 70), 9),
    "in place": lambda a: a.__iadd__(1),
    "out": lambda a: np.add(a, 2, out=a),
    "at": lambda a: np.add.at(a, (POINTS,) * a.ndim, 1),
    "copyto": lambda a: np.copyto(a, 3),
    "putmask": lambda a: np.putmask(a, everywhere(a), 3),
    "place": lambda a: np.place(a, everywhere(a), [1, 2]),
    "put": lambda a: a.put([3, 4], 5),
    "fill": lambda a: a.fill(6),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("way", WRITES)
def test_a_write_is_told_with_what_was_there_before(way, shape):
    array = np.random.default_rng(0).integers(10, 20, shape).astype(np.uint32)
    before, told = array.copy(), []
    shared = share(array)
    shared.listener.written = lambda *change: told.append(change)
    WRITES[way](shared)
    ((region, now, then),) = told
    assert not np.array_equal(array, before)
    assert np.array_equal(now, array[region]) and np.array_equal(then, before[region])
    rest = np.ones(shape, bool)
    rest[region] = False
    assert np.array_equal(array[rest], before[rest]), "nothing changed outside the region"


def test_small_writes_into_a_large_array_look_at_a_small_part_of_it():
    regions = []
    shared = share(np.zeros((50, 100, 100), np.uint32))
    shared.listener.written = lambda region, *_: regions.append(region)
    shared[3:5, 10:20, 30:40] = 1
    shared[np.array([3, 4]), np.array([50, 51]), np.array([60, 61])] = 2
    shared[7][20:22] = 3
    assert regions == [np.s_[3:5, 10:20, 30:40], np.s_[3:5, 50:52, 60:62], np.s_[7:8, 20:22, 0:100]]


@pytest.mark.parametrize(
    "write",
    [
        lambda a: a.copy().fill(1),
        lambda a: copy.deepcopy(a).fill(1),
        lambda a: pickle.loads(pickle.dumps(a)).fill(1),
        lambda a: (a > 3).fill(True),
        lambda a: a.__setitem__(..., 0),
        lambda a: a.__setitem__(slice(0), 5),
    ],
)
def test_copies_and_writes_that_change_nothing_are_not_told(write):
    shared = share(np.zeros((20, 30), np.uint32))
    shared.listener.written = lambda *_: pytest.fail("told")
    write(shared)


def test_write_that_fails_changes_nothing_and_is_not_told():
    shared = share(np.zeros((20, 30), np.uint32))
    shared.listener.written = lambda *_: pytest.fail("told")
    with pytest.raises(ValueError, match="broadcast"):
        shared[:3, :4] = np.ones((5, 6))
    assert isinstance(shared, SharedLabels) and not shared.any()
