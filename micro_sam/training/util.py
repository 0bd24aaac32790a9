"""Parts of the training (micro-sam 1.x). Not supported; the names say what to use instead."""

from typing import Any

from micro_sam.compat.training import refuse_part

_NAMES = (
    "ConvertToSamInputs",
    "ConvertToSemanticSamInputs",
    "ResizeLabelTrafo",
    "ResizeRawTrafo",
    "get_raw_transform",
    "get_trainable_sam_model",
    "identity",
    "normalize_to_8bit",
    "require_8bit",
)


def __getattr__(name: str) -> Any:
    """Calling one of the names says what to use."""
    if name in _NAMES:
        return refuse_part
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
