"""The module in which scripts of micro-sam 1.x find the training. A front door; the code is in ``compat.training``."""

from micro_sam.compat.training import (
    default_sam_dataset,
    default_sam_loader,
    export_instance_segmentation_model,
    train_instance_segmentation,
    train_sam,
    train_sam_for_configuration,
)

__all__ = [
    "default_sam_dataset",
    "default_sam_loader",
    "export_instance_segmentation_model",
    "train_instance_segmentation",
    "train_sam",
    "train_sam_for_configuration",
]
