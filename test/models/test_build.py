"""Models and predictors from names and files."""

import threading

import numpy as np
import pytest
import torch
import xxhash
from torch import nn

from micro_sam.errors import InputError, ModelError
from micro_sam.models import build
from micro_sam.models.build import build_model, build_with_weights, estimate_cost
from micro_sam.models.cache import SHIPPED_WEIGHTS
from micro_sam.models.checkpoints import load_checkpoint, save_checkpoint
from micro_sam.models.modules.unetr_decoder import UNETRDecoder
from micro_sam.models.registry import MODELS, get_spec
from micro_sam.models.spec import ModelSpec, WeightFile
from micro_sam.util import get_sam_model

NANO = SHIPPED_WEIGHTS / "nano_lm.safetensors"


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MICROSAM_CACHEDIR", str(tmp_path / "cache"))
    monkeypatch.delenv("SAM_MODELS", raising=False)
    return tmp_path / "cache" / "models"


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


def test_the_shipped_model_needs_no_network():
    predictor = get_sam_model("nano_lm", device="cpu")
    assert (predictor.model_name, predictor.model_type, predictor.precision) == ("nano_lm", "nano", "fp32")
    assert predictor.model_hash == xxhash.xxh3_128(NANO.read_bytes()).hexdigest()
    assert predictor.model.dense_kind == "offsets" and not predictor.model.training
    assert all(p.dtype == torch.float32 for p in predictor.model.parameters())
    image = predictor.encode(np.zeros((40, 60, 3), np.uint8))
    assert image.features.shape == (1, 128, 64, 64) and torch.isfinite(image.features).all()


def test_what_is_returned_follows_the_flags():
    assert type(get_sam_model("nano_lm", "cpu")).__name__ == "Predictor"
    predictor, sam = get_sam_model("nano_lm", "cpu", return_sam=True)
    assert predictor.model is sam
    predictor, state = get_sam_model("nano_lm", "cpu", return_state=True)
    assert set(state) >= {"model_state", "decoder_state", "architecture"}
    assert len(get_sam_model("nano_lm", "cpu", return_sam=True, return_state=True)) == 3


def test_the_default_model_that_cannot_be_had_names_the_shipped_one(monkeypatch):
    spec = get_spec("vit_h")
    nowhere = WeightFile("vit_h", "http://127.0.0.1:9/vit_h.pth", spec.weights.sha256, spec.weights.xxh128)
    monkeypatch.setitem(MODELS, "vit_h", ModelSpec("vit_h", "vit_h", "sam", "Apache-2.0", nowhere))
    for model_type in ("vit_h", None):
        with pytest.raises(ModelError, match=r"127.0.0.1:9.*sha256 a7bf.*right now: nano_lm.*-m nano_lm"):
            get_sam_model(model_type, "cpu")


def test_a_checkpoint_gives_the_predictor_its_name(tmp_path, vit_t):
    torch.save(vit_t.state_dict(), tmp_path / "my_cells.pt")
    for model_type in ("vit_t", "vit_t_lm", None):
        predictor = get_sam_model(model_type, "cpu", tmp_path / "my_cells.pt")
        assert (predictor.model_name, predictor.model_type) == ("my_cells", "vit_t")
        assert predictor.model.dense_kind is None  # the decoder of the registry was trained with other weights
    with pytest.raises(ModelError, match="type vit_t, but vit_h"):
        get_sam_model("vit_h", "cpu", tmp_path / "my_cells.pt")


