"""The options of ``micro_sam.train``; those of micro-sam 1.8 are translated into them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pydantic import Field

from micro_sam.cli._common import model_option
from micro_sam.cli._fields import Options, option
from micro_sam.errors import InputError
from micro_sam.training.config import DenseHead, Precision, Trainable, TrainConfig

STEPS_PER_EPOCH = 50  # an epoch of micro-sam is a pass over the images; here images are drawn
NO_EFFECT = {"num_workers": "workers", "patch_shape": "crops", "preprocess": "normalisation"}


def _setting(name: str, *names: str, metavar: str | None = None) -> Any:
    """An option for a field of `TrainConfig`; None leaves it to the recipe, or to its default."""
    field = TrainConfig.model_fields[name]
    tip = " ".join((field.description or "").split()).partition(". ")[0].rstrip(".")
    default = "" if field.default in (None, "") else f" (default: {field.default})"
    return option(None, tip[:1].lower() + tip[1:] + default, *names, metavar=metavar)


class Settings(Options):
    """Fields of `TrainConfig` by the same names."""

    packed: str | None = _setting("packed", metavar="FILE")
    checkpoint: str | None = _setting("checkpoint", "-c", "--checkpoint", "--checkpoint_path", metavar="PATH")
    device: str | None = _setting("device", "-d")
    trainable: Trainable | None = _setting("trainable")
    dense_head: DenseHead | None = _setting("dense_head")
    steps: int | None = _setting("steps", metavar="N")
    minutes: float | None = _setting("minutes", metavar="N")
    batch_size: int | None = _setting("batch_size", metavar="N")
    accumulate: int | None = _setting("accumulate", metavar="N")
    objects: int | None = _setting("objects", metavar="N")
    pool: int | None = _setting("pool", metavar="N")
    workers: int | None = _setting("workers", metavar="N")
    learning_rate: float | None = _setting("learning_rate", metavar="N")
    synthetic: float | None = _setting("synthetic", metavar="N")
    validation_share: float | None = _setting("validation_share", metavar="N")
    validate_every: int | None = _setting("validate_every", metavar="N")
    patience: int | None = _setting("patience", metavar="N")
    seed: int | None = _setting("seed", metavar="N")
    precision: Precision | None = _setting("precision")
    name: str | None = _setting("name")


class OptionsOf1X(Options):
    """What micro-sam 1.8 has besides."""

    image_key: str | None = option(None, "")
    label_key: str | None = option(None, "")
    val_image_key: str | None = option(None, "")
    val_label_key: str | None = option(None, "")
    save_root: str | None = option(None, "", "-s")
    trained_model_name: str | None = option(None, "")
    n_epochs: int | None = option(None, "", low=1)
    segmentation_decoder: str | None = option(None, "")
    configuration: str | None = option(None, "")
    num_workers: tuple[str, ...] | None = option(None, "")
    patch_shape: tuple[str, ...] | None = option(None, "")
    preprocess: tuple[str, ...] | None = option(None, "")


class TrainOptions(Options):
    """What to learn from, how, and where the weights go."""

    images: tuple[str, ...] | None = option(None, "images: files, folders, or patterns in quotes", "-i", metavar="PATH")
    labels: tuple[str, ...] | None = option(
        None,
        "their label images (default: what the annotators saved beside the images, NAME_objects.tif or NAME_RES)",
        "-l",
        metavar="PATH",
    )
    incomplete: bool = option(
        False, "only some of the objects are labelled: the rest of an image is not taken for background"
    )
    validation_images: tuple[str, ...] | None = option(
        None,
        "images to measure on (default: a share of -i)",
        *("-vi", "--validation_images", "--val_images"),
        metavar="PATH",
    )
    validation_labels: tuple[str, ...] | None = option(
        None, "their label images", *("-vl", "--validation_labels", "--val_labels"), metavar="PATH"
    )
    output: str | None = option(
        None, "the weight file, .safetensors", *("-o", "--output", "--output_path"), metavar="FILE"
    )
    recipe: str | None = option(None, "settings from a TOML file, or by name: nano_lm", metavar="NAME")
    data: str | None = option(None, "where relative paths of the recipe start", metavar="FOLDER")
    model_type: str | None = model_option("nano_lm")
    from_scratch: bool = option(False, "start from random weights")
    settings: Settings
    overwrite: bool = option(False, "replace an existing result and begin anew")
    run_file: str | None = option(
        None,
        "tell in this JSON file how far the training is, for other programs; a file FILE.stop asks it to stop",
        metavar="FILE",
    )
    as_1_x: OptionsOf1X = Field(
        default_factory=OptionsOf1X,
        title="options of micro-sam 1.8",
        description="--image_key, --label_key, --val_image_key, --val_label_key (patterns of the files in a folder), "
        "--save_root, --trained_model_name, --n_epochs (of 50 steps), --segmentation_decoder",
    )

    @property
    def inputs(self) -> list[str]:
        """Everything that is read."""
        lists = (self.images, self.labels, self.validation_images, self.validation_labels)
        others = (self.settings.checkpoint, self.recipe)
        return [path for paths in lists for path in paths or ()] + [path for path in others if path]


def translate(options: TrainOptions) -> None:
    """Fill in this program's options from those of 1.8.

    Raises
    ------
    InputError
        When there is no output, or a key is not the pattern of files.
    """
    given, settings = options.as_1_x, options.settings
    for name, key in (
        ("images", given.image_key),
        ("labels", given.label_key),
        ("validation_images", given.val_image_key),
        ("validation_labels", given.val_label_key),
    ):
        paths = getattr(options, name)
        if key is not None and paths is not None:
            if not all(Path(path).is_dir() for path in paths):
                raise InputError(
                    f"The key {key!r} is the pattern of the files in a folder, such as '*.tif'. Save datasets of "
                    "containers as tif for a training."
                )
            setattr(options, name, tuple(str(Path(path) / key) for path in paths))
    if given.n_epochs is not None:
        settings.steps = given.n_epochs * STEPS_PER_EPOCH
    if given.segmentation_decoder not in (None, "None", "none", ""):
        settings.dense_head = settings.dense_head or ("auto" if "nano" in (options.model_type or "nano") else "add")
    if options.output is None:
        if given.trained_model_name is None:
            raise InputError("Say where the result goes: --output FILE.safetensors.")
        folder = Path(given.save_root or ".") / "checkpoints" / given.trained_model_name
        options.output = str(folder / "best.safetensors")
    without = [name for name in (*NO_EFFECT, "configuration") if getattr(given, name) is not None]
    if without:
        print(f"--{', --'.join(without)}: of no effect here, the training chooses by itself.", file=sys.stderr)
