"""Models as ONNX files: what ONNX Runtime computes with them, and when they are not written."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from micro_sam.errors import InputError, ModelError, OutputError
from micro_sam.models.build import build_model, get_sam_model
from micro_sam.models.export import export_model, onnx_folder
from micro_sam.models.modules.unetr_decoder import UNETRDecoder
from micro_sam.models.predictor import Predictor

pytest.importorskip("onnx", reason='needs the extra "export" (onnx, onnxruntime)')
pytest.importorskip("onnxruntime", reason='needs the extra "export" (onnx, onnxruntime)')

from micro_sam.models.export import graphs
from micro_sam.models.export.runtime import OnnxSam
from micro_sam.models.export.tracing import plain_copy, write_graph
from micro_sam.models.export.verify import prompt_cases, sample_image, verify


@pytest.fixture(scope="module")
def predictor():
    predictor = get_sam_model("nano_lm", device="cpu", precision="fp32")
    predictor.model.decode_window = None  # exports decode on the whole grid
    return predictor


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folder as the command writes it, in a process of its own, and the modules that this imported."""
    folder = tmp_path_factory.mktemp("export") / "new" / "nano_lm"
    code = (
        "import sys, torch; torch.set_num_threads(1); from micro_sam.cli.export import main\n"
        f"assert main(['-m', 'nano_lm', '-o', {str(folder)!r}]) == 0\n"
        "print({'torchvision', 'triton', 'segment_anything', 'napari'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [str(folder), "set()"]
    assert "agrees with the model" in run.stderr
    return folder


@pytest.fixture(scope="module")
def onnx_sam(exported):
    return OnnxSam(exported)


def test_the_folder_holds_the_files_and_says_how_to_feed_them(exported):
    assert sorted(p.name for p in exported.iterdir()) == ["decoder.onnx", "encoder.onnx", "model.json"]
    assert [p.name for p in exported.parent.iterdir()] == ["nano_lm"]  # no leftovers beside it
    known = json.loads((exported / "model.json").read_text())
    assert (known["name"], known["image_size"], known["grid_size"], known["opset"]) == ("nano_lm", 512, 64, 17)
    assert known["licence"] == "MIT" and known["weights_xxh128"]


@pytest.mark.parametrize("shape", [(303, 384), (700, 200)])
def test_features_and_dense_maps_are_the_predictors_for_any_shape_of_image(predictor, onnx_sam, shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    ours = predictor.encode(image)
    features, dense = onnx_sam.encode(image)
    np.testing.assert_allclose(features, ours.features.numpy(), atol=1e-3)
    np.testing.assert_allclose(dense[0], ours.dense.numpy(), atol=1e-3)


def test_any_number_of_prompts_and_points_gives_the_predictors_masks(predictor, onnx_sam):
    image = sample_image()
    ours = predictor.encode(image)
    features, _ = onnx_sam.encode(image)
    rng = np.random.default_rng(0)
    for batch, count in ((5, 1), (1, 9)):
        prompts = {
            "points": rng.uniform(0, 300, (batch, count, 2)),
            "labels": rng.integers(0, 2, (batch, count)),
        }
        logits, scores = onnx_sam.decode(features, image.shape[:2], **prompts)
        decoded = predictor.decode(ours, **prompts, multimask_output=True)
        np.testing.assert_allclose(logits[:, 1:], decoded.low_res_logits.numpy(), atol=1e-3)
        np.testing.assert_allclose(scores[:, 1:], decoded.scores.numpy(), atol=1e-3)


def only_prompts(monkeypatch, *names):
    """Checks an export with these kinds of prompts only, to save time."""
    monkeypatch.setattr(
        "micro_sam.models.export.verify.prompt_cases",
        lambda *arguments: {name: case for name, case in prompt_cases(*arguments).items() if name in names},
    )


def test_a_wrong_export_never_gets_its_name(predictor, onnx_sam, exported, tmp_path, monkeypatch):
    def lost_corner(model):  # the lower right of a box goes unmarked; the right encoder is not written again
        monkeypatch.setattr(graphs, "BOX_CORNERS", (2,))
        return {"decoder": make_graphs(model)["decoder"]}

    def load(folder):
        onnx_sam._sessions["decoder"] = OnnxSam(folder)._sessions["decoder"]
        return onnx_sam

    only_prompts(monkeypatch, "one point", "boxes")
    make_graphs, right = onnx_folder.make_graphs, onnx_sam._sessions["decoder"]
    monkeypatch.setattr(onnx_folder, "make_graphs", lost_corner)
    monkeypatch.setattr(onnx_folder, "OnnxSam", load)
    try:
        with pytest.raises(ModelError, match=r"was not kept: boxes by"):
            export_model(predictor, tmp_path / "wrong")
    finally:
        onnx_sam._sessions["decoder"] = right
    assert not list(tmp_path.iterdir())


def test_a_decoder_that_reads_the_features_is_a_file_of_its_own(tmp_path):
    torch.manual_seed(0)
    model = build_model("nano", UNETRDecoder(embed_dim=128)).eval()
    made = onnx_folder.make_graphs(plain_copy(model))
    assert list(made) == ["encoder", "decoder", "dense"]
    assert "dense_maps" not in made["encoder"].outputs and made["dense"].outputs == ["dense_maps"]


def test_exporting_leaves_the_model_as_it_is(predictor):
    copy = plain_copy(predictor.model)
    assert copy is not predictor.model
    assert next(copy.parameters()).data_ptr() != next(predictor.model.parameters()).data_ptr()


def test_weights_that_do_not_fit_into_one_file_lie_beside_it(tmp_path, monkeypatch):
    import onnx

    def export(module, inputs, path, **options):  # as torch does for models of more than 2 GB
        write(module, inputs, path, **options)
        content = onnx.load(path)
        onnx.save_model(content, path, save_as_external_data=True, all_tensors_to_one_file=False, size_threshold=0)

    write = torch.onnx.export
    monkeypatch.setattr(torch.onnx, "export", export)
    x = torch.ones(1, 64)
    linear = torch.nn.Linear(64, 32)
    path = tmp_path / "linear.onnx"
    write_graph(onnx_folder.Graph(linear, {"x": x}, ["y"]), path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["linear.data", "linear.onnx"]
    import onnxruntime

    (y,) = onnxruntime.InferenceSession(path).run(None, {"x": x.numpy()})
    np.testing.assert_allclose(y, linear(x).detach().numpy(), atol=1e-6)


def test_what_exists_is_not_replaced_and_names_must_fit(predictor, tmp_path):
    with pytest.raises(OutputError, match="exists already"):
        export_model(predictor, tmp_path)
    with pytest.raises(InputError, match="Name a folder"):
        export_model(predictor, tmp_path / "nano.onnx")
    with pytest.raises(InputError, match="no format 'tflite'"):
        export_model(predictor, tmp_path / "nano", "tflite")


def test_without_the_extra_the_message_says_what_to_install(predictor, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r'pip install "micro_sam\[export\]"'):
        export_model(predictor, tmp_path / "nano")
    assert not list(tmp_path.iterdir())


def test_the_check_refuses_numbers_that_are_none(predictor, onnx_sam, monkeypatch):
    only_prompts(monkeypatch)

    class Broken(OnnxSam):
        def __init__(self):
            self.known, self._sessions = onnx_sam.known, onnx_sam._sessions

        def encode(self, image):
            features, dense = super().encode(image)
            return features * np.nan, dense

    with pytest.raises(ModelError, match="features by nan"):
        verify(Predictor(plain_copy(predictor.model)), Broken())
