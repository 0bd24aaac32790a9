"""``micro_sam.train``: fine-tune a model on one's own annotations."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from micro_sam.cli._common import add_model, make_parser, run
from micro_sam.errors import InputError

EPILOG = """examples:
  micro_sam.train -i images -l labels -o mine.safetensors
  micro_sam.train -i "data/*_raw.tif" -l "data/*_masks.tif" -o mine.safetensors -m vit_b --trainable lora
  micro_sam.train --recipe nano_lm --data ../shared/data -o nano_lm.safetensors

Labels are label images (0 = background, 1, 2, ... = objects) of the same names as the images, for instance the folder
that an annotator saved to. The result is used with -c in every tool. An interrupted run goes on where it stopped when
the same command is given again."""

RECIPES = Path(__file__).parents[1] / "training" / "recipes"
# options of the command that are fields of TrainConfig by the same name; None leaves them to the recipe or the default
FIELDS = (
    "checkpoint",
    "trainable",
    "dense_head",
    "steps",
    "batch_size",
    "accumulate",
    "objects",
    "pool",
    "learning_rate",
    "precision",
    "synthetic",
    "validation_share",
    "validate_every",
    "patience",
    "seed",
    "device",
    "name",
)


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = make_parser("train", "Fine-tune a model on images and label images.")
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    several = {"nargs": "+", "metavar": "PATH"}
    parser.add_argument("-i", "--images", **several, help="images: files, folders, or patterns in quotes")
    parser.add_argument("-l", "--labels", **several, help="their label images")
    parser.add_argument("-vi", "--validation_images", **several, help="images to measure on (default: a share of -i)")
    parser.add_argument("-vl", "--validation_labels", **several, help="their label images")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the weight file, .safetensors")
    parser.add_argument("--recipe", metavar="NAME", help="settings from a TOML file, or by name: nano_lm")
    parser.add_argument("--data", metavar="FOLDER", help="where relative paths of the recipe start")
    add_model(parser)
    parser.set_defaults(model_type=None)
    parser.add_argument("--from_scratch", action="store_true", help="start from random weights")
    parser.add_argument(
        "--trainable",
        choices=("full", "decoder", "lora"),
        help="full: all weights (default); decoder: not the image encoder, much faster; lora: the decoder and "
        "low-rank adapters in the encoder",
    )
    parser.add_argument(
        "--dense_head",
        choices=("auto", "add", "off"),
        help="the decoder for automatic segmentation: train it where there is one (auto), add one, or leave it",
    )
    numbers = {
        "steps": (int, "optimiser steps (default: 500)"),
        "batch_size": (int, "crops per pass (default: 4; halved by itself when the memory does not suffice)"),
        "accumulate": (int, "passes per step (default: 1)"),
        "objects": (int, "objects prompted per crop (default: 12)"),
        "pool": (int, "different crops; with --trainable decoder each is encoded only once (default: 0, all differ)"),
        "learning_rate": (float, "default: 2e-4"),
        "synthetic": (float, "weight of generated images beside yours (default: 0, none)"),
        "validation_share": (float, "share of the images kept back to measure on (default: 0.2)"),
        "validate_every": (int, "steps between two measurements (default: ten in a run)"),
        "patience": (int, "stop after so many measurements without improvement (default: 0, never)"),
        "seed": (int, "same seed, same result (default: 0)"),
    }
    for name, (kind, text) in numbers.items():
        parser.add_argument(f"--{name}", type=kind, metavar="N", help=text)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), help="arithmetic (default: auto)")
    parser.add_argument("--name", help="name for the model card")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing result and begin anew")
    return parser


@run
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = build_parser().parse_args(arguments)
    _check(options)

    from micro_sam.training import Trainer

    trainer = Trainer(_config(options), options.overwrite)
    print(
        f"{len(trainer.images)} images to learn from, {len(trainer.validation_images)} to measure on; {trainer.device}",
        file=sys.stderr,
    )
    _drive(trainer)
    print(trainer.output)
    return 0


def _check(options: argparse.Namespace) -> None:
    """What can be known to be wrong before anything heavy is imported.

    Raises
    ------
    InputError
    """
    if (options.images is None) != (options.labels is None):
        raise InputError("Images and labels belong together: give both -i and -l.")
    if (options.validation_images is None) != (options.validation_labels is None):
        raise InputError("Validation images and labels belong together: give both -vi and -vl.")
    if options.images is None and options.recipe is None:
        raise InputError("There is nothing to learn from: give images and labels (-i, -l) or a --recipe.")
    if options.recipe is not None and not recipe_path(options.recipe).is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise InputError(f"There is no recipe {options.recipe}; give a TOML file, or one of {known}.")
    if Path(options.output).suffix != ".safetensors":
        raise InputError(f"The result is a .safetensors file; {options.output!r} is named otherwise.")
    if options.checkpoint is not None and not Path(options.checkpoint).is_file():
        raise InputError(f"There is no checkpoint {options.checkpoint}.")


def recipe_path(name: str) -> Path:
    """The file of a recipe: one that ships with the package, by its name, or any TOML file."""
    shipped = RECIPES / f"{name}.toml"
    return shipped if shipped.is_file() else Path(name)


def _config(options: argparse.Namespace):
    from micro_sam.training import DataSource, TrainConfig, load_recipe

    changes: dict[str, Any] = {name: getattr(options, name) for name in FIELDS if getattr(options, name) is not None}
    changes["output"] = options.output
    if options.model_type is not None:
        changes["model"] = options.model_type
    if options.from_scratch:
        changes["from_scratch"] = True
    if options.images is not None:
        changes["train"] = (DataSource(tuple(options.images), tuple(options.labels)),)
    if options.validation_images is not None:
        changes["validation"] = (DataSource(tuple(options.validation_images), tuple(options.validation_labels)),)
    if options.recipe is not None:
        return load_recipe(recipe_path(options.recipe), options.data, **changes)
    return TrainConfig(**changes)


def _drive(trainer) -> None:
    """Runs the training behind a progress bar; Ctrl-C keeps the state for the next call."""
    from tqdm import tqdm

    steps = trainer.run()
    with tqdm(total=trainer.config.steps, initial=trainer.state.step, unit="step") as bar:
        try:
            for progress in steps:
                bar.update(progress.step - bar.n)
                bar.set_postfix(loss=f"{progress.loss:.3f}")
                if progress.validation is not None:
                    figures = ("click", "box", "corrected")
                    text = ", ".join(f"{name} {progress.validation[name]:.3f}" for name in figures)
                    bar.write(f"step {progress.step}: mean IoU {text}", file=sys.stderr)
        except KeyboardInterrupt:
            steps.close()
            print(f"The state is kept in {trainer.state_path}; give the command again to go on.", file=sys.stderr)
            raise


if __name__ == "__main__":
    raise SystemExit(main())
