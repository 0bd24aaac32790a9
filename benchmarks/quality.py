"""How good the masks are: clicks, boxes, corrections and automatic segmentation on real images with ground truth.

    python benchmarks/quality.py --data DATA --model nano_lm
    python benchmarks/quality.py --data DATA --all_kinds --against before.safetensors

Prints a markdown table per kind of image and writes JSON (machine, date, hash of the weights, all figures). Automatic
segmentation is compared with Otsu's threshold and a watershed on the distance transform. With ``--against`` two weights
see the same images and objects, and their differences come with 95 % bootstrap intervals over the objects.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.measure import label
from skimage.segmentation import watershed
from validation_images import all_kinds, split_images

from micro_sam.embeddings.compute import iter_embeddings, open_embeddings
from micro_sam.evaluation.interactive import evaluate_image
from micro_sam.evaluation.metrics import compare_labels
from micro_sam.models.build import get_sam_model
from micro_sam.segmentation.automatic.dense import get_segmenter

CLICKS = ["click", "click +1", "click +2", "box", "box +1", "box +2"]
AUTOMATIC = ["mSA", "SA50", "SA75", "dice"]
COLUMNS = [*CLICKS, *AUTOMATIC, *(f"{name} (Otsu)" for name in AUTOMATIC)]
COMPARED = ["click", "click +2", "box", "box +2", "automatic"]  # per object; automatic: the best mask over it
FEW = 5  # images: kinds with fewer are compared together


def main() -> None:
    """Parse arguments, evaluate, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the development images")
    parser.add_argument("--split", default="val")
    parser.add_argument("--sets", nargs="*", help="data sets; all that have the split when not given")
    parser.add_argument("--all_kinds", action="store_true", help="also slices and frames that are never learned from")
    parser.add_argument("--model", default="nano_lm")
    parser.add_argument("--checkpoint", help="weights of one's own")
    parser.add_argument("--against", metavar="FILE", help="weights to compare with: a file, or the name of a model")
    parser.add_argument("--device")
    parser.add_argument("--images", type=int, help="images per set and modality; all when not given")
    parser.add_argument("--objects", type=int, default=8, help="objects per image for the simulated user")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--output", type=Path, help="JSON file")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    predictors = {"new": get_sam_model(options.model, device=options.device, checkpoint_path=options.checkpoint)}
    if options.against:
        is_file = Path(options.against).is_file()
        model, file = (options.model, options.against) if is_file else (options.against, None)
        predictors["old"] = get_sam_model(model, device=options.device, checkpoint_path=file)
    begin = time.time()
    found = (
        all_kinds(options.data, options.images)
        if options.all_kinds
        else split_images(options.data, options.split, options.sets, options.images)
    )
    rows, objects = [], []
    for number, one in enumerate(found, 1):
        for weights, predictor in predictors.items():
            figures, parts = evaluate(predictor, one.image, one.truth, options.objects)
            common = {"kind": one.kind, "image": one.name, "weights": weights}
            rows.append(common | figures)
            objects += [common | part for part in parts]
        print(f"{number}: {one.kind}, {time.time() - begin:.0f} s", flush=True)
        if options.output:  # what is known so far: a run that is cut short is not lost
            write(options, predictors, pd.DataFrame(rows), pd.DataFrame(objects))
    table = pd.DataFrame(rows)
    for weights, predictor in predictors.items():
        part = table[table["weights"] == weights]
        print(f"\n{weights}: {predictor.model_hash[:16]}, {len(part)} images, {time.time() - begin:.0f} s\n")
        print(as_markdown(summarize(part)))
    if "old" in predictors:
        print(f"\nnew - old\n\n{difference_markdown(compare(pd.DataFrame(objects)))}")


def write(options, predictors, table: pd.DataFrame, objects: pd.DataFrame) -> None:
    """The JSON file."""
    about = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.platform()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "model": options.model,
        "weights": {name: predictor.model_hash for name, predictor in predictors.items()},
        "objects_per_image": options.objects,
        "summary": {
            name: json.loads(summarize(part).to_json(orient="index")) for name, part in table.groupby("weights")
        },
        "images": json.loads(table.to_json(orient="records")),
        "objects": json.loads(objects.to_json(orient="records")),
    }
    options.output.write_text(json.dumps(about, indent=1))


