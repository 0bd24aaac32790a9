"""How good a label image is, compared to the truth.

mSA is the mean, over IoU thresholds from 0.5 to 0.95, of the segmentation accuracy SA = TP / (TP + FP + FN) of the 2018
Data Science Bowl (Caicedo et al. 2019, doi 10.1038/s41592-019-0612-7); SA50 and SA75 are its values at 0.5 and 0.75.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from elf.evaluation import mean_segmentation_accuracy
from tqdm import tqdm

from micro_sam.errors import InputError
from micro_sam.io.inputs import as_array, is_path
from micro_sam.io.label_reading import is_labels_only, load_labels
from micro_sam.io.results import check_not_input, check_result
from micro_sam.io.tables import save_table

__all__ = ["compare_labels", "run_evaluation"]

Labels = np.ndarray | str | os.PathLike[str]
COLUMNS = ("mSA", "SA50", "SA75", "dice")


def compare_labels(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """The figures of merit of one label image.

    Parameters
    ----------
    prediction, truth : integer arrays of the same shape
        0 is background. Labels need not be consecutive.

    Returns
    -------
    dict
        ``mSA``, ``SA50``, ``SA75`` of the objects, and ``dice`` of the foreground. All are 1 when both are empty, and 0
        when one of them is.

    Raises
    ------
    InputError
        When the shapes differ.
    """
    prediction, truth = (np.asarray(as_array(labels, "A label image")) for labels in (prediction, truth))
    if prediction.shape != truth.shape:
        raise InputError(
            f"The segmentation has the shape {prediction.shape}, the truth {truth.shape}: they are not of one image."
        )
    a, b = prediction != 0, truth != 0
    total = int(a.sum()) + int(b.sum())
    if total == 0:
        return dict.fromkeys(COLUMNS, 1.0)
    if not a.any() or not b.any():
        return dict.fromkeys(COLUMNS, 0.0)
    mean, accuracies = mean_segmentation_accuracy(
        prediction.astype("uint32"), truth.astype("uint32"), return_accuracies=True
    )
    dice = 2 * int((a & b).sum()) / total
    return {"mSA": float(mean), "SA50": float(accuracies[0]), "SA75": float(accuracies[5]), "dice": dice}


def check_thresholds(thresholds: Sequence[float] | None) -> None:
    """Thresholds of one's own are refused, so that figures can be compared.

    Raises
    ------
    InputError
        When there are any.
    """
    if thresholds is not None:
        raise InputError(
            "Thresholds of one's own are not supported: the figures are those at overlaps of 0.5 (SA50), 0.75 (SA75), "
            "and the mean of 0.5, 0.55, ... 0.95 (mSA). Leave them out."
        )


def run_evaluation(
    gt_paths: Sequence[Labels],
    prediction_paths: Sequence[Labels],
    save_path: str | os.PathLike[str] | None = None,
    verbose: bool = True,
    thresholds: Sequence[float] | None = None,
    per_image: bool = False,
) -> pd.DataFrame:
    """Compare label images with the truth.

    Parameters
    ----------
    gt_paths, prediction_paths : sequences of paths or arrays
        In the same order.
    save_path : path, optional
        CSV file for the result.
    verbose : bool
        Show a progress bar.
    thresholds
        Not supported; it is there to say so.
    per_image : bool
        One row per image instead of one row with the means.

    Returns
    -------
    DataFrame
        Columns mSA, SA50, SA75, dice.

    Raises
    ------
    InputError
        When there is nothing to compare, the numbers differ, thresholds are given, or an image does not fit.
    OutputError
        When the CSV file is one of the inputs, or something that is no earlier table of this program.
    """
    check_thresholds(thresholds)
    if len(gt_paths) != len(prediction_paths):
        raise InputError(
            f"There are {len(gt_paths)} label images of the truth, but {len(prediction_paths)} segmentations."
        )
    if len(gt_paths) == 0:
        raise InputError("There is nothing to evaluate: no image was given.")
    if save_path is not None:
        check_not_input(save_path, *gt_paths, *prediction_paths)
        check_result(save_path, "table")
    rows = []
    for gt, prediction in tqdm(
        list(zip(gt_paths, prediction_paths, strict=True)), desc="Evaluate", disable=not verbose
    ):
        try:
            rows.append(compare_labels(*_load_both(prediction, gt)))
        except InputError as error:
            raise InputError(f"{_name(prediction)} cannot be compared with {_name(gt)}: {error}") from error
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    if per_image:
        table.insert(0, "image", [_name(p) for p in prediction_paths])
    else:
        table = table.mean().to_frame().T
    if save_path is not None:
        save_table(save_path, table)
    return table


def _load_both(a: Labels, b: Labels) -> tuple[np.ndarray, np.ndarray]:
    """Two label images; outlines, which do not say how large the image is, are drawn in the shape of the other."""
    if _is_outlines(a) and not _is_outlines(b):
        b = _load(b)
        return _load(a, b.shape), b
    a = _load(a)
    return a, _load(b, a.shape if _is_outlines(b) else None)


def _is_outlines(labels: Labels) -> bool:
    return is_path(labels) and is_labels_only(Path(str(labels)))


def _load(labels: Labels, shape: tuple[int, ...] | None = None) -> np.ndarray:
    return load_labels(Path(labels), shape=shape) if isinstance(labels, (str, os.PathLike)) else labels


def _name(labels: Labels) -> str:
    return str(labels) if is_path(labels) else "an array"
