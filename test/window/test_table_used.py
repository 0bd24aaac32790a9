"""The table as it is used: mouse and keys in it, its dialogs, volumes and tracks."""

from __future__ import annotations

import contextlib

import numpy as np
import pandas as pd
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QFileDialog

from micro_sam.measure import measure_objects
from micro_sam.sam_annotator.state.images import from_array

from . import driver, movies, volumes
from .driver import camera_kept, ctrl_held, key, press, process, wait_until, write


@contextlib.contextmanager
def open_table(tool, number: int):
    """The panel, when it shows this number of rows; closed afterwards."""
    with camera_kept(tool):
        key(tool.viewer, "shift+t")
        try:
            assert wait_until(lambda: tool.table.panel is not None and shows(tool, number)), tool.status.text
            yield tool.table.panel
        finally:
            tool.table.hide()
            driver.canvas(tool.viewer).setFocus()
            process(0.1)


def shows(tool, number: int) -> bool:
    """Whether the table is complete, with this number of rows."""
    return len(tool.table.panel.model.ids) == number and tool.table.measuring.is_complete


def click_row(panel, object_id: int) -> None:
    """Click the row of an object, in its first column."""
    index = panel.filter.index(panel.shown.index(object_id), 0)
    panel.rows.scrollTo(index)
    press(panel.rows.viewport(), panel.rows.visualRect(index).center())


