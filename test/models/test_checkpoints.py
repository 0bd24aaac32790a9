"""Files of weights: which are understood, and what is said of those that are not."""

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from micro_sam.errors import InputError, ModelError, OutputError
from micro_sam.models.build import build_model
from micro_sam.models.cache import SHIPPED_WEIGHTS
from micro_sam.models.checkpoints import (
    detect_architecture,
    export_custom_sam_model,
    load_checkpoint,
    load_decoder_state,
    save_checkpoint,
)
from micro_sam.models.modules.unetr_decoder import UNETRDecoder
from micro_sam.util import get_sam_model

NANO = SHIPPED_WEIGHTS / "nano_lm.safetensors"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Hundreds of small copies: on a busy machine threads would wait for each other longer than the work takes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def vit_t(one_thread):
    return build_model("vit_t")


@pytest.fixture(scope="module")
def decoder():
    return UNETRDecoder(width=8).eval()


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MICROSAM_CACHEDIR", str(tmp_path / "cache"))


def same(state, other):
    return state.keys() == other.keys() and all(torch.equal(state[k].float(), other[k].float()) for k in state)


def test_a_plain_state_dict_is_read(vit_t, tmp_path):
    torch.save(vit_t.state_dict(), tmp_path / "model.pth")
    checkpoint = load_checkpoint(tmp_path / "model.pth")
    assert checkpoint.architecture == "vit_t" and same(checkpoint.state_dict, vit_t.state_dict())
    assert checkpoint.decoder_state is None and checkpoint.metadata == {} and len(checkpoint.hash) == 32


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "before PyTorch 1.6"])
def test_a_fine_tuned_checkpoint_is_read_with_its_decoder(vit_t, decoder, tmp_path, new_format):
    content = {
        "model_state": {f"sam.{name}": value for name, value in vit_t.state_dict().items()},
        "decoder_state": decoder.state_dict(),
        "optimizer_state": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-5}]},
        "iteration": 250_000,
        "best_metric": np.float64(0.1),
        "current_metric": np.float32(0.2),
    }
    path = tmp_path / "best.pt"
    torch.save(content, path, _use_new_zipfile_serialization=new_format)
    checkpoint = load_checkpoint(path, "vit_t")
    assert same(checkpoint.state_dict, vit_t.state_dict())
    assert same(checkpoint.decoder_state, decoder.state_dict())
    assert same(load_decoder_state(path), decoder.state_dict())


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"decoder_state": s}, lambda s: {"model_state": s}])
def test_a_decoder_in_a_file_of_its_own_is_read(decoder, tmp_path, wrap):
    torch.save(wrap({**decoder.state_dict(), "encoder.pos_embed": torch.zeros(1)}), tmp_path / "decoder.pt")
    state = load_decoder_state(tmp_path / "decoder.pt")
    assert set(decoder.state_dict()) <= set(state)
    UNETRDecoder.for_state(state)


def test_a_file_without_a_decoder_is_refused_as_one(vit_t, tmp_path):
    torch.save(vit_t.state_dict(), tmp_path / "model.pth")
    with pytest.raises(ModelError, match="holds no decoder"):
        load_decoder_state(tmp_path / "model.pth")


def test_the_shipped_model_is_read_with_its_dense_head():
    checkpoint = load_checkpoint(NANO)
    assert checkpoint.architecture == "nano" and "a.weight" in checkpoint.decoder_state
    assert not any(name.startswith("dense_head") for name in checkpoint.state_dict)


@pytest.mark.parametrize("half", [False, True])
def test_what_is_saved_is_read_again_with_all_that_was_said_of_it(tmp_path, decoder, half):
    model = build_model("vit_t", decoder)
    save_checkpoint(tmp_path / "mine.safetensors", model, {"name": "mine", "training": {"epochs": 3}}, half=half)
    checkpoint = load_checkpoint(tmp_path / "mine.safetensors")
    assert checkpoint.metadata == {
        "name": "mine",
        "training": {"epochs": 3},
        "architecture": "vit_t",
        "dense_head": "distances",
    }
    both = {**checkpoint.state_dict, **{f"dense_head.{k}": v for k, v in checkpoint.decoder_state.items()}}
    expected = model.state_dict()
    assert same(both, {k: v.half() if half else v for k, v in expected.items()})
    assert [path.name for path in tmp_path.iterdir()] == ["mine.safetensors"]


def test_the_architecture_is_found_in_the_tensors(vit_t):
    assert detect_architecture(vit_t.state_dict()) == "vit_t"
    for name, (width, depth) in {"vit_b": (768, 12), "vit_l": (1024, 24), "vit_h": (1280, 32), None: (768, 11)}.items():
        state = {f"image_encoder.blocks.{i}.norm1.weight": torch.zeros(1) for i in range(depth)}
        state["image_encoder.patch_embed.proj.weight"] = torch.zeros(width, 3, 16, 16)
        assert detect_architecture(state) is None  # an encoder alone is no model
        assert detect_architecture({**state, "mask_decoder.iou_token.weight": torch.zeros(1)}) == name


def test_a_model_of_another_type_than_asked_for_is_named_with_both_types():
    with pytest.raises(ModelError, match=r"nano_lm.safetensors holds a model of type nano, but vit_h was asked for"):
        load_checkpoint(NANO, "vit_h")


def write(path, content):
    path.write_bytes(content)


