"""``micro_sam.evaluate``: figures of merit of label images and of tracks."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import model_validator

from micro_sam.cli._common import make_parser, run
from micro_sam.cli._fields import Options, option, read_options
from micro_sam.errors import InputError
from micro_sam.io.results import check_not_input, check_result, recover

if TYPE_CHECKING:
    from micro_sam.evaluation.metrics import Labels


class EvaluateOptions(Options):
    """What is compared with which truth, and where the table goes."""

    labels: tuple[str, ...] = option(
        ..., "label image of the truth, several, or a folder of them", "-l", metavar="PATH"
    )
    segmentations: tuple[str, ...] = option(
        ...,
        "segmentation; several, in the order of the labels; or a folder with the same file names",
        *("-s", "--segmentations", "--predictions"),
        metavar="PATH",
    )
    pattern: str | None = option(None, "files of the folders, such as '*.tif'", "-p")
    output: str | None = option(None, "CSV file for the figures of every image", "-o", "--output", "--output_path")
    tracks: bool = option(False, "both are tracks: a folder of the challenge, GEFF, TrackMate, CSV or masks")
    label_key: str | None = option(None, "their pattern in a folder, or the dataset in a container", metavar="KEY")
    prediction_key: str | None = option(None, "their pattern in a folder, or the dataset in a container", metavar="KEY")
    verbose: bool = option(False, "", "-v")  # of micro-sam 1.8, no effect
    threshold: tuple[float, ...] | None = option(None, "")  # refused with a sentence

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.tracks and (len(self.labels) > 1 or len(self.segmentations) > 1):
            raise InputError("--tracks compares one result with one truth: give one path each.")
        return self


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    return make_parser(
        "evaluate",
        "Compare segmentations with the truth: mean segmentation accuracy (mSA), its values at overlaps of 0.5 (SA50) "
        "and 0.75 (SA75), and the dice score of the foreground. With --tracks: SEG, DET and TRA of the Cell Tracking "
        "Challenge, and precision and recall of divisions.",
        EvaluateOptions,
    )


@run
def main(arguments: Sequence[str] | None = None) -> int:
    """Compare segmentations or tracks with the truth and print the figures of merit."""
    options = read_options(build_parser(), EvaluateOptions, arguments)
    if options.tracks:
        return _compare_tracks(Path(options.labels[0]), Path(options.segmentations[0]), options.output)
    if options.threshold:
        from micro_sam.evaluation.metrics import check_thresholds

        check_thresholds(options.threshold)
    pairs = _pairs(options)
    if options.output and not Path(options.output).absolute().parent.is_dir():
        raise InputError(f"The folder of {options.output} does not exist: make it first, or choose another output.")
    if options.output:
        from micro_sam.io.inputs import is_path

        check_not_input(options.output, *(path for pair in pairs for path in pair if is_path(path)))
        if len(pairs) > 1:
            pattern = options.label_key or options.pattern or "*"
            check_not_input(options.output, *options.labels, pattern=pattern)
        check_result(options.output, "table")

    from micro_sam.evaluation.metrics import run_evaluation

    labels, segmentations = (list(paths) for paths in zip(*pairs, strict=True))
    table = run_evaluation(labels, segmentations, options.output, per_image=True)
    print(table.round(4).to_string(index=False))
    means = table.drop(columns="image").mean()
    print(f"\nmean of {len(table)}: " + ", ".join(f"{name} {value:.4f}" for name, value in means.items()))
    return 0


def _compare_tracks(truth: Path, result: Path, output: str | None) -> int:
    if output:
        check_not_input(output, truth, result)
        check_result(output, "table")

    import pandas as pd

    from micro_sam.evaluation.tracking import evaluate_tracks
    from micro_sam.io.tables import save_table

    table = pd.DataFrame([{"tracks": str(result), **evaluate_tracks(result, truth)}])
    if output:
        save_table(output, table)
    print(table.round(4).to_string(index=False))
    return 0


def _pairs(options: EvaluateOptions) -> list[tuple[Labels, Labels]]:
    """The truth and the segmentation of each image: by file name, or in the order in which they are given."""
    if len(options.labels) == len(options.segmentations) == 1 and not (options.label_key or options.prediction_key):
        return [*find_pairs(Path(options.labels[0]), Path(options.segmentations[0]), options.pattern)]
    labels = _listed(options.labels, options.label_key or options.pattern)
    segmentations = _listed(options.segmentations, options.prediction_key or options.pattern)
    if len(labels) != len(segmentations):
        raise InputError(
            f"There are {len(labels)} label images of the truth, but {len(segmentations)} segmentations: they are "
            "compared in the order in which they are given."
        )
    return list(zip(labels, segmentations, strict=True))


def _listed(paths: Sequence[str], key: str | None) -> list[Labels]:
    """The label images of files, of folders (``key``: a pattern), or of containers (``key``: the dataset)."""
    found: list[Labels] = []
    for path in map(Path, paths):
        recover(path)
        if not path.exists():
            raise InputError(f"There is no file or folder {path}.")
        if path.is_dir() and path.suffix not in (".zarr", ".n5"):
            found += _label_files(path, key)
        elif key is None or "*" in key:
            found.append(path)
        else:
            from micro_sam.io.label_reading import load_labels

            found.append(load_labels(path, key))
    return found


def find_pairs(labels: Path, segmentations: Path, pattern: str | None = None) -> list[tuple[Path, Path]]:
    """Files of the truth with the segmentations of the same name (the suffix may differ).

    Raises
    ------
    InputError
        When a path is missing, or a segmentation for a label image.
    """
    for path in (labels, segmentations):
        recover(path)
        recover(path / "inside")
        if not path.exists():
            raise InputError(f"There is no file or folder {path}.")
    if not labels.is_dir() or labels.suffix in (".zarr", ".n5"):
        return [(labels, segmentations)]
    if not segmentations.is_dir():
        raise InputError(f"{labels} is a folder but {segmentations} is a file: give two folders or two files.")
    wanted = _label_files(labels, pattern)
    there: dict[str, list[Path]] = {}
    for path in _label_files(segmentations, None):
        there.setdefault(_stem(path), []).append(path)
    missing = [path.name for path in wanted if _stem(path) not in there]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(wanted)} label images have no segmentation of the same name in {segmentations}; "
            f"the first is {missing[0]}."
        )
    return [(path, _of_name(path, there[_stem(path)])) for path in wanted]


def _label_files(folder: Path, pattern: str | None) -> list[Path]:
    """The label images in a folder, naturally sorted: files, folders of slices; no tables, sessions and notes."""
    from micro_sam.io.images import find_images, natural_order

    if pattern is not None:
        return find_images(folder, pattern, as_labels=True)
    folders = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    folders = [path for path in folders if path.suffix not in (".zarr", ".n5", ".session")]
    try:
        return sorted([*find_images(folder, as_labels=True), *folders], key=natural_order)
    except InputError:
        if not folders:
            raise
        return sorted(folders, key=natural_order)


def _stem(path: Path) -> str:
    return path.stem.removesuffix(".ome")


def _of_name(truth: Path, found: list[Path]) -> Path:
    """The segmentation of a label image: the one of the same name, or the only one whose suffix alone differs."""
    same = [path for path in found if path.name == truth.name] or found
    if len(same) > 1:
        raise InputError(
            f"{same[0].name} and {same[1].name} in {same[0].parent} could both be the segmentation of {truth.name}. "
            "Choose the files with --prediction_key and --label_key, which are patterns."
        )
    return same[0]


if __name__ == "__main__":
    raise SystemExit(main())
