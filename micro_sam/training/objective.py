"""One training step's loss: crops -> features and dense maps -> prompts, masks, corrections.

A user is simulated as in SAM's training: a click or a box, then clicks on the largest error with the previous mask as
a prompt. The mask decoder works on small windows of the features around each object: a prompt then costs a sixteenth
of what it costs in the full frame, and all prompts of all crops go through the decoder in one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from micro_sam.models.modules.prompt_encoder import BACKGROUND, FOREGROUND
from micro_sam.models.sam import Sam
from micro_sam.training import losses, prompts
from micro_sam.training.crops import Crop
from micro_sam.training.targets import dense_targets
from micro_sam.training.windows import Encoder, cut, decode_all, dense_maps


@dataclass(frozen=True)
class ObjectiveSettings:
    """What is asked of the model in one step.

    Attributes
    ----------
    objects : int
        Objects prompted per crop, half of them by a click, half by a box.
    rounds : tuple[int, int]
        Fewest and most prompts per object: the first one and its corrections.
    windows : tuple[int, ...]
        Side lengths of the decoder's windows, in feature positions; each step takes one at random.
    previous_mask : float
        Share of corrections that come with the previous mask as a prompt.
    dense, quality, balance : float
        Weights of the dense head's loss, of the predicted IoU's squared error, and of balanced cross entropy.
    """

    objects: int = 6
    rounds: tuple[int, int] = (2, 3)
    windows: tuple[int, ...] = (16, 32)
    previous_mask: float = 0.75
    dense: float = 1.0
    quality: float = 2.0
    balance: float = 0.1


@dataclass
class Request:
    """Everything about P prompted objects; coordinates in crop pixels, windows in feature positions."""

    crop: np.ndarray  # (P,) index of the crop
    corner: np.ndarray  # (P, 2) upper left (y, x) of the window in the crop's feature grid
    target: Tensor  # (P, 4 w, 4 w) share of each mask position covered by the object
    valid: Tensor  # (P, 4 w, 4 w) 1 where the image is
    points: Tensor  # (P, n, 2) (x, y)
    labels: Tensor  # (P, n)
    boxes: Tensor | None  # (P, 4) (x0, y0, x1, y1)
    exists: Tensor  # (P,) False for a click on the background


class Objective:
    """Callable: crops -> (loss, figures of the step).

    Parameters
    ----------
    model : Sam
    settings : ObjectiveSettings
    encoder : Encoder | None
        Encodes the crops; by default with the model, every time.
    """

    def __init__(self, model: Sam, settings: ObjectiveSettings, encoder: Encoder | None = None) -> None:
        self.model, self.settings = model, settings
        self.encoder = encoder or Encoder(model)
        self.stride = model.image_size // model.grid_size
        self.cell = self.stride // 4  # pixels per mask position

    def __call__(
        self, rng: np.random.Generator, crops: Sequence[Crop], keys: Sequence[int] | None = None
    ) -> tuple[Tensor, dict[str, float]]:
        """Loss of a step; ``keys`` name crops that may come again, for the encoder's memory."""
        encoded = self.encoder(crops, keys)
        dense, features, centres = dense_maps(self.model, encoded), encoded.features, encoded.centres

        figures: dict[str, float] = {}
        loss = features.new_zeros(())
        if dense is not None and self.settings.dense:
            part = self._dense_loss(crops, dense.float(), None if centres is None else centres.float())
            figures["dense"] = part.item()
            loss = loss + self.settings.dense * part
        for kind in ("click", "box"):
            request = self._draw(rng, crops, kind)
            if request is not None:
                part, more = self._prompted_loss(rng, crops, features, request, kind)
                figures |= {"loss_" + kind: part.item(), **more}
                loss = loss + part
        return loss, figures

    # ------------------------------------------------------------------------------------------------ dense

    def _dense_loss(self, crops: Sequence[Crop], maps: Tensor, centres: Tensor | None) -> Tensor:
        step = crops[0].labels.shape[0] // maps.shape[-1]
        targets = [dense_targets(c.labels, step) for c in crops]
        device = maps.device

        def stack(name: str) -> Tensor:
            return torch.from_numpy(np.stack([getattr(t, name) for t in targets])).to(device)

        foreground = (stack("labels") > 0).float()
        offset, radius = stack("offset"), stack("radius")
        valid = torch.from_numpy(np.stack([c.valid[step // 2 :: step, step // 2 :: step] for c in crops])).to(device)
        complete = torch.tensor([c.complete for c in crops], device=device)[:, None, None]
        taught = torch.where(complete, 1.0, foreground).expand_as(foreground)
        taught = taught * torch.where(valid, 1.0, 0.2)  # the padding is background, but not much to learn from
        function = losses.offsets_loss if self.model.dense_kind == "offsets" else losses.distances_loss
        loss = function(maps, foreground, stack("distance"), offset / radius[:, None], taught)
        if centres is not None:
            every = self.stride // step
            at = (..., slice(every // 2, None, every), slice(every // 2, None, every))
            error = (centres * self.stride - (offset[at] + step / 2)) / radius[:, None][at]
            error = F.smooth_l1_loss(error, torch.zeros_like(error), beta=0.3, reduction="none").sum(1)
            loss = loss + (error * foreground[at]).sum() / foreground[at].sum().clamp(min=1)
        return loss

    # ------------------------------------------------------------------------------------------------ prompts

    def _draw(self, rng: np.random.Generator, crops: Sequence[Crop], kind: str) -> Request | None:
        """Chooses objects (and, for clicks, a little background) and their first prompts."""
        side = crops[0].labels.shape[0] // self.stride
        window = min(int(rng.choice(self.settings.windows)), side)
        # a large window costs as much as many small ones
        share = (min(self.settings.windows) / window) ** 2
        wanted = max(1, round(self.settings.objects * share / 2))
        rows: list[tuple[Any, ...]] = []
        for index, crop in enumerate(crops):
            for label in prompts.draw_targets(rng, crop.labels, wanted):
                mask = crop.labels == label
                box = prompts.jittered_box(rng, mask)
                click = prompts.first_click(rng, mask)
                corner = self._window(rng, box if kind == "box" else np.tile(click, 2), window, side)
                seen = np.zeros_like(mask)
                area = tuple(slice(c * self.stride, (c + window) * self.stride) for c in corner)
                seen[area] = mask[area]
                if kind == "box" and seen.sum() < 0.9 * mask.sum():  # does not fit: a box needs the whole object
                    if window < side:
                        continue
                side_px = window * self.stride // self.cell
                covered = seen[area].reshape(side_px, self.cell, side_px, self.cell).mean((1, 3))
                if not (covered > 0.5).any():  # too small or too much cut off to be a mask
                    continue
                rows.append((index, corner, seen[area], crop.valid[area], click, box, True))
            if kind == "click" and crop.complete and rng.random() < 0.15 * wanted:
                beside = prompts.background_click(rng, crop.labels, crop.valid)
                if beside is not None:
                    corner = self._window(rng, np.tile(beside, 2), window, side)
                    area = tuple(slice(c * self.stride, (c + window) * self.stride) for c in corner)
                    nothing = np.zeros((window * self.stride,) * 2, bool)
                    rows.append((index, corner, nothing, crop.valid[area], beside, beside, False))
        if not rows:
            return None
        index_of, corners, targets, valids, drawn, boxes, exists = zip(*rows, strict=True)
        device = self.model.device
        target, valid = (
            F.avg_pool2d(torch.from_numpy(np.stack(x)).float()[:, None], self.cell)[:, 0] for x in (targets, valids)
        )
        clicks = torch.from_numpy(np.stack(drawn))[:, None]
        return Request(
            crop=np.array(index_of),
            corner=np.array(corners),
            target=target.to(device),
            valid=(valid > 0.5).float().to(device),
            points=(clicks if kind == "click" else clicks[:, :0]).to(device),
            labels=torch.full((len(rows), 1 if kind == "click" else 0), FOREGROUND, device=device),
            boxes=torch.from_numpy(np.stack(boxes)).to(device) if kind == "box" else None,
            exists=torch.tensor(exists, device=device),
        )

    def _window(self, rng: np.random.Generator, box: np.ndarray, window: int, side: int) -> tuple[int, int]:
        """Upper left (y, x) of a window that holds the box (x0, y0, x1, y1), with the box anywhere inside it."""
        corner = []
        for low, high in ((box[1], box[3]), (box[0], box[2])):
            low, high = int(low // self.stride) - 1, int(high // self.stride) + 2
            first, last = min(high - window, low), max(high - window, low)
            corner.append(int(np.clip(rng.integers(first, last + 1), 0, side - window)))
        return corner[0], corner[1]

    def _prompted_loss(
        self, rng: np.random.Generator, crops: Sequence[Crop], features: Tensor, request: Request, kind: str
    ) -> tuple[Tensor, dict[str, float]]:
        decoder, encoder = self.model.mask_decoder, self.model.prompt_encoder
        window = request.target.shape[-1] // 4
        shift = torch.tensor(
            np.array([crops[i].origin[::-1] for i in request.crop]), dtype=torch.float32, device=features.device
        )
        image = cut(features, request.crop, request.corner, window)
        grid_corner = request.corner + np.array([crops[i].origin for i in request.crop]) // self.stride
        position = encoder.get_dense_pe().expand(1, -1, -1, -1)
        position = cut(position, np.zeros(len(request.crop), int), grid_corner, window)
        no_mask = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(len(image), -1, window, window)

        total, figures, previous = features.new_zeros(()), {}, None
        rounds = int(rng.integers(self.settings.rounds[0], self.settings.rounds[1] + 1))
        real = request.exists.float()
        for turn in range(rounds):
            points = (request.points + shift[:, None], request.labels) if request.points.shape[1] else None
            boxes = None if request.boxes is None else request.boxes + shift.repeat(1, 2)
            sparse = encoder.embed_sparse(points, boxes)
            assert sparse is not None  # a click or a box
            extra = no_mask
            if previous is not None:
                keep = torch.from_numpy(rng.random(len(image)) < self.settings.previous_mask).to(image.device)
                extra = torch.where(keep[:, None, None, None], encoder.mask_downscaling(previous[:, None]), no_mask)
            ambiguous = turn == 0 and kind == "click"
            logits, quality = decode_all(decoder, image, position, sparse, extra, several=ambiguous)
            logits, quality = logits.float(), quality.float()
            each = losses.mask_loss(logits, request.target, request.valid, self.settings.balance) * real[:, None]
            iou = losses.mask_iou(logits, request.target, request.valid) * real[:, None]
            count = real.sum().clamp(min=1)
            if ambiguous:
                # the best of three learns most; the others a little, so that choosing among them costs less
                best = each[:, 1:].min(1).values + 0.25 * each[:, 1:].mean(1) + 0.5 * each[:, 0]
                part = best.sum() / count / 1.75
            else:
                part = each.sum() / count
            part = part + self.settings.quality * (quality - iou).square().mean()
            total = total + part / rounds
            rows = torch.arange(len(image), device=image.device)
            chosen = quality[:, 1:].argmax(1) + 1 if ambiguous else torch.zeros_like(rows)
            figures[f"iou_{kind}{turn}"] = (iou[rows, chosen].sum() / count).item()
            if turn + 1 < rounds:
                previous = logits[rows, chosen].detach()
                request = self._correct(rng, request, previous)
        return total, figures

    def _correct(self, rng: np.random.Generator, request: Request, previous: Tensor) -> Request:
        """The request with one more click per object, on the largest error of the previous mask."""
        predicted, target = (previous > 0).cpu().numpy(), (request.target > 0.5).cpu().numpy()
        valid = request.valid.cpu().numpy() > 0
        clicks, labels = [], []
        for i in range(len(predicted)):
            if target[i].any():
                click, label = prompts.correction(rng, predicted[i], target[i], valid[i])
                click = (click + 0.5) * self.cell - 0.5 + request.corner[i][::-1] * self.stride
            else:  # background stays background: the same click, taken back
                click, label = request.points[i, 0].cpu().numpy(), BACKGROUND
            clicks.append(click.astype(np.float32))
            labels.append(label)
        points = torch.from_numpy(np.stack(clicks))[:, None].to(request.points.device)
        kinds = torch.tensor(labels, device=points.device)[:, None]
        fields = vars(request) | {
            "points": torch.cat([request.points, points], 1),
            "labels": torch.cat([request.labels, kinds], 1),
        }
        return Request(**fields)
