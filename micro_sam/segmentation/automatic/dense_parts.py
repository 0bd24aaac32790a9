"""The maps of a large image in parts that any process can prepare; see ``dense_blocks``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from micro_sam.embeddings.embeddings import Embeddings
from micro_sam.segmentation.automatic.dense import DenseInstanceSegmenter, objects_of
from micro_sam.segmentation.automatic.dense_blocks import in_blocks, iter_block_maps, open_blocks

if TYPE_CHECKING:
    from micro_sam.models.predictor import Predictor


@dataclass(frozen=True)
class ImageBlock:
    """A block of a large image."""

    index: int


def is_in_blocks(predictor: Predictor, embeddings: Embeddings) -> bool:
    """Whether an image is prepared in blocks."""
    return predictor.model.dense_kind is not None and in_blocks(embeddings)


def missing_blocks(predictor: Predictor, embeddings: Embeddings) -> list[ImageBlock]:
    """What is not kept yet beside the embeddings.

    Raises
    ------
    NotComputedYet
        When no tile is embedded.
    """
    blocks = open_blocks(predictor, embeddings, DenseInstanceSegmenter(predictor).blocks_of(embeddings))
    return [ImageBlock(block.index) for block in blocks.missing()]


def keep_blocks(predictor: Predictor, embeddings: Embeddings, parts: Iterable[ImageBlock]) -> Iterator[ImageBlock]:
    """Prepare some blocks and keep them beside the embeddings; yields each when it is there.

    Raises
    ------
    NotComputedYet
        When a tile is missing that a block needs.
    """
    segmenter = DenseInstanceSegmenter(predictor)
    for part in parts:
        blocks = segmenter.blocks_of(embeddings)
        closer = segmenter.looks_closer(embeddings)
        for _ in iter_block_maps(predictor, embeddings, blocks, objects_of, closer, {part.index}):
            pass
        yield part


def blocks_of_part(predictor: Predictor, embeddings: Embeddings, tiles: Collection[int]) -> list[ImageBlock]:
    """The missing blocks that begin in one of these tiles, and whose tiles are all embedded by now."""
    blocks, store = DenseInstanceSegmenter(predictor).blocks_of(embeddings), embeddings.store
    found = []
    for part in missing_blocks(predictor, embeddings):
        block = blocks.blocks[part.index]
        rows, columns = block.inner
        needed = [tile.index for tile in blocks.tiles_of(block)]
        is_ready = all(store.is_complete(None, tile) or store.is_skipped(None, tile) for tile in needed)
        if is_ready and embeddings.grid.tile_at(rows.start, columns.start).index in tiles:
            found.append(part)
    return found
