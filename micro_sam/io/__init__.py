"""Images, labels and tracks in files of any format of the field, and how results get onto the disc."""

from importlib import import_module
from typing import Any

_HOMES = {
    "check_image": "checks",
    "load_labels": "label_reading",
    "load_tracks": "tracks",
    "open_image": "images",
    "save_labels": "labels",
    "save_tracks": "tracks",
}
__all__ = ["check_image", "load_labels", "load_tracks", "open_image", "save_labels", "save_tracks"]


def __getattr__(name: str) -> Any:
    """What scripts use most; imported on first use, because the formats are many."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
