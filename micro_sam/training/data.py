"""Images and label images from files, paired and checked before the first second of training."""

from __future__ import annotations

import glob
import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from micro_sam.errors import InputError
from micro_sam.io.atomic import recover
from micro_sam.io.images import find_images, is_class_image, natural_order, open_image
from micro_sam.io.label_arrays import consecutive_ids
from micro_sam.io.normalization import (
    Normalization,
    estimate_normalization,
    smooth,
    to_rgb_uint8,
    with_smoothing,
)
from micro_sam.io.tracks.ctc import is_ctc
from micro_sam.training.config import DataSource, TrainConfig
from micro_sam.training.crops import TrainingImage
from micro_sam.training.reading import is_tracks, read_labels, read_pixels

logger = logging.getLogger(__name__)

MAX_PIXELS = 64_000_000  # per image; larger ones are read, but should be cut by the user who knows where objects are
COLOUR_CHANNELS = (3, 4)
LARGEST_ID = 2**20  # images with larger ids are numbered anew: counting takes memory for each number up to the largest
SAVED = ("_objects.tif", "_objects.zarr", "_RES", "_RES.geff", "_objects.h5", "_seg.npy")  # the annotators, Cellpose


def read_source(source: DataSource) -> list[TrainingImage]:
    """All images of a source that have at least one object.

    Raises
    ------
    InputError
        When images and labels cannot be paired, do not fit each other, or hold no objects.
    """
    found: list[TrainingImage] = []
    for image, labels in find_pairs(source):
        try:
            found += read_pair(image, labels, source)
        except InputError as error:
            raise error if image.name in str(error) else InputError(f"{image}: {error}") from error
    if not found:
        names = _names(source.labels or source.images)
        raise InputError(
            f"No label image of {names} has an object (all are 0). Are these the label images, and were the objects "
            "committed and saved?"
        )
    return found


def split(images: Sequence[TrainingImage], share: float, seed: int) -> tuple[list[TrainingImage], list[TrainingImage]]:
    """Keeps a share of the images of every group back for validation, one at least in all.

    Slices of one stack stay together at its end: neighbours are too alike to judge each other. A single image is cut in
    two.

    Raises
    ------
    InputError
        When there is only one image and it cannot be cut so that both parts have objects.
    """
    if len(images) == 1:
        parts = cut_in_two(images[0], share)
        if parts is None:
            raise InputError(
                "There is only one image with objects, and too few of them to learn from some and measure on others. "
                "Annotate more objects or a second image, or name a validation image of your own."
            )
        learn, keep = parts
        logger.info(
            "There is only one image: %d of its objects are learned from, %d in a part of their own are measured on",
            len(learn.ids),
            len(keep.ids),
        )
        return [learn], [keep]
    rng = np.random.default_rng((seed, 2))
    kept: set[int] = set()
    for group in dict.fromkeys(i.group for i in images):
        members = [n for n, i in enumerate(images) if i.group == group]
        count = round(share * len(members))
        if any("[" in images[n].name for n in members):
            kept.update(members[len(members) - count :])
        else:
            kept.update(int(n) for n in rng.permutation(members)[:count])
    if not kept:
        kept = {int(rng.integers(len(images)))}
    if len(kept) == len(images):
        kept.discard(min(kept))
    return [i for n, i in enumerate(images) if n not in kept], [images[n] for n in sorted(kept)]


