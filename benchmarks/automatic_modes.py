"""The automatic modes of one model beside each other: maps (AIS), maps and prompts (APG), a grid of clicks (AMG).

    python benchmarks/automatic_modes.py --data DATA --images 1

Prints a markdown table: means over the images of mSA, SA50 and processor seconds (initialise and generate; embeddings
are not counted). The grid of clicks is initialised once for several thresholds, and counted once for each.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from validation_images import split_images

from micro_sam.embeddings.compute import precompute_image_embeddings
from micro_sam.evaluation.metrics import compare_labels
from micro_sam.instance_segmentation import (
    AutomaticMaskGenerator,
    AutomaticPromptGenerator,
    DenseInstanceSegmenter,
    InstanceSegmentationWithDecoder,
)
from micro_sam.models.build import get_sam_model

QUALITY, STABILITY = (0.6, 0.7, 0.8, 0.88), (0.9, 0.95)
GRID = [{"pred_iou_thresh": q, "stability_score_thresh": s} for q in QUALITY for s in STABILITY]
MODES: dict[str, tuple[Callable, dict, list[dict]]] = {
    "maps (the window's way)": (DenseInstanceSegmenter, {}, [{}]),
    "maps (AIS)": (InstanceSegmentationWithDecoder, {}, [{}, {"min_size": 25}]),
    "maps and prompts (APG)": (AutomaticPromptGenerator, {}, [{}, {"use_boxes": False}]),
    "grid of clicks (AMG)": (AutomaticMaskGenerator, {"points_per_side": 32}, GRID),
}


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the development images")
    parser.add_argument("--split", default="val")
    parser.add_argument("--sets", nargs="*", help="data sets; all that have the split when not given")
    parser.add_argument("--images", type=int, default=1, help="images per set and modality")
    parser.add_argument("--model", default="nano_lm")
    parser.add_argument("--checkpoint", help="weights of one's own")
    parser.add_argument("--modes", nargs="*", default=list(MODES), choices=list(MODES))
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)  # "no mask passed": an answer here
    predictor = get_sam_model(options.model, checkpoint_path=options.checkpoint)
    rows: list[dict] = []
    for one in split_images(options.data, options.split, options.sets, options.images):
        embeddings = precompute_image_embeddings(predictor, one.image, ndim=2, verbose=False)
        for mode in options.modes:
            rows += measure(mode, predictor, embeddings, one)
        print(f"{one.kind}, {one.name}, {len(np.unique(one.truth)) - 1} objects", flush=True)
        print(table(rows), flush=True)  # so far: a run that is cut short is not lost


def measure(mode: str, predictor, embeddings, one) -> list[dict]:
    """The figures of one mode with each of its settings."""
    kind, created, settings = MODES[mode]
    segmenter = kind(predictor, **created)
    begin = time.process_time()
    segmenter.initialize(one.image, embeddings)
    first = time.process_time() - begin
    rows = []
    for setting in settings:
        begin = time.process_time()
        labels = segmenter.generate(**setting)
        seconds = first + time.process_time() - begin
        figures = compare_labels(labels, one.truth)
        text = ", ".join(f"{name} {value}" for name, value in setting.items())
        name = f"{mode} {text}".strip()
        rows.append({"mode": name, "mSA": figures["mSA"], "SA50": figures["SA50"], "CPU s": seconds})
    return rows


def table(rows: list[dict]) -> str:
    """Means over the images, as markdown."""
    means = pd.DataFrame(rows).groupby("mode", sort=False).mean().round(3)
    head = "| mode | mSA | SA50 | CPU s |\n|---|---|---|---|\n"
    return head + "\n".join(f"| {mode} | " + " | ".join(f"{v:g}" for v in row) + " |" for mode, row in means.iterrows())


if __name__ == "__main__":
    main()
