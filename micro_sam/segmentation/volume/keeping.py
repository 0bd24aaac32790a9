"""What an automatic segmentation needs of the network, kept beside the embeddings (``precompute_embeddings -p``)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from micro_sam.distributed.options import Part as Share
from micro_sam.embeddings.embeddings import Embeddings
from micro_sam.segmentation.automatic.dense import get_segmenter
from micro_sam.segmentation.automatic.dense_parts import ImageBlock, is_in_blocks, keep_blocks, missing_blocks
from micro_sam.segmentation.automatic.states import keep_states, state_path
from micro_sam.segmentation.volume.compute import iter_volume_maps
from micro_sam.segmentation.volume.geometry import MapBlock
from micro_sam.segmentation.volume.maps import VolumeMaps, open_volume_maps

if TYPE_CHECKING:
    from micro_sam.models.predictor import Predictor

__all__ = [
    "automatic_parts",
    "is_kept",
    "keep_automatic",
    "keep_parts",
    "share_of_parts",
]

Part = MapBlock | ImageBlock | int | None  # a block of the maps of a volume or large image, a slice, a whole image


def automatic_parts(predictor: Predictor, embeddings: Embeddings, scale: Sequence[float] | None = None) -> list[Part]:
    """What there is to prepare, in parts that any process can do; those that are kept already may be among them.

    Parameters
    ----------
    predictor, embeddings, scale
        See :func:`keep_automatic`.
    """
    if is_in_blocks(predictor, embeddings):
        return list(missing_blocks(predictor, embeddings))
    if embeddings.n_slices is None:
        return [None]
    if predictor.model.dense_kind is None:
        return list(range(embeddings.n_slices))
    embeddings.derived.pop(("maps", scale), None)  # others may have added to them
    return list(_maps(predictor, embeddings, scale).missing())


def keep_parts(
    predictor: Predictor, embeddings: Embeddings, scale: Sequence[float] | None, parts: Iterable[Part]
) -> Iterator[Part]:
    """Prepare some parts; nothing is done again that is kept already.

    Parameters
    ----------
    predictor, embeddings, scale
        See :func:`keep_automatic`; complete for the slices of the parts.
    parts : iterable of MapBlock, int or None
        From :func:`automatic_parts`.

    Yields
    ------
    MapBlock, int or None
        The part just done.
    """
    parts = list(parts)
    blocks = [part for part in parts if isinstance(part, MapBlock)]
    if blocks:
        yield from iter_volume_maps(predictor, embeddings, _maps(predictor, embeddings, scale), blocks=blocks)
    squares = [part for part in parts if isinstance(part, ImageBlock)]
    if squares:
        yield from keep_blocks(predictor, embeddings, squares)
    slices = [part for part in parts if not isinstance(part, (MapBlock, ImageBlock))]
    for part, _ in zip(slices, keep_states(predictor, embeddings, slices), strict=True):
        yield part


def share_of_parts(parts: Sequence[Part], slices: Collection[int | None], share: Share) -> list[Part]:
    """The parts that a job of an array does: those of its own slices, and its share of those that need no features.

    Parameters
    ----------
    parts
        From :func:`automatic_parts`.
    slices
        Embedded by this job.
    share
        Which of the jobs this is.
    """
    across = [part for part in parts if isinstance(part, MapBlock) and part.axis != 0]
    along = [part for part in parts if not (isinstance(part, MapBlock) and part.axis != 0)]
    own = [part for part in along if (part.plane if isinstance(part, MapBlock) else part) in slices]
    return own + share.of(across)


def is_kept(predictor: Predictor, embeddings: Embeddings, scale: Sequence[float] | None = None) -> bool:
    """Whether everything is prepared; what other processes did since is taken into account."""
    if is_in_blocks(predictor, embeddings) or (
        embeddings.n_slices is not None and predictor.model.dense_kind is not None
    ):
        return not automatic_parts(predictor, embeddings, scale)
    method = get_segmenter(predictor, embeddings.grid.is_tiled).method
    slices = [None] if embeddings.n_slices is None else range(embeddings.n_slices)
    paths = [state_path(embeddings, method, i) for i in slices]
    return all(path is not None and path.exists() for path in paths)


def _maps(predictor: Predictor, embeddings: Embeddings, scale: Sequence[float] | None) -> VolumeMaps:
    """The maps of a volume, open as long as its embeddings."""
    key = ("maps", scale)
    if key not in embeddings.derived:
        embeddings.derived[key] = open_volume_maps(predictor, embeddings, scale)
    maps: VolumeMaps = embeddings.derived[key]
    return maps


def keep_automatic(
    predictor: Predictor, embeddings: Embeddings, scale: Sequence[float] | None = None
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
    if is_in_blocks(predictor, embeddings):
        parts = automatic_parts(predictor, embeddings)
        for done, _ in enumerate(keep_parts(predictor, embeddings, None, parts), 1):
            yield done, len(parts), ""
        return
    if embeddings.n_slices is None or predictor.model.dense_kind is None:
        for done, _ in enumerate(keep_states(predictor, embeddings), 1):
            yield done, embeddings.n_slices or 1, ""
        return
    maps = open_volume_maps(predictor, embeddings, scale)
    there, total = maps.progress
    yield there, total, maps.note
    for done, _ in enumerate(iter_volume_maps(predictor, embeddings, maps), there + 1):
        yield done, total, maps.note
