"""The journal: everything that was done is on disc, and comes back exactly, however the program ends."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from micro_sam.cli import info
from micro_sam.errors import CacheError, InputError
from micro_sam.segmentation.region_of_interest import RegionOfInterest
from micro_sam.session.journal import places, report, salvage, store
from micro_sam.session.journal.continuing import go_on
from micro_sam.session.journal.recorder import Journal
from micro_sam.session.journal.rows import assemble
from micro_sam.session.replaying import replay
from micro_sam.session.session import Session, TrackingSession, VolumeSession

from .conftest import SHAPE, FakeEmbeddings, FakePredictor, attach_fake, commit_disc, snapshot

ROOT = Path(__file__).parents[2]
HEADER = {"tool": "2d", "image": {"name": "cells", "shape": list(SHAPE), "signature": "abc"}}


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MICROSAM_CACHEDIR", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cells_objects.session"


@pytest.fixture
def kept(session, folder):
    """A 2D session with a journal."""
    session.keeper.journal = Journal(folder, HEADER)
    yield session
    session.keeper.journal.close()


def again(folder):
    """The session as another process would find it."""
    continued = go_on(folder, Session)
    continued.session.keeper.journal.close()
    return continued


def work(session):
    """Some of everything."""
    commit_disc(session, 10, 12)
    commit_disc(session, 30, 50)
    session.prompts.add_point((40, 20))
    session.segment.slice()
    session.prompts.add_point((42, 22), False)
    session.undo()
    session.labels.paint("current", (slice(2, 6), slice(30, 36)), np.full((4, 6), 1))
    session.objects.delete([1])
    session.undo()


def test_all_comes_back_with_undo_and_redo(kept, folder):
    work(kept)
    assert kept.keeper.flush(10)
    kept.keeper.journal.close()
    found = again(folder).session
    assert snapshot(found) == snapshot(kept)
    while kept.redo():
        assert found.redo() and snapshot(found) == snapshot(kept)
    while kept.undo():
        assert found.undo() and snapshot(found) == snapshot(kept)
    assert not found.history.can_undo and snapshot(found) == snapshot(Session(SHAPE))


def test_a_session_that_goes_on_is_one_session(kept, folder):
    work(kept)
    kept.keeper.journal.close()
    first = go_on(folder, Session).session
    attach_fake(first)
    commit_disc(first, 20, 30)
    first.keeper.journal.close()
    found = again(folder).session
    assert snapshot(found) == snapshot(first) and found.prompts.drawn == first.prompts.drawn


def test_the_message_of_a_commit_waits_for_the_disc(kept, monkeypatch):
    gate = threading.Event()
    append = store.JournalFile.append
    monkeypatch.setattr(store.JournalFile, "append", lambda self, rows: gate.wait(20) and append(self, rows))
    commit_disc(kept, 10, 12)
    kept.prompts.add_point((30, 30))  # nothing waits for the disc
    assert not any("committed" in text for text in kept.heard)
    gate.set()
    assert kept.keeper.flush(20) and any("committed" in text for text in kept.heard)


def test_a_full_disc_is_said_and_nothing_is_lost(kept, folder, monkeypatch):
    append, full = store.JournalFile.append, True

    def sometimes(self, rows):
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, rows)

    monkeypatch.setattr(store.JournalFile, "append", sometimes)
    monkeypatch.setattr("micro_sam.session.journal.recorder.RETRY", 0.05)
    commit_disc(kept, 10, 12)
    assert not kept.keeper.flush(20) and "No space left" in kept.keeper.journal.trouble
    kept.keeper.tell_written()
    assert any("committed" in text for text in kept.heard)  # the window says that the disc is full
    full = False
    commit_disc(kept, 30, 50)
    for _ in range(200):
        if kept.keeper.flush(0.1):
            break
        time.sleep(0.05)
    assert kept.keeper.journal.trouble == "" and snapshot(again_after(kept, folder)) == snapshot(kept)


def again_after(session, folder):
    session.keeper.journal.close()
    return again(folder).session


def test_a_second_window_works_on_a_copy(kept, folder):
    work(kept)
    kept.keeper.flush(10)
    other = go_on(folder, Session)
    assert "Another window" in other.note and other.session.keeper.journal.folder != folder
    assert snapshot(other.session) == snapshot(kept)
    attach_fake(other.session)
    commit_disc(other.session, 20, 30)
    other.session.keeper.journal.close()
    assert len(again_after(kept, folder).objects) == len(kept.objects) == len(other.session.objects) - 1


def test_a_disc_that_cannot_be_written_gives_a_copy(kept, folder, monkeypatch):
    work(kept)
    kept.keeper.journal.close()

    def refuse(*_):
        raise sqlite3.OperationalError("attempt to write a readonly database")

    real = store._connect
    monkeypatch.setattr(store, "_connect", lambda path: refuse() if path.parent == folder else real(path))
    other = go_on(folder, Session)
    assert "read-only" in other.note and snapshot(other.session) == snapshot(kept)
    other.session.keeper.journal.close()
    monkeypatch.setattr(store, "_connect", lambda _path: refuse())
    with pytest.raises(CacheError, match="Make room there"):
        go_on(folder, Session)


@pytest.mark.parametrize("place", ["header", "first page", "middle", "end"])
def test_damage_is_said_and_the_rest_is_recovered(kept, folder, place):
    for k in range(6):
        commit_disc(kept, 8 + 6 * k, 9 + 10 * k)
    kept.keeper.journal.close()
    path = folder / store.FILE
    data = bytearray(path.read_bytes())
    begin = {"header": 0, "first page": 100, "middle": len(data) // 2, "end": len(data) - 300}[place]
    data[begin : begin + 60] = os.urandom(60)
    path.write_bytes(data)
    found = again(folder)
    # the first page says only how the others are found: no action is lost with it
    assert len(found.session.objects) >= (6 if begin < 1024 else 1)
    assert snapshot(found.session)["labels"] == snapshot(kept)["labels"] or "damaged" in found.note
    assert snapshot(again(folder).session) == snapshot(found.session) and not again(folder).note
    assert list(folder.glob("*.damaged*")) or not found.note


def test_rows_are_found_without_sqlite_long_ones_and_those_of_the_log_too(session, folder):
    header = {**HEADER, "notes": bytes(range(32, 127)).decode() * 50}  # five pages long
    session.keeper.journal = Journal(folder, header)
    for k in range(4):
        commit_disc(session, 8 + 8 * k, 20)
    assert session.keeper.journal.flush(30)
    path = folder / store.FILE
    whole = store.read(folder)
    assert Path(f"{path}-wal").stat().st_size > 0, "the last rows are in the log only"
    for _ in ("open", "closed"):
        found = salvage.scan(path)
        assert found.header == header
        rows, damaged = assemble(found.actions, found.pixels, found.prompts)
        assert damaged == 0 and [row.id for row in rows] == [row.id for row in whole.rows]
        assert [row.name for row in rows] == [row.name for row in whole.rows]
        session.keeper.journal.close()


def test_the_command_tells_of_a_session_and_of_those_without_a_result(kept, folder, capsys):
    def told(*arguments):
        assert info.main(arguments) == 0
        return capsys.readouterr().out

    work(kept)
    kept.keeper.journal.close()
    assert "objects" in told("--session", str(folder))
    assert len(json.loads(told("--session", str(folder), "--json"))) == 1
    table = told("--session", str(folder), "--table").splitlines()
    assert len(table) > 1 and "," in table[0]
    assert "bytes before" in told("--session", str(folder), "--compact")
    assert "There are no sessions" in told("--sessions")
    other = attach_fake(Session(SHAPE))
    other.keeper.journal = Journal(places.new_folder("cells"), HEADER)
    commit_disc(other, 10, 12)
    other.keeper.journal.close()
    broken = places.new_folder("broken")
    broken.mkdir(parents=True)
    (broken / store.FILE).write_bytes(b"nothing of ours" * 100)
    listed = told("--sessions")
    assert "cells" in listed and "kB" in listed and "broken" in listed
    assert told("--sessions", "--prune", "0").count("deleted ") >= 1
    assert "cells_" not in told("--sessions")


def test_a_file_that_is_no_journal_is_refused_and_stays(folder):
    folder.mkdir()
    (folder / store.FILE).write_bytes(b"not a journal" * 200)
    with pytest.raises(CacheError, match="nothing of it can be read"):
        go_on(folder, Session)
    assert (folder / store.FILE).read_bytes().startswith(b"not a journal")


def test_a_journal_of_a_newer_program_is_refused(kept, folder):
    work(kept)
    kept.keeper.journal.close()
    connection = sqlite3.connect(folder / store.FILE)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(CacheError, match="newer version"):
        go_on(folder, Session)


def test_a_result_that_was_loaded_is_the_beginning(session, folder):
    journal = Journal(folder, HEADER)
    journal.hold(True)
    session.keeper.journal = journal
    labels = np.zeros(SHAPE, np.uint32)
    labels[5:20, 5:20] = 7
    session.objects.load(labels)
    session.begin_here()
    journal.hold(False)
    assert session.keeper.flush(1) and not folder.exists()  # a window that was only looked at leaves nothing
    commit_disc(session, 35, 40)
    journal.close()
    found = again(folder).session
    assert set(found.objects) == {7, 8}
    while found.undo():
        pass
    assert set(found.objects) == {7}


def test_nothing_of_this_machine_is_in_a_session(kept, folder, tmp_path):
    work(kept)
    kept.keeper.journal.close()
    content = (folder / store.FILE).read_bytes()
    assert str(tmp_path).encode() not in content and str(Path.home()).encode() not in content
    header = places.make_header("2d", {"name": "a"}, tmp_path / "images" / "a.tif", folder)
    assert header["image"]["path"] == "../images/a.tif"


def test_sessions_are_found_by_their_image_and_can_be_pruned(session, tmp_path):
    for name, signature in (("a", "one"), ("b", "two")):
        new = attach_fake(Session(SHAPE))
        header = {**HEADER, "image": {**HEADER["image"], "signature": signature}}
        new.keeper.journal = Journal(places.new_folder(name), header)
        commit_disc(new, 20, 20)
        new.prompts.add_point((40, 40))
        new.keeper.journal.close()
    (found,) = places.find("two", [tmp_path / "b_objects.tif"])
    assert found.name.startswith("b_")
    assert "1 object, 1 prompt" in str(places.summarise(found)) and "today" in str(places.summarise(found))
    with pytest.raises(CacheError, match="another image"):
        places.check_image(store.read(found).header, "one", "2d", found)
    assert places.prune(1) == [] and len(places.prune(-1)) == 2 and places.all_sessions() == []


STROKE = ("current", (slice(2, 6), slice(3, 9)), np.ones((4, 6), int))
REGION = RegionOfInterest(((5, 5), (5, 45), (40, 45)))


@pytest.mark.parametrize(
    ("do", "words"),
    [
        (lambda session: session.automatic.set_region(REGION), "a region"),
        (lambda session: session.automatic.show(np.ones(SHAPE, np.uint32)), "an automatic segmentation"),
        (lambda session: session.labels.paint(*STROKE), "painted object"),
        (lambda session: session.classes.define(1, "dividing"), "1 class"),
    ],
)
def test_whatever_a_session_holds_is_told_and_what_was_taken_back_is_not(kept, folder, do, words):
    do(kept)
    assert kept.keeper.flush(10)
    summary = places.summarise(folder)
    assert words in str(summary) and not summary.is_empty
    kept.undo()
    assert kept.keeper.flush(10)
    assert places.summarise(folder).is_empty


def test_what_was_cleared_is_not_told(kept, folder):
    kept.labels.paint(*STROKE)
    kept.prompts.clear()
    kept.automatic.show(np.ones(SHAPE, np.uint32))
    kept.automatic.show(np.zeros(SHAPE, np.uint32))
    kept.automatic.set_region(REGION)
    kept.automatic.set_region(None)
    assert kept.keeper.flush(10) and places.summarise(folder).is_empty


def test_compacting_drops_what_was_undone_and_nothing_else(kept, folder):
    work(kept)
    kept.prompts.add_point((5, 5))
    kept.undo()
    kept.keeper.journal.close()
    before, after = report.compact(folder)
    assert after <= before and snapshot(again(folder).session) == snapshot(kept)


def test_the_report_says_what_a_methods_section_needs(kept, folder):
    commit_disc(kept, 10, 12)
    kept.prompts.add_point((30, 40))
    kept.segment.slice()
    kept.prompts.add_point((33, 42))
    kept.segment.slice()
    kept.objects.commit()
    kept.labels.paint("committed", (slice(44, 48), slice(2, 9)), np.full((4, 7), 9))
    kept.keeper.journal.close()
    facts = report.facts_of(folder)
    assert [(o.id, o.source, o.prompts, o.corrections) for o in facts.objects] == [
        (1, "prompts", 1, 0),
        (2, "prompts", 2, 1),
        (9, "painted", 0, 0),
    ]
    text = report.methods_text([facts])
    assert "3 objects of cells" in text and "fake (abc)" in text and "1.5 prompts" in text
    assert report.as_table([facts]).count("\n") == 4


def test_replay_gives_the_same_masks_and_takes_what_was_painted(kept, folder):
    work(kept)
    kept.objects.commit()
    kept.labels.paint("committed", (slice(44, 48), slice(2, 9)), np.full((4, 7), 9))
    kept.objects.merge([1, 2])
    kept.keeper.journal.close()
    *_, result = replay("2d", SHAPE, store.read(folder).rows, FakePredictor(), FakeEmbeddings(SHAPE))
    assert not result.problems and result.taken == {3: "painted", 9: "painted"}
    assert result.ious == {1: 1.0} and result.mean_iou == 1.0
    assert (result.session.committed == kept.committed).all()


def test_a_region_and_single_automatic_objects_come_back_and_replay(kept, folder):
    region = RegionOfInterest.of_numbers((1, 2, 30, 40))
    labels = np.zeros(SHAPE, np.uint32)
    labels[2:12, 2:12], labels[2:12, 14:24] = 3, 5
    kept.prompts.add_point((40, 20))
    kept.automatic.set_region(region)
    kept.automatic.show(labels)
    kept.objects.commit("auto", only=[5])
    kept.prompts.add_point((44, 20))
    kept.automatic.set_region(None)  # "Clear region" clears no prompts when it is replayed
    kept.automatic.set_region(region)
    kept.keeper.journal.close()
    assert snapshot(again(folder).session) == snapshot(kept) and again(folder).session.automatic.region == region
    *_, result = replay("2d", SHAPE, store.read(folder).rows, FakePredictor(), FakeEmbeddings(SHAPE))
    assert not result.problems and result.session.automatic.region == region
    assert len(result.session.prompts.drawn) == len(kept.prompts.drawn)
    assert np.array_equal(result.session.committed > 0, labels == 5)
    assert np.array_equal(result.session.auto > 0, labels == 3)


def test_volumes_and_tracks_come_back_and_replay(fake_network, runs, tmp_path):
    volume = attach_fake(VolumeSession((9, *SHAPE)))
    volume.keeper.journal = Journal(tmp_path / "v.session", HEADER)
    volume.prompts.add_point((4, 20, 20))
    volume.propagation.segment()
    volume.objects.commit()
    volume.keeper.journal.close()
    rows = store.read(tmp_path / "v.session").rows
    found = VolumeSession((9, *SHAPE))
    found.restore(rows)
    assert snapshot(found) == snapshot(volume) and found.undo() == "Commit"
    *_, result = replay("3d", (9, *SHAPE), rows, FakePredictor(), FakeEmbeddings((9, *SHAPE)))
    assert result.ious == {1: 1.0} and not result.problems
    movie = attach_fake(TrackingSession((9, *SHAPE)))
    movie.keeper.journal = Journal(tmp_path / "t.session", HEADER)
    labels = np.zeros((9, *SHAPE), np.uint32)
    labels[:4, 5:15, 5:15], labels[4:, 5:15, 5:10], labels[4:, 5:15, 11:15] = 1, 2, 3
    movie.objects.load(labels, {1: [2, 3]})
    movie.prompts.add_point((2, 30, 30))
    movie.tracks.set_next_state("division")
    movie.prompts.add_point((3, 30, 30))
    movie.tracks.split(2, 6)
    movie.keeper.journal.close()
    found = TrackingSession((9, *SHAPE))
    found.restore(store.read(tmp_path / "t.session").rows)
    assert snapshot(found) == snapshot(movie) and found.tracks.lineage == movie.tracks.lineage
    assert found.tracks.current == movie.tracks.current


def test_the_next_prompt_is_what_it_was(kept, folder, runs, tmp_path):
    kept.prompts.set_next_polarity(False)
    assert kept.keeper.journal.is_empty  # looking at an image leaves nothing
    kept.prompts.add_point((10, 10), True)
    kept.keeper.journal.close()
    assert not again(folder).session.prompts.next_positive
    movie = attach_fake(TrackingSession((9, *SHAPE)))
    movie.keeper.journal = Journal(tmp_path / "t.session", {**HEADER, "tool": "tracking"})
    movie.prompts.add_point((0, 10, 10))
    movie.tracks.new()
    movie.prompts.add_point((0, 30, 40))
    movie.tracks.set_active(1)
    movie.tracks.set_next_state("division")
    for number, change in enumerate((lambda: None, movie.tracks.new, movie.prompts.clear)):
        change()
        assert movie.keeper.flush(10)
        found = TrackingSession((9, *SHAPE))
        found.restore(store.read(tmp_path / "t.session").rows)
        facts = [(s.tracks.active, s.tracks.next_state, s.prompts.next_positive) for s in (found, movie)]
        assert facts[0] == facts[1] and found.tracks.ids == movie.tracks.ids, number
    movie.keeper.journal.close()


def test_an_action_that_is_refused_leaves_no_trace(kept):
    with pytest.raises(InputError):
        kept.objects.commit()
    assert kept.keeper.journal.is_empty


def test_kills_and_damage_at_random_places(tmp_path):
    """The short form of benchmarks/faults_journal.py: kills of running processes, and damaged bytes."""
    output = tmp_path / "result.json"
    command = [sys.executable, ROOT / "benchmarks" / "faults_journal.py", "--kills", "18", "--damages", "12"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, "--output", output], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(output.read_text())
    assert result["failures"] == [] and result["kills"]["actions on disc"] > 100
