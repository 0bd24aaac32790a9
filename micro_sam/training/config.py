"""Everything that decides a training run, as one typed value that is stored beside the result."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from micro_sam.errors import InputError, as_input_error

# fields that a training may go on with others of; images are compared by what is in them
UNIMPORTANT = ("output", "save_every", "patience", "name", "licences", "train", "validation", "workers", "packed")


Number = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Trainable = Literal["full", "decoder", "lora"]
DenseHead = Literal["auto", "add", "off"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]


class _Settings(BaseModel):
    """Values that do not change; what cannot be is an InputError with a sentence."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise as_input_error(error) from None


class DataSource(_Settings):
    """Images and their label images, paired in the order of their sorted names."""

    def __init__(self, images: tuple[str, ...], labels: tuple[str, ...] = (), **settings: Any) -> None:
        super().__init__(images=images, labels=labels, **settings)

    images: tuple[str, ...]
    """Files, folders, or patterns such as ``"data/*/raw.tif"``."""
    labels: tuple[str, ...] = ()
    """The same; also tracks (a folder of the Cell Tracking Challenge, GEFF, ...) of one movie. Empty: what the
    annotators saved beside the images."""
    group: str = "images"
    """Sources of one group share its ``weight`` in the sampling, however many images they hold."""
    weight: Amount = 1.0
    """How often the group is drawn, relative to the others."""
    stack: bool = False
    """The files hold stacks (Z or T, Y, X), whose slices are images of their own."""
    complete: bool = True
    """Whether every object is labelled. If not, background is neither taught to the dense head nor clicked."""
    every: Number = 1
    """Of a stack, take every n-th slice."""
    part: tuple[float, float] = (0.0, 1.0)
    """Of a stack, take slices between these fractions of its depth."""


