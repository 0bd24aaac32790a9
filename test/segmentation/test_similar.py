"""Objects like some examples are found by what the network sees in them, and by their size."""

import numpy as np
import pytest
from segmentation_helpers import embed

from micro_sam.embeddings.compute import iter_embeddings, open_embeddings
from micro_sam.segmentation.similar import find_similar, object_features, similarity


@pytest.fixture(scope="module")
def two_kinds():
    """Bright discs (1 to 6), striped squares (7 to 12) and a large disc (13) on a noisy ground."""
    random, labels = np.random.default_rng(0), np.zeros((256, 384), "uint32")
    image = random.normal(60, 5, labels.shape)
    y, x = np.mgrid[: labels.shape[0], : labels.shape[1]]
    for k in range(12):
        cy, cx = (40, 90)[k % 2] + 110 * (k // 6), 40 + 60 * (k % 6)
        inside = (y - cy) ** 2 + (x - cx) ** 2 < 15**2 if k % 3 else (abs(y - cy) < 14) & (abs(x - cx) < 14)
        image[inside] += 120 if k % 3 else 90 * (y[inside] // 3 % 2)
        labels[inside] = 1 + k
    return np.clip(image, 0, 255).astype("uint8"), labels


DISCS, SQUARES = {2, 3, 5, 6, 8, 9, 11, 12}, {1, 4, 7, 10}


@pytest.mark.parametrize("tiles", [{}, {"tile_shape": (128, 128), "halo": (32, 32)}])
def test_objects_of_one_kind_are_more_like_each_other(predictor, two_kinds, tiles):
    image, labels = two_kinds
    embeddings = embed(predictor, image, **tiles)
    found = object_features(embeddings, labels)
    assert sorted(found.ids.tolist()) == list(range(1, 13)) and np.isfinite(found.features).all()
    for kind, other in ((DISCS, SQUARES), (SQUARES, DISCS)):
        examples = object_features(embeddings, np.where(labels == min(kind), labels, 0))
        value = dict(zip(found.ids.tolist(), similarity(examples, found).tolist(), strict=True))
        assert value[min(kind)] == pytest.approx(1, abs=1e-3)
        assert min(value[k] for k in kind) > max(value[k] for k in other), value
        assert min(value[k] for k in kind) > 0.5 > max(value[k] for k in other), value


def test_only_similar_objects_stay_and_keep_their_numbers(predictor, two_kinds):
    image, labels = two_kinds
    embeddings = embed(predictor, image)
    examples = np.where(labels == 1, 5, 0)
    values = similarity(object_features(embeddings, examples), object_features(embeddings, labels))
    threshold = float(np.sort(values)[-4])
    kept = find_similar(embeddings, labels, examples, threshold)
    assert set(np.unique(kept)) == {0} | SQUARES and (labels[kept > 0] == kept[kept > 0]).all()
    assert not find_similar(embeddings, np.zeros_like(labels), examples).any()
    assert not find_similar(embeddings, labels, np.zeros_like(labels)).any()


def test_a_stack_is_looked_at_where_each_object_is_largest(predictor, two_kinds):
    image, labels = two_kinds
    volume, stack = np.stack([image] * 3), np.stack([np.zeros_like(labels), labels, np.zeros_like(labels)])
    stack[0, 30:34, 30:34] = labels[40, 40]
    embeddings, store = open_embeddings(predictor, volume, ndim=3)
    for _ in iter_embeddings(predictor, volume, store):
        pass
    whole, plane = object_features(embeddings, stack), object_features(embeddings, labels, 1)
    assert np.allclose(whole.features[np.argsort(whole.ids)], plane.features[np.argsort(plane.ids)], atol=1e-4)
