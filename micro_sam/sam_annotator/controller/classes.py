"""Classes of objects in files: loaded with an earlier result, and written as an image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog

from micro_sam.errors import InputError, NotOurs
from micro_sam.io.classes import class_image, load_classes
from micro_sam.io.labels import save_labels
from micro_sam.io.results import check_not_input, read_kind
from micro_sam.sam_annotator.view.replacing import may_replace
from micro_sam.session.session import Session
from micro_sam.session.values import ObjectClass

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator


def load_classes_into(session: Session, result: Path | None) -> None:
    """Take over the classes that lie beside a result, if there are any.

    Raises
    ------
    InputError
        When the table beside it is none of classes.
    """
    classes = load_classes(result) if result is not None else None
    if classes is not None and classes.known:
        session.classes.load((ObjectClass(*one) for one in classes.known), dict(classes.numbers))


def ask_for_class_image(annotator: Annotator) -> Path | None:
    """Let the user choose a file; None when they cancel, or keep what is there."""
    result = annotator.saving.path or annotator.saving.suggested_path()
    name, _ = QFileDialog.getSaveFileName(
        annotator.viewer.window._qt_window,
        "Save class image",
        str(result.with_name(f"{result.name.split('.')[0]}_classes.tif")),
        "TIFF image (*.tif);;Zarr array (*.zarr)",
        options=QFileDialog.Option.DontConfirmOverwrite,  # we ask ourselves, once
    )
    if not name:
        return None
    path = Path(name) if Path(name).suffix else Path(name + ".tif")
    return None if read_kind(path) == "labels" and not may_replace(annotator, path, True) else path


def save_class_image(annotator: Annotator, path: Path) -> None:
    """Write labels that hold the number of the class of each committed object.

    Raises
    ------
    InputError
        When there are no classes.
    OutputError
        When it cannot be written.
    """
    session, image = annotator.session, annotator.image
    numbers = {i: record.object_class for i, record in session.objects.items() if record.object_class}
    if not numbers:
        raise InputError("No committed object has a class. Select objects and press Shift-1 to Shift-9.")
    check_not_input(path, image.path)
    labels = class_image(session.committed, numbers)
    try:
        save_labels(path, labels, image.scale)
    except NotOurs:
        if not may_replace(annotator, path, False):
            return
        save_labels(path, labels, image.scale, replace_unmarked=True)
    annotator.status.say(f"Classes of {len(numbers)} objects saved in {path}.", "good")
