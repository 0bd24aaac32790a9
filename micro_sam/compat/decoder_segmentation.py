"""Automatic segmentation from a decoder with the thresholds and the results of micro-sam 1.x.

The maps are brought to the size of the image first; the segmenter of this program (``segmentation.automatic.dense``)
thresholds them on their own grid, which takes a fraction of the time and memory, and follows outlines more smoothly.
For the same maps and thresholds the labels here are those of micro-sam 1.8.14 (``test/compat``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import ndimage
from skimage.measure import label
from skimage.segmentation import watershed
from torch import nn

from micro_sam.compat.decoders import to_image, with_decoder, with_own_statistics
from micro_sam.errors import CacheError, InputError
from micro_sam.segmentation.automatic.dense import (
    DISTANCE,
    PROMINENCE,
    DenseInstanceSegmenter,
    find_seeds,
)
from micro_sam.segmentation.automatic.dense_blocks import in_blocks
from micro_sam.segmentation.automatic.dense_maps import DenseMaps, tile_maps
from micro_sam.segmentation.automatic.masks import get_amg as get_mask_generator
from micro_sam.segmentation.automatic.outlines import label_records, without_small_objects
from micro_sam.segmentation.automatic.prompts import AutomaticPromptGenerator as PromptGenerator
from micro_sam.segmentation.automatic.segmenter import Segmenter, TiledSegmenter

if TYPE_CHECKING:
    from micro_sam.embeddings.embeddings import Embeddings
    from micro_sam.models.predictor import Predictor

__all__ = [
    "AutomaticPromptGenerator",
    "InstanceSegmentationWithDecoder",
    "TiledAutomaticPromptGenerator",
    "TiledInstanceSegmentationWithDecoder",
    "get_amg",
    "get_instance_segmentation_generator",
]

MAPS = ("foreground", "center_distances", "boundary_distances")


class InstanceSegmentationWithDecoder(Segmenter):
    """Seeded watershed on the maps of a decoder, at the resolution of the image.

    Parameters
    ----------
    predictor : Predictor
    decoder : DecoderAdapter, optional
        None: that of the predictor's model.

    Raises
    ------
    InputError
        When there is no decoder.
    """

    method = "decoder"

    def __init__(self, predictor: Predictor, decoder: nn.Module | None = None) -> None:
        super().__init__(with_decoder(predictor, decoder))
        if self.predictor.model.dense_kind is None:
            raise InputError(
                f"The model {predictor.model_name} has no decoder for automatic segmentation. Use the automatic mask "
                "generator (get_amg), or a model that has one, such as vit_b_lm or nano_lm."
            )
        head = self.predictor.model.dense_head
        if head is not None and head.kind == "distances":
            self.predictor = with_decoder(predictor, with_own_statistics(head))
        self._maps: dict[str, np.ndarray] = {}

    def initialize(self, *args: Any, ndim: int = 2, **kwargs: Any) -> None:
        """Compute the maps; parameters as of ``Segmenter.initialize``. ``ndim`` is 2: decoders see one slice."""
        if ndim != 2:
            raise InputError("Decoders see one slice at a time: give i= for a slice of a volume, and ndim=2.")
        super().initialize(*args, **kwargs)

    def iter_initialize(
        self, source: Mapping[str, Any] | np.ndarray, i: int | None = None, image: np.ndarray | None = None
    ) -> Iterator[tuple[int, int]]:
        """Compute the maps of an image or slice; yields (done, total) tiles."""
        self.clear_state()
        embeddings, _ = self._open(source, i, image)
        grid, predictor = embeddings.grid, self.predictor
        if predictor.model.dense_kind == "offsets" and (i is not None or not in_blocks(embeddings)):
            yield from self._at_the_best_scale(embeddings, i, image)
            return
        values = np.zeros((3, *grid.shape), "float32")
        values[1:] = 1
        for tile in grid:
            if not embeddings.store.is_skipped(i, tile.index):
                features = embeddings.load(i, tile.index, device=predictor.device)
                maps = _as_distances(tile_maps(predictor, features), str(predictor.model.dense_kind))
                whole = to_image(maps[None], (maps.shape[-2], maps.shape[-1]), tile.shape)[0].cpu().numpy()
                place = tuple(
                    slice(a.start - b.start, a.stop - b.start) for a, b in zip(tile.inner, tile.outer, strict=True)
                )
                values[(slice(None), *tile.inner)] = whole[(slice(None), *place)]
            if tile.index + 1 < len(grid):
                yield tile.index + 1, len(grid)
        self.set_state(dict(zip(MAPS, values, strict=True)))
        yield len(grid), len(grid)

    def _at_the_best_scale(
        self, embeddings: Embeddings, i: int | None, image: np.ndarray | None
    ) -> Iterator[tuple[int, int]]:
        """The maps of a nano model, which looks again, enlarged, where objects are small; as in the window."""
        dense = DenseInstanceSegmenter(self.predictor)
        for done, total in dense.iter_initialize(embeddings, i, image):
            if done == total:
                maps = dense.maps
                values = _as_distances(torch.from_numpy(maps.values.astype("float32")), maps.kind)
                whole = nn.functional.interpolate(values[None], maps.shape, mode="bilinear", align_corners=False)[0]
                self.set_state(dict(zip(MAPS, whole.numpy(), strict=True)))
                self._slice = i
            yield done, total

    def generate(
        self,
        center_distance_threshold: float | None = None,
        boundary_distance_threshold: float | None = None,
        foreground_threshold: float = 0.5,
        foreground_smoothing: float = 1.0,
        distance_smoothing: float = 1.6,
        min_size: int = 0,
        output_mode: str = "instance_segmentation",
        tile_shape: tuple[int, int] | None = None,
        halo: tuple[int, int] | None = None,
        n_threads: int | None = None,
        optimize_memory: bool = False,
        segmentation: np.ndarray | None = None,
    ) -> np.ndarray | list[dict[str, Any]]:
        """Label the objects; the network is not asked again.

        Parameters
        ----------
        center_distance_threshold, boundary_distance_threshold : float, optional
            Seeds lie where both distances are smaller. None: 0.5; of a nano model, when both are None, seeds are the
            hilltops of the depth in an object, as in `DenseInstanceSegmenter`, and nothing is smoothed by
            ``foreground_smoothing`` and ``distance_smoothing``.
        foreground_threshold : float
            Pixels of an object have a higher probability.
        foreground_smoothing, distance_smoothing : float
            Standard deviations of Gaussian filters, in pixels of the image.
        min_size : int
            Smaller objects (pixels) are left out.
        output_mode : str
            "instance_segmentation" or "binary_mask" (a list of dict with segmentation, area and bbox x y w h).
        tile_shape, halo, n_threads, optimize_memory
            Taken for scripts; the result does not depend on them.
        segmentation : (H, W) array, optional
            The labels are written there.

        Returns
        -------
        labels : (H, W) uint32, or list of dict
        """
        self._require_initialized()
        if output_mode not in ("instance_segmentation", "binary_mask"):
            raise InputError(f'The output mode is "instance_segmentation" or "binary_mask", not {output_mode!r}.')
        kind, thresholds = self.predictor.model.dense_kind, (center_distance_threshold, boundary_distance_threshold)
        if kind == "offsets" and thresholds == (None, None):
            values = np.stack([self._maps["foreground"], 1 - self._maps["boundary_distances"]])
            maps = DenseMaps(values, kind, self._shape)
            seeds, foreground, depth = find_seeds(maps, foreground_threshold, DISTANCE[kind], PROMINENCE[kind], 1.0)
            labels = watershed(-depth, seeds, mask=foreground > foreground_threshold)
        else:
            near, far = (0.5 if value is None else value for value in thresholds)
            inside = _smooth(self._maps["foreground"], foreground_smoothing) > foreground_threshold
            centre, boundary = (_smooth(self._maps[name], distance_smoothing) for name in MAPS[1:])
            seeds = (centre < near) & (boundary < far) & inside
            labels = watershed(boundary, label(seeds, connectivity=2), mask=inside)
        labels, _ = without_small_objects(labels, min_size)
        if output_mode == "binary_mask":
            return label_records(labels)
        if segmentation is not None:
            segmentation[...] = labels
            return segmentation
        return labels

    def get_state(self) -> dict[str, np.ndarray]:
        """The maps (H, W) float32: ``foreground``, ``center_distances``, ``boundary_distances``."""
        self._require_initialized()
        return dict(self._maps)

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take up maps, as `get_state` returns them, instead of asking the network."""
        try:
            maps = {name: np.asarray(state[name], "float32") for name in MAPS}
        except (KeyError, TypeError, ValueError) as error:
            raise CacheError(
                f"A state of this segmenter holds the maps {', '.join(MAPS)}; compute it again."
            ) from error
        if len({values.shape for values in maps.values()}) != 1 or maps[MAPS[0]].ndim != 2:
            raise CacheError("The maps of this state are not images of one shape (H, W); compute it again.")
        self._maps, self._shape, self._is_initialized = maps, maps[MAPS[0]].shape, True

    def clear_state(self) -> None:
        """Forget the image."""
        super().clear_state()
        self._maps = {}

    def _settings(self) -> dict[str, Any]:
        return {"kind": self.predictor.model.dense_kind}

    def _arrays(self) -> dict[str, np.ndarray]:
        return dict(self._maps)

    def _restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.set_state(arrays)


