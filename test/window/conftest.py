"""One real napari window for all tests, on a virtual or real screen, driven with real mouse and key events."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import logging
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import micro_sam
from micro_sam.sam_annotator.view.frame import card_was_read

from . import driver


def pytest_collection_modifyitems(config, items):
    """Window tests need a screen: without one they are skipped, and say so."""
    reason = None
    if os.environ.get("QT_QPA_PLATFORM") == "offscreen":
        reason = "napari's canvas needs OpenGL, which Qt's offscreen platform does not have; use xvfb-run"
    elif os.name == "posix" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        reason = "there is no screen (DISPLAY is not set); use xvfb-run"
    places = [k for k, item in enumerate(items) if "test/window/" in str(item.path).replace(os.sep, "/")]
    for item in (items[k] for k in places):
        item.add_marker(pytest.mark.window)
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))
    # Tests that share a window follow each other, so that each kind of window is opened once.
    grouped = sorted((items[k] for k in places), key=_window_of)
    for k, item in zip(places, grouped, strict=True):
        items[k] = item


def _window_of(item) -> int:
    kinds = ("tool", "tool_3d", "tool_tracking")
    asked = item.callspec.params.values() if hasattr(item, "callspec") else ()  # for `request.getfixturevalue`
    names = {*item.fixturenames, *(name for name in asked if isinstance(name, str))}
    return next((k for k, kind in enumerate(kinds) if names & {kind, f"shared_{kind}"}), len(kinds))


@pytest.fixture(scope="session", autouse=True)
def log_level():
    """A test that fails shows all that the status line said."""
    logging.getLogger("micro_sam").setLevel(logging.INFO)


@pytest.fixture(scope="session", autouse=True)
def own_cache_directory(tmp_path_factory):
    """Models, recovery files and samples of the tests do not mix with those of the person."""
    old = os.environ.get("MICROSAM_CACHEDIR")
    os.environ["MICROSAM_CACHEDIR"] = str(tmp_path_factory.mktemp("cache"))
    card_was_read()
    yield
    if old is None:
        del os.environ["MICROSAM_CACHEDIR"]
    else:
        os.environ["MICROSAM_CACHEDIR"] = old


@pytest.fixture(scope="session", autouse=True)
def plugin():
    """napari knows this program's plugin, also from an environment that was made before it had one.

    Before the first window: those that are closed do not bear another plugin.
    """
    from npe2 import PluginManager, PluginManifest

    manager = PluginManager.instance()
    if "micro_sam" not in manager:
        manager.register(PluginManifest.from_file(Path(micro_sam.__file__).with_name("napari.yaml")))


@pytest.fixture(scope="session")
def application():
    """Qt's application, made as napari makes it."""
    from napari.qt import get_qapp

    return get_qapp()


@pytest.fixture(autouse=True)
def dialogs(application):
    """Modal dialogs are answered as the test says (`driver.answer`); any other one is an error of the test."""
    with driver.dialogs_answered():
        yield


@pytest.fixture(autouse=True)
def exceptions():
    """An exception that a slot lets out is an error of the test; without napari's event loop, PyQt would abort."""
    raised: list[BaseException] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "excepthook", lambda kind, error, trace: raised.append(error))
        yield
    if raised:
        raise raised[0]


@pytest.fixture(scope="session")
def window_manager(application):
    """A window manager gives the window the keyboard; bare X servers (xvfb) have none."""
    with driver.window_manager():
        yield


@pytest.fixture(scope="session")
def coins() -> np.ndarray:
    """A real image: 24 coins, (303, 384) uint8."""
    from micro_sam.sample_data import open_sample

    return open_sample("coins").image


class KnownFeatures:
    """What the network said about images of earlier tests, by their pixels: most tests begin with the same images."""

    MOST = 100  # images, of 5 MB

    def __init__(self) -> None:
        self._known: dict[tuple, object] = {}

    @contextlib.contextmanager
    def used(self):
        """Meanwhile the encoder of the model itself is run on new images only."""
        from micro_sam.models.predictor import Predictor

        real = Predictor.encode_batch

        def encode_batch(predictor, images):
            images = list(images)
            network = (predictor.model_hash, predictor.precision, predictor.backend, predictor.model.dense_head is None)
            keys = [(*network, image.shape, image.tobytes()) for image in images]
            new = [k for k, key in enumerate(keys) if key not in self._known]
            found = [self._known.get(key) for key in keys]
            for k, features in zip(new, real(predictor, [images[k] for k in new]) if new else (), strict=True):
                found[k] = features
            for key, features in zip(keys, found, strict=True):
                self._known.pop(key, None)
                self._known[key] = features
            for key in list(self._known)[: -self.MOST]:
                self._known.pop(key, None)
            return [dataclasses.replace(features) for features in found]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Predictor, "encode_batch", encode_batch)
            yield


