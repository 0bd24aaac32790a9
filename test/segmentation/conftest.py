"""The shipped model, and images with known objects."""

import numpy as np
import pytest
import torch
from segmentation_helpers import embed


@pytest.fixture(scope="session", autouse=True)
def _few_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, 2))
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def predictor():
    """The shipped model."""
    from micro_sam.models.build import get_sam_model

    return get_sam_model("nano_lm", device="cpu")


@pytest.fixture(scope="session")
def blobs():
    """Bright round objects on a dark, noisy ground, not square, and what is where: (image, labels)."""
    random = np.random.default_rng(0)
    image, labels = random.normal(20, 4, (240, 320)), np.zeros((240, 320), "uint32")
    y, x = np.mgrid[:240, :320]
    centres = [(40, 50), (60, 160), (45, 270), (120, 90), (130, 200), (180, 40), (190, 140), (185, 270)]
    for value, (cy, cx) in enumerate(centres, 1):
        inside = ((y - cy) / 20) ** 2 + ((x - cx) / 26) ** 2 <= 1
        image[inside] += 120
        labels[inside] = value
    return np.clip(image, 0, 255).astype("uint8"), labels


@pytest.fixture(scope="session")
def blob_embeddings(predictor, blobs):
    return embed(predictor, blobs[0])


@pytest.fixture(scope="session")
def tiled_blob_embeddings(predictor, blobs):
    return embed(predictor, blobs[0], (120, 160), (40, 40))
