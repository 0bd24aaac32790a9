"""The picture on a model's page: a sample, and what the model makes of one click on each object."""

from __future__ import annotations

import numpy as np
import torch
from skimage.filters import threshold_otsu
from skimage.measure import label, regionprops

from micro_sam.models.predictor import Predictor

SMALLEST = 200  # pixels of a bright region that is clicked on
OPACITY = 0.5
COLOURS = np.array([(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (204, 121, 167)])  # Okabe and Ito


def draw_cover(predictor: Predictor, image: np.ndarray) -> np.ndarray:
    """Image (H, W, 3), uint8 -> (h, 2 h, 3), uint8, h <= H, W: the image, and beside it with the masks."""
    side = min(image.shape[:2])
    image = image[:side, :side]
    bright = image[..., 0] > threshold_otsu(image[..., 0])
    clicks = [region.centroid for region in regionprops(label(bright)) if region.area >= SMALLEST]
    painted = image.astype(np.float32)
    if clicks:
        features = predictor.encode(image)
        points = np.array(clicks)[:, None]
        decoded = predictor.decode(features, points=points, labels=np.ones(points.shape[:2]))
        for i, logits in enumerate(decoded.low_res_logits):
            with torch.no_grad():
                mask = (predictor.upscale(logits, features)[0] > 0).numpy()
            painted[mask] = (1 - OPACITY) * image[mask] + OPACITY * COLOURS[i % len(COLOURS)]
    return np.concatenate([image, painted.astype(np.uint8)], axis=1)
