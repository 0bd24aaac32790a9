"""The training loop: a generator that yields what a progress bar, a log or a window wants to know."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import logging
import math
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from micro_sam.errors import InputError, ModelError
from micro_sam.io.atomic import remove
from micro_sam.io.marks import csv_header
from micro_sam.io.results import write_result
from micro_sam.models.build import build_model
from micro_sam.models.checkpoints import save_checkpoint
from micro_sam.models.device import get_device, resolve_precision
from micro_sam.models.modules.unetr_decoder import UNETRDecoder
from micro_sam.models.predictor import Predictor
from micro_sam.models.sam import Sam
from micro_sam.segmentation.prompted.close_ups import SHARE
from micro_sam.training import data
from micro_sam.training.ahead import Pass, Steps, iter_passes
from micro_sam.training.batches import PromptSettings
from micro_sam.training.card import describe, make_card
from micro_sam.training.config import UNIMPORTANT, TrainConfig
from micro_sam.training.crops import CropSettings, TrainingImage
from micro_sam.training.lora import merge_adapters
from micro_sam.training.model import choose_parameters, make_model, set_mode
from micro_sam.training.objective import Objective, ObjectiveSettings
from micro_sam.training.outputs import check_outputs
from micro_sam.training.packed import read_images
from micro_sam.training.schedule import Pace, is_out_of_memory, learning_rate, with_rate
from micro_sam.training.state import TrainState, load_state, save_state
from micro_sam.training.validation import measure, score
from micro_sam.training.windows import Encoder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """What has been done.

    Attributes
    ----------
    step, steps : int
        Optimiser steps done, and in all.
    loss : float
        Of this step.
    figures : dict[str, float]
        Parts of the loss and IoUs of this step.
    seconds_left : float
        Estimate, from the speed so far.
    validation : dict[str, float] | None
        Figures of a validation, when one followed this step.
    """

    step: int
    steps: int
    loss: float
    figures: dict[str, float] = field(default_factory=dict)
    seconds_left: float = math.nan
    validation: dict[str, float] | None = None


class Trainer:
    """A training run. Everything that can be wrong with settings and data is said when it is made.

    Parameters
    ----------
    config : TrainConfig
    overwrite : bool
        Replace an existing result, and begin anew instead of going on with an interrupted training.

    Raises
    ------
    InputError, ModelError
        One sentence on what cannot be used.
    """

    def __init__(self, config: TrainConfig, overwrite: bool = False) -> None:
        self.config = config
        self.output = Path(config.output)
        self.state_path = self.output.with_suffix(".state.pt")
        self.log_path = self.output.with_suffix(".log.csv")
        self.card_path = self.output.with_suffix(".md")
        kinds = {self.output: "weights", self.card_path: "weights", self.state_path: "training", self.log_path: "table"}
        check_outputs(kinds, config, overwrite)
        self.device = get_device(config.device)
        self.precision = resolve_precision(config.precision, self.device)
        self.images, self.validation_images = self._read()
        self.weights = data.sampling_weights(self.images, config)
        self.model = make_model(config, self.device)
        self.config = config = with_rate(config, self.model.architecture)
        self.parameters = choose_parameters(self.model, config)
        self.encoder = Encoder(self.model, keep=config.trainable == "decoder" and bool(config.pool))
        self.state = load_state(self.state_path, self._settings()) or TrainState(self._settings())
        self.state.chunk = self.state.chunk or config.batch_size
        self.state.objects = self.state.objects or config.objects
        self.objective = Objective(self.model, self._objective_settings(), self.encoder)
        self.steps = Steps(
            config, self.images, self.weights, self._crop_settings(), self._prompt_settings(), self.state.chunk
        )
        self._ahead: Iterator[list[Pass]] = iter(())

    def run(self) -> Generator[Progress, None, None]:
        """Trains to the end, from where an interrupted training with the same settings stopped, and writes the result.

        Closing the generator stops the training; its state is kept, and the next one goes on from there.
        """
        config, state = self.config, self.state
        optimizer = self._optimizer()
        scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16" and self.device.type != "mps")
        self._restore(optimizer, scaler)
        self._open_log()
        if state.step == 0 and not state.history:
            state.history.append({"step": 0, **self._validate(self._weights())})
            yield Progress(0, config.steps, math.nan, validation=state.history[0])
        self._ahead = iter_passes(self.steps, state.step, self.device)
        saved = time.monotonic()
        pace = Pace(self._done())
        try:
            while self._done() < 1 and not self._finished():
                began = time.monotonic()
                loss, figures = self._step(optimizer, scaler)
                state.step += 1
                state.seconds += time.monotonic() - began
                validation = None
                if state.step % config.validation_interval == 0 or self._done() >= 1:
                    validation = {"step": state.step, **self._validate(state.average)}
                    if self._is_best(validation):
                        state.best = {name: value.clone() for name, value in state.average.items()}
                    state.history.append(validation)
                self._log(loss, figures, validation)
                if time.monotonic() - saved > config.save_every or validation is not None:
                    self._save(optimizer, scaler)
                    saved = time.monotonic()
                yield Progress(state.step, config.steps, loss, figures, pace.left(self._done()), validation)
        except GeneratorExit:
            self._save(optimizer, scaler)
            raise
        self._write_result()

    # ------------------------------------------------------------------------------------------------ steps

    def _step(self, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler) -> tuple[float, dict[str, float]]:
        """One optimiser step; repeated with half the crops per pass when the memory does not suffice."""
        passes = next(self._ahead)
        while True:
            try:
                return self._try_step(passes, optimizer, scaler)
            except RuntimeError as error:  # torch.OutOfMemoryError is one; the CPU's allocator raises a plain one
                if not is_out_of_memory(error):
                    raise
                self._take_less()
            optimizer.zero_grad(set_to_none=True)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            self.steps = dataclasses.replace(self.steps, chunk=self.state.chunk, prompts=self._prompt_settings())
            self._ahead = iter_passes(self.steps, self.state.step, self.device)
            passes = next(self._ahead)

    def _try_step(
        self, passes: Sequence[Pass], optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler
    ) -> tuple[float, dict[str, float]]:
        config, state = self.config, self.state
        set_mode(self.model, config)
        rate = learning_rate(state.step, self._done(), config)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        wanted, done, total = sum(len(each.batch) for each in passes), 0, 0.0
        sums: dict[str, list[Tensor]] = {}
        for each in passes:
            count = len(each.batch)
            with self._autocast():
                rng = np.random.default_rng((config.seed, 7, state.step, done))
                loss, figures = self.objective(rng, each.batch.to(self.device, non_blocking=True), each.keys)
            if loss.requires_grad and torch.isfinite(loss):
                scaler.scale(loss * (count / wanted)).backward()
            total += loss.item() * count / wanted
            for name, value in figures.items():
                sums.setdefault(name, []).append(value)
            done += count
        scaler.unscale_(optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, 3.0)
        if scaler.is_enabled():
            scaler.step(optimizer)  # leaves out a step whose gradients are not finite
            scaler.update()
        elif torch.isfinite(norm):
            optimizer.step()
        self._average()
        means = torch.stack([torch.stack(values).mean() for values in sums.values()]).tolist() if sums else []
        return total, dict(zip(sums, means, strict=True))

    def _average(self) -> None:
        """Follows the weights with a running average, faster in the beginning."""
        step, average = self.state.step, self.state.average
        decay = min(self.config.average, (1 + step) / (10 + step)) if self.config.average else 0.0
        weights = self._weights()
        followed = [name for name, value in weights.items() if name in average and value.is_floating_point()]
        if followed:  # at once: a GPU is slow to be told of each by itself
            follow = get_ema_multi_avg_fn(decay)
            follow([average[name] for name in followed], [weights[name] for name in followed], 0)
        for name in weights.keys() - set(followed):
            average[name] = weights[name].clone()

    def _take_less(self) -> None:
        state = self.state
        if state.chunk > 1:
            state.chunk //= 2
            logger.warning("The memory does not suffice; going on with %d crops per pass", state.chunk)
        elif state.objects > 2:
            state.objects //= 2
            logger.warning("The memory does not suffice; going on with %d objects per crop", state.objects)
        else:
            raise ModelError(
                f"The model {self.config.model} does not fit into the memory of {self.device} for training, not even "
                "with one crop. Train its decoder only, or a smaller model (vit_b, vit_t, nano_lm)."
            )

    # ------------------------------------------------------------------------------------------------ parts

    def _read(self) -> tuple[list[TrainingImage], list[TrainingImage]]:
        config = self.config
        if not config.train:
            raise InputError("There is nothing to learn from: give images and their label images.")
        images, held_back = read_images(config)
        held_back = data.thin(held_back, config.validation_images)
        data.check_channels([*images, *held_back])
        return images, held_back

    def _crop_settings(self) -> list[CropSettings]:
        """One per size of crops."""
        frame, stride = self.model.image_size, self.model.image_size // self.model.grid_size
        whole = self.model.architecture != "nano"  # transformers read whole frames only
        sizes = [frame if whole else min(side or frame, frame) for side in self.config.crop_sizes]
        config = self.config
        # objects that are smaller in the frame are looked at closer in use (``segmentation.prompted.close_ups``)
        smallest = 20.0 if self.model.close_up else 12.0
        close_up = 0.8 * SHARE * (self.model.close_up or 0)  # SHARE counts the longer side
        return [
            CropSettings(
                size=size,
                frame=frame,
                step=stride,
                natural=config.natural,
                close_up=close_up,
                enlarged=config.enlarged,
                diameters=(smallest, size / 2),
                augment=config.augment,
                vary=config.vary,
            )
            for size in sizes
        ]

    def _prompt_settings(self) -> PromptSettings:
        model, grid = self.model, self.model.grid_size
        windows = (16, 32) if model.architecture == "nano" else (grid,)
        stride = model.image_size // grid
        step = stride // (model.dense_head.scale if model.dense_head is not None else 4)
        return PromptSettings(objects=self.state.objects, windows=windows, stride=stride, dense_step=step)

    def _objective_settings(self) -> ObjectiveSettings:
        dense = 0.0 if self.config.dense_head == "off" else 1.0
        return ObjectiveSettings(dense=dense, balance=1.0 if self.config.from_scratch else 0.1)

    def _optimizer(self) -> torch.optim.Optimizer:
        config = self.config
        matrices = [p for p in self.parameters if p.ndim > 1]
        others = [p for p in self.parameters if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
        return torch.optim.AdamW(
            [g for g in groups if g["params"]], lr=config.learning_rate, betas=(0.9, 0.98), fused=True
        )

    def _autocast(self) -> AbstractContextManager[object]:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16 if self.precision == "bf16" else torch.float16)

    def _weights(self) -> dict[str, Tensor]:
        return {name: value.detach() for name, value in self.model.state_dict().items()}

    # ------------------------------------------------------------------------------------------------ validation

    def merged(self, weights: dict[str, Tensor]) -> Sam:
        """An independent model with these weights, in evaluation mode, its adapters merged."""
        config = self.config.model_copy(
            update={"checkpoint": None, "from_scratch": True, "model": self.model.architecture}
        )
        model = _empty_twin(self.model)
        choose_parameters(model, config)  # the adapters' names
        model.load_state_dict(weights)
        merge_adapters(model)
        return model.to(self.device).eval().requires_grad_(False)

    def _validate(self, weights: dict[str, Tensor]) -> dict[str, float]:
        predictor = Predictor(self.merged(weights), "training", precision=self.precision)
        return measure(predictor, self.validation_images, self.config.validation_objects)

    def _done(self) -> float:
        """The share of the training that is done: of its steps, or of its time if that is more."""
        config, state = self.config, self.state
        timed = state.seconds / (60 * config.minutes) if config.minutes else 0.0
        return max(state.step / config.steps, timed)

    def _is_best(self, figures: dict[str, float]) -> bool:
        now, before = score(figures), [score(f) for f in self.state.history if f["step"] > 0]
        return math.isnan(now) or all(now > then or math.isnan(then) for then in before)

    def _finished(self) -> bool:
        """Early stopping: no better for ``patience`` validations."""
        scores = [score(f) for f in self.state.history if f["step"] > 0]
        if not self.config.patience or not scores or np.isnan(scores).any():
            return False
        return len(scores) - 1 - int(np.argmax(scores)) >= self.config.patience

    # ------------------------------------------------------------------------------------------------ files

    def _settings(self) -> str:
        """Settings and data in words, by which a state knows its training. Where it is written does not matter."""
        settings = self.config.to_dict() | {"device": str(self.device.type), "precision": self.precision}
        for name in UNIMPORTANT:
            settings.pop(name)
        digest = hashlib.sha256()
        for image in (*self.images, *self.validation_images):
            digest.update(f"{image.name}{image.labels.shape}{image.areas.tolist()}{int(image.image.sum())}".encode())
        return json.dumps(settings | {"data": digest.hexdigest()}, sort_keys=True)

    def _save(self, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler) -> None:
        self.state.model = self._weights()
        self.state.optimizer, self.state.scaler = optimizer.state_dict(), scaler.state_dict()
        save_state(self.state_path, self.state)

    def _restore(self, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler) -> None:
        state = self.state
        if not state.model:
            return
        self.model.load_state_dict(state.model)
        optimizer.load_state_dict(state.optimizer)
        scaler.load_state_dict(state.scaler)
        state.average = {name: value.to(self.device) for name, value in state.average.items()}
        logger.info("Going on from step %d of %d", state.step, self.config.steps)

    def _open_log(self) -> None:
        """The log keeps the rows up to the state that the training goes on from."""
        rows = []
        if self.state.step and self.log_path.exists():
            with open(self.log_path, newline="") as file:
                rows = [row for row in csv.reader(file) if row and row[0].isdigit() and int(row[0]) <= self.state.step]
        with write_result(self.log_path, "table") as (place,), open(place, "w", newline="") as file:
            file.write(f"{csv_header(('step', 'name', 'value'), 'table')}\r\n")
            csv.writer(file).writerows(rows)

    def _log(self, loss: float, figures: dict[str, float], validation: dict[str, float] | None) -> None:
        rows = {"loss": loss, **figures}
        rows |= {f"validation {name}": value for name, value in (validation or {}).items() if name != "step"}
        with open(self.log_path, "a", newline="") as file:  # a log grows; a cut line is left out when it is read
            csv.writer(file).writerows([self.state.step, name, f"{value:.6g}"] for name, value in rows.items())

    def _write_result(self) -> None:
        weights = self.state.best or self.state.average or self._weights()
        model = self.merged(weights)
        known: dict[str, Any] = describe(self.config, self.images, self.validation_images, self.state.history)
        card = make_card(self.output, known).encode()
        save_checkpoint(self.output, model, known, half=True, parts={self.card_path: card})
        remove(self.state_path)


def _empty_twin(model: Sam) -> Sam:
    """A model of the same architecture whose weights are to be loaded."""
    head = None
    if model.dense_head is not None and model.dense_kind == "distances":
        head = UNETRDecoder.for_state(model.dense_head.state_dict())
    twin = build_model(model.architecture, head)
    if model.dense_head is None:
        twin.dense_head = None
    return twin
