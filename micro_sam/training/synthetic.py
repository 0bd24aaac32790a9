"""Synthetic microscopy with exact instance masks.

Real training sets are few and show mostly filled, bright, round nuclei. The generator draws what they lack: rods,
membranes, hollow and irregular objects, touching and overlapping ones, in bright and dark field, under uneven light,
with out-of-focus clutter, blur and noise. One seed gives one image, so a training run can be repeated exactly.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage as ndi
from scipy.spatial import cKDTree

from micro_sam.errors import InputError
from micro_sam.training.shapes import bumpy_disc, log_uniform, rod, smooth_noise
from micro_sam.training.targets import interior


def synthetic_image(
    rng: np.random.Generator, shape: tuple[int, int] = (256, 256), kind: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draws one image.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all randomness.
    shape : tuple[int, int]
        Height and width in pixels, each at least 32.
    kind : str | None
        One of ``KINDS``; None takes one at random.

    Returns
    -------
    numpy.ndarray
        Image (H, W, 3), uint8.
    numpy.ndarray
        Instance labels (H, W), int32, 0 = background, 1..n without gaps.

    Raises
    ------
    InputError
        For an unknown kind or an image smaller than 32 pixels.
    """
    if kind is not None and kind not in KINDS:
        raise InputError(f"There is no kind of synthetic image named {kind!r}; choose one of {', '.join(KINDS)}.")
    if min(shape) < 32:
        raise InputError(f"A synthetic image needs at least 32 x 32 pixels, not {shape[0]} x {shape[1]}.")
    kind = kind or str(rng.choice(list(KINDS)))
    labels = consecutive(KINDS[kind](rng, shape))
    return render(rng, labels, membranes=kind == "membranes"), labels


# ---------------------------------------------------------------------------------------------------- where objects are


