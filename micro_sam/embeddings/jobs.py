"""Embedding images from files into caches: what the command line and `precompute_state` have in common."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from micro_sam.embeddings.zarr_layout import is_cache
from micro_sam.errors import CacheError, InputError, OutputError
from micro_sam.io.addresses import is_address, refuse_address
from micro_sam.io.checks import CheckedImage, check_any
from micro_sam.io.images import find_images, open_image
from micro_sam.io.names import unique_names
from micro_sam.io.results import Inputs, check_place, recover
from micro_sam.io.source import is_movie

CACHE_SUFFIX = ".zarr"


@dataclass(frozen=True)
class EmbeddingJob:
    """One image and the cache that its embeddings go to."""

    image_path: Path | str
    cache_path: Path
    key: str | None = None
    axes: str | None = None

    def open(self, ndim: int | None = None) -> CheckedImage:
        """The image, checked.

        Parameters
        ----------
        ndim
            2 or 3 (stack or time series); None: an image if it can be one, otherwise a stack.

        Raises
        ------
        InputError
            When it cannot be read or has another number of axes.
        """
        return check_any(open_image(self.image_path, self.key), ndim, axes=self.axes)

    def voxel_size(self, image: CheckedImage) -> tuple[float, ...] | None:
        """Size of a voxel (z, y, x) of a stack; None where the file does not say, and for movies."""
        axes = self.axes or open_image(self.image_path, self.key).axes
        return image.scale if image.ndim == 3 and not is_movie(axes) else None


def check_caches(
    jobs: Sequence[EmbeddingJob], input_path: str | Path, pattern: str | None = None, only_read: bool = False
) -> None:
    """Whether the caches of the jobs may be made or go on where they are; before a model is loaded.

    Parameters
    ----------
    jobs, input_path, pattern
        See `plan_jobs`.
    only_read
        Caches that are there already may lie where nothing can be written.

    Raises
    ------
    OutputError
        When a cache would be one of the images, or lie inside one or inside another zarr.
    CacheError
        When something else is at its place.
    """
    inputs = Inputs(input_path, pattern=pattern)
    for place in {job.cache_path.parent: job.cache_path for job in jobs}.values():  # thousands may share a folder
        recover(place)
    written = [job.cache_path for job in jobs if not (only_read and is_cache(job.cache_path))]
    for place in {path.parent: path for path in written}.values():
        check_place(place)
    for job in jobs:
        inputs.check(job.cache_path)
        there = job.cache_path
        if os.path.lexists(there) and not is_cache(there) and not (there.is_dir() and not any(there.iterdir())):
            raise CacheError(
                f"{there} exists and holds no embeddings. Choose another output path, or delete it if it is no longer "
                "needed."
            )


def plan_jobs(
    input_path: str | Path,
    output_path: str | Path,
    pattern: str | None = None,
    key: str | None = None,
    axes: str | None = None,
) -> list[EmbeddingJob]:
    """One job for an image (a folder without `pattern` is a stack of slices), or one per image that matches `pattern`.

    Parameters
    ----------
    input_path
        An image, or with `pattern` a folder.
    output_path
        The cache of the image, or the folder for the caches ``<name of the image>.zarr``.
    pattern
        Glob for the images in the folder.
    key
        Dataset inside containers.
    axes
        What the axes of the images are, where their files do not say; see :func:`~micro_sam.io.checks.check_image`.

    Raises
    ------
    InputError
        When nothing matches.
    OutputError
        When the output path cannot hold caches.
    """
    output_path = Path(output_path).expanduser()
    if output_path.is_file():
        raise OutputError(f"{output_path} is a file. Embeddings are stored in a folder: choose another output path.")
    if pattern is None:
        return [EmbeddingJob(input_path, output_path, key, axes)]
    refuse_address(input_path, "a folder of images")
    folder = Path(input_path).expanduser()
    if folder.is_file():
        raise InputError(f"{folder} is a file. With a pattern the input path must be a folder with images.")
    images = find_images(folder, pattern)
    return [
        EmbeddingJob(path, output_path / f"{name}{CACHE_SUFFIX}", key, axes)
        for path, name in zip(images, unique_names(images), strict=True)
    ]


def absolute(job: EmbeddingJob) -> EmbeddingJob:
    """The job with paths that hold in every process, wherever it was started."""
    image = job.image_path
    if not str(image).startswith("sample:") and not is_address(image):
        image = Path(os.path.abspath(Path(image).expanduser()))
    return replace(job, image_path=image, cache_path=Path(os.path.abspath(job.cache_path)))
