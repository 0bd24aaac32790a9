"""Classes of objects beside a result: as a table, ``NAME_classes.csv``, and as an image, ``NAME_classes.tif``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from micro_sam.errors import InputError
from micro_sam.io.label_arrays import new_labels, written_pieces
from micro_sam.io.labels import save_labels
from micro_sam.io.results import read_kind, remove_result
from micro_sam.io.tables import save_table

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("id", "class", "name", "colour")
LARGEST = 9


@dataclass(frozen=True)
class Classes:
    """Which object has which class.

    Attributes
    ----------
    known : tuple of (number, name, colour)
        The classes; numbers from 1 to 9, colours as ``"#rrggbb"``.
    numbers : mapping
        Id of an object -> number of its class; objects without a class are left out.
    """

    known: tuple[tuple[int, str, str], ...] = ()
    numbers: Mapping[int, int] = field(default_factory=dict)

    @property
    def names(self) -> dict[int, str]:
        """Id of an object -> name of its class."""
        names = {number: name for number, name, _ in self.known}
        return {i: names.get(number, str(number)) for i, number in self.numbers.items()}


def classes_beside(path: str | os.PathLike[str]) -> Path:
    """Where the classes of a result are kept."""
    path = Path(path)
    name = path.name
    for suffix in (".ome.zarr", ".ome.tif", ".ome.tiff", path.suffix):
        if suffix and name.lower().endswith(suffix):
            name = name[: -len(suffix)]
            break
    return path.with_name(f"{name}_classes.csv")


def save_classes(path: str | os.PathLike[str], classes: Classes, *, replace_unmarked: bool = False) -> Path | None:
    """Write the classes of a result beside it; without classes an earlier table of this program is removed.

    Parameters
    ----------
    path : path
        Of the result.
    classes : Classes
    replace_unmarked : bool
        See `save_table`.

    Returns
    -------
    Path
        None where there is nothing to write.

    Raises
    ------
    NotOurs
        When another file is there.
    OutputError
        When it cannot be written.
    """
    place = classes_beside(path)
    if not classes.known:
        if place.exists():
            remove_result(place, "table", replace_unmarked=replace_unmarked)
        return None
    save_table(place, _table(classes), replace_unmarked=replace_unmarked)
    return place


def class_image_beside(path: str | os.PathLike[str]) -> Path:
    """Where the image of the classes of a result is kept."""
    return classes_beside(path).with_suffix(".tif")


def save_class_image(
    path: str | os.PathLike[str],
    labels: np.ndarray,
    classes: Classes,
    scale: tuple[float, ...] | None = None,
    *,
    kind: str = "classes",
) -> Path | None:
    """Write the image of the classes of a result beside it; where no object has one, an earlier image is removed.

    Parameters
    ----------
    path : path
        Of the result.
    labels : (Y, X), (Z, Y, X) or (T, Y, X) integers
        Of the result. Large ones are read and written in parts.
    classes : Classes
    scale : tuple of float, optional
        Size of a pixel along each axis in µm.
    kind : str
        "classes", or "track_classes" where the first axis is time.

    Returns
    -------
    Path
        None where no object has a class.

    Raises
    ------
    NotOurs
        When another file is there.
    OutputError
        When it cannot be written.
    """
    place = class_image_beside(path)
    if not classes.numbers:
        if place.exists() and read_kind(place) == kind:
            remove_result(place, kind)
        return None
    return save_labels(place, class_image(labels, classes.numbers), scale, kind=kind)


def load_classes(path: str | os.PathLike[str]) -> Classes:
    """The classes beside a result; none where there is no such table.

    Raises
    ------
    InputError
        When the table is not one of classes.
    """
    place = classes_beside(path)
    if not place.is_file():
        return Classes()
    import pandas as pd  # takes a while, and most results have no classes

    try:
        table = pd.read_csv(place, dtype={"name": str, "colour": str}, keep_default_na=False)
        rows = list(zip(*(table[name].tolist() for name in COLUMNS), strict=True))
        numbers = {int(i): int(number) for i, number, _, _ in rows if int(i) > 0}
        known = {int(number): (int(number), str(name), str(colour)) for _, number, name, colour in rows}
    except (KeyError, ValueError, OSError, pd.errors.ParserError) as error:
        raise InputError(
            f"{place} is no table of classes (columns {', '.join(COLUMNS)}): {error}. Move it away, or repair it."
        ) from error
    if any(not 1 <= number <= LARGEST for number in known):
        raise InputError(f"{place} has classes that are not numbered 1 to {LARGEST}. Move it away, or repair it.")
    return Classes(tuple(known[number] for number in sorted(known)), numbers)


def class_image(labels: np.ndarray, numbers: Mapping[int, int]) -> np.ndarray:
    """Labels with the number of its class for each object; 0 for background and objects without a class.

    Parameters
    ----------
    labels : (Y, X) or (Z, Y, X) integers
        A large array is read in parts.
    numbers : mapping
        Id -> number of its class.

    Returns
    -------
    np.ndarray
        uint8, of the shape of the labels.
    """
    image = new_labels(labels.shape, np.uint8)
    ids = np.array(sorted(numbers), np.int64)
    if not len(ids):
        return image
    values = np.array([numbers[int(i)] for i in ids], np.uint8)
    for where, part in written_pieces(labels):
        places = np.minimum(np.searchsorted(ids, part), len(ids) - 1)
        found = np.where(ids[places] == part, values[places], 0)
        if found.any():
            image[where] = found
    return image


def _table(classes: Classes) -> pd.DataFrame:
    """A row per object, and one with the id 0 for each class that no object has."""
    import pandas as pd

    of_number = {one[0]: one for one in classes.known}
    rows: Iterable[tuple[int, int]] = sorted(classes.numbers.items())
    unused = [(0, number) for number in of_number if number not in classes.numbers.values()]
    return pd.DataFrame(
        [(i, *of_number.get(number, (number, str(number), ""))) for i, number in (*unused, *rows)],
        columns=list(COLUMNS),
    )
