"""Semantic segmentation of volumes (micro-sam 1.x). Not supported; the names say what to use instead."""

from __future__ import annotations

from typing import Any, NoReturn

from micro_sam.errors import ModelError

__all__ = ["get_sam_3d_model", "Sam3DWrapper"]


_INSTEAD = (
    "Models for semantic segmentation of volumes are not supported: this program segments objects. Use "
    "micro_sam.multi_dimensional_segmentation.automatic_3d_segmentation for all objects of a volume, or annotator_3d."
)


def get_sam_3d_model(*_: Any, **__: Any) -> NoReturn:
    """Not supported; the error says what to use instead."""
    raise ModelError(_INSTEAD)


def Sam3DWrapper(*_: Any, **__: Any) -> NoReturn:
    """Not supported; the error says what to use instead."""
    raise ModelError(_INSTEAD)
