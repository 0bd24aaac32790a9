"""Sessions of real windows: offered at the next start, kept through kills, beside the results once those are saved."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from micro_sam.sam_annotator import annotator_2d, image_series_annotator
from micro_sam.sam_annotator.controller.files.recording import SessionChoice
from micro_sam.sam_annotator.controller.files.unsaved import ends_in_order
from micro_sam.sam_annotator.state.images import from_array
from micro_sam.session.journal import places, report, series, store

from . import driver

ROOT = Path(__file__).parents[2]
COINS = ((60, 50), (60, 110), (105, 95))


@pytest.fixture(autouse=True)
def own_sessions(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "sessions_folder", lambda: tmp_path / "sessions")


def commit(tool, position):
    click(tool, position)
    assert tool.actions.commit() is not None, tool.status.text


def click(tool, position):
    tool.session.prompts.add_point(position)
    tool.preview.edited()
    assert driver.wait_until(lambda: tool.session.has_current and not tool.preview.busy), tool.status.text


def state_of(session):
    return session.committed.copy(), session.current.copy(), session.prompts.drawn, dict(session.objects)


def is_as(session, state):
    labels = np.array_equal(session.committed, state[0]) and np.array_equal(session.current, state[1])
    return labels and session.prompts.drawn == state[2] and dict(session.objects) == state[3]


def open_again(tool, image, choice):
    """Another start on the same image, in the window that is open."""
    tool.recording.choice = choice
    tool.open(from_array(image, "2d", "coins"))


def test_an_earlier_session_is_offered_and_goes_on_where_it_ended(tool, coins, tmp_path):
    try:
        open_again(tool, coins, SessionChoice())
        assert driver.wait_until(lambda: tool.session.model.embeddings is not None and not tool.engine.busy)
        commit(tool, COINS[0])
        assert driver.wait_until(lambda: "committed" in tool.status.text)  # said when it is on disc
        commit(tool, COINS[1])
        click(tool, COINS[2])
        before = state_of(tool.session)
        open_again(tool, coins, SessionChoice(resume="ask"))
        assert driver.wait_until(lambda: tool.recording.offer is not None)
        offer = tool.dock.panels.session_offer
        assert offer.isVisibleTo(tool.dock) and "2 objects, 1 prompt" in offer.text.text()
        assert len(tool.session.objects) == 0  # the window goes on without an answer
        driver.press(offer.go_on.native)
        assert driver.wait_until(lambda: len(tool.session.objects) == 2), tool.status.text
        assert is_as(tool.session, before) and not offer.isVisibleTo(tool.dock)
        tool.actions.undo()
        tool.actions.undo()
        tool.actions.undo()
        assert set(tool.session.objects) == {1}
        tool.actions.redo()
        # saved once: the session lies beside the result, and later commits follow by themselves
        path = tmp_path / "out" / "coins_objects.tif"
        path.parent.mkdir()
        tool.actions.save(path)
        assert tool.session.keeper.flush(10) and (path.parent / "coins_objects.session" / store.FILE).exists()
        commit(tool, COINS[2])
        assert driver.wait_until(lambda: not tool.saving.unsaved)
        assert len(np.unique(tifffile.imread(path))) == 3
    finally:
        tool.recording.choice = SessionChoice()


def test_a_result_that_is_given_begins_a_new_session(tool, coins):
    labels = np.zeros(coins.shape, np.uint32)
    labels[40:60, 40:60] = 5
    tool.open(from_array(coins, "2d", "coins"), labels)
    folder = tool.session.keeper.journal.folder
    assert not folder.exists()  # nothing was done yet
    tool.session.objects.delete([5])
    assert tool.session.keeper.flush(10)
    assert [row.name for row in store.read(folder).rows if row.kind == "do"] == ["Load objects", "Delete object 5"]


def test_a_session_goes_on_in_the_channel_it_was_left_in(tool, coins):
    def start(choice):
        tool.recording.choice = choice
        tool.open(from_array(np.stack([coins, 255 - coins]), "2d", "channels", axes="CYX"))

    try:
        start(SessionChoice())
        assert driver.wait_until(lambda: tool.session.model.embeddings is not None and not tool.engine.busy)
        tool.actions.choose_channel(1)
        assert driver.wait_until(lambda: tool.session.model.embeddings is not None and not tool.engine.busy)
        tool.session.prompts.add_point((30, 30))
        assert tool.session.keeper.flush(10)
        assert driver.wait_until(lambda: "signature" in store.read_header(tool.session.keeper.journal.folder)["image"])
        start(SessionChoice(resume="ask"))
        assert tool.state.image.channel == 0 and driver.wait_until(lambda: tool.recording.offer is not None)
        driver.press(tool.dock.panels.session_offer.go_on.native)
        assert driver.wait_until(lambda: len(tool.session.prompts.drawn) == 1), tool.status.text
        assert tool.state.image.channel == 1 and tool.layers.image.data[30, 30] == 255 - coins[30, 30]
    finally:
        tool.recording.choice = SessionChoice()


def test_a_slow_disc_does_not_hold_up_the_window(tool, coins, monkeypatch):
    append = store.JournalFile.append

    def median_of_clicks():
        tool.open(from_array(coins, "2d", "coins"))
        gaps = []
        for k in range(20):
            began = time.monotonic()
            tool.session.prompts.add_point((20.0 + k, 30.0))
            driver.process(0.02)
            gaps.append(time.monotonic() - began)
        return np.median(gaps)

    quick = median_of_clicks()
    assert tool.session.keeper.flush(60)
    monkeypatch.setattr(store.JournalFile, "append", lambda self, rows: time.sleep(1.5) or append(self, rows))
    slow = median_of_clicks()
    journal = tool.session.keeper.journal
    assert journal.written < journal.last_id  # the disc is behind, the window is not
    assert slow < 3 * quick + 0.1
    assert tool.session.keeper.flush(60)


WINDOW = """
    import os, sys, time
    sys.path.insert(0, {test!r})
    from window import driver
    from micro_sam.sample_data import open_sample
    from micro_sam.sam_annotator import annotator_2d, get_annotator
    import napari
    from qtpy.QtCore import QTimer

    coins = open_sample("coins").image
    state = []

    def work():
        tool = state[0]
        for place in ((60, 50), (60, 110)):
            tool.session.prompts.add_point(place)
            tool.preview.edited()
            driver.wait_until(lambda: tool.session.has_current and not tool.preview.busy)
            tool.actions.commit()
        tool.session.prompts.add_point((105, 95))
        tool.session.keeper.flush(30)
        print("DONE", tool.session.keeper.journal.folder, flush=True)

    def start():
        tool = state[0]
        driver.wait_until(lambda: tool.session.model.embeddings is not None and not tool.engine.busy)
        work()

    import micro_sam.sam_annotator.launch as starting
    run = starting.napari.run

    def run_later():
        state.append(get_annotator(napari.current_viewer()))
        QTimer.singleShot(0, start)
        run()

    starting.napari.run = run_later
    annotator_2d(coins, model_type="nano_lm", session={session!r})
    print("ENDED", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_window_that_is_killed_loses_nothing(opened, coins, tmp_path, caplog, number):
    folder = tmp_path / "coins.session"
    code = textwrap.dedent(WINDOW.format(test=str(ROOT / "test"), session=str(folder)))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment, text=True)
    try:
        line = next((line for line in child.stdout if line.startswith("DONE")), "")
        assert line, "the window ended early"
        child.send_signal(number)
        rest = child.stdout.read()
        assert child.wait(60) is not None and (number == signal.SIGKILL or "ENDED" in rest)
    finally:
        child.kill()
    tool = opened(annotator_2d, coins, model_type="nano_lm", session=folder)
    assert set(tool.session.objects) == {1, 2} and len(tool.session.prompts.drawn) == 1
    assert "The session goes on (2 committed, 1 prompt)." in caplog.text
    assert [tool.session.undo() for _ in range(2)][-1] == "Commit"
    tool.saving.unsaved = False


