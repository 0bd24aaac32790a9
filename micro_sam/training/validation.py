"""How good a model is for a user who clicks (IoU of a click, of a box, and after corrections), and by itself (SA50).

The simulated user is ``evaluation.interactive``; here its figures become the few numbers that a training is steered by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from micro_sam.embeddings.compute import iter_embeddings, open_embeddings
from micro_sam.embeddings.embeddings import Embeddings
from micro_sam.evaluation.interactive import evaluate_image
from micro_sam.evaluation.metrics import compare_labels
from micro_sam.io.normalization import Normalization
from micro_sam.models.predictor import Predictor
from micro_sam.segmentation.automatic.dense import DenseInstanceSegmenter
from micro_sam.training.crops import TrainingImage

MIN_AREA = 16  # pixels; smaller objects are not measured
CORRECTIONS = 2
FIGURES = ("click", "box", "corrected")
AUTOMATIC = "automatic"  # of models with a dense head


def measure(predictor: Predictor, images: Sequence[TrainingImage], n_objects: int) -> dict[str, float]:
    """Mean IoUs over the objects of every group of images, then over the groups.

    Parameters
    ----------
    predictor : Predictor
    images : Sequence[TrainingImage]
    n_objects : int
        Objects per image, always the same ones.

    Returns
    -------
    dict[str, float]
        "click", "box" and "corrected" (a click and two corrections) over all groups; with several groups also
        "group: click" and so on. NaN when no object is large enough. For a model with a dense head also "automatic",
        the mean SA50 of its automatic segmentation, when there are images with all objects labelled.
    """
    groups: dict[str, list[np.ndarray]] = {}
    automatic: dict[str, list[float]] = {}
    for number, image in enumerate(images):
        embeddings = embed(predictor, image)
        rows = measure_user(predictor, embeddings, image, n_objects, number)
        if len(rows):
            groups.setdefault(image.group, []).append(rows)
        if image.complete and predictor.model.dense_kind is not None:
            automatic.setdefault(image.group, []).append(measure_automatic(predictor, embeddings, image))
    means = {group: np.concatenate(rows).mean(0) for group, rows in groups.items()}
    if not means:
        return dict.fromkeys(FIGURES, float("nan"))
    figures = dict(zip(FIGURES, np.mean(list(means.values()), axis=0).tolist(), strict=True))
    if automatic:
        figures[AUTOMATIC] = float(np.mean([np.mean(values) for values in automatic.values()]))
    if len(means) > 1:
        for group, row in means.items():
            figures |= {f"{group}: {name}": value for name, value in zip(FIGURES, row.tolist(), strict=True)}
    return figures


def embed(predictor: Predictor, image: TrainingImage) -> Embeddings:
    """The features of an image, which is not stretched again."""
    normalization = Normalization.identity()
    embeddings, store = open_embeddings(predictor, image.image, None, 2, "whole", normalization=normalization)
    for _ in iter_embeddings(predictor, image.image, store):
        pass
    return embeddings


def measure_automatic(predictor: Predictor, embeddings: Embeddings, image: TrainingImage) -> float:
    """SA50 of the dense head's segmentation, without looking closer: that costs many times as much."""
    segmenter = DenseInstanceSegmenter(predictor)
    segmenter.initialize(None, Embeddings(embeddings.store))
    return compare_labels(np.asarray(segmenter.generate()), image.labels)["SA50"]


def measure_user(
    predictor: Predictor, embeddings: Embeddings, image: TrainingImage, n_objects: int, seed: int
) -> np.ndarray:
    """IoUs of a click, a box and a corrected click, one row per object: (n, 3)."""
    common: dict[str, Any] = {"max_objects": n_objects, "min_size": MIN_AREA, "seed": seed}
    clicked = list(evaluate_image(predictor, embeddings, image.labels, "point", CORRECTIONS, **common))
    boxed = list(evaluate_image(predictor, embeddings, image.labels, "box", 0, **common))
    rows = [(click.ious[0], box.ious[0], click.ious[-1]) for click, box in zip(clicked, boxed, strict=True)]
    return np.array(rows).reshape(-1, len(FIGURES))


def score(figures: Mapping[str, float]) -> float:
    """The one number that decides which weights are best."""
    return float(np.mean([figures[name] for name in (*FIGURES, AUTOMATIC) if name in figures]))
