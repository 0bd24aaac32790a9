"""How well masks in bf16 agree with those in fp32, on real images with the shipped model.

    python benchmarks/agreement.py [--precision bf16] [--folder IMAGES]

Every bright region of an image (Otsu's threshold) is asked for with a click and with its box; the figure is the mean
IoU of the masks of the two precisions. Without a folder the sample images of the package and scikit-image are used.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from skimage.filters import threshold_otsu
from skimage.measure import label, regionprops

from micro_sam.io.images import load_image_data
from micro_sam.io.normalization import estimate_normalization, to_rgb_uint8
from micro_sam.models.build import get_sam_model
from micro_sam.models.predictor import ImageFeatures, Predictor
from micro_sam.sample_data import open_sample, sample_names

SMALLEST = 150  # pixels of a region that is asked for
MOST = 24  # regions per image


def images(folder: Path | None = None) -> Iterator[tuple[str, np.ndarray]]:
    """Names and images (H, W, 3), uint8, of a folder, or of the samples that need no download."""
    if folder is None:
        found = ((name, open_sample(name).image) for name in sample_names("2d", offline=True))
    else:
        found = ((path.name, load_image_data(path)) for path in sorted(folder.iterdir()) if path.is_file())
    for name, image in found:
        yield name, to_rgb_uint8(image, estimate_normalization(image, 2))


def prompts(image: np.ndarray) -> list[dict]:
    """Arguments of ``Predictor.decode``: a click into each bright region, and its box."""
    bright = image[..., 0] > threshold_otsu(image[..., 0])
    regions = [region for region in regionprops(label(bright)) if region.area >= SMALLEST][:MOST]
    if not regions:
        return []
    points = np.array([region.coords[len(region.coords) // 2] for region in regions], float)[:, None]
    clicks = {"points": points, "labels": np.ones(points.shape[:2]), "multimask_output": True}
    return [clicks, {"boxes": np.array([region.bbox for region in regions], float)}]


@torch.no_grad()
def masks(
    predictor: Predictor,
    features: ImageFeatures,
    prompt: dict,
    chosen: Sequence[int] | None = None,
    windowed: bool = True,
) -> tuple[list[np.ndarray], list[int]]:
    """One mask (H, W) of each prompt, and which of the model's answers it is: the chosen one, else the best."""
    decoded = predictor.decode(features, **prompt, windowed=windowed)
    chosen = decoded.scores.argmax(1).tolist() if chosen is None else list(chosen)
    found = [
        (predictor.upscale(logits[k][None], features)[0] > 0).cpu().numpy()
        for logits, k in zip(decoded.low_res_logits, chosen, strict=True)
    ]
    return found, chosen


def agreement(
    one: Predictor, other: Predictor, named: Iterable[tuple[str, np.ndarray]], choices: bool = True
) -> dict[str, list[float]]:
    """IoU of every mask of one predictor with that of the other, per image; 1 where both are empty.

    A hair may tip two choices: which of the answers to a click is the best, and whether a mask that comes near the
    border of its window is decoded again on the whole grid. Without ``choices`` the first predictor chooses the answers
    for both, and both decode on the whole grid: what differs is the arithmetic.
    """
    found: dict[str, list[float]] = {}
    for name, image in named:
        features = [predictor.encode(image) for predictor in (one, other)]
        found[name] = []
        for prompt in prompts(image):
            mine, chosen = masks(one, features[0], prompt, windowed=choices)
            theirs, _ = masks(other, features[1], prompt, None if choices else chosen, windowed=choices)
            for a, b in zip(mine, theirs, strict=True):
                found[name].append(float((a & b).sum() / (a | b).sum()) if (a | b).any() else 1.0)
    return found


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--model", default="nano_lm")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path, help="images of one's own")
    options = parser.parse_args()
    pair = [get_sam_model(options.model, options.device, precision=name) for name in ("fp32", options.precision)]
    found = agreement(*pair, images(options.folder))
    for name, values in found.items():
        if values:
            print(f"{name:40s} {len(values):4d} masks, IoU {np.mean(values):.4f}, least {min(values):.3f}")
    everything = [value for values in found.values() for value in values]
    print(f"{'all':40s} {len(everything):4d} masks, IoU {np.mean(everything):.4f}, least {min(everything):.3f}")


if __name__ == "__main__":
    main()
