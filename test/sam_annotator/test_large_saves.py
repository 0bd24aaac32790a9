"""Labels that lie in a file are saved in a job, as one state, whatever is changed meanwhile."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from micro_sam.errors import InputError
from micro_sam.io.label_arrays import is_on_disc, new_labels
from micro_sam.io.labels import load_labels
from micro_sam.sam_annotator.controller.files.large_saves import LargeSave, copied


class Jobs:
    """Runs a job when it is told to."""

    def __init__(self) -> None:
        self.waiting = None

    def running(self, lane):
        return self.waiting

    def start(self, name, steps, *, lane, on_done):
        self.waiting = (steps, on_done)

    def go_on(self, meanwhile=lambda: None) -> None:
        (steps, on_done), self.waiting = self.waiting, None
        run = steps(None)
        try:
            while True:
                next(run)
        except StopIteration as end:
            meanwhile()
            on_done(end.value)


@pytest.fixture
def saving(tmp_path):
    """What saves, its jobs, the labels, where to, and what was reported as written."""
    labels, written, said = new_labels((300, 200), largest=0), [], []
    labels[:50, :50] = 1
    jobs, image = Jobs(), SimpleNamespace(scale=None)
    session = SimpleNamespace(committed=labels, steps=SimpleNamespace(is_writing=False))
    state = SimpleNamespace(
        status=SimpleNamespace(say=said.append),
        needed=lambda: session,
        image=image,
        shows=lambda one: one is session,
    )
    return LargeSave(state, jobs, written.append), jobs, labels, tmp_path / "objects.tif", written, said


def test_labels_in_a_file_are_copied_to_a_file():
    labels = new_labels((300, 200), largest=0)
    labels[10:20, 10:20] = 70_000
    copy = copied(labels)
    assert is_on_disc(labels) and not np.shares_memory(labels, copy) and np.array_equal(labels, copy)


def test_what_changes_while_it_is_copied_is_copied_again(saving):
    large, jobs, labels, path, written, _ = saving

    def commit():
        labels[100:120, 100:120] = 2
        large.labels_changed()

    large.start(path, False)
    jobs.go_on(commit)  # the copy may hold half of it
    assert not path.exists()
    jobs.go_on()
    jobs.go_on()
    assert written == [path] and np.array_equal(load_labels(path), labels)


def test_what_changes_while_it_is_written_is_still_unsaved(saving):
    large, jobs, labels, path, written, said = saving
    large.start(path, False)
    with pytest.raises(InputError, match="being saved already"):
        large.start(path, False)
    jobs.go_on()
    jobs.go_on(large.labels_changed)
    assert path.exists() and written == [] and "without what you changed" in said[-1]


def test_a_save_that_was_overtaken_writes_nothing(saving):
    large, jobs, _, path, written, _ = saving
    large.start(path, False)
    jobs.go_on()
    with large.given_up():
        pass  # the window closes and saves at once
    jobs.go_on()
    assert not path.exists() and written == []


def test_what_lies_beside_the_labels_is_planned_in_the_window_and_written_in_the_job(saving):
    large, jobs, labels, path, written, _ = saving
    planned, beside = [], []
    large._plan_also = lambda: planned.append(path.exists()) or (lambda *args: beside.append(args))
    large.start(path, False)
    jobs.go_on()
    assert planned == [False] and not beside, "after the copy, before the job"
    jobs.go_on(lambda: labels.__setitem__((slice(0, 9), slice(60, 69)), 3))
    assert written == [path] and beside[0][0] == path
    assert not np.shares_memory(beside[0][1], labels) and not (beside[0][1] == 3).any(), "as they were copied"