class TrainConfig(_Settings):
    """Settings of a training. Those that the command has too are described by the first sentence here."""

    model: str = "nano_lm"
    """Name in the registry, or an architecture ("nano", "vit_b", ...) together with ``from_scratch``."""
    checkpoint: str | None = None
    """Weights of your own to start from. Their type is found in the file."""
    from_scratch: bool = False
    """Start from random weights."""
    train: tuple[DataSource, ...] = ()
    """What to learn from."""
    validation: tuple[DataSource, ...] = ()
    """What to measure on. Empty keeps ``validation_share`` of the training images back."""
    validation_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the images kept back to measure on. It is at least one image."""
    packed: str = ""
    """A .h5 file with all images of the training, made by the first call and small enough to be carried to a machine
    with a GPU, which then needs no other data. Where it exists, the sources need not be there."""
    output: str = "fine_tuned.safetensors"
    """The weight file to write, ending in .safetensors. State, log and model card lie beside it."""
    trainable: Trainable = "full"
    """All weights (full); not the image encoder, much faster (decoder); the decoder and low-rank adapters in the
    encoder (lora). The decoder is prompt encoder, mask decoder and dense head; adapters are merged into the weights in
    the end."""
    lora_rank: Number = 4
    """Rank of the adapters."""
    dense_head: DenseHead = "auto"
    """The decoder for automatic segmentation: train it where there is one (auto), add one, or leave it (off)."""
    steps: Number = 500
    """Optimiser steps."""
    minutes: Amount = 0.0
    """End after so many minutes, should that be earlier than the steps; 0 for no limit. The learning rate falls by the
    clock then. For a machine that is lent for a time. Two such runs do not give the same weights."""
    batch_size: Number = 4
    """Crops per pass, halved by itself when the memory does not suffice."""
    accumulate: Number = 1
    """Passes per step."""
    objects: Number = 12
    """Objects prompted per crop. Of the first size."""
    crop: int | tuple[int, ...] = 0
    """Side of the crops, in pixels of the model's input frame; 0 is the whole frame. Smaller ones (nano only) cost
    less, but an encoder that is trained on them alone sees less context than it will in use. Of several, each step
    takes one at random, and as many crops as have the area of ``batch_size`` of the first."""
    pool: Count = 0
    """Different crops; with trainable "decoder" each is encoded only once; 0: all differ. That makes training on a CPU
    many times faster for the larger models."""
    workers: Count = 0
    """Processes that draw crops ahead, for a GPU that would wait for them. The result is the same."""
    natural: Share = 1.0
    """Share of crops in which the image has about the size at which the model meets it. In the others, objects are
    scaled to all sizes, which makes a model more general and is learned more slowly."""
    enlarged: Share = 0.5
    """Share of these in which small objects are enlarged as in the close-ups of models that take them (nano)."""
    learning_rate: float = 0.0
    """Of AdamW; 0: 5e-4 for nano, 5e-5 for the transformers. It rises over ``warmup`` steps and falls to 2 % along a
    half cosine. The weights of transformers must move little."""
    weight_decay: Amount = 0.02
    """Of AdamW."""
    warmup: Count = 20
    """Steps in which the learning rate rises."""
    average: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Decay of the running average of the weights, which is what is validated and saved; 0 turns it off."""
    precision: Precision = "auto"
    """Arithmetic. See ``models.resolve_precision``."""
    augment: bool = True
    """Vary orientation, scale, light, blur and noise."""
    vary: Share = 0.5
    """Share of the crops whose scale, light, blur and noise are varied. A short fine-tuning on images of one kind
    learns more from images as they are."""
    synthetic: Amount = 0.0
    """Weight of generated images beside yours; 0 for none. Among the groups of ``train``."""
    synthetic_images: Count = 200
    """How many of them there are."""
    validate_every: Count = 0
    """Steps between two measurements; 0 for ten in a training."""
    validation_images: Number = 24
    """Images measured per validation at most, spread over the groups."""
    validation_objects: Number = 10
    """Objects measured per validation image."""
    patience: Count = 0
    """Stop after so many measurements without improvement; 0 for never."""
    save_every: Amount = 120.0
    """Seconds between resumable states."""
    seed: int = 0
    """Same seed, same result. On the same machine, with the same data, whether interrupted or not."""
    device: str = "auto"
    """The best there is (auto), cpu, cuda, cuda:1 and so on, or mps (Apple)."""
    name: str = ""
    """Name for the model card. Empty takes that of the file."""
    licences: tuple[str, ...] = ()
    """Lines for the model card on where data come from and what may be done with them."""

    @field_validator("crop")
    @classmethod
    def _check_crop(cls, crop: int | tuple[int, ...]) -> int | tuple[int, ...]:
        if any(side < 0 or side % 32 for side in _sizes(crop)):
            raise InputError(f"The side of the crops must be a multiple of 32 pixels, not {crop}.")
        return crop

    @field_validator("learning_rate")
    @classmethod
    def _check_rate(cls, rate: float) -> float:
        if not 0 <= rate < 1:
            raise InputError(f"The learning rate {rate} makes no sense; usual are 1e-5 to 1e-3.")
        return rate

    @field_validator("output")
    @classmethod
    def _check_output(cls, output: str) -> str:
        if Path(output).suffix != ".safetensors":
            raise InputError(f"The result is a .safetensors file; {output!r} is named otherwise.")
        return output

    @model_validator(mode="after")
    def _check_pool(self) -> Self:
        if self.pool and len(self.crop_sizes) > 1:
            raise InputError("A pool of crops that are encoded once needs crops of one size.")
        return self

    def to_dict(self) -> dict[str, Any]:
        """The settings as values that JSON and TOML know."""
        return self.model_dump()

    @property
    def crop_sizes(self) -> tuple[int, ...]:
        """Sides of the crops; 0 is the whole frame."""
        return _sizes(self.crop)

    @property
    def validation_interval(self) -> int:
        """Steps between validations."""
        return self.validate_every or max(1, self.steps // 10)


def _sizes(crop: int | tuple[int, ...]) -> tuple[int, ...]:
    return (crop,) if isinstance(crop, int) else crop


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
    content |= changes
    unknown = sorted(set(content) - set(TrainConfig.model_fields))
    if unknown:
        raise InputError(f"The recipe {path} has settings that do not exist: {', '.join(unknown)}.")
    return TrainConfig(**content)


def _source(path: str | os.PathLike[str], table: dict[str, Any], root: str | os.PathLike[str] | None) -> DataSource:
    unknown = sorted(set(table) - set(DataSource.model_fields))
    if unknown or "images" not in table or "labels" not in table:
        what = f"has settings that do not exist: {', '.join(unknown)}" if unknown else "lacks images or labels"
        raise InputError(f"A source in the recipe {path} {what}.")

    def absolute(patterns: str | list[str]) -> tuple[str, ...]:
        patterns = [patterns] if isinstance(patterns, str) else patterns
        return tuple(str(Path(root) / p) if root is not None else p for p in patterns)

    return DataSource(**table | {"images": absolute(table["images"]), "labels": absolute(table["labels"])})
