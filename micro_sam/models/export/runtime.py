"""An exported model in ONNX Runtime: how the files are used, and what an export is checked with."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import torch

from micro_sam.models import frames
from micro_sam.models.export.graphs import BOX_CORNERS
from micro_sam.models.export.tracing import require_packages
from micro_sam.models.sizes import resized_size


class OnnxSam:
    """A model exported to a folder, with prompts in pixels of the original image, (y, x), as `Predictor` takes them.

    Only ONNX Runtime computes; the few lines here are what another program has to do around the files.

    Parameters
    ----------
    folder : str | os.PathLike[str]
        With ``encoder.onnx``, ``decoder.onnx`` and ``model.json``.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        _, onnxruntime = require_packages()
        folder = Path(folder)
        self.known = json.loads((folder / "model.json").read_text())
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = torch.get_num_threads()  # all cores otherwise, and they wait for work in a loop
        self._sessions = {
            name: onnxruntime.InferenceSession(folder / f"{name}.onnx", options, providers=["CPUExecutionProvider"])
            for name in self.known["files"]
        }

    def encode(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Image (H, W, 3), uint8 -> features (1, C, g, g) and dense maps (1, K, h, w) or None, float32."""
        features, *dense = self._sessions["encoder"].run(
            None, {"image": frames.pad_image(image, self.known["image_size"])}
        )
        if "dense" in self._sessions:
            dense = self._sessions["dense"].run(None, {"image_embeddings": features})
        return features, dense[0] if dense else None

    def decode(
        self,
        features: np.ndarray,
        original_size: tuple[int, int],
        points: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        boxes: np.ndarray | None = None,
        mask_input: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Prompts as in `Predictor.decode` -> logits (B, 4, 4 g, 4 g) and scores (B, 4), float32.

        The first mask is that for a clear prompt, the other three are for an ambiguous one.
        """
        batch = next(len(x) for x in (points, boxes, mask_input) if x is not None)
        coords, kinds = [np.empty((batch, 0, 2))], [np.empty((batch, 0))]
        if points is not None:
            coords.append(np.asarray(points))
            kinds.append(np.asarray(labels))
        if boxes is not None:
            coords.append(np.asarray(boxes).reshape(batch, 2, 2))
            kinds.append(np.tile(BOX_CORNERS, (batch, 1)))
        elif points is not None:  # the model was trained with one point of padding where there is no box
            coords.append(np.zeros((batch, 1, 2)))
            kinds.append(np.full((batch, 1), -1))
        input_size = resized_size(original_size, self.known["image_size"])
        side = 4 * self.known["grid_size"]
        masks = np.zeros((batch, 1, side, side), np.float32) if mask_input is None else mask_input
        inputs = {
            "image_embeddings": features,
            "point_coords": frames.resize_points(np.concatenate(coords, axis=1), original_size, input_size),
            "point_labels": np.concatenate(kinds, axis=1).astype(np.float32),
            "mask_input": np.asarray(masks, np.float32),
            "has_mask_input": np.full(batch, mask_input is not None, np.float32),
        }
        logits, scores = self._sessions["decoder"].run(None, inputs)
        return logits, scores
