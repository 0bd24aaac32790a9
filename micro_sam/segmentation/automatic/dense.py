"""Instance segmentation from a model's dense maps, without a single prompt."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage
from skimage.measure import label
from skimage.segmentation import watershed

from micro_sam.embeddings.close_ups import can_look_closer
from micro_sam.errors import InputError
from micro_sam.io.label_arrays import LARGEST_RESULT, any_label, new_labels, release
from micro_sam.segmentation.automatic.dense_blocks import DenseBlocks, blocks_folder, in_blocks, iter_block_maps
from micro_sam.segmentation.automatic.dense_joining import BlockLabels, Joining, label_block
from micro_sam.segmentation.automatic.dense_maps import DenseMaps, iter_stitched, tile_maps
from micro_sam.segmentation.automatic.dense_scales import LOOK_CLOSER, iter_best_scale, looks, network_scale
from micro_sam.segmentation.automatic.hilltops import hilltops
from micro_sam.segmentation.automatic.masks import get_amg
from micro_sam.segmentation.automatic.outlines import label_records, paint_part, to_image, without_small_objects
from micro_sam.segmentation.automatic.segmenter import Segmenter

if TYPE_CHECKING:
    import torch

    from micro_sam.embeddings.embeddings import Embeddings
    from micro_sam.embeddings.tiles import Tile
    from micro_sam.models.predictor import Predictor

__all__ = ["DenseInstanceSegmenter", "get_segmenter"]

logger = logging.getLogger(__name__)

# Chosen for nano on 46 training images with the weights of the third training: mSA 0.445, SA50 0.691 (with 0.4 and 0.1:
# 0.421, 0.669). The others were trained for theirs.
DISTANCE = {"offsets": 0.6, "distances": 0.5}
PROMINENCE = {"offsets": 0.2, "distances": 0.0}
LOOKED_AT_CLOSER = 64  # tiles; in larger images small objects are looked at closer when that is asked for


class DenseInstanceSegmenter(Segmenter):
    """Seeded watershed on the maps of a dense head: foreground, and how deep inside its object each pixel lies.

    Seeds are the hilltops of that depth (for decoders with a distance to the centre, the connected areas deep inside
    and near the centre); they grow downhill to the border of the foreground.

    Parameters
    ----------
    predictor : Predictor
        Of a model with a dense head: ``predictor.model.dense_kind`` is not None.
    look_closer : bool, optional
        Look again, enlarged, where objects are small. False: only where the maps contradict themselves. None: in images
        of up to ``LOOKED_AT_CLOSER`` tiles. It takes as long as embedding the image up to eight times; see
        ``docs/decisions/small_objects_in_large_images.md``.

    Raises
    ------
    InputError
        For other models.
    """

    method = "dense"

    def __init__(self, predictor: Predictor, look_closer: bool | None = None) -> None:
        super().__init__(predictor)
        self.look_closer = look_closer
        if predictor.model.dense_kind is None:
            raise InputError(
                f"The model {predictor.model_name} has no dense head. Use the automatic mask generator (get_amg), or "
                "choose a model that has one, such as nano_lm."
            )
        self._kind: str = predictor.model.dense_kind
        self._maps: DenseMaps | None = None
        self._blocks: DenseBlocks | None = None
        self._tell_below = 0.0  # diameter of objects, in pixels of the image, that are better looked at closer

    def looks_closer(self, embeddings: Embeddings) -> bool:
        """Whether an image is looked at again, enlarged, where its objects are small."""
        return len(embeddings.grid) <= LOOKED_AT_CLOSER if self.look_closer is None else self.look_closer

    @property
    def maps(self) -> DenseMaps:
        """What the network said of the image. Of a large image, whose maps lie in blocks, they are put together."""
        self._require_initialized()
        if self._blocks is not None:
            return self._blocks.whole()
        assert self._maps is not None  # initialized
        return self._maps

    @property
    def is_kept(self) -> bool:
        """See the base; the maps of large images are kept block by block."""
        return self._blocks is not None and self._blocks.is_kept

    def iter_initialize(
        self, source: Mapping[str, Any] | np.ndarray, i: int | None = None, image: np.ndarray | None = None
    ) -> Iterator[tuple[int, int]]:
        """Stitch the maps of an image or slice; yields (done, total) tiles. Closing the generator cancels.

        Where the encoder is cheap, a 2D image is looked at again, enlarged or from farther off, when its objects are
        small or large for the network (see ``dense_scales``).

        Parameters
        ----------
        source : Embeddings or mapping, or an image
        i : int, optional
            Slice of 3D embeddings.
        image : array, optional
            Not needed.

        Raises
        ------
        NotComputedYet
            When features are missing.
        """
        self.clear_state()
        embeddings, _ = self._open(source, i, image)
        grid, predictor = embeddings.grid, self.predictor
        if i is None and in_blocks(embeddings):
            yield from self._iter_blocks(embeddings)
            return
        tiles = [tile for tile in grid if not embeddings.store.is_skipped(i, tile.index)]
        is_complete = len(tiles) == len(grid)
        more = sum(len(look) for part in looks(predictor, embeddings, i) for look in part) if is_complete else 0
        total = len(tiles) + more

        def stored(tile: Tile) -> torch.Tensor:
            return tile_maps(predictor, embeddings.load(i, tile.index, device=predictor.device))

        maps = None
        for done, found in iter_stitched(tiles, grid.shape, self._kind, stored):
            maps = found
            if done < total:
                yield done, total
        assert maps is not None  # with the last tile come the maps of the image
        if more:
            for done, _, found in iter_best_scale(predictor, embeddings, i, maps, objects_of):
                maps = found or maps
                if found is None and len(tiles) + done < total:
                    yield len(tiles) + done, total
        # the caller may stop at the last yield
        self._maps, self._shape, self._is_initialized = maps, maps.shape, True
        yield total, total

    def generate(
        self,
        foreground_threshold: float = 0.5,
        distance_threshold: float | None = None,
        min_size: int = 0,
        prominence: float | None = None,
        smoothing: float = 1.0,
        output_mode: str = "instance_segmentation",
    ) -> np.ndarray | list[dict[str, Any]]:
        """Label the objects; the network is not asked again.

        Parameters
        ----------
        foreground_threshold : float
            Pixels of an object have a higher probability.
        distance_threshold : float
            Between 0 (border of an object) and 1 (its middle): seeds lie deeper. Lower it when objects are missed.
            None: 0.6 for nano, 0.5 for decoders with distance maps, which are trained for it.
        min_size : int
            Pixels of the image; smaller objects are left out.
        prominence : float, optional
            How much deeper than the saddle to its neighbour the middle of an object must be, to count as one of its
            own. Raise it when objects are cut, lower it when neighbours are merged; 0: every connected area above
            ``distance_threshold`` is one object. None: 0.2 for nano, 0 for the others.
        smoothing : float
            Standard deviation, in pixels of the maps, of the smoothing of the distances.
        output_mode : str
            "instance_segmentation": a label image. "binary_mask": a list of dict with the keys segmentation, area and
            bbox (x y w h), one per object.

        Returns
        -------
        labels : (H, W) uint32, or list of dict
            Empty when nothing passes; ``hint`` then says which threshold to lower.
        """
        self._require_initialized()
        if output_mode not in ("instance_segmentation", "binary_mask"):
            raise InputError(f'The output mode is "instance_segmentation" or "binary_mask", not {output_mode!r}.')
        if distance_threshold is None:
            distance_threshold = DISTANCE[self._kind]
        if prominence is None:
            prominence = PROMINENCE[self._kind]
        thresholds = (foreground_threshold, distance_threshold, prominence, smoothing)
        if self._blocks is None:
            coarse, foreground, depth = _grow(self.maps, *thresholds)
            inside = foreground > foreground_threshold
            labels = to_image(coarse, foreground, foreground_threshold, self._shape)
            labels, n_found = without_small_objects(labels, min_size)
            deepest = float(foreground.max()), float(depth[inside].max()) if inside.any() else -np.inf
        else:
            labels, n_found, deepest, diameter = self._join(self._blocks, thresholds, min_size)
        self._say(deepest, n_found, any_label(labels), foreground_threshold, distance_threshold, min_size)
        if self._blocks is not None and 0 < diameter < self._tell_below:
            self.hint = (
                f"The objects are small, {diameter:.0f} pixels across. Looked at closer (look_closer), more are found, "
                "which takes several times as long as embedding the image."
            )
            logger.warning(self.hint)
        return label_records(labels) if output_mode == "binary_mask" else labels

    def iter_labels(self, thresholds: tuple[float, float, float, float]) -> Iterator[BlockLabels]:
        """The objects of a large image, one finished block after the other; see :class:`Joining` for the rest.

        Parameters
        ----------
        thresholds
            Of the foreground and the distance, prominence and smoothing, as for :meth:`generate`.
        """
        blocks = self._blocks
        assert blocks is not None  # of a large image
        for block in blocks.blocks:
            yield label_block(blocks, block, lambda maps: _grow(maps, *thresholds), paint_part, thresholds[0])

    def _join(
        self, blocks: DenseBlocks, thresholds: tuple[float, float, float, float], min_size: int
    ) -> tuple[np.ndarray, int, tuple[float, float], float]:
        """Labels, number of objects, highest foreground and depth, diameter of a typical object."""
        joining, labels = Joining(blocks.blocks), new_labels(self._shape, largest=LARGEST_RESULT)
        deepest = [0.0, -np.inf]
        for found in self.iter_labels(thresholds):
            labels[found.block.inner] = found.labels
            release(labels)
            joining.add(found)
            deepest = np.maximum(deepest, found.deepest).tolist()
        tables, n_found, _ = joining.tables(min_size)
        for block in blocks.blocks:
            labels[block.inner] = tables[block.index][labels[block.inner]]
            release(labels)
        return labels, n_found, (deepest[0], deepest[1]), joining.diameter

    def _iter_blocks(self, embeddings: Embeddings) -> Iterator[tuple[int, int]]:
        """Maps of a large image, block by block; yields (done, total) tiles."""
        blocks, total = self.blocks_of(embeddings), len(embeddings.grid)
        closer = self.looks_closer(embeddings)
        for done in iter_block_maps(self.predictor, embeddings, blocks, objects_of, closer):
            if done < total:
                yield done, total
        could = not closer and can_look_closer(self.predictor, embeddings)
        self._tell_below = LOOK_CLOSER[-1] / network_scale(self.predictor, embeddings.grid) if could else 0.0
        self._blocks, self._shape, self._is_initialized = blocks, blocks.shape, True
        yield total, total

    def blocks_of(self, embeddings: Embeddings) -> DenseBlocks:
        """The maps of a large image in blocks, as far as they are kept beside its embeddings."""
        closer = self.looks_closer(embeddings)
        about = f"{self._about()} {closer}"
        return DenseBlocks(embeddings.grid, self._kind, about, blocks_folder(embeddings, closer))

    def _say(
        self,
        deepest: tuple[float, float],
        found: int,
        shown: bool,
        foreground_threshold: float,
        distance_threshold: float,
        min_size: int,
    ) -> None:
        self.hint = None
        if shown:
            return
        if found:
            self.hint = f"All {found} objects are smaller than min_size ({min_size} pixels): lower it."
        elif deepest[1] == -np.inf:
            self.hint = (
                f"Nothing is foreground: lower foreground_threshold from {foreground_threshold:g} to below "
                f"{deepest[0]:.2f}, the highest value in the image."
            )
        else:
            self.hint = (
                f"No object has a middle: lower distance_threshold from {distance_threshold:g} to below "
                f"{deepest[1]:.2f}, the highest value in the foreground."
            )
        logger.warning(self.hint)

    def _settings(self) -> dict[str, Any]:
        return {"kind": self._kind}

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"maps": self.maps.values}

    def _restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        height, width = (int(s) for s in arrays["shape"])
        self._maps = DenseMaps(np.asarray(arrays["maps"]), self._kind, (height, width))

    def clear_state(self) -> None:
        """Forget the image."""
        super().clear_state()
        if self._blocks is not None:
            self._blocks.close()
        self._maps = self._blocks = None


def get_segmenter(predictor: Predictor, is_tiled: bool = False, **kwargs: Any) -> Segmenter:
    """The automatic segmenter that suits a model: its dense head when it has one, else the automatic mask generator.

    Parameters
    ----------
    predictor : Predictor
    is_tiled : bool
        Whether the embeddings are tiled.
    **kwargs
        Parameters of the automatic mask generator; giving any of them chooses it.
    """
    if predictor.model.dense_kind is not None and not kwargs:
        return DenseInstanceSegmenter(predictor)
    return get_amg(predictor, is_tiled, **kwargs)


def _grow(
    maps: DenseMaps, foreground_threshold: float, distance_threshold: float, prominence: float, smoothing: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Objects at the resolution of the maps (h, w), their foreground and their depth; see ``generate``."""
    seeds, foreground, depth = find_seeds(maps, foreground_threshold, distance_threshold, prominence, smoothing)
    return watershed(-depth, seeds, mask=foreground > foreground_threshold), foreground, depth


