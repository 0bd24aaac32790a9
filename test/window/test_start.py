"""How a tool starts: with or without an image, in a viewer of the person, without weights, with a wrong cache."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import imageio.v3 as imageio
import napari
import numpy as np
import pytest
import tifffile
from qtpy.QtWidgets import QFileDialog

from micro_sam.errors import CacheError, InputError
from micro_sam.models.predictor import Predictor
from micro_sam.sam_annotator import annotator_2d, get_annotator
from micro_sam.sam_annotator.view.camera import camera_of

from . import driver
from .driver import click, key, wait_idle, wait_until

COIN = (60, 100)


def ready(tool):
    assert wait_until(lambda: tool.session is not None and tool.session.model.embeddings is not None), tool.status.text
    wait_idle(tool)


def test_window_is_there_before_the_model(opened, coins, monkeypatch):
    from micro_sam.models import build

    loaded = []
    load = build.get_sam_model

    def slow(*args, **kwargs):
        time.sleep(1)
        loaded.append(True)
        return load(*args, **kwargs)

    monkeypatch.setattr(build, "get_sam_model", slow)
    tool = opened(annotator_2d, coins, model_type="nano_lm")
    assert tool.viewer.window._qt_window.isVisible() and tool.state.mouse == "point"
    ready(tool)
    assert loaded == [True]
    # Another image needs no second load.
    tool.actions.open_path("sample:cell")
    ready(tool)
    assert loaded == [True]


def test_dock_has_a_name_and_the_commit_button_is_in_sight(opened, coins):
    tool = opened(annotator_2d, coins, model_type="nano_lm")
    assert "micro_sam 2D" in tool.viewer.window.dock_widgets
    commit = tool.dock.commit.run.native
    bottom = commit.mapToGlobal(commit.rect().bottomLeft()).y()
    bottom_of_dock = tool.dock.mapToGlobal(tool.dock.rect().bottomLeft()).y()
    assert commit.isVisible() and bottom < bottom_of_dock and bottom < 1000
    assert not tool.dock.scroll.horizontalScrollBar().isVisible()


def test_empty_window_takes_a_file_and_a_sample(opened, coins, tmp_path, caplog):
    path = tmp_path / "coins.png"
    imageio.imwrite(path, coins)
    tool = opened(annotator_2d, model_type="nano_lm")
    assert "Drop an image" in tool.status.text and "There is no image" not in caplog.text
    key(tool.viewer, "c")
    assert "no image" in tool.status.text
    tool.viewer.window._qt_viewer._qt_open([str(path)], stack=False)  # what a dropped file calls
    assert wait_until(lambda: tool.session is not None)
    assert tool.state.image.path == path and len(tool.viewer.layers) == 6
    ready(tool)
    click(tool, COIN)
    assert wait_until(lambda: tool.session.has_current)
    tool.actions.clear()
    tool.dock.panels.image.panel.sample.value = "immunohistochemistry"
    tool.dock.panels.image.panel.use_sample.native.click()
    ready(tool)
    assert tool.layers.raw.rgb and tool.session.shape == (512, 512)


def test_open_image_asks_for_a_file_and_opens_it(opened, coins, tmp_path, monkeypatch):
    path, answers = tmp_path / "coins.png", ["", str(tmp_path / "coins.png")]
    imageio.imwrite(path, coins)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", staticmethod(lambda *_args, **_more: (answers.pop(0), "")))
    tool = opened(annotator_2d, model_type="nano_lm")
    driver.press(tool.dock.panels.image.panel.file.native)
    assert tool.session is None and len(answers) == 1, "cancelled"
    driver.press(tool.dock.panels.image.panel.file.native)
    assert wait_until(lambda: tool.session is not None)
    assert tool.state.image.path == path
    assert wait_until(lambda: tool.dock.panels.image.panel.visibleRegion().isEmpty()), "it is folded"
    ready(tool)
    click(tool, COIN)
    assert wait_until(lambda: tool.session.has_current), tool.status.text


def test_tool_docks_into_a_viewer_and_takes_its_layer(opened, coins):
    viewer = napari.Viewer()
    layer = viewer.add_image(coins, name="my image", scale=(0.5, 0.5))
    tool = opened(annotator_2d, model_type="nano_lm", viewer=viewer)
    assert tool.viewer is viewer and tool.session is None
    tool.dock.panels.image.panel.layer.value = layer
    driver.press(tool.dock.panels.image.panel.use_layer.native)
    ready(tool)
    driver.process(0.5)  # the image is fitted
    assert tool.layers.raw is layer and layer in viewer.layers and "raw" not in [lay.name for lay in viewer.layers]
    click(tool, COIN)
    assert wait_until(lambda: tool.session.has_current)
    assert tool.session.current[COIN] == 1
    assert tuple(tool.layers.points.layer.scale) == (0.5, 0.5)


def test_two_windows_do_not_know_of_each_other(opened, coins):
    first = opened(annotator_2d, coins, model_type="nano_lm")
    second = opened(annotator_2d, coins, model_type="nano_lm")
    ready(first)
    ready(second)
    second.session.prompts.add_point(COIN)
    second.actions.segment()
    wait_idle(second)
    driver.activate(second.viewer)
    key(second.viewer, "c")
    assert second.session.committed[COIN] == 1
    assert not len(first.session.prompts.drawn) and not first.session.objects
    driver.close(second.viewer)
    driver.activate(first.viewer)
    click(first, COIN)
    assert wait_until(lambda: first.session.has_current)


def test_missing_weights_are_offered_with_one_click(opened, coins):
    tool = opened(annotator_2d, coins)  # vit_h
    assert wait_until(lambda: tool.dock.panels.offer.isVisible()), tool.status.text
    text = tool.dock.panels.offer.text.text()
    assert "vit_h" in text and "GB of memory" in text and "nano_lm" in text
    assert "2.6 GB" in tool.dock.panels.offer.download.text
    click(tool, COIN)
    assert len(tool.session.prompts.drawn) == 1
    driver.press(tool.dock.panels.offer.instead.native)
    assert not tool.dock.panels.offer.isVisible()
    assert wait_until(lambda: tool.session.has_current), tool.status.text
    menu = tool.dock.panels.model.panel
    assert menu.model.value == "nano_lm" and "nano_lm" in menu.in_use.text()


def test_a_window_begins_with_the_model_that_works_at_once_and_names_the_better_one(opened, coins):
    tool = opened(annotator_2d, coins, model_type=None)
    ready(tool)
    assert tool.engine.predictor.model_name == "nano_lm" and not tool.dock.panels.offer.isVisible()
    text = tool.status.text
    assert text.startswith("nano_lm is ready") and text.count("vit_h") == 1 and "Click an object" in text
    assert "vit_h is larger and slower" in tool.dock.panels.model.panel.in_use.text()
    click(tool, COIN)
    wait_idle(tool)
    assert tool.session.current[COIN] == 1
    tool.dock.panels.model.panel.model.value = "vit_h"  # as the sentence says
    tool.dock.panels.model.panel.apply.native.click()
    assert wait_until(lambda: tool.dock.panels.offer.isVisible()), tool.status.text
    assert "vit_h" in tool.dock.panels.offer.text.text() and tool.session.current[COIN] == 1
    driver.press(tool.dock.panels.offer.instead.native)
    ready(tool)
    assert "vit_h" not in tool.dock.panels.model.panel.in_use.text(), "the user has said which model it is"


COMMAND = """
import sys
import napari
from qtpy.QtCore import QTimer
from micro_sam.cli.annotator_2d import main

