"""Training crops: where they lie, how large their objects appear, and how their light is varied."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F

MIN_AREA = 12  # pixels of a crop below which an object is no target for a prompt


@dataclass(frozen=True)
class TrainingImage:
    """An image with its instances.

    Attributes
    ----------
    image : numpy.ndarray
        (H, W, 3) uint8, already stretched to 0..255 (see ``io.normalization``).
    labels : numpy.ndarray
        (H, W) int32, 0 = background.
    name : str
        For messages.
    group : str
        Images of one group share its weight in the sampling, however many they are.
    complete : bool
        Whether every object is labelled; if not, background is neither taught to the dense head nor clicked.
    """

    image: np.ndarray
    labels: np.ndarray
    name: str = ""
    group: str = ""
    complete: bool = True
    ids: np.ndarray = field(init=False, repr=False)
    areas: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        counts = np.bincount(self.labels.ravel())
        ids = np.flatnonzero(counts[1:]) + 1
        object.__setattr__(self, "ids", ids)
        object.__setattr__(self, "areas", counts[ids])

    @property
    def median_diameter(self) -> float:
        """Median equivalent diameter of the objects in pixels; 0 without objects."""
        return float(2 * np.sqrt(np.median(self.areas) / np.pi)) if len(self.areas) else 0.0

    def diameter(self, index: int) -> float:
        """Of the object's disc of the same area, in pixels."""
        return float(2 * np.sqrt(self.areas[index] / np.pi))


@dataclass(frozen=True)
class Crop:
    """A square window of the model's input frame.

    Attributes
    ----------
    image : numpy.ndarray
        (3, S, S) float32, 0..255; zero outside the image.
    labels : numpy.ndarray
        (S, S) int32, 0 = background, 1..n without gaps.
    valid : numpy.ndarray
        (S, S) bool, False where the window lies outside the image.
    origin : tuple[int, int]
        (y, x) of the window in the model's input frame.
    complete : bool
        See ``TrainingImage``.
    """

    image: np.ndarray
    labels: np.ndarray
    valid: np.ndarray
    origin: tuple[int, int]
    complete: bool


@dataclass(frozen=True)
class CropSettings:
    """How crops are drawn. Diameters are in pixels of the model's input frame.

    Attributes
    ----------
    size : int
        Side S of the window; a multiple of ``step``.
    frame : int
        Side of the model's input frame; the window lies somewhere inside.
    step : int
        Grid on which windows may start, the stride of the features.
    natural : float
        Share of crops in which the image has the size at which the model meets it (longest side = frame), +- 40 %.
    close_up : float
        Diameter of an object in a close-up, in which the model meets small objects; 0 when it takes none.
    enlarged : float
        Share of the natural crops that are such close-ups, where the selected object is small.
    diameters : tuple[float, float]
        In the other crops the selected object is scaled to a diameter drawn log-uniformly from this range.
    augment : bool
        Flips, quarter turns, light, blur and noise.
    vary : float
        Share of the crops whose scale and light are varied; the others are only turned and flipped.
    """

    size: int = 256
    frame: int = 512
    step: int = 8
    natural: float = 0.5
    close_up: float = 0.0
    enlarged: float = 0.5
    diameters: tuple[float, float] = (12.0, 128.0)
    augment: bool = True
    vary: float = 1.0


