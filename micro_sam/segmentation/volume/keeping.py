"""What an automatic segmentation needs of the network, kept beside the embeddings (``precompute_embeddings -p``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from micro_sam.embeddings.embeddings import Embeddings
from micro_sam.segmentation.states import keep_states
from micro_sam.segmentation.volume.compute import iter_volume_maps
from micro_sam.segmentation.volume.maps import open_volume_maps

__all__ = ["keep_automatic"]


def keep_automatic(
    predictor, embeddings: Embeddings, scale: Sequence[float] | None = None
) -> Iterator[tuple[int, int, str]]:
    """Prepare automatic segmentation: the states of an image or of all slices, and the maps of a volume.

    Parameters
    ----------
    predictor : Predictor
        Volumes get maps where its model has a dense head.
    embeddings : Embeddings
        Complete, from a cache on disc.
    scale : (z, y, x), optional
        Size of a voxel. None: maps along the slices only, as for a movie.

    Yields
    ------
    done, total : int
    note : str
        What is left out of the maps and why; empty when nothing is.
    """
    if embeddings.n_slices is None or predictor.model.dense_kind is None:
        for done, _ in enumerate(keep_states(predictor, embeddings), 1):
            yield done, embeddings.n_slices or 1, ""
        return
    maps = open_volume_maps(predictor, embeddings, scale)
    there, total = maps.progress
    yield there, total, maps.note
    for done, _ in enumerate(iter_volume_maps(predictor, embeddings, maps), there + 1):
        yield done, total, maps.note
