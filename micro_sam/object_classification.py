"""Classes of objects (micro-sam 1.x). Not supported; the names say what to use instead."""

from __future__ import annotations

from typing import Any, NoReturn

from micro_sam.errors import InputError

__all__ = ["compute_object_features", "project_prediction_to_segmentation", "run_prediction_with_object_classifier"]


def refuse(*_: Any, **__: Any) -> NoReturn:
    """Not supported; the error says what to use instead."""
    raise InputError(
        "Classes of objects are not supported. Take the labels (annotator_2d, automatic_instance_segmentation) and "
        "classify the objects by measured properties (skimage.measure.regionprops_table) with scikit-learn."
    )


compute_object_features = project_prediction_to_segmentation = run_prediction_with_object_classifier = refuse
