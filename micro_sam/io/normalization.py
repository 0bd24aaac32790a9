"""From any microscopy image to the 8-bit RGB that the networks were trained on.

The grey values are stretched between robust percentiles of the finite pixels: one NaN must not turn the image black,
one hot pixel must not destroy the contrast, and a 16-bit camera that uses 300 of its 65536 grey values must not look
black. One stretch holds for all slices of a stack and all tiles, so that neighbours look alike; the channels of a
colour image are stretched together, so that its colours stay.

Noise hides objects from the networks. Where somebody asks for it, slices of noisy stacks are smoothed a little first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

PERCENTILES = (1.0, 99.7)
MAX_SAMPLED_PIXELS = 4_000_000  # enough for percentiles to 0.1 %, and read in a fraction of a second
MAX_SAMPLED_SLICES = 16
BLOCK = 256
REACH = 2.0  # sigmas after which the Gaussian of the smoothing is cut
# Share of the range of grey values from which the noise of a stack counts as high, and the sigma in pixels of the
# smoothing that is laid over it then. IoU of one click with nano_lm on 14 nuclei of a confocal stack (noise 0.11): 0.37
# as it is, 0.57 smoothed. All other development images but one have less than 0.08, most less than 0.02.
HIGH_NOISE = 0.09
SMOOTHING = 1.5


@dataclass(frozen=True)
class Normalization:
    """Grey values that become 0 and 255.

    `lower` and `upper` have one value for all channels, or one per channel. `smoothing` is the sigma in pixels of a
    Gaussian that is laid over each slice before (:func:`smooth`); 0: none.
    """

    lower: tuple[float, ...]
    upper: tuple[float, ...]
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "lower", tuple(float(v) for v in self.lower))
        object.__setattr__(self, "upper", tuple(float(v) for v in self.upper))
        if len(self.lower) != len(self.upper):
            raise ValueError("lower and upper must have the same length")

    @classmethod
    def identity(cls) -> Normalization:
        """8-bit images are used as they are, as segment-anything does it."""
        return cls((0.0,), (255.0,))


def estimate_normalization(image: Any, ndim: int, percentiles: tuple[float, float] = PERCENTILES) -> Normalization:
    """The stretch for an image.

    Large images are sampled, always at the same places, so that the result is the same on every machine.

    Parameters
    ----------
    image
        Array (numpy, zarr, dask, ...): (H, W) or (Z, H, W), with a last axis of 3 or 4 channels if in colour.
    ndim
        2 for an image, 3 for a stack or time series.
    percentiles
        Lower and upper percentile of the finite pixels.

    Returns
    -------
    Normalization
        Always with upper > lower; a constant image becomes black.
    """
    sample = _sample(image, ndim)
    sample = sample[np.isfinite(sample)] if sample.dtype.kind == "f" else sample.ravel()
    if sample.size == 0:
        return Normalization((0.0,), (1.0,))
    if sample.dtype == bool:
        sample = sample.astype("uint8")
    lower, upper = (float(v) for v in np.percentile(sample, percentiles))
    if upper <= lower:  # nearly all pixels are alike: a few dim objects, a label image
        lower, upper = float(sample.min()), float(sample.max())
    if upper <= lower:
        upper = lower + 1.0
    return Normalization((lower,), (upper,))


def estimate_noise(image: Any, normalization: Normalization) -> float:
    """Standard deviation of the noise of a stack (Z, H, W[, C]), as share of the range of grey values.

    Immerkaer 1996, "Fast noise variance estimation": a second derivative leaves little of edges, so it shows the noise.
    The median over blocks in the middle of some slices.
    """
    from scipy import ndimage  # here and below: who only compares normalisations need not import it

    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], "float32")
    found = []
    for z in np.unique(np.linspace(0, image.shape[0] - 1, 8).astype(int)).tolist():
        middle = tuple(slice(max(0, (n - 2 * BLOCK) // 2), (n + 2 * BLOCK) // 2) for n in image.shape[1:3])
        block = np.asarray(image[(z, *middle)]).astype("float32")
        block = block.mean(-1) if block.ndim == 3 else block
        if min(block.shape) < 3:
            return 0.0
        response = np.abs(ndimage.convolve(block, kernel))[1:-1, 1:-1]
        response = response[np.isfinite(response)]
        found.append(np.sqrt(np.pi / 2) / 6 * response.mean() if response.size else np.nan)
    span = float(np.mean(normalization.upper) - np.mean(normalization.lower))
    return float(np.nanmedian(found)) / span if np.isfinite(found).any() else 0.0


def with_smoothing(image: Any, normalization: Normalization) -> Normalization:
    """The normalization, with smoothing when the noise of the stack (Z, H, W[, C]) is high."""
    is_noisy = estimate_noise(image, normalization) > HIGH_NOISE
    return replace(normalization, smoothing=SMOOTHING) if is_noisy else normalization


def smooth(image: np.ndarray, normalization: Normalization) -> np.ndarray:
    """A slice or tile (h, w[, C]), smoothed as the normalization says, float32; NaN and infinity as black and white."""
    from scipy import ndimage

    lower, upper = float(np.min(normalization.lower)), float(np.max(normalization.upper))
    finite = np.nan_to_num(image.astype("float32"), nan=lower, posinf=upper, neginf=lower)
    sigma = (normalization.smoothing,) * 2 + (0.0,) * (image.ndim - 2)
    return np.asarray(ndimage.gaussian_filter(finite, sigma, truncate=REACH))


def to_rgb_uint8(image: np.ndarray, normalization: Normalization) -> np.ndarray:
    """What the network sees of a slice or tile.

    Parameters
    ----------
    image
        (H, W) or (H, W, C) with 1, 3 or 4 channels, any real dtype; a fourth channel (alpha) is dropped.
    normalization
        From `estimate_normalization` for the whole image.

    Returns
    -------
    np.ndarray
        (H, W, 3) uint8. NaN becomes 0, +inf 255, -inf 0.
    """
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[-1] == 4:
        image = image[..., :3]
    if image.dtype != np.uint8 or normalization != Normalization.identity():
        # float32 holds 16-bit grey values exactly; wider ones need double precision before the subtraction
        dtype = "float32" if image.dtype.itemsize <= 2 or image.dtype == np.float32 else "float64"
        lower = np.asarray(normalization.lower, dtype=dtype)
        scale = np.asarray(255.0 / (np.asarray(normalization.upper) - np.asarray(normalization.lower)), dtype=dtype)
        stretched = image.astype(dtype)
        if image.ndim == 2:
            lower, scale = lower[0], scale[0]
        stretched -= lower
        stretched *= scale
        np.clip(stretched, 0, 255, out=stretched)
        np.nan_to_num(stretched, copy=False, nan=0.0)
        image = np.rint(stretched, out=stretched).astype("uint8")
    if image.ndim == 2:
        image = image[..., None]
    if image.shape[-1] == 1:
        image = np.repeat(image, 3, axis=-1)
    return np.ascontiguousarray(image)


def _sample(image: Any, ndim: int) -> np.ndarray:
    if ndim == 2:
        return sample_slice(image, (), MAX_SAMPLED_PIXELS)
    numbers = np.unique(np.linspace(0, image.shape[0] - 1, min(MAX_SAMPLED_SLICES, image.shape[0])).astype(int))
    budget = MAX_SAMPLED_PIXELS // len(numbers)
    return np.concatenate([sample_slice(image, (int(z),), budget) for z in numbers])


def sample_slice(image: Any, where: tuple[int, ...], budget: int) -> np.ndarray:
    """Pixels (n,) of one slice: all, or about ``budget`` in evenly spaced blocks; nothing else of it is read.

    ``where`` is the index of the slice: () for an image, (z,) in a stack. A block is one or few chunks of a zarr or
    dask array.
    """
    height, width = image.shape[len(where) : len(where) + 2]
    if height * width <= budget:
        return _pixels(image[(*where, slice(None), slice(None))])
    n_blocks = max(1, budget // BLOCK**2)
    per_side = max(2, round(n_blocks**0.5))
    rows = _starts(height, min(BLOCK, height), per_side)
    columns = _starts(width, min(BLOCK, width), max(2, n_blocks // len(rows)))
    return np.concatenate(
        [_pixels(image[(*where, slice(y, y + BLOCK), slice(x, x + BLOCK))]) for y in rows for x in columns]
    )


def _starts(size: int, block: int, count: int) -> list[int]:
    count = max(1, min(count, size // block))
    return sorted({int(v) for v in np.linspace(0, size - block, count)})


def _pixels(block: Any) -> np.ndarray:
    pixels = np.asarray(block)
    if pixels.ndim == 3 and pixels.shape[-1] == 4:
        pixels = pixels[..., :3]
    return pixels.ravel()
