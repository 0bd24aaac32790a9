"""Everything that decides a training run, as one typed value that is stored beside the result."""

from __future__ import annotations

import dataclasses
import math
import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from micro_sam.errors import InputError

TRAINABLE = ("full", "decoder", "lora")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
# fields that a training may go on with others of; images are compared by what is in them
UNIMPORTANT = ("output", "save_every", "patience", "name", "licences", "train", "validation", "workers", "packed")


@dataclass(frozen=True)
class DataSource:
    """Images and their label images, paired in the order of their sorted names.

    Attributes
    ----------
    images, labels : tuple[str, ...]
        Files, folders, or patterns such as ``"data/*/raw.tif"``. Labels may also be tracks (a folder of the Cell
        Tracking Challenge, GEFF, ...) of one movie; empty: what the annotators saved beside the images.
    group : str
        Sources of one group share its ``weight`` in the sampling, however many images they hold.
    weight : float
        How often the group is drawn, relative to the others.
    stack : bool
        The files hold stacks (Z or T, Y, X), whose slices are images of their own.
    complete : bool
        Whether every object is labelled. If not, background is neither taught to the dense head nor clicked.
    every, part : int, tuple[float, float]
        Of a stack, take every n-th slice between these fractions of its depth.
    """

    images: tuple[str, ...]
    labels: tuple[str, ...] = ()
    group: str = "images"
    weight: float = 1.0
    stack: bool = False
    complete: bool = True
    every: int = 1
    part: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run.

    Attributes
    ----------
    model : str
        Name in the registry, or an architecture ("nano", "vit_b", ...) together with ``from_scratch``.
    checkpoint : str | None
        Weights of one's own to start from.
    from_scratch : bool
        Start from random weights instead.
    train : tuple[DataSource, ...]
        What to learn from.
    validation : tuple[DataSource, ...]
        What to measure on; empty keeps ``validation_share`` of the training images back.
    validation_share : float
        Share of the images kept back, at least one.
    packed : str
        A ``.h5`` file that holds all these images, made where it does not exist; where it does, the sources need not be
        there. Small enough to be carried to a machine with a GPU.
    output : str
        The weight file to write, ending in ``.safetensors``; state, log and model card lie beside it.
    trainable : str
        "full", "decoder" (prompt encoder, mask decoder and dense head) or "lora" (these, and low-rank adapters in the
        encoder, which are merged into its weights in the end).
    lora_rank : int
        Rank of the adapters.
    dense_head : str
        "auto" trains the dense head of a model that has one, "add" gives one to a model without, "off" leaves it.
    steps : int
        Optimiser steps.
    minutes : float
        End after so many minutes of steps, should that be earlier; the learning rate falls by the clock then. For a
        machine that is lent for a time. 0 for no limit. Two such runs do not give the same weights.
    batch_size : int
        Crops per pass; halved by itself when the memory does not suffice.
    accumulate : int
        Passes per optimiser step.
    objects : int
        Objects prompted per crop (of the first size).
    crop : int | tuple[int, ...]
        Side of the crops, in pixels of the model's input frame; 0 is the whole frame. Smaller ones (nano only) cost
        less, but an encoder that is trained on them alone sees less context than it will in use. Of several, each step
        takes one at random, and as many crops as have the area of ``batch_size`` of the first.
    learning_rate, weight_decay : float
        Of AdamW; the rate rises over ``warmup`` steps and falls to 2 % along a half cosine. A rate of 0 is chosen by
        the architecture: 5e-4 for nano, 5e-5 for transformers, whose weights must move little.
    warmup : int
        See above.
    average : float
        Decay of the running average of the weights, which is what is validated and saved; 0 turns it off.
    precision : str
        "auto", "fp32", "bf16" or "fp16", see ``models.resolve_precision``.
    pool : int
        Number of different crops; 0 draws a new one every time. With ``trainable = "decoder"`` every crop of the pool
        is encoded only once, which makes training on a CPU many times faster for the larger models.
    workers : int
        Processes that draw the crops of the next steps; 0 draws them when they are needed. Worth it where a GPU would
        wait. The result is the same.
    natural : float
        Share of crops in which the image has about the size at which the model meets it; in the others, objects are
        scaled to all sizes, which makes a model more general and is learned more slowly.
    enlarged : float
        Share of these in which small objects are enlarged as in the close-ups of models that take them (nano).
    augment : bool
        Vary orientation, scale, light, blur and noise.
    vary : float
        Share of the crops whose scale, light, blur and noise are varied; a short fine-tuning on images of one kind
        learns more from images as they are.
    synthetic : float
        Weight of generated images among the groups of ``train``; 0 for none.
    synthetic_images : int
        How many of them to generate.
    validate_every : int
        Steps between validations; 0 for ten in a training.
    validation_images : int
        Images measured per validation at most, spread over the groups.
    validation_objects : int
        Objects measured per validation image.
    patience : int
        Stop after so many validations without improvement; 0 never stops early.
    save_every : float
        Seconds between resumable states.
    seed : int
        Same seed, same data, same machine: same weights, whether interrupted or not.
    device : str
        See ``models.get_device``.
    name : str
        Name for the model card; empty takes that of the file.
    licences : tuple[str, ...]
        Lines for the model card on where data come from and what may be done with them.
    """

    model: str = "nano_lm"
    checkpoint: str | None = None
    from_scratch: bool = False
    train: tuple[DataSource, ...] = ()
    validation: tuple[DataSource, ...] = ()
    validation_share: float = 0.2
    packed: str = ""
    output: str = "fine_tuned.safetensors"
    trainable: str = "full"
    lora_rank: int = 4
    dense_head: str = "auto"
    steps: int = 500
    minutes: float = 0.0
    batch_size: int = 4
    accumulate: int = 1
    objects: int = 12
    crop: int | tuple[int, ...] = 0
    pool: int = 0
    workers: int = 0
    natural: float = 1.0
    enlarged: float = 0.5
    learning_rate: float = 0.0
    weight_decay: float = 0.02
    warmup: int = 20
    average: float = 0.99
    precision: str = "auto"
    augment: bool = True
    vary: float = 0.5
    synthetic: float = 0.0
    synthetic_images: int = 200
    validate_every: int = 0
    validation_images: int = 24
    validation_objects: int = 10
    patience: int = 0
    save_every: float = 120.0
    seed: int = 0
    device: str = "auto"
    name: str = ""
    licences: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        _one_of("trainable", self.trainable, TRAINABLE)
        _one_of("dense_head", self.dense_head, ("auto", "add", "off"))
        _one_of("precision", self.precision, PRECISIONS)
        for name in (
            "steps",
            "batch_size",
            "accumulate",
            "objects",
            "lora_rank",
            "validation_images",
            "validation_objects",
        ):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if any(side < 0 or side % 32 for side in self.crop_sizes):
            raise InputError(f"The side of the crops must be a multiple of 32 pixels, not {self.crop}.")
        if self.pool and len(self.crop_sizes) > 1:
            raise InputError("A pool of crops that are encoded once needs crops of one size.")
        for name in ("pool", "validate_every", "patience", "warmup", "synthetic", "synthetic_images", "workers"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must not be negative, but is {getattr(self, name)}.")
        if not 0 <= self.minutes < math.inf:
            raise InputError(f"The minutes of a training must be a number from 0 on, not {self.minutes}.")
        if not 0 <= self.learning_rate < 1 or not math.isfinite(self.learning_rate):
            raise InputError(f"The learning rate {self.learning_rate} makes no sense; usual are 1e-5 to 1e-3.")
        if not 0 <= self.average < 1:
            raise InputError(f"The decay of the averaged weights must be from 0 to below 1, not {self.average}.")
        for name in ("natural", "enlarged", "vary"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is a share and must lie between 0 and 1, not {getattr(self, name)}.")
        if not 0 < self.validation_share < 1:
            raise InputError(
                f"The share of images kept for validation must lie between 0 and 1, not {self.validation_share}."
            )
        if Path(self.output).suffix != ".safetensors":
            raise InputError(f"The result is a .safetensors file; {self.output!r} is named otherwise.")

    def to_dict(self) -> dict[str, Any]:
        """The settings as values that JSON and TOML know."""
        return dataclasses.asdict(self)

    @property
    def crop_sizes(self) -> tuple[int, ...]:
        """Sides of the crops; 0 is the whole frame."""
        return (self.crop,) if isinstance(self.crop, int) else tuple(self.crop)

    @property
    def validation_interval(self) -> int:
        """Steps between validations."""
        return self.validate_every or max(1, self.steps // 10)


def load_recipe(
    path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None, **changes: Any
) -> TrainConfig:
    """Reads a recipe.

    Parameters
    ----------
    path : str | os.PathLike[str]
        TOML file with the fields of ``TrainConfig``, and one ``[[train]]`` or ``[[validation]]`` table per source.
    root : str | os.PathLike[str] | None
        Folder that relative patterns of the sources start from; None is the working folder.
    **changes
        Fields that replace those of the recipe.

    Raises
    ------
    InputError
        When the file cannot be read, or has fields that do not exist.
    """
    try:
        content = tomllib.loads(Path(path).read_text())
    except OSError as error:
        raise InputError(f"The recipe {path} cannot be read: {error.strerror or error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"The recipe {path} is no valid TOML: {error}.") from error
    for key in ("train", "validation"):
        content[key] = tuple(_source(path, table, root) for table in content.get(key, ()))
    content["licences"] = tuple(content.get("licences", ()))
    content |= changes
    unknown = sorted(set(content) - {f.name for f in dataclasses.fields(TrainConfig)})
    if unknown:
        raise InputError(f"The recipe {path} has settings that do not exist: {', '.join(unknown)}.")
    return TrainConfig(**content)


def _source(path: str | os.PathLike[str], table: dict[str, Any], root: str | os.PathLike[str] | None) -> DataSource:
    unknown = sorted(set(table) - {f.name for f in dataclasses.fields(DataSource)})
    if unknown or "images" not in table or "labels" not in table:
        what = f"has settings that do not exist: {', '.join(unknown)}" if unknown else "lacks images or labels"
        raise InputError(f"A source in the recipe {path} {what}.")

    def absolute(patterns: str | list[str]) -> tuple[str, ...]:
        patterns = [patterns] if isinstance(patterns, str) else patterns
        return tuple(str(Path(root) / p) if root is not None else p for p in patterns)

    table = table | {"images": absolute(table["images"]), "labels": absolute(table["labels"])}
    if "part" in table:
        table["part"] = tuple(table["part"])
    return DataSource(**table)


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"{name} is {value!r}, but must be one of {', '.join(known)}.")