def nuclei(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Round to oval objects with slightly bumpy outlines, alone or touching."""
    return _scatter(rng, shape, lambda radius: bumpy_disc(rng, radius, rng.uniform(0.6, 1.0), rng.uniform(0, 0.08)))


def irregular(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Lobed and spread cells."""
    return _scatter(rng, shape, lambda radius: bumpy_disc(rng, radius, rng.uniform(0.4, 1.0), rng.uniform(0.12, 0.3)))


def rods(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Straight or bent rods, as bacteria in a colony."""
    length_ratio, bend, common = rng.uniform(1.5, 7), rng.uniform(0, 0.5), rng.uniform(0, np.pi)
    aligned = rng.uniform(0, 1)

    def draw(radius: float) -> np.ndarray:
        width = max(radius / np.sqrt(length_ratio), 1.5)
        angle = common + rng.normal(0, 0.2) if rng.random() < aligned else rng.uniform(0, np.pi)
        return rod(width, width * length_ratio * rng.uniform(0.6, 1.4), angle, rng.uniform(-bend, bend))

    return _scatter(rng, shape, draw)


def membranes(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """A tissue: cells that fill the plane, with or without holes."""
    spacing = log_uniform(rng, 12, 70)
    n = int(np.clip(shape[0] * shape[1] / spacing**2, 4, 600))
    seeds = rng.uniform(-0.1, 1.1, (n, 2)) * shape
    warp = [smooth_noise(rng, shape, spacing) * spacing * rng.uniform(0, 0.3) for _ in range(2)]
    yy, xx = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    points = np.stack([(yy + warp[0]).ravel(), (xx + warp[1]).ravel()], axis=1)
    labels: np.ndarray = (cKDTree(seeds).query(points)[1] + 1).reshape(shape).astype(np.int32)
    if rng.random() < 0.4:
        labels[np.isin(labels, 1 + rng.permutation(n)[: int(n * rng.uniform(0.05, 0.5))])] = 0
    return labels


KINDS: dict[str, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]] = {
    "nuclei": nuclei,
    "irregular": irregular,
    "rods": rods,
    "membranes": membranes,
}


def _scatter(rng: np.random.Generator, shape: tuple[int, int], draw: Callable[[float], np.ndarray]) -> np.ndarray:
    """Places drawn masks at random, some in clumps; a new one may hide up to a quarter of what lies below."""
    labels = np.zeros(shape, np.int32)
    radius, spread = log_uniform(rng, 4, 45), rng.uniform(0.05, 0.4)
    cover = rng.uniform(0.05, 0.7) * labels.size
    allowed = rng.choice([0.0, 0.05, 0.25])
    clumps = rng.uniform(0, 1, (rng.integers(1, 6), 2)) * shape
    clumped = rng.uniform(0, 1)
    covered, count = 0, 0
    for _ in range(int(np.clip(3 * cover / radius**2, 6, 500))):
        mask = draw(max(2.0, radius * np.exp(rng.normal(0, spread))))
        centre = rng.uniform(0, 1, 2) * shape
        if rng.random() < clumped:
            centre = clumps[rng.integers(len(clumps))] + rng.normal(0, 4 * radius, 2)
        y, x = (np.round(centre) - np.array(mask.shape) / 2).astype(int)
        y0, x0, y1, x1 = max(y, 0), max(x, 0), min(y + mask.shape[0], shape[0]), min(x + mask.shape[1], shape[1])
        if y1 - y0 < 2 or x1 - x0 < 2:
            continue
        mask = mask[y0 - y : y1 - y, x0 - x : x1 - x]
        below = labels[y0:y1, x0:x1]
        if mask.sum() < 8 or (below[mask] > 0).sum() > allowed * mask.sum():
            continue
        count += 1
        below[mask] = count
        covered += int(mask.sum())
        if covered > cover:
            break
    return labels


# ---------------------------------------------------------------------------------------------------- how they look


def render(rng: np.random.Generator, labels: np.ndarray, membranes: bool = False) -> np.ndarray:
    """Paints a microscopy image of an instance label image (H, W): (H, W, 3) uint8."""
    shape, n = labels.shape, int(labels.max())
    inside = ndi.distance_transform_edt(interior(labels)).astype(np.float32)
    foreground = labels > 0
    strength = np.concatenate([[0.0], rng.uniform(rng.uniform(0.25, 0.9), 1.0, n)]).astype(np.float32)[labels]
    rim_width = log_uniform(rng, 0.8, 4)
    style = rng.choice(
        ["membrane", "hollow"] if membranes else ["filled", "filled", "filled", "dome", "hollow", "halo"]
    )
    if style in ("membrane", "hollow"):
        rim = np.exp(-inside / rim_width) * (foreground if style == "hollow" else 1)
        signal = np.maximum(rim, rng.uniform(0, 0.35) * strength)
        if style == "membrane":
            signal = np.where(foreground, signal, np.maximum(signal, rng.uniform(0, 0.3)) * rng.uniform(0, 1))
    elif style == "dome":
        signal = strength * (1 - np.exp(-inside / (2 * rim_width)))
    elif style == "halo":  # phase contrast: dark or bright bodies with a bright seam
        outside = ndi.distance_transform_edt(~foreground).astype(np.float32)
        signal = strength * foreground - rng.uniform(0.3, 0.9) * np.exp(-outside / rim_width) * ~foreground
    else:
        signal = strength
    texture = smooth_noise(rng, shape, log_uniform(rng, 2, 12))
    signal = signal * (1 + rng.uniform(0, 0.45) * texture)
    if rng.random() < 0.4:  # out-of-focus light of the same objects, elsewhere in depth
        ghost = np.roll(signal, tuple(rng.integers(0, s) for s in shape), (0, 1))
        signal = signal + rng.uniform(0.1, 0.5) * ndi.gaussian_filter(ghost, rng.uniform(4, 12))
    ground = rng.uniform(0, 0.3) * smooth_noise(rng, shape, log_uniform(rng, 20, 120))
    ground = ground + rng.uniform(0, 0.12) * smooth_noise(rng, shape, log_uniform(rng, 1.5, 8))
    light = 1 + rng.uniform(0, 0.35) * smooth_noise(rng, shape, max(shape))
    image = (signal * rng.choice([1.0, 1.0, -1.0]) + ground) * light
    image = ndi.gaussian_filter(image, log_uniform(rng, 0.3, 2.0))
    image = (image - image.min()) / max(float(np.ptp(image)), 1e-6)
    if rng.random() < 0.6:
        photons = log_uniform(rng, 8, 400)
        image = rng.poisson(image * photons) / photons
    image = image + rng.normal(0, log_uniform(rng, 0.003, 0.08), shape)
    low, high = np.percentile(image, (1, 99.7))
    image = np.clip((image - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)
    return np.round(_colour(rng, image) * 255).astype(np.uint8)


def _colour(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Grey, repeated to three channels; sometimes a stain, the two ends of a random pair of colours."""
    if rng.random() > 0.2:
        return np.repeat(image[..., None], 3, axis=-1)
    light = rng.uniform(0.7, 1.0, 3)
    dark = np.array([0.35, 0.2, 0.5]) + rng.uniform(-0.2, 0.2, 3)
    if rng.random() < 0.5:
        image = 1 - image
    return np.asarray(light + (np.clip(dark, 0, 1) - light) * image[..., None], np.float32)


def consecutive(labels: np.ndarray) -> np.ndarray:
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int32) if labels.any() else labels
