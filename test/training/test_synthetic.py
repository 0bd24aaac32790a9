"""Generated microscopy: exact masks, all kinds, repeatable."""

import numpy as np
import pytest
from scipy import ndimage as ndi

from micro_sam.errors import InputError
from micro_sam.training.synthetic import KINDS, synthetic_image


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_objects_and_contrast(kind):
    for seed in range(4):
        image, labels = synthetic_image(np.random.default_rng(seed), (96, 120), kind)
        assert image.shape == (96, 120, 3) and image.dtype == np.uint8
        assert labels.shape == (96, 120) and labels.dtype == np.int32
        ids = np.unique(labels)
        assert labels.max() >= 1 and np.array_equal(ids[ids > 0], np.arange(1, labels.max() + 1))
        assert image.std() > 5


def test_same_seed_draws_the_same_image():
    first, second = (synthetic_image(np.random.default_rng(5), (64, 64)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_objects_touch_in_some_images():
    touching = 0
    for seed in range(10):
        _, labels = synthetic_image(np.random.default_rng(seed), (128, 128), "nuclei")
        grown = ndi.grey_dilation(labels, size=3)
        touching += bool(((grown != labels) & (labels > 0) & (grown > 0)).any())
    assert touching >= 5


def test_objects_differ_from_their_surroundings():
    """Most objects can be told from the background next to them; a generator whose masks are off would not show it."""
    contrasts = []
    for seed in range(12):
        image, labels = synthetic_image(np.random.default_rng(seed), (128, 128), "nuclei")
        grey, inside = ndi.gaussian_filter(image.mean(-1), 1), ndi.binary_erosion(labels > 0)
        around = ndi.binary_dilation(labels > 0, iterations=4) & (labels == 0)
        if inside.any() and around.any():
            contrasts.append(abs(grey[inside].mean() - grey[around].mean()))
    assert np.median(contrasts) > 15


def test_senseless_requests_are_refused():
    with pytest.raises(InputError, match="rods"):
        synthetic_image(np.random.default_rng(0), kind="squares")
    with pytest.raises(InputError, match="32 x 32"):
        synthetic_image(np.random.default_rng(0), (16, 64))
