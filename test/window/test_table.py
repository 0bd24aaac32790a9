"""The table of committed objects in a window."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from qtpy.QtCore import QPoint

from micro_sam.io.labels import load_labels
from micro_sam.sam_annotator.state.images import from_array
from micro_sam.sam_annotator.view.camera import camera_of

from . import driver
from .driver import click, key, press, process, wait_idle, wait_until

COIN, OTHER_COIN, THIRD_COIN = (60, 100), (115, 160), (48, 155)


def test_rows_follow_the_objects_and_jump_to_them(tool, tmp_path):
    for position in (COIN, OTHER_COIN):
        click(tool, position)
        wait_idle(tool)
        key(tool.viewer, "c")
    key(tool.viewer, "shift+t")
    assert wait_until(lambda: tool.table.panel is not None and len(tool.table.panel.model.ids) == 2)
    panel, measured = tool.table.panel, []
    contents = tool.table.measuring._contents
    take = contents.take
    contents.take = lambda work, rows: (measured.extend(rows), take(work, rows))
    click(tool, THIRD_COIN)
    wait_idle(tool)
    key(tool.viewer, "c")
    assert wait_until(lambda: panel.model.ids == [1, 2, 3])
    assert measured == [3], "what did not change is not measured again"
    assert 0 < panel.model.value(2, "certainty") <= 1

    rows = panel.rows
    where = rows.visualRect(panel.filter.index(1, 0)).center()
    press(rows.viewport(), QPoint(where.x(), where.y()))
    assert tool.state.selected == (2,)
    centre = tool.layers.raw.world_to_data(camera_of(tool.viewer).center[-2:])
    assert abs(centre[0] - OTHER_COIN[0]) < 15 and abs(centre[1] - OTHER_COIN[1]) < 15
    key(tool.viewer, "t")  # keys go to the tool from the table, too
    assert not tool.session.prompts.next_positive
    key(tool.viewer, "t")
    tool.actions.select((1, 3))
    assert panel.selected == (1, 3) and panel.merge.isEnabled()
    press(panel.merge)
    assert set(tool.session.objects) == {1, 2} and tool.state.selected == ()
    assert wait_until(lambda: panel.model.ids == [1, 2] and panel.model.value(0, "pieces") == 2)
    key(tool.viewer, "ctrl+z")
    assert wait_until(lambda: panel.model.ids == [1, 2, 3])
    panel.words.setText("pixels > 1500")
    panel.words.editingFinished.emit()
    assert panel.shown == [i for i, record in sorted(tool.session.objects.items()) if record.area > 1500]
    panel.words.clear()
    panel.words.editingFinished.emit()

    tool.actions.save_table(tmp_path / "objects.csv")
    table = pd.read_csv(tmp_path / "objects.csv")
    assert table["id"].tolist() == [1, 2, 3]
    assert table["pixels"].tolist() == [tool.session.objects[i].area for i in (1, 2, 3)]
    tool.actions.save_table(tmp_path / "objects.xlsx")
    assert "must end in .csv or .parquet" in tool.status.text

    key(tool.viewer, "shift+t")
    process(0.1)
    assert not tool.table.is_open
    tool.session.objects.delete([1])
    process(0.4)
    assert panel.model.ids == [1, 2, 3], "a table that nobody sees is not measured"
    driver.canvas(tool.viewer).setFocus()


def test_classes_are_set_by_key_saved_and_loaded_again(tool, coins, tmp_path):
    click(tool, COIN)
    wait_idle(tool)
    key(tool.viewer, "shift+2")
    assert tool.session.classes.current == 2 and tool.dock.panels.classes.panel.current.text()
    key(tool.viewer, "c")
    click(tool, OTHER_COIN)
    wait_idle(tool)
    key(tool.viewer, "c")
    tool.actions.select((2,))
    key(tool.viewer, "shift+5")
    assert tool.session.classes.names() == {1: "class 2", 2: "class 5"}
    key(tool.viewer, "ctrl+z")
    assert tool.session.classes.names() == {1: "class 2"}
    menu = tool.dock.panels.classes.panel
    menu.names[2].setText("shiny")
    menu.names[2].editingFinished.emit()
    assert tool.session.classes.names() == {1: "shiny"} and menu.counts[2].text().endswith(": 1")
    result = tmp_path / "coins.tif"
    tool.actions.save(result)
    assert not tool.saving.unsaved and "coins_classes.csv" in tool.status.text
    assert sorted(np.unique(load_labels(tmp_path / "coins_classes.tif"))) == [0, 2]
    tool.actions.select((1, 2))
    menu.counts[2].click()
    assert tool.session.classes.names() == {1: "shiny", 2: "shiny"} and tool.saving.unsaved
    tool.actions.save(result)
    tool.actions.save_class_image(tmp_path / "image.tif")
    assert sorted(np.unique(load_labels(tmp_path / "image.tif"))) == [0, 2]

    tool.open(replace(from_array(coins, "2d", "coins"), earlier=result), load_labels(result))
    assert tool.session.classes.names() == {1: "shiny", 2: "shiny"} and not tool.session.history.can_undo
    assert list(tool.dock.panels.classes.panel.names) == [2] and not tool.saving.unsaved


def test_a_review_begins_with_the_most_doubtful_object(tool):
    for position in (COIN, OTHER_COIN, THIRD_COIN):
        click(tool, position)
        wait_idle(tool)
        key(tool.viewer, "c")
    spot = np.full((4, 4), 2, np.uint32)
    tool.session.labels.paint("committed", (slice(4, 8), slice(300, 304)), spot)  # a second piece of object 2
    bar = tool.dock.panels.review
    assert not bar.isVisible()
    key(tool.viewer, "w")
    assert wait_until(lambda: tool.review.doubt is not None) and bar.isVisible()
    assert tool.state.selected == (2,) and "in 2 pieces" in bar.text.text() and "2 left" in bar.text.text()
    press(bar.fine.native)
    seen = tool.review.doubt.id
    assert seen in (1, 3) and tool.review.left == 1
    press(bar.delete.native)
    assert wait_until(lambda: tool.review.doubt is not None and tool.review.doubt.id not in (2, seen))
    last = tool.review.doubt.id
    assert set(tool.session.objects) == {2, last} and tool.review.left == 0
    press(bar.correct.native)
    assert tool.session.objects.reopened == last and not bar.isVisible()
    key(tool.viewer, "w")
    assert "Commit it (C)" in tool.status.text
    key(tool.viewer, "c")
    key(tool.viewer, "w")
    assert wait_until(lambda: "All 2 objects were looked at" in tool.status.text), tool.status.text
    key(tool.viewer, "w")  # from the beginning, but for what is fine
    assert wait_until(lambda: tool.review.doubt is not None and tool.review.doubt.id == last)
    press(bar.stop.native)
    assert not bar.isVisible()