def evaluate(predictor, image: np.ndarray, truth: np.ndarray, max_objects: int) -> tuple[dict, list[dict]]:
    """All figures of one image, and those of its objects.

    Those of clicks and boxes are means over objects; ``n`` is their number.
    """
    embeddings, store = open_embeddings(predictor, image, ndim=2)
    for _ in iter_embeddings(predictor, image, store):
        pass
    begin = time.process_time()
    segmenter = get_segmenter(predictor, embeddings.grid.is_tiled)
    segmenter.initialize(image, embeddings)
    labels = segmenter.generate()
    figures: dict[str, float] = {"automatic s": time.process_time() - begin}
    parts: dict[int, dict] = {}
    begin = time.process_time()
    for start, name in (("point", "click"), ("box", "box")):
        for trial in evaluate_image(predictor, embeddings, truth, start, 2, max_objects=max_objects):
            row = parts.setdefault(trial.label, {"label": trial.label})
            row |= {name + suffix: trial.ious[k] for k, suffix in enumerate(("", " +1", " +2"))}
    for value, row in parts.items():
        row["automatic"] = best_overlap(labels, truth == value)
    figures |= {"n": len(parts), "clicks s": time.process_time() - begin}
    figures |= {name: float(np.mean([row[name] for row in parts.values()])) if parts else np.nan for name in CLICKS}
    figures |= compare_labels(labels, truth)
    figures |= {f"{key} (Otsu)": value for key, value in compare_labels(otsu_watershed(image), truth).items()}
    return figures, list(parts.values())


def best_overlap(labels: np.ndarray, mask: np.ndarray) -> float:
    """IoU of the label that covers a mask best; 0 without one."""
    shared = np.bincount(labels[mask])
    shared[0] = 0
    sizes = np.bincount(labels.ravel(), minlength=len(shared))[: len(shared)]
    return float((shared / np.maximum(sizes + mask.sum() - shared, 1)).max())


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
    """Means per kind, over all images, and over kinds. Interactive figures are weighted by objects."""

    def means(part: pd.DataFrame) -> pd.Series:
        weights = part["n"] / max(part["n"].sum(), 1)
        weighted = (part[CLICKS].fillna(0).mul(weights, axis=0)).sum()
        return pd.concat(
            [
                pd.Series({"images": len(part), "objects": part["n"].sum()}),
                weighted,
                part[[*COLUMNS[6:], "automatic s", "clicks s"]].mean(),
            ]
        )

    groups = {name: means(part) for name, part in table.groupby("kind")}
    result = pd.DataFrame(groups).T
    result.loc["all images"] = means(table)
    result.loc["mean of kinds"] = result.loc[list(groups)].mean()
    result.loc["mean of kinds", ["images", "objects"]] = result.loc["all images", ["images", "objects"]]
    return result


def compare(objects: pd.DataFrame, draws: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Differences of two weights on the same objects, with 95 % bootstrap intervals over the objects.

    Parameters
    ----------
    objects : DataFrame
        A row per object and weights ("new", "old"), with kind, image, label and the ``COMPARED`` figures.
    draws, seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        A row per kind (those of fewer than ``FEW`` images together): images, objects, and for every figure its value
        with the new weights, the difference, and the ends of the interval of the difference.
    """
    pairs = objects.set_index(["kind", "image", "label", "weights"])[COMPARED].unstack("weights").dropna()
    images = pairs.reset_index().groupby("kind")["image"].nunique()
    kind = pairs.index.get_level_values("kind")
    group = np.where(np.isin(kind, images.index[images < FEW]), f"fewer than {FEW} images", kind)
    rng, rows = np.random.default_rng(seed), {}
    for name in [*dict.fromkeys(group), "all"]:
        part = pairs if name == "all" else pairs[group == name]
        row = {"images": part.reset_index()["image"].nunique(), "objects": len(part)}
        drawn = rng.integers(0, len(part), (draws, len(part)))
        for figure in COMPARED:
            gain = (part[figure]["new"] - part[figure]["old"]).to_numpy()
            low, high = np.quantile(gain[drawn].mean(1), (0.025, 0.975))
            row |= {figure: part[figure]["new"].mean(), f"{figure} gain": gain.mean()}
            row |= {f"{figure} low": low, f"{figure} high": high}
        rows[name] = row
    return pd.DataFrame(rows).T


def difference_markdown(table: pd.DataFrame) -> str:
    """Per kind: value of the new weights, and in brackets the difference and its interval."""
    lines = ["| kind | images | objects | " + " | ".join(COMPARED) + " |", "|---" * (len(COMPARED) + 3) + "|"]
    for name, row in table.iterrows():
        cells = [
            f"{row[f]:.3f} ({row[f + ' gain']:+.3f}: {row[f + ' low']:+.3f} to {row[f + ' high']:+.3f})"
            for f in COMPARED
        ]
        lines.append(f"| {name} | {row['images']:.0f} | {row['objects']:.0f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def as_markdown(summary: pd.DataFrame) -> str:
    """The table for a README."""
    columns = [*COLUMNS, "automatic s", "clicks s"]
    lines = ["| kind | images | objects | " + " | ".join(columns) + " |", "|---" * (len(columns) + 3) + "|"]
    for name, row in summary.iterrows():
        numbers = [f"{row[column]:.3f}" for column in columns]
        lines.append(f"| {name} | {row['images']:.0f} | {row['objects']:.0f} | " + " | ".join(numbers) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
