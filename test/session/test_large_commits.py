"""A commit of very many objects: found in a thread, done at once, its pixels written a few rows at a time."""

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from micro_sam.errors import InputError, OutputError
from micro_sam.io.label_arrays import release
from micro_sam.session.journal.continuing import go_on
from micro_sam.session.journal.recorder import Journal
from micro_sam.session.label_edits import BOX_PIXELS, Runs, bounding_box, present
from micro_sam.session.large_commits import (
    apply_auto,
    apply_commit,
    is_large,
    plan_auto,
    plan_commit,
    run_auto,
    run_commit,
)
from micro_sam.session.session import Session, TrackingSession, VolumeSession

SHAPE = (2400, 2000)


def many_objects(shape=SHAPE, step=20, shift=0):
    """Squares of 12 pixels beside each other, each with a label of its own."""
    labels = np.zeros(shape, np.uint32)
    rows, columns = shape[0] // step, shape[1] // step
    ids = np.arange(1, rows * columns + 1, dtype=np.uint32).reshape(rows, columns)
    square = np.pad(np.ones((12, 12), np.uint32), ((4, step - 16), (4, step - 16)))
    labels[: rows * step, : columns * step] = np.kron(ids, square)
    return np.roll(labels, shift, (0, 1))


def sessions(labels):
    """The same objects in a session that commits at once, and in one of a window."""
    at_once, later = Session(labels.shape), Session(labels.shape)
    later.steps.writes_later = True
    for session in (at_once, later):
        session.automatic.show(labels)
        finish(session)
    return at_once, later


def finish(session):
    steps = 0
    while session.steps.is_writing:
        session.steps.write_some()
        steps += 1
    return steps


@pytest.mark.parametrize("preserve", ["pixels", "objects", "none"])
def test_a_planned_commit_is_the_commit(preserve):
    at_once, later = sessions(many_objects())
    assert is_large(later, "auto") and not is_large(later, "current") and not is_large(at_once, "auto")
    for shift in (0, 7):
        if shift:
            for session in (at_once, later):
                session.automatic.show(many_objects(shift=shift))
                finish(session)
        if shift and preserve == "objects":
            with pytest.raises(InputError, match="committed objects overlap"):
                run_commit(plan_commit(later, preserve))
            continue
        expected = at_once.objects.commit("auto", preserve)
        report = apply_commit(run_commit(plan_commit(later, preserve)))
        assert report == expected
        assert finish(later) >= 2, "band by band"
        for name in ("committed", "auto"):
            np.testing.assert_array_equal(later.labels.layer(name), at_once.labels.layer(name))
        assert dict(later.objects) == dict(at_once.objects) and later.state.last_id == at_once.state.last_id
    for step in ("undo", "redo", "undo", "undo"):
        names = [getattr(session, step)() for session in (at_once, later)]
        assert names[0] == names[1]
        finish(later)
        for name in ("committed", "auto"):
            np.testing.assert_array_equal(later.labels.layer(name), at_once.labels.layer(name))
        assert dict(later.objects) == dict(at_once.objects)


def test_nothing_is_touched_before_a_planned_commit_is_applied():
    _, session = sessions(many_objects())
    auto, steps = session.auto.copy(), len(session.history.done)
    planned = run_commit(plan_commit(session))
    assert not session.committed.any() and np.array_equal(session.auto, auto)
    assert not session.objects and len(session.history.done) == steps
    session.prompts.add_point((100, 100))  # work on the current object goes on meanwhile
    report = apply_commit(planned)
    assert len(report.ids) == len(session.objects) and len(session.prompts.drawn) == 1
    assert session.undo() == "Commit" and len(session.prompts.drawn) == 1


def test_a_commit_is_planned_again_when_objects_changed_meanwhile():
    _, session = sessions(many_objects())
    planned = run_commit(plan_commit(session))
    session.labels.paint("committed", (slice(0, 50), slice(0, 50)), np.ones((50, 50), np.uint32))
    before = session.committed.copy()
    assert apply_commit(planned) is None
    assert np.array_equal(session.committed, before) and set(session.objects) == {1}


def test_whoever_reads_labels_gets_them_whole_while_they_are_written():
    _, session = sessions(many_objects())
    shown = session.committed
    apply_commit(run_commit(plan_commit(session)))
    assert session.steps.is_writing and not shown.any(), "the step is done, its pixels come"
    session.steps.write_some()
    assert shown.any() and not shown[-100:].any()
    number = session.objects.at((10, 10))
    assert number and shown is session.committed and shown[-100:].any()
    told = []
    session.events.labels_changed.connect(lambda name, region: told.append((name, region)))
    finish(session)
    assert {name for name, _ in told} == {"committed", "auto"}, "what was written on demand is drawn, too"
    assert all(np.prod([axis.stop - axis.start for axis in region]) <= BOX_PIXELS for _, region in told)


