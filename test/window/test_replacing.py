"""Saving in a window replaces nothing but earlier results, or what the user chose, after one question."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from qtpy.QtWidgets import QFileDialog

from micro_sam.errors import OutputError
from micro_sam.io.labels import load_labels, save_labels
from micro_sam.io.marks import read_kind
from micro_sam.io.tracks import load_tracks, save_tracks
from micro_sam.sam_annotator import annotator_2d, annotator_tracking, image_folder_annotator
from micro_sam.sam_annotator.controller.files import unsaved
from micro_sam.sam_annotator.state.images import from_path

from . import driver
from .driver import key, wait_idle, wait_until
from .movies import small_movie


def commit_anything(tool):
    """A committed object, without a click."""
    labels = np.zeros(tool.session.shape, np.uint32)
    labels[..., 50:90, 80:120] = 1
    tool.session.objects.load(labels)
    tool.saving.unsaved = True


@pytest.fixture
def choose(monkeypatch):
    """The file that the dialog gives."""

    def set_path(path):
        monkeypatch.setattr(QFileDialog, "getSaveFileName", staticmethod(lambda *a, **k: (str(path), "")))

    return set_path


def test_a_file_of_another_program_is_replaced_after_one_question_and_kept(tool, tmp_path, choose):
    path = tmp_path / "masks.tif"
    tifffile.imwrite(path, np.zeros((303, 384), "uint16"))
    before = path.read_bytes()
    choose(path)
    commit_anything(tool)
    questions: list[str] = []
    driver.answer("Keep it", questions)
    tool.actions.save()
    assert path.read_bytes() == before and tool.saving.must_ask and len(questions) == 1
    assert "masks.tif.bak" in questions[0]
    driver.answer("Replace", questions)
    tool.actions.save()
    assert load_labels(path).max() == 1 and (tmp_path / "masks.tif.bak").read_bytes() == before
    tool.saving.unsaved = True
    tool.actions.save()  # it is ours now: nobody asks
    assert len(questions) == 2 and not tool.saving.must_ask


def test_an_earlier_result_that_was_chosen_in_the_dialog_is_asked_for_once(tool, tmp_path, choose):
    path = save_labels(tmp_path / "of another image.tif", np.full((5, 5), 7))
    choose(path)
    commit_anything(tool)
    questions: list[str] = []
    driver.answer("Keep it", questions)
    tool.actions.save()
    assert load_labels(path).max() == 7 and len(questions) == 1
    driver.answer("Replace", questions)
    tool.actions.save()
    assert load_labels(path).max() == 1 and len(questions) == 2
    # no second file; the session may lie beside it, or beside a result that this window wrote before
    assert [p.name for p in tmp_path.iterdir() if p.suffix != ".session"] == [path.name]


def test_the_image_itself_and_what_no_result_replaces_are_refused_without_a_question(tool, tmp_path, choose, coins):
    raw = tmp_path / "raw.tif"
    tifffile.imwrite(raw, coins)
    (tmp_path / "folder.zarr").mkdir()
    (tmp_path / "folder.zarr" / "notes.txt").write_text("mine")
    (tmp_path / "link.tif").symlink_to(raw)
    driver.reset(tool, from_path(raw, "2d"))
    commit_anything(tool)
    for name, words in (("raw.tif", "is the input"), ("link.tif", "is the input"), ("folder.zarr", "something else")):
        choose(tmp_path / name)
        tool.actions.save()
        assert words in tool.status.text and tool.saving.must_ask
    assert np.array_equal(tifffile.imread(raw), coins)
    assert (tmp_path / "folder.zarr" / "notes.txt").read_text() == "mine"


def test_tracks_of_earlier_versions_are_continued_and_kept(tool_tracking, tmp_path, choose):
    tool = tool_tracking
    labels = np.zeros(tool.session.shape, np.uint16)
    labels[:, 5:15, 5:15] = 1
    folder = save_tracks(tmp_path / "movie_RES", labels)
    for mask in folder.glob("*.tif"):
        tifffile.imwrite(mask, tifffile.imread(mask))
    tool.session.objects.load(labels * 2)
    tool.saving.unsaved = True
    questions: list[str] = []
    driver.answer("Replace", questions)
    tool.actions.save(folder)
    assert load_tracks(folder).labels.max() == 2 and load_tracks(tmp_path / "movie_RES.bak").labels.max() == 1
    (folder / "notes.txt").write_text("mine")
    tool.actions.save(folder)
    assert "something else" in tool.status.text and (folder / "notes.txt").read_text() == "mine"
    assert len(questions) == 1


@pytest.mark.parametrize("kind", ["tool", "tool_3d", "tool_tracking"])
def test_a_save_that_begins_by_itself_says_what_is_in_the_way(request, kind, tmp_path, monkeypatch):
    """It is no action that somebody waits for: an exception of its timer would end the program."""
    tool = request.getfixturevalue(kind)
    monkeypatch.setattr(unsaved, "PAUSE", 0.0)
    monkeypatch.setattr(unsaved, "SOON", 0.05)
    commit_anything(tool)
    path = tmp_path / ("movie_RES" if kind == "tool_tracking" else "masks.tif")
    tool.actions.save(path)
    assert not tool.saving.unsaved, tool.status.text
    if path.is_file():
        path.unlink()
        path.mkdir()
    (path / "notes.txt").write_text("mine")
    tool.session.objects.delete([1])
    commit_anything(tool)
    tool.saving.changed.emit()
    assert wait_until(lambda: "notes.txt" in tool.status.text), tool.status.text
    assert tool.saving.unsaved and (path / "notes.txt").read_text() == "mine"
    (path / "notes.txt").unlink()
    tool.session.objects.delete([1])
    commit_anything(tool)
    tool.saving.changed.emit()
    assert wait_until(lambda: not tool.saving.unsaved), tool.status.text


def test_save_goes_into_the_folder_that_was_given_and_save_as_beside_it(opened, tmp_path, monkeypatch):
    movie, labels = small_movie()
    tifffile.imwrite(tmp_path / "movie.tif", movie)
    folder = save_tracks(tmp_path / "movie_RES", labels.astype("uint16"))
    asked: list[str] = []
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *a, **k: (asked.append(a[2]), ("", ""))[1])
    tool = opened(annotator_tracking, tmp_path / "movie.tif", model_type="nano_lm", tracking_result=folder)
    tool.session.objects.delete([1])
    tool.actions.save()
    assert not asked and "saved in" in tool.status.text and not tool.saving.must_ask
    assert 1 not in np.unique(load_tracks(folder).labels)
    tool.actions.save_as()
    assert asked == [str(tmp_path / "movie_RES_2")], "the dialog opens beside the folder, not inside it"


def test_embeddings_are_never_kept_in_the_image(tmp_path, coins):
    tifffile.imwrite(tmp_path / "raw.tif", coins)
    with pytest.raises(OutputError, match="is the input"):
        annotator_2d(tmp_path / "raw.tif", tmp_path / "raw.tif", model_type="nano_lm", return_viewer=True)
    with pytest.raises(OutputError, match="is the input|lies inside"):
        image_folder_annotator(tmp_path, tmp_path / "out", embedding_path=tmp_path / "raw.tif" / "x")


# ------------------------------------------------------------------ a series


@pytest.fixture
def folder(tmp_path, coins):
    """Three stacks; the second has one slice only, which the 3D tool refuses."""
    images = tmp_path / "images"
    images.mkdir()
    stack = np.stack([coins[:120, :140]] * 3)
    for name, part in {"a": stack, "b": stack[:1], "c": stack[:, ::-1]}.items():
        tifffile.imwrite(images / f"{name}.tif", part, imagej=True, metadata={"axes": "ZYX"})
    return images


def start_series(opened, folder, results):
    tool = opened(image_folder_annotator, folder, results, model_type="nano_lm", is_volumetric=True)
    # else what is said when it is ready may come after what the test looks for
    assert wait_until(lambda: tool.engine.predictor is not None and not tool.engine.busy), tool.status.text
    wait_idle(tool)
    return tool


def test_an_image_that_the_series_refuses_never_gets_the_labels_of_the_one_before(opened, folder, tmp_path):
    results = tmp_path / "results"
    tool = start_series(opened, folder, results)
    assert tool.state.image.name == "a"
    commit_anything(tool)
    (folder / "c.tif").write_text("damaged")
    key(tool.viewer, "n")
    assert tool.state.image.name == "a" and tool.series.index == 0 and tool.saving.path == results / "a.tif"
    assert "b is left out" in tool.status.text and "c is left out" in tool.status.text
    tool.session.objects.load(tool.session.committed * 5)
    tool.saving.unsaved = True
    driver.close(tool.viewer)
    assert {path.name for path in results.iterdir()} == {"a.tif", "a.session"} and load_labels(
        results / "a.tif"
    ).max() == 5


def test_going_on_and_back_over_a_refused_image_keeps_each_result_with_its_image(opened, folder, tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    save_labels(results / "c.tif", np.ones((9, 9)))  # of another shape
    tool = start_series(opened, folder, results)
    tool.series.skip_segmented = False
    commit_anything(tool)
    key(tool.viewer, "n")
    assert tool.state.image.name == "a" and "c is left out" in tool.status.text
    (results / "c.tif").unlink()
    key(tool.viewer, "n")
    assert tool.state.image.name == "c" and tool.saving.path == results / "c.tif" and not tool.session.objects
    tool.session.objects.load(np.full(tool.session.shape, 9, np.uint32))
    tool.saving.unsaved = True
    key(tool.viewer, "N" if driver.REAL else "shift+n")
    assert tool.state.image.name == "a" and tool.saving.path == results / "a.tif"
    assert load_labels(results / "a.tif").max() == 1 and load_labels(results / "c.tif").max() == 9
    assert not (results / "b.tif").exists()
    assert wait_until(lambda: not tool.engine.busy)


def test_results_of_earlier_versions_in_a_series_are_asked_for_once(opened, coins, tmp_path):
    images, results = tmp_path / "images", tmp_path / "results"
    images.mkdir()
    results.mkdir()
    for name in ("a", "b"):
        tifffile.imwrite(images / f"{name}.tif", coins[:150])
        tifffile.imwrite(results / f"{name}.tif", np.ones((150, 384), "uint16"))
    tool = opened(image_folder_annotator, images, results, model_type="nano_lm", skip_segmented=False)
    questions: list[str] = []
    for number, name in enumerate(("a", "b")):
        assert tool.state.image.name == name and tool.session.committed.max() == 1
        commit_anything(tool)
        if number == 0:
            driver.answer("Keep it", questions)
            key(tool.viewer, "n")
            assert tool.state.image.name == "a" and "not saved" in tool.status.text
            driver.answer("Replace", questions)
        key(tool.viewer, "n")
    assert len(questions) == 2 and read_kind(results / "b.tif") == "labels"
    assert (results / "a.tif.bak").exists() and (results / "b.tif.bak").exists()


def test_a_window_that_a_program_closes_asks_nothing_and_keeps_both(opened, coins, tmp_path):
    images, results = tmp_path / "images", tmp_path / "results"
    images.mkdir()
    results.mkdir()
    tifffile.imwrite(images / "a.tif", coins[:150])
    tifffile.imwrite(results / "a.tif", np.ones((150, 384), "uint16"))
    before = (results / "a.tif").read_bytes()
    tool = opened(image_folder_annotator, images, results, model_type="nano_lm", skip_segmented=False)
    commit_anything(tool)
    copies = []
    tool.saving.keep_copy, keep = lambda *a: copies.append(keep(*a)) or copies[-1], tool.saving.keep_copy
    driver.close(tool.viewer)
    assert (results / "a.tif").read_bytes() == before and load_labels(copies[0]).max() == 1
