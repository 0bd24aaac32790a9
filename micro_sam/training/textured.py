"""Generated images in which texture and outline, not brightness, tell what an object is.

``synthetic`` draws objects that shine. Adherent cells in phase contrast, axons in electron microscopy and cells of
tissue do not: they are as bright as what surrounds them. Here shapes of all kinds and sizes are filled with one
texture and set on another. Textures come from real training images, from anywhere in them, or are drawn; real objects
are pasted elsewhere. Rims, halos, relief, gradients, blur and noise are added at random, and what is bright may as well
be dark.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage as ndi
from scipy.spatial import cKDTree

from micro_sam.errors import InputError
from micro_sam.training.crops import TrainingImage
from micro_sam.training.shapes import SHAPES, log_uniform, smooth_noise
from micro_sam.training.synthetic import consecutive, synthetic_image
from micro_sam.training.targets import interior

DIAMETERS = (8.0, 0.8)  # of objects: the smallest in pixels, the largest as a share of the image's side
DIFFERENT = 16  # shapes in an image, which come again turned and flipped: drawing them costs most
LARGEST_SOURCE = 256  # pixels: side of the patches that textures are made from
SAME_LIGHT = 0.6  # share of the images in which object and ground have the same mean

GROUP = "synthetic"

Rng = np.random.Generator
Shape = tuple[int, int]


def generated_image(number: int, seed: int, sources: Sequence[TrainingImage] = (), group: str = GROUP) -> TrainingImage:
    """A generated image with objects, the same for the same number, seed and sources: those of even numbers shine, in
    those of odd ones texture and outline tell what an object is.

    Parameters
    ----------
    number, seed : int
    sources : sequence of TrainingImage
        Images to learn from, which textures and objects are taken from.
    group : str
        Of the result.
    """
    rng = np.random.default_rng((seed, 1, number))
    while True:  # few come out without an object
        image, labels = textured_image(rng, sources) if number % 2 else synthetic_image(rng, (288, 288))
        if labels.any():
            return TrainingImage(image, labels, f"{GROUP} {number}", group)


def textured_image(
    rng: Rng, sources: Sequence[TrainingImage], shape: Shape = (384, 384)
) -> tuple[np.ndarray, np.ndarray]:
    """Draws one image.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all randomness.
    sources : sequence of TrainingImage
        Images that textures and objects are taken from; may be empty.
    shape : tuple[int, int]
        Height and width in pixels, each at least 32.

    Returns
    -------
    numpy.ndarray
        Image (H, W, 3), uint8.
    numpy.ndarray
        Instance labels (H, W), int32, 0 = background, 1..n without gaps.

    Raises
    ------
    InputError
        For an image smaller than 32 pixels.
    """
    if min(shape) < 32:
        raise InputError(f"A generated image needs at least 32 x 32 pixels, not {shape[0]} x {shape[1]}.")
    complete = [source for source in sources if source.complete and len(source.ids)]
    if complete and rng.random() < 0.25:
        image, labels = paste_objects(rng, complete, shape)
    else:
        labels, wall = draw_layout(rng, shape)
        image = paint(rng, labels, wall, sources)
    return develop(rng, image), consecutive(labels)


# ---------------------------------------------------------------------------------------------------- where objects are


def draw_layout(rng: Rng, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Labels (H, W), and what else has an outline: walls around objects, bool (H, W), which belong to none."""
    diameter = log_uniform(rng, DIAMETERS[0], DIAMETERS[1] * min(shape))
    if rng.random() < 0.3:
        return _packed(rng, shape, diameter)
    kinds = [SHAPES[k] for k in rng.choice(len(SHAPES), rng.integers(1, 3))]
    labels, wall = np.zeros(shape, np.int32), np.zeros(shape, bool)
    ringed, spread = rng.random() < 0.25, rng.uniform(0.05, 0.5)
    sizes = np.clip(diameter * np.exp(rng.normal(0, spread, DIFFERENT)), 6, min(shape))
    stock = [kinds[rng.integers(len(kinds))](rng, float(size)) for size in sizes]
    cover, covered, count = rng.uniform(0.1, 0.75) * labels.size, 0, 0
    for _ in range(int(np.clip(5 * cover / diameter**2, 6, 300))):
        index = int(rng.integers(DIFFERENT))
        place = _place(rng, _turned(rng, stock[index]), shape)
        if place is None:
            continue
        area, mask = place
        below = labels[area]
        if mask.sum() < 16 or (below[mask] > 0).any() or (wall[area] & mask).any():
            continue
        inner = mask
        if ringed:  # as an axon in its sheath: the object is what the ring encloses, or the ring is a part of it
            inner = ndi.distance_transform_edt(mask) > max(1.5, sizes[index] * rng.uniform(0.05, 0.25))
            if inner.sum() < 12:
                continue
        count += 1
        below[inner] = count
        wall[area] |= mask & ~inner
        covered += int(mask.sum())
        if covered > cover:
            break
    return labels, wall


