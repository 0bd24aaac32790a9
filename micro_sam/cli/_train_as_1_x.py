"""The options of ``micro_sam.train`` in micro-sam 1.8, translated into those of this program."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from micro_sam.errors import InputError

STEPS_PER_EPOCH = 50  # an epoch of micro-sam is a pass over the images; here images are drawn
NO_EFFECT = {"num_workers": "workers", "patch_shape": "crops", "preprocess": "normalisation"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options, hidden from the help but for one line."""
    group = parser.add_argument_group(
        "options of micro-sam 1.8",
        "--val_images, --val_labels, --image_key, --label_key (patterns of the files in a folder), --checkpoint_path, "
        "--output_path, --save_root, --trained_model_name, --n_epochs (of 50 steps), --segmentation_decoder",
    )
    hidden: dict[str, Any] = {"help": argparse.SUPPRESS}
    group.add_argument("--val_images", dest="validation_images", nargs="+", default=argparse.SUPPRESS, **hidden)
    group.add_argument("--val_labels", dest="validation_labels", nargs="+", default=argparse.SUPPRESS, **hidden)
    group.add_argument("--checkpoint_path", dest="checkpoint", default=argparse.SUPPRESS, **hidden)
    group.add_argument("--output_path", dest="output", default=argparse.SUPPRESS, **hidden)
    for name in ("image_key", "label_key", "val_image_key", "val_label_key", "save_root", "trained_model_name"):
        group.add_argument(*(["-s"] if name == "save_root" else []), f"--{name}", **hidden)
    group.add_argument("--n_epochs", type=int, **hidden)
    group.add_argument("--segmentation_decoder", **hidden)
    group.add_argument("--configuration", **hidden)
    for name in NO_EFFECT:
        group.add_argument(f"--{name}", nargs="+", **hidden)


def translate(options: argparse.Namespace) -> None:
    """Fill in this program's options from those of 1.8.

    Raises
    ------
    InputError
        When there is no output, or a key is not the pattern of files.
    """
    for name, key in (
        ("images", options.image_key),
        ("labels", options.label_key),
        ("validation_images", options.val_image_key),
        ("validation_labels", options.val_label_key),
    ):
        paths = getattr(options, name)
        if key is not None and paths is not None:
            if not all(Path(path).is_dir() for path in paths):
                raise InputError(
                    f"The key {key!r} is the pattern of the files in a folder, such as '*.tif'. Save datasets of "
                    "containers as tif for a training."
                )
            setattr(options, name, [str(Path(path) / key) for path in paths])
    if options.n_epochs is not None:
        options.steps = options.n_epochs * STEPS_PER_EPOCH
    if options.segmentation_decoder not in (None, "None", "none", ""):
        options.dense_head = options.dense_head or ("auto" if "nano" in (options.model_type or "nano") else "add")
    if options.output is None:
        if options.trained_model_name is None:
            raise InputError("Say where the result goes: --output FILE.safetensors.")
        options.output = str(
            Path(options.save_root or ".") / "checkpoints" / options.trained_model_name / "best.safetensors"
        )
    given = [name for name in (*NO_EFFECT, "configuration") if getattr(options, name) is not None]
    if given:
        print(f"--{', --'.join(given)}: of no effect here, the training chooses by itself.", file=sys.stderr)