WRONG_FILES = {
    "missing": (lambda path: None, "There is no file"),
    "folder": (lambda path: path.mkdir(), "is a folder"),
    "empty": (lambda path: path.touch(), "is empty"),
    "text": (lambda path: write(path, b"not weights\n" * 100), "is no file of weights"),
    "web page": (lambda path: write(path, b"<!DOCTYPE html><html></html>"), "is a web page"),
    "image": (lambda path: write(path, b"II*\x00" + bytes(5000)), "is no file of weights"),
    "noise": (lambda path: write(path, b"\x80" + np.random.default_rng(0).bytes(5000)), "damaged"),
    "truncated": (lambda path: truncated(path, torch.save), "incomplete: its end is missing"),
    "other archive": (lambda path: zipfile.ZipFile(path, "w").writestr("a.txt", "text"), "no checkpoint of PyTorch"),
    "tensor": (lambda path: torch.save(torch.zeros(3), path), "holds no named weights"),
    "numbers": (lambda path: torch.save({"a": 1}, path), "holds no weights"),
    "other network": (lambda path: torch.save({"conv1.weight": torch.zeros(3)}, path), r"conv1\.weight"),
}


def truncated(path, save):
    save({"a": torch.zeros(10_000)}, path)
    path.write_bytes(path.read_bytes()[:20_000])


@pytest.mark.parametrize("kind", WRONG_FILES)
def test_a_file_that_is_no_model_gets_one_clear_sentence(kind, tmp_path):
    make, message = WRONG_FILES[kind]
    path = tmp_path / "weights.pt"
    make(path)
    with pytest.raises(ModelError, match=message) as error:
        load_checkpoint(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("length", [4, 100, 100_000])
def test_truncated_safetensors_are_named(tmp_path, length):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(NANO.read_bytes()[:length])
    with pytest.raises(ModelError, match="incomplete or damaged"):
        load_checkpoint(path)


def test_safetensors_are_recognised_whatever_they_are_called(tmp_path):
    path = tmp_path / "nano_lm"
    path.write_bytes(NANO.read_bytes())
    assert load_checkpoint(path).architecture == "nano"


def test_plain_text_in_the_metadata_of_others_is_kept(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", {"format": "pt", "size": "3"})
    with pytest.raises(ModelError, match="it holds a"):
        load_checkpoint(tmp_path / "a.safetensors")


class Burglar:
    """Runs a command when it is unpickled without restrictions."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "before PyTorch 1.6"])
def test_a_malicious_file_is_refused_and_nothing_is_run(tmp_path, vit_t, new_format):
    witness = tmp_path / "witness"
    content = {"model_state": vit_t.state_dict(), "extra": Burglar(f"touch {witness}")}
    torch.save(content, tmp_path / "bad.pt", _use_new_zipfile_serialization=new_format)
    with pytest.raises(ModelError, match=r"holds more than weights \(it calls for \w+\.system\)"):
        load_checkpoint(tmp_path / "bad.pt")
    with pytest.raises(ModelError, match="more than weights"):
        load_decoder_state(tmp_path / "bad.pt")
    assert not witness.exists()


@pytest.mark.parametrize("name", ["plain.pth", "plain.safetensors"])
def test_a_fine_tuned_model_is_exported_as_a_plain_state_dict(tmp_path, vit_t, decoder, name):
    content = {"model_state": {f"sam.{k}": v for k, v in vit_t.state_dict().items()}}
    torch.save({**content, "decoder_state": decoder.state_dict(), "epoch": 3}, tmp_path / "best.pt")
    export_custom_sam_model(tmp_path / "best.pt", "vit_t_lm", tmp_path / "new" / name)
    checkpoint = load_checkpoint(tmp_path / "new" / name)
    assert same(checkpoint.state_dict, vit_t.state_dict()) and checkpoint.decoder_state is None
    if name.endswith(".pth"):
        assert same(torch.load(tmp_path / "new" / name, weights_only=True), vit_t.state_dict())
    with pytest.raises(ModelError, match="type vit_t, but vit_b"):
        export_custom_sam_model(tmp_path / "best.pt", "vit_b", tmp_path / "other.pth")
    with pytest.raises(InputError, match="no model 'sam'"):
        export_custom_sam_model(tmp_path / "best.pt", "sam", tmp_path / "other.pth")


def test_an_export_to_where_nothing_can_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        export_custom_sam_model(NANO, "nano_lm", tmp_path / "file" / "model.pth")


def test_weights_that_do_not_fit_their_architecture_are_named(tmp_path, vit_t):
    state = vit_t.state_dict()
    del state["mask_decoder.iou_token.weight"]
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(ModelError, match=r"vit_t: 1 are missing \(mask_decoder.iou_token.weight\)"):
        get_sam_model("vit_t", "cpu", tmp_path / "a.pt")
    torch.save({**vit_t.state_dict(), "mask_decoder.iou_token.weight": torch.zeros(1, 2)}, tmp_path / "b.pt")
    with pytest.raises(ModelError, match="1 have another shape"):
        get_sam_model("vit_t", "cpu", tmp_path / "b.pt")
    torch.save({**vit_t.state_dict(), "adapter.weight": torch.zeros(1)}, tmp_path / "c.pt")
    with pytest.raises(ModelError, match=r"1 are unknown \(adapter.weight\)"):
        get_sam_model("vit_t", "cpu", tmp_path / "c.pt")


def test_metadata_is_json(tmp_path):
    save_checkpoint(tmp_path / "a.safetensors", build_model("nano"), {"figures": {"one click": 0.7}})
    header = Path(tmp_path / "a.safetensors").read_bytes()
    length = int.from_bytes(header[:8], "little")
    assert json.loads(json.loads(header[8 : 8 + length])["__metadata__"]["figures"]) == {"one click": 0.7}


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such permissions")
def test_weights_may_be_read_by_whoever_may_read_other_files(tmp_path):
    """A facility trains, its users segment."""
    save_checkpoint(tmp_path / "mine.safetensors", build_model("nano"))
    (tmp_path / "other").touch()
    assert (tmp_path / "mine.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode
