"""Images of all kinds that no weights of this project have learned from, with their label images."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

# What there is beside the "val" splits of the manifest: (kind, folder, images, labels, slices or frames).
STACKS = (
    ("cell walls, confocal", "cells3d_ovule/*_image.tif", "cells3d_ovule/*_labels.tif", slice(18, None, 4)),
    ("plant nuclei, confocal", "nuclei3d_ovule/*_image.tif", "nuclei3d_ovule/*_labels.tif", slice(55, None, 10)),
    (
        "chloroplasts, volume EM",
        "organelles3d_chloroplast_em/leaf_w2_image.tif",
        "organelles3d_chloroplast_em/leaf_w2_labels.tif",
        slice(1, None, 4),
    ),
    (
        "embryo nuclei",
        "nuclei3d_mouse_embryo/embryo_16*_image.tif",
        "nuclei3d_mouse_embryo/embryo_16*_labels.tif",
        slice(10, 45, 8),
    ),
)
MOVIES = (
    ("nuclei, H2B movie", "track_h2b_mitocheck/01", "track_h2b_mitocheck/01_GT/TRA", slice(20, None, 4)),
    ("yeast, phase contrast", "track_yeast_yeastvision/01", "track_yeast_yeastvision/01_GT/TRA", slice(0, None, 4)),
)
FRAMES = ("myoblasts, phase contrast", "phase_c2c12/train", range(5, 10, 2))


@dataclass(frozen=True)
class ValidationImage:
    """A 2D image with its label image; ``kind`` is what it shows."""

    kind: str
    name: str
    image: np.ndarray
    truth: np.ndarray


def split_images(
    folder: Path, split: str = "val", sets: list[str] | None = None, limit: int | None = None
) -> Iterator[ValidationImage]:
    """The 2D images of a split of ``manifest.csv``, at most ``limit`` of a set and modality, spread evenly."""
    kinds: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in csv.DictReader((folder / "manifest.csv").open()):
        if row["split"] == split and (not sets or row["set"] in sets):
            kinds.setdefault((row["set"], row["modality"]), []).append(row)
    for (_, modality), rows in kinds.items():
        for n in np.unique(np.linspace(0, len(rows) - 1, min(limit or len(rows), len(rows))).round().astype(int)):
            image, truth = tifffile.imread(folder / rows[n]["image"]), tifffile.imread(folder / rows[n]["mask"])
            yield ValidationImage(modality, rows[n]["image"], image, truth)


def all_kinds(folder: Path, limit: int | None = None) -> Iterator[ValidationImage]:
    """The validation splits, and the slices and frames of stacks and movies that are never learned from."""
    yield from split_images(folder, limit=limit)
    kind, inside, numbers = FRAMES
    for n in list(numbers)[:limit]:
        name = f"c2c12_t{n:02d}.tif"
        yield ValidationImage(
            kind, name, *(tifffile.imread(folder / inside / part / name) for part in ("images", "masks"))
        )
    for kind, images, labels, part in STACKS:
        image, truth = (tifffile.imread(next(iter(sorted(folder.glob(p))))) for p in (images, labels))
        for z in [z for z in range(len(image))[part] if truth[z].any()][:limit]:
            yield ValidationImage(kind, f"{images}[{z}]", image[z], truth[z])
    for kind, images, labels, part in MOVIES:
        for frame in sorted((folder / images).glob("t*.tif"))[part][:limit]:
            truth = tifffile.imread(folder / labels / f"man_track{frame.stem[1:]}.tif")
            yield ValidationImage(kind, f"{images}/{frame.name}", tifffile.imread(frame), truth)
