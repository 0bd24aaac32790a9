"""The window's names of micro-sam 0.0.2 to 1.8: widgets to dock, ``image=``, prompts in layers."""

import contextlib
import inspect
import subprocess
import sys

import numpy as np
import pytest

from micro_sam.errors import InputError

from . import driver

pytestmark = pytest.mark.window


@pytest.fixture
def viewer():
    import napari

    from micro_sam.sam_annotator import get_annotator

    viewer = napari.Viewer()
    yield viewer
    with contextlib.suppress(InputError):  # a viewer without a tool
        tool = get_annotator(viewer)
        tool.saving.unsaved = False
        driver.wait_until(lambda: not tool.engine.busy and tool.jobs.running() is None, timeout=60)
    driver.close(viewer)


def test_points_and_boxes_of_a_layer_are_prompts(viewer):
    from micro_sam.sam_annotator import util

    points = viewer.add_points(
        [[0, 1, 2], [0, 5, 6], [1, 7, 8]],
        features={"label": ["positive", "negative", "negative"], "track_id": [1, 2, 1]},
        feature_defaults={"label": "positive", "track_id": 1},
        name="prompts",
    )
    found, labels = util.prompt_layer_to_points(points, 0)
    assert found.tolist() == [[1, 2], [5, 6]] and labels.tolist() == [1, 0]
    assert util.point_layer_to_prompts(points, 0, track_id=1)[0].tolist() == [[1, 2]]
    assert util.point_layer_to_prompts(points, 1) is None
    util.toggle_label(points)
    assert points.feature_defaults["label"][0] == "negative"
    menu = util.create_prompt_menu(points, ["positive", "negative"])
    assert menu[0].value == "negative"
    menu[0].value = "positive"
    assert points.feature_defaults["label"][0] == "positive"
    util.toggle_label(points)
    assert menu[0].value == "negative"
    shapes = viewer.add_shapes([[[1, 2], [1, 8], [5, 8], [5, 2]]], shape_type="rectangle")
    shapes.add_polygons([[[10, 10], [10, 20], [20, 20]]])
    boxes, masks = util.shape_layer_to_prompts(shapes, (30, 30))
    assert boxes[0].tolist() == [1, 2, 5, 8] and masks[0] is None and masks[1][12, 16] and not masks[1][18, 12]
    assert len(util.prompt_layer_to_boxes(shapes)) == 2
    with pytest.raises(InputError, match="no feature 'label'"):
        util.prompt_layer_to_points(viewer.add_points([[1, 2]]))


@pytest.mark.parametrize("name", ["Annotator2d", "Annotator3d", "AnnotatorTracking"])
def test_a_tool_is_docked_into_a_viewer_that_is_open(viewer, name):
    import micro_sam.sam_annotator as tools

    image = np.zeros((64, 64) if name == "Annotator2d" else (3, 64, 64), "uint8")
    image[..., 20:40, 20:40] = 200
    viewer.add_image(image, name="mine")
    widget = getattr(tools, name)(viewer, model_type="nano_lm", device="cpu")
    viewer.window.add_dock_widget(widget)
    assert tools.get_annotator(viewer) is widget.annotator
    assert widget.annotator.session.shape == image.shape
    assert any(layer.name.startswith("committed_") for layer in viewer.layers)


def test_an_empty_viewer_gets_a_tool_that_waits_for_an_image(viewer):
    import micro_sam.sam_annotator as tools

    widget = tools.Annotator2d(viewer, model_type="nano_lm", device="cpu")
    viewer.window.add_dock_widget(widget)
    assert widget.annotator.session is None
    with pytest.raises(InputError, match="no model"):
        tools.Annotator2d(viewer, model_type="vit_x")


def test_image_is_another_name_of_raw(viewer):
    import micro_sam.sam_annotator as tools

    for name in ("annotator_2d", "annotator_3d", "annotator_tracking"):
        parameters = inspect.signature(getattr(tools, name)).parameters
        assert {"image", "raw", "decoder_path", "prefer_decoder"} <= set(parameters)
    with pytest.raises(InputError, match="two names"):
        tools.annotator_2d(np.zeros((8, 8)), image=np.zeros((8, 8)), model_type="nano_lm")
    with pytest.raises(InputError, match="no weights at"):
        tools.annotator_2d(image=np.zeros((8, 8)), model_type="nano_lm", decoder_path="nowhere.pt")
    image = np.zeros((64, 64), "uint8")
    image[20:40, 20:40] = 200
    tools.annotator_2d(
        image=image, model_type="nano_lm", device="cpu", viewer=viewer, return_viewer=True, prefer_decoder=False
    )
    assert tools.get_annotator(viewer).state.settings.prefer_decoder is False


def test_nothing_of_torchvision_is_imported_with_the_widgets():
    code = (
        "import napari, sys; viewer = napari.Viewer(show=False); from micro_sam.sam_annotator import Annotator2d; "
        "widget = Annotator2d(viewer, model_type='nano_lm', device='cpu'); "
        "print('torchvision' in sys.modules or 'segment_anything' in sys.modules); viewer.close()"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert out.stdout.split()[-1:] == ["False"], out.stderr[-2000:]
