"""What the network said for an automatic segmentation, kept beside the embeddings that it was computed from.

A grid of points costs far more than the embedding of an image. Its answers therefore lie in the folder of the cache,
``<cache>/automatic/<method>.npz`` (or ``<method>_<slice>.npz``), as plain arrays without pickle. A state of another
model or of other parameters is never used: it is computed again and replaced.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from micro_sam.embeddings.embeddings import Embeddings
from micro_sam.errors import OutputError
from micro_sam.io.atomic import replacing
from micro_sam.segmentation.automatic.dense import get_segmenter
from micro_sam.segmentation.automatic.segmenter import Segmenter

if TYPE_CHECKING:
    from micro_sam.models.predictor import Predictor

__all__ = ["iter_initialize_kept", "keep_states", "state_path"]

logger = logging.getLogger(__name__)


def state_path(embeddings: Embeddings, method: str, i: int | None = None) -> Path | None:
    """Where the state of an image or slice is kept; None when the embeddings are in memory only."""
    folder = getattr(embeddings.store, "path", None)
    if folder is None:
        return None
    return file_of(Path(folder), method, i)


def file_of(cache: Path, method: str, i: int | None = None) -> Path:
    """The file of an image or slice in the folder of a cache."""
    return cache / "automatic" / (f"{method}.npz" if i is None else f"{method}_{i:05d}.npz")


def iter_initialize_kept(
    segmenter: Segmenter, embeddings: Embeddings, i: int | None = None, image: np.ndarray | None = None
) -> Iterator[tuple[int, int]]:
    """``segmenter.iter_initialize``, or nothing but reading when the answers lie beside the embeddings already.

    Parameters
    ----------
    segmenter
        Its parameters and model decide whether a kept state fits.
    embeddings
        Complete for the slice.
    i
        Slice of 3D embeddings.
    image
        Needed by crop layers only.

    Yields
    ------
    done, total
        Steps of the network; (1, 1) when the answers were read.

    Raises
    ------
    NotComputedYet
        When the features of the slice are missing.
    """
    path = state_path(embeddings, segmenter.method, i)
    if path is not None and read_state(segmenter, path):
        yield 1, 1
        return
    yield from segmenter.iter_initialize(embeddings, i, image)
    if path is not None and not segmenter.is_kept:
        write_state(segmenter, path)


def keep_states(
    predictor: Predictor, embeddings: Embeddings, slices: Iterable[int | None] | None = None
) -> Iterator[int]:
    """Prepare the automatic segmentation of an image or of every slice; yields the slice just done (0 in 2D).

    Parameters
    ----------
    predictor
        Decides how objects are found: with its dense head, or else by a grid of points.
    embeddings
        Complete, from a cache on disc.
    slices
        Only these; None: all.
    """
    if slices is None:
        slices = [None] if embeddings.n_slices is None else range(embeddings.n_slices)
    for i in slices:
        for _ in iter_initialize_kept(get_segmenter(predictor, embeddings.grid.is_tiled), embeddings, i):
            pass
        yield i or 0


def read_state(segmenter: Segmenter, path: Path) -> bool:
    """Take up the answers in a file; False when there are none that fit."""
    try:
        with np.load(path, allow_pickle=False) as state:
            segmenter.set_state(dict(state))
    except FileNotFoundError:
        return False
    except Exception as error:  # another model's, or damaged: numpy, zip and zlib raise many kinds
        logger.info("The automatic segmentation kept in %s is computed again: %s", path, error)
        return False
    return True


def write_state(segmenter: Segmenter, path: Path) -> None:
    """Keep the state; a folder that cannot be written costs only the time to compute it again."""
    try:
        state: dict[str, Any] = dict(segmenter.get_state())
        with replacing(path) as (place,):
            np.savez_compressed(place, **state)
    except OutputError as error:
        logger.warning("The automatic segmentation is not kept in %s: %s", path, error)