def _packed(rng: Rng, shape: Shape, diameter: float) -> tuple[np.ndarray, np.ndarray]:
    """Cells that share their borders, some of them missing, with or without a wall between."""
    n = int(np.clip(1.3 * shape[0] * shape[1] / diameter**2, 4, 900))
    seeds = rng.uniform(-0.1, 1.1, (n, 2)) * shape
    warp = [smooth_noise(rng, shape, diameter) * diameter * rng.uniform(0, 0.3) for _ in range(2)]
    stretch = np.exp(rng.uniform(-0.6, 0.6))
    yy, xx = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    points = np.stack([((yy + warp[0]) * stretch).ravel(), ((xx + warp[1]) / stretch).ravel()], axis=1)
    labels = (cKDTree(seeds * (stretch, 1 / stretch)).query(points)[1] + 1).reshape(shape).astype(np.int32)
    wall = np.zeros(shape, bool)
    if rng.random() < 0.7:
        wall = ndi.distance_transform_edt(interior(labels)) < log_uniform(rng, 0.8, max(1.0, 0.12 * diameter))
        if rng.random() < 0.6:
            labels[wall] = 0
    if rng.random() < 0.5:
        gone = np.isin(labels, 1 + rng.permutation(n)[: int(n * rng.uniform(0.05, 0.7))])
        labels[gone] = 0
        wall &= ~gone
    return labels, wall


