"""Fine-tuning on one's own annotations: images and label images in, one weight file for every tool out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from micro_sam.training.config import DataSource, TrainConfig, load_recipe

if TYPE_CHECKING:
    from micro_sam.training.trainer import Progress, Trainer

__all__ = ["DataSource", "Progress", "TrainConfig", "Trainer", "default_sam_loader", "load_recipe", "train_sam"]
__all__ += ["default_sam_dataset", "export_instance_segmentation_model", "train_instance_segmentation"]
__all__ += ["train_sam_for_configuration"]

_OF_1_X = (
    "default_sam_dataset",
    "default_sam_loader",
    "export_instance_segmentation_model",
    "train_instance_segmentation",
    "train_sam_for_configuration",
)
# parts for training loops of one's own; calling one says what to use
_PARTS = (
    "ConvertToSamInputs",
    "JointSamLogger",
    "JointSamTrainer",
    "MedSAMTrainer",
    "SamLogger",
    "SamTrainer",
    "SemanticMapsSamTrainer",
    "SemanticSamTrainer",
    "SimpleSamTrainer",
    "get_trainable_sam_model",
    "identity",
)

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def __getattr__(name: str) -> Any:
    """What needs torch, and names of micro-sam 1.x, imported on first use."""
    if name in ("Progress", "Trainer"):
        from micro_sam.training import trainer

        return getattr(trainer, name)
    if name in _OF_1_X or name in _PARTS:
        from micro_sam.compat import training

        return getattr(training, name) if name in _OF_1_X else training.refuse_part
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def train_sam(
    images: Paths | None = None,
    labels: Paths | None = None,
    output: str | os.PathLike[str] = "fine_tuned.safetensors",
    *,
    validation_images: Paths | None = None,
    validation_labels: Paths | None = None,
    config: TrainConfig | None = None,
    overwrite: bool = False,
    progress: Callable[[Progress], Any] | None = None,
    **settings: Any,
) -> Path:
    """Fine-tunes a model on images and label images.

    Parameters
    ----------
    images, labels : path(s)
        Files, folders or patterns, for instance the images of a folder and the folder that the annotator saved to.
    output : path
        Weight file to write (``.safetensors``); use it with ``-c`` or ``checkpoint_path``. A model card and a log lie
        beside it. An interrupted training with the same settings goes on where it stopped.
    validation_images, validation_labels : path(s)
        Images to measure on; without, a share of the training images is kept back.
    config : TrainConfig | None
        All settings, instead of the arguments above.
    overwrite : bool
        Replace an existing result and begin anew.
    progress : Callable | None
        Called after every step.
    **settings
        Fields of ``TrainConfig``. With ``train_loader`` among them the arguments are those of micro-sam 1.x, see
        ``compat.training.train_sam``.

    Returns
    -------
    Path
        The weight file.

    Raises
    ------
    InputError, ModelError
        One sentence on what cannot be used, before the training begins.
    """
    if "train_loader" in settings:
        return _train_as_1_x(images, labels, settings)
    if config is None:
        if images is not None and labels is not None:
            settings["train"] = (DataSource(_paths(images), _paths(labels)),)
        if validation_images is not None and validation_labels is not None:
            settings["validation"] = (DataSource(_paths(validation_images), _paths(validation_labels)),)
        config = TrainConfig(output=str(output), **settings)
    from micro_sam.training.trainer import Trainer

    for step in Trainer(config, overwrite).run():
        if progress is not None:
            progress(step)
    return Path(config.output)


def _train_as_1_x(name: Any, model_type: Any, settings: dict[str, Any]) -> Path:
    """The first two arguments of 1.x are the name of the training and the model type."""
    from micro_sam.compat.training import train_sam as train

    given = {"name": name, "model_type": model_type}
    return train(**{key: value for key, value in given.items() if value is not None}, **settings)


def _paths(paths: Paths) -> tuple[str, ...]:
    return (str(paths),) if isinstance(paths, (str, os.PathLike)) else tuple(str(p) for p in paths)
