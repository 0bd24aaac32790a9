"""Embeddings as pictures."""

import numpy as np
import pytest

from micro_sam.embeddings.compute import iter_embeddings, open_embeddings, precompute_image_embeddings
from micro_sam.visualization import compute_pca, project_embeddings_for_visualization


@pytest.fixture
def halves():
    """A dark upper and a bright lower half, not square."""
    image = np.zeros((64, 128, 3), "uint8")
    image[32:, :, 1] = 200
    image[:, 64:, 0] = 100
    return image


@pytest.mark.parametrize("tile_shape", [None, (32, 32)])
def test_picture_shows_the_image_in_its_place(predictor, halves, tile_shape):
    embeddings = precompute_image_embeddings(predictor, halves, tile_shape=tile_shape, halo=None, verbose=False)
    picture, scale = project_embeddings_for_visualization(embeddings)
    assert picture.dtype == np.uint8 and picture.shape[-1] == 3 and picture.min() == 0 and picture.max() == 255
    assert np.allclose(np.array(picture.shape[:2]) * scale, (64, 128))


def test_pca_separates_what_differs():
    features = np.random.default_rng(0).normal(0, 0.01, (1, 16, 8, 8))
    features[0, 3, :4] += 1
    features[0, 5, :, 4:] += 0.5
    picture = compute_pca(features)
    assert picture.shape == (8, 8, 3)
    assert abs(picture[:4, :, 0].mean() - picture[4:, :, 0].mean()) > 200
    assert abs(picture[:, :4, 1].mean() - picture[:, 4:, 1].mean()) > 200
    stack = compute_pca(np.stack([features, features]))
    assert compute_pca(features, as_rgb=False).dtype == np.float32
    assert stack.shape == (2, 8, 8, 3) and np.allclose(stack[0], stack[1])


def test_components_without_colours_are_numbers_that_make_the_colours(predictor, halves):
    embeddings = precompute_image_embeddings(predictor, halves, verbose=False)
    colours, scale = project_embeddings_for_visualization(embeddings)
    numbers, same = project_embeddings_for_visualization(embeddings, n_components=5, as_rgb=False)
    assert numbers.dtype == np.float32 and numbers.shape == (*colours.shape[:2], 5) and same == scale
    low, high = numbers.min(axis=(0, 1)), numbers.max(axis=(0, 1))
    for k in np.flatnonzero(high - low > 1):  # an image of two halves has two components
        assert k < 3 and np.abs(255 * (numbers[..., k] - low[k]) / (high[k] - low[k]) - colours[..., k]).max() <= 1
    assert (high - low > 1).sum() == 2


def test_slices_that_are_not_computed_are_black(predictor, stack):
    embeddings, store = open_embeddings(predictor, stack)
    assert project_embeddings_for_visualization(embeddings)[0].max() == 0
    run = iter_embeddings(predictor, stack, store, focus=lambda: 2)
    next(run)
    picture, scale = project_embeddings_for_visualization(embeddings)
    assert len(picture) == 5 and picture[2].max() > 0 and picture[[0, 1, 3, 4]].max() == 0 and scale[0] == 1
