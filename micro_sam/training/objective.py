"""One training step's loss: crops -> features and dense maps -> prompts, masks, corrections.

A user is simulated as in SAM's training: a click or a box, then clicks on the largest error with the previous mask as
a prompt. The mask decoder works on small windows of the features around each object: a prompt then costs a sixteenth
of what it costs in the full frame, and all prompts of all crops go through the decoder in one batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from micro_sam.models.modules.prompt_encoder import BACKGROUND
from micro_sam.models.sam import Sam
from micro_sam.training import losses
from micro_sam.training.batches import Batch, Prompted
from micro_sam.training.corrections import correct
from micro_sam.training.windows import Encoder, cut, decode_all, dense_maps


@dataclass(frozen=True)
class ObjectiveSettings:
    """What is asked of the model in one step.

    Attributes
    ----------
    rounds : tuple[int, int]
        Fewest and most prompts per object: the first one and its corrections.
    previous_mask : float
        Share of corrections that come with the previous mask as a prompt.
    dense, quality, balance : float
        Weights of the dense head's loss, of the predicted IoU's squared error, and of balanced cross entropy.
    """

    rounds: tuple[int, int] = (2, 3)
    previous_mask: float = 0.75
    dense: float = 1.0
    quality: float = 2.0
    balance: float = 0.1


class Objective:
    """Callable: batch -> (loss, figures of the step).

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
        self, rng: np.random.Generator, batch: Batch, keys: Sequence[int] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a pass; ``keys`` name crops that may come again, for the encoder's memory.

        The figures stay on the device: asking a GPU for a number makes it wait.
        """
        encoded = self.encoder(batch, keys)
        dense, features, centres = dense_maps(self.model, encoded), encoded.features, encoded.centres

        figures: dict[str, Tensor] = {}
        loss = features.new_zeros(())
        if dense is not None and self.settings.dense:
            part = self._dense_loss(batch, dense.float(), None if centres is None else centres.float())
            figures["dense"] = part.detach()
            loss = loss + self.settings.dense * part
        for kind, prompted in batch.prompted.items():
            part, more = self._prompted_loss(rng, batch, features, prompted, kind)
            figures |= {"loss_" + kind: part.detach(), **more}
            loss = loss + part
        return loss, figures

    def _dense_loss(self, batch: Batch, maps: Tensor, centres: Tensor | None) -> Tensor:
        step = batch.pixels.shape[-1] // maps.shape[-1]
        foreground, offset, radius = batch.foreground, batch.offset, batch.radius
        valid = batch.valid[:, step // 2 :: step, step // 2 :: step]
        taught = torch.where(batch.complete[:, None, None], 1.0, foreground)
        taught = taught * torch.where(valid, 1.0, 0.2)  # the padding is background, but not much to learn from
        function = losses.offsets_loss if self.model.dense_kind == "offsets" else losses.distances_loss
        loss = function(maps, foreground, batch.distance, offset / radius[:, None], taught)
        if centres is not None:
            every = self.stride // step
            at = (..., slice(every // 2, None, every), slice(every // 2, None, every))
            error = (centres * self.stride - (offset[at] + step / 2)) / radius[:, None][at]
            error = F.smooth_l1_loss(error, torch.zeros_like(error), beta=0.3, reduction="none").sum(1)
            loss = loss + (error * foreground[at]).sum() / foreground[at].sum().clamp(min=1)
        return loss

    def _prompted_loss(
        self, rng: np.random.Generator, batch: Batch, features: Tensor, prompted: Prompted, kind: str
    ) -> tuple[Tensor, dict[str, Tensor]]:
        decoder, encoder = self.model.mask_decoder, self.model.prompt_encoder
        window = prompted.target.shape[-1] // 4
        origin = batch.origin[prompted.crop]
        shift = origin.flip(1).to(features.device, torch.float32)
        image = cut(features, prompted.crop, prompted.corner, window)
        position = encoder.get_dense_pe().expand(1, -1, -1, -1)
        first = torch.zeros_like(prompted.crop)
        position = cut(position, first, prompted.corner + origin // self.stride, window)
        no_mask = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(len(image), -1, window, window)

        total, figures, previous = features.new_zeros(()), {}, None
        rounds = int(rng.integers(self.settings.rounds[0], self.settings.rounds[1] + 1))
        generator = torch.Generator(features.device).manual_seed(int(rng.integers(2**62)))
        real = prompted.exists.float()
        for turn in range(rounds):
            points = (prompted.points + shift[:, None], prompted.labels) if prompted.points.shape[1] else None
            boxes = None if prompted.boxes is None else prompted.boxes + shift.repeat(1, 2)
            sparse = encoder.embed_sparse(points, boxes)
            assert sparse is not None  # a click or a box
            extra = no_mask
            if previous is not None:
                keep = torch.rand(len(image), generator=generator, device=image.device) < self.settings.previous_mask
                extra = torch.where(keep[:, None, None, None], encoder.mask_downscaling(previous[:, None]), no_mask)
            ambiguous = turn == 0 and kind == "click"
            logits, quality = decode_all(decoder, image, position, sparse, extra, several=ambiguous)
            logits, quality = logits.float(), quality.float()
            each = losses.mask_loss(logits, prompted.target, prompted.valid, self.settings.balance) * real[:, None]
            iou = losses.mask_iou(logits, prompted.target, prompted.valid) * real[:, None]
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
            selected = quality[:, 1:].argmax(1) + 1 if ambiguous else torch.zeros_like(rows)
            figures[f"iou_{kind}{turn}"] = iou[rows, selected].sum() / count
            if turn + 1 < rounds:
                previous = logits[rows, selected].detach()
                prompted = self._correct(prompted, previous, generator)
        return total, figures

    def _correct(self, prompted: Prompted, previous: Tensor, generator: torch.Generator) -> Prompted:
        """The objects with one more click each, on the largest error of the previous mask."""
        place, label = correct(previous > 0, prompted.target > 0.5, prompted.valid > 0, generator)
        place = (place + 0.5) * self.cell - 0.5 + prompted.corner.flip(1) * self.stride
        if prompted.points.shape[1]:  # background stays background: the same click, taken back
            place = torch.where(prompted.exists[:, None], place, prompted.points[:, 0])
            label = torch.where(prompted.exists, label, BACKGROUND)
        return dataclasses.replace(
            prompted,
            points=torch.cat([prompted.points, place[:, None]], 1),
            labels=torch.cat([prompted.labels, label[:, None]], 1),
        )
