"""Inputs from formulas, for which ``reference.npz`` holds what micro-sam 1.8.14 answered.

``reference.npz`` was recorded on 2026-11-28 by running micro-sam 1.8.14 (PyPI wheel, torch 2.14, CPU) on these inputs;
its ``tuned_*`` on 2026-11-29, with a checkpoint whose names and shapes are those of the modules of 1.8.14, as its
training and as its ``export_custom_sam_model`` write it.

A vit_t in 1.8.14 does not use all of such a checkpoint: MobileSAM's attention copies its position biases when the
model is put into evaluation mode, which happens before the weights are loaded. ``tuned_features_as_loaded`` are those;
for all other ``tuned_*`` the model went through ``train()`` and ``eval()`` once, and has the biases of the file.
"""

import zlib

import numpy as np
import torch
from scipy import ndimage

SHAPE = (150, 200)
INPUT_SIZE = (768, 1024)
THRESHOLDS = {
    "default": {},
    "min_size": {"min_size": 500},
    "thresholds": {"center_distance_threshold": 0.3, "boundary_distance_threshold": 0.6, "foreground_threshold": 0.4},
    "smoothing": {"foreground_smoothing": 2.0, "distance_smoothing": 0.8},
}


LOW_THRESHOLDS = {
    "foreground_threshold": 0.3,
    "center_distance_threshold": 0.8,
    "boundary_distance_threshold": 0.6,
}


def maps(seed=0):
    """Foreground, distance to the centre, closeness of the boundary of noisy discs; (H, W) float32 each."""
    rng = np.random.default_rng(seed)
    centres = np.stack([rng.uniform(0, SHAPE[0], 25), rng.uniform(0, SHAPE[1], 25)], 1)
    radii = rng.uniform(8, 18, 25)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    nearest = np.min([np.hypot(y - a, x - b) / r for (a, b), r in zip(centres, radii, strict=True)], axis=0)

    def noise(sigma):
        return ndimage.gaussian_filter(rng.standard_normal(SHAPE), sigma) * sigma * 0.25

    foreground = 1 / (1 + np.exp((nearest - 1) * 8 + noise(2)))
    centre = np.clip(nearest + noise(1.5), 0, 1)
    boundary = np.clip(1 - np.clip(1 - nearest, 0, 1) * 1.3 + noise(1.5), 0, 1)
    values = (foreground, centre, boundary)
    names = ("foreground", "center_distances", "boundary_distances")
    return {name: value.astype("float32") for name, value in zip(names, values, strict=True)}


def features():
    """Smooth random features (1, 256, 64, 64) float32."""
    values = torch.tensor(np.random.default_rng(0).standard_normal((1, 256, 12, 12)), dtype=torch.float32)
    return torch.nn.functional.interpolate(values, (64, 64), mode="bicubic")


def weights(shapes, scale=1.0):
    """Random weights that depend on the names and shapes of the tensors only."""
    out = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        if name.endswith("num_batches_tracked"):
            out[name] = torch.tensor(1)
            continue
        if len(shape) > 1:
            values = rng.standard_normal(shape) * scale / np.sqrt(np.prod(shape[1:]))
        elif name.endswith(("running_var", "weight")):
            values = rng.uniform(0.5, 1.5, shape)
        else:
            values = rng.standard_normal(shape) * 0.1
        out[name] = torch.tensor(np.asarray(values, "float32"))
    return out


def discs():
    """Bright discs (H, W) uint8, 0 and 255: every rule of brightness shows the network the same."""
    image = np.zeros(SHAPE, "uint8")
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for cy, cx, radius in ((40, 50, 20), (45, 150, 26), (110, 60, 24), (105, 150, 18)):
        image[(y - cy) ** 2 + (x - cx) ** 2 <= radius**2] = 255
    return image


BOXES = np.array([[20, 30, 60, 80], [100, 20, 160, 90], [5, 5, 30, 30]])  # x before y
POINTS = np.array([[[40, 50]], [[130, 60]], [[15, 15]]])