run = napari.run

def use():
    from micro_sam.sam_annotator import get_annotator
    viewer = napari.current_viewer()
    tool = get_annotator(viewer)

    def look():
        is_ready = tool.session is not None and tool.session.model.embeddings is not None and not tool.engine.busy
        viewer.close() if is_ready else QTimer.singleShot(100, look)

    look()
    run()

napari.run = use
sys.exit(main(["-i", sys.argv[1]]))
"""


def test_a_command_with_an_image_says_little_in_the_terminal(coins, tmp_path, window_manager):
    path = tmp_path / "coins.png"
    imageio.imwrite(path, coins)
    command = [sys.executable, "-c", COMMAND, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=400)
    said = (result.stdout + result.stderr).splitlines()
    assert result.returncode == 0 and "no image" not in "".join(said), said
    assert len(said) < 6, said


def test_bf16_is_offered_where_the_processor_gains_by_it(opened, coins, monkeypatch):
    from micro_sam.models import device

    monkeypatch.setattr(device, "has_bf16", lambda: False)
    tool = opened(annotator_2d, coins, model_type="nano_lm")
    ready(tool)
    menu, chosen = tool.dock.panels.model.panel, []
    assert menu.precision.native.isHidden() and tool.engine.predictor.precision == "fp32"
    monkeypatch.setattr(device, "has_bf16", lambda: True)
    menu._show_in_use()
    assert not menu.precision.native.isHidden()
    monkeypatch.setattr(tool.actions, "change_settings", chosen.append)
    menu.precision.value = "bf16"
    menu._apply()
    assert chosen[0].precision == "bf16" and chosen[0].model_key != tool.state.settings.model_key


def test_download_that_fails_names_what_to_do_and_keeps_the_work(opened, coins, monkeypatch):
    from micro_sam.models import download

    def offline(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(download.urllib.request, "urlopen", offline)
    tool = opened(annotator_2d, coins, model_type="vit_b")
    assert wait_until(lambda: tool.dock.panels.offer.isVisible())
    click(tool, COIN)
    driver.press(tool.dock.panels.offer.download.native)
    assert wait_until(lambda: not tool.engine.busy and tool.status.kind == "error"), tool.status.text
    assert "https://" in tool.status.text and "nano_lm" in tool.status.text
    assert tool.dock.panels.offer.isVisible() and len(tool.session.prompts.drawn) == 1


def test_cache_of_another_image_is_refused_and_another_path_goes_on(opened, coins, tmp_path):
    cache = tmp_path / "cache.zarr"
    first = opened(annotator_2d, coins, model_type="nano_lm", embedding_path=cache)
    ready(first)
    driver.close(first.viewer)
    tool = opened(annotator_2d, coins[::-1].copy(), model_type="nano_lm", embedding_path=cache)
    assert wait_until(lambda: tool.status.kind == "error")
    assert tool.session.model.embeddings is None and str(CacheError.__name__)
    tool.dock.panels.model.panel.embeddings.value = tmp_path / "other.zarr"
    tool.dock.panels.model.panel.apply.native.click()
    ready(tool)


def test_embeddings_are_shown_as_a_layer(opened, coins):
    tool = opened(annotator_2d, coins, model_type="nano_lm", show_embeddings=True)
    ready(tool)
    assert wait_until(lambda: "embeddings" in tool.viewer.layers)
    layer = tool.viewer.layers["embeddings"]
    low, high = layer.extent.world
    assert np.allclose(high - low, np.array(coins.shape) - 1, rtol=0.1)
    assert tool.state.mouse == "point"


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (np.zeros((8, 256, 256), "uint8"), "shape"),
        (np.zeros((3, 4, 64, 64, 3), "uint8"), "shape"),
        (np.zeros(100, "uint8"), "axes"),
        (np.zeros((0, 10), "uint8"), "empty"),
        (np.array([["a", "b"], ["c", "d"]]), "numbers"),
        ("missing.tif", "no file"),
    ],
)
def test_image_that_does_not_fit_is_a_sentence_and_no_window(raw, says):
    before = len(napari.Viewer._instances)
    with pytest.raises(InputError, match=says):
        annotator_2d(raw, model_type="nano_lm", return_viewer=True)
    assert len(napari.Viewer._instances) == before


def test_settings_and_results_that_do_not_fit_are_sentences_and_no_window(coins, tmp_path):
    for wrong in (
        {"model_type": "vit_x"},
        {"halo": (32, 32)},
        {"checkpoint_path": tmp_path / "none.pt"},
        {"segmentation_result": np.zeros((10, 10), "int32")},
        {"segmentation_result": np.full(coins.shape, -1)},
        {"segmentation_result": np.full(coins.shape, 0.5)},
    ):
        with pytest.raises(InputError):
            annotator_2d(coins, **{"model_type": "nano_lm", **wrong}, return_viewer=True)
    with pytest.raises(InputError, match="image"):
        annotator_2d(segmentation_result=np.zeros((5, 5), int), model_type="nano_lm", return_viewer=True)


def test_difficult_images_can_be_clicked(shared_tool):
    from micro_sam.sam_annotator.state.images import from_array

    rng = np.random.default_rng(0)
    image = rng.normal(100, 5, (120, 90)).astype("float32")
    image[40:70, 30:60] += 100
    with_nan = image.copy()
    with_nan[0, :5], with_nan[1, 1] = np.nan, np.inf
    hot = (image * 10).astype("uint16")
    hot[3, 3] = 65535
    for raw, position in (
        (with_nan, (55, 45)),
        (hot, (55, 45)),
        (-image, (55, 45)),
        (np.zeros((64, 64), "uint8"), (30, 30)),
        (image > 150, (55, 45)),
        ((image * 1000).astype("int64"), (55, 45)),
        (np.moveaxis(np.stack([image] * 3), 0, 0).astype("uint8"), (55, 45)),
        (np.stack([image] * 4, -1).astype("uint8"), (55, 45)),
        (np.stack([image] * 2), (55, 45)),
        (np.stack([image] * 7, -1), (55, 45)),
        (np.ones((1, 1), "uint8"), (0, 0)),
        (np.tile(image[:30], (40, 1)), (15, 45)),
    ):
        tool = shared_tool
        tool.open(from_array(raw, "2d", "difficult"))
        ready(tool)
        tool.session.prompts.add_point(position)
        tool.actions.segment()
        wait_idle(tool)
        assert tool.status.kind != "error", (raw.shape, raw.dtype, tool.status.text)


def test_strip_of_twenty_thousand_rows_is_shown_clicked_and_committed(shared_tool):
    """Longer than a texture of the graphics card can be."""
    from micro_sam.sam_annotator.state.images import from_array

    strip = np.random.default_rng(0).normal(100, 5, (20_000, 30)).astype("float32")
    place = (17_000, 15)
    strip[place[0] - 10 : place[0] + 10, 5:25] += 100
    tool = shared_tool
    tool.open(from_array(strip, "2d", "strip"))
    ready(tool)
    camera_of(tool.viewer).center, camera_of(tool.viewer).zoom = place, 8
    driver.process(0.5)
    click(tool, place)
    assert wait_until(lambda: tool.session.has_current), tool.status.text
    wait_idle(tool)
    assert tool.session.current[place] == 1
    key(tool.viewer, "c")
    assert tool.session.committed[place] == 1 and tool.status.kind != "error", tool.status.text
    tool.saving.unsaved = False


def test_cache_that_cannot_be_written_is_a_sentence_and_the_work_goes_on(tool, tmp_path):
    click(tool, COIN)
    wait_idle(tool)
    key(tool.viewer, "c")
    (tmp_path / "file").write_text("")
    tool.dock.panels.model.panel.embeddings.value = tmp_path / "file" / "coins.zarr"
    tool.dock.panels.model.panel.apply.native.click()
    assert wait_until(lambda: not tool.engine.busy and tool.status.kind == "error"), tool.status.text
    assert "coins.zarr" in tool.status.text and tool.session.committed[COIN] == 1
    tool.dock.panels.model.panel.embeddings.value = None
    tool.dock.panels.model.panel.apply.native.click()
    ready(tool)
    click(tool, (115, 160))
    wait_idle(tool)
    assert tool.session.current[115, 160] == 1


FRESH = """
    import faulthandler, sys
    faulthandler.enable()
    sys.path.insert(0, {folder!r})
    import driver
    from micro_sam.sam_annotator import annotator_2d, get_annotator
    from micro_sam.sam_annotator.state.images import from_path

    viewer = annotator_2d("sample:coins", model_type="nano_lm", return_viewer=True)
    tool = get_annotator(viewer)
    driver.place(viewer)
    driver.click(tool, (60, 100))
    assert driver.wait_until(lambda: tool.session.has_current), tool.status.text
    tool.actions.commit()
    tool.actions.segment_all()
    assert driver.wait_until(lambda: tool.session.auto.any()), tool.status.text
    driver.wait_idle(tool)
    tool.actions.commit()
    tool.actions.save({result!r})
    tool.actions.change_settings(tool.state.settings.changed(embedding_path={cache!r}))
    driver.process(0.2)
    driver.wait_idle(tool, 120)
    tool.actions.select([1]); tool.actions.reopen_selected(); tool.actions.commit()
    tool.open(from_path({result!r}, "2d"))
    driver.wait_idle(tool, 120)
    viewer.close()
    driver.process(0.3)
    forbidden = {{"torchvision", "triton", "segment_anything"}} & {{name.split(".")[0] for name in sys.modules}}
    print("FORBIDDEN", sorted(forbidden))
