"""``micro_sam.training`` with the calls of micro-sam 1.8."""

import numpy as np
import pytest
import torch

from micro_sam import automatic_segmentation, training
from micro_sam.compat.training import LabelledImages
from micro_sam.errors import InputError
from micro_sam.instance_segmentation import InstanceSegmentationWithDecoder


def test_a_loader_is_where_the_files_are(folder):
    loader = training.default_sam_loader(
        raw_paths=folder / "images",
        raw_key="*.tif",
        label_paths=folder / "labels",
        label_key="*.tif",
        patch_shape=(128, 128),
        batch_size=2,
        with_segmentation_decoder=True,
        shuffle=True,
        num_workers=1,
        n_samples=8,
    )
    assert isinstance(loader, LabelledImages) and len(loader) == 4 and loader.ignored == ("num_workers", "shuffle")
    assert loader.source.images == (str(folder / "images" / "*.tif"),)
    files = (folder / "images", "*.tif", folder / "labels", "*.tif")
    dataset = training.default_sam_dataset(*files, patch_shape=(128, 128), with_segmentation_decoder=True)
    assert isinstance(dataset, LabelledImages) and dataset.source == loader.source
    with pytest.raises(InputError, match="save the arrays"):
        training.default_sam_loader(raw_paths=[np.zeros(3)], raw_key=None, label_paths="a", label_key=None)
    with pytest.raises(InputError, match="pattern"):
        training.default_sam_loader(raw_paths="a.h5", raw_key="raw", label_paths="b.h5", label_key="labels")


def test_arguments_that_cannot_be_are_said_before_the_training(folder):
    loader = LabelledImages(("a.tif",), ("b.tif",))
    with pytest.raises(InputError, match="default_sam_loader"):
        training.train_sam(name="x", model_type="nano_lm", train_loader=torch.utils.data.DataLoader([1]))
    with pytest.raises(InputError, match="no argument n_epoch"):
        training.train_sam("x", "nano_lm", train_loader=loader, n_epoch=3)
    with pytest.raises(InputError, match="image encoder"):
        training.train_sam("x", "nano_lm", train_loader=loader, freeze=["mask_decoder"])
    with pytest.raises(InputError, match="configuration"):
        training.train_sam_for_configuration("x", loader, configuration="abacus")


@pytest.mark.slow
def test_a_training_with_the_call_of_1_8_writes_a_checkpoint_that_opens(folder, tmp_path):
    loader = training.default_sam_loader(
        raw_paths=folder / "images", raw_key="*.tif", label_paths=folder / "labels", label_key="*.tif", n_samples=1
    )
    path = training.train_sam(
        name="test",
        model_type="nano_lm",
        train_loader=loader,
        val_loader=loader,
        n_epochs=1,
        n_objects_per_batch=2,
        n_sub_iteration=2,
        freeze=["image_encoder"],
        device="cpu",
        save_root=tmp_path,
    )
    assert path == tmp_path / "checkpoints" / "test" / "best.pt"
    own, segmenter = automatic_segmentation.get_predictor_and_segmenter("nano_lm", path, segmentation_mode="ais")
    assert isinstance(segmenter, InstanceSegmentationWithDecoder) and own.model_type == "nano"
    training.export_instance_segmentation_model(path, tmp_path / "exported.pt", "nano_lm")
    exported, decoder = automatic_segmentation.get_predictor_and_segmenter(
        "nano_lm", tmp_path / "exported.pt", segmentation_mode="ais"
    )
    assert isinstance(decoder, InstanceSegmentationWithDecoder) and exported.model_type == "nano"


@pytest.mark.slow
def test_only_the_decoders_are_trained(folder, tmp_path):
    loader = training.default_sam_loader(
        raw_paths=folder / "images", raw_key="*.tif", label_paths=folder / "labels", label_key="*.tif", n_samples=1
    )
    path = training.train_instance_segmentation(
        "test", "nano_lm", loader, loader, n_epochs=1, n_objects_per_batch=2, device="cpu", save_root=tmp_path
    )
    _, segmenter = automatic_segmentation.get_predictor_and_segmenter("nano_lm", path, segmentation_mode="ais")
    assert isinstance(segmenter, InstanceSegmentationWithDecoder)
