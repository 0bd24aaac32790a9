"""Outlines of generated objects, and the smooth noise that they are drawn with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage as ndi

Rng = np.random.Generator


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> np.ndarray:
    """Noise of standard deviation 1 whose features are about ``scale`` pixels wide (drawn coarse, then zoomed)."""
    factor = max(scale / 2, 1.0)
    coarse = rng.normal(size=[int(np.ceil(s / factor)) + 3 for s in shape]).astype(np.float32)
    noise = ndi.zoom(ndi.gaussian_filter(coarse, 1.0), factor, order=1)[: shape[0], : shape[1]]
    return np.asarray(noise / max(float(noise.std()), 1e-6))


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def bumpy_disc(rng: np.random.Generator, radius: float, aspect: float, bumps: float) -> np.ndarray:
    """An oval whose outline is modulated by a few Fourier terms; ``aspect`` is minor / major axis."""
    size = int(np.ceil(radius * 1.7 / np.sqrt(aspect)))
    yy, xx = np.mgrid[-size : size + 1, -size : size + 1].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    u = (np.cos(angle) * xx + np.sin(angle) * yy) * np.sqrt(aspect)
    v = (-np.sin(angle) * xx + np.cos(angle) * yy) / np.sqrt(aspect)
    theta = np.arctan2(v, u)
    outline = 1 + sum(
        bumps / np.sqrt(k - 1) * rng.normal(0, 0.6) * np.cos(k * theta + rng.uniform(0, 2 * np.pi))
        for k in (2, 3, 4, 5)
    )
    return np.asarray(np.hypot(u, v) <= radius * np.clip(outline, 0.3, 1.7))


def rod(width: float, length: float, angle: float, bend: float) -> np.ndarray:
    """All pixels within ``width`` / 2 of an arc of ``length`` that turns by ``bend`` radians per half."""
    steps = np.linspace(-0.5, 0.5, 16) * max(length - width, 0.1)
    direction = angle + bend * 2 * steps / max(length, 1)
    spine = np.cumsum(np.stack([np.sin(direction), np.cos(direction)]) * np.gradient(steps), axis=1)
    spine -= spine.mean(axis=1, keepdims=True)
    size = int(np.ceil(np.abs(spine).max() + width / 2 + 1))
    yy, xx = np.mgrid[-size : size + 1, -size : size + 1].astype(np.float32)
    distance = np.min(np.hypot(yy[None] - spine[0][:, None, None], xx[None] - spine[1][:, None, None]), axis=0)
    return np.asarray(distance <= width / 2)


def star(rng: Rng, diameter: float) -> np.ndarray:
    """A body with long pointed arms."""
    n, depth = int(rng.integers(3, 9)), rng.uniform(0.3, 0.75)
    return _polar(rng, diameter, lambda t: 1 - depth * (0.5 - 0.5 * np.cos(n * t)) ** rng.uniform(0.4, 1.0))


def polygon(rng: Rng, diameter: float) -> np.ndarray:
    """Straight sides and corners."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 8)))
    radii = rng.uniform(0.6, 1.0, len(angles))

    def outline(t: np.ndarray) -> np.ndarray:
        nearest = np.full(t.shape, np.inf)
        for a, r in zip(angles, radii, strict=True):  # half planes
            along = np.cos(t - a)
            nearest = np.minimum(nearest, np.where(along > 0.05, r / np.maximum(along, 0.05), np.inf))
        return np.asarray(np.minimum(nearest, 1.4) / 1.4)

    return _polar(rng, diameter, outline)


def spread_cell(rng: Rng, diameter: float) -> np.ndarray:
    """A flat body with thin protrusions, as of adherent cells."""
    side = int(np.ceil(1.6 * diameter)) | 1
    mask = np.zeros((side, side), bool)
    _stamp(mask, bumpy_disc(rng, diameter * rng.uniform(0.2, 0.4), rng.uniform(0.4, 1.0), rng.uniform(0.05, 0.3)), 0, 0)
    for _ in range(int(rng.integers(1, 6))):
        angle, length = rng.uniform(0, 2 * np.pi), diameter * rng.uniform(0.4, 0.9)
        arm = rod(max(2.0, diameter * rng.uniform(0.03, 0.12)), length, angle, rng.uniform(-0.4, 0.4))
        _stamp(mask, arm, np.sin(angle) * 0.4 * length, np.cos(angle) * 0.4 * length)
    return _one_piece(mask)


def oval(rng: Rng, diameter: float) -> np.ndarray:
    """Round, oval or lobed."""
    return bumpy_disc(rng, diameter / 2, rng.uniform(0.35, 1.0), rng.uniform(0, 0.2))


def stick(rng: Rng, diameter: float) -> np.ndarray:
    """A rod, straight or bent."""
    ratio = rng.uniform(2, 8)
    width = max(3.0, diameter / np.sqrt(ratio))
    return rod(width, width * ratio, rng.uniform(0, np.pi), rng.uniform(-0.5, 0.5))


def _polar(rng: Rng, diameter: float, outline: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """What lies within ``outline`` (share of the radius, by angle), turned and stretched at random."""
    size = int(np.ceil(diameter * 0.75))
    yy, xx = np.mgrid[-size : size + 1, -size : size + 1].astype(np.float32)
    turn, stretch = rng.uniform(0, 2 * np.pi), np.exp(rng.uniform(-0.3, 0.3))
    u = (np.cos(turn) * xx + np.sin(turn) * yy) * stretch
    v = (-np.sin(turn) * xx + np.cos(turn) * yy) / stretch
    return _one_piece(np.hypot(u, v) <= diameter * 0.6 * outline(np.arctan2(v, u)))


def _one_piece(mask: np.ndarray) -> np.ndarray:
    pieces, n = ndi.label(mask)
    return mask if n < 2 else pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()


def _stamp(mask: np.ndarray, part: np.ndarray, dy: float, dx: float) -> None:
    """Adds a mask, its middle moved by (dy, dx) from that of ``mask``; what does not fit is cut off."""
    y, x = (int(round(m / 2 + d - p / 2)) for m, p, d in zip(mask.shape, part.shape, (dy, dx), strict=True))
    y0, x0, y1, x1 = max(y, 0), max(x, 0), min(y + part.shape[0], mask.shape[0]), min(x + part.shape[1], mask.shape[1])
    if y1 > y0 and x1 > x0:
        mask[y0:y1, x0:x1] |= part[y0 - y : y1 - y, x0 - x : x1 - x]


SHAPES: list[Callable[[Rng, float], np.ndarray]] = [oval, oval, spread_cell, spread_cell, star, polygon, stick]
