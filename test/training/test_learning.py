"""A training learns: from nothing on a tiny set, and from the shipped model on a handful of one's own images."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage as ndi

from micro_sam.io.images import find_images
from micro_sam.models.build import get_sam_model
from micro_sam.training import DataSource, TrainConfig, data, train_sam
from micro_sam.training.validation import FIGURES, measure, score


def draw_cells(seed: int, size: int = 256, count: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Bright ellipses of different brightness, close to each other but apart, blurred and noisy."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:size, :size]
    labels = np.zeros((size, size), np.uint16)
    while labels.max() < count:
        long, angle = rng.uniform(12, 24), rng.uniform(0, np.pi)
        y, x = (axis - rng.uniform(0, size) for axis in (yy, xx))
        along, across = y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)
        mask = (along / long) ** 2 + (across / (long * rng.uniform(0.65, 1))) ** 2 <= 1
        if mask.sum() > 200 and not labels[ndi.binary_dilation(mask, iterations=2)].any():
            labels[mask] = labels.max() + 1
    light = np.append(0, rng.uniform(90, 200, count))[labels]
    image = ndi.gaussian_filter(30 + light, 1.2) + rng.normal(0, 9, labels.shape)
    return np.clip(image, 0, 255).astype(np.uint8), labels


def write_cells(folder: Path, seeds: range) -> DataSource:
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for seed in seeds:
        for kind, array in zip(("images", "labels"), draw_cells(seed), strict=True):
            tifffile.imwrite(folder / kind / f"{seed}.tif", array)
    return DataSource((str(folder / "images"),), (str(folder / "labels"),))


@pytest.mark.slow
@pytest.mark.timeout(1200)  # minutes on a free machine
def test_from_random_weights_to_usable_on_a_tiny_set(tmp_path):
    learned, held_out = write_cells(tmp_path / "learn", range(10)), write_cells(tmp_path / "hold", range(100, 103))
    figures = []
    train_sam(
        progress=lambda step: figures.append(step.validation) if step.validation else None,
        config=TrainConfig(
            model="nano",
            from_scratch=True,
            train=(learned,),
            validation=(held_out,),
            output=str(tmp_path / "cells.safetensors"),
            steps=60,
            batch_size=5,
            objects=4,
            crop=128,
            vary=1.0,
            learning_rate=1e-3,
            validate_every=60,
            validation_objects=6,
            device="cpu",
        ),
    )
    assert figures[0]["click"] < 0.3 and figures[-1]["click"] > 0.7, figures


@pytest.mark.slow
@pytest.mark.timeout(1200)  # minutes on a free machine
def test_fine_tuning_on_five_images_beats_the_shipped_model_on_five_others(shared_data, tmp_path):
    """Budding yeast in phase contrast, of which the shipped weights have never learned.

    They have learned from the frames of myoblasts that this test took before, so that five of those are nothing new.
    """
    folder = shared_data / "track_yeast_yeastvision"
    files = [find_images(folder / "01"), find_images(folder / "01_GT" / "TRA")]
    learn, hold = (DataSource(*(tuple(map(str, names[part])) for names in files)) for part in (slice(5), slice(5, 10)))
    weights = train_sam(
        config=TrainConfig(
            model="nano_lm",
            train=(learn,),
            validation=(learn,),  # the images that it is judged by choose nothing here
            output=str(tmp_path / "yeast.safetensors"),
            steps=30,
            batch_size=4,
            crop=256,
            validate_every=30,
            validation_objects=1,
            device="cpu",
        )
    )
    images = data.read_source(hold)
    assert [image.name for image in images] == [f"t{n:03d}.tif" for n in range(5, 10)]
    before = measure(get_sam_model("nano_lm", device="cpu"), images, 8)
    after = measure(get_sam_model(None, device="cpu", checkpoint_path=weights), images, 8)
    print("held-out frames, before:", before, "after:", after)
    assert all(after[figure] > before[figure] for figure in FIGURES), (before, after)
    # of what is left to gain: weights that know such cells better from the start gain less
    assert score(after) - score(before) > 0.18 * (1 - score(before)), (before, after)
    assert after["click"] > 0.8, (before, after)
