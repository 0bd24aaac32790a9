"""What the steps of a training learn from, drawn in this process or ahead by others.

A GPU learns from a batch faster than one process can draw it. Each crop has a random stream of its own, so that the
same crops come out wherever they are drawn, and in however many passes a step learns from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from micro_sam.training.batches import Asked, Batch, PromptSettings, ask, collate
from micro_sam.training.config import TrainConfig
from micro_sam.training.crops import Crop, CropSettings, TrainingImage, draw_crop
from micro_sam.training.textured import generated_image

STEPS_AHEAD = 2  # per process


@dataclass(frozen=True, eq=False)
class Pass:
    """What a pass learns from.

    Attributes
    ----------
    batch : Batch
    keys : list[int] | None
        Places in the pool of crops that may come again; None without a pool.
    """

    batch: Batch
    keys: list[int] | None

    def pin_memory(self) -> Pass:
        """The same in memory that a GPU reads directly."""
        return Pass(self.batch.pin_memory(), self.keys)


@dataclass(frozen=True, eq=False)
class Steps(torch.utils.data.Dataset[list[Pass]]):
    """Item n: the passes of step n.

    Attributes
    ----------
    config : TrainConfig
    images : sequence of TrainingImage
    weights : numpy.ndarray
        Chance of every image, and at last that of a generated one.
    settings : sequence of CropSettings
        One per size of crops; each step takes one at random.
    prompts : PromptSettings
        How the objects of crops of the first size are prompted.
    chunk : int
        Crops per pass.
    """

    config: TrainConfig
    images: Sequence[TrainingImage]
    weights: np.ndarray
    settings: Sequence[CropSettings]
    prompts: PromptSettings
    chunk: int
    _pool: dict[int, Crop] = field(default_factory=dict, repr=False)

    def choose(self, step: int) -> tuple[CropSettings, float]:
        """How a step's crops are drawn, and their area relative to the first size's."""
        rng = np.random.default_rng((self.config.seed, 6, step))
        selected = self.settings[int(rng.integers(len(self.settings)))]
        return selected, (selected.size / self.settings[0].size) ** 2

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
        if key is not None and key in self._pool:
            return self._pool[key]
        rng = np.random.default_rng((seed, 4, step, number) if key is None else (seed, 5, key))
        selected = int(rng.choice(len(self.weights), p=self.weights))
        if selected < len(self.images):
            image = self.images[selected]
        else:
            image = generated_image(int(rng.integers(max(self.config.synthetic_images, 1))), seed, self.images)
        crop = draw_crop(rng, image, self.choose(step)[0])
        if key is not None:
            self._pool[key] = crop
        return crop

    def ask(self, step: int, number: int, crop: Crop) -> dict[str, list[Asked]]:
        """What is asked about crop ``number`` of a step, by kind of prompt."""
        settings, share = self.choose(step)
        selected = self.prompts.choose(np.random.default_rng((self.config.seed, 8, step)), settings.size, share)
        rng = np.random.default_rng((self.config.seed, 3, step, number))
        return {kind: ask(rng, crop, kind, window, wanted, self.prompts) for kind, (window, wanted) in selected.items()}

    def __getitem__(self, step: int) -> list[Pass]:
        """The passes of a step."""
        passes = []
        for first in range(0, self.count(step), self.chunk):
            numbers = range(first, min(first + self.chunk, self.count(step)))
            crops = [self.draw(step, number) for number in numbers]
            asked = [self.ask(step, number, crop) for number, crop in zip(numbers, crops, strict=True)]
            keys = [key for number in numbers if (key := self.key(step, number)) is not None]
            passes.append(Pass(collate(crops, asked, self.prompts), keys or None))
        return passes


def iter_passes(steps: Steps, first: int, device: torch.device) -> Iterator[list[Pass]]:
    """The passes of step ``first`` and of those after it, drawn by ``config.workers`` processes; by none, here."""
    config = steps.config
    if not config.workers or config.pool:  # a pool is drawn once, by one process
        return (steps[step] for step in range(first, config.steps))
    return iter(
        torch.utils.data.DataLoader(
            steps,
            sampler=range(first, config.steps),
            batch_size=None,
            num_workers=config.workers,
            prefetch_factor=STEPS_AHEAD,
            worker_init_fn=_one_thread,
            pin_memory=device.type == "cuda",
        )
    )


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)  # the processes are many enough
