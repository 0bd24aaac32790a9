"""How good the masks are: clicks, boxes, corrections and automatic segmentation on real images with ground truth.

    python benchmarks/quality.py --data ../shared/data --model nano_lm

Prints a markdown table per modality and writes JSON (machine, date, hash of the weights, all figures). Automatic
segmentation is compared with Otsu's threshold and a watershed on the distance transform.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import os
import platform
import time
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
import torch
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.measure import label
from skimage.segmentation import watershed

from micro_sam.embeddings.compute import iter_embeddings, open_embeddings
from micro_sam.evaluation.interactive import evaluate_image
from micro_sam.evaluation.metrics import compare_labels
from micro_sam.models.build import get_sam_model
from micro_sam.segmentation.dense import get_segmenter

COLUMNS = ["click", "click +1", "click +2", "box", "box +1", "box +2", "mSA", "SA50", "SA75", "dice"]
COLUMNS += [f"{name} (Otsu)" for name in ("mSA", "SA50", "SA75", "dice")]


def main() -> None:
    """Parse arguments, evaluate, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--split", default="val")
    parser.add_argument("--sets", nargs="*", help="data sets; all that have the split when not given")
    parser.add_argument("--model", default="nano_lm")
    parser.add_argument("--checkpoint", help="weights of one's own")
    parser.add_argument("--device")
    parser.add_argument("--images", type=int, help="images per set and modality; all when not given")
    parser.add_argument("--objects", type=int, default=8, help="objects per image for the simulated person")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--output", type=Path, help="JSON file")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    predictor = get_sam_model(options.model, device=options.device, checkpoint_path=options.checkpoint)
    begin = time.time()
    rows = []
    for number, (row, image, truth) in enumerate(images(options.data, options.split, options.sets, options.images), 1):
        rows.append(row | evaluate(predictor, image, truth, options.objects))
        print(f"{number}: {row['set']} {row['modality']}, {time.time() - begin:.0f} s", flush=True)
    table = pd.DataFrame(rows)
    summary = summarize(table)
    print(f"\n{options.model}, weights {predictor.model_hash[:16]}, {len(table)} images, {time.time() - begin:.0f} s\n")
    print(as_markdown(summary))
    if options.output:
        about = {
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "machine": f"{platform.platform()}, {os.cpu_count()} cores, torch {torch.__version__}, {predictor.device}",
            "model": options.model,
            "weights": predictor.model_hash,
            "objects_per_image": options.objects,
            "summary": json.loads(summary.to_json(orient="index")),
            "images": json.loads(table.to_json(orient="records")),
        }
        options.output.write_text(json.dumps(about, indent=1))


def images(folder: Path, split: str, sets: list[str] | None, limit: int | None):
    """2D images of a split with their labels, from the folder's ``manifest.csv``."""
    seen: dict[tuple[str, str], int] = {}
    for row in csv.DictReader((folder / "manifest.csv").open()):
        key = (row["set"], row["modality"])
        if row["split"] != split or (sets and row["set"] not in sets):
            continue
        seen[key] = seen.get(key, 0) + 1
        if limit is None or seen[key] <= limit:
            image, truth = tifffile.imread(folder / row["image"]), tifffile.imread(folder / row["mask"])
            yield {"set": row["set"], "modality": row["modality"], "image": row["image"]}, image, truth


def evaluate(predictor, image: np.ndarray, truth: np.ndarray, max_objects: int) -> dict[str, float]:
    """All figures of one image. Those of clicks and boxes are means over objects; ``n`` is their number."""
    embeddings, store = open_embeddings(predictor, image, ndim=2)
    for _ in iter_embeddings(predictor, image, store):
        pass
    figures: dict[str, float] = {}
    for start, name in (("point", "click"), ("box", "box")):
        trials = list(evaluate_image(predictor, embeddings, truth, start, 2, max_objects=max_objects))
        figures["n"] = len(trials)
        for k, suffix in enumerate(("", " +1", " +2")):
            figures[name + suffix] = float(np.mean([trial.ious[k] for trial in trials])) if trials else np.nan
    segmenter = get_segmenter(predictor, embeddings.grid.is_tiled)
    segmenter.initialize(image, embeddings)
    figures |= compare_labels(segmenter.generate(), truth)
    figures |= {f"{key} (Otsu)": value for key, value in compare_labels(otsu_watershed(image), truth).items()}
    return figures


def otsu_watershed(image: np.ndarray) -> np.ndarray:
    """What one gets without a model: Otsu's threshold, objects split by a watershed on the distance transform."""
    grey = image.mean(-1) if image.ndim == 3 else image
    mask = grey > threshold_otsu(grey)
    mask = ~mask if mask.mean() > 0.5 else mask
    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), 1)
    peaks = peak_local_max(distance, min_distance=5, labels=label(mask), exclude_border=False)
    seeds = np.zeros(mask.shape, int)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return watershed(-distance, seeds, mask=mask)


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """Means per modality, over all images, and over modalities. Interactive figures are weighted by objects."""
    interactive = COLUMNS[:6]

    def means(part: pd.DataFrame) -> pd.Series:
        weights = part["n"] / max(part["n"].sum(), 1)
        weighted = (part[interactive].fillna(0).mul(weights, axis=0)).sum()
        return pd.concat(
            [pd.Series({"images": len(part), "objects": part["n"].sum()}), weighted, part[COLUMNS[6:]].mean()]
        )

    groups = {name: means(part) for name, part in table.groupby("modality")}
    result = pd.DataFrame(groups).T
    result.loc["all images"] = means(table)
    result.loc["mean of modalities"] = result.loc[list(groups)].mean()
    result.loc["mean of modalities", ["images", "objects"]] = result.loc["all images", ["images", "objects"]]
    return result


def as_markdown(summary: pd.DataFrame) -> str:
    """The table for a README."""
    lines = ["| modality | images | objects | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 3) + "|"]
    for name, row in summary.iterrows():
        numbers = [f"{row[column]:.3f}" for column in COLUMNS]
        lines.append(f"| {name} | {row['images']:.0f} | {row['objects']:.0f} | " + " | ".join(numbers) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