def paste_objects(rng: Rng, sources: Sequence[TrainingImage], shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """A real image (float32 0..1, (H, W, 3)) and its labels, with objects of another one pasted into it."""
    ground, donor = (sources[int(rng.integers(len(sources)))] for _ in range(2))
    image, labels = _window(rng, ground, shape)
    labels = labels.copy()
    diameter = log_uniform(rng, DIAMETERS[0] * 1.5, 0.5 * min(shape))
    top = int(labels.max())
    same_light, feather = rng.random() < SAME_LIGHT, rng.uniform(0.3, 1.2)
    for _ in range(int(np.clip(0.5 * shape[0] * shape[1] / diameter**2, 2, 60))):
        pixels, mask = _cut_object(rng, donor, diameter * np.exp(rng.normal(0, 0.25)))
        place = _place(rng, mask, shape)
        if place is None or place[1].shape != mask.shape or mask.sum() < 16:
            continue
        area = place[0]
        if rng.random() < 0.8 and (labels[area][mask] > 0).mean() > 0.1:
            continue
        alpha = ndi.gaussian_filter(mask.astype(np.float32), feather)[..., None]
        if same_light:
            pixels = pixels - pixels[mask].mean() + image[area][mask].mean()
        image[area] = image[area] * (1 - alpha) + pixels * alpha
        top += 1
        labels[area][mask] = top
    return image, labels


# ---------------------------------------------------------------------------------------------------- how they look


def paint(rng: Rng, labels: np.ndarray, wall: np.ndarray, sources: Sequence[TrainingImage]) -> np.ndarray:
    """An image (H, W, 3) float32 of labels (H, W): one texture inside the objects, another outside."""
    shape = labels.shape
    ground, filling = texture(rng, sources, shape), texture(rng, sources, shape)
    if rng.random() < 0.2:  # the same stuff inside and outside: the outline alone tells
        filling = np.roll(ground, tuple(rng.integers(s // 4, s) for s in shape), (0, 1))
    n = int(labels.max())
    inside = labels > 0
    same_light = rng.random() < SAME_LIGHT
    shift = rng.normal(rng.uniform(-0.5, 0.5), rng.uniform(0, 0.2), n + 1).astype(np.float32)
    marks = rng.uniform(0.5, 1.2) if same_light else rng.uniform(0, 1)
    strength = rng.uniform(0.25, 1.0) * np.exp(rng.normal(0, 0.2, n + 1)).astype(np.float32)
    image = np.where(
        inside[..., None],
        filling * strength[labels][..., None] + shift[labels][..., None],
        ground * rng.uniform(0.1, 0.8),
    )
    image += marks * _outline(rng, labels, inside)[..., None]
    if wall.any():
        image[wall] = rng.choice([-1.0, 1.0]) * rng.uniform(0.3, 1.2) + 0.2 * filling[wall]
    if same_light and inside.any() and not inside.all():
        image[inside] += image[~inside].mean() - image[inside].mean()
    return image


def texture(rng: Rng, sources: Sequence[TrainingImage], shape: Shape) -> np.ndarray:
    """A texture (H, W, 3) float32 of mean 0 and standard deviation 0.3: cut out of a real image, or drawn."""
    if sources and rng.random() < 0.6:
        found = _real_texture(rng, sources[int(rng.integers(len(sources)))], shape)
    else:
        found = np.repeat(_drawn_texture(rng, shape)[..., None], 3, -1)
    found = found - found.mean((0, 1))
    deviation = float(found.std())
    return np.asarray(found * (0.3 / max(deviation, 0.02)), np.float32)  # a smooth one stays smooth


def _real_texture(rng: Rng, source: TrainingImage, shape: Shape) -> np.ndarray:
    """A patch of an image, laid out as tiles that mirror each other."""
    side = int(min(log_uniform(rng, 48, LARGEST_SOURCE), *source.labels.shape))
    y, x = (int(rng.integers(0, size - side + 1)) for size in source.labels.shape)
    if rng.random() < 0.5 and len(source.ids):  # out of an object rather than anywhere
        index = int(rng.integers(len(source.ids)))
        side = int(max(12, min(side, 0.6 * source.diameter(index))))
        places = np.argwhere(source.labels == source.ids[index])
        middle = places[len(places) // 2] - side // 2
        y, x = (int(np.clip(m, 0, size - side)) for m, size in zip(middle, source.labels.shape, strict=True))
    patch = source.image[y : y + side, x : x + side].astype(np.float32) / 255
    zoom = log_uniform(rng, 0.7, 3.0)
    sides = [max(2, min(int(n * zoom), size)) for n, size in zip(patch.shape[:2], shape, strict=True)]
    patch = _zoomed(patch, sides)
    rows, columns = (_mirrored(length, size, rng) for length, size in zip(patch.shape[:2], shape, strict=True))
    return np.asarray(patch[rows[:, None], columns])


def _mirrored(length: int, size: int, rng: Rng) -> np.ndarray:
    """``size`` indices that run to and fro over ``length`` places."""
    if length == 1:
        return np.zeros(size, int)
    at = (np.arange(size) + rng.integers(0, 2 * length)) % (2 * length - 2)
    return np.where(at < length, at, 2 * length - 2 - at)


def _drawn_texture(rng: Rng, shape: Shape) -> np.ndarray:
    fine = smooth_noise(rng, shape, log_uniform(rng, 1, 20))
    kind = rng.integers(5)
    if kind == 0:  # grains of two sizes
        return fine + rng.uniform(0, 1) * smooth_noise(rng, shape, log_uniform(rng, 1, 60))
    if kind == 1:  # threads
        return np.asarray(-(np.abs(fine) ** rng.uniform(0.4, 1.0)))
    if kind == 2:  # spots
        return np.maximum(fine - rng.uniform(0.5, 1.5), 0)
    if kind == 3:  # stripes
        angle, period = rng.uniform(0, np.pi), log_uniform(rng, 4, 30)
        yy, xx = np.mgrid[: shape[0], : shape[1]]
        wave = np.sin(2 * np.pi * (yy * np.sin(angle) + xx * np.cos(angle)) / period + fine * rng.uniform(0, 2))
        return np.asarray(wave + rng.uniform(0, 1) * fine)
    return 0.02 * fine  # smooth


def _outline(rng: Rng, labels: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Rims, halos and relief (H, W), about -1..1; at least one of them."""
    core = interior(labels)
    within = ndi.distance_transform_edt(core).astype(np.float32)
    outside = ndi.distance_transform_edt(~inside).astype(np.float32)
    width = log_uniform(rng, 0.7, 5)
    found = np.zeros(labels.shape, np.float32)
    selected = rng.random(3) < (0.6, 0.4, 0.3)
    if not selected.any():
        selected[rng.integers(3)] = True
    if selected[0]:
        found += rng.choice([-1, 1]) * rng.uniform(0.4, 1.0) * np.exp(-within / width) * inside
    if selected[1]:
        found += rng.choice([-1, 1]) * rng.uniform(0.4, 1.0) * np.exp(-outside / (width * rng.uniform(1, 3))) * ~inside
    if selected[2]:  # lit from one side
        height = np.minimum(within, 4 * width)
        dy, dx = np.gradient(ndi.gaussian_filter(height, width / 2))
        angle = rng.uniform(0, 2 * np.pi)
        found += rng.uniform(0.4, 1.0) * (dy * np.sin(angle) + dx * np.cos(angle))
    if rng.random() < 0.4:  # here strong, there weak
        found *= np.clip(1 + 0.5 * smooth_noise(rng, labels.shape, log_uniform(rng, 20, 120)), 0.15, 2)
    return found


def develop(rng: Rng, image: np.ndarray) -> np.ndarray:
    """Light, blur and noise of a microscope on an image (H, W, 3); uint8, stretched as the tools do it."""
    shape = image.shape[:2]
    if rng.random() < 0.85:
        image = image.mean(-1, keepdims=True)
    if rng.random() < 0.5:
        image = image + (rng.uniform(0, 0.4) * smooth_noise(rng, shape, max(shape)))[..., None]
    if rng.random() < 0.5:
        image = -image
    image = ndi.gaussian_filter(image, (*(log_uniform(rng, 0.3, 1.8),) * 2, 0))
    noise = log_uniform(rng, 0.005, 0.25) * float(image.std())
    image = image + ndi.gaussian_filter(rng.normal(0, 1, shape), rng.uniform(0, 0.7))[..., None] * noise
    low, high = np.percentile(image, (1, 99.7))
    stretched = np.round(np.clip((image - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(stretched, (*shape, 3)))


# ---------------------------------------------------------------------------------------------------- small parts


def _place(rng: Rng, mask: np.ndarray, shape: Shape) -> tuple[tuple[slice, slice], np.ndarray] | None:
    """A random place for a mask, and what of it lies in the image; None when hardly any does."""
    y, x = (int(rng.uniform(0, s) - m / 2) for s, m in zip(shape, mask.shape, strict=True))
    y0, x0, y1, x1 = max(y, 0), max(x, 0), min(y + mask.shape[0], shape[0]), min(x + mask.shape[1], shape[1])
    if y1 - y0 < 3 or x1 - x0 < 3:
        return None
    return (slice(y0, y1), slice(x0, x1)), mask[y0 - y : y1 - y, x0 - x : x1 - x]


def _turned(rng: Rng, values: np.ndarray) -> np.ndarray:
    values = np.rot90(values, int(rng.integers(4)))
    return values[::-1] if rng.random() < 0.5 else values


def _zoomed(values: np.ndarray, sides: Sequence[int]) -> np.ndarray:
    """Values (h, w, k) float32 at another size."""
    channels_first = torch.from_numpy(np.ascontiguousarray(values)).permute(2, 0, 1)[None]
    zoomed = F.interpolate(channels_first, size=tuple(sides), mode="bilinear", align_corners=False, antialias=True)
    return zoomed[0].permute(1, 2, 0).numpy().copy()


def _window(rng: Rng, source: TrainingImage, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """A part of a source, scaled to ``shape``."""
    height, width = source.labels.shape
    side = int(min(height, width) * rng.uniform(0.5, 1.0))
    y, x = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
    rows, columns = ((np.arange(s) * side / s).astype(int) for s in shape)
    part = source.image[y : y + side, x : x + side].astype(np.float32) / 255
    return _zoomed(part, shape), source.labels[y : y + side, x : x + side][rows[:, None], columns]


def _cut_object(rng: Rng, source: TrainingImage, diameter: float) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (h, w, 3) float32 0..1 and mask (h, w) of an object, scaled to a diameter, turned and flipped."""
    index = int(rng.integers(len(source.ids)))
    box = ndi.find_objects((source.labels == source.ids[index]).astype(np.int8))[0]
    area = tuple(slice(max(s.start - 3, 0), s.stop + 3) for s in box)
    zoom = float(np.clip(diameter / source.diameter(index), 0.2, 6.0))
    mask = source.labels[area] == source.ids[index]
    sides = [max(2, round(n * zoom)) for n in mask.shape]
    both = np.dstack([source.image[area].astype(np.float32) / 255, mask.astype(np.float32)])
    both = _turned(rng, _zoomed(both, sides))
    pixels, mask = both[..., :3], both[..., 3] > 0.5
    return pixels, mask