def click_header(panel, column: str) -> None:
    """Click the title of a column."""
    header, k = panel.rows.horizontalHeader(), panel.model.columns.index(column)
    panel.rows.scrollTo(panel.filter.index(0, k))
    process(0.1)
    press(header.viewport(), QPoint(header.sectionViewportPosition(k) + 12, header.height() // 2))


def text_of(panel, object_id: int, column: str) -> str:
    """A value as it is shown."""
    row, k = panel.model.ids.index(object_id), panel.model.columns.index(column)
    assert not panel.rows.isColumnHidden(k)
    return panel.model.data(panel.model.index(row, k), Qt.ItemDataRole.DisplayRole)


def four() -> np.ndarray:
    """Objects of 400, 100, 900 and 2 x 121 pixels."""
    labels = np.zeros((303, 384), np.uint32)
    for i, (y, x, size) in enumerate(((20, 20, 20), (60, 60, 10), (150, 100, 30), (220, 200, 11)), start=1):
        labels[y : y + size, x : x + size] = i
    labels[220:231, 260:271] = 4
    return labels


def test_rows_are_sorted_selected_and_changed_by_mouse_and_keyboard(tool):
    session = tool.session
    session.objects.load(four())
    with open_table(tool, 4) as panel:
        assert panel.shown == [1, 2, 3, 4]
        click_header(panel, "pixels")
        assert panel.shown == [2, 4, 1, 3]
        click_header(panel, "pixels")
        assert panel.shown == [3, 1, 4, 2]

        click_row(panel, 1)
        assert tool.state.selected == (1,) and panel.reopen.isEnabled() and not panel.merge.isEnabled()
        with ctrl_held():
            click_row(panel, 2)
        assert set(tool.state.selected) == {1, 2} == set(panel.selected) and panel.merge.isEnabled()
        key(tool.viewer, "shift+2")
        assert session.classes.names() == {1: "class 2", 2: "class 2"}
        assert wait_until(lambda: "class" in panel.model.columns and text_of(panel, 2, "class") == "class 2")
        assert panel.shown == [3, 1, 4, 2], "a column that comes does not change the order"
        assert set(panel.selected) == {1, 2}

        with ctrl_held():
            click_row(panel, 2)
        assert tool.state.selected == (1,)
        key(tool.viewer, "Delete")
        assert set(session.objects) == {2, 3, 4} and tool.state.selected == ()
        assert wait_until(lambda: panel.shown == [3, 4, 2])
        key(tool.viewer, "ctrl+z")
        assert wait_until(lambda: panel.shown == [3, 1, 4, 2])

        click_row(panel, 3)
        press(panel.delete)
        assert set(session.objects) == {1, 2, 4}
        key(tool.viewer, "ctrl+z")
        assert wait_until(lambda: shows(tool, 4))

        click_row(panel, 4)
        press(panel.split)
        assert set(session.objects) == {1, 2, 3, 4, 5}, tool.status.text
        assert wait_until(lambda: shows(tool, 5))
        assert panel.model.value(panel.model.ids.index(5), "pieces") == 1
        key(tool.viewer, "ctrl+z")
        assert wait_until(lambda: shows(tool, 4))

        click_row(panel, 3)
        press(panel.reopen)
        assert session.objects.reopened == 3 and session.current[160, 110] == 1, tool.status.text
        key(tool.viewer, "c")
        assert set(session.objects) == {1, 2, 3, 4} and session.committed[160, 110] == 3
        click_header(panel, "id")
        if panel.shown != [1, 2, 3, 4]:
            click_header(panel, "id")


def test_no_row_of_an_earlier_image_is_shown(tool, coins):
    tool.session.objects.load(four())
    with open_table(tool, 4) as panel:
        tool.saving.unsaved = False
        tool.open(from_array(coins, "2d", "coins"))
        assert panel.model.ids == [] and panel.count.text() == "0 objects"
        tool.session.objects.load(np.where(four() == 3, 3, 0).astype(np.uint32))
        assert wait_until(lambda: shows(tool, 1)) and panel.shown == list(tool.session.objects)


def test_the_filter_is_typed_and_its_keys_do_nothing_else(tool):
    session = tool.session
    session.objects.load(four())
    session.classes.set(2, [1, 3])
    before = session.history.last
    with open_table(tool, 4) as panel:
        tool.actions.select((2,))
        write(panel.words, "pixels > 200, pieces = 1")
        assert panel.words.text() == "pixels > 200, pieces = 1" and panel.shown == [1, 3]
        assert panel.count.text() == "2 of 4 objects"
        write(panel.words, "class 2")  # A, C and S are keys of the tool elsewhere
        assert panel.shown == [1, 3]
        write(panel.words, "class != class 2 and id > 2")
        assert panel.shown == [4]
        write(panel.words, "hue > 2")
        assert "no column 'hue'" in tool.status.text and panel.shown == [4]
        write(panel.words, "")
        assert panel.shown == [1, 2, 3, 4] and panel.count.text() == "4 objects"
        assert set(session.objects) == {1, 2, 3, 4} and session.history.last is before
        assert tool.session.prompts.next_positive and tool.state.source == "current"


def test_the_table_is_saved_by_its_dialog_as_csv_and_parquet(tool, tmp_path, monkeypatch):
    csv, parquet = "Table (*.csv)", "Parquet (*.parquet)"
    answers = iter(
        [("", csv), (str(tmp_path / "a"), csv), (str(tmp_path / "b"), parquet), *[(str(tmp_path / "a.csv"), csv)] * 2]
    )
    asked = []
    monkeypatch.setattr(
        QFileDialog, "getSaveFileName", staticmethod(lambda *args, **_: asked.append(args) or next(answers))
    )
    tool.session.objects.load(four())
    with open_table(tool, 4) as panel:
        press(panel.save)  # the user cancels
        assert not list(tmp_path.iterdir()) and asked[0][2].endswith(".csv") and asked[0][3] == f"{csv};;{parquet}"
        press(panel.save)
        expected = measure_objects(four(), tool.state.image.data)
        saved = pd.read_csv(tmp_path / "a.csv")
        assert "Table of 4 rows saved" in tool.status.text
        pd.testing.assert_frame_equal(saved.drop(columns="certainty"), expected, check_dtype=False)
        press(panel.save)
        again = pd.read_parquet(tmp_path / "b.parquet")
        pd.testing.assert_frame_equal(again.drop(columns="certainty"), expected, check_dtype=False)
        tool.session.objects.delete([1])
        assert wait_until(lambda: shows(tool, 3))
        driver.answer("Keep it")
        press(panel.save)
        assert len(pd.read_csv(tmp_path / "a.csv")) == 4
        driver.answer("Replace")
        press(panel.save)
        assert pd.read_csv(tmp_path / "a.csv")["id"].tolist() == [2, 3, 4]


def test_in_a_volume_a_row_leads_to_the_slices_of_its_object(tool_3d):
    tool, truth = tool_3d, volumes.small_volume()[1]
    labels = np.zeros(truth.shape, np.uint32)
    labels[2:5, 10:30, 20:40], labels[9:12, 100:120, 110:140] = 1, 2
    tool.session.objects.load(labels)
    volumes.go_to(tool, 7)
    with open_table(tool, 2) as panel:
        click_row(panel, 2)
        assert tool.state.selected == (2,) and tool.state.z == 10
        click_row(panel, 1)
        assert tool.state.z == 3
        volumes.go_to(tool, 4)
        click_row(panel, 2)
        volumes.go_to(tool, 11)
        with ctrl_held():
            click_row(panel, 1)
        assert set(tool.state.selected) == {1, 2} and tool.state.z == 11, "of several none is gone to"
        size = next(name for name in ("volume_um3", "voxels") if name in panel.model.columns)
        click_header(panel, size)
        assert panel.shown == [1, 2]
        assert text_of(panel, 2, "voxels") == "1800" and text_of(panel, 2, "first_slice") == "9"
        assert text_of(panel, 2, "last_slice") == "11"
        press(panel.merge)
        assert set(tool.session.objects) == {1} and wait_until(lambda: shows(tool, 1))
        click_row(panel, 1)
        press(panel.split)
        assert len(tool.session.objects) == 2 and 1 in tool.session.objects, tool.status.text
        click_header(panel, "id")


def test_tracks_have_path_speed_and_lineage_and_split_at_the_frame_in_view(tool_tracking):
    tool, truth = tool_tracking, movies.small_movie()[1]
    tool.session.objects.load(truth, {movies.MOTHER: list(movies.DAUGHTERS)})
    first, second = movies.DAUGHTERS
    in_dock = tool.dock.panels.objects.panel.objects.split
    assert "split_pieces" not in tool.actions and "before the frame in view" in in_dock.tooltip
    with open_table(tool, len(np.unique(truth)) - 1) as panel:
        for column in ("displacement_px", "path_px", "mean_speed_px_per_frame"):
            assert float(text_of(panel, movies.OTHER, column)) > 0
        assert [text_of(panel, i, "depth") for i in (movies.MOTHER, first, second)] == ["0", "1", "1"]
        assert [text_of(panel, i, "parent") for i in (movies.MOTHER, first)] == ["0", str(movies.MOTHER)]
        assert text_of(panel, movies.MOTHER, "last_frame") == str(movies.LAST)

        movies.go_to(tool, 0)
        click_row(panel, first)
        assert tool.state.selected == (first,)
        assert tool.state.z == (movies.LAST + 1 + movies.N_FRAMES - 1) // 2
        with ctrl_held():
            click_row(panel, movies.OTHER)
        assert "before the frame in view" in panel.split.toolTip()
        assert not panel.split.isEnabled() and not in_dock.enabled, "one track is split at a time"
        click_row(panel, movies.OTHER)
        movies.go_to(tool, 4)
        press(panel.split)
        lineage = tool.session.tracks.lineage
        (new,) = {track.id for track in lineage.tracks} - set(np.unique(truth))
        assert (lineage[movies.OTHER].end, lineage[new].start) == (3, 4), tool.status.text
        assert wait_until(lambda: new in panel.model.ids and tool.table.measuring.is_complete)
        assert text_of(panel, new, "first_frame") == "4"
        key(tool.viewer, "ctrl+z")
        assert tool.session.tracks.lineage[movies.OTHER].end == movies.N_FRAMES - 1
        movies.go_to(tool, 0)
        click_row(panel, movies.OTHER)
        press(panel.split)
        assert tool.status.kind == "error", "a track is not cut before its first frame"
        assert tool.session.tracks.lineage[movies.OTHER].start == 0
    tool.actions.select(())