"""


FRESH_STACKS = """
    import faulthandler, sys
    faulthandler.enable()
    sys.path.insert(0, {folder!r})
    import numpy as np
    import driver
    from micro_sam.sample_data import open_sample
    from micro_sam.sample_data.synthetic import dividing_cells
    from micro_sam.sam_annotator import annotator_3d, annotator_tracking, get_annotator

    def begin(function, image, place):
        viewer = function(image, model_type="nano_lm", return_viewer=True)
        tool = get_annotator(viewer)
        driver.place(viewer)
        driver.wait_until(lambda: tool.engine.predictor is not None and not tool.engine.busy)
        driver.wait_idle(tool)
        tool.actions.go_to_slice(place[0])
        driver.process(0.2)
        driver.click(tool, place)
        assert driver.wait_until(lambda: tool.session.has_current), tool.status.text
        driver.wait_idle(tool)
        driver.key(viewer, "v")
        driver.wait_idle(tool)
        tool.actions.commit()
        driver.wait_idle(tool)
        assert tool.session.objects, tool.status.text
        return tool

    def look_around(tool, result):
        tool.actions.toggle_table()
        tool.actions.review_next()
        assert driver.wait_until(lambda: tool.review.doubt is not None), tool.status.text
        tool.actions.review_stop()
        tool.dock.panels.training.expand(animate=False)
        tool.actions.start_training()
        driver.process(0.2)
        driver.wait_idle(tool)
        tool.actions.save(result)
        driver.wait_idle(tool)
        tool.saving.unsaved = False
        tool.viewer.close()
        driver.process(0.3)

    def middle(labels, index):
        label = np.bincount(labels[index].ravel())[1:].argmax() + 1
        return index, *(int(v) for v in np.median(np.argwhere(labels[index] == label), axis=0))

    sample = open_sample("nuclei_volume")
    tool = begin(annotator_3d, sample.image[8:22], middle(sample.labels[8:22], 6))
    tool.actions.show_sections(True)
    tool.actions.segment_all_slices()
    driver.wait_idle(tool)
    tool.actions.select([1])
    tool.actions.find_similar()
    assert driver.wait_until(lambda: "like 1" in tool.status.text), tool.status.text
    driver.wait_idle(tool)
    look_around(tool, {volume!r})

    movie, labels, _ = dividing_cells((9, 128, 128), n_cells=4, n_divisions=1, seed=2)
    tool = begin(annotator_tracking, movie, middle(labels, 0))
    tool.actions.segment_and_track_all()
    driver.wait_idle(tool)
    look_around(tool, {movie!r})
    forbidden = {{"torchvision", "triton", "segment_anything"}} & {{name.split(".")[0] for name in sys.modules}}
    print("FORBIDDEN", sorted(forbidden))
