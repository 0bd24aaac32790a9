"""The crops of every step of a training: which they are, and drawing them ahead in other processes.

On a GPU the network is so fast that it waits for its crops; there a few processes draw those of the next steps. Every
crop has a random stream of its own, so the training is the same however many processes draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from micro_sam.training.config import TrainConfig
from micro_sam.training.crops import Crop, CropSettings, TrainingImage, draw_crop

STEPS_AHEAD = 4  # per process


@dataclass(frozen=True, eq=False)
class StepCrops(torch.utils.data.Dataset[list[Crop]]):
    """Item n: all crops of step n.

    Attributes
    ----------
    config : TrainConfig
    images : sequence of TrainingImage
    weights : numpy.ndarray
        Chance of every image.
    settings : sequence of CropSettings
        One per size of crops; each step takes one at random.
    """

    config: TrainConfig
    images: Sequence[TrainingImage]
    weights: np.ndarray
    settings: Sequence[CropSettings]

    def choose(self, step: int) -> tuple[CropSettings, float]:
        """How a step's crops are drawn, and their area relative to the first size's."""
        rng = np.random.default_rng((self.config.seed, 6, step))
        chosen = self.settings[int(rng.integers(len(self.settings)))]
        return chosen, (chosen.size / self.settings[0].size) ** 2

    def count(self, step: int) -> int:
        """How many crops a step has."""
        return max(1, round(self.config.batch_size * self.config.accumulate / self.choose(step)[1]))

    def key(self, step: int, number: int) -> int | None:
        """The place in the pool of a crop that may come again; None without a pool."""
        if not self.config.pool:
            return None
        return int(np.random.default_rng((self.config.seed, 4, step, number)).integers(self.config.pool))

    def draw(self, step: int, number: int) -> Crop:
        """Crop ``number`` of a step."""
        seed, key = self.config.seed, self.key(step, number)
        rng = np.random.default_rng((seed, 4, step, number) if key is None else (seed, 5, key))
        image = self.images[rng.choice(len(self.images), p=self.weights)]
        return draw_crop(rng, image, self.choose(step)[0])

    def __getitem__(self, step: int) -> list[Crop]:
        """All crops of a step."""
        return [self.draw(step, number) for number in range(self.count(step))]


def iter_ahead(crops: StepCrops, first: int) -> Iterator[list[Crop]]:
    """The crops of step ``first`` and those after it, drawn by ``config.workers`` processes."""
    return iter(
        torch.utils.data.DataLoader(
            crops,
            sampler=range(first, crops.config.steps),
            batch_size=None,
            num_workers=crops.config.workers,
            prefetch_factor=STEPS_AHEAD,
            worker_init_fn=_one_thread,
        )
    )


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)  # the processes are many enough
