"""Automatic masks: a grid of clicks, all answers kept small, thresholds applied afterwards.

The method is that of Segment Anything (Kirillov et al. 2023, section 5 and appendix B): one click per grid point, three
answers each, filtered by predicted IoU and stability, duplicates removed by non-maximum suppression of their boxes.
Masks agree with ``segment_anything.SamAutomaticMaskGenerator`` for the same thresholds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.segmentation.automatic.candidates import Candidates, Frame
from micro_sam.segmentation.automatic.crops import CROP_OVERLAP_RATIO, crop_boxes, near_crop_edge, point_grid
from micro_sam.segmentation.automatic.linking import link_cut_objects, touches_inner_border
from micro_sam.segmentation.automatic.mask_output import OUTPUT_MODES, mask_records, remove_small_regions
from micro_sam.segmentation.automatic.segmenter import Segmenter, TiledSegmenter, rgb_tile
from micro_sam.segmentation.labels import nms, paint_objects
from micro_sam.segmentation.values import ObjectMask

if TYPE_CHECKING:
    from micro_sam.embeddings.embeddings import Embeddings
    from micro_sam.models.predictor import ImageFeatures, Predictor

__all__ = ["AutomaticMaskGenerator", "TiledAutomaticMaskGenerator", "get_amg"]

logger = logging.getLogger(__name__)

# Answers below these are never shown with any sensible threshold, and are not kept: predicted IoU, stability.
FLOORS = (0.1, 0.3)
# Predicted IoU and stability that masks must have, unless told otherwise: those of Segment Anything. Small models
# predict a lower quality: with 0.88 nano_lm found nothing on validation images of nuclei and bacteria; with 0.7 mSA was
# 0.05 on the nuclei (0.23 with a stability of 0.9, at which specks beside discs in tiles passed, too).
THRESHOLDS = (0.88, 0.95)
THRESHOLDS_OF = {"nano": (0.7, 0.95)}
# Of a tile: an answer that fills nearly all of it is background or an object far larger than the tile.
LARGEST_SHARE_OF_TILE = 0.95


class AutomaticMaskGenerator(Segmenter):
    """Finds everything in an image that could be an object.

    Parameters
    ----------
    predictor : Predictor
    points_per_side : int
        Clicks along each side of the image (or tile). None: ``point_grids`` says where.
    points_per_batch : int, optional
        Clicks per call of the decoder. None: 16 on a CPU, 64 elsewhere.
    crop_n_layers : int
        Layers of crops on which the search is repeated, for small objects: layer k has (2^k)^2 crops. Needs the image.
    crop_overlap_ratio : float
        Overlap of crops, as share of the image.
    crop_n_points_downscale_factor : int
        Layer k uses points_per_side / factor^k clicks.
    point_grids : list of (n, 2) arrays, optional
        Clicks (x, y) between 0 and 1, one array per layer, instead of a regular grid.
    stability_score_offset : float
        Shift of the threshold in the stability score.
    """

    method = "masks"

    def __init__(
        self,
        predictor: Predictor,
        points_per_side: int | None = 32,
        points_per_batch: int | None = None,
        crop_n_layers: int = 0,
        crop_overlap_ratio: float = CROP_OVERLAP_RATIO,
        crop_n_points_downscale_factor: int = 1,
        point_grids: list[np.ndarray] | None = None,
        stability_score_offset: float = 1.0,
    ) -> None:
        super().__init__(predictor)
        if (points_per_side is None) == (point_grids is None):
            raise InputError("Give either points_per_side or point_grids.")
        if points_per_side is not None and points_per_side < 1:
            raise InputError(f"There must be at least one point per side, not {points_per_side}.")
        if point_grids is None:
            sides = [int(points_per_side / crop_n_points_downscale_factor**k) for k in range(crop_n_layers + 1)]
            point_grids = [point_grid(max(side, 1)) for side in sides]
        if len(point_grids) != crop_n_layers + 1:
            raise InputError(f"Give one point grid for each of the {crop_n_layers + 1} layers, not {len(point_grids)}.")
        self.point_grids = [np.asarray(grid, "float64") for grid in point_grids]
        self.points_per_batch = points_per_batch or (16 if predictor.device.type == "cpu" else 64)
        self.crop_n_layers = crop_n_layers
        self.crop_overlap_ratio = crop_overlap_ratio
        self.stability_score_offset = stability_score_offset
        self._candidates: list[Candidates] = []

    # ---- the network

    def iter_initialize(
        self, source: Mapping[str, Any] | np.ndarray, i: int | None = None, image: np.ndarray | None = None
    ) -> Iterator[tuple[int, int]]:
        """Ask the network about every grid point; yields (done, total) clicks. Closing the generator cancels.

        Parameters
        ----------
        source : Embeddings or mapping, or an image
        i : int, optional
            Slice of 3D embeddings.
        image : array, optional
            The image (or the slice), needed with embeddings when there are crop layers.

        Raises
        ------
        NotComputedYet
            When features are missing; nothing is changed.
        """
        self.clear_state()
        embeddings, image = self._open(source, i, image)
        frames = self._frames(embeddings, image)
        total, done, found = sum(len(points) for _, points, _ in frames), 0, []
        for frame, points, load in frames:
            features = load()
            frame = Frame(frame.outer, frame.inner, frame.layer, features.input_size, frame.tiled)
            raw = Candidates(frame, 4 * self.predictor.model.grid_size, self.stability_score_offset)
            floors = (*FLOORS, LARGEST_SHARE_OF_TILE if frame.tiled else 1.0)
            for begin in range(0, len(points), self.points_per_batch):
                batch = points[begin : begin + self.points_per_batch]
                decoded = self.predictor.decode(
                    features,
                    points=(batch - frame.outer[:2])[:, None],
                    labels=np.ones((len(batch), 1), int),
                    multimask_output=True,
                    windowed=False,
                )
                raw.add(batch, decoded.low_res_logits, decoded.scores, self.predictor.model.image_size, floors)
                done += len(batch)
                yield done, total
            found.append(raw)
        self._candidates, self._shape, self._is_initialized = found, embeddings.grid.shape, True

    def _frames(
        self, embeddings: Embeddings, image: np.ndarray | None
    ) -> list[tuple[Frame, np.ndarray, Callable[[], ImageFeatures]]]:
        """What the network looks at, with its clicks (y, x) and a function that gives its features."""
        grid, i = embeddings.grid, self._slice
        frames: list[tuple[Frame, np.ndarray, Callable[[], ImageFeatures]]] = []
        for tile in grid:
            if embeddings.store.is_skipped(i, tile.index):
                continue
            outer, inner = (
                (area[0].start, area[1].start, area[0].stop, area[1].stop) for area in (tile.outer, tile.inner)
            )
            frame = Frame(outer, inner, tiled=len(grid) > 1)
            points = _clicks(self.point_grids[0], outer)
            inside = (points >= np.array(inner[:2]) - 0.5) & (points < np.array(inner[2:]) - 0.5)
            points = points[inside.all(1)] if len(grid) > 1 else points
            frames.append((frame, points, partial(embeddings.load, i, tile.index, device=self.predictor.device)))
        if self.crop_n_layers == 0:
            return frames
        if len(grid) > 1:
            raise InputError("Crop layers are for untiled images; use smaller tiles instead.")
        if image is None:
            raise InputError(
                "Crop layers (crop_n_layers > 0) need the image itself: pass it along with its embeddings."
            )
        pixels = rgb_tile(image)
        for layer, box in crop_boxes(grid.shape, self.crop_n_layers, self.crop_overlap_ratio):
            crop = pixels[box[0] : box[2], box[1] : box[3]]
            points = _clicks(self.point_grids[layer], box)
            frames.append((Frame(box, box, layer), points, partial(self.predictor.encode, crop)))
        return frames

    # ---- thresholds

    def generate(
        self,
        pred_iou_thresh: float | None = None,
        stability_score_thresh: float | None = None,
        box_nms_thresh: float = 0.7,
        crop_nms_thresh: float = 0.7,
        min_mask_region_area: int = 0,
        output_mode: str = "instance_segmentation",
        with_background: bool = True,
        min_size: int = 0,
    ) -> np.ndarray | list[dict[str, Any]]:
        """Choose masks by thresholds; the network is not asked again.

        Parameters
        ----------
        pred_iou_thresh, stability_score_thresh : float, optional
            Masks below are left out. None: 0.88 and 0.95; for nano models 0.7 and 0.95.
        box_nms_thresh, crop_nms_thresh : float
            Of two masks whose boxes overlap more (IoU), in one tile or crop and between them, the worse is left out.
        min_mask_region_area : int
            Pixels; smaller holes are filled, smaller islands removed.
        output_mode : str
            "instance_segmentation": a label image. "binary_mask", "rle" or "coco_rle": a list of records with the keys
            of segment-anything (segmentation, area, bbox x y w h, predicted_iou, point_coords x y, stability_score).
        with_background : bool
            For label images: when the largest area is an object, it is taken for the background and removed.
        min_size : int
            For label images: smaller objects (pixels) are left out.

        Returns
        -------
        labels : (H, W) uint32, or list of dict
            Empty when no mask passes; ``hint`` then says which threshold to lower.
        """
        self._require_initialized()
        if output_mode not in OUTPUT_MODES:
            raise InputError(f"The output mode is one of {', '.join(OUTPUT_MODES)}, not {output_mode!r}.")
        quality, stability = THRESHOLDS_OF.get(getattr(self.predictor, "model_type", ""), THRESHOLDS)
        pred_iou_thresh = quality if pred_iou_thresh is None else pred_iou_thresh
        stability_score_thresh = stability if stability_score_thresh is None else stability_score_thresh
        selected = self._choose(pred_iou_thresh, stability_score_thresh, box_nms_thresh, crop_nms_thresh)
        objects = [(raw, k, raw.mask(self.predictor, k)) for raw, k in selected]
        if min_mask_region_area > 0:
            objects = self._without_small_regions(objects, min_mask_region_area, max(box_nms_thresh, crop_nms_thresh))
        if output_mode != "instance_segmentation":
            self._say(len(objects), pred_iou_thresh, stability_score_thresh)
            return mask_records(objects, self._shape, output_mode)
        masks = link_cut_objects([(raw.frame, mask) for raw, _, mask in objects], self._shape)
        labels = paint_objects(masks, self._shape, min_object_size=min_size, with_background=with_background)
        self._say(len(objects), pred_iou_thresh, stability_score_thresh, shown=int(labels.max()), min_size=min_size)
        return labels

    def _choose(
        self, score: float, stability: float, box_nms_thresh: float, crop_nms_thresh: float
    ) -> list[tuple[Candidates, int]]:
        kept, boxes, ranks = [], [], []
        for raw in self._candidates:
            indices, own = raw.select(self.predictor, score, stability)
            if raw.frame.layer > 0:
                inside = ~near_crop_edge(own, raw.frame.outer, self._shape)
                indices, own = indices[inside], own[inside]
            scores = np.array(raw.scores)[indices]
            best = nms(own, scores, box_nms_thresh)
            kept += [(raw, int(k)) for k in indices[best]]
            boxes.append(own[best])
            # Between crops those of smaller crops are better; between tiles those that are not cut.
            if raw.frame.tiled:
                ranks.append(scores[best] - touches_inner_border(own[best], raw.frame.outer, self._shape))
            else:
                ranks.append(np.full(len(best), 1 / (raw.frame.shape[0] * raw.frame.shape[1])))
        if len(self._candidates) > 1 and kept:
            kept = [kept[k] for k in nms(np.concatenate(boxes), np.concatenate(ranks), crop_nms_thresh)]
        return kept

    @staticmethod
    def _without_small_regions(
        objects: list[tuple[Candidates, int, ObjectMask]], min_area: int, nms_thresh: float
    ) -> list[tuple[Candidates, int, ObjectMask]]:
        """Fill small holes, remove small islands; of new duplicates the unchanged mask is kept."""
        cleaned = [(raw, k, *remove_small_regions(mask, min_area)) for raw, k, mask in objects]
        boxes = np.array([mask.box for _, _, mask, _ in cleaned]).reshape(-1, 4)
        unchanged = np.array([float(not changed) for *_, changed in cleaned])
        return [cleaned[k][:3] for k in nms(boxes, unchanged, nms_thresh)]

    def _say(self, n: int, score: float, stability: float, shown: int | None = None, min_size: int = 0) -> None:
        self.hint = None
        best = max((s for raw in self._candidates for s in raw.scores), default=None)
        if n and shown == 0:
            what = f"are smaller than min_size ({min_size} pixels)" if min_size else "cover the whole image"
            self.hint = f"{n} masks were found, but all {what}. Lower min_size, or set with_background to False."
        elif n == 0 and best is None:
            self.hint = "The model found no mask at all in this image; try another model, or a smaller tile shape."
        elif n == 0 and best is not None and best <= score:
            self.hint = (
                f"No mask passed: lower pred_iou_thresh from {score:g} to below {best:.2f}, the best in the image."
            )
        elif n == 0:
            steadiest = max(
                s for raw in self._candidates for p, s in zip(raw.scores, raw.stability, strict=True) if p > score
            )
            self.hint = f"No mask passed: lower stability_score_thresh from {stability:g} to about {steadiest:.2f}."
        if self.hint:
            logger.warning(self.hint)

    # ---- state

    def _settings(self) -> dict[str, Any]:
        return {
            "point_grids": [grid.round(6).tolist() for grid in self.point_grids],
            "crop_n_layers": self.crop_n_layers,
            "crop_overlap_ratio": self.crop_overlap_ratio,
            "stability_score_offset": self.stability_score_offset,
        }

    def _arrays(self) -> dict[str, np.ndarray]:
        out = {"n_frames": np.array(len(self._candidates))}
        for f, raw in enumerate(self._candidates):
            out |= {f"{f}/{key}": value for key, value in raw.to_arrays().items()}
        return out

    def _restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        side = 4 * self.predictor.model.grid_size
        self._candidates = []
        for f in range(int(arrays["n_frames"])):
            own = {key.split("/", 1)[1]: value for key, value in arrays.items() if key.startswith(f"{f}/")}
            self._candidates.append(Candidates.from_arrays(own, side, self.stability_score_offset))

    def clear_state(self) -> None:
        """Forget the image."""
        super().clear_state()
        self._candidates = []


class TiledAutomaticMaskGenerator(TiledSegmenter, AutomaticMaskGenerator):
    """The same for tiled embeddings: ``points_per_side`` is meant per tile. Objects cut by tiles are put together.

    ``initialize`` takes ``tile_shape`` and ``halo`` too, for images without embeddings.
    """

    def __init__(
        self,
        predictor: Predictor,
        points_per_side: int | None = 32,
        points_per_batch: int | None = None,
        point_grids: list[np.ndarray] | None = None,
        stability_score_offset: float = 1.0,
        **kwargs: Any,
    ) -> None:
        grids: dict[str, Any] = {"point_grids": point_grids, "stability_score_offset": stability_score_offset}
        super().__init__(predictor, points_per_side, points_per_batch, **grids, **kwargs)


def get_amg(predictor: Predictor, is_tiled: bool, **kwargs: Any) -> AutomaticMaskGenerator:
    """The automatic mask generator for tiled or untiled embeddings, with its parameters."""
    return (TiledAutomaticMaskGenerator if is_tiled else AutomaticMaskGenerator)(predictor, **kwargs)


def _clicks(grid: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """A grid (x, y) between 0 and 1, as (y, x) in the image."""
    return grid[:, ::-1] * (box[2] - box[0], box[3] - box[1]) + box[:2]