"""


@pytest.mark.parametrize("program", [FRESH, FRESH_STACKS], ids=["2d", "3d and tracking"])
def test_nothing_that_crashes_software_opengl_is_imported_after_the_window_is_open(tmp_path, program):
    """Importing torchvision, triton or segment-anything then ends the process under Mesa."""
    paths = {"result": "r.tif", "cache": "c.zarr", "volume": "v.tif", "movie": "m.csv"}
    paths = {name: str(tmp_path / path) for name, path in paths.items()}
    script = textwrap.dedent(program.format(folder=str(Path(driver.__file__).parent), **paths))
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=400)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "FORBIDDEN []" in result.stdout


def test_second_start_reads_the_cache(opened, coins, tmp_path, monkeypatch):
    cache = tmp_path / "cache.zarr"
    ready(opened(annotator_2d, coins, model_type="nano_lm", embedding_path=cache))
    monkeypatch.setattr(Predictor, "encode_batch", lambda *_: pytest.fail("embedded again"))
    tool = opened(annotator_2d, coins, model_type="nano_lm", embedding_path=cache)
    ready(tool)
    assert tool.engine.computed == 0 and get_annotator(tool.viewer) is tool


def test_tif_of_a_person_keeps_its_pixel_size(opened, coins, tmp_path):
    path = tmp_path / "scaled.tif"
    tifffile.imwrite(path, coins, resolution=(4, 4), metadata={"axes": "YX", "unit": "um"}, imagej=True)
    tool = opened(annotator_2d, path, model_type="nano_lm")
    assert np.allclose(tool.layers.raw.scale, 0.25)
    click(tool, COIN)
    assert wait_until(lambda: tool.session.has_current)
    assert tool.session.current[COIN] == 1
