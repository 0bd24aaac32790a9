"""Sections of a volume along y and x: what they show, and that a click in them is a prompt."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from . import driver
from .driver import click, key, wait_idle, wait_until
from .volumes import FIRST, go_to, middle_of, overlap, small_volume


def sections_of(tool):
    """Opens the sections with their button; both."""
    switch = tool.dock.view.sections
    if tool.state.section is None:
        driver.press(switch)
    view = tool.volume.sections.view
    assert wait_until(lambda: view.xz.plane is not None and view.yz.plane is not None)
    assert switch.isChecked() and view.isVisible()
    return view.xz, view.yz


def shows(section, rows: np.ndarray) -> bool:
    return section.plane is not None and np.array_equal(section.plane.image, rows)


def test_sections_go_through_the_last_point_and_show_objects(tool_3d):
    tool = tool_3d
    volume = small_volume()[0]
    z, y, x = middle_of(FIRST)
    tool.layers.raw.contrast_limits = (0, 255)
    go_to(tool, z)
    xz, yz = sections_of(tool)
    click(tool, (z, y, x))
    wait_idle(tool)
    (point,) = tool.session.prompts.drawn.points
    y, x = (round(v) for v in point.position[1:])
    assert tool.state.section == (y, x)
    assert wait_until(lambda: shows(xz, volume[:, y]) and shows(yz, volume[:, :, x]))
    assert wait_until(lambda: np.array_equal(xz.plane.current, tool.session.current[:, y]) and xz.plane.current.any())
    assert [len(section.plane.points) for section in (xz, yz)] == [1, 1]
    key(tool.viewer, "c")
    wait_idle(tool)
    assert wait_until(lambda: np.array_equal(yz.plane.committed, tool.session.committed[:, :, x]))
    assert yz.plane.committed.any() and not yz.plane.current.any()
    driver.press(tool.dock.view.sections)
    assert tool.state.section is None and not tool.volume.sections.view.isVisible()


def test_sections_follow_the_contrast_of_the_image(tool_3d):
    tool = tool_3d
    volume, raw = small_volume()[0].astype(float), tool.layers.raw
    raw.contrast_limits = (0, 255)
    xz, yz = sections_of(tool)
    tool.volume.sections.go_to((3, 40, 50))
    assert wait_until(lambda: shows(xz, volume[:, 40]) and shows(yz, volume[:, :, 50]))
    raw.contrast_limits = (20, 120)
    assert shows(xz, (np.clip((volume[:, 40] - 20) / 100, 0, 1) * 255).round())
    picture = xz._picture.copy()
    raw.gamma = 2
    assert np.array_equal(yz.plane.image, (np.clip((volume[:, :, 50] - 20) / 100, 0, 1) ** 2 * 255).round())
    assert xz._picture != picture
    raw.gamma, raw.contrast_limits = 1, (0, 255)
    assert shows(xz, volume[:, 40])


def test_a_click_in_a_section_is_a_prompt_and_gives_the_object(tool_3d):
    tool = tool_3d
    z, y, x = middle_of(FIRST)
    xz, yz = sections_of(tool)
    tool.actions.go_to_slice(0)
    tool.volume.sections.go_to((0, y, x))
    place = xz.to_screen(z, x)
    driver.press(xz, place.toPoint())
    wait_idle(tool)
    assert tool.state.z == z, tool.status.text
    (point,) = tool.session.prompts.drawn.points
    assert point.positive and point.z == z and np.abs(np.array(point.position[1:]) - (y, x)).max() < 1.5
    assert overlap(tool.session.current > 0, FIRST) > 0.5, tool.status.text
    key(tool.viewer, "t")
    driver.press(yz, yz.to_screen(z + 1, y).toPoint())
    wait_idle(tool)
    assert [p.positive for p in tool.session.prompts.drawn.points] == [True, False]
    key(tool.viewer, "t")
    for _ in range(2):
        key(tool.viewer, "ctrl+z")
    wait_idle(tool)
    assert not len(tool.session.prompts.drawn)


def test_right_click_and_wheel_move_only(tool_3d):
    tool = tool_3d
    xz, yz = sections_of(tool)
    tool.volume.sections.go_to((3, 40, 50))
    assert wait_until(lambda: np.array_equal(xz.plane.committed, tool.session.committed[:, 40]))
    QTest.mouseClick(yz, Qt.MouseButton.RightButton, pos=yz.to_screen(6, 90).toPoint())
    driver.process(0.1)
    y, x = tool.state.section
    assert tool.state.z == 6 and abs(y - 90) <= 1 and x == 50 and not len(tool.session.prompts.drawn)
    where = QPointF(xz.width() / 2, xz.height() / 2)
    turn = QWheelEvent(
        where,
        QPointF(xz.mapToGlobal(where.toPoint())),
        QPoint(),
        QPoint(0, 120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(xz, turn)
    assert tool.state.section == (y + 1, x) and tool.state.z == 6
    before = tool.state.section
    QTest.mouseClick(xz, Qt.MouseButton.LeftButton, pos=QPoint(1, 1))  # beside the picture
    assert tool.state.section == before and not len(tool.session.prompts.drawn)


def test_sections_that_were_closed_by_their_cross_come_again(tool_3d):
    tool = tool_3d
    xz, _ = sections_of(tool)
    dock = xz.parentWidget()
    while not hasattr(dock, "destroyOnClose"):
        dock = dock.parentWidget()
    driver.press(dock.title.close_button)
    assert tool.state.section is None and not tool.dock.view.sections.isChecked() and not xz.isVisible()
    assert sections_of(tool)[0] is xz


def place_in_space(tool, position: tuple[int, int, int]) -> QPoint:
    """Where a position is on the canvas that shows the volume in 3D."""
    node = tool.viewer.window._qt_viewer.canvas.layer_to_visual[tool.layers.raw].node
    x, y, _, w = node.transforms.get_transform("visual", "canvas").map(np.array(position[::-1], float))
    return QPoint(round(x / w), round(y / w))


def test_a_click_in_3d_selects_the_object_in_front_and_places_no_prompt(tool_3d):
    tool = tool_3d
    truth = small_volume()[1]
    tool.session.objects.load((truth == FIRST).astype(tool.session.committed.dtype) * 7)
    tool.actions.use_tool("box")
    driver.press(tool.dock.view.in_3d)
    try:
        assert tool.viewer.dims.ndisplay == 3 and tool.state.mouse == "pick"
        driver.process(0.3)
        driver.press(driver.canvas(tool.viewer), place_in_space(tool, middle_of(FIRST)))
        assert wait_until(lambda: tool.state.selected == (7,)), tool.status.text
        assert not len(tool.session.prompts.drawn)
        key(tool.viewer, "shift+c")
        assert tool.viewer.dims.ndisplay == 3 and tool.state.mouse == "pick"
        driver.press(tool.dock.view.in_3d)
        assert tool.viewer.dims.ndisplay == 2 and tool.state.mouse == "box", "the tool of before"
        tool.viewer.dims.ndisplay = 3
        driver.press(tool.dock.panels.prompts.tools["point"])
        assert tool.viewer.dims.ndisplay == 2 and tool.state.mouse == "point", "prompts are placed in the slices"
    finally:
        tool.viewer.dims.ndisplay = 2
        tool.actions.use_tool("point")
