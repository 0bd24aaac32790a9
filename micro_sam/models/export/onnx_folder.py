"""A folder with the encoder and the decoder as ONNX files, and ``model.json``, which says how to feed them."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch

from micro_sam import __version__
from micro_sam.errors import ModelError
from micro_sam.models.export.graphs import BOX_CORNERS, MASKS, DecoderGraph, DenseGraph, EncoderGraph
from micro_sam.models.export.output import partial_output
from micro_sam.models.export.runtime import OnnxSam
from micro_sam.models.export.tracing import OPSET, Graph, plain_copy, require_packages, write_graph
from micro_sam.models.export.verify import verify
from micro_sam.models.frames import PAD_COLOUR
from micro_sam.models.predictor import Predictor
from micro_sam.models.registry import MODELS
from micro_sam.models.sam import Sam

logger = logging.getLogger(__name__)

DENSE_MAPS = {
    "offsets": ("foreground logit", "distance to the boundary", "offset to the centre y", "offset to the centre x"),
    "distances": ("foreground", "distance to the centre", "distance to the boundary"),
    None: (),
}


def write_onnx_folder(predictor: Predictor, path: Path) -> None:
    """Write ``encoder.onnx``, ``decoder.onnx``, for some models ``dense.onnx``, and ``model.json`` into a new folder.

    Raises
    ------
    ModelError
        When packages are missing, or the files do not give the predictor's results.
    OutputError
        When the folder exists or cannot be written.
    """
    require_packages()
    reference = Predictor(plain_copy(predictor.model), predictor.model_name, predictor.model_hash)
    graphs = make_graphs(reference.model)
    with partial_output(path) as folder:
        folder.mkdir()
        for name, graph in graphs.items():
            logger.info("Writing %s.onnx", name)
            write_graph(graph, folder / f"{name}.onnx")
        (folder / "model.json").write_text(json.dumps(describe(reference, graphs), indent=2) + "\n")
        logger.info("Checking the files in ONNX Runtime")
        differences = verify(reference, _open(folder))
    worst = max(differences, key=differences.__getitem__)
    logger.info("ONNX Runtime agrees with the model; the largest difference is %.1g (%s)", differences[worst], worst)


def _open(folder: Path) -> OnnxSam:
    try:
        return OnnxSam(folder)
    except Exception as error:  # onnxruntime's errors have no common class but this
        raise ModelError(
            f"ONNX Runtime cannot open the exported model, which was not kept: {error}. Models of this architecture "
            "cannot be exported with the installed versions of torch and onnxruntime."
        ) from error


def make_graphs(model: Sam) -> dict[str, Graph]:
    """What is exported of a model, by the name of its file."""
    size, grid, channels = model.image_size, model.grid_size, model.embed_dim
    features = torch.zeros(1, channels, grid, grid)
    encoder_outputs = ["image_embeddings", *(["dense_maps"] if model.dense_kind == "offsets" else [])]
    graphs = {
        "encoder": Graph(EncoderGraph(model), {"image": torch.zeros(1, 3, size, size)}, encoder_outputs),
        "decoder": Graph(
            DecoderGraph(model),
            {
                "image_embeddings": features,
                "point_coords": torch.full((2, 3, 2), size / 2),
                "point_labels": torch.tensor([[1.0, 2.0, 3.0], [1.0, 0.0, -1.0]]),
                "mask_input": torch.zeros(2, 1, 4 * grid, 4 * grid),
                "has_mask_input": torch.tensor([0.0, 1.0]),
            },
            ["low_res_masks", "iou_predictions"],
            {
                "point_coords": {0: "prompts", 1: "points"},
                "point_labels": {0: "prompts", 1: "points"},
                "mask_input": {0: "prompts"},
                "has_mask_input": {0: "prompts"},
                "low_res_masks": {0: "prompts"},
                "iou_predictions": {0: "prompts"},
            },
        ),
    }
    if model.dense_kind == "distances":
        graphs["dense"] = Graph(DenseGraph(model), {"image_embeddings": features}, ["dense_maps"])
    return graphs


def describe(predictor: Predictor, graphs: dict[str, Graph]) -> dict[str, Any]:
    """What another program has to know, as values that JSON knows."""
    model = predictor.model
    spec = MODELS.get(predictor.model_name)
    return {
        "name": predictor.model_name,
        "architecture": model.architecture,
        "weights_xxh128": predictor.model_hash,
        "licence": None if spec is None else spec.licence,
        "made_by": f"micro_sam {__version__}, torch {torch.__version__}",
        "opset": OPSET,
        "files": list(graphs),
        "image_size": model.image_size,
        "grid_size": model.grid_size,
        "channels": model.embed_dim,
        "pad_colour": list(PAD_COLOUR),
        "mask_threshold": model.mask_threshold,
        "masks": list(MASKS),
        "dense_maps": list(DENSE_MAPS[model.dense_kind]),
        "point_labels": {"foreground": 1, "background": 0, "padding": -1, "box corners": list(BOX_CORNERS)},
        "inputs": {
            "image": "float32 RGB in 0..255: contrast stretched to 0..255, the longest side resized to image_size, "
            "padded at the bottom and on the right with pad_colour",
            "image_embeddings": "the encoder's output",
            "point_coords": "float32 (prompts, points, 2), x before y, in pixels of the resized image; a box is two "
            "points, the corners; without a box one point of padding comes last",
            "point_labels": "float32 (prompts, points)",
            "mask_input": "float32 logits, low_res_masks of an earlier call; zeros when there is none",
            "has_mask_input": "float32 (prompts,), 1 where mask_input is used, else 0",
        },
        "outputs": {
            "low_res_masks": "logits over the padded image; above mask_threshold is the object",
            "iou_predictions": "predicted quality of each mask",
        },
    }
