"""The comparison of two weights in the benchmark of quality."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="module")
def quality():
    folder = str(Path(__file__).parents[1] / "benchmarks")
    sys.path.insert(0, folder)
    yield importlib.import_module("quality")
    sys.path.remove(folder)


def rows(kind: str, n_images: int, gain: float, quality, n_objects: int = 8) -> list[dict]:
    rng, found = np.random.default_rng(0), []
    for image in range(n_images):
        for label in range(n_objects):
            old = dict.fromkeys(quality.COMPARED, rng.uniform(0.3, 0.7))
            noise = rng.normal(0, 0.02)
            for weights, figures in (("old", old), ("new", {k: v + gain + noise for k, v in old.items()})):
                found.append({"kind": kind, "image": f"{kind} {image}", "label": label, "weights": weights} | figures)
    return found


def test_differences_come_per_kind_with_intervals_and_small_kinds_together(quality):
    objects = pd.DataFrame(
        rows("many", 6, 0.1, quality) + rows("one", 1, -0.1, quality) + rows("two", 2, -0.1, quality)
    )
    table = quality.compare(objects)
    assert list(table.index) == ["many", "fewer than 5 images", "all"]
    many, few = table.loc["many"], table.loc["fewer than 5 images"]
    assert many["images"] == 6 and many["objects"] == 48 and few["images"] == 3
    assert many["click low"] < 0.1 < many["click high"] and many["click low"] > 0.08
    assert few["box high"] < 0 and "many" in quality.difference_markdown(table)


def test_objects_that_only_one_of_the_weights_has_seen_do_not_count(quality):
    objects = pd.DataFrame(rows("many", 6, 0.1, quality))
    cut = objects[~((objects["image"] == "many 0") & (objects["weights"] == "new"))]
    assert quality.compare(cut).loc["all", "images"] == 5


def test_the_label_that_covers_a_mask_best(quality):
    labels = np.zeros((10, 10), int)
    labels[:, :4], labels[:, 4:] = 1, 2
    mask = np.zeros((10, 10), bool)
    mask[:, :5] = True
    assert quality.best_overlap(labels, mask) == pytest.approx(40 / 50)
    assert quality.best_overlap(np.zeros((10, 10), int), mask) == 0