def test_each_image_of_a_series_has_a_session_beside_its_result(opened, coins, tmp_path):
    output = tmp_path / "out"
    images = [coins, coins[::-1].copy()]
    tool = opened(image_series_annotator, images, output, model_type="nano_lm", resume=True)
    assert driver.wait_until(lambda: tool.session.model.embeddings is not None and not tool.engine.busy)
    commit(tool, COINS[0])
    commit(tool, COINS[1])
    before = state_of(tool.session)
    assert tool.session.keeper.flush(10)
    # as after a kill: nothing was saved, another window begins
    tool.session.keeper.journal.close()
    tool.saving.unsaved = False
    tool.series._open(0)
    assert is_as(tool.session, before) and (output / "seg_00000.session" / store.FILE).exists()
    tool.series.next()
    assert (output / "seg_00000.tif").exists() and tool.series.index == 1
    tool.series.previous()
    assert is_as(tool.session, before) and not tool.saving.unsaved
    tool.actions.undo()
    assert set(tool.session.objects) == {1}
    # the index knows where the series was left, and in which order its sessions come
    tool.series._open(1)
    commit(tool, tuple(coins.shape[0] - 1 - y if k == 0 else y for k, y in enumerate(COINS[0])))
    assert tool.session.keeper.flush(10)
    (output / "seg_00001.session").rename(output / "a.session")
    index = series.read(output)
    assert index.last == "seg_00001" and list(index.images) == ["seg_00000", "seg_00001"]
    assert [folder.name for folder in report.sessions_in(output)] == ["seg_00000.session", "a.session"]
    tool.series.start()
    assert tool.series.index == 1
    tool.saving.unsaved = False


def test_the_signals_of_before_come_back(tool):
    before = signal.getsignal(signal.SIGTERM)
    with ends_in_order(tool.viewer, tool.state, tool._leaving):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
