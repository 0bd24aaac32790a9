"""Runs the propagation of an installed micro-sam 1.8, in volumes and over time, on what another process prepared.

Called by ``volume_and_tracking.py`` with the Python of an environment in which micro-sam 1.8 is installed:

    PYTHON micro_sam_1_8.py INPUT.npz OUTPUT.npz

The input holds the features of every slice, the weights of the prompt encoder and mask decoder (Segment Anything's
names), the masks in the prompted slices, the projection mode and the task (``volume`` or ``tracking``); the output
holds one volume per object. So both programs start from the same features, the same weights and the same first masks;
only the propagation differs. Volumes go through ``multi_dimensional_segmentation.segment_mask_in_volume``, tracks
through ``sam_annotator.util.track_from_prompts``, the function behind its button *Track Object*; it takes the prompt
layers of its window, which need no window to exist.
"""

import sys
import time
from importlib.metadata import version
from types import SimpleNamespace

import numpy as np
import torch
from segment_anything import SamPredictor
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer


class NoEncoder(torch.nn.Module):
    """Stands in for the image encoder, which is not asked: the features are there already."""

    def __init__(self, img_size):
        super().__init__()
        self.img_size = img_size


def build_predictor(arrays, image_size):
    """Stock prompt encoder and mask decoder, of the size that the weights have."""
    state = {
        name[8:]: torch.as_tensor(np.atleast_1d(values) if values.ndim == 0 else values)
        for name, values in arrays.items()
        if name.startswith("weights/")
    }
    dim = state["prompt_encoder.no_mask_embed.weight"].shape[1]
    grid = arrays["features"].shape[-1]
    sam = Sam(
        image_encoder=NoEncoder(image_size),
        prompt_encoder=PromptEncoder(
            embed_dim=dim,
            image_embedding_size=(grid, grid),
            input_image_size=(image_size, image_size),
            mask_in_chans=state["prompt_encoder.mask_downscaling.3.weight"].shape[0],
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer_dim=dim,
            iou_head_depth=3,
            iou_head_hidden_dim=state["mask_decoder.iou_prediction_head.layers.0.weight"].shape[0],
            transformer=TwoWayTransformer(
                depth=2,
                embedding_dim=dim,
                mlp_dim=state["mask_decoder.transformer.layers.0.mlp.lin1.weight"].shape[0],
                num_heads=8,
            ),
        ),
    )
    missing, unexpected = sam.load_state_dict(state, strict=False)
    assert not unexpected and all(name.startswith("pixel") for name in missing), (missing, unexpected)
    predictor = SamPredictor(sam.eval())
    predictor.model_type, predictor.model_name = "vit_b", "vit_b"
    return predictor


def extend_in_volume(predictor, embeddings, segmentation, settings):
    """One object from its prompted slices through the volume."""
    from micro_sam.multi_dimensional_segmentation import segment_mask_in_volume

    return segment_mask_in_volume(
        segmentation,
        predictor,
        embeddings,
        np.flatnonzero(segmentation.any((1, 2))),
        stop_lower=False,
        stop_upper=False,
        iou_threshold=settings.iou_threshold,
        projection=settings.projection,
    )[0]


def follow_in_time(predictor, embeddings, segmentation, settings):
    """One object from its first frame forward, as after a click there."""
    import napari

    from micro_sam.sam_annotator.util import track_from_prompts

    frames = np.flatnonzero(segmentation.any((1, 2)))
    centres = [[t, *np.argwhere(segmentation[t]).mean(0)] for t in frames]
    states = {"state": ["track"] * len(frames), "track_id": ["1"] * len(frames)}
    points = napari.layers.Points(centres, properties={"label": ["positive"] * len(frames), **states})
    boxes = napari.layers.Shapes(ndim=3, property_choices={"state": ["track", "division"], "track_id": ["1"]})
    result = track_from_prompts(
        points,
        boxes,
        segmentation,
        predictor,
        frames,
        embeddings,
        stop_upper=False,
        threshold=settings.iou_threshold,
        projection=settings.projection,
        motion_smoothing=0.5,
    )
    return result[0] if isinstance(result, tuple) else result


def main(source, target):
    """Propagate every object."""
    if not version("micro_sam").startswith("1."):
        raise SystemExit(f"This Python has micro_sam {version('micro_sam')}, not micro-sam 1.8.")
    torch.set_num_threads(1)
    arrays = dict(np.load(source))
    names = ("image_size", "iou_threshold", "projection", "task")
    settings = SimpleNamespace(**{name: arrays[name].item() for name in names})
    predictor = build_predictor(arrays, settings.image_size)
    embeddings = {
        "features": arrays["features"][:, None],
        "input_size": tuple(arrays["input_size"].tolist()),
        "original_size": tuple(arrays["original_size"].tolist()),
    }
    propagate = {"volume": extend_in_volume, "tracking": follow_in_time}[settings.task]
    results, seconds = {}, 0.0
    for name in sorted(n for n in arrays if n.startswith("start/")):
        segmentation = arrays[name].astype("uint32")
        begin = time.process_time()
        try:
            result = propagate(predictor, embeddings, segmentation.copy(), settings)
        except Exception as error:  # an object it cannot do counts with the slices that were given
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
            result = segmentation
        seconds += time.process_time() - begin
        results[name[6:]] = result != 0
    np.savez_compressed(target, seconds=seconds, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
