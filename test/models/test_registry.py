"""The registry of models, the folders they lie in, and the devices they run on."""

import subprocess
import sys

import pytest
import torch

from micro_sam.errors import InputError, ModelError
from micro_sam.models import cache
from micro_sam.models.device import available_devices, get_device, resolve_precision
from micro_sam.models.download import fetch
from micro_sam.models.modules.architectures import ARCHITECTURES
from micro_sam.models.registry import (
    EARLIER_WEIGHTS,
    MODELS,
    SHIPPED_DATE,
    get_architecture_name,
    get_model_names,
    get_spec,
    models,
)


@pytest.fixture(autouse=True)
def empty_machine(tmp_path, monkeypatch):
    """A machine on which no weights were ever downloaded."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.setenv("MICROSAM_CACHEDIR", str(tmp_path / "cache"))
    monkeypatch.delenv("SAM_MODELS", raising=False)


def test_originals_come_first_and_the_shipped_model_is_among_them():
    names = get_model_names()
    assert names[:4] == ["vit_h", "vit_l", "vit_b", "vit_t"]
    assert "nano_lm" in names and "vit_b_lm" in names and len(names) == 15


@pytest.mark.parametrize("spec", MODELS.values(), ids=lambda spec: spec.name)
def test_every_model_can_be_had_and_recognised(spec):
    assert spec.architecture in ARCHITECTURES
    assert spec.family in ("sam", "mobilesam", "microscopy") and spec.licence and spec.description
    for weights in filter(None, (spec.weights, spec.decoder)):
        if spec.shipped:
            assert cache.find_file(weights).is_file()
            continue
        assert weights.url.startswith("https://")
        assert len(weights.xxh128) == 32 and (weights.sha256 is None or len(weights.sha256) == 64)


def test_no_two_files_share_a_hash_or_a_name():
    files = [w for spec in MODELS.values() for w in (spec.weights, spec.decoder) if w is not None]
    assert len({w.filename for w in files}) == len(files)
    hashes = [w.xxh128 for w in files if w.xxh128]
    assert len(set(hashes)) == len(hashes)


def test_a_fine_tuned_model_has_a_decoder_of_its_own():
    spec = get_spec("vit_b_lm")
    assert spec.has_dense_head and spec.decoder.filename == "vit_b_lm_decoder"
    assert spec.decoder.url.endswith("diplomatic-bug/1.2/files/vit_b_decoder.pt")
    assert not get_spec("vit_h").has_dense_head and get_spec("nano_lm").has_dense_head


@pytest.mark.parametrize("name", ["vit_x", "", None])
def test_an_unknown_model_is_an_error_that_lists_the_names(name):
    with pytest.raises(InputError, match=r"vit_h, vit_l.*nano_lm"):
        get_spec(name)


def test_the_weights_of_a_day_have_a_name(tmp_path):
    assert get_spec(f"nano_lm@{SHIPPED_DATE}") == get_spec("nano_lm")
    date, hashed = next(iter(EARLIER_WEIGHTS.items()))
    spec = get_spec(f"nano_lm@{date}")
    assert spec.architecture == "nano" and spec.weights.xxh128 == hashed and cache.find_local(spec) is None
    assert cache.model_hash(cache.find_local(get_spec("nano_lm"))) not in EARLIER_WEIGHTS.values()
    place = tmp_path / "cache" / "models" / f"nano_lm@{date}.safetensors"
    with pytest.raises(ModelError, match=f"earlier versions.*nano_lm has those of {SHIPPED_DATE}") as error:
        fetch(spec.weights)
    assert str(place) in str(error.value) and hashed in str(error.value)
    place.parent.mkdir(parents=True)
    place.write_bytes(b"other weights")
    with pytest.raises(ModelError, match="is not the published"):
        fetch(spec.weights)
    with pytest.raises(InputError, match=f"2020-01-01.*{SHIPPED_DATE}"):
        get_spec("nano_lm@2020-01-01")


def test_a_type_is_the_name_of_a_model_or_of_an_architecture():
    assert [get_architecture_name(name) for name in ("vit_b_lm", "vit_h", "nano", "nano_lm")] == [
        "vit_b",
        "vit_h",
        "nano",
        "nano",
    ]


def test_status_tells_what_is_here(tmp_path):
    assert models()["vit_h"] == "downloadable" and models()["nano_lm"] == "shipped"
    (tmp_path / "cache" / "models").mkdir(parents=True)
    (tmp_path / "cache" / "models" / "vit_h").write_bytes(b"weights")
    assert models()["vit_h"] == "cached"


@pytest.mark.parametrize("name", ["vit_b", "vit_b.pth", "sam_vit_b_01ec64.pth"])
@pytest.mark.parametrize("place", ["cache/models", "old", "home/.sam_models"])
def test_weights_are_found_under_their_usual_names_in_old_and_new_folders(tmp_path, monkeypatch, name, place):
    monkeypatch.setenv("SAM_MODELS", str(tmp_path / "old"))
    path = tmp_path / place / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    assert cache.find_local(get_spec("vit_b")) == path
    assert cache.find_local(get_spec("vit_l")) is None


def test_cache_directory_follows_the_environment(tmp_path, monkeypatch):
    assert cache.get_cache_directory() == tmp_path / "cache"
    assert cache.get_model_directory() == tmp_path / "cache" / "models"
    monkeypatch.setenv("SAM_MODELS", str(tmp_path / "old"))
    assert cache.get_cache_directory() == tmp_path / "cache"
    monkeypatch.delenv("MICROSAM_CACHEDIR")
    assert cache.get_cache_directory() == cache.get_model_directory() == tmp_path / "old"
    monkeypatch.delenv("SAM_MODELS")
    assert "micro_sam" in cache.get_cache_directory().parts
    monkeypatch.setenv("MICROSAM_CACHEDIR", "~/here")
    assert cache.get_cache_directory() == tmp_path / "home" / "here"


def test_the_registry_is_read_without_torch():
    code = "import sys, micro_sam.models.registry; print('torch' in sys.modules, 'numpy' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["False", "False"]


def test_automatic_device_is_the_best_there_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert get_device() == get_device("auto") == torch.device("cpu")
    assert available_devices() == ["cpu"]
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert get_device() == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert get_device() == torch.device("cuda")
    assert get_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ValueError, match=r"cuda:2.*2 CUDA GPU.*'cuda:0', 'cuda:1', 'mps', 'cpu'"):
        get_device("cuda:2")


@pytest.mark.parametrize("name", ["cuda:1", "mps", "gpu", "", "meta"])
def test_a_device_that_is_not_here_is_a_value_error_that_names_those_that_are(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError, match="'auto', 'cpu'"):
        get_device(name)


def test_precision_is_exact_on_a_cpu_and_fast_where_the_gpu_has_it(monkeypatch):
    assert resolve_precision("auto", "cpu") == resolve_precision("auto", "mps") == "fp32"
    for capability, expected in (("AVX2", "fp32"), ("AVX512", "bf16")):
        monkeypatch.setattr("platform.machine", lambda: "x86_64")
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda c=capability: c)
        assert resolve_precision("bf16", "cpu") == expected
    for capability, expected in (((9, 0), "bf16"), ((8, 0), "bf16"), ((7, 5), "fp16")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, c=capability: c)
        assert resolve_precision("auto", "cuda") == expected
    for precision in ("fp16", "int8"):
        with pytest.raises(InputError):
            resolve_precision(precision, "cpu")
