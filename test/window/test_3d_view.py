"""What the 3D tool shows: points, the strip of slices, voxel sizes, corrections by clicking, saved results."""

from __future__ import annotations

import numpy as np
import tifffile

from micro_sam.sam_annotator import annotator_3d
from micro_sam.sam_annotator.view.camera import camera_of

from . import driver
from .driver import click, key, wait_idle, wait_until
from .volumes import FIRST, go_to, menu, middle_of, small_volume


def commit_first(tool) -> int:
    """Segment and commit an object in three slices; its id."""
    z, y, x = middle_of(FIRST)
    for other in (z - 1, z, z + 1):
        tool.session.prompts.add_point((other, y, x))
        tool.session.segment.slice(other)
    return tool.session.objects.commit().ids[0]


def test_points_keep_their_size_and_are_shown_in_their_slice_only(tool_3d):
    tool = tool_3d
    z, y, x = middle_of(FIRST)
    layer = tool.layers.points.layer
    go_to(tool, z)
    click(tool, (z, y, x))
    assert not layer.out_of_slice_display
    assert len(layer._view_data) == 1
    go_to(tool, z + 1)
    assert len(layer._view_data) == 0
    zoom = camera_of(tool.viewer).zoom
    on_screen = float(layer.current_size) * zoom
    camera_of(tool.viewer).zoom = 3 * zoom
    driver.process(0.1)
    assert abs(float(layer.current_size) * 3 * zoom - on_screen) < 0.1 * on_screen
    camera_of(tool.viewer).zoom = zoom


def test_the_strip_shows_where_the_object_is_and_a_click_goes_there(tool_3d):
    tool = tool_3d
    strip = menu(tool).strip
    menu(tool).method.value = "propagation"  # with maps the object is in all slices at once
    z, y, x = middle_of(FIRST)
    go_to(tool, z)
    click(tool, (z, y, x))
    wait_idle(tool)
    assert wait_until(lambda: set(strip.state.confidence) == {z})
    assert strip.state.n == len(small_volume()[0])
    driver.press(strip, strip.centre_of(3).toPoint())
    assert tool.state.z == 3
    assert "your prompts" in strip.describe(z) and "predicted quality" in strip.describe(z)
    assert strip.describe(0) == "slice 0"


def test_w_without_a_run_says_what_to_do(tool_3d):
    key(tool_3d.viewer, "w")
    assert "press V" in tool_3d.status.text


def test_a_committed_object_opens_again_when_it_is_clicked(tool_3d):
    tool = tool_3d
    z, y, x = middle_of(FIRST)
    object_id = commit_first(tool)
    go_to(tool, z)
    driver.press(menu(tool).corrections.correct)
    assert menu(tool).corrections.correct.isChecked()
    click(tool, (2, 2, 2))
    assert tool.session.objects.reopened is None, "a click beside all objects opens none"
    click(tool, (z, y, x))
    assert tool.session.objects.reopened == object_id, tool.status.text
    assert not menu(tool).corrections.correct.isChecked()
    # The next click is a prompt again.
    click(tool, (z, y + 3, x))
    assert len(tool.session.prompts.drawn.points) == 4


def test_an_object_at_work_is_not_mixed_with_one_that_is_opened_again(tool_3d):
    tool = tool_3d
    z, y, x = middle_of(FIRST)
    commit_first(tool)
    go_to(tool, z)
    click(tool, (z, 2, 2))
    wait_idle(tool)
    driver.press(menu(tool).corrections.correct)
    assert "There is a current object" in tool.status.text and tool.session.objects.reopened is None
    assert not menu(tool).corrections.correct.isChecked() and not tool.state.corrects


def test_voxel_size_reaches_all_layers_and_clicks_still_hit(opened, tmp_path):
    path = tmp_path / "stack.ome.tif"
    volume = small_volume()[0][4:9]
    sizes = {"PhysicalSizeZ": 2.5, "PhysicalSizeY": 0.5, "PhysicalSizeX": 0.5}
    tifffile.imwrite(path, volume, metadata={"axes": "ZYX", **sizes}, ome=True)
    tool = opened(annotator_3d, path, model_type="nano_lm")
    assert {tuple(layer.scale) for layer in tool.viewer.layers} == {(2.5, 0.5, 0.5)}
    z, y, x = middle_of(FIRST)
    go_to(tool, z - 4)
    assert tool.state.z == z - 4
    click(tool, (z - 4, y, x))
    (point,) = tool.session.prompts.drawn.points
    assert point.z == z - 4
    assert np.abs(np.array(point.position[1:]) - (y, x)).max() < 1.5


def test_a_saved_result_is_opened_and_corrected(opened, tmp_path):
    volume, labels = small_volume()
    path = tmp_path / "objects.tif"
    tifffile.imwrite(path, labels[4:9].astype(np.uint16))
    tool = opened(annotator_3d, volume[4:9], model_type="nano_lm", segmentation_result=path)
    assert wait_until(lambda: tool.engine.predictor is not None and not tool.engine.busy), tool.status.text
    z, y, x = middle_of(FIRST)
    tool.actions.reopen(FIRST)
    go_to(tool, z - 4)
    click(tool, (z - 4, y, x))
    wait_idle(tool)
    before = tool.session.current.copy()
    key(tool.viewer, "v")
    wait_idle(tool)
    unchanged = [i for i in range(5) if i != z - 4]
    assert np.array_equal(tool.session.current[unchanged], before[unchanged]), "only corrected slices are done again"
    key(tool.viewer, "c")
    assert (tool.session.committed == FIRST).any()
    tool.actions.save(tmp_path / "corrected.tif")
    assert np.array_equal(tifffile.imread(tmp_path / "corrected.tif"), tool.session.committed)


def test_a_file_with_four_axes_is_opened_when_the_person_says_what_they_are(opened, tmp_path):
    volume = small_volume()[0]
    path = tmp_path / "four.tif"
    tifffile.imwrite(path, np.stack([volume, volume[::-1]]))
    tool = opened(annotator_3d, None, model_type="nano_lm")
    menu_of_images = tool.dock.panels.image.panel
    assert not menu_of_images.open_as.native.isVisible()
    tool.viewer.open(str(path))  # as if it was dropped
    assert wait_until(lambda: "nothing says what its axes are" in tool.status.text), tool.status.text
    assert tool.session is None and not len(tool.viewer.layers)
    labels = [menu_of_images.axes.native.itemText(k) for k in range(2)]
    assert labels == ["2 channels of 14 slices (CZYX)", "2 slices with 14 channels (ZCYX)"]
    assert menu_of_images.open_as.native.isVisible()
    driver.press(menu_of_images.open_as.native)
    assert tool.session.shape == volume.shape and tool.state.image.n_channels == 2
    assert np.array_equal(tool.layers.raw.data, volume)
    assert not menu_of_images.open_as.native.isVisible()
