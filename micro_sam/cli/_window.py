"""What the commands that open a window check before they do."""

from __future__ import annotations

import os
import sys

from micro_sam.errors import InputError


def has_screen() -> bool:
    """Whether a window can be opened: everywhere but on Linux without X or Wayland."""
    named = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or os.environ.get("QT_QPA_PLATFORM")
    return bool(named) or not sys.platform.startswith("linux")


def check_screen() -> None:
    """Whether there is a screen to open a window on; Qt itself would end the process without a word of help.

    Raises
    ------
    InputError
        On Linux without X or Wayland.
    """
    if not has_screen():
        raise InputError(
            "There is no screen to open a window on (DISPLAY is not set). On a machine without one use "
            "micro_sam.precompute_embeddings or micro_sam.automatic_segmentation; over ssh, connect with 'ssh -X'."
        )


def check_device(device: str | None) -> None:
    """Whether the device is there; "auto" and "cpu" are known without asking torch.

    Raises
    ------
    InputError
        When it is not.
    """
    if device not in (None, "auto", "cpu"):
        from micro_sam.models.device import get_device

        get_device(device)
