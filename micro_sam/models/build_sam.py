"""Models of another size (micro-sam 1.x). Not supported; the names say what to use instead."""

from __future__ import annotations

from typing import Any, NoReturn

from micro_sam.errors import ModelError

__all__ = ["build_sam", "build_sam_vit_b", "build_sam_vit_h", "build_sam_vit_l"]


def build_sam(*_: Any, **__: Any) -> NoReturn:
    """Not supported; the error says what to use instead."""
    raise ModelError(
        "Models are not built here by hand. Use micro_sam.util.get_sam_model(model_type, checkpoint_path=..., "
        "return_sam=True), which returns the predictor and the model."
    )


build_sam_vit_b = build_sam_vit_h = build_sam_vit_l = build_sam
