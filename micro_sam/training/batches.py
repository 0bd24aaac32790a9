"""What one pass of a training step learns from, as tensors: crops, targets of the dense head and first prompts.

All of this is drawn on the CPU and needs no model, so that other processes can do it while a GPU works.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from micro_sam.models.modules.prompt_encoder import FOREGROUND
from micro_sam.training import prompts
from micro_sam.training.crops import Crop
from micro_sam.training.targets import dense_targets

KINDS = ("click", "box")


class Tensors:
    """Dataclasses of tensors (and of such dataclasses) that move between devices as a whole."""

    def _each(self, function: str, *args: object, **kwargs: object) -> Self:
        def moved(value: object) -> object:
            if isinstance(value, dict):
                return {key: moved(inner) for key, inner in value.items()}
            return getattr(value, function)(*args, **kwargs) if isinstance(value, (Tensor, Tensors)) else value

        fields = {f.name: moved(getattr(self, f.name)) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        return type(self)(**fields)

    def to(self, device: torch.device, non_blocking: bool = False) -> Self:
        """The same on another device."""
        return self._each("to", device, non_blocking=non_blocking)

    def pin_memory(self) -> Self:
        """The same in memory that a GPU reads directly."""
        return self._each("pin_memory")


@dataclass(frozen=True, eq=False)
class Prompted(Tensors):
    """P prompted objects; coordinates in crop pixels, windows in feature positions.

    Attributes
    ----------
    crop : Tensor
        (P,) int64, index of the crop.
    corner : Tensor
        (P, 2) int64, upper left (y, x) of the decoder's window in the crop's feature grid.
    target : Tensor
        (P, 4 w, 4 w) float32, share of each mask position that the object covers.
    valid : Tensor
        (P, 4 w, 4 w) float32, 1 where the image is.
    points, labels : Tensor
        (P, n, 2) float32, (x, y); (P, n) int64.
    boxes : Tensor | None
        (P, 4) float32, (x0, y0, x1, y1).
    exists : Tensor
        (P,) bool, False for a click on the background.
    """

    crop: Tensor
    corner: Tensor
    target: Tensor
    valid: Tensor
    points: Tensor
    labels: Tensor
    boxes: Tensor | None
    exists: Tensor


@dataclass(frozen=True, eq=False)
class Batch(Tensors):
    """B crops of side S, with everything that a model is asked about them.

    Attributes
    ----------
    pixels : Tensor
        (B, 3, S, S) float32, 0..255.
    valid : Tensor
        (B, S, S) bool, where the image is.
    origin : Tensor
        (B, 2) int64, (y, x) of the crop in the model's input frame.
    complete : Tensor
        (B,) bool, see ``TrainingImage``.
    foreground, distance, radius : Tensor
        (B, h, w) float32, see ``DenseTargets``.
    offset : Tensor
        (B, 2, h, w) float32, see ``DenseTargets``.
    prompted : dict[str, Prompted]
        By kind of the first prompt, "click" or "box"; a kind without objects is missing.
    """

    pixels: Tensor
    valid: Tensor
    origin: Tensor
    complete: Tensor
    foreground: Tensor
    distance: Tensor
    radius: Tensor
    offset: Tensor
    prompted: dict[str, Prompted]

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True)
class PromptSettings:
    """How objects are prompted.

    Attributes
    ----------
    objects : int
        Objects prompted per crop, half of them by a click, half by a box.
    windows : tuple[int, ...]
        Side lengths of the decoder's windows, in feature positions; each step takes one at random per kind of prompt.
    stride : int
        Pixels per feature position.
    dense_step : int
        Pixels per position of the dense maps.
    """

    objects: int = 6
    windows: tuple[int, ...] = (16, 32)
    stride: int = 8
    dense_step: int = 2

    def choose(self, rng: np.random.Generator, size: int, share: float = 1.0) -> dict[str, tuple[int, int]]:
        """Per kind of prompt: the window, and how many objects are asked for in a crop of ``size`` pixels, whose area
        is ``share`` of those that ``objects`` are meant for."""
        selected, objects = {}, max(1, round(self.objects * share))
        for kind in KINDS:
            window = min(int(rng.choice(self.windows)), size // self.stride)
            cost = (window / min(self.windows)) ** 2  # a large window costs as much as many small ones
            selected[kind] = window, max(1, round(objects / cost / 2))
        return selected


@dataclass(frozen=True, eq=False)
class Asked:
    """One prompted object of one crop; fields as in ``Prompted``, target and valid in pixels of the window."""

    corner: tuple[int, int]
    target: np.ndarray
    valid: np.ndarray
    click: np.ndarray
    box: np.ndarray
    exists: bool = True


def ask(
    rng: np.random.Generator, crop: Crop, kind: str, window: int, wanted: int, settings: PromptSettings
) -> list[Asked]:
    """Chooses up to ``wanted`` objects (and, for clicks, a little background) and their first prompts."""
    stride = settings.stride
    side, cell = crop.labels.shape[0] // stride, stride // 4  # pixels per mask position
    found = []
    for label in prompts.draw_targets(rng, crop.labels, wanted):
        mask = crop.labels == label
        box, click = prompts.jittered_box(rng, mask), prompts.first_click(rng, mask)
        corner = _window(rng, box if kind == "box" else np.tile(click, 2), window, side, stride)
        area = _area(corner, window, stride)
        seen = mask[area]
        if kind == "box" and window < side and seen.sum() < 0.9 * mask.sum():
            continue  # does not fit: a box needs the whole object
        covered = seen.reshape(4 * window, cell, 4 * window, cell).mean((1, 3))
        if (covered > 0.5).any():  # else too small, or too much cut off, to be a mask
            found.append(Asked(corner, seen, crop.valid[area], click, box))
    if kind == "click" and crop.complete and rng.random() < 0.15 * wanted:
        beside = prompts.background_click(rng, crop.labels, crop.valid)
        if beside is not None:
            corner = _window(rng, np.tile(beside, 2), window, side, stride)
            valid = crop.valid[_area(corner, window, stride)]
            found.append(Asked(corner, np.zeros_like(valid), valid, beside, np.tile(beside, 2), exists=False))
    return found


def collate(crops: Sequence[Crop], asked: Sequence[dict[str, list[Asked]]], settings: PromptSettings) -> Batch:
    """The batch of crops of one size, with what is asked about each of them."""
    targets = [dense_targets(crop.labels, settings.dense_step) for crop in crops]
    prompted = {kind: _join([each[kind] for each in asked], kind, settings) for kind in KINDS}
    return Batch(
        pixels=_stack([crop.image for crop in crops]),
        valid=_stack([crop.valid for crop in crops]),
        origin=torch.tensor([crop.origin for crop in crops]),
        complete=torch.tensor([crop.complete for crop in crops]),
        foreground=(_stack([target.labels for target in targets]) > 0).float(),
        distance=_stack([target.distance for target in targets]),
        radius=_stack([target.radius for target in targets]),
        offset=_stack([target.offset for target in targets]),
        prompted={kind: value for kind, value in prompted.items() if value is not None},
    )


def _join(asked: Sequence[list[Asked]], kind: str, settings: PromptSettings) -> Prompted | None:
    rows = [row for each in asked for row in each]
    if not rows:
        return None
    cell = settings.stride // 4
    pooled = [
        torch.nn.functional.avg_pool2d(_stack(values).float()[:, None], cell)[:, 0]
        for values in ([row.target for row in rows], [row.valid for row in rows])
    ]
    clicks = _stack([row.click for row in rows])[:, None]
    is_click = kind == "click"
    return Prompted(
        crop=torch.tensor([index for index, each in enumerate(asked) for _ in each]),
        corner=torch.tensor([row.corner for row in rows]),
        target=pooled[0],
        valid=(pooled[1] > 0.5).float(),
        points=clicks if is_click else clicks[:, :0],
        labels=torch.full((len(rows), int(is_click)), FOREGROUND),
        boxes=None if is_click else _stack([row.box for row in rows]),
        exists=torch.tensor([row.exists for row in rows]),
    )


def _stack(values: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(values))


def _area(corner: tuple[int, int], window: int, stride: int) -> tuple[slice, slice]:
    """The window's pixels."""
    rows, columns = (slice(first * stride, (first + window) * stride) for first in corner)
    return rows, columns


def _window(rng: np.random.Generator, box: np.ndarray, window: int, side: int, stride: int) -> tuple[int, int]:
    """Upper left (y, x) of a window that holds the box (x0, y0, x1, y1), with the box anywhere inside it."""
    corner = []
    for low, high in ((box[1], box[3]), (box[0], box[2])):
        low, high = int(low // stride) - 1, int(high // stride) + 2
        first, last = min(high - window, low), max(high - window, low)
        corner.append(int(np.clip(rng.integers(first, last + 1), 0, side - window)))
    return corner[0], corner[1]
