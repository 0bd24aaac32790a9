"""One real napari window for all tests, on a virtual or real screen, driven with real mouse and key events."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

from . import driver


def pytest_collection_modifyitems(config, items):
    """Window tests need a screen: without one they are skipped, and say so."""
    reason = None
    if os.environ.get("QT_QPA_PLATFORM") == "offscreen":
        reason = "napari's canvas needs OpenGL, which Qt's offscreen platform does not have; use xvfb-run"
    elif os.name == "posix" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        reason = "there is no screen (DISPLAY is not set); use xvfb-run"
    for item in items:
        if "test/window/" in str(item.path).replace(os.sep, "/"):
            item.add_marker(pytest.mark.window)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def own_cache_directory(tmp_path_factory):
    """Models, recovery files and samples of the tests do not mix with those of the person."""
    old = os.environ.get("MICROSAM_CACHEDIR")
    os.environ["MICROSAM_CACHEDIR"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if old is None:
        del os.environ["MICROSAM_CACHEDIR"]
    else:
        os.environ["MICROSAM_CACHEDIR"] = old


@pytest.fixture(scope="session")
def window_manager():
    """A window manager gives the window the keyboard; bare X servers (xvfb) have none."""
    with driver.window_manager():
        yield


@pytest.fixture(scope="session")
def coins() -> np.ndarray:
    """A real image: 24 coins, (303, 384) uint8."""
    from micro_sam.sample_data import open_sample

    return open_sample("coins").image


@pytest.fixture(scope="session")
def shared_tool(window_manager, coins):
    """A 2D tool with the shipped model, opened once: a window costs seconds under software OpenGL."""
    from micro_sam.sam_annotator import annotator_2d, get_annotator

    viewer = annotator_2d(coins, model_type="nano_lm", return_viewer=True)
    tool = get_annotator(viewer)
    driver.place(viewer)
    assert driver.wait_until(lambda: tool.engine.predictor is not None and not tool.engine.busy, 120), tool.status.text
    yield tool
    driver.close(viewer)


@pytest.fixture
def tool(shared_tool, coins):
    """The 2D tool on the coins, as it is right after the start: nothing clicked, nothing committed."""
    from micro_sam.sam_annotator.images import from_array

    driver.reset(shared_tool, from_array(coins, "2d", "coins"))
    yield shared_tool
    shared_tool.saving.unsaved = False


@pytest.fixture(scope="session")
def shared_tool_3d(window_manager):
    """A 3D tool on a small volume with the shipped model, opened once."""
    from micro_sam.sam_annotator import annotator_3d, get_annotator

    from .volumes import small_volume

    viewer = annotator_3d(small_volume()[0], model_type="nano_lm", return_viewer=True)
    tool = get_annotator(viewer)
    driver.place(viewer)
    assert driver.wait_until(lambda: tool.engine.predictor is not None and not tool.engine.busy, 180), tool.status.text
    yield tool
    driver.close(viewer)


@pytest.fixture
def tool_3d(shared_tool_3d):
    """The 3D tool in the middle of its volume, nothing clicked, nothing committed, all options as at the start."""
    from .volumes import start_again

    start_again(shared_tool_3d)
    yield shared_tool_3d
    shared_tool_3d.saving.unsaved = False


@pytest.fixture(scope="session")
def shared_tool_tracking(window_manager):
    """A tracking tool on a small movie with the shipped model, opened once."""
    from micro_sam.sam_annotator import annotator_tracking, get_annotator

    from .movies import small_movie

    viewer = annotator_tracking(small_movie()[0], model_type="nano_lm", return_viewer=True)
    tool = get_annotator(viewer)
    driver.place(viewer)
    assert driver.wait_until(lambda: tool.engine.predictor is not None and not tool.engine.busy, 180), tool.status.text
    yield tool
    driver.close(viewer)


@pytest.fixture
def tool_tracking(shared_tool_tracking):
    """The tracking tool in the first frame of its movie, nothing clicked, nothing committed."""
    from .movies import start_again

    start_again(shared_tool_tracking)
    yield shared_tool_tracking
    shared_tool_tracking.saving.unsaved = False


@pytest.fixture
def opened(window_manager):
    """Opens further windows and closes them after the test: ``opened(annotator_2d, image, ...)`` -> the tool."""
    viewers = []

    def start(function, *args, **kwargs):
        from micro_sam.sam_annotator import get_annotator

        viewer = function(*args, return_viewer=True, **kwargs)
        viewers.append(viewer)
        driver.place(viewer)
        return get_annotator(viewer)

    yield start
    for viewer in viewers:
        driver.close(viewer)


needs_xdotool = pytest.mark.skipif(shutil.which("xdotool") is None, reason="xdotool is not installed")
