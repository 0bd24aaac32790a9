"""How fast a training learns, how long it will take, and when the memory does not suffice."""

from __future__ import annotations

import dataclasses
import math
import time

import torch

from micro_sam.training.config import TrainConfig


class Pace:
    """Estimates the time left from the steps of this training."""

    def __init__(self, steps: int) -> None:
        self.start, self.steps = time.monotonic(), steps
        self.first: int | None = None

    def left(self, step: int) -> float:
        """Seconds left after ``step``."""
        if self.first is None:
            self.first = step - 1
        done = step - self.first
        return (time.monotonic() - self.start) / done * max(self.steps - done, 0)


RATES = {"nano": 5e-4}  # of architectures that were measured; fine-tuning of SAM's transformers uses less
OTHER_RATE = 5e-5


def with_rate(config: TrainConfig, architecture: str) -> TrainConfig:
    """The settings with a learning rate; one that is not given is chosen by the architecture."""
    if config.learning_rate:
        return config
    return dataclasses.replace(config, learning_rate=RATES.get(architecture, OTHER_RATE))


def learning_rate(step: int, config: TrainConfig) -> float:
    """Rises over the warm-up, then falls to 2 % along a half cosine."""
    rising = min(1.0, (step + 1) / max(config.warmup, 1))
    fall = 0.5 * (1 + math.cos(math.pi * min(step / config.steps, 1.0)))
    return config.learning_rate * rising * max(fall, 0.02)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that the memory of the GPU or of the machine does not suffice."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text