def thin(images: Sequence[TrainingImage], limit: int) -> list[TrainingImage]:
    """At most ``limit`` images, spread evenly over every group; small groups keep all they have."""
    groups: dict[str, list[TrainingImage]] = {}
    for image in images:
        groups.setdefault(image.group, []).append(image)
    selected: list[TrainingImage] = []
    for number, members in enumerate(sorted(groups.values(), key=len)):
        share = max(1, (limit - len(selected)) // (len(groups) - number))
        at = np.unique(np.linspace(0, len(members) - 1, min(share, len(members))).round().astype(int))
        selected += [members[i] for i in at]
    return selected


def sampling_weights(images: Sequence[TrainingImage], config: TrainConfig) -> np.ndarray:
    """Chance of every image: its group's weight, shared among the group's images; at last that of a generated one."""
    weight = {source.group: source.weight for source in config.train}
    size = Counter(image.group for image in images)
    chance = np.array([*(weight[image.group] / size[image.group] for image in images), config.synthetic], float)
    if not chance.sum() > 0:
        raise InputError("All groups of training images have the weight 0; give at least one a positive weight.")
    return np.asarray(chance / chance.sum())


def cut_in_two(image: TrainingImage, share: float) -> tuple[TrainingImage, TrainingImage] | None:
    """Two parts of an image: what to learn from, and about ``share`` of the objects to measure on.

    The shorter side is cut, where that meets the fewest object pixels: the parts are as long as the image, so that the
    model sees their objects in the same size. None when one part would have no object.
    """
    axis = int(np.argmin(image.labels.shape))
    labels = np.moveaxis(image.labels, axis, 0)
    middles = [float(np.median(np.flatnonzero((labels == i).any(1)))) for i in image.ids]
    low, high = (int(v) for v in np.quantile(middles, (max(0.5, 1 - 1.5 * share), 1 - 0.5 * share)))
    cuts = range(low + 1, high + 1)
    if not cuts:
        return None
    wanted = np.quantile(middles, 1 - share)
    at = min(cuts, key=lambda y: (int((labels[y - 1 : y + 1] > 0).all(0).sum()), abs(y - wanted)))
    parts = []
    for name, piece in (("first", slice(0, at)), ("last", slice(at, None))):
        where = (slice(None),) * axis + (piece,)
        pixels, ids = np.ascontiguousarray(image.image[where]), np.ascontiguousarray(image.labels[where])
        parts.append(TrainingImage(pixels, ids, f"{image.name}, {name} part", image.group, image.complete))
    learn, keep = parts
    return (learn, keep) if len(learn.ids) and len(keep.ids) else None


def find_pairs(source: DataSource) -> list[tuple[Path, Path | list[Path]]]:
    """Every image with its label image, or its tracks, or the files of its slices.

    Raises
    ------
    InputError
        When files are missing, or it cannot be told which belong together.
    """
    if not source.labels or source.labels == source.images:
        return [*find_saved(find_files(source.images, "image"))]
    images = find_files(source.images, "image")
    if len(images) == 1 and len(source.labels) == 1:
        labels = Path(source.labels[0]).expanduser()
        if is_tracks(labels):
            return [(images[0], labels)]
        files = find_files(source.labels, "label image")
        named = [file for file in files if _bare(file) == images[0].stem]
        if len(named) == 1 or len(files) == 1:
            return [(images[0], (named or files)[0])]
        return [(images[0], files)]  # one per slice of the stack
    return [*pair_files(images, find_files(source.labels, "label image"))]


def find_saved(images: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Images with what the annotators saved beside them under the names they propose.

    Raises
    ------
    InputError
        When there is nothing beside any of them.
    """
    pairs = []
    for image in images:
        names = (f"{image.stem}{ending}" for ending in SAVED)
        saved = next((image.with_name(name) for name in names if image.with_name(name).exists()), None)
        if saved is not None:
            pairs.append((image, saved))
    if not pairs:
        raise InputError(
            f"There are no saved objects beside {images[0]} (for instance {images[0].stem}{SAVED[0]}). Name the label "
            "images."
        )
    if len(pairs) < len(images):
        logger.info("%d of %d files have saved objects beside them", len(pairs), len(images))
    return pairs


def find_files(patterns: Iterable[str], what: str) -> list[Path]:
    """Files of folders, patterns and single names, naturally sorted.

    Raises
    ------
    InputError
        When a pattern matches nothing.
    """
    found: list[Path] = []
    for pattern in patterns:
        path = Path(pattern).expanduser()
        recover(path)
        if path.is_dir() and path.suffix.lower() not in (".zarr", ".n5"):
            inner = path / "TRA" if is_ctc(path) else path  # ground truth of the Cell Tracking Challenge
            found += find_images(inner if inner.is_dir() else path, as_labels=what != "image")
        elif glob.has_magic(str(path)) and not path.exists():
            matches = [p for p in map(Path, glob.glob(str(path), recursive=True)) if not is_class_image(p)]
            matches.sort(key=natural_order)
            if not matches:
                raise InputError(f"No {what} matches the pattern {pattern!r}.")
            found += matches
        elif path.exists():
            found.append(path)
        else:
            raise InputError(f"There is no {what} {pattern}.")
    if not found:
        raise InputError(f"No {what} is given.")
    return found


def pair_files(images: Sequence[Path], labels: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Image and label image of the same name; where names differ (``a_raw.tif``, ``a_masks.tif``), of the same rank.

    Images without labels are left out, so that a folder which is annotated in part can be given as it is.

    Raises
    ------
    InputError
        When the numbers differ and the names do not tell which belongs to which.
    """
    by_name = {_bare(path): path for path in labels}
    if len(by_name) == len(labels) and len({p.stem for p in images}) == len(images):
        pairs = [(image, by_name[image.stem]) for image in images if image.stem in by_name]
        if len(pairs) == len(labels):
            if len(pairs) < len(images):
                logger.info("%d of %d images have labels", len(pairs), len(images))
            return pairs
    if len(images) != len(labels):
        raise InputError(
            f"There are {len(images)} images but {len(labels)} label images, and their names do not tell which belong "
            f"together ({images[0].name}, {labels[0].name}). Give every label image the name of its image."
        )
    keys = [(_numbers(image.stem), _numbers(label.stem)) for image, label in zip(images, labels, strict=True)]
    wrong = next((i for i, (a, b) in enumerate(keys) if a and b and a[-1] != b[-1]), None)
    if wrong is not None:
        raise InputError(
            f"The sorted names pair the image {images[wrong].name} with the labels {labels[wrong].name}, whose numbers "
            "differ. Give every label image the name of its image."
        )
    return list(zip(images, labels, strict=True))


def read_pair(image_path: Path, label_path: Path | list[Path], source: DataSource) -> list[TrainingImage]:
    """The image, or the slices of the stack, that have objects; several label images are those of its slices.

    Raises
    ------
    InputError
        When the two do not fit each other, or the labels are none.
    """
    opened = open_image(image_path)
    labels = read_labels(label_path, opened)
    label_path = label_path[0].parent if isinstance(label_path, list) else label_path
    labels = np.squeeze(labels) if labels.ndim > 2 else labels
    labels = check_labels(labels, label_path)
    ndim = 3 if source.stack else 2
    if labels.ndim == 3 and not source.stack:
        ndim = 3  # a stack needs no switch when its labels say so
    if labels.ndim != ndim:
        raise InputError(f"The label image {label_path} has the shape {labels.shape}; a {ndim}D one is needed.")
    image = read_pixels(opened, ndim)
    image = fit_image(image, labels.shape, image_path, label_path)
    if labels[..., 0].size and int(np.prod(labels.shape[-2:])) > MAX_PIXELS:
        raise InputError(
            f"{image_path} has {labels.shape[-2]} x {labels.shape[-1]} pixels, more than training needs at once. Cut "
            "pieces of a few thousand pixels out of it, where objects are."
        )
    normalization = estimate_normalization(image, ndim)
    if ndim == 2:
        return _one(image, labels, normalization, image_path.name, source)
    normalization = with_smoothing(image, normalization)  # as the tools do it
    depth = len(labels)
    first, last = (int(round(part * depth)) for part in source.part)
    found = []
    for z in range(first, last, source.every):
        found += _one(image[z], labels[z], normalization, f"{image_path.name}[{z}]", source)
    return found


def check_labels(labels: np.ndarray, path: Path) -> np.ndarray:
    """Label image as int32.

    Raises
    ------
    InputError
        When it is a picture rather than a label image: colours, fractions, negative numbers.
    """
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all() or (labels != np.round(labels)).any():
            raise InputError(f"{path} has fractions; a label image holds whole numbers, 0 for background.")
    elif labels.dtype.kind not in "uib":
        raise InputError(f"{path} is no label image (its values are of type {labels.dtype}).")
    if labels.ndim == 3 and labels.shape[-1] in COLOUR_CHANNELS and min(labels.shape[:2]) > 16:
        raise InputError(
            f"{path} is a colour picture ({labels.shape}); a label image holds one number per pixel. Save the labels "
            "layer itself, not a screenshot of it."
        )
    if labels.size and labels.min() < 0:
        raise InputError(
            f"{path} has negative numbers; a label image holds 0 for background and 1, 2, ... for objects."
        )
    if labels.size and labels.max() > LARGEST_ID:
        return consecutive_ids(labels)[0]
    return labels.astype(np.int32)


def fit_image(image: np.ndarray, shape: tuple[int, ...], image_path: Path, label_path: Path) -> np.ndarray:
    """The image with the axes of its labels, and colours last.

    Raises
    ------
    InputError
        When the shapes differ.
    """
    if image.shape == shape or (image.shape[:-1] == shape and image.shape[-1] in (1, *COLOUR_CHANNELS)):
        return image
    squeezed = np.squeeze(image)
    if squeezed.shape == shape:
        return squeezed
    if squeezed.ndim == len(shape) + 1 and squeezed.shape[1:] == shape and squeezed.shape[0] in COLOUR_CHANNELS:
        return np.moveaxis(squeezed, 0, -1)  # channel-first colours
    extra = squeezed.ndim == len(shape) + 1 and (squeezed.shape[1:] == shape or squeezed.shape[:-1] == shape)
    channels = squeezed.shape[0] if extra and squeezed.shape[1:] == shape else squeezed.shape[-1]
    hint = (
        f" It seems to have {channels} channels: choose or mix them into one, or into three colours, and save that."
        if extra
        else " Do they belong together?"
    )
    raise InputError(
        f"The image {image_path} ({image.shape}) and its labels {label_path} ({shape}) do not match.{hint}"
    )


def check_channels(images: Sequence[TrainingImage]) -> None:
    """Tells when some images are grey and others in colour: it is allowed, but often a mistake."""
    kinds = Counter("colour" if (i.image[..., 0] != i.image[..., 1]).any() else "grey" for i in images)
    if len(kinds) > 1:
        logger.info("The images are mixed: %s", ", ".join(f"{n} in {kind}" for kind, n in kinds.items()))


def _bare(path: Path) -> str:
    """Name of the image that a label image belongs to."""
    return next((path.name[: -len(end)] for end in SAVED if path.name.endswith(end)), path.stem)


def _one(
    image: np.ndarray, labels: np.ndarray, normalization: Normalization, name: str, source: DataSource
) -> list[TrainingImage]:
    if not labels.any():
        logger.info("%s has no objects and is left out", name)
        return []
    rgb = to_rgb_uint8(smooth(image, normalization) if normalization.smoothing else image, normalization)
    return [TrainingImage(rgb, np.ascontiguousarray(labels), name, source.group, source.complete)]


def _numbers(stem: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", stem)]


def _names(patterns: Sequence[str]) -> str:
    return ", ".join(patterns)
