"""Semantic segmentation of volumes (micro-sam 1.x). Not supported; the names say what to use instead."""

from __future__ import annotations

from typing import Any, NoReturn

from micro_sam.errors import ModelError

__all__ = ["get_simple_sam_3d_model", "SimpleSam3DWrapper"]


_INSTEAD = (
    "Models for semantic segmentation of volumes are not supported: this program segments objects. Use "
    "micro_sam.multi_dimensional_segmentation.automatic_3d_segmentation for all objects of a volume, or annotator_3d."
)


def get_simple_sam_3d_model(*_: Any, **__: Any) -> NoReturn:
    """Not supported; the error says what to use instead."""
    raise ModelError(_INSTEAD)


def SimpleSam3DWrapper(*_: Any, **__: Any) -> NoReturn:
    """Not supported; the error says what to use instead."""
    raise ModelError(_INSTEAD)
