"""A folder of images, one after the other: nothing is lost, nothing is overwritten, nothing is skipped for ever."""

from __future__ import annotations

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile
from superqt import QCollapsible

from micro_sam.errors import InputError, OutputError
from micro_sam.io.labels import load_labels, save_labels
from micro_sam.sam_annotator import annotator_2d, image_folder_annotator, image_series_annotator
from micro_sam.sam_annotator.state.series import plan_series

from . import driver
from .driver import click, key, wait_idle, wait_until


@pytest.fixture
def folder(tmp_path, coins):
    """Three parts of the coins, all with coins of their own."""
    images = tmp_path / "images"
    images.mkdir()
    for name, part in {"a": coins[:150], "b": coins[75:225], "c": coins[150:]}.items():
        tifffile.imwrite(images / f"{name}.tif", part)
    return images


COIN = {"a": (60, 100), "b": (40, 160), "c": (120, 60)}


def annotate(tool, name):
    assert wait_until(lambda: tool.state.image.name == name)
    click(tool, COIN[name])
    assert wait_until(lambda: tool.session.has_current), tool.status.text
    wait_idle(tool)
    key(tool.viewer, "c")


def click_on_item(panel, index):
    """A real click on an image of the list, which is folded at first."""
    section = next(one for one in panel.findChildren(QCollapsible) if one.isAncestorOf(panel.list))
    if not section.isExpanded():
        driver.press(section.toggleButton())
    panel.list.scrollToItem(panel.list.item(index))
    driver.process(0.2)
    driver.press(panel.list.viewport(), panel.list.visualItemRect(panel.list.item(index)).center())


def test_an_empty_window_goes_through_a_folder_and_on_where_it_ended(opened, folder, monkeypatch):
    from qtpy.QtWidgets import QFileDialog

    for path in folder.iterdir():  # sessions of other tests on images of the same content would go on
        image = tifffile.imread(path)
        image[0, :8] = np.random.default_rng().integers(0, 255, 8)
        tifffile.imwrite(path, image)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    tool = opened(annotator_2d, model_type="nano_lm")
    driver.press(tool.dock.panels.image.panel.folder.native)
    annotate(tool, "a")
    key(tool.viewer, "n")
    results = folder.with_name("images_objects")
    assert load_labels(results / "a.tif").max() == 1
    assert wait_until(lambda: tool.state.image.name == "b")
    assert not tool.dock.panels.image.panel.folder.native.isVisible(), "one folder for each window"
    tool.actions.open_folder()
    assert "Open another window" in tool.status.text and tool.state.image.name == "b"
    again = opened(annotator_2d, model_type="nano_lm")
    again.actions.open_folder()
    assert wait_until(lambda: again.state.image.name == "b")
    assert [again.dock.panels.series.list.item(k).text() for k in range(3)] == ["✓ a: done", "● b: open", "○ c: to do"]


def test_a_folder_without_images_is_said_and_the_window_stays_empty(opened, tmp_path, monkeypatch):
    from qtpy.QtWidgets import QFileDialog

    (tmp_path / "notes").mkdir()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "notes"))
    tool = opened(annotator_2d, model_type="nano_lm")
    tool.actions.open_folder()
    assert "notes" in tool.status.text and tool.session is None and tool.series is None
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: "")
    tool.actions.open_folder()
    assert tool.series is None and not (tmp_path / "notes_objects").exists()


def test_the_window_says_saved_only_where_there_is_a_result(opened, folder, tmp_path):
    tool = opened(image_folder_annotator, folder, tmp_path / "results", model_type="nano_lm")
    said = tool.dock.save.where
    assert said.text() == "not saved yet (a.tif)"
    annotate(tool, "a")
    wait_idle(tool)
    assert said.text().startswith("not saved since")
    key(tool.viewer, "n")
    assert wait_until(lambda: tool.state.image.name == "b") and said.text() == "not saved yet (b.tif)"
    key(tool.viewer, "shift+n")
    assert wait_until(lambda: tool.state.image.name == "a") and said.text() == "saved in a.tif"
    tool.session.objects.delete(list(tool.session.objects))
    key(tool.viewer, "n")
    assert wait_until(lambda: tool.state.image.name == "b")
    key(tool.viewer, "shift+n")
    assert wait_until(lambda: tool.state.image.name == "a")
    assert not (tmp_path / "results" / "a.tif").exists() and said.text() == "not saved yet (a.tif)"