def test_a_stroke_that_is_drawn_while_pixels_are_written_stays():
    _, session = sessions(many_objects())
    shown = session.committed
    apply_commit(run_commit(plan_commit(session)))
    region = (slice(2150, 2210), slice(1500, 1600))
    before = shown[region].copy()
    shown[region] = np.where(np.arange(100) < 30, 70000, before)  # a brush draws into the array
    session.labels.paint("committed", region, shown[region].copy(), before)
    assert (shown[2150:2210, 1500:1530] == 70000).all() and shown[2150:2210, 1530:1600].any()
    whole = shown[region].copy()
    session.undo()
    assert not (session.committed[region] == 70000).any() and session.committed[region].any()
    session.redo()
    assert np.array_equal(session.committed[region], whole)


def test_labels_are_written_whole_in_whatever_thread_they_are_read():
    _, session = sessions(many_objects())
    apply_commit(run_commit(plan_commit(session)))
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(int(session.committed.max()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(seen) == {len(session.objects)}


def test_large_volumes_are_committed_the_same_way_and_movies_are_not():
    labels = many_objects((20, 500, 500)[1:])
    volume = np.repeat(labels[None], 20, 0)
    at_once, later = VolumeSession(volume.shape), VolumeSession(volume.shape)
    later.steps.writes_later = True
    for session in (at_once, later):
        session.automatic.show(volume)
        finish(session)
    assert is_large(later, "auto")
    assert apply_commit(run_commit(plan_commit(later))) == at_once.objects.commit("auto")
    np.testing.assert_array_equal(later.committed, at_once.committed)
    assert dict(later.objects) == dict(at_once.objects)
    assert not TrackingSession((3, 10, 10)).rules.can_write_later


def test_an_object_that_spans_several_bands_is_opened_again_whole():
    session = Session(SHAPE)
    session.labels.paint("committed", (slice(5, 2245), slice(5, 1895)), np.ones((2240, 1890), np.uint32))
    session.objects.reopen(1)
    assert session.current.sum() == 2240 * 1890 and not session.committed.any()
    session.prompts.clear()
    assert session.committed.sum() == 2240 * 1890 and not session.current.any()


def test_a_large_segmentation_is_shown_from_a_thread_as_it_is_at_once():
    first, second = many_objects(), many_objects(shift=7)
    at_once, later = sessions(first)
    at_once.automatic.show(second, method="dense")
    request = plan_auto(later, method="dense")
    planned = []
    thread = threading.Thread(target=lambda: planned.append(run_auto(request, second)))
    thread.start()
    thread.join()
    assert np.array_equal(later.auto, first), "nothing is touched before"
    said = []
    later.events.message.connect(said.append)
    assert apply_auto(planned[0]) and later.steps.is_writing and "12,000 objects" in said[-1]
    assert finish(later) >= 2, "band by band"
    np.testing.assert_array_equal(later.auto, at_once.auto)
    assert later.undo() == at_once.undo() and finish(later) >= 2
    assert not later.auto.any() and not at_once.auto.any(), "one step with the one before"
    assert not apply_auto(run_auto(request, second)), "objects have changed meanwhile"


def test_runs_of_large_arrays_are_found_in_bands():
    labels = many_objects()
    some = Runs.of(labels[:1000], labels[1000:2000])
    monkey = [Runs.of(labels[y : y + 1], labels[1000 + y : 1001 + y]) for y in range(1000)]
    assert labels[:1000].size < BOX_PIXELS < labels.size
    assert sum(len(one.starts) for one in monkey) == len(some.starts)
    whole = Runs.of(labels)
    np.testing.assert_array_equal(whole.array(), labels)
    assert bounding_box(labels) == (4, 4, 2396, 1996) and present(labels).tolist() == list(range(12_001))


def test_a_large_object_is_opened_and_committed_again_at_once_and_its_pixels_come(monkeypatch):
    monkeypatch.setattr("micro_sam.session.commands.BOX_PIXELS", 3 * 100 * 100)
    labels = np.zeros((12, 120, 120), np.uint32)
    labels[:, 10:110, 10:110], labels[3, :5, :5] = 1, 2
    at_once, later = VolumeSession(labels.shape), VolumeSession(labels.shape)
    later.steps.writes_later = True
    told = []
    later.events.labels_changed.connect(lambda name, region: told.append((name, region[0].start)))
    for session in (at_once, later):
        session.objects.load(labels)
        finish(session)
        told.clear()
        session.objects.reopen(1)
    assert later.steps.is_writing and not any(later.state.labels["current"][-1].flat), "its pixels come"
    assert (later.state.plane("current", 11) == at_once.state.plane("current", 11)).all(), "who reads a slice gets it"
    assert not later.state.labels["current"][10].any(), "and the others come in their order"
    finish(later)
    assert {("current", z) for z in range(1, 12)} <= set(told), "who draws a slice is told when it is there"
    for act in ("undo", "redo"):
        for session in (at_once, later):
            getattr(session, act)()
    for session in (at_once, later):
        session.objects.commit()
        finish(session)
    for name in ("committed", "current"):
        np.testing.assert_array_equal(at_once.labels.layer(name), later.labels.layer(name))
    assert later.objects[1].area == at_once.objects[1].area == 12 * 100 * 100


def test_a_thread_that_reads_slices_loses_none_of_the_pixels_that_come(monkeypatch):
    monkeypatch.setattr("micro_sam.session.commands.BOX_PIXELS", 100)
    session, ends = VolumeSession((40, 40, 40)), threading.Event()
    session.steps.writes_later = True

    def read():
        while not ends.is_set():
            for z in range(40):
                session.state.plane("committed", z)

    reader = threading.Thread(target=read)
    reader.start()
    for value in range(1, 30):
        session.objects.load(np.full(session.shape, value, np.uint32))
        session.undo()
        session.redo()
    ends.set()
    reader.join()
    assert (session.committed == 29).all()


def test_a_large_step_that_fails_leaves_nothing_behind(monkeypatch):
    monkeypatch.setattr("micro_sam.session.commands.BOX_PIXELS", 100)
    labels = np.ones((6, 40, 40), np.uint32)
    session = VolumeSession(labels.shape)
    session.steps.writes_later = True
    session.objects.load(labels)
    finish(session)
    with pytest.raises(OutputError), session.steps.step("Fails") as draft:
        for z in range(6):
            draft.paint("committed", z, (0, 0, 40, 40), np.full((40, 40), 7, np.uint32))
        raise OutputError("The disc is full.")
    assert not session.steps.state.unwritten and (session.committed == 1).all()


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells what of a file is in memory")
def test_labels_in_files_come_back_after_a_kill_and_stay_out_of_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("MICROSAM_CACHEDIR", str(tmp_path / "cache"))
    monkeypatch.setattr("micro_sam.io.label_arrays.LARGEST_IN_MEMORY", 2**20)
    labels, seen = many_objects((4200, 4000), step=100), []
    session = Session(labels.shape)
    session.steps.writes_later = True
    session.keeper.journal = Journal(tmp_path / "slide.session", {"tool": "2d", "image": {"shape": [4200, 4000]}})
    assert apply_auto(run_auto(plan_auto(session), labels))
    for _ in range(2):
        while session.steps.is_writing:
            session.steps.write_some()
            seen.append(megabytes_of_labels())
        if not session.objects:
            apply_commit(run_commit(plan_commit(session)))
    assert len(session.objects) == 1680 and max(seen) < 40, "of 3 x 64 MB"
    assert session.keeper.journal.flush(60)
    whole = session.labels.layer("committed").copy()
    release(*session.state.labels.values())
    # What a killed window leaves is its journal; it is read here as it lies, with the window still open.
    shutil.copytree(tmp_path / "slide.session", tmp_path / "killed.session")
    again = go_on(tmp_path / "killed.session", Session)
    assert again.unsaved and megabytes_of_labels() < 40
    assert dict(again.session.objects) == dict(session.objects)
    np.testing.assert_array_equal(again.session.labels.layer("committed"), whole)
    (tmp_path / "slide.tif").touch()
    again.session.keeper.journal.record("saved", parameters={"path": "../slide.tif"})
    again.session.keeper.journal.close()
    saved = go_on(tmp_path / "killed.session", Session)
    assert not saved.unsaved and saved.saved == tmp_path / "slide.tif"
    for one in (session, saved.session):
        one.keeper.journal.close()


def megabytes_of_labels():
    """Of the files of labels of this process, what is in memory."""
    found, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            inside = "deleted" in line
        elif inside and line.startswith("Rss:"):
            found += int(line.split()[1])
    return found / 1024
