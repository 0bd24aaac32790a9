"""Scripts as they were written for micro-sam 0.0.2 to 1.8, run with real windows."""

import contextlib

import numpy as np
import pytest

from micro_sam.errors import InputError

from . import driver

pytestmark = pytest.mark.window


def disc(shape=(64, 80)) -> np.ndarray:
    image = np.full(shape, 20, "uint8")
    y, x = np.mgrid[: shape[-2], : shape[-1]]
    image[..., (y - 30) ** 2 + (x - 40) ** 2 <= 15**2] = 200
    return image


@pytest.fixture
def run(monkeypatch):
    """Starts a script's window: ``napari.run`` returns at once instead of waiting for the user."""
    import napari

    from micro_sam.sam_annotator import get_annotator

    monkeypatch.setattr(napari, "run", lambda *_, **__: None)
    viewers = []

    def start(script):
        script()
        viewers.append(napari.current_viewer())
        driver.place(viewers[-1])
        return viewers[-1]

    yield start
    for viewer in viewers:
        with contextlib.suppress(InputError):
            tool = get_annotator(viewer)
            tool.saving.unsaved = False
            driver.wait_until(lambda tool=tool: not tool.engine.busy and tool.jobs.running() is None, timeout=60)
        driver.close(viewer)


@pytest.mark.parametrize("name", ["annotator_2d", "annotator_3d", "annotator_tracking"])
def test_the_annotators_start_with_the_calls_of_0_0_2(run, tmp_path, name):
    import micro_sam.sam_annotator as tools
    from micro_sam.util import get_sam_model, precompute_image_embeddings

    image = disc() if name == "annotator_2d" else disc((2, 64, 80))
    embedding_path = tmp_path / "embeddings.zarr"
    if name == "annotator_2d":  # computed before, by a script
        predictor = get_sam_model(model_type="nano_lm")
        precompute_image_embeddings(predictor, image, str(embedding_path))
    before = {path: path.stat().st_mtime_ns for path in embedding_path.rglob("features/*")}

    def script():
        getattr(tools, name)(image, str(embedding_path), show_embeddings=False, model_type="nano_lm")

    tool = tools.get_annotator(run(script))
    assert driver.wait_until(lambda: tool.engine.predictor is not None and not tool.engine.busy), tool.status.text
    assert tool.session.shape == image.shape
    assert tool.state.settings.embedding_path == str(embedding_path) and embedding_path.exists()
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())  # nothing was computed again
    with pytest.raises(InputError, match="segmentation_result="):
        getattr(tools, name)(image, None, np.zeros(image.shape, "uint32"))


def test_a_window_of_ones_own_is_built_with_the_names_of_0_0_2(run, tmp_path):
    import napari

    from micro_sam.sam_annotator.util import create_prompt_menu, prompt_layer_to_points, toggle_label
    from micro_sam.segment_from_prompts import segment_from_points
    from micro_sam.util import (
        get_cell_center_coordinates,
        get_sam_model,
        precompute_image_embeddings,
        set_precomputed,
    )

    bound = {}

    def script():
        image = disc()
        predictor = get_sam_model(model_type="nano_lm")
        embeddings = precompute_image_embeddings(predictor, image, save_path=str(tmp_path / "embeddings.zarr"))
        set_precomputed(predictor, embeddings)
        viewer = napari.Viewer()
        viewer.add_image(image)
        viewer.add_labels(np.zeros(image.shape, "uint32"), name="segmented_object")
        prompts = viewer.add_points(
            data=[[30.0, 40.0], [5.0, 5.0]],
            name="prompts",
            features={"label": ["positive", "negative"]},
            feature_defaults={"label": "positive"},
        )
        viewer.window.add_dock_widget(create_prompt_menu(prompts, ["positive", "negative"]))

        @viewer.bind_key("s")
        def segment(viewer):
            points, labels = prompt_layer_to_points(prompts)
            mask = segment_from_points(predictor, points, labels)
            viewer.layers["segmented_object"].data = mask.squeeze().astype("uint32")

        @viewer.bind_key("t")
        def toggle(_viewer):
            toggle_label(prompts)

        bound.update(segment=segment, toggle=toggle)
        napari.run()

    viewer = run(script)
    found = viewer.layers["segmented_object"]
    bound["segment"](viewer)
    expected = disc() > 100
    assert ((found.data > 0) & expected).sum() / ((found.data > 0) | expected).sum() > 0.7
    centre, box = (values[1] for values in get_cell_center_coordinates(found.data))
    assert np.abs(np.subtract(centre, (30, 40))).max() < 4 and np.abs(np.subtract(box, (15, 25, 46, 56))).max() < 8
    bound["toggle"](viewer)
    assert viewer.layers["prompts"].feature_defaults["label"].iloc[0] == "negative"