def test_series_from_the_first_image_to_the_last_and_again(opened, folder, tmp_path):
    results = tmp_path / "results"
    tool = opened(image_folder_annotator, folder, results, model_type="nano_lm")
    annotate(tool, "a")
    assert not (results / "a.tif").exists()
    key(tool.viewer, "n")
    assert load_labels(results / "a.tif").max() == 1

    # While b is shown, c is embedded; b is left empty.
    assert wait_until(lambda: tool.state.image.name == "b")
    assert wait_until(lambda: tool.engine.take_ahead("c") is not None)
    key(tool.viewer, "n")
    assert not (results / "b.tif").exists()
    annotate(tool, "c")
    assert tool.engine.computed == 0, "it was embedded ahead"

    # The list says how far each is, and goes there.
    panel = tool.dock.panels.series
    assert [panel.list.item(k).text() for k in range(3)] == ["✓ a: done", "– b: empty", "● c: open"]

    # Back to b, and on.
    key(tool.viewer, "N" if driver.REAL else "shift+n")
    annotate(tool, "b")
    assert load_labels(results / "c.tif").max() == 1
    assert tool.engine.computed == 0, "it was embedded before"
    tool.actions.go_to_image(2)  # with its result
    assert wait_until(lambda: tool.state.image.name == "c" and not tool.engine.busy) and tool.engine.computed == 0
    click_on_item(panel, 1)
    assert wait_until(lambda: tool.state.image.name == "b" and not tool.engine.busy) and tool.engine.computed == 0
    assert tool.session.committed.max() == 1

    # The window is closed without N: the last image is saved all the same.
    driver.close(tool.viewer)
    assert load_labels(results / "b.tif").max() == 1


