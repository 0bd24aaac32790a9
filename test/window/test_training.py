"""A model is trained from the window: on what is committed, beside further work, and it survives the window."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from skimage.filters import gaussian
from skimage.measure import label, regionprops

from micro_sam.sam_annotator import annotator_2d, image_series_annotator
from micro_sam.sam_annotator.controller.training import Annotated, annotated_so_far, write_training_set

from .driver import Heartbeat, click, press, process, wait_idle, wait_until


@pytest.fixture
def coin_labels(coins) -> np.ndarray:
    """The bright coins, found by a threshold."""
    labels = label(gaussian(coins, 2, preserve_range=True) > 125)
    for one in regionprops(labels):
        if one.area < 400:
            labels[labels == one.label] = 0
    return labels.astype(np.uint16)


@pytest.fixture
def coins_file(coins, tmp_path):
    path = tmp_path / "coins.tif"
    tifffile.imwrite(path, coins)
    return path


def wait_for(tool, *states: str, timeout: float = 300) -> None:
    training = tool.training
    reached = wait_until(lambda: training.state is not None and training.state.state in states, timeout)
    assert reached, (training.state, training.run and training.run.last_words(), tool.status.text)


def use(tool, button) -> None:
    """Press a button of the menu, which is folded and far down."""
    tool.dock.panels.training.expand(animate=False)
    process(0.2)
    tool.dock.scroll.ensureWidgetVisible(button.native)
    process(0.2)
    press(button.native)


@pytest.mark.slow
def test_train_stop_go_on_close_reopen_and_use(opened, coins_file, coin_labels, tmp_path):
    tool = opened(annotator_2d, coins_file, segmentation_result=coin_labels, model_type="nano_lm")
    wait_idle(tool)
    menu = tool.dock.panels.training.panel
    menu.steps.value = 3
    assert menu.output.value == tmp_path / "coins_model.safetensors"
    with Heartbeat() as heart:
        use(tool, menu.start)
        wait_for(tool, "running")
    assert heart.longest < 1.0
    assert "Training" in tool.status.text or "training" in tool.status.text
    use(tool, menu.stop)
    wait_for(tool, "stopped", "done")
    assert tool.training.state.state == "stopped"

    # It goes on, and outlives the window.
    use(tool, menu.go_on)
    wait_for(tool, "running")
    tool.viewer.close()
    again = opened(annotator_2d, coins_file, model_type="nano_lm")
    wait_idle(again)
    menu = again.dock.panels.training.panel
    wait_for(again, "done")
    assert "IoU of a click" in menu.text.text()
    assert menu.output.value == tmp_path / "coins_model_2.safetensors"
    use(again, menu.use)
    wait_idle(again)
    assert again.engine.predictor.model_name == "coins_model"
    assert not menu.use.native.isVisibleTo(menu)
    click(again, (60, 100))
    wait_idle(again)
    assert again.session.has_current
    assert (tmp_path / "coins_model.md").exists()


def test_too_little_or_a_taken_name_is_said_in_a_sentence(opened, coins_file, coin_labels, tmp_path):
    tool = opened(annotator_2d, coins_file, model_type="nano_lm")
    menu = tool.dock.panels.training.panel
    use(tool, menu.start)
    assert "no committed objects" in tool.status.text
    tool.session.objects.load(np.where(coin_labels == coin_labels.max(), 1, 0).astype(np.uint32))
    use(tool, menu.start)
    assert "only 1 committed object" in tool.status.text
    tool.session.objects.load(coin_labels.astype(np.uint32))
    (tmp_path / "taken.safetensors").write_bytes(b"precious")
    menu.output.value = tmp_path / "taken.safetensors"
    use(tool, menu.start)
    assert wait_until(lambda: "exists already" in tool.status.text), tool.status.text
    assert (tmp_path / "taken.safetensors").read_bytes() == b"precious"
    assert tool.training.run is None


def test_all_results_of_a_series_are_learned_from(opened, coins, coin_labels, tmp_path):
    for name in ("a", "b", "c"):
        tifffile.imwrite(tmp_path / f"{name}.tif", coins)
    (tmp_path / "out").mkdir()
    tifffile.imwrite(tmp_path / "out" / "a.tif", coin_labels)
    images = [tmp_path / f"{name}.tif" for name in ("a", "b", "c")]
    tool = opened(image_series_annotator, images, tmp_path / "out", model_type="nano_lm")
    assert tool.series.index == 1
    tool.session.objects.load(coin_labels.astype(np.uint32))
    assert [one.name for one in annotated_so_far(tool.state)] == ["b", "a"]


def test_only_the_annotated_slices_of_a_stack_or_movie_are_learned_from(tmp_path):
    from micro_sam.training import DataSource
    from micro_sam.training.data import read_source

    stack = np.random.default_rng(0).integers(0, 4000, (9, 40, 50)).astype(np.uint16)
    labels = np.zeros(stack.shape, np.uint32)
    labels[2, 5:20, 5:20], labels[6, 8:30, 20:40] = 7, 9
    assert list(write_training_set(tmp_path, [Annotated("movie", stack, labels)], "tracking")) == [1]
    found = read_source(DataSource((str(tmp_path / "images"),), (str(tmp_path / "labels"),), complete=False))
    assert [image.name for image in found] == ["movie.tif[0]", "movie.tif[1]"]
    assert np.array_equal(found[1].labels, labels[6]) and not found[0].complete
