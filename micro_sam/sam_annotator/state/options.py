"""Options of the window: each field carries its label, its range and its tip. Forms are made of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from micro_sam.session.propagation.volume import Method
from micro_sam.session.values import MIN_SIZE


class Options(BaseModel):
    """Some options; they do not change, `changed` makes others."""

    model_config = ConfigDict(frozen=True)

    def changed(self, **values: Any) -> Self:
        """A copy with other values, checked."""
        return type(self)(**{**dict(self), **values})


def option(
    default: Any,
    label: str,
    tip: str,
    low: float | None = None,
    high: float | None = None,
    step: float | None = None,
    *,
    choices: Mapping[str, str] | None = None,
) -> Any:
    """A field of options.

    Parameters
    ----------
    label, tip
        What the form calls it, and says when the mouse rests on it.
    low, high, step
        Range of a number.
    choices
        Text for the user -> value, where there are several to choose from.
    """
    extra: dict[str, Any] = {"step": step, "choices": dict(choices) if choices is not None else None}
    return Field(default, title=label, description=tip, ge=low, le=high, json_schema_extra=extra)


MIN_SIZE_TIP = "Objects with fewer pixels are left out, also what a commit would leave of one that others cover."
_SPLIT = ("split", "Raise it when objects are cut, lower it when they are merged.", 0.0, 0.9, 0.01)
_FOREGROUND = option(0.5, "foreground", "Lower it to find fainter objects.", 0.05, 0.95, 0.01)


class DenseThresholds(Options):
    """Thresholds of Segment All Objects with the object maps of the model; see ``generate`` of the segmenter."""

    foreground_threshold: float = _FOREGROUND
    distance_threshold: float = option(0.6, "middle", "Lower it when objects are missed.", 0.02, 0.95, 0.01)
    prominence: float = option(0.2, *_SPLIT)
    min_size: int = option(MIN_SIZE, "minimal size", MIN_SIZE_TIP, 0, 100_000, 5)


class GridThresholds(Options):
    """Thresholds of Segment All Objects with a grid of points, as ``generate`` of the segmenter takes them."""

    pred_iou_thresh: float = option(0.88, "quality", "Lower it to keep more masks.", 0.3, 1.0, 0.01)
    stability_score_thresh: float = option(0.95, "stability", "Lower it to keep soft edges.", 0.4, 1.0, 0.01)
    box_nms_thresh: float = option(0.7, "overlap", "Raise it to keep masks that overlap.", 0.05, 1.0, 0.05)
    min_size: int = option(MIN_SIZE, "minimal size", MIN_SIZE_TIP, 0, 100_000, 5)


THRESHOLDS: dict[str, type[Options]] = {"dense": DenseThresholds, "grid": GridThresholds}
"""Method of Segment All Objects -> its thresholds."""
AUTOMATIC_METHODS = {"dense": "object maps of the model", "grid": "grid of points"}


class LookOptions(Options):
    """How closely Segment All Objects looks at an image; see :class:`.DenseInstanceSegmenter`."""

    look_closer: Literal["auto", "always", "never"] = option(
        "auto",
        "look closer",
        "Up to which size of the image (square) it looks again, enlarged, where objects are small. Finds more of them, "
        "and takes up to eight times as long as embedding the image. Press the button again.",
        choices={"up to 3,500 pixels": "auto", "in any image": "always", "up to 1,800 pixels": "never"},
    )


class VolumeThresholds(Options):
    """Thresholds of Segment All in Volume; see :func:`~micro_sam.segmentation.volume.automatic.segment_volume`."""

    foreground_threshold: float = _FOREGROUND
    distance_threshold: float = option(0.65, "middle", "Lower it when objects are missed.", 0.0, 0.95, 0.01)
    prominence: float = option(0.15, *_SPLIT)
    min_size: int = option(0, "minimal size", "Objects with fewer voxels are left out.", 0, 1_000_000, 50)


PROJECTIONS = {
    "default": "default",
    "box": "box",
    "mask": "mask",
    "points": "points",
    "points and mask": "points_and_mask",
    "single point": "single_point",
}


class VolumeOptions(Options):
    """How objects are extended through the volume; see :meth:`.VolumePropagation.plan`."""

    method: Method = option(
        "auto",
        "method",
        "maps: the whole object at once, from all slices together. propagation: from slice to slice. "
        "auto: maps where they are ready, else propagation.",
        choices={name: name for name in ("auto", "maps", "propagation")},
    )
    iou_threshold: float = option(
        0.8,
        "stop below overlap",
        "The object ends where its overlap with the slice before is lower (lower it to go further), and where it does "
        "not stand out from its surroundings any more.",
        0.0,
        1.0,
        0.01,
    )
    projection: str = option(
        "default", "projection", "How the object in one slice prompts the next one.", choices=PROJECTIONS
    )
    box_extension: float = option(
        0.0,
        "grow boxes by",
        "Below 1: a fraction of the box; from 1 on: pixels. For objects that grow fast.",
        0.0,
        500.0,
        0.05,
    )
    interpolation: str = option(
        "lost",
        "interpolate",
        "Between two prompted slices, the shape is interpolated where the model loses the object, never, or always (no "
        "model is asked).",
        choices={"where the object is lost": "lost", "never": "never", "always": "always"},
    )


class TrackingOptions(Options):
    """How objects are followed; see :meth:`.MoviePropagation.plan`."""

    iou_threshold: float = option(
        0.5,
        "stop below overlap",
        "A track ends where its overlap with the expected mask is lower. Lower it to go further.",
        0.0,
        1.0,
        0.01,
    )
    projection: str = option(
        "default", "projection", "How the object in one frame prompts the next one.", choices=PROJECTIONS
    )
    motion_smoothing: float = option(
        0.5, "smooth motion", "How much the motion of earlier frames counts; 0: only the last step.", 0.0, 1.0, 0.05
    )
    box_extension: float = option(
        0.0, "grow boxes by", "Below 1: a fraction of the box; from 1 on: pixels.", 0.0, 500.0, 0.05
    )
    divisions: bool = option(
        True,
        "stop at divisions",
        "A track stops where its object becomes two, and the division is offered. Needs a model with maps of objects.",
    )
    backward: bool = option(
        False, "also backward", "Follow the tracks from their first prompt toward the first frame, too."
    )


class TrainingOptions(Options):
    """How a model is trained on what is committed."""

    output: Path = option(Path(), "model file", "The weight file to make (.safetensors).")
    trainable: Literal["full", "decoder", "lora"] = option(
        "full",
        "learns",
        "The decoder alone is much faster with the large models (vit_b, vit_l, vit_h).",
        choices={"whole model": "full", "decoder only": "decoder", "decoder and adapters": "lora"},
    )
    steps: int = option(150, "steps", "More steps learn more.", 1, 100_000)
    complete: bool = option(
        False,
        "all objects are committed",
        "In every annotated image or slice. If not, what is left is not taken for background.",
    )
