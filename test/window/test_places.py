"""An image layer that is moved, turned, sheared or scaled: prompts and masks lie where the picture lies."""

import napari
import numpy as np
import pytest
from napari.layers import Image, Labels, Points

from micro_sam.sam_annotator import annotator_2d
from micro_sam.sam_annotator.state.images import from_layer, placement_of

from .driver import wait_until

PLACES = {
    "moved": {"translate": (100, 200)},
    "scaled": {"scale": (0.5, 0.25)},
    "turned": {"rotate": 30, "translate": (5, 7)},
    "sheared": {"shear": (0.3,), "scale": (2, 3)},
    "by a matrix": {"affine": np.array([[1.5, 0.2, 30], [-0.4, 2, -8], [0, 0, 1]]), "scale": (0.1, 0.2)},
}
CORNERS = ((0, 0), (39, 0), (0, 55), (20.5, 3.25))


KINDS = {"plain": (40, 56), "colours": (40, 56, 3), "stack of one": (1, 40, 56)}
CASES = [(place, kind) for place in PLACES for kind in KINDS if kind != "stack of one" or place in ("moved", "scaled")]


@pytest.mark.parametrize("place, kind", CASES)
def test_a_layer_goes_where_the_image_lies(place, kind):
    shape, options = KINDS[kind], dict(PLACES[place])
    if kind == "stack of one":
        options = {name: (3.0, *values) for name, values in options.items()}
    layer = Image(np.zeros(shape, "uint8"), rgb=kind == "colours", **options)
    image = from_layer(layer, "2d")
    for mine in (Labels(np.zeros((40, 56), "uint8"), scale=image.scale), Points(ndim=2, scale=image.scale)):
        image.placement.apply(mine)
        for corner in CORNERS:
            wanted = layer.data_to_world((0, *corner) if kind == "stack of one" else corner)[-2:]
            assert np.allclose(mine.data_to_world(corner), wanted)
            assert np.allclose(mine.world_to_data(wanted), corner)


def test_axes_of_a_stack_keep_their_places():
    layer = Image(np.zeros((6, 40, 56)), scale=(2, 0.5, 0.5), translate=(10, 20, 30), rotate=(0, 0, 0))
    placement = placement_of(layer, (0, 1, 2))
    assert np.allclose(placement.matrix[:3, 3], (10, 20, 30)) and np.allclose(placement.matrix[:3, :3], np.eye(3))
    hover = Labels(np.zeros((40, 56), "uint8"), scale=(0.5, 0.5))
    placement.apply(hover)
    assert np.allclose(hover.data_to_world((4, 6)), (22, 33))


def test_all_layers_of_the_tool_lie_on_a_turned_image(opened, coins):
    viewer = napari.Viewer()
    layer = viewer.add_image(coins, name="my image", translate=(100, 200), rotate=20, scale=(0.5, 0.5))
    tool = opened(annotator_2d, layer, model_type="nano_lm", viewer=viewer)
    tool.actions.toggle_hover()
    assert wait_until(lambda: len(viewer.layers) >= 6)
    for other in viewer.layers:
        assert np.allclose(other.data_to_world((80, 120)), layer.data_to_world((80, 120))), other.name


def test_one_of_several_images_is_chosen_in_the_window(opened, tmp_path):
    import tifffile

    path = tmp_path / "positions.ome.tif"
    with tifffile.TiffWriter(path) as file:
        for k in range(3):
            file.write(np.full((40, 56), 50 * k + 50, "uint8"), metadata={"axes": "YX", "Name": f"position {k}"})
    tool = opened(annotator_2d, path, model_type="nano_lm")
    menu = tool.dock.panels.image.panel
    assert [key for key in menu.one_of.choices] == ["0", "1", "2"] and "3 images" in tool.state.image.note
    menu.one_of.value = "2"
    assert wait_until(lambda: tool.state.image.key == "2" and int(np.asarray(tool.layers.raw.data).max()) == 150)
    regions = tmp_path / "regions.tif"
    tifffile.imwrite(regions, np.zeros((2, 40, 56), "uint16"), metadata={"axes": "RYX"})
    tool.actions.open_path(regions)
    assert "which one" in tool.status.text and list(menu.axes.choices) == ["0", "1"]
    menu.axes.value = "1"
    menu.open_as.native.click()
    assert wait_until(lambda: tool.state.image.key == "1" and tool.state.image.path == regions)


def test_outlines_that_are_dropped_onto_an_image_become_objects(opened, coins, tmp_path):
    from micro_sam.io.formats.geojson import geojson_bytes

    labels = np.zeros(coins.shape, "uint8")
    labels[10:30, 10:30] = 4
    path = tmp_path / "cells.geojson"
    path.write_bytes(geojson_bytes(labels))
    tool = opened(annotator_2d, coins, model_type="nano_lm")
    tool.viewer.window._qt_viewer._qt_open([str(path)], stack=False)  # what a dropped file calls
    assert np.array_equal(tool.session.committed, labels)
    tool.viewer.window._qt_viewer._qt_open([str(path)], stack=False)
    assert np.array_equal(tool.session.auto, labels) and "commit" in tool.status.text
