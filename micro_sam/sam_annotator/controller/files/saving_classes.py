"""The classes of objects, saved beside their result: as a table and as an image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from micro_sam.errors import NotOurs, OutputError
from micro_sam.io.classes import Classes, class_image_beside, classes_beside, save_class_image, save_classes
from micro_sam.io.results import check_not_input
from micro_sam.sam_annotator.state.images import OpenImage
from micro_sam.session.session import Session

KIND_OF_IMAGE = {"labels": "classes", "tracks": "track_classes"}
"""Kind of a result -> that of the image of its classes."""


class ClassFiles:
    """Writes the classes of objects beside their result; a file of another program that has their name stays.

    Parameters
    ----------
    kind
        Of the results.

    Attributes
    ----------
    note
        What became of the classes at the last save, as a sentence.
    """

    def __init__(self, kind: str) -> None:
        self._kind = KIND_OF_IMAGE[kind]
        self._written: tuple[Path, Classes] | None = None
        self._number = 0  # of the save that counts
        self.note = ""

    def begin(self) -> None:
        """Labels are written anew: classes that were written with others, or are just being written, are not theirs."""
        self._written = None
        self._number += 1

    def plan(self, session: Session, image: OpenImage) -> Callable[[Path, np.ndarray], None]:
        """What writes the classes as they are now beside a result, for any thread; it gets path and labels."""
        classes, number = classes_of(session), self._number

        def write(path: Path, labels: np.ndarray) -> None:
            self._write(path, labels, classes, image)
            if number == self._number:
                self._written = (path, classes)

        return write

    def finish(self, path: Path, session: Session, image: OpenImage) -> Classes:
        """Write the classes beside a result that was written, unless they were written with it; returns them."""
        classes = classes_of(session)
        if self._written != (path, classes):
            self._write(path, session.committed, classes, image)
        self._written = None
        return classes

    def _write(self, path: Path, labels: np.ndarray, classes: Classes, image: OpenImage) -> None:
        saved, said = [], []
        try:
            if save_classes(path, classes) is not None:
                saved.append(classes_beside(path).name)
        except NotOurs:
            said.append(_of_another(classes_beside(path)))
        place = class_image_beside(path)
        try:
            if classes.numbers:
                check_not_input(place, image.path)
            if save_class_image(path, labels, classes, image.scale, kind=self._kind) is not None:
                saved.append(place.name)
        except NotOurs:
            said.append(_of_another(place))
        except OutputError as error:  # the table has it all
            said.append(f" The image of their classes was not saved: {error}")
        if saved:
            said.insert(0, f" Their classes are in {' and '.join(saved)}.")
        self.note = "".join(said)


def classes_of(session: Session) -> Classes:
    """The classes of a session's objects, as they are saved."""
    numbers = {i: record.object_class for i, record in session.objects.items() if record.object_class}
    return Classes(tuple((one.number, one.name, one.colour) for one in session.classes.known), numbers)


def _of_another(place: Path) -> str:
    return f" Their classes were not saved in {place.name}: it is of another program. Move it away, save again."
