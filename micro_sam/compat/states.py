"""States of the automatic segmentation in the files of micro-sam 1.x.

For models with a decoder these are maps in ``<cache>/is_state.h5``: a group ``state``, or ``state-<i>`` for each slice,
with the datasets ``foreground``, ``center_distances`` and ``boundary_distances``, float32 (H, W). They are read and
written here. Those of the mask generator are pickles, which run whatever a file says when they are opened: they are
never read; this program keeps its own answers in ``<cache>/automatic``.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from torch import nn

from micro_sam.compat.decoder_segmentation import (
    MAPS,
    InstanceSegmentationWithDecoder,
    TiledInstanceSegmentationWithDecoder,
)
from micro_sam.embeddings.embeddings import Embeddings, as_embeddings
from micro_sam.errors import InputError, OutputError
from micro_sam.io.atomic import locked, remove
from micro_sam.segmentation.automatic import states
from micro_sam.segmentation.automatic.dense_blocks import in_blocks
from micro_sam.segmentation.automatic.masks import AutomaticMaskGenerator, get_amg

if TYPE_CHECKING:
    from micro_sam.models.predictor import Predictor

__all__ = ["cache_amg_state", "cache_is_state", "keep_maps"]

logger = logging.getLogger(__name__)

IS_STATE = "is_state.h5"
SPARE = 2**24  # bytes on the disc beyond the maps themselves
PICKLES = ("amg_state.pickle", "amg_state")


def cache_amg_state(
    predictor: Predictor,
    raw: np.ndarray,
    image_embeddings: Mapping[str, Any],
    save_path: str | os.PathLike[str],
    verbose: bool = True,
    i: int | None = None,
    **kwargs: Any,
) -> AutomaticMaskGenerator:
    """The automatic mask generator, initialized: from the answers kept in a cache, or computed and kept there.

    Parameters
    ----------
    predictor : Predictor
    raw : array
        The image; needed by crop layers only.
    image_embeddings : Embeddings or mapping
    save_path : path
        Folder of the cache. A pickled state of micro-sam 1.x in it is left alone and not used.
    verbose : bool
        Show a progress bar.
    i : int, optional
        Slice of 3D embeddings.
    **kwargs
        Parameters of the automatic mask generator.
    """
    embeddings = as_embeddings(image_embeddings)
    amg = get_amg(predictor, embeddings.grid.is_tiled, **kwargs)
    folder = Path(save_path)
    if any((folder / name).exists() for name in PICKLES):
        logger.warning(
            "The automatic segmentation that micro-sam 1.x kept in %s is a pickle, which could run a program when it "
            "is opened. It is not read; the masks are computed again and kept in %s.",
            folder,
            folder / "automatic",
        )
    path = states.file_of(folder, amg.method, i)
    if not states.read_state(amg, path):
        amg.initialize(raw, embeddings, i, verbose)
        folder.mkdir(parents=True, exist_ok=True)
        states.write_state(amg, path)
    return amg


def cache_is_state(
    predictor: Predictor,
    decoder: nn.Module | None,
    raw: np.ndarray | None,
    image_embeddings: Mapping[str, Any],
    save_path: str | os.PathLike[str],
    verbose: bool = True,
    i: int | None = None,
    skip_load: bool = False,
    **kwargs: Any,
) -> InstanceSegmentationWithDecoder | None:
    """The segmentation with a decoder, initialized: from the maps in ``is_state.h5``, or computed and kept there.

    Parameters
    ----------
    predictor : Predictor
    decoder : DecoderAdapter, optional
        None: that of the predictor's model.
    raw : array, optional
        Not needed.
    image_embeddings : Embeddings or mapping
    save_path : path
        Folder of the cache.
    verbose : bool
        Show a progress bar.
    i : int, optional
        Slice of 3D embeddings.
    skip_load : bool
        Return None when the maps are there already.

    Raises
    ------
    OutputError
        When the file cannot be written.
    """
    if kwargs:
        raise InputError(f"The segmentation with a decoder has no parameters {', '.join(kwargs)}.")
    embeddings = as_embeddings(image_embeddings)
    classes = (InstanceSegmentationWithDecoder, TiledInstanceSegmentationWithDecoder)
    segmenter = classes[int(embeddings.grid.is_tiled)](predictor, decoder)
    path = Path(save_path) / IS_STATE
    known = read_maps(path, i, embeddings.grid.shape)
    if known is not None:
        if skip_load:
            return None
        segmenter.set_state(known)
        return segmenter
    segmenter.initialize(raw, embeddings, i, verbose)
    write_maps(path, i, segmenter.get_state())
    return segmenter


def keep_maps(predictor: Predictor, embeddings: Embeddings) -> None:
    """Keep the maps of a model with a dense head in the ``is_state.h5`` of a cache; nothing for other models.

    Nor for large 2D images: micro-sam 1.x holds their maps in memory as a whole. What is kept in blocks serves here.
    """
    folder = getattr(embeddings.store, "path", None)
    if folder is None or predictor.model.dense_kind is None or in_blocks(embeddings):
        return
    for i in [None] if embeddings.n_slices is None else range(embeddings.n_slices):
        cache_is_state(predictor, None, None, embeddings, folder, verbose=False, i=i, skip_load=True)


def read_maps(path: Path, i: int | None, shape: tuple[int, int]) -> dict[str, np.ndarray] | None:
    """The maps of an image or slice in a file; None when they are not there, or of another image."""
    try:
        with h5py.File(path, "r") as file:
            group = file[_group(i)]
            maps = {name: group[name][:].astype("float32") for name in MAPS}
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError):  # not there, or damaged
        return None
    if any(values.shape != tuple(shape) for values in maps.values()):
        logger.warning("The automatic segmentation kept in %s is of another image; it is computed again.", path)
        return None
    return maps


def write_maps(path: Path, i: int | None, maps: Mapping[str, np.ndarray]) -> None:
    """Add the maps of an image or slice to a file; those of the same slice are replaced.

    A file that cannot be read as HDF5 (a process was killed, or it is not one of ours) is kept as ``NAME.bak``.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_space(path.parent, sum(4 * np.size(values) for values in maps.values()))
        with locked(path.parent):  # a file that another process writes looks damaged
            _add_maps(path, i, maps)
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise OutputError(f"The automatic segmentation cannot be kept in {path}: {error}.") from error


def _add_maps(path: Path, i: int | None, maps: Mapping[str, np.ndarray]) -> None:
    if _is_damaged(path):
        logger.warning("%s cannot be read as HDF5: it is kept as a .bak file, and a new one is begun.", path)
        remove(path, backup=True)
    with h5py.File(path, "a") as file:
        if _group(i) in file:
            del file[_group(i)]
        group = file.create_group(_group(i))
        for name in MAPS:
            group.create_dataset(name, data=np.asarray(maps[name], "float32"), compression="gzip")


def _check_space(folder: Path, needed: int) -> None:
    """OSError when the disc is too full: HDF5 may end the whole process where it cannot write."""
    if shutil.disk_usage(folder).free < needed + SPARE:
        raise OSError(errno.ENOSPC, "there is no space left on the disc")


def _is_damaged(path: Path) -> bool:
    """Whether there is a file that can be read, but not as HDF5."""
    if not path.is_file():
        return False
    with open(path, "rb"):  # OSError when that is not allowed
        pass
    try:
        with h5py.File(path, "r", locking=False) as file:
            list(file)
    except (OSError, RuntimeError, ValueError):
        return True
    return False


def _group(i: int | None) -> str:
    return "state" if i is None else f"state-{i}"
