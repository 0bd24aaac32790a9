"""Training with the calls of micro-sam 1.x, over ``micro_sam.training``.

A loader here says where images and labels are, and how they are to be cut; the training reads them itself. Loaders
that a script has built in another way (torch, torch-em) are refused.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.models.checkpoints import export_custom_sam_model
from micro_sam.training.config import DataSource, TrainConfig
from micro_sam.training.trainer import Trainer

__all__ = [
    "LabelledImages",
    "default_sam_dataset",
    "default_sam_loader",
    "export_instance_segmentation_model",
    "refuse_part",
    "train_instance_segmentation",
    "train_sam",
    "train_sam_for_configuration",
]

STEPS_PER_EPOCH = 50  # where a loader does not say how many samples an epoch has
# What the training chooses itself. Named, so that a mistyped argument is still an error.
OWN_CHOICE = frozenset(
    "n_sub_iteration mask_prob scheduler_class scheduler_kwargs save_every_kth_epoch pbar_signals optimizer_class "
    "ignore_warnings verify_n_labels_in_loader box_distortion_factor overwrite_training strict_decoder_loading loss "
    "metric".split()
)
CONFIGURATIONS = {"Minimal": ("vit_t", 1), "CPU": ("vit_b", 2), "gtx1080": ("vit_t", 5), "gtx3080": ("vit_b", 5)}
CONFIGURATIONS |= {"rtx5000": ("vit_b", 10), "V100": ("vit_b", 10), "A100": ("vit_h", 25)}


@dataclass(frozen=True)
class LabelledImages:
    """Where the images of a training are; what `default_sam_loader` returns.

    Attributes
    ----------
    images, labels : tuple of str
        Files, folders or patterns.
    patch_shape : tuple of int
        Of the crops that a script asked for; the training cuts them in the frame of the model itself.
    batch_size : int
    n_samples : int or None
        Samples of an epoch.
    with_segmentation_decoder : bool
        Whether a decoder for automatic segmentation is to be trained.
    """

    images: tuple[str, ...]
    labels: tuple[str, ...]
    patch_shape: tuple[int, ...] = ()
    batch_size: int = 1
    n_samples: int | None = None
    with_segmentation_decoder: bool = True
    ignored: tuple[str, ...] = field(default=())

    @property
    def source(self) -> DataSource:
        """For ``TrainConfig``."""
        return DataSource(self.images, self.labels)

    def __len__(self) -> int:
        return max(1, (self.n_samples or STEPS_PER_EPOCH * self.batch_size) // self.batch_size)


def default_sam_loader(**kwargs: Any) -> LabelledImages:
    """Images and labels for a training.

    Parameters
    ----------
    raw_paths, label_paths : path, or sequence of paths
        Files or folders.
    raw_key, label_key : str, optional
        Of folders: the pattern of the files, such as "*.tif". Datasets of containers are not supported.
    patch_shape, batch_size, n_samples, with_segmentation_decoder
        See `LabelledImages`.
    **kwargs
        What torch's DataLoader takes (``shuffle``, ``num_workers``, ...) and transformations are of no effect.

    Raises
    ------
    InputError
        For arrays, and for datasets of containers.
    """
    return default_sam_dataset(batch_size=int(kwargs.pop("batch_size", 1)), **kwargs)


def default_sam_dataset(
    raw_paths: Any,
    raw_key: str | None,
    label_paths: Any,
    label_key: str | None,
    patch_shape: tuple[int, ...] = (),
    with_segmentation_decoder: bool = True,
    n_samples: int | None = None,
    batch_size: int = 1,
    **kwargs: Any,
) -> LabelledImages:
    """The same as `default_sam_loader`; datasets of torch-em are not made here."""
    return LabelledImages(
        _files(raw_paths, raw_key),
        _files(label_paths, label_key),
        tuple(patch_shape),
        batch_size,
        n_samples,
        with_segmentation_decoder or bool(kwargs.get("train_instance_segmentation_only")),
        tuple(sorted(kwargs)),
    )


def train_sam(
    name: str,
    model_type: str,
    train_loader: LabelledImages,
    val_loader: LabelledImages | None = None,
    n_epochs: int = 100,
    early_stopping: int | None = 10,
    n_objects_per_batch: int | None = 25,
    checkpoint_path: str | os.PathLike[str] | None = None,
    with_segmentation_decoder: bool = True,
    freeze: Sequence[str] | None = None,
    device: str | None = None,
    lr: float = 1e-5,
    save_root: str | os.PathLike[str] | None = None,
    n_iterations: int | None = None,
    peft_kwargs: dict[str, Any] | None = None,
    **kwargs: Any,
) -> Path:
    """Fine-tune a model.

    Parameters
    ----------
    name : str
        Of the training; the result is ``<save_root>/checkpoints/<name>/best.pt``, and ``best.safetensors`` beside it.
    model_type, checkpoint_path
        What to start from, see ``util.get_sam_model``.
    train_loader, val_loader : LabelledImages
        From `default_sam_loader`.
    n_epochs, n_iterations : int
        Length of the training; an epoch are ``len(train_loader)`` steps.
    early_stopping : int, optional
        Stop after so many validations without improvement.
    n_objects_per_batch : int, optional
        Objects prompted per image.
    with_segmentation_decoder : bool
        Train the decoder for automatic segmentation too; a model without one gets one.
    freeze : sequence of str, optional
        ``["image_encoder"]`` trains the decoders only; other parts cannot be frozen.
    device : str, optional
    lr : float
        Learning rate.
    peft_kwargs : dict, optional
        ``rank`` of low-rank adapters in the encoder; they are merged in the end.
    **kwargs
        Optimiser, scheduler, losses and the like are chosen by ``micro_sam.training``; named ones are of no effect.

    Returns
    -------
    Path
        The file ``best.pt``.

    Raises
    ------
    InputError, ModelError, OutputError
        With a sentence that says what to do.
    """
    loaders = (train_loader, *(() if val_loader is None else (val_loader,)))
    for loader in loaders:
        if not isinstance(loader, LabelledImages):
            raise InputError(
                f"A loader of type {type(loader).__name__} is not supported. Use default_sam_loader with the paths of "
                "images and labels, or micro_sam.training.train_sam(images, labels)."
            )
    unknown = sorted(set(kwargs) - OWN_CHOICE)
    if unknown:
        raise InputError(f"train_sam has no argument {', '.join(unknown)}.")
    if freeze and set(freeze) != {"image_encoder"}:
        raise InputError(f"Only the image encoder can be frozen, not {', '.join(sorted(set(freeze)))}.")
    if peft_kwargs:
        from micro_sam.models.peft_sam import LoRASurgery, check_peft_kwargs

        check_peft_kwargs(peft_kwargs)
        if not issubclass(peft_kwargs.get("peft_module", LoRASurgery), LoRASurgery):
            raise InputError("Parameter-efficient training is with LoRASurgery; other modules are not trained here.")
    folder = Path(save_root or ".") / "checkpoints" / name
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / "best.safetensors"
    has_head = model_type.startswith("nano")
    config = TrainConfig(
        model=model_type,
        checkpoint=None if checkpoint_path is None else os.fspath(checkpoint_path),
        train=(train_loader.source,),
        validation=() if val_loader is None else (val_loader.source,),
        output=os.fspath(output),
        trainable="decoder" if freeze else "lora" if peft_kwargs else "full",
        lora_rank=int((peft_kwargs or {}).get("rank") or 4),
        dense_head=("auto" if has_head else "add") if with_segmentation_decoder else "off",
        steps=n_iterations or n_epochs * len(train_loader),
        batch_size=train_loader.batch_size,
        objects=n_objects_per_batch or 25,
        learning_rate=lr,
        patience=early_stopping or 0,
        device=device or "auto",
        name=name,
    )
    for _ in Trainer(config, overwrite=True).run():
        pass
    export_custom_sam_model(output, None, folder / "best.pt", with_segmentation_decoder=with_segmentation_decoder)
    return folder / "best.pt"


def train_instance_segmentation(
    name: str, model_type: str, train_loader: LabelledImages, val_loader: LabelledImages | None = None, **kwargs: Any
) -> Path:
    """Train the decoders with a frozen encoder; parameters as of :func:`train_sam`.

    The prompt decoder is trained along, as everywhere here.
    """
    kwargs["freeze"] = ["image_encoder"]
    return train_sam(name, model_type, train_loader, val_loader, with_segmentation_decoder=True, **kwargs)


def train_sam_for_configuration(
    name: str,
    train_loader: LabelledImages,
    val_loader: LabelledImages | None = None,
    configuration: str | None = None,
    checkpoint_path: str | os.PathLike[str] | None = None,
    with_segmentation_decoder: bool = True,
    train_instance_segmentation_only: bool = False,
    model_type: str | None = None,
    **kwargs: Any,
) -> Path:
    """:func:`train_sam` with a model and a number of objects that suit a machine.

    Parameters
    ----------
    configuration : str, optional
        One of "Minimal", "CPU", "gtx1080", "gtx3080", "rtx5000", "V100", "A100". None: "CPU".
    """
    configuration = configuration or "CPU"
    if configuration not in CONFIGURATIONS:
        raise InputError(f"There is no configuration {configuration!r}; choose one of {', '.join(CONFIGURATIONS)}.")
    model, objects = CONFIGURATIONS[configuration]
    if train_instance_segmentation_only:
        kwargs["freeze"] = ["image_encoder"]
    kwargs.setdefault("n_objects_per_batch", objects)
    return train_sam(
        name,
        model_type or model,
        train_loader,
        val_loader,
        checkpoint_path=checkpoint_path,
        with_segmentation_decoder=with_segmentation_decoder or train_instance_segmentation_only,
        **kwargs,
    )


def export_instance_segmentation_model(
    trained_model_path: str | os.PathLike[str],
    output_path: str | os.PathLike[str],
    model_type: str | None,
    initial_checkpoint_path: str | os.PathLike[str] | None = None,
) -> None:
    """A checkpoint with model and decoder; `train_instance_segmentation` writes such a one already."""
    export_custom_sam_model(trained_model_path, model_type, output_path, with_segmentation_decoder=True)


def refuse_part(*_: Any, **__: Any) -> None:
    """Not supported: parts for training loops of one's own.

    Raises
    ------
    InputError
    """
    raise InputError(
        "Parts of the training of micro-sam 1.x (trainers, loggers, inputs of the model) are not supported. Use "
        "micro_sam.training.train_sam, which does the whole training; for a loop of your own take the model from "
        "micro_sam.util.get_sam_model(..., return_sam=True)."
    )


def _files(paths: Any, key: str | None) -> tuple[str, ...]:
    several = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if any(isinstance(path, np.ndarray) or hasattr(path, "numpy") for path in several):
        raise InputError("The training reads files: save the arrays as tif, and give their paths or their folder.")
    if key is None:
        return tuple(os.fspath(path) for path in several)
    if not all(Path(path).is_dir() for path in several) or not any(c in key for c in "*?["):
        raise InputError(
            f"The key {key!r} is the pattern of the files in a folder here, such as '*.tif'. Save datasets of "
            "containers as tif for a training."
        )
    return tuple(os.fspath(Path(path) / key) for path in several)