def draw_crop(rng: np.random.Generator, source: TrainingImage, settings: CropSettings) -> Crop:
    """Cuts a window around an object of ``source`` that is drawn so that small and large ones both count."""
    height, width = source.labels.shape
    natural = settings.frame / max(height, width)
    target = _draw_object(rng, source)
    varied = settings.augment and rng.random() < settings.vary
    if target is None or rng.random() < settings.natural:
        scale = natural * (np.exp(rng.uniform(-0.35, 0.35)) if varied else 1.0)
        is_small = target is not None and source.diameter(target) * natural < 0.8 * settings.close_up
        if is_small and rng.random() < settings.enlarged:
            assert target is not None
            scale = float(min(scale / natural * settings.close_up / source.diameter(target), 8.0))
    else:
        diameter = source.diameter(target)
        scale = np.exp(rng.uniform(*np.log(settings.diameters))) / diameter
        scale = float(np.clip(scale, 0.5 * natural, 8.0))
    aspect = np.exp(rng.uniform(-0.12, 0.12)) if varied else 1.0
    extent = np.array([settings.size / (scale * aspect), settings.size * aspect / scale])  # in source pixels
    centre = rng.uniform(0, 1, 2) * (height, width)
    if target is not None and rng.random() < 0.9:
        ys, xs = np.nonzero(source.labels == source.ids[target])
        pick = rng.integers(len(ys))
        centre = np.array([ys[pick], xs[pick]]) + rng.uniform(-0.35, 0.35, 2) * extent
    start = np.clip(centre - extent / 2, 0, np.maximum([height - extent[0], width - extent[1]], 0))
    y0, x0 = (int(v) for v in np.floor(start))
    y1, x1 = min(int(np.ceil(start[0] + extent[0])), height), min(int(np.ceil(start[1] + extent[1])), width)
    size = [int(round(min((b - a) / e, 1.0) * settings.size)) for a, b, e in ((y0, y1, extent[0]), (x0, x1, extent[1]))]

    image = _resize(source.image[y0:y1, x0:x1], size)
    labels = _resize_labels(source.labels[y0:y1, x0:x1], size)
    if settings.augment:
        image, labels = _turn(rng, image, labels)
    if varied:
        image = vary_light(rng, image)
    room = settings.frame - settings.size
    y, x = (int(rng.integers(0, room // settings.step + 1)) * settings.step for _ in range(2))
    pad = [(0, settings.size - labels.shape[0]), (0, settings.size - labels.shape[1])]
    valid = np.pad(np.ones(labels.shape, bool), pad)
    return Crop(np.pad(image, [(0, 0), *pad]), _relabel(np.pad(labels, pad)), valid, (y, x), source.complete)


def vary_light(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Varies gain, offset, gamma, sign, blur and noise of an image (3, H, W) in 0..255; the result is float32 in it."""
    x = image / 255.0
    if rng.random() < 0.15:
        x = 1 - x
    if rng.random() < 0.7:
        x = np.clip(x, 0, 1) ** np.exp(rng.uniform(-0.5, 0.5))  # clamped first: one NaN ends a training
        x = (x - 0.5) * rng.uniform(0.7, 1.25) + 0.5 + rng.uniform(-0.12, 0.12)
    if rng.random() < 0.25:
        x = _blur(x, float(rng.uniform(0.5, 1.6)))
    if rng.random() < 0.4:
        shape = x.shape if rng.random() < 0.3 else (1, *x.shape[1:])  # grey noise in most, colour noise in some
        x = x + rng.normal(0, rng.uniform(0.01, 0.12), shape)
    if rng.random() < 0.3:
        x = x * (1 + rng.uniform(-0.1, 0.1, (3, 1, 1)))
    return np.clip(x * 255, 0, 255).astype(np.float32)


def _draw_object(rng: np.random.Generator, source: TrainingImage) -> int | None:
    """Index of an object; the chance is even over the logarithm of the size, so rare sizes are not lost."""
    if not len(source.ids):
        return None
    bins = np.floor(np.log2(np.maximum(source.areas, 1)) / 1.5).astype(int)
    _, inverse, counts = np.unique(bins, return_inverse=True, return_counts=True)
    weight = 1 / np.sqrt(counts[inverse])
    return int(rng.choice(len(source.ids), p=weight / weight.sum()))


def _turn(rng: np.random.Generator, image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    turns = int(rng.integers(4))
    image, labels = np.rot90(image, turns, (1, 2)), np.rot90(labels, turns)
    if rng.random() < 0.5:
        image, labels = image[:, :, ::-1], labels[:, ::-1]
    return np.ascontiguousarray(image), np.ascontiguousarray(labels)


def _resize(image: np.ndarray, size: list[int]) -> np.ndarray:
    """(h, w, 3) uint8 -> (3, *size) float32, with the anti-aliasing that the predictor uses."""
    x = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    return F.interpolate(x, size=size, mode="bilinear", antialias=True)[0].numpy()


def _resize_labels(labels: np.ndarray, size: list[int]) -> np.ndarray:
    rows = np.minimum(((np.arange(size[0]) + 0.5) * labels.shape[0] / size[0]).astype(int), labels.shape[0] - 1)
    columns = np.minimum(((np.arange(size[1]) + 0.5) * labels.shape[1] / size[1]).astype(int), labels.shape[1] - 1)
    taken: np.ndarray = labels[rows[:, None], columns]
    return taken


def _relabel(labels: np.ndarray) -> np.ndarray:
    """Consecutive ids 1..n; fragments too small to be a target stay, so that they are not taught as background."""
    there = np.bincount(labels.ravel()) > 0
    there[0] = False
    numbered: np.ndarray = np.cumsum(there, dtype=np.int32)[labels] * (labels > 0)
    return numbered


def _blur(x: np.ndarray, sigma: float) -> np.ndarray:
    radius = int(np.ceil(2.5 * sigma))
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = torch.from_numpy((weights / weights.sum()).astype(np.float32))
    t = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))[:, None]
    t = F.conv2d(t, kernel[None, None, :, None], padding=(radius, 0))
    return np.asarray(F.conv2d(t, kernel[None, None, None, :], padding=(0, radius))[:, 0].numpy())
