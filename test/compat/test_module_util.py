"""Names of ``micro_sam.util`` that scripts of micro-sam 1.8 use."""

import numpy as np
import pytest
import torch

from micro_sam import util
from micro_sam.errors import InputError, ModelError
from micro_sam.models.build import build_model
from micro_sam.models.checkpoints import load_checkpoint
from micro_sam.models.peft_sam import PEFT_Sam


def test_every_public_name_is_there():
    for name in util.__all__:
        assert getattr(util, name) is not None
    assert util.VIT_T_SUPPORT is True and set(util.__all__) <= set(dir(util))


def test_a_device_has_the_type_it_was_asked_with():
    assert util.get_device("cpu") == "cpu"
    assert util.get_device(torch.device("cpu")) == torch.device("cpu")
    assert isinstance(util.get_device(), str)
    with pytest.raises(ValueError, match="no device"):
        util.get_device("tpu")


def test_the_table_of_models_tells_addresses_and_hashes():
    table = util.models()
    assert table["nano_lm"] == "shipped" and "nano_lm" not in table.registry
    assert set(table.urls) == set(table.registry) and "vit_b_lm_decoder" in table.registry
    assert table.registry["vit_b"] == "xxh128:6923c33df3637b6a922d7682bfc9a86b"
    assert table.get_url("vit_b").endswith("sam_vit_b_01ec64.pth")
    with pytest.raises(InputError, match="no file 'vit_x'"):
        table.get_url("vit_x")


def test_folders_and_blocks(monkeypatch, tmp_path):
    monkeypatch.setenv("MICROSAM_CACHEDIR", str(tmp_path))
    assert util.microsam_cachedir() == util.get_cache_directory() == tmp_path
    assert util.get_block_shape((3, 100, 2000)) == (3, 100, 256) and util.get_block_shape((5000, 20)) == (1024, 20)
    with pytest.raises(ValueError, match="2 or 3"):
        util.get_block_shape((5,))


def test_progress_goes_to_callbacks_or_to_the_terminal_or_nowhere():
    calls = []
    bar, init, update, close = util.handle_pbar(True, lambda *a: calls.append(a), calls.append)
    init(3, "steps"), update(1), close()
    assert bar is None and calls == [(3, "steps"), 1]
    for verbose in (False, True):
        bar, init, update, close = util.handle_pbar(verbose, None, None)
        init(3, "steps"), update(1), close()
        assert (bar is not None) == verbose


def test_info_is_printed(capsys):
    util.micro_sam_info()
    assert "nano_lm" in capsys.readouterr().out


def test_masks_of_tiles_are_put_together_without_a_shape():
    mask = {"segmentation": torch.ones((4, 4), dtype=torch.bool), "bbox": [0, 0, 4, 4], "predicted_iou": 1.0}
    tile = {"segmentation": torch.ones((4, 2), dtype=torch.bool), "bbox": [0, 0, 2, 4], "predicted_iou": 1.0}
    labels = util.apply_nms([mask | {"global_bbox": [0, 0, 4, 4]}, tile | {"global_bbox": [5, 0, 2, 4]}], 0)
    assert labels.shape == (4, 7) and (labels[:, 4] == 0).all() and labels.max() == 2
    assert util.apply_nms([mask, mask | {"predicted_iou": 0.5}], 0, (6, 6)).max() == 1
    with pytest.raises(InputError, match="give its shape"):
        util.apply_nms([], 0)


def test_a_mask_with_a_leading_axis_is_compared():
    mask = np.zeros((6, 8), bool)
    mask[2:5] = True
    assert util.compute_iou(mask[None], mask) == util.compute_iou(mask, mask[None]) == 1.0


def test_centres_of_cells_as_0_0_2_gave_them():
    labels = np.zeros((10, 10), int)
    labels[2:5, 3:8] = 4
    centers, boxes = util.get_cell_center_coordinates(labels)
    assert centers == {4: (3.0, 5.0)} and boxes == {4: (2, 3, 5, 8)}


def test_sizes_of_a_predictor_can_be_set(predictor, blobs):
    predictor.set_image(np.repeat(blobs[0][..., None], 3, -1))
    assert predictor.original_size == blobs[0].shape and predictor._hash.startswith("xxh128:")
    predictor.original_size = (320, 416)
    assert predictor.is_image_set and predictor.original_size == (320, 416)
    predictor.input_size = None
    assert not predictor.is_image_set and predictor.input_size is None
    assert isinstance(predictor, util.SamPredictor)


def test_models_of_another_form_are_refused_with_a_sentence(tmp_path):
    for arguments in ({"flexible_load_checkpoint": True}, {"num_multimask_outputs": 2}):
        with pytest.raises(InputError, match="not supported"):
            util.get_sam_model("nano_lm", **arguments)
    from micro_sam.models.peft_sam import AdaptFormer

    with pytest.raises(ModelError, match="AdaptFormer are not supported"):
        util.get_sam_model("nano_lm", peft_kwargs={"rank": 2, "peft_module": AdaptFormer})
    with pytest.raises(ModelError, match="QLoRA"):
        util.export_custom_qlora_model(None, "a.pt", "vit_b", "b.pt")


def test_a_checkpoint_is_exported_with_its_decoder_or_without(tmp_path):
    sam = build_model("nano")
    state = {f"model.{name}": value for name, value in sam.state_dict().items() if not name.startswith("dense_head.")}
    path = tmp_path / "best.pt"
    torch.save({"model_state": state, "decoder_state": sam.dense_head.state_dict()}, path)
    util.export_custom_sam_model(path, "nano_lm", tmp_path / "sam.pt", prefix="model.")
    assert load_checkpoint(tmp_path / "sam.pt").decoder_state is None
    for name in ("both.pt", "both.safetensors"):
        util.export_custom_sam_model(path, None, tmp_path / name, True, "model.")
        found = load_checkpoint(tmp_path / name)
        assert found.decoder_state.keys() == sam.dense_head.state_dict().keys() and found.architecture == "nano"
    with pytest.raises(ModelError, match="no decoder"):
        util.export_custom_sam_model(tmp_path / "sam.pt", None, tmp_path / "x.pt", with_segmentation_decoder=True)


@pytest.mark.slow
def test_a_checkpoint_with_low_rank_adapters_is_the_adapted_model(tmp_path):
    torch.manual_seed(0)
    sam = build_model("vit_b")
    adapted = PEFT_Sam(sam, rank=2, update_matrices=["q", "v", "mlp"])
    for name, parameter in adapted.named_parameters():
        if "w_b_linear" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    state = {f"sam.{name}": value for name, value in adapted.sam.state_dict().items()}
    torch.save({"model_state": state}, tmp_path / "best.pt")
    predictor = util.get_sam_model("vit_b", "cpu", tmp_path / "best.pt", peft_kwargs={"rank": 2})
    x = torch.rand(1, 14, 14, 768)  # one window of tokens: each block is asked, in a fraction of the time of an image
    blocks = zip(predictor.model.image_encoder.blocks, adapted.sam.image_encoder.blocks, strict=True)
    with torch.no_grad():
        for opened, trained in blocks:
            expected = trained(x)
            assert torch.allclose(opened(x), expected, atol=1e-4) and not torch.allclose(expected, x, atol=1e-2)


def test_embeddings_have_the_type_that_scripts_name(embeddings):
    assert isinstance(embeddings, util.ImageEmbeddings)
    assert {"features", "input_size", "original_size"} <= set(embeddings)
