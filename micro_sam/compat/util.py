"""Small names of ``micro_sam.util`` that scripts use and the rooms do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from micro_sam.embeddings.embeddings import Embeddings as ImageEmbeddings
from micro_sam.errors import InputError, ModelError
from micro_sam.models.device import get_device as choose_device
from micro_sam.models.predictor import Predictor as SamPredictor
from micro_sam.segmentation.labels import get_centers_and_bounding_boxes

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "VIT_T_SUPPORT",
    "ImageEmbeddings",
    "SamPredictor",
    "export_custom_qlora_model",
    "get_block_shape",
    "get_cell_center_coordinates",
    "get_device",
    "handle_pbar",
    "micro_sam_info",
]

VIT_T_SUPPORT = True  # MobileSAM needs no extra package here
BLOCK_SHAPES = {2: (1024, 1024), 3: (32, 256, 256)}  # what one process handles with ease, as in micro-sam


def get_device(device: str | torch.device | None = None) -> str | torch.device:
    """The device to compute on, checked.

    Parameters
    ----------
    device : str, torch.device or None
        See `micro_sam.models.device.get_device`.

    Returns
    -------
    str or torch.device
        A name for a name or None, so that ``get_device("cpu") == "cpu"``; a torch.device for a torch.device.
    """
    selected = choose_device(device)
    return selected if isinstance(device, torch.device) else str(selected)


def get_block_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape for chunks of an image (H, W) or volume (Z, H, W); at most (1024, 1024) or (32, 256, 256)."""
    if len(shape) not in BLOCK_SHAPES:
        raise InputError(f"A block shape is for images of 2 or 3 axes, not for the shape {tuple(shape)}.")
    return tuple(min(int(size), most) for size, most in zip(shape, BLOCK_SHAPES[len(shape)], strict=True))


def handle_pbar(
    verbose: bool, pbar_init: Callable[..., Any] | None, pbar_update: Callable[..., Any] | None
) -> tuple[object | None, Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """A progress bar of the terminal, callbacks of one's own, or silence.

    Parameters
    ----------
    verbose : bool
        Show tqdm's bar, where no callback is given.
    pbar_init, pbar_update : callable, optional
        Called with (total, description), and with the number of steps done.

    Returns
    -------
    bar, init, update, close
        The bar is None unless it is tqdm's.
    """

    def nothing(*_: Any) -> None:
        pass

    if pbar_init is not None:
        return None, pbar_init, pbar_update or nothing, nothing
    if not verbose:
        return None, nothing, nothing, nothing
    from tqdm import tqdm

    bar = tqdm()

    def init(total: int, description: str) -> None:
        bar.total = total
        bar.set_description(description)

    return bar, init, bar.update, bar.close


def micro_sam_info(arguments: Sequence[str] | None = None) -> None:
    """Print version, device, models and folders, as the command ``micro_sam.info`` does."""
    from micro_sam.cli.info import main

    main([] if arguments is None else arguments)


def export_custom_qlora_model(*_: Any, **__: Any) -> None:
    """Not supported: models in four-bit form are neither trained nor read here."""
    raise ModelError(
        "Models fine-tuned with QLoRA (4 bit) are not supported. Train with trainable='lora' "
        "(micro_sam.training.train_sam): its result is an ordinary checkpoint that needs no export."
    )


def get_cell_center_coordinates(
    gt: np.ndarray, mode: str = "p"
) -> tuple[dict[int, tuple[float, float]], dict[int, tuple[int, int, int, int]]]:
    """Centres and boxes of objects (micro_sam 0.0.2); `get_centers_and_bounding_boxes` with centroids by default."""
    return get_centers_and_bounding_boxes(gt, mode)
