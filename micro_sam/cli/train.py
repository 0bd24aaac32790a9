"""``micro_sam.train``: fine-tune a model on one's own annotations."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from micro_sam.cli._common import INTERRUPTED, make_parser, run
from micro_sam.cli._fields import read_options
from micro_sam.cli._train_options import TrainOptions, translate
from micro_sam.errors import InputError, MicroSamError
from micro_sam.io.results import check_not_input, recover
from micro_sam.io.run_file import RunFile
from micro_sam.training.config import DataSource, TrainConfig, load_recipe

if TYPE_CHECKING:
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


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    return make_parser("train", "Fine-tune a model on images and label images.", TrainOptions, EPILOG)


@run
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = read_options(build_parser(), TrainOptions, arguments)
    translate(options)
    if options.run_file is None:
        return _train(options, None)
    check_not_input(options.run_file, *options.inputs, str(options.output))
    with RunFile(options.run_file) as file:
        try:
            return _train(options, file)
        except MicroSamError as error:
            file.write(state="failed", error=str(error))
            raise
        except Exception as error:
            file.write(state="failed", error=f"The training ended with an error: {error!r}")
            raise


def _train(options: TrainOptions, file: RunFile | None) -> int:
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


def _check(options: TrainOptions) -> None:
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
    output, checkpoint = Path(str(options.output)), options.settings.checkpoint
    if output.suffix != ".safetensors":
        raise InputError(f"The result is a .safetensors file; {options.output!r} is named otherwise.")
    for suffix in (".safetensors", ".md", ".log.csv", ".state.pt"):
        check_not_input(output.with_suffix(suffix), *options.inputs)
    if checkpoint is not None:
        recover(checkpoint)
        if not Path(checkpoint).is_file():
            raise InputError(f"There is no checkpoint {checkpoint}.")


def recipe_path(name: str) -> Path:
    """The file of a recipe: one that ships with the package, by its name, or any TOML file."""
    shipped = RECIPES / f"{name}.toml"
    return shipped if shipped.is_file() else Path(name)


def _config(options: TrainOptions) -> TrainConfig:
    changes: dict[str, Any] = options.settings.model_dump(exclude_none=True) | {"output": options.output}
    if options.model_type is not None:
        changes["model"] = options.model_type
    if options.from_scratch:
        changes["from_scratch"] = True
    if options.images is not None:
        changes["train"] = (DataSource(options.images, options.labels or (), complete=not options.incomplete),)
    if options.validation_images is not None:
        changes["validation"] = (DataSource(options.validation_images, options.validation_labels or ()),)
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