class TiledInstanceSegmentationWithDecoder(TiledSegmenter, InstanceSegmentationWithDecoder):  # type: ignore[misc]  # the order of micro-sam 1.x
    """The same for tiled embeddings; ``initialize`` takes ``tile_shape`` and ``halo`` for images without any."""


class AutomaticPromptGenerator(PromptGenerator):
    """``segmentation.automatic.prompts.AutomaticPromptGenerator`` with a decoder that is given beside the predictor.

    Parameters
    ----------
    predictor : Predictor
    decoder : DecoderAdapter, optional
        None: that of the predictor's model.
    """

    def __init__(self, predictor: Predictor, decoder: nn.Module | None = None) -> None:
        super().__init__(with_decoder(predictor, decoder))


class TiledAutomaticPromptGenerator(TiledSegmenter, AutomaticPromptGenerator):
    """The same for tiled embeddings."""


def _as_distances(maps: torch.Tensor, kind: str) -> torch.Tensor:
    """Maps (K, h, w) of any dense head as foreground, distance to the centre, closeness of the boundary."""
    if kind == "distances":
        return maps[:3]
    centre = maps[2:4].norm(dim=0).clamp(0, 1)
    return torch.stack([maps[0], centre, 1 - maps[1]])


def _smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    """As micro-sam smooths: the filter ends at three standard deviations, and the image is mirrored at its border."""
    return ndimage.gaussian_filter(values, sigma, mode="mirror", truncate=3.0) if sigma > 0 else values


