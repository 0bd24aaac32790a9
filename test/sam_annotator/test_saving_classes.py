"""Classes are written once beside each result, in any thread, and always those of the labels that lie there."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from micro_sam.io.classes import load_classes
from micro_sam.io.labels import load_labels
from micro_sam.sam_annotator.controller.files import saving_classes
from micro_sam.sam_annotator.controller.files.saving_classes import ClassFiles
from micro_sam.session.session import Session

IMAGE = SimpleNamespace(path=None, scale=None)


@pytest.fixture
def session():
    session = Session((24, 24))
    labels = np.zeros((24, 24), np.uint32)
    labels[2:8, 2:8], labels[12:20, 12:20] = 1, 2
    session.objects.load(labels)
    session.classes.set(3, [1])
    return session


@pytest.fixture
def images(monkeypatch):
    """The class images that were written."""
    written, save = [], saving_classes.save_class_image
    monkeypatch.setattr(
        saving_classes, "save_class_image", lambda *args, **named: written.append(args[1]) or save(*args, **named)
    )
    return written


def test_what_a_job_has_written_is_not_written_again(session, images, tmp_path):
    files, path = ClassFiles("labels"), tmp_path / "a.tif"
    write, labels = files.plan(session, IMAGE), session.committed.copy()
    write(path, labels)
    assert files.finish(path, session, IMAGE).numbers == {1: 3} and len(images) == 1 and images[0] is labels
    assert files.note == " Their classes are in a_classes.csv and a_classes.tif."
    files.finish(path, session, IMAGE)
    assert len(images) == 2, "each save writes them"


def test_a_class_that_changes_while_a_job_writes_is_written_at_the_end(session, images, tmp_path):
    files, path = ClassFiles("labels"), tmp_path / "a.tif"
    write = files.plan(session, IMAGE)
    session.classes.set(4, [2])
    write(path, session.committed.copy())
    assert load_classes(path).numbers == {1: 3}
    assert files.finish(path, session, IMAGE).numbers == {1: 3, 2: 4} == load_classes(path).numbers
    assert len(images) == 2 and sorted(np.unique(load_labels(tmp_path / "a_classes.tif"))) == [0, 3, 4]


def test_a_job_that_ends_late_does_not_count(session, images, tmp_path):
    files, path = ClassFiles("labels"), tmp_path / "a.tif"
    write, earlier = files.plan(session, IMAGE), session.committed.copy()
    files.begin()  # the user saves meanwhile
    session.labels.paint("committed", (slice(2, 8), slice(2, 8)), np.zeros((6, 6), np.uint32))
    session.classes.set(3, [2])
    session.undo()
    write(path, earlier)
    files.finish(path, session, IMAGE)
    assert np.array_equal(images[-1], session.committed)


def test_undo_takes_the_files_away_with_the_last_class_and_others_stay(session, tmp_path):
    files, path = ClassFiles("labels"), tmp_path / "a.tif"
    files.finish(path, session, IMAGE)
    assert {place.name for place in tmp_path.iterdir()} == {"a_classes.csv", "a_classes.tif"}
    session.undo()
    files.finish(path, session, IMAGE)
    assert not list(tmp_path.iterdir()) and not files.note
    (tmp_path / "a_classes.tif").write_bytes(b"mine")
    files.finish(path, session, IMAGE)
    session.redo()
    files.finish(path, session, IMAGE)
    assert (tmp_path / "a_classes.tif").read_bytes() == b"mine" and load_classes(path).numbers == {1: 3}
    assert "a_classes.csv" in files.note and "a_classes.tif: it is of another program" in files.note


def test_an_image_that_is_called_so_is_not_replaced(session, tmp_path):
    files, path, image = ClassFiles("labels"), tmp_path / "a.tif", tmp_path / "a_classes.tif"
    saving_classes.save_class_image(path, session.committed, saving_classes.classes_of(session))
    before = image.read_bytes()
    session.classes.set(5, [2])
    files.finish(path, session, SimpleNamespace(path=image, scale=None))
    assert image.read_bytes() == before and "The image of their classes was not saved" in files.note