def test_what_was_fine_tuned_and_saved_here_can_be_used_as_a_checkpoint(tmp_path):
    model = get_sam_model("nano_lm", "cpu", return_sam=True)[1]
    save_checkpoint(tmp_path / "tuned.safetensors", model, {"name": "tuned"}, half=True)
    predictor, state = get_sam_model("nano_lm", "cpu", tmp_path / "tuned.safetensors", return_state=True)
    assert predictor.model_name == "tuned" and predictor.model.dense_kind == "offsets" and state["name"] == "tuned"
    for ours, theirs in zip(predictor.model.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_decoder_comes_from_the_checkpoint_or_from_a_file_of_its_own(tmp_path, vit_t, decoder):
    torch.save(vit_t.state_dict(), tmp_path / "model.pt")
    torch.save(decoder.state_dict(), tmp_path / "decoder.pt")
    torch.save({"model_state": vit_t.state_dict(), "decoder_state": decoder.state_dict()}, tmp_path / "both.pt")
    apart = get_sam_model("vit_t", "cpu", tmp_path / "model.pt", decoder_path=tmp_path / "decoder.pt")
    together = get_sam_model("vit_t", "cpu", tmp_path / "both.pt")
    features = torch.rand(1, 256, 16, 16)
    with torch.no_grad():
        expected = decoder(features)
        for predictor in (apart, together):
            assert predictor.model.dense_kind == "distances"
            assert torch.equal(predictor.model.dense_from_features(features), expected)


def test_a_published_model_is_used_with_its_decoder(cache_folder, monkeypatch, vit_t, decoder):
    cache_folder.mkdir(parents=True)
    files = []
    for name, state in (("vit_t_lm", vit_t.state_dict()), ("vit_t_lm_decoder", decoder.state_dict())):
        torch.save(state, cache_folder / name)
        xxh128 = xxhash.xxh3_128((cache_folder / name).read_bytes()).hexdigest()
        files.append(WeightFile(name, "http://127.0.0.1:9/x", xxh128=xxh128))
    monkeypatch.setitem(MODELS, "vit_t_lm", ModelSpec("vit_t_lm", "vit_t", "microscopy", "", *files))
    predictor = get_sam_model("vit_t_lm", "cpu")
    assert predictor.model.dense_kind == "distances" and predictor.model_name == "vit_t_lm"
    assert predictor.model_hash == files[0].xxh128


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model_type": "vit_z"}, InputError, "vit_h, vit_l"),
        ({"model_type": "nano_lm", "device": "cuda:77"}, ValueError, "cuda:77"),
        ({"model_type": "nano_lm", "precision": "int4"}, InputError, "int4"),
        ({"model_type": "vit_h", "checkpoint_path": "nowhere.pt"}, ModelError, "no file nowhere.pt"),
        ({"model_type": "vit_h", "decoder_path": "nowhere.pt"}, ModelError, "no file nowhere.pt"),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_fetched(arguments, error, message, monkeypatch):
    monkeypatch.setattr(build, "fetch", lambda *args: pytest.fail("fetched"))
    with pytest.raises(error, match=message):
        get_sam_model(**{"device": "cpu", **arguments})


def test_a_download_shows_progress_in_the_bar_that_is_given(monkeypatch, tmp_path):
    def slow_fetch(weights, progress):
        for done in (3, 7, 10):
            progress(done, 10)
        return NANO

    class Bar:
        total, n, closed = None, 0, False

        def update(self, n):
            self.n += n

        def close(self):
            self.closed = True

    bars = {}
    monkeypatch.setattr(build, "fetch", slow_fetch)
    get_sam_model("nano_lm", "cpu", progress_bar_factory=lambda name: bars.setdefault(name, Bar()))
    assert list(bars) == ["nano_lm"]
    assert (bars["nano_lm"].n, bars["nano_lm"].total, bars["nano_lm"].closed) == (10, 10, True)


def test_weights_are_copied_and_nothing_is_left_to_chance(vit_t, decoder):
    model = build_with_weights("vit_t", vit_t.state_dict(), decoder.state_dict())
    for name, value in vit_t.state_dict().items():
        copy = model.state_dict()[name]
        assert torch.equal(copy, value) and copy.data_ptr() != value.data_ptr()
    constants = dict(vit_t.named_buffers())
    assert all(torch.equal(constants[name], value) for name, value in model.named_buffers() if name in constants)
    assert all(p.requires_grad for p in model.parameters()) and model.dense_kind == "distances"


def test_no_random_numbers_are_drawn_for_weights_that_are_replaced():
    before = torch.get_rng_state()
    with build._NoRandomNumbers():
        nn.Sequential(nn.Linear(9, 9), nn.Conv2d(9, 9, 3), nn.Embedding(9, 9), nn.ConvTranspose2d(9, 9, 2))
        nn.init.trunc_normal_(torch.empty(9, 9))
    assert torch.equal(before, torch.get_rng_state())


def test_another_thread_initialises_its_modules_meanwhile():
    drawn = []
    with build._NoRandomNumbers():
        thread = threading.Thread(target=lambda: drawn.append(nn.Linear(50, 50).weight.std().item()))
        thread.start()
        thread.join()
    assert 0.05 < drawn[0] < 0.12


def test_checkpoints_of_other_programs_may_hold_constants_and_lack_what_nobody_uses(vit_t):
    state = {k: v for k, v in vit_t.state_dict().items() if not k.startswith("image_encoder.head.")}
    state |= {"pixel_mean": torch.zeros(3, 1, 1), "image_encoder.layers.1.attn.attention_bias_idxs": torch.zeros(3)}
    model = build_with_weights("vit_t", state)
    assert model.pixel_mean[0, 0, 0] > 100 and torch.equal(model.mask_decoder.iou_token.weight, state[
        "mask_decoder.iou_token.weight"
    ])  # fmt: skip


def test_cost_grows_with_the_model():
    costs = [estimate_cost(get_spec(name), "cpu") for name in ("nano_lm", "vit_t", "vit_b", "vit_l", "vit_h")]
    seconds, gigabytes = zip(*costs, strict=True)
    assert list(seconds) == sorted(seconds) and list(gigabytes) == sorted(gigabytes)
    assert seconds[-1] > 100 * seconds[0] > 0


@pytest.mark.parametrize("transposed", [False, True])
def test_the_unetr_decoder_has_torch_ems_names_and_gives_three_maps_at_input_size(transposed):
    decoder = UNETRDecoder(embed_dim=16, width=4, transposed=transposed).eval()
    up = "block" if transposed else "conv"
    shapes = {name: tuple(value.shape) for name, value in decoder.state_dict().items()}
    kernel = (2, 2) if transposed else (1, 1)
    assert shapes["base.block.1.weight"] == (32, 16, 3, 3)
    assert shapes[f"deconv1.block.0.{up}.weight"] == ((16, 32) if transposed else (32, 16)) + kernel
    assert shapes["deconv4.block.1.block.weight"] == (4, 4, 3, 3)
    assert shapes["deconv2.block.2.running_var"] == (16,)
    assert shapes["decoder.blocks.2.block.4.weight"] == (4, 4, 3, 3)
    assert shapes[f"decoder.samplers.0.{up}.bias"] == (16,)
    assert shapes[f"deconv_out.{up}.weight"] == (4, 4, *kernel)
    assert shapes["decoder_head.block.1.weight"] == (4, 8, 3, 3) and shapes["out_conv.weight"] == (3, 4, 1, 1)
    assert len(shapes) == 66
    with torch.no_grad():
        maps = decoder(torch.randn(2, 16, 8, 8))
    assert maps.shape == (2, 3, 128, 128) and maps.min() >= 0 and maps.max() <= 1
    twin = UNETRDecoder.for_state(decoder.state_dict())
    twin.load_state_dict(decoder.state_dict())
    with torch.no_grad():
        assert torch.equal(twin.eval()(torch.ones(1, 16, 8, 8)), decoder(torch.ones(1, 16, 8, 8)))


def test_a_decoder_that_cannot_work_from_features_is_refused():
    with pytest.raises(ModelError, match="intermediate layers"):
        UNETRDecoder.for_state({"deconv2.0.block.1.block.weight": torch.zeros(1)})
    with pytest.raises(ModelError, match="not a decoder"):
        UNETRDecoder.for_state({"conv.weight": torch.zeros(1)})


def test_the_decoder_runs_when_its_maps_are_asked_for_and_not_with_every_embedding(vit_t, decoder, monkeypatch):
    model = build_with_weights("vit_t", vit_t.state_dict(), decoder.state_dict())
    monkeypatch.setattr(model.image_encoder, "forward", lambda x: torch.zeros(1, 256, 16, 16))
    with torch.no_grad():
        features, dense = model.encode(torch.zeros(1, 3, 1024, 1024))
        assert dense is None and model.dense_from_features(features).shape == (1, 3, 256, 256)


@pytest.mark.slow
def test_vit_b_is_read_back_from_a_plain_state_dict(tmp_path):
    model = build_model("vit_b")
    torch.save(model.state_dict(), tmp_path / "sam_vit_b.pth")
    assert load_checkpoint(tmp_path / "sam_vit_b.pth").architecture == "vit_b"
    loaded = get_sam_model("vit_b", "cpu", tmp_path / "sam_vit_b.pth", return_sam=True)[1]
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), model.parameters(), strict=True))
