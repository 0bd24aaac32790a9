"""A training set on disc that takes a fraction of a second to make."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from micro_sam.training.synthetic import synthetic_image


def write_set(folder: Path, count: int, kind: str = "nuclei", size: int = 128, seed: int = 0) -> tuple[Path, Path]:
    """Images and label images in two folders."""
    images, labels = folder / "images", folder / "labels"
    images.mkdir(parents=True)
    labels.mkdir()
    for number in range(count):
        image, instances = synthetic_image(np.random.default_rng((seed, number)), (size, size), kind)
        tifffile.imwrite(images / f"cell_{number}.tif", image[..., 0])
        tifffile.imwrite(labels / f"cell_{number}.tif", instances.astype("uint16"))
    return images, labels


@pytest.fixture
def tiny_set(tmp_path: Path) -> tuple[Path, Path]:
    return write_set(tmp_path / "set", 3)


@pytest.fixture(autouse=True)
def one_thread():
    """Threads that wait for each other cost more than they bring on networks this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
