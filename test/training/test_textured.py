"""Generated images whose objects are told by texture and outline."""

import numpy as np
import pytest
from scipy import ndimage as ndi

from micro_sam.errors import InputError
from micro_sam.training.crops import TrainingImage
from micro_sam.training.shapes import SHAPES
from micro_sam.training.synthetic import synthetic_image
from micro_sam.training.textured import generated_image, paste_objects, textured_image


@pytest.fixture(scope="module")
def sources() -> list[TrainingImage]:
    drawn = (synthetic_image(np.random.default_rng(k), (90 + 30 * k, 140), "nuclei") for k in range(3))
    return [TrainingImage(image, labels, complete=k != 1) for k, (image, labels) in enumerate(drawn)]


@pytest.mark.parametrize("shape", [(32, 32), (96, 150), (150, 96)])
def test_labels_are_those_of_the_image_whatever_its_shape(sources, shape):
    for seed in range(12):
        image, labels = textured_image(np.random.default_rng(seed), sources, shape)
        assert image.shape == (*shape, 3) and image.dtype == np.uint8 and labels.dtype == np.int32
        ids = np.unique(labels)
        assert np.array_equal(ids[ids > 0], np.arange(1, labels.max() + 1))
        assert labels.shape == shape and image.std() > 5


def test_brightness_does_not_tell_object_from_ground(sources):
    brighter, difference = [], []
    for seed in range(60):
        image, labels = textured_image(np.random.default_rng(seed), sources, (128, 128))
        inside = labels > 0
        if 0.05 < inside.mean() < 0.95:
            gap = image[inside].mean() - image[~inside].mean()
            brighter.append(gap > 0)
            difference.append(abs(gap) / image.std())
    assert 0.3 < np.mean(brighter) < 0.7
    assert np.median(difference) < 0.8


def test_objects_have_all_sizes(sources):
    diameters = []
    for seed in range(60):
        _, labels = textured_image(np.random.default_rng(seed), sources, (256, 256))
        diameters += [2 * np.sqrt(np.median(np.bincount(labels.ravel())[1:]) / np.pi)] if labels.any() else []
    assert np.quantile(diameters, 0.15) < 20 and np.quantile(diameters, 0.85) > 60


@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_every_shape_is_one_piece_of_the_size_that_was_asked(shape):
    for seed in range(5):
        for diameter in (8.0, 60.0):
            mask = SHAPES[shape](np.random.default_rng(seed), diameter)
            assert ndi.label(mask, np.ones((3, 3)))[1] == 1
            assert 0.25 * diameter < 2 * np.sqrt(mask.sum() / np.pi) < 1.6 * diameter


def test_pasted_objects_are_added_to_those_that_are_there(sources):
    complete = [source for source in sources if source.complete]
    image, labels = paste_objects(np.random.default_rng(0), complete, (128, 128))
    assert image.shape == (128, 128, 3) and image.min() > -1 and image.max() < 2
    assert len(np.unique(labels)) > 2


def test_no_sources_and_same_seed(sources):
    first, second = (textured_image(np.random.default_rng(4), [], (64, 64)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    one, two = ([generated_image(number, 0, sources) for number in range(4)] for _ in range(2))
    assert [i.name for i in one] == [i.name for i in two] and len({i.name for i in one}) == 4
    assert all(np.array_equal(a.image, b.image) for a, b in zip(one, two, strict=True))
    assert all(len(i.ids) for i in one)


def test_too_small_an_image_is_refused(sources):
    with pytest.raises(InputError, match="32 x 32"):
        textured_image(np.random.default_rng(0), sources, (16, 64))
