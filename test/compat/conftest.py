"""The shipped model, and an image with known objects."""

import imageio.v3 as imageio
import numpy as np
import pytest


@pytest.fixture(scope="session")
def predictor():
    from micro_sam.util import get_sam_model

    return get_sam_model("nano_lm", device="cpu")


@pytest.fixture(scope="session")
def blobs():
    """Bright round objects on a dark, noisy ground, and what is where: (image, labels)."""
    random = np.random.default_rng(0)
    image, labels = random.normal(20, 4, (160, 208)), np.zeros((160, 208), "uint32")
    y, x = np.mgrid[:160, :208]
    for value, (cy, cx) in enumerate([(40, 50), (45, 150), (115, 60), (120, 160)], 1):
        inside = ((y - cy) / 20) ** 2 + ((x - cx) / 26) ** 2 <= 1
        image[inside] += 120
        labels[inside] = value
    return np.clip(image, 0, 255).astype("uint8"), labels


@pytest.fixture(scope="session")
def embeddings(predictor, blobs):
    from micro_sam.util import precompute_image_embeddings

    return precompute_image_embeddings(predictor, blobs[0], ndim=2, verbose=False)


@pytest.fixture(scope="session")
def folder(blobs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for name, values in (("images", blobs[0]), ("labels", blobs[1].astype("uint16"))):
        (folder / name).mkdir()
        imageio.imwrite(folder / name / "a.tif", values)
        imageio.imwrite(folder / name / "b.tif", values[::-1].copy())
    return folder
