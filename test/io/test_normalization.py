"""Grey values: robust against NaN and hot pixels, one stretch for all slices and tiles."""

import numpy as np
import pytest

from micro_sam.io.normalization import (
    SMOOTHING,
    Normalization,
    estimate_noise,
    estimate_normalization,
    smooth,
    to_rgb_uint8,
    with_smoothing,
)


def normalized(image, ndim=2):
    return to_rgb_uint8(image, estimate_normalization(image, ndim))


@pytest.fixture
def image():
    return np.random.default_rng(0).normal(1000, 100, (100, 120))


def test_nan_infinity_and_hot_pixels_do_not_change_the_contrast(image):
    reference = normalized(image)
    assert reference.shape == (100, 120, 3) and reference.dtype == np.uint8
    assert 30 < reference.std() and reference.min() == 0 and reference.max() == 255
    spoilt = image.copy()
    spoilt[0, 0], spoilt[0, 1], spoilt[0, 2], spoilt[1, 0] = np.nan, np.inf, -np.inf, 1e30
    result = normalized(spoilt)
    assert np.abs(result[2:].astype(int) - reference[2:]).max() <= 2
    assert result[0, 0, 0] == 0 and result[0, 1, 0] == 255 and result[0, 2, 0] == 0 and result[1, 0, 0] == 255


@pytest.mark.parametrize("dtype", ["uint16", "int64", "float32", "float64", "int16", "uint32"])
def test_result_does_not_depend_on_type_and_offset(image, dtype):
    whole = np.rint(image)
    reference = normalized(whole)
    assert np.abs(normalized(whole.astype(dtype)).astype(int) - reference).max() <= 1
    if dtype in ("int64", "float64"):
        shifted = whole.astype(dtype) - 10**12
        assert np.abs(normalized(shifted).astype(int) - reference).max() <= 1


@pytest.mark.parametrize("value", [0, 7, -3.5, np.nan])
def test_constant_images_become_black(value):
    assert normalized(np.full((20, 30), value)).max() == 0
    assert normalized(np.full((1, 1), value)).shape == (1, 1, 3)


def test_bool_and_nearly_empty_images_are_visible():
    mask = np.zeros((200, 200), bool)
    mask[3, 3] = True
    assert normalized(mask)[3, 3].tolist() == [255, 255, 255]
    assert normalized(mask.astype("uint8") * 200)[3, 3, 0] == 255


def test_small_range_of_16_bit_is_stretched():
    image = np.random.default_rng(0).integers(1000, 1300, (50, 50)).astype("uint16")
    assert normalized(image).min() == 0 and normalized(image).max() == 255


def test_colours_are_stretched_together_and_alpha_is_dropped():
    image = np.zeros((10, 10, 4), "uint8")
    image[..., 0], image[..., 3] = np.linspace(0, 100, 100).reshape(10, 10), 255
    result = normalized(image)
    assert result.shape == (10, 10, 3) and result[..., 0].max() == 255 and result[..., 1].max() == 0


def test_identity_leaves_8_bit_images_alone():
    image = np.random.default_rng(0).integers(0, 256, (10, 12, 3)).astype("uint8")
    assert np.array_equal(to_rgb_uint8(image, Normalization.identity()), image)


def test_one_stretch_holds_for_all_slices():
    stack = np.stack([np.full((30, 30), v, "uint16") for v in (100, 200, 300)])
    stretch = estimate_normalization(stack, 3)
    values = [int(to_rgb_uint8(plane, stretch)[0, 0, 0]) for plane in stack]
    assert values == [0, 128, 255]


def test_large_images_are_sampled_at_fixed_places():
    class Counting:
        shape, dtype = (40, 3000, 4000), np.dtype("uint16")
        pixels = 0

        def __getitem__(self, index):
            z, rows, columns = index
            block = np.arange(3000)[rows, None] + np.arange(4000)[None, columns] + z
            Counting.pixels += block.size
            return block.astype("uint16")

    lazy = Counting()
    first = estimate_normalization(lazy, 3)
    assert Counting.pixels < 6_000_000
    assert first == estimate_normalization(lazy, 3)
    assert first.lower[0] < 1500 and first.upper[0] > 5500


def stack_with_noise(sigma: float) -> np.ndarray:
    """Discs of 120 over 40 in ten slices of a non-square image, with Gaussian noise of `sigma`."""
    y, x = np.mgrid[:90, :130]
    clean = 40.0 + 80 * (((y % 30 - 15) ** 2 + (x % 30 - 15) ** 2) < 100)
    return np.random.default_rng(0).normal(clean, sigma, (10, 90, 130)).astype("float32")


def test_noise_is_measured_whatever_objects_there_are_and_smoothing_follows_it():
    for sigma in (1, 5, 20):
        stack = stack_with_noise(sigma)
        stretch = estimate_normalization(stack, 3)
        found = estimate_noise(stack, stretch) * (stretch.upper[0] - stretch.lower[0])
        assert 0.8 * sigma < found < 1.2 * sigma + 3, "edges add a little"
        assert with_smoothing(stack, stretch).smoothing == (SMOOTHING if sigma == 20 else 0)


def test_smoothing_survives_nan_and_keeps_colours_apart():
    stack = stack_with_noise(20)
    stack[3, 10, 10], stack[3, 50, 60] = np.nan, np.inf
    stretch = with_smoothing(stack, estimate_normalization(stack, 3))
    assert stretch.smoothing == SMOOTHING
    smoothed = smooth(stack[3], stretch)
    assert np.isfinite(smoothed).all() and smoothed.std() < np.nanstd(stack[4])
    colours = smooth(np.stack([stack[4], np.zeros_like(stack[4]), stack[4]], -1), stretch)
    assert not colours[..., 1].any() and np.allclose(colours[..., 0], colours[..., 2])
