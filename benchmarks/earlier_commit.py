"""Propagation as an earlier commit does it, asked object by object; started by ``volume_and_tracking.py --against``.

Runs with PYTHONPATH set to a worktree of that commit. Reads a line of JSON per
question from the standard input, ``{"point": [z, y, x], "to": "mask.npy"}``, and answers with one: the CPU seconds of
the click and of its propagation. The first line it writes says which weights it has.
"""

from __future__ import annotations

import json
import os
import sys
import time

import numpy as np
import tifffile
import torch

from micro_sam.embeddings.compute import iter_embeddings, open_embeddings
from micro_sam.models.build import get_sam_model
from micro_sam.segmentation.values import Prompts

try:
    from micro_sam.segmentation.prompted.segment import segment_objects
    from micro_sam.segmentation.propagation.volume import iter_propagate_volume
except ImportError:  # a commit before the room of segmentation had folders
    from micro_sam.segmentation.prompted import segment_objects
    from micro_sam.segmentation.volume import iter_propagate_volume


def main() -> None:
    """``earlier_commit.py IMAGE.tif MODEL THREADS IOU_THRESHOLD``."""
    image, model, threads, threshold = tifffile.imread(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    answers, sys.stdout = os.fdopen(os.dup(1), "w"), sys.stderr
    torch.set_num_threads(threads)
    predictor = get_sam_model(model)
    embeddings, store = open_embeddings(predictor, image, ndim=3, tile_shape="whole", smooth_noise=True)
    for _ in iter_embeddings(predictor, image, store):
        pass
    print(json.dumps({"weights": predictor.model_hash}), file=answers, flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        z, *place = question["point"]
        begin = time.process_time()
        mask = segment_objects(predictor, Prompts(np.array([place], float), np.array([1])), embeddings, int(z))[0]
        clicked = time.process_time() - begin
        volume = np.zeros(image.shape[:3], bool)
        if not mask.is_empty:
            for step in iter_propagate_volume(predictor, embeddings, {int(z): mask}, iou_threshold=threshold):
                if step.mask is not None:
                    step.mask.paint(volume[step.z], True)
        seconds = time.process_time() - begin
        np.save(question["to"], volume)
        print(json.dumps({"click": clicked, "all": seconds}), file=answers, flush=True)


if __name__ == "__main__":
    main()
