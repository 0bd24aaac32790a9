"""napari's own keys keep their meaning while a tool is open."""

from __future__ import annotations

import numpy as np

from micro_sam.sam_annotator.view.camera import camera_of

from . import driver
from .driver import canvas, click, key, wait_idle
from .volumes import FIRST, go_to, middle_of


def test_ctrl_y_shows_the_volume_in_3d_and_does_nothing_again(tool_3d):
    tool, viewer = tool_3d, tool_3d.viewer
    tool.state.live = False
    place = middle_of(FIRST)
    go_to(tool, place[0])
    click(tool, place)
    key(viewer, "ctrl+z")
    assert tool.session.history.next is not None and not len(tool.session.prompts.drawn)
    for ndisplay in (3, 2):
        key(viewer, "ctrl+y")
        assert viewer.dims.ndisplay == ndisplay and tool.dock.view.in_3d.isChecked() == (ndisplay == 3)
        assert tool.session.history.next is not None and not len(tool.session.prompts.drawn)
    key(viewer, "ctrl+shift+z")
    assert len(tool.session.prompts.drawn) == 1


def test_ctrl_g_shows_the_layers_side_by_side_and_ctrl_r_the_whole_image(tool):
    viewer, camera = tool.viewer, camera_of(tool.viewer)
    for enabled in (True, False):
        key(viewer, "ctrl+g")
        assert viewer.grid.enabled == enabled
    fitted = camera.zoom
    driver.wheel(canvas(viewer), 3)
    assert camera.zoom > 1.1 * fitted
    key(viewer, "ctrl+r")
    assert np.isclose(camera.zoom, fitted, rtol=0.1)
    click(tool, (60, 100))
    wait_idle(tool)
    assert tool.session.current[60, 100] == 1
