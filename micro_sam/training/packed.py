"""What a training learns from and is measured on, in one small file, to be carried to a machine with a GPU.

A recipe names folders of many formats, of which a training needs a part, stretched to 8 bits. The packed file holds
that part, compressed, and gives the same run as the folders.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from micro_sam.errors import InputError
from micro_sam.io.marks import KEY, mark
from micro_sam.io.results import write_result
from micro_sam.training import data
from micro_sam.training.config import TrainConfig
from micro_sam.training.crops import TrainingImage

PARTS = ("train", "validation")


def read_images(config: TrainConfig) -> tuple[list[TrainingImage], list[TrainingImage]]:
    """Images to learn from and to measure on; from ``config.packed`` where that exists, else it is written.

    Raises
    ------
    InputError
        When images cannot be read, or the packed file belongs to another recipe.
    """
    if not config.packed:
        return _read_sources(config)
    path = Path(config.packed).expanduser()
    if path.suffix != ".h5":
        raise InputError(f"Packed images are a .h5 file; {config.packed!r} is named otherwise.")
    if path.exists():
        return _read(path, config)
    found = _read_sources(config)
    _write(path, found)
    return found


def _read_sources(config: TrainConfig) -> tuple[list[TrainingImage], list[TrainingImage]]:
    images = [image for source in config.train for image in data.read_source(source)]
    if config.validation:
        return images, [image for source in config.validation for image in data.read_source(source)]
    return data.split(images, config.validation_share, config.seed)


def _write(path: Path, parts: Sequence[Sequence[TrainingImage]]) -> None:
    with write_result(path, "training") as (place,), h5py.File(place, "w") as file:
        file.attrs[KEY] = mark("training")
        written: dict[tuple[str, str, bytes], h5py.Group] = {}
        for part, images in zip(PARTS, parts, strict=True):
            for number, image in enumerate(images):
                group = file.create_group(f"{part}/{number:06}")
                group.attrs.update(name=image.name, group=image.group, complete=image.complete)
                key = part, image.name, hashlib.sha256(image.image.tobytes() + image.labels.tobytes()).digest()
                if key in written:  # a recipe may name an image twice, to have it drawn more often
                    for name in ("image", "labels"):
                        group[name] = written[key][name]
                    continue
                written[key] = group
                is_grey = (image.image == image.image[..., :1]).all()
                for name, values in (
                    ("image", image.image[..., 0] if is_grey else image.image),
                    ("labels", image.labels.astype(np.min_scalar_type(int(image.labels.max())))),
                ):
                    group.create_dataset(name, data=values, compression="gzip", compression_opts=9, shuffle=True)


def _read(path: Path, config: TrainConfig) -> tuple[list[TrainingImage], list[TrainingImage]]:
    try:
        with h5py.File(path) as file:
            learn, keep = ([_image(file[part][key]) for key in sorted(file.get(part, ()))] for part in PARTS)
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise InputError(
            f"The packed images {path} cannot be read ({error}). Remove the file to pack them anew."
        ) from None
    expected = {source.group for source in config.train}
    if not learn or {image.group for image in learn} != expected:
        raise InputError(
            f"The packed images {path} were made for other sources ({_names(learn)} instead of "
            f"{', '.join(sorted(expected))}). Choose another file, or remove it to pack them anew."
        )
    return learn, keep


def _image(group: h5py.Group) -> TrainingImage:
    image = group["image"][()]
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=-1)
    name, kind, complete = (group.attrs[key] for key in ("name", "group", "complete"))
    return TrainingImage(image, group["labels"][()].astype(np.int32), str(name), str(kind), bool(complete))


def _names(images: Sequence[TrainingImage]) -> str:
    return ", ".join(sorted({image.group for image in images})) or "nothing"
