"""``micro_sam.train``: fine-tune a model on one's own annotations."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from micro_sam.cli._common import INTERRUPTED, add_model, make_parser, run
from micro_sam.cli._train_as_1_x import add_options, translate
from micro_sam.errors import InputError, MicroSamError
from micro_sam.io.results import check_not_input, recover
from micro_sam.io.run_file import RunFile

if TYPE_CHECKING:
    from micro_sam.training.config import TrainConfig
    from micro_sam.training.trainer import Progress, Trainer

EPILOG = """examples:
  micro_sam.train -i images -l labels -o mine.safetensors
  micro_sam.train -i images -o mine.safetensors            (results saved beside the images, as the annotators propose)
  micro_sam.train -i movie.tif -l movie_RES -o mine.safetensors --incomplete
  micro_sam.train -i "data/*_raw.tif" -l "data/*_masks.tif" -o mine.safetensors -m vit_b --trainable lora
  micro_sam.train --recipe nano_lm --data DATA -o nano_lm.safetensors

Labels are label images (0 = background, 1, 2, ... = objects) of the same names as the images: what the annotators save
(tif, zarr, the output folder of a series; tracks in a folder of the Cell Tracking Challenge, GEFF or TrackMate). Stacks
and movies are learned from slice by slice. The result is used with -c in every tool. An interrupted training goes on
where it stopped when the same command is given again."""

RECIPES = Path(__file__).parents[1] / "training" / "recipes"
# options of the command that are fields of TrainConfig by the same name; None leaves them to the recipe or the default
FIELDS = (
    "checkpoint",
    "trainable",
    "dense_head",
    "steps",
    "minutes",
    "batch_size",
    "accumulate",
    "objects",
    "pool",
    "workers",
    "learning_rate",
    "precision",
    "synthetic",
    "validation_share",
    "packed",
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
    several: dict[str, Any] = {"nargs": "+", "metavar": "PATH"}
    parser.add_argument("-i", "--images", **several, help="images: files, folders, or patterns in quotes")
    parser.add_argument(
        "-l",
        "--labels",
        **several,
        help="their label images (default: what the annotators saved beside the images, NAME_objects.tif or NAME_RES)",
    )
    parser.add_argument(
        "--incomplete",
        action="store_true",
        help="only some of the objects are labelled: the rest of an image is not taken for background",
    )
    parser.add_argument("-vi", "--validation_images", **several, help="images to measure on (default: a share of -i)")
    parser.add_argument("-vl", "--validation_labels", **several, help="their label images")
    parser.add_argument("-o", "--output", metavar="FILE", help="the weight file, .safetensors")
    parser.add_argument("--recipe", metavar="NAME", help="settings from a TOML file, or by name: nano_lm")
    parser.add_argument("--data", metavar="FOLDER", help="where relative paths of the recipe start")
    parser.add_argument(
        "--packed",
        metavar="FILE",
        help="a .h5 file with all images of the training, made by the first call and small enough to be carried to a "
        "machine with a GPU, which then needs no other data",
    )
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
        "minutes": (float, "end after so many minutes, should that be earlier than the steps (default: no limit)"),
        "batch_size": (int, "crops per pass (default: 4; halved by itself when the memory does not suffice)"),
        "accumulate": (int, "passes per step (default: 1)"),
        "objects": (int, "objects prompted per crop (default: 12)"),
        "pool": (int, "different crops; with --trainable decoder each is encoded only once (default: 0, all differ)"),
        "workers": (int, "processes that draw crops ahead, for a GPU that would wait for them (default: 0)"),
        "learning_rate": (float, "default: 5e-4 for nano, 5e-5 for the transformers"),
        "synthetic": (float, "weight of generated images beside yours (default: 0, none)"),
        "validation_share": (float, "share of the images kept back to measure on (default: 0.2)"),
        "validate_every": (int, "steps between two measurements (default: ten in a training)"),
        "patience": (int, "stop after so many measurements without improvement (default: 0, never)"),
        "seed": (int, "same seed, same result (default: 0)"),
    }
    for name, (kind, text) in numbers.items():
        parser.add_argument(f"--{name}", type=kind, metavar="N", help=text)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), help="arithmetic (default: auto)")
    parser.add_argument("--name", help="name for the model card")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing result and begin anew")
    parser.add_argument(
        "--run_file",
        metavar="FILE",
        help="tell in this JSON file how far the training is, for other programs; a file FILE.stop asks it to stop",
    )
    add_options(parser)
    return parser


@run
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = build_parser().parse_args(arguments)
    translate(options)
    if options.run_file is None:
        return _train(options, None)
    check_not_input(options.run_file, *_inputs(options), options.output)
    with RunFile(options.run_file) as file:
        try:
            return _train(options, file)
        except MicroSamError as error:
            file.write(state="failed", error=str(error))
            raise
        except Exception as error:
            file.write(state="failed", error=f"The training ended with an error: {error!r}")
            raise


def _train(options: argparse.Namespace, file: RunFile | None) -> int:
    _check(options)

    from micro_sam.training import Trainer

    trainer = Trainer(_config(options), options.overwrite)
    print(
        f"{len(trainer.images)} images to learn from, {len(trainer.validation_images)} to measure on"
        f"{', and generated ones' if trainer.config.synthetic else ''}; {trainer.device}",
        file=sys.stderr,
    )
    if not _drive(trainer, file):
        return INTERRUPTED
    card = trainer.output.with_suffix(".md")
    print(f"Use it with -c {trainer.output} in every tool; {card} tells what is known of it.", file=sys.stderr)
    print(trainer.output)
    return 0


def _check(options: argparse.Namespace) -> None:
    """What can be known to be wrong before anything heavy is imported.

    Raises
    ------
    InputError
    """
    if options.images is None and options.labels is not None:
        raise InputError("Images and labels belong together: give -i with -l.")
    if options.validation_images is None and options.validation_labels is not None:
        raise InputError("Validation images and labels belong together: give -vi with -vl.")
    if options.images is None and options.recipe is None:
        raise InputError("There is nothing to learn from: give images and labels (-i, -l) or a --recipe.")
    if options.recipe is not None and not recipe_path(options.recipe).is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise InputError(f"There is no recipe {options.recipe}; give a TOML file, or one of {known}.")
    if Path(options.output).suffix != ".safetensors":
        raise InputError(f"The result is a .safetensors file; {options.output!r} is named otherwise.")
    outputs = (Path(options.output).with_suffix(suffix) for suffix in (".safetensors", ".md", ".log.csv", ".state.pt"))
    for output in outputs:
        check_not_input(output, *_inputs(options))
    if options.checkpoint is not None:
        recover(options.checkpoint)
    if options.checkpoint is not None and not Path(options.checkpoint).is_file():
        raise InputError(f"There is no checkpoint {options.checkpoint}.")


def _inputs(options: argparse.Namespace) -> list[str]:
    lists = (options.images, options.labels, options.validation_images, options.validation_labels)
    return [path for paths in lists for path in paths or ()] + [p for p in (options.checkpoint, options.recipe) if p]


def recipe_path(name: str) -> Path:
    """The file of a recipe: one that ships with the package, by its name, or any TOML file."""
    shipped = RECIPES / f"{name}.toml"
    return shipped if shipped.is_file() else Path(name)


def _config(options: argparse.Namespace) -> TrainConfig:
    from micro_sam.training import DataSource, TrainConfig, load_recipe

    changes: dict[str, Any] = {name: getattr(options, name) for name in FIELDS if getattr(options, name) is not None}
    changes["output"] = options.output
    if options.model_type is not None:
        changes["model"] = options.model_type
    if options.from_scratch:
        changes["from_scratch"] = True
    if options.images is not None:
        labels = tuple(options.labels or ())
        changes["train"] = (DataSource(tuple(options.images), labels, complete=not options.incomplete),)
    if options.validation_images is not None:
        labels = tuple(options.validation_labels or ())
        changes["validation"] = (DataSource(tuple(options.validation_images), labels),)
    if options.recipe is not None:
        return load_recipe(recipe_path(options.recipe), options.data, **changes)
    return TrainConfig(**changes)


def _drive(trainer: Trainer, file: RunFile | None) -> bool:
    """Runs the training behind a progress bar; Ctrl-C, or the wish in the run file, keeps the state for the next call.

    Returns whether it came to its end.
    """
    from tqdm import tqdm

    steps = trainer.run()
    validations: list[dict[str, float]] = [dict(row) for row in trainer.state.history]
    with tqdm(total=trainer.config.steps, initial=trainer.state.step, unit="step") as bar:
        try:
            for progress in steps:
                bar.update(progress.step - bar.n)
                if math.isfinite(progress.loss):  # there is none before the first step
                    bar.set_postfix(loss=f"{progress.loss:.3f}")
                if progress.validation is not None:
                    validations.append(progress.validation)
                    figures = ("click", "box", "corrected")
                    text = ", ".join(f"{name} {progress.validation[name]:.3f}" for name in figures)
                    bar.write(f"step {progress.step}: mean IoU {text}", file=sys.stderr)
                if file is not None:
                    file.write(state="running", **_report(progress, validations))
                    if file.must_stop:
                        raise KeyboardInterrupt
        except KeyboardInterrupt:
            steps.close()
            if file is not None:
                file.write(state="stopped", step=trainer.state.step, steps=trainer.config.steps)
            print(f"The state is kept in {trainer.state_path}; give the command again to go on.", file=sys.stderr)
            return False
    if file is not None:
        file.write(state="done", output=str(trainer.output), validations=_json(validations))
    return True


def _report(progress: Progress, validations: list[dict[str, float]]) -> dict[str, Any]:
    values = {"step": progress.step, "steps": progress.steps, "loss": progress.loss}
    report: dict[str, Any] = _json(values | {"seconds_left": progress.seconds_left})
    return report | {"validations": _json(validations)}


def _json(value: Any) -> Any:
    """Values as JSON knows them: it has no NaN."""
    if isinstance(value, dict):
        return {name: _json(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    raise SystemExit(main())
