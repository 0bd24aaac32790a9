"""Automatic prompts: the dense maps of a model say where objects are, its decoder draws them.

Every seed of the dense segmentation becomes a click; the answers to all clicks are freed of duplicates by non-maximum
suppression of their masks (Archit et al. 2025, *Segment Anything for Microscopy*, and its later releases: automatic
prompt generation). A click costs one pass of the decoder, so this takes some seconds for some hundred objects, far less
than a grid of clicks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed

from micro_sam.embeddings.close_ups import can_look_closer
from micro_sam.embeddings.embeddings import Embeddings, as_embeddings
from micro_sam.errors import InputError
from micro_sam.segmentation.automatic.dense import (
    DISTANCE,
    PROMINENCE,
    DenseInstanceSegmenter,
    find_seeds,
)
from micro_sam.segmentation.automatic.outlines import to_image, without_small_objects
from micro_sam.segmentation.automatic.segmenter import compute_embeddings
from micro_sam.segmentation.labels import paint_by_score
from micro_sam.segmentation.prompt_generators import innermost
from micro_sam.segmentation.prompted.close_ups import segment_object
from micro_sam.segmentation.prompted.objects import ObjectPrompt, TileDecoder, best_answer
from micro_sam.segmentation.suppression import suppress
from micro_sam.segmentation.values import ObjectMask

if TYPE_CHECKING:
    from micro_sam.models.predictor import Predictor

__all__ = ["AutomaticPromptGenerator"]


class AutomaticPromptGenerator(DenseInstanceSegmenter):
    """Clicks where the dense maps show the middle of an object, decoded, without duplicates.

    Parameters
    ----------
    predictor : Predictor
        Of a model with a dense head.

    Raises
    ------
    InputError
        For other models.
    """

    method = "prompts"

    def __init__(self, predictor: Predictor) -> None:
        super().__init__(predictor)
        self._embeddings: Embeddings | None = None

    def iter_initialize(
        self, source: Mapping[str, Any] | np.ndarray, i: int | None = None, image: np.ndarray | None = None
    ) -> Iterator[tuple[int, int]]:
        """As in `DenseInstanceSegmenter`; the features are kept at hand for :meth:`generate`."""
        if isinstance(source, np.ndarray):
            embeddings, image = compute_embeddings(self.predictor, source), source
        else:
            embeddings = as_embeddings(source)
        for step in super().iter_initialize(embeddings, i, image):
            self._embeddings = embeddings  # before the last yield: the caller may stop there
            yield step

    def generate(  # type: ignore[override]  # with the thresholds of micro-sam 1.x
        self,
        min_size: int = 25,
        center_distance_threshold: float | None = None,
        boundary_distance_threshold: float | None = None,
        foreground_threshold: float = 0.5,
        multimasking: bool = False,
        batch_size: int = 32,
        nms_threshold: float = 0.9,
        intersection_over_min: bool = False,
        output_mode: str = "instance_segmentation",
        mask_threshold: float | None = None,
        refine_with_box_prompts: bool = False,
        prompt_function: Callable[..., Any] | None = None,
        optimize_memory: bool = False,
        use_boxes: bool = True,
    ) -> np.ndarray | list[dict[str, Any]]:
        """Click the seeds, decode, remove duplicates; every call asks the decoder anew.

        Parameters
        ----------
        min_size : int
            Smaller objects (pixels) are left out.
        center_distance_threshold : float, optional
            Seeds are nearer to the centre of their object, for decoders with distance maps; None: 0.5.
        boundary_distance_threshold : float, optional
            Seeds lie where the closeness of the boundary (1 there, 0 in the middle) is below. None: as in
            `DenseInstanceSegmenter`.
        foreground_threshold : float
            Seeds and boxes lie in pixels of a higher probability.
        multimasking : bool
            Choose among three answers to every click without a box.
        batch_size : int
            Prompts per pass of the decoder, where the image is not tiled and not looked at closer.
        nms_threshold : float
            Of two masks that overlap more, the one with the lower predicted IoU is left out.
        intersection_over_min : bool
            Measure the overlap relative to the smaller mask.
        output_mode : str
            "instance_segmentation": a label image. "binary_mask": a list of dict with the keys segmentation, area,
            bbox (x y w h) and predicted_iou.
        refine_with_box_prompts : bool
            Ask once more with the box of each answer.
        use_boxes : bool
            Give each click the box of its object in the dense segmentation.
        mask_threshold, prompt_function
            Not supported.
        optimize_memory : bool
            Taken for scripts.

        Returns
        -------
        labels : (H, W) uint32, or list of dict

        Raises
        ------
        InputError
            For another output mode, and for what is not supported.
        """
        self._require_initialized()
        if output_mode not in ("instance_segmentation", "binary_mask"):
            raise InputError(f'The output mode is "instance_segmentation" or "binary_mask", not {output_mode!r}.')
        if prompt_function is not None or mask_threshold is not None:
            raise InputError(
                "prompt_function and mask_threshold are not supported. Take the maps from "
                "InstanceSegmentationWithDecoder.get_state, and prompts of your own to inference.batched_inference."
            )
        prompts = self._prompts(
            center_distance_threshold, boundary_distance_threshold, foreground_threshold, use_boxes, min_size
        )
        found = self._answers(prompts, multimasking, max(int(batch_size), 1))
        if refine_with_box_prompts:
            again = [ObjectPrompt(box=np.array(one.box, float)) for one in found if not one.is_empty]
            found = self._answers(again, False, max(int(batch_size), 1))
        found = [one for one in found if one.area >= max(min_size, 1)]
        found = suppress(found, nms_threshold, intersection_over_min)
        self.hint = None if found else "No object was found: lower foreground_threshold, or raise the other thresholds."
        if output_mode == "binary_mask":
            return [_record(one, self._shape) for one in found]
        return without_small_objects(paint_by_score(found, self._shape), min_size)[0]

    def _prompts(
        self,
        centre: float | None,
        boundary: float | None,
        foreground_threshold: float,
        use_boxes: bool,
        min_size: int,
    ) -> list[ObjectPrompt]:
        """A click in the middle of each seed, with the box of its object in the dense segmentation."""
        maps = self.maps
        depth_threshold = DISTANCE[maps.kind] if boundary is None else 1 - boundary
        prominence = PROMINENCE[maps.kind]
        seeds, foreground, depth = find_seeds(maps, foreground_threshold, depth_threshold, prominence, 1.0)
        if centre is not None and maps.kind == "distances":
            seeds = seeds * (maps.values[1] < centre)
        scale = np.divide(self._shape, seeds.shape)
        boxes: list[tuple[slice, slice] | None] = []
        if use_boxes:
            grown = watershed(-depth, seeds, mask=foreground > foreground_threshold)
            labels = to_image(grown, foreground, foreground_threshold, self._shape)
            boxes = ndimage.find_objects(labels.astype("int32"))
        prompts = []
        for value, area in enumerate(ndimage.find_objects(seeds), 1):
            if area is None:
                continue
            y, x = innermost(seeds[area] == value)
            point = (np.array([y + area[0].start, x + area[1].start]) + 0.5) * scale - 0.5
            place = boxes[value - 1] if value <= len(boxes) else None
            box = None if place is None else np.array([s.start for s in place] + [s.stop for s in place], float)
            prompts.append(ObjectPrompt(point[None], np.ones(1, "int64"), box=box))
        return prompts

    def _answers(self, prompts: list[ObjectPrompt], multimasking: bool, batch_size: int) -> list[ObjectMask]:
        predictor, embeddings, i = self.predictor, self._embeddings, self._slice
        assert embeddings is not None  # initialized
        multimask = None if multimasking else False
        if len(embeddings.grid) > 1 or (i is None and can_look_closer(predictor, embeddings)):
            return [
                segment_object(predictor, embeddings, i, one, multimask if one.box is None else False)
                for one in prompts
            ]
        decoder = TileDecoder.of_tile(predictor, embeddings, i, 0)
        answers: dict[int, ObjectMask] = {}
        for with_box in (False, True):
            selected = [k for k, one in enumerate(prompts) if (one.box is not None) == with_box]
            for begin in range(0, len(selected), batch_size):
                batch = selected[begin : begin + batch_size]
                clicked = all(len(prompts[k].points) for k in batch)
                decoded = predictor.decode(
                    decoder.image,
                    points=np.stack([prompts[k].points for k in batch]) if clicked else None,
                    labels=np.stack([prompts[k].labels for k in batch]) if clicked else None,
                    boxes=np.stack([np.asarray(prompts[k].box) for k in batch]) if with_box else None,
                    multimask_output=multimasking and not with_box,
                )
                for k, logits, scores in zip(batch, decoded.low_res_logits, decoded.scores, strict=True):
                    best = best_answer(logits, scores, decoder.image, predictor.model.image_size)
                    answers[k] = decoder.to_mask(logits[best], float(scores[best]), keep_logits=False)
        return [answers[k] for k in range(len(prompts))]

    # ---- state

    def _arrays(self) -> dict[str, np.ndarray]:
        assert self._embeddings is not None  # initialized
        if len(self._embeddings.grid) > 1:
            raise InputError("Tiled features are too large for a state: keep the embeddings (embedding_path) instead.")
        image = self._embeddings.load(self._slice)
        sizes = {"input_size": np.array(image.input_size), "original_size": np.array(image.original_size)}
        return super()._arrays() | sizes | {"features": image.features.cpu().numpy()}

    def _restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        super()._restore(arrays)
        self._slice = None
        sizes = {key: tuple(int(s) for s in arrays[key]) for key in ("input_size", "original_size")}
        self._embeddings = as_embeddings({"features": np.asarray(arrays["features"]), **sizes})

    def clear_state(self) -> None:
        """Forget the image."""
        super().clear_state()
        self._embeddings = None


def _record(mask: ObjectMask, shape: tuple[int, int]) -> dict[str, Any]:
    y0, x0, y1, x1 = mask.box
    full = mask.full(shape)
    return {"segmentation": full, "area": mask.area, "bbox": [x0, y0, x1 - x0, y1 - y0], "predicted_iou": mask.score}
