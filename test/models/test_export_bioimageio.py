"""Packages for the BioImage Model Zoo: what they hold, that bioimageio.core accepts them, and when it does not."""

import io
import json
import zipfile

import imageio.v3 as imageio
import numpy as np
import pytest

from micro_sam.errors import InputError, ModelError, OutputError
from micro_sam.models.build import get_sam_model
from micro_sam.models.export import bioimageio_package as package
from micro_sam.models.export import export_model, find_card
from micro_sam.models.export.tracing import plain_copy, require_packages
from micro_sam.models.export.verify import sample_image
from micro_sam.models.predictor import Predictor


@pytest.fixture(scope="module", autouse=True)
def packages():
    try:
        require_packages()
        return package._require_bioimageio()
    except ModelError as error:
        pytest.skip(f'needs the extra "export": {error}')


@pytest.fixture(scope="module")
def predictor():
    predictor = get_sam_model("nano_lm", device="cpu", precision="fp32")
    predictor.model.decode_window = None  # exports decode on the whole grid
    return predictor


@pytest.fixture(scope="module")
def exported(predictor, tmp_path_factory):
    path = tmp_path_factory.mktemp("package") / "new" / "nano_lm.zip"
    assert export_model(predictor, path, "bioimageio", card=find_card("nano_lm"), authors=["Jane Doe"]) == path
    assert [p.name for p in path.parent.iterdir()] == ["nano_lm.zip"]  # no leftovers beside it
    return path


@pytest.fixture(scope="module")
def description(exported, packages):
    _, spec = packages
    with spec.ValidationContext(perform_io_checks=False, log_warnings=False):
        loaded = spec.load_model_description(exported)
    return json.loads(loaded.model_dump_json())


def test_the_description_names_licence_authors_citations_and_opset(description):
    assert description["name"] == "nano_lm" and description["license"] == "MIT"
    assert [author["name"] for author in description["authors"]] == ["Jane Doe"]
    assert {"10.1109/ICCV51070.2023.00371", "10.1038/s41592-024-02580-4"} <= {c["doi"] for c in description["cite"]}
    assert description["weights"]["onnx"]["opset_version"] == 17
    assert [t["id"] for t in description["inputs"]] == ["image", "point_coords", "point_labels"]
    assert [t["id"] for t in description["outputs"]] == ["low_res_masks", "iou_predictions", "dense_maps"]


def test_the_documentation_is_the_model_card_and_says_how_to_feed_the_model(exported):
    with zipfile.ZipFile(exported) as content:
        text = content.read("README.md").decode()
        cover = imageio.imread(io.BytesIO(content.read("cover.png")))
        size = content.getinfo("cover.png").file_size
    assert text.startswith(find_card("nano_lm").rstrip())
    assert "## Validation" in text and "512 x 512" in text and "(2, 3)" in text
    height, width, _ = cover.shape
    assert width == 2 * height and size < 500_000  # as bioimage.io asks for
    assert np.array_equal(cover[:, :height], sample_image()[:height, :height])
    assert not np.array_equal(cover[:, height:], cover[:, :height])  # masks are painted on it


def test_test_outputs_are_the_predictors(exported, predictor):
    with zipfile.ZipFile(exported) as content:
        arrays = {
            name: np.load(io.BytesIO(content.read(f"{name}.npy")))
            for name in ("image", "point_coords", "point_labels", "low_res_masks", "dense_maps")
        }
    assert arrays["image"].shape == (1, 3, 512, 512) and arrays["point_labels"].tolist() == [[1, 2, 3]]
    ours = predictor.encode(sample_image())
    np.testing.assert_allclose(arrays["dense_maps"][0], ours.dense.numpy(), atol=1e-4)
    scale = np.array(ours.original_size)[::-1] / np.array(ours.input_size)[::-1]
    points = (arrays["point_coords"][0] * scale)[:, ::-1]
    decoded = predictor.decode(ours, points=points[None, :1], labels=[[1]], boxes=points[1:].reshape(1, 4))
    np.testing.assert_allclose(arrays["low_res_masks"][:, :1], decoded.low_res_logits.numpy(), atol=1e-2)


def test_a_package_with_wrong_test_outputs_is_not_accepted(exported, packages, tmp_path):
    wrong = tmp_path / "wrong.zip"
    with zipfile.ZipFile(exported) as old, zipfile.ZipFile(wrong, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "iou_predictions.npy":
                buffer = io.BytesIO()
                np.save(buffer, np.load(io.BytesIO(data)) + np.float32(0.1))
                data = buffer.getvalue()
            new.writestr(name, data)
    with pytest.raises(ModelError, match="does not accept"):
        package._check(*packages, wrong)


def test_weights_of_ones_own_need_no_card_and_no_licence(predictor, tmp_path):
    own = Predictor(plain_copy(predictor.model), "my model.v2/x")
    assert package._name(own.model_name) == "my model_v2_x"
    assert package._short_card(own).startswith("# my model.v2/x\n")
    assert find_card(None, tmp_path / "mine.safetensors") is None
    (tmp_path / "mine.md").write_text("# mine")
    assert find_card(None, tmp_path / "mine.safetensors") == "# mine"


def test_licences_are_spdx_identifiers():
    assert package._licence("CC-BY-4.0", required=True) is not None
    assert package._licence("as published with the weights", required=False) is None
    assert package._licence(None, required=False) is None


def test_what_cannot_be_is_said_before_the_work_begins(predictor, tmp_path):
    with pytest.raises(InputError, match="'free' is no licence"):
        export_model(predictor, tmp_path / "x.zip", "bioimageio", licence="free")
    with pytest.raises(InputError, match=r"does not end in \.zip"):
        export_model(predictor, tmp_path / "x", "bioimageio")
    (tmp_path / "there.zip").touch()
    with pytest.raises(OutputError, match="exists already"):
        export_model(predictor, tmp_path / "there.zip", "bioimageio")
    assert [p.name for p in tmp_path.iterdir()] == ["there.zip"]