@pytest.fixture(scope="session")
def all_known_features():
    """Features of the images of earlier tests."""
    return KnownFeatures()


@pytest.fixture(autouse=True)
def known_features(all_known_features):
    """To encode images again that earlier tests had costs more than all else in a window."""
    with all_known_features.used():
        yield


class Garbage:
    """What earlier tests left: a full collection takes half of the processor time of a reset."""

    def __init__(self) -> None:
        self._left = 0

    @contextlib.contextmanager
    def left(self):
        """Meanwhile it is only set aside when an image is open, and collected every tenth time."""
        from micro_sam.sam_annotator.runtime.garbage import GarbageTimer

        self._left = (self._left + 1) % 10
        with pytest.MonkeyPatch.context() as patch:
            if self._left:
                patch.setattr(GarbageTimer, "settle", lambda _: gc.freeze())
            yield


@pytest.fixture(scope="session")
def all_garbage():
    """What earlier tests left."""
    return Garbage()


@pytest.fixture(autouse=True)
def garbage(all_garbage):
    """Most tests do not wait for what others left."""
    with all_garbage.left():
        yield


class SharedWindow:
    """At most one window that several tests use: a window costs seconds under software OpenGL."""

    def __init__(self) -> None:
        self.function = None
        self.tool = None

    def get(self, function, image):
        """The tool that `function` opens on `image`; a window of another tool is closed first."""
        from micro_sam.sam_annotator import get_annotator

        if self.function is not function:
            self.close()
            viewer = function(image() if callable(image) else image, model_type="nano_lm", return_viewer=True)
            self.function, self.tool = function, get_annotator(viewer)
            driver.place(viewer)
            tool = self.tool
            is_ready = driver.wait_until(lambda: tool.engine.predictor is not None and not tool.engine.busy)
            assert is_ready, tool.status.text
        return self.tool

    def close(self) -> None:
        """Close the window, if there is one."""
        tool, self.function, self.tool = self.tool, None, None
        if tool is not None:
            driver.close(tool.viewer)


@pytest.fixture(scope="session")
def shared_window(window_manager):
    """The window that tests share."""
    window = SharedWindow()
    yield window
    window.close()


@pytest.fixture
def shared_tool(shared_window, coins):
    """A 2D tool with the shipped model."""
    from micro_sam.sam_annotator import annotator_2d

    return shared_window.get(annotator_2d, coins)


@pytest.fixture
def tool(shared_tool, coins):
    """The 2D tool on the coins, as it is right after the start: nothing clicked, nothing committed."""
    from micro_sam.sam_annotator.state.images import from_array

    driver.reset(shared_tool, from_array(coins, "2d", "coins"))
    yield shared_tool
    shared_tool.saving.unsaved = False


@pytest.fixture
def shared_tool_3d(shared_window):
    """A 3D tool on a small volume with the shipped model."""
    from micro_sam.sam_annotator import annotator_3d

    from .volumes import small_volume

    return shared_window.get(annotator_3d, lambda: small_volume()[0])


@pytest.fixture
def tool_3d(shared_tool_3d):
    """The 3D tool in the middle of its volume, nothing clicked, nothing committed, all options as at the start."""
    from .volumes import start_again

    start_again(shared_tool_3d)
    yield shared_tool_3d
    shared_tool_3d.saving.unsaved = False


@pytest.fixture
def shared_tool_tracking(shared_window):
    """A tracking tool on a small movie with the shipped model."""
    from micro_sam.sam_annotator import annotator_tracking

    from .movies import small_movie

    return shared_window.get(annotator_tracking, lambda: small_movie()[0])


@pytest.fixture
def tool_tracking(shared_tool_tracking):
    """The tracking tool in the first frame of its movie, nothing clicked, nothing committed."""
    from .movies import start_again

    start_again(shared_tool_tracking)
    yield shared_tool_tracking
    shared_tool_tracking.saving.unsaved = False


@pytest.fixture
def opened(shared_window):
    """Opens further windows and closes them after the test: ``opened(annotator_2d, image, ...)`` -> the tool."""
    shared_window.close()
    viewers = []

    def start(function, *args, place=True, **kwargs):
        from micro_sam.sam_annotator import get_annotator

        viewer = function(*args, return_viewer=True, **kwargs)
        viewers.append(viewer)
        if place:
            driver.place(viewer)
        return get_annotator(viewer)

    yield start
    for viewer in viewers:
        driver.close(viewer)


needs_xdotool = pytest.mark.skipif(shutil.which("xdotool") is None, reason="xdotool is not installed")
