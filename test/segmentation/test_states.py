"""What the network said for an automatic segmentation is kept beside the embeddings and never mixed up."""

import numpy as np
import pytest

from micro_sam.embeddings.compute import iter_embeddings, open_embeddings
from micro_sam.instance_segmentation import AutomaticMaskGenerator
from micro_sam.segmentation.automatic.states import iter_initialize_kept, keep_states, read_state, state_path


@pytest.fixture
def cached(predictor, blobs, tmp_path):
    embeddings, store = open_embeddings(predictor, blobs[0], tmp_path / "cache.zarr", ndim=2)
    assert list(iter_embeddings(predictor, blobs[0], store))
    return embeddings


def steps(segmenter, embeddings):
    return list(iter_initialize_kept(segmenter, embeddings))


def test_second_initialisation_reads_what_the_first_one_asked(predictor, cached):
    first, second = (AutomaticMaskGenerator(predictor, points_per_side=4) for _ in range(2))
    assert len(steps(first, cached)) > 0 and state_path(cached, first.method).exists()
    predictor_asked = steps(second, cached)
    assert predictor_asked == [(1, 1)]
    np.testing.assert_array_equal(first.generate(), second.generate())


def test_other_parameters_are_computed_again(predictor, cached):
    steps(AutomaticMaskGenerator(predictor, points_per_side=4), cached)
    finer = AutomaticMaskGenerator(predictor, points_per_side=5)
    assert steps(finer, cached)[-1] == (25, 25)
    assert steps(AutomaticMaskGenerator(predictor, points_per_side=5), cached) == [(1, 1)]


@pytest.mark.parametrize("content", [b"", b"no state", b"PK\x03\x04 torn"])
def test_a_torn_state_is_computed_again(predictor, cached, content):
    segmenter = AutomaticMaskGenerator(predictor, points_per_side=4)
    path = state_path(cached, segmenter.method)
    path.parent.mkdir()
    path.write_bytes(content)
    assert steps(segmenter, cached)[-1] == (16, 16)
    assert steps(AutomaticMaskGenerator(predictor, points_per_side=4), cached) == [(1, 1)]


def test_a_state_that_is_damaged_anywhere_is_computed_again(predictor, cached):
    steps(AutomaticMaskGenerator(predictor, points_per_side=2), cached)
    path = state_path(cached, AutomaticMaskGenerator(predictor).method)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(40):
        content = bytearray(whole)
        start = rng.integers(len(content))
        content[start : start + 9] = rng.bytes(len(content[start : start + 9]))
        path.write_bytes(content)
        segmenter = AutomaticMaskGenerator(predictor, points_per_side=2)
        read_state(segmenter, path)  # no error: the numbers of a state do not matter, that there is no way on does
    path.write_bytes(whole[: len(whole) // 2])
    assert steps(AutomaticMaskGenerator(predictor, points_per_side=2), cached)[-1] == (4, 4)
    assert steps(AutomaticMaskGenerator(predictor, points_per_side=2), cached) == [(1, 1)]


def test_cancelled_initialisation_keeps_nothing(predictor, cached):
    segmenter = AutomaticMaskGenerator(predictor, points_per_side=4, points_per_batch=4)
    run = iter_initialize_kept(segmenter, cached)
    next(run)
    run.close()
    assert not state_path(cached, segmenter.method).exists()


def test_states_of_all_slices_can_be_prepared(predictor, blobs, tmp_path):
    stack = np.stack([blobs[0], blobs[0][::-1]])
    embeddings, store = open_embeddings(predictor, stack, tmp_path / "stack.zarr", ndim=3)
    assert len(list(iter_embeddings(predictor, stack, store))) == 2
    assert list(keep_states(predictor, embeddings)) == [0, 1]
    assert len(list((tmp_path / "stack.zarr" / "automatic").glob("dense_*.npz"))) == 2


def test_embeddings_in_memory_keep_no_state(predictor, blob_embeddings):
    segmenter = AutomaticMaskGenerator(predictor, points_per_side=3)
    assert state_path(blob_embeddings, segmenter.method) is None
    assert steps(segmenter, blob_embeddings)[-1] == (9, 9)
