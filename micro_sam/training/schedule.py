"""How fast a training learns, how long it will take, and when the memory does not suffice."""

from __future__ import annotations

import math
import time

import torch

from micro_sam.training.config import TrainConfig


class Pace:
    """Estimates the time left; ``done`` is the share of the training that was done before."""

    def __init__(self, done: float) -> None:
        self.start, self.first = time.monotonic(), done

    def left(self, done: float) -> float:
        """Seconds left when this share of the training is done."""
        return (time.monotonic() - self.start) / max(done - self.first, 1e-9) * max(1 - done, 0)


RATES = {"nano": 5e-4}  # of architectures that were measured; fine-tuning of SAM's transformers uses less
OTHER_RATE = 5e-5


def with_rate(config: TrainConfig, architecture: str) -> TrainConfig:
    """The settings with a learning rate; one that is not given is chosen by the architecture."""
    if config.learning_rate:
        return config
    return config.model_copy(update={"learning_rate": RATES.get(architecture, OTHER_RATE)})


def learning_rate(step: int, done: float, config: TrainConfig) -> float:
    """Rises over the steps of the warm-up, then falls to 2 % along a half cosine over the share that is ``done``."""
    rising = min(1.0, (step + 1) / max(config.warmup, 1))
    fall = 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return config.learning_rate * rising * max(fall, 0.02)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that the memory of the GPU or of the machine does not suffice."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text
