"""Image encoders in other runtimes give PyTorch's features, from an export that is kept."""

import os
import sys

import numpy as np
import pytest
import torch

from micro_sam.errors import InputError, ModelError
from micro_sam.models import backends
from micro_sam.models.backends import BACKENDS, check_backend, export_path
from micro_sam.models.build import get_sam_model
from micro_sam.models.export.verify import sample_image
from micro_sam.models.predictor import Predictor
from micro_sam.models.sam import Sam


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MICROSAM_CACHEDIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "torch"])
def test_the_shipped_model_gives_the_same_features_and_masks(backend, own_cache):
    for package in backends.PACKAGES[backend]:
        pytest.importorskip(package, reason=f"{package} comes with the extra {backend!r}, which is optional")
    image = sample_image()
    reference, predictor = get_sam_model("nano_lm", "cpu"), get_sam_model("nano_lm", backend=backend)
    expected, features = reference.encode(image), predictor.encode(image)
    assert predictor.backend == backend and predictor.device.type == "cpu"
    assert (features.input_size, features.original_size) == (expected.input_size, expected.original_size)
    torch.testing.assert_close(features.features, expected.features, atol=2e-3, rtol=0)
    torch.testing.assert_close(features.dense, expected.dense, atol=2e-3, rtol=0)
    prompts = {"points": np.array([[[60.0, 100.0]]]), "labels": np.ones((1, 1))}
    masks = [p.decode(f, **prompts).low_res_logits > 0 for p, f in ((reference, expected), (predictor, features))]
    assert (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum() > 0.99


def test_the_export_is_written_once(own_cache, monkeypatch):
    for package in backends.PACKAGES["onnx"]:
        pytest.importorskip(package, reason=f"{package} comes with the extra 'onnx', which is optional")
    path = export_path(get_sam_model("nano_lm", backend="onnx"))
    assert path.exists() and path.is_relative_to(own_cache) and os.listdir(path.parent) == ["encoder.onnx"]
    monkeypatch.setattr(backends, "_verify", None)  # would be called if it were written again
    get_sam_model("nano_lm", backend="onnx")


def test_an_export_with_other_features_is_not_kept(own_cache, monkeypatch):
    for package in backends.PACKAGES["onnx"]:
        pytest.importorskip(package, reason=f"{package} comes with the extra 'onnx', which is optional")
    wrong = lambda path, precision: lambda image: (np.zeros((1, 128, 64, 64), "float32"), None)  # noqa: E731
    monkeypatch.setattr(backends, "_RUNTIMES", {"onnx": wrong})
    with pytest.raises(ModelError, match="other features"):
        get_sam_model("nano_lm", backend="onnx")
    assert not list((own_cache / "models" / "encoders").iterdir())


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "torch"])
def test_a_backend_that_is_not_installed_names_the_command_that_installs_it(backend, monkeypatch):
    monkeypatch.setitem(sys.modules, backends.PACKAGES[backend][-1], None)
    with pytest.raises(ModelError, match=rf'pip install "micro_sam\[{backend}\]"'):
        get_sam_model("nano_lm", backend=backend)


@pytest.mark.parametrize(
    "backend, device, precision, message",
    [
        ("tensorflow", "cpu", "fp32", "choose one of torch, openvino, onnx"),
        ("onnx", "cpu", "bf16", "computes in fp32"),
        ("openvino", "cuda", "fp32", "for the CPU"),
    ],
)
def test_what_a_backend_cannot_do_is_said_before_anything_is_loaded(backend, device, precision, message):
    with pytest.raises(InputError, match=message):
        check_backend(backend, device, precision)


def test_a_model_without_a_hash_is_not_exported():
    with pytest.raises(ModelError, match="get_sam_model"):
        export_path(Predictor(Sam.from_architecture("nano")))
