"""Committed objects are corrected, saved, and never lost."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import zarr
from qtpy.QtWidgets import QFileDialog
from skimage.measure import label

from micro_sam.io.labels import load_labels, save_labels
from micro_sam.models.cache import get_cache_directory
from micro_sam.sam_annotator import annotator_2d
from micro_sam.sam_annotator.view.camera import camera_of

from . import driver
from .driver import click, key, wait_idle, wait_until
from .movies import OTHER, menu, place_of, press

COIN, OTHER_COIN, THIRD_COIN = (60, 100), (115, 160), (48, 155)


def recovered() -> set:
    """The recovery files that are there; other windows leave some, too."""
    return set((get_cache_directory() / "recovered").glob("*"))


def commit(tool, *positions):
    for position in positions:
        click(tool, position)
        wait_idle(tool)
        key(tool.viewer, "c")


def test_clicked_object_is_opened_again_corrected_and_keeps_its_id(tool):
    commit(tool, COIN, OTHER_COIN)
    tool.dock.panels.objects.panel.choose.click()
    click(tool, OTHER_COIN)
    assert tool.state.selected == (2,) and tool.dock.panels.objects.panel.ids.value == "2"
    tool.dock.panels.objects.panel.reopen.native.click()
    assert tool.session.objects.reopened == 2 and tool.session.current[OTHER_COIN] == 1
    assert tool.session.committed[OTHER_COIN] == 0
    assert len(tool.layers.points.layer.data) == 1, "its prompt is back"
    click(tool, (OTHER_COIN[0] + 6, OTHER_COIN[1]))
    wait_idle(tool)
    key(tool.viewer, "c")
    assert tool.session.committed[OTHER_COIN] == 2 and set(tool.session.objects) == {1, 2}


def test_objects_are_merged_deleted_and_come_back_with_undo(tool):
    commit(tool, COIN, OTHER_COIN)
    tool.dock.panels.objects.panel.choose.click()
    click(tool, COIN)
    click(tool, OTHER_COIN)
    assert set(tool.state.selected) == {1, 2}
    tool.dock.panels.objects.panel.merge.native.click()
    assert set(tool.session.objects) == {1} and tool.session.committed[OTHER_COIN] == 1
    assert tool.state.selected == () and not tool.dock.panels.objects.panel.delete.enabled
    key(tool.viewer, "ctrl+z")
    assert set(tool.session.objects) == {1, 2}
    tool.dock.panels.objects.panel.ids.value = "2"
    tool.dock.panels.objects.panel.ids.native.editingFinished.emit()
    assert tool.state.selected == (2,)
    tool.dock.panels.objects.panel.delete.native.click()
    assert set(tool.session.objects) == {1} and tool.session.committed[OTHER_COIN] == 0
    key(tool.viewer, "ctrl+z")
    assert tool.session.committed[OTHER_COIN] == 2
    tool.dock.panels.objects.panel.ids.value = "99"
    tool.dock.panels.objects.panel.ids.native.editingFinished.emit()
    assert "99" in tool.status.text and tool.status.kind == "error"


def test_chosen_objects_have_a_frame_that_follows_the_view(tool):
    commit(tool, COIN, OTHER_COIN)
    assert not tool.dock.selected.isVisible()
    tool.dock.panels.objects.panel.choose.click()
    click(tool, COIN)
    zoom = camera_of(tool.viewer).zoom
    for factor in (1, 2, 0.5):
        camera_of(tool.viewer).zoom = zoom * factor
        driver.process(0.1)
        assert tool.dock.selected.isVisible() and tool.dock.selected.size() == driver.canvas(tool.viewer).size()
        (frame,) = tool.dock.selected.frames()
        y0, x0, y1, x1 = tool.session.objects[1].box
        corner = driver.canvas_point(tool.viewer, tool.layers.points.layer, (y0 - 0.5, x0 - 0.5))
        opposite = driver.canvas_point(tool.viewer, tool.layers.points.layer, (y1 - 0.5, x1 - 0.5))
        assert (frame.topLeft() - corner.toPointF()).manhattanLength() < 10, factor
        assert (frame.bottomRight() - opposite.toPointF()).manhattanLength() < 10, factor
    camera_of(tool.viewer).zoom = zoom
    driver.process(0.2)
    click(tool, OTHER_COIN)  # through the frames' widget
    assert tool.state.selected == (1, 2) and len(tool.dock.selected.frames()) == 2
    tool.actions.delete_selected()
    assert not tool.dock.selected.isVisible()


@pytest.mark.parametrize("preserve", ["pixels", "objects", "none"])
def test_commit_treats_committed_objects_as_the_menu_says(tool, preserve):
    commit(tool, COIN)
    before = tool.session.committed == 1
    tool.dock.panels.commit_options.panel.preserve.value = preserve
    tool.actions.use_tool("box")
    driver.drag(tool, (20, 65), (100, 135))
    click_inside = tool.session.prompts.drawn.shapes
    assert click_inside
    wait_idle(tool)
    covered = (tool.session.current > 0) & before
    key(tool.viewer, "c")
    if preserve == "pixels":
        assert np.array_equal(tool.session.committed == 1, before)
    elif preserve == "objects":
        assert set(tool.session.objects) == {1} if covered.any() else True
        assert np.array_equal(tool.session.committed == 1, before)
    else:
        assert not (tool.session.committed[covered] == 1).any()
    tool.dock.panels.commit_options.panel.preserve.value = "pixels"


@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
def test_saved_file_holds_the_committed_objects_and_the_status_names_it(tool, tmp_path, suffix, monkeypatch):
    commit(tool, COIN)
    path = tmp_path / f"result{suffix}"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", staticmethod(lambda *a, **k: (str(path), "")))
    assert "not saved" in tool.dock.save.where.text()
    driver.press(tool.dock.save.save.native)
    assert str(path) in tool.status.text and path.name in tool.dock.save.where.text()
    assert np.array_equal(load_labels(path), tool.session.committed)
    assert not tool.saving.must_ask


def test_save_that_fails_loses_nothing_and_says_what_to_do(tool, tmp_path):
    commit(tool, COIN)
    (tmp_path / "file").write_text("")
    tool.actions.save(tmp_path / "file" / "result.tif")
    assert tool.status.kind == "error" and "written" in tool.status.text
    assert tool.session.committed[COIN] == 1 and tool.saving.must_ask
    tool.actions.save(tmp_path / "result.gif")
    assert tool.status.kind == "error" and ".tif" in tool.status.text


def test_napari_menu_saves_the_label_layers(tool, tmp_path):
    commit(tool, COIN)
    tool.viewer.layers.selection = {tool.viewer.layers["committed_objects"]}
    (written,) = tool.viewer.layers.save(str(tmp_path / "objects.tif"), selected=True)
    assert np.array_equal(tifffile.imread(written), tool.session.committed)


def test_closing_with_unsaved_objects_asks_and_saves(opened, coins, tmp_path, monkeypatch):
    tool = opened(annotator_2d, coins, model_type="nano_lm")
    window, path = tool.viewer.window._qt_window, tmp_path / "kept.tif"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", staticmethod(lambda *a, **k: (str(path), "")))
    click(tool, COIN)
    assert wait_until(lambda: tool.session.has_current)
    wait_idle(tool)
    questions: list[str] = []

    driver.answer("Go on working", questions)
    driver.close_by_hand(tool.viewer)
    assert wait_until(lambda: questions), "nobody asked"
    driver.process(0.5)
    assert window.isVisible() and tool.session.has_current
    assert "not committed" in questions[0]

    driver.answer("Save", questions)
    driver.close_by_hand(tool.viewer)
    assert wait_until(lambda: path.exists())
    driver.process(0.5)
    assert load_labels(path)[COIN] == 1


def test_program_that_closes_the_window_is_not_asked_but_the_work_is_kept(opened, coins):
    tool = opened(annotator_2d, coins, model_type="nano_lm")
    click(tool, COIN)
    assert wait_until(lambda: tool.session.has_current)
    wait_idle(tool)
    before = recovered()
    driver.close(tool.viewer)
    (kept,) = recovered() - before
    assert load_labels(kept)[COIN] == 1


def test_windows_that_close_in_the_same_second_do_not_share_a_recovery_file(tool):
    commit(tool, COIN)
    first = tool._leaving.keep_copy()
    commit(tool, OTHER_COIN)
    second = tool._leaving.keep_copy()
    assert first != second and load_labels(first)[OTHER_COIN] == 0 and load_labels(second)[OTHER_COIN] == 2


def test_result_of_another_program_is_loaded_and_corrected(opened, coins, tmp_path):
    labels = np.zeros(coins.shape, "int64")
    labels[40:80, 80:120] = 7
    group = zarr.open_group(str(tmp_path / "cellpose.zarr"), mode="w")
    group.create_array("masks", data=labels)
    tool = opened(
        annotator_2d,
        coins,
        model_type="nano_lm",
        segmentation_result=tmp_path / "cellpose.zarr",
        segmentation_key="masks",
    )
    assert set(tool.session.objects) == {7} and not tool.saving.must_ask and not tool.session.history.can_undo
    tool.actions.select([7])
    tool.actions.reopen_selected()
    assert tool.session.current[60, 100] == 1
    tool.actions.clear()
    assert tool.session.committed[60, 100] == 7


def test_save_goes_where_the_result_that_was_given_came_from(opened, coins, tmp_path, monkeypatch):
    labels = np.zeros(coins.shape, "uint32")
    labels[90:140, 140:185] = 1
    path = save_labels(tmp_path / "mine.tif", labels)
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *a, **k: pytest.fail("a file is known"))
    tool = opened(annotator_2d, coins, model_type="nano_lm", segmentation_result=path)
    assert not tool.saving.must_ask and wait_until(lambda: tool.session.model.embeddings is not None)
    commit(tool, COIN)
    driver.press(tool.dock.save.save.native)
    assert tool.status.text.startswith(f"2 objects saved in {path}.") and not tool.saving.must_ask
    assert np.array_equal(load_labels(path), tool.session.committed)


def test_a_result_of_another_program_is_not_replaced_by_save(opened, coins, tmp_path, monkeypatch):
    path, chosen = tmp_path / "theirs.tif", tmp_path / "mine.tif"
    tifffile.imwrite(path, np.eye(*coins.shape, dtype="uint16"))
    before, asked = path.read_bytes(), []
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *a, **k: asked.append(a[2]) or (str(chosen), ""))
    tool = opened(annotator_2d, coins, model_type="nano_lm", segmentation_result=path)
    tool.actions.save()
    assert len(asked) == 1 and chosen.exists() and path.read_bytes() == before


def test_opening_another_image_asks_about_unsaved_objects(tool):
    commit(tool, COIN)
    questions: list[str] = []
    driver.answer("Go on working", questions)
    tool.actions.open_path("sample:cell")
    assert questions and tool.state.image.name == "coins" and tool.session.committed[COIN] == 1
    driver.answer("Open without saving", questions)
    tool.actions.open_path("sample:cell")
    assert tool.state.image.name == "cell" and not tool.session.objects


def test_menu_of_napari_asks_too(opened, coins):
    tool = opened(annotator_2d, coins, model_type="nano_lm")
    click(tool, COIN)
    assert wait_until(lambda: tool.session.has_current)
    wait_idle(tool)
    window, questions = tool.viewer.window._qt_window, []
    driver.answer("Go on working", questions)
    window.close(quit_app=False, confirm_need=True)  # what File > Close Window calls
    assert questions and window.isVisible()
    click(tool, (COIN[0] + 5, COIN[1]))
    wait_idle(tool)
    assert len(tool.session.prompts.drawn) == 2, "the tool still works"
    before = recovered()
    driver.answer("Close without saving", questions)
    window.close(quit_app=False, confirm_need=True)
    driver.process(0.3)
    assert len(questions) == 2 and recovered() == before


@pytest.mark.parametrize("name", ["tool", "tool_tracking"])
def test_automatic_objects_around_those_made_by_hand_leave_no_rims(request, name):
    tool = request.getfixturevalue(name)
    if name == "tool":
        commit(tool, COIN, OTHER_COIN)
        driver.press(tool.dock.panels.automatic.run.native)
    else:
        commit(tool, place_of(OTHER, 0))
        press(tool, menu(tool).all_frames.native)
    wait_idle(tool)
    key(tool.viewer, "c")
    wait_idle(tool)
    driver.process(0.5)
    assert len(tool.session.objects) > 3, tool.status.text
    smallest = tool.automatic.values["min_size"]
    for plane in tool.session.committed.reshape(-1, *tool.session.shape[-2:]):
        for i in np.unique(plane[plane > 0]):
            number = label(plane == i, connectivity=1).max()
            assert number == 1 and (plane == i).sum() >= smallest, f"{tool.session.rules.noun} {i}: {number} pieces"
