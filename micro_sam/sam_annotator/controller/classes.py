"""Classes of objects in files: loaded with an earlier result, and written as an image."""

from __future__ import annotations

from pathlib import Path

from micro_sam.errors import InputError, NotOurs
from micro_sam.io.classes import class_image, load_classes
from micro_sam.io.labels import save_labels
from micro_sam.io.results import check_not_input, read_kind
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.sam_annotator.view.dialogs import Dialogs
from micro_sam.session.session import Session
from micro_sam.session.values import ObjectClass


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


def ask_for_class_image(dialogs: Dialogs, result: Path) -> Path | None:
    """Let the user choose a file beside a result; None when they cancel, or keep what is there."""
    suggestion = result.with_name(f"{result.name.split('.')[0]}_classes.tif")
    path, _ = dialogs.path_to_save("Save class image", suggestion, "TIFF image (*.tif);;Zarr array (*.zarr)")
    if path is None:
        return None
    path = path if path.suffix else path.with_name(path.name + ".tif")
    return None if read_kind(path) == "labels" and not dialogs.may_replace(path, True) else path


def save_class_image(state: WindowState, dialogs: Dialogs, path: Path) -> None:
    """Write labels that hold the number of the class of each committed object.

    Raises
    ------
    InputError
        When there are no classes.
    OutputError
        When it cannot be written.
    """
    session, image = state.needed(), state.open_image()
    numbers = {i: record.object_class for i, record in session.objects.items() if record.object_class}
    if not numbers:
        raise InputError("No committed object has a class. Select objects and press Shift-1 to Shift-9.")
    check_not_input(path, image.path)
    labels = class_image(session.committed, numbers)
    try:
        save_labels(path, labels, image.scale)
    except NotOurs:
        if not dialogs.may_replace(path, False):
            return
        save_labels(path, labels, image.scale, replace_unmarked=True)
    state.status.say(f"Classes of {len(numbers)} objects saved in {path}.", "good")