def find_seeds(
    maps: DenseMaps, foreground_threshold: float, distance_threshold: float, prominence: float, smoothing: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The middles of objects as labels (h, w), their foreground and their depth; see ``generate``."""
    foreground = maps.values[0].astype("float32")
    depth, near_centre = _depth(maps, smoothing)
    inside = foreground > foreground_threshold
    middle = (depth > distance_threshold) & near_centre & inside
    if prominence > 0:
        middle &= hilltops(depth, prominence, distance_threshold)
    return label(middle, connectivity=1), foreground, depth


def objects_of(maps: DenseMaps) -> np.ndarray:
    """Objects (h, w) with the thresholds that ``generate`` has unless it is told others."""
    return _grow(maps, 0.5, DISTANCE[maps.kind], PROMINENCE[maps.kind], 1.0)[0]


def _depth(maps: DenseMaps, smoothing: float) -> tuple[np.ndarray, np.ndarray]:
    """How deep inside its object each pixel lies (0 to 1), and where seeds may be."""

    def smooth(values: np.ndarray) -> np.ndarray:
        values = values.astype("float32")
        return ndimage.gaussian_filter(values, smoothing) if smoothing > 0 else values

    if maps.kind == "offsets":
        depth = smooth(maps.values[1])
        return depth, np.ones(depth.shape, bool)
    return 1 - smooth(maps.values[2]), smooth(maps.values[1]) < 0.5
