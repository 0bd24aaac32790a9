"""A predictor that knows the truth, so that tests of tiles and corrections do not depend on a model's quality."""

from types import SimpleNamespace

import numpy as np
import torch

from micro_sam.embeddings.compute import iter_embeddings, open_embeddings
from micro_sam.embeddings.embeddings import Embeddings
from micro_sam.embeddings.store import MemoryStore
from micro_sam.embeddings.tiles import TileGrid
from micro_sam.models import frames
from micro_sam.models.predictor import Decoded, ImageFeatures
from micro_sam.models.sizes import resized_size


def embed(predictor, image, tile_shape=None, halo=None):
    """Features of a 2D image, in memory."""
    embeddings, store = open_embeddings(predictor, image, ndim=2, tile_shape=tile_shape, halo=halo)
    for _ in iter_embeddings(predictor, image, store):
        pass
    return embeddings


def oracle_embeddings(labels, tile_shape=None, halo=None, leave_out=()):
    """ "Features" that are the truth itself, one (1, 1, h, w) tensor per tile."""
    grid = TileGrid(labels.shape, tile_shape, halo)
    store = MemoryStore(grid)
    for tile in grid:
        if tile.index not in leave_out:
            part = torch.from_numpy(labels[tile.outer].astype("int64"))[None, None]
            size = part.shape[-2:]
            store.write(None, tile.index, ImageFeatures(part, resized_size(size, 1024), tuple(size)))
    return Embeddings(store)


class Oracle:
    """Answers with the object under the first positive click, or the largest in the box. Keeps what it was asked."""

    def __init__(self):
        self.model = SimpleNamespace(image_size=1024, grid_size=64, dense_kind=None, whole_up_to=2.0, smallest_halo=128)
        self.device = torch.device("cpu")
        self.model_name, self.model_hash, self.model_type = "oracle", "0", "oracle"
        self.features = None
        self.calls = []

    def decode(
        self, image, *, points=None, labels=None, boxes=None, mask_input=None, multimask_output=False, windowed=True
    ):
        self.calls.append(
            dict(points=points, labels=labels, boxes=boxes, mask_input=mask_input, multimask=multimask_output)
        )
        truth = image.features[0, 0].numpy()
        n = len(next(x for x in (points, boxes, mask_input) if x is not None))
        out = torch.stack([self._answer(truth, image, points, labels, boxes, k) for k in range(n)])
        m = 3 if multimask_output else 1
        return Decoded(out[:, None].repeat(1, m, 1, 1), torch.tensor([[0.9, 0.5, 0.4][:m]] * n))

    def _answer(self, truth, image, points, labels, boxes, k):
        value = 0
        if points is not None and (np.asarray(labels[k]) == 1).any():
            y, x = np.asarray(points[k])[np.asarray(labels[k]) == 1][-1]
            value = truth[int(y + 0.5), int(x + 0.5)]
        elif boxes is not None:
            y0, x0, y1, x1 = np.asarray(boxes[k]).astype(int)
            value = np.bincount(truth[y0:y1, x0:x1].ravel(), minlength=2)[1:].argmax() + 1
        mask = torch.from_numpy((truth == value) & (value > 0)).float()[None, None]
        side, valid = 256, [int(np.ceil(s / 4)) for s in image.input_size]
        logits = torch.full((side, side), -10.0)
        logits[: valid[0], : valid[1]] = torch.nn.functional.interpolate(mask, valid, mode="area")[0, 0] * 20 - 10
        return logits

    def upscale(self, logits, image, box=None):
        frame = (1024, image.input_size, image.original_size)
        return (
            frames.upscale_logits(logits, *frame) if box is None else frames.upscale_logits_in_box(logits, *frame, box)
        )

    def foreground_box(self, logits, image, threshold=0.0):
        return frames.foreground_box(logits, 1024, image.input_size, image.original_size, threshold)


def iou(a, b):
    """Of two masks."""
    return (a & b).sum() / max((a | b).sum(), 1)