def test_start_passes_over_results_but_not_over_empty_images(opened, folder, tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    tifffile.imwrite(results / "a.tif", np.ones((150, 384), "uint16"))
    tool = opened(image_folder_annotator, folder, results, model_type="nano_lm")
    assert tool.state.image.name == "b"
    key(tool.viewer, "n")
    # that the model is ready is said, too, and must not come in between
    assert wait_until(lambda: tool.state.image.name == "c" and not tool.engine.busy)
    wait_idle(tool)
    key(tool.viewer, "n")
    assert "last image" in tool.status.text
    driver.close(tool.viewer)
    assert sorted(path.name for path in results.iterdir()) == ["a.tif", "series.json"]


def test_going_on_with_an_object_that_is_not_committed_is_refused(opened, folder, tmp_path):
    tool = opened(image_folder_annotator, folder, tmp_path / "results", model_type="nano_lm", skip_segmented=False)
    click(tool, COIN["a"])
    assert wait_until(lambda: tool.session.has_current)
    wait_idle(tool)
    key(tool.viewer, "n")
    assert tool.state.image.name == "a" and "not committed" in tool.status.text
    key(tool.viewer, "c")
    key(tool.viewer, "n")
    assert wait_until(lambda: tool.state.image.name == "b")

    # Without skip_segmented an image comes with its result, which can be corrected; an emptied one has no file.
    key(tool.viewer, "N" if driver.REAL else "shift+n")
    assert wait_until(lambda: tool.state.image.name == "a")
    assert tool.session.committed.max() == 1
    tool.actions.select([1])
    tool.actions.delete_selected()
    key(tool.viewer, "n")
    assert wait_until(lambda: tool.state.image.name == "b")
    assert not (tmp_path / "results" / "a.tif").exists()


def test_going_on_with_automatic_objects_that_are_not_committed_asks(opened, folder, tmp_path):
    results = tmp_path / "results"
    tool = opened(image_folder_annotator, folder, results, model_type="nano_lm")
    assert wait_until(lambda: tool.engine.predictor is not None and not tool.engine.busy)
    found = np.zeros(tool.session.shape, np.uint32)
    found[40:60, 40:60], found[90:99, 90:99] = 3, 8
    tool.session.automatic.show(found)
    questions: list[str] = []
    driver.answer("Go on working", questions)
    key(tool.viewer, "n")
    assert "automatic objects are not committed" in questions[0]
    assert tool.state.image.name == "a" and tool.session.automatic.exists and not (results / "a.tif").exists()

    driver.answer("Commit")
    key(tool.viewer, "n")
    assert wait_until(lambda: tool.state.image.name == "b")
    assert load_labels(results / "a.tif").max() == 2

    tool.session.automatic.show(found)
    driver.answer("Go on without them")
    key(tool.viewer, "n")
    assert wait_until(lambda: tool.state.image.name == "c")
    assert not (results / "b.tif").exists()


def test_image_that_cannot_be_read_is_left_out_with_a_sentence(opened, folder, tmp_path):
    (folder / "b.tif").write_text("no image")
    tool = opened(image_folder_annotator, folder, tmp_path / "results", model_type="nano_lm")
    key(tool.viewer, "n")
    assert wait_until(lambda: tool.state.image.name == "c")
    second = tool.dock.panels.series.list.item(1)
    assert second.text() == "✗ b: left out" and second.toolTip(), "the list keeps why"
    assert "1 left out" in tool.dock.panels.series.counter.text()
    assert f"b is left out: {second.toolTip()}" in tool.status.text and "b.tif" in second.toolTip()
    wait_idle(tool)
    assert "b is left out" in tool.status.text, "that c is ready stands below"
    key(tool.viewer, "N" if driver.REAL else "shift+n")
    assert wait_until(lambda: tool.state.image.name == "a")
    click_on_item(tool.dock.panels.series, 1)
    assert f"b is left out: {second.toolTip()}" in tool.status.text and tool.state.image.name == "a"


def test_an_old_result_that_could_be_of_two_images_is_taken_for_neither_and_stays(opened, coins, tmp_path):
    images, results = tmp_path / "images", tmp_path / "results"
    images.mkdir()
    results.mkdir()
    imageio.imwrite(images / "a.png", coins[:150])
    tifffile.imwrite(images / "a.tif", coins[150:300])
    old = np.zeros((150, 384), "uint16")
    old[5:20, 5:20] = 7
    save_labels(results / "a.tif", old)
    before = (results / "a.tif").read_bytes()
    tool = opened(image_folder_annotator, images, results, model_type="nano_lm")
    assert [entry.name for entry in tool.series.entries] == ["a_png", "a_tif"]
    for entry, place in zip(tool.series.entries, (COIN["a"], COIN["c"]), strict=True):
        assert wait_until(lambda name=entry.name: tool.state.image.name == name)
        assert not tool.session.objects and tool.state.series.progress(tool.series.index) == "open"
        click(tool, place)
        assert wait_until(lambda: tool.session.has_current), tool.status.text
        wait_idle(tool)
        key(tool.viewer, "c")
        key(tool.viewer, "n")
        assert load_labels(entry.output).max() == 1
    assert sorted(path.name for path in results.glob("*.tif")) == ["a.tif", "a_png.tif", "a_tif.tif"]
    assert (results / "a.tif").read_bytes() == before


def test_series_that_cannot_start_says_why_before_a_window_opens(tmp_path):
    with pytest.raises(InputError, match="no images"):
        image_series_annotator([], tmp_path)
    with pytest.raises(InputError, match="no image"):
        image_series_annotator([tmp_path / "missing.tif"], tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        plan_series([np.zeros((4, 4))], tmp_path / "file")
    with pytest.raises(InputError):
        image_series_annotator([np.zeros((3, 4, 5, 6))], tmp_path)
    with pytest.raises(InputError, match="pattern"):
        image_folder_annotator(tmp_path, tmp_path / "out", "*.nope")


def test_result_never_overwrites_an_image(folder):
    for output in (folder, folder / ".." / "images"):
        with pytest.raises(OutputError, match="overwrite"):
            image_folder_annotator(folder, output, return_viewer=True)


def test_a_key_chooses_the_image_in_each_file(coins, tmp_path):
    import h5py

    paths = [tmp_path / name for name in ("a.h5", "b.h5")]
    for k, path in enumerate(paths):
        with h5py.File(path, "w") as file:
            file["raw"], file["other"] = coins, coins[10 * (k + 1) :]
    entries = plan_series(paths, tmp_path / "results", key="other")
    for k, entry in enumerate(entries):
        assert entry.open("2d").shape == (coins.shape[0] - 10 * (k + 1), coins.shape[1])
    with pytest.raises(InputError):
        plan_series(paths, tmp_path / "results")[0].open("2d")
