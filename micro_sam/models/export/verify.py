"""Does an export give what our own predictor gives?"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from micro_sam.errors import ModelError
from micro_sam.io.normalization import estimate_normalization, to_rgb_uint8
from micro_sam.models.export.runtime import OnnxSam
from micro_sam.models.predictor import Predictor
from micro_sam.sample_data import open_sample

TOLERANCE = 1e-3  # of logits, of scores, and of features and maps relative to their largest value


def sample_image() -> np.ndarray:
    """The image on which exports are checked and shown: (303, 384, 3), uint8, of a sample in the installation."""
    image = open_sample("coins").image
    return to_rgb_uint8(image, estimate_normalization(image, 2))


def prompt_cases(size: tuple[int, int], grid_size: int) -> dict[str, dict[str, Any]]:
    """Arguments of `Predictor.decode` for an image of ``size`` (H, W), each kind of prompt once."""
    h, w = size
    points = np.array([[[0.2, 0.2], [0.8, 0.7], [0.5, 0.4]], [[0.7, 0.1], [0.4, 0.9], [0.0, 0.0]]]) * (h, w)
    labels = np.array([[1, 0, 1], [1, 0, -1]])
    boxes = np.array([[0.1, 0.1, 0.4, 0.3], [0.5, 0.2, 0.9, 0.95]]) * (h, w, h, w)
    ramp = np.linspace(-8, 8, 4 * grid_size, dtype=np.float32)
    mask = np.minimum(ramp[:, None], -ramp)[None, None]
    return {
        "one point": {"points": points[:1, :1], "labels": labels[:1, :1]},
        "several points": {"points": points, "labels": labels},
        "boxes": {"boxes": boxes},
        "boxes with points": {"points": points, "labels": labels, "boxes": boxes},
        "a mask with a point": {"points": points[:1, :1], "labels": labels[:1, :1], "mask_input": mask},
        "a mask alone": {"mask_input": mask},
    }


def verify(predictor: Predictor, exported: OnnxSam) -> dict[str, float]:
    """Largest difference to the predictor (CPU, float32) of features, maps, and the logits of each kind of prompt.

    Raises
    ------
    ModelError
        When a difference is above `TOLERANCE`.
    """
    image = sample_image()
    ours = predictor.encode(image)
    features, dense = exported.encode(image)
    differences = {"features": _relative(features, ours.features)}
    if predictor.model.dense_kind == "distances":
        with torch.no_grad():
            differences["dense maps"] = _relative(dense, predictor.model.dense_from_features(ours.features))
    elif ours.dense is not None:
        differences["dense maps"] = _relative(dense, ours.dense[None])
    for name, prompts in prompt_cases(image.shape[:2], predictor.model.grid_size).items():
        both = [predictor.decode(ours, **prompts, multimask_output=multimask) for multimask in (False, True)]
        logits, scores = exported.decode(ours.features.numpy(), image.shape[:2], **prompts)
        differences[name] = max(
            _absolute(logits, torch.cat([d.low_res_logits for d in both], dim=1)),
            _absolute(scores, torch.cat([d.scores for d in both], dim=1)),
        )
    wrong = {name: value for name, value in differences.items() if not value <= TOLERANCE}  # NaN is wrong too
    if wrong:
        text = ", ".join(f"{name} by {value:.2g}" for name, value in wrong.items())
        raise ModelError(
            f"The export does not give the model's results and was not kept: {text} (allowed is {TOLERANCE:g}). "
            "Try another version of onnxruntime, and please report this."
        )
    return differences


def _absolute(theirs: np.ndarray, ours: torch.Tensor) -> float:
    if theirs.shape != tuple(ours.shape):
        return float("inf")
    return float(np.abs(theirs - ours.numpy()).max())


def _relative(theirs: np.ndarray | None, ours: torch.Tensor) -> float:
    assert theirs is not None  # where the model has such maps the file gives them, too
    return _absolute(theirs, ours) / max(1.0, float(ours.abs().max()))
