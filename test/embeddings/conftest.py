"""A stand-in for the network: features that depend on every pixel, in microseconds, and a count of its calls."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from micro_sam.models.predictor import ImageFeatures


class FakePredictor:
    """Encodes an image as four small maps of its mean colours."""

    def __init__(self, name="fake", weights="0123456789abcdef", dense=False):
        self.model = SimpleNamespace(image_size=64, grid_size=8, embed_dim=4, whole_up_to=2.0, smallest_halo=8)
        self.model_type, self.model_name, self.model_hash = "vit_b", name, weights
        self.device, self.precision = torch.device("cpu"), "fp32"
        self.dense = dense
        self.calls = 0
        self.largest_batch = 10**6
        self.held = None

    def encode(self, image):
        return self.encode_batch([image])[0]

    def encode_batch(self, images):
        if len(images) > self.largest_batch:
            raise torch.cuda.OutOfMemoryError("the fake memory is full")
        self.calls += len(images)
        result = []
        for image in images:
            assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
            height, width = image.shape[:2]
            scale = 64 / max(height, width)
            small = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()
            maps = torch.nn.functional.adaptive_avg_pool2d(small, (8, 8))
            features = torch.cat([maps, maps.mean(1, keepdim=True)], 1)
            dense = torch.arange(3 * 32 * 32.0).reshape(3, 32, 32) / 100 if self.dense else None
            size = (int(height * scale + 0.5), int(width * scale + 0.5))
            result.append(ImageFeatures(features, size, (height, width), dense))
        return result

    def set_features(self, features, source=None):
        self.held, self.source = features, source


@pytest.fixture
def predictor():
    return FakePredictor()


@pytest.fixture
def make_predictor():
    return FakePredictor


@pytest.fixture
def stack():
    """(5, 40, 56) uint16 stack, a different pattern in each slice."""
    rng = np.random.default_rng(0)
    return (rng.random((5, 40, 56)) * 300 + 1000).astype("uint16")