def get_amg(predictor: Predictor, is_tiled: bool, decoder: nn.Module | None = None, **kwargs: Any) -> Segmenter:
    """The automatic mask generator with its parameters; with a ``decoder`` (1.0 to 1.3) the segmentation with it."""
    mode = "amg" if decoder is None else "ais"
    return get_instance_segmentation_generator(predictor, is_tiled, decoder, mode, **kwargs)


def get_instance_segmentation_generator(
    predictor: Predictor,
    is_tiled: bool,
    decoder: nn.Module | None = None,
    segmentation_mode: str | None = None,
    **kwargs: Any,
) -> Segmenter:
    """The automatic segmenter of a mode.

    Parameters
    ----------
    predictor : Predictor
    is_tiled : bool
        Whether the embeddings are tiled.
    decoder : DecoderAdapter, optional
        None: that of the predictor's model, if it has one.
    segmentation_mode : "amg", "ais" or "apg", optional
        A grid of clicks, the decoder's maps, or clicks where these show objects. None: the decoder where there is one.
    **kwargs
        Parameters of the automatic mask generator.

    Raises
    ------
    InputError
        For another mode, or when the mode needs a decoder and there is none.
    """
    if segmentation_mode not in (None, "amg", "ais", "apg"):
        raise InputError(f'The segmentation mode is "amg", "ais" or "apg", not {segmentation_mode!r}.')
    if segmentation_mode is None:
        predictor = with_decoder(predictor, decoder)
        if predictor.model.dense_kind is None or kwargs:
            return get_mask_generator(predictor, is_tiled, **kwargs)
        if predictor.model.dense_kind == "offsets":
            return DenseInstanceSegmenter(predictor)
        segmentation_mode = "ais"
    if segmentation_mode == "amg":
        return get_mask_generator(predictor, is_tiled, **kwargs)
    if kwargs:
        raise InputError(f'{", ".join(kwargs)}: parameters of the automatic mask generator, mode "amg".')
    classes: dict[str, tuple[type[Any], type[Any]]] = {
        "ais": (InstanceSegmentationWithDecoder, TiledInstanceSegmentationWithDecoder),
        "apg": (AutomaticPromptGenerator, TiledAutomaticPromptGenerator),
    }
    made: Segmenter = classes[segmentation_mode][int(is_tiled)](predictor, decoder)
    return made
