"""Whole workflows with the calls of micro-sam 1.8: automatic segmentation, tracking, training, evaluation, commands."""

import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from micro_sam import automatic_segmentation, evaluation, multi_dimensional_segmentation, training
from micro_sam.cli import automatic_segmentation as command
from micro_sam.compat.training import LabelledImages
from micro_sam.errors import InputError
from micro_sam.evaluation.evaluation import run_evaluation_for_iterative_prompting
from micro_sam.instance_segmentation import InstanceSegmentationWithDecoder
from micro_sam.segmentation.automatic_masks import AutomaticMaskGenerator
from micro_sam.segmentation.dense import DenseInstanceSegmenter


@pytest.fixture(scope="module")
def folder(blobs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for name, values in (("images", blobs[0]), ("labels", blobs[1].astype("uint16"))):
        (folder / name).mkdir()
        imageio.imwrite(folder / name / "a.tif", values)
        imageio.imwrite(folder / name / "b.tif", values[::-1].copy())
    return folder


def test_a_mode_chooses_the_segmenter(predictor):
    choose = automatic_segmentation.get_predictor_and_segmenter
    for arguments, kind in (
        ({"segmentation_mode": "amg", "points_per_side": 4}, AutomaticMaskGenerator),
        ({"amg": True}, AutomaticMaskGenerator),
        ({"segmentation_mode": "ais", "points_per_side": 4}, InstanceSegmentationWithDecoder),
        ({"amg": False}, InstanceSegmentationWithDecoder),
        ({}, DenseInstanceSegmenter),
    ):
        own, segmenter = choose("nano_lm", predictor=predictor, **arguments)
        assert own is predictor and type(segmenter) is kind
    assert isinstance(choose("nano_lm", None, "cpu", True, points_per_side=2)[1], AutomaticMaskGenerator)


def test_an_image_is_segmented_with_the_arguments_of_1_8(predictor, blobs, folder, tmp_path):
    own, segmenter = automatic_segmentation.get_predictor_and_segmenter(
        "nano_lm", segmentation_mode="ais", predictor=predictor
    )
    labels, embeddings = automatic_segmentation.automatic_instance_segmentation(
        predictor=own,
        segmenter=segmenter,
        input_path=folder / "images" / "a.tif",
        output_path=tmp_path / "out.tif",
        embedding_path=tmp_path / "a.zarr",
        ndim=2,
        verbose=False,
        return_embeddings=True,
        batch_size=2,
        center_distance_threshold=0.6,
        min_size=50,
    )
    assert labels.max() == 4 and np.array_equal(imageio.imread(tmp_path / "out.tif"), labels)
    assert "features" in embeddings and (tmp_path / "a.zarr").exists()


def test_outside_of_a_mask_nothing_is_segmented(predictor, blobs):
    image, mask = blobs[0], np.zeros(blobs[0].shape, bool)
    mask[:80, :104] = True
    _, segmenter = automatic_segmentation.get_predictor_and_segmenter(
        "nano_lm", segmentation_mode="ais", is_tiled=True, predictor=predictor
    )
    labels = automatic_segmentation.automatic_instance_segmentation(
        predictor, segmenter, image, mask_path=mask, tile_shape=(80, 104), halo=(20, 20), ndim=2, verbose=False
    )
    assert labels[:80, :104].any() and not labels[80:].any() and not labels[:, 104:].any()


def test_annotating_ones_own_weights_says_how(predictor):
    own = type("Own", (), {"model_name": "mine"})()
    with pytest.raises(InputError, match="checkpoint_path"):
        automatic_segmentation.automatic_instance_segmentation(own, None, np.zeros((8, 8)), annotate=True)


def test_a_movie_is_tracked(predictor, blobs, tmp_path):
    movie = np.stack([np.roll(blobs[0], 2 * t, 1) for t in range(3)])
    _, segmenter = automatic_segmentation.get_predictor_and_segmenter(
        "nano_lm", segmentation_mode="ais", predictor=predictor
    )
    tracks, lineages = automatic_segmentation.automatic_tracking(
        predictor, segmenter, movie, tmp_path / "tracks", verbose=False, tracking_model="general_2d", min_size=50
    )
    assert tracks.shape == movie.shape and len(lineages) == 4 and (tmp_path / "tracks" / "res_track.txt").exists()
    assert multi_dimensional_segmentation.get_napari_track_data(tracks, lineages)[0].shape == (12, 4)


def test_inference_from_prompts_and_corrections_is_evaluated(predictor, folder, tmp_path):
    images, truths = (sorted((folder / name).glob("*.tif")) for name in ("images", "labels"))
    evaluation.precompute_all_embeddings(predictor, images, tmp_path / "embeddings")
    assert (tmp_path / "embeddings" / "a.zarr").exists()
    evaluation.run_inference_with_prompts(
        predictor, images, truths, tmp_path / "embeddings", tmp_path / "boxes", True, True, 1, 1
    )
    table = evaluation.run_evaluation(truths, sorted((tmp_path / "boxes").glob("*.tif")), verbose=False)
    assert table["SA50"].item() > 0.9
    evaluation.run_inference_with_iterative_prompting(
        predictor,
        images,
        truths,
        tmp_path / "embeddings",
        tmp_path / "clicks",
        start_with_box_prompt=False,
        n_iterations=2,
        use_masks=True,
    )
    table = run_evaluation_for_iterative_prompting(truths, tmp_path / "clicks", tmp_path, use_masks=True)
    assert table["iteration"].tolist() == [0, 1] and table["SA50"].iloc[-1] > 0.7
    assert len(list((tmp_path / "results").glob("*.csv"))) == 1


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


def test_the_command_takes_the_options_of_1_8(folder, tmp_path, capsys):
    arguments = ["-o", str(tmp_path / "out.tif"), "-m", "nano_lm", "-d", "cpu", "--no-verbose"]
    arguments += ["--input_path", str(folder / "images" / "a.tif")]
    assert command.main([*arguments, "--mode", "ais", "--center_distance_threshold", "0.6", "--min_size", "50"]) == 0
    assert imageio.imread(tmp_path / "out.tif").max() == 4
    assert command.main([*arguments, "--mode", "amg", "--points_per_side", "4"]) == 0
    assert command.main([*arguments, "--mode", "ais", "--pred_iou_thresh", "0.6"]) == 2
    assert "center_distance_threshold" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main([*arguments, "--center_distance", "0.6"])  # an abbreviation


def test_a_folder_with_a_pattern_as_key_is_a_stack(folder, tmp_path):
    from micro_sam.cli import precompute_embeddings

    output = tmp_path / "stack.zarr"
    arguments = ["-i", str(folder / "images"), "-e", str(output), "-m", "nano_lm", "-d", "cpu", "-k", "*.tif"]
    assert precompute_embeddings.main([*arguments, "--precompute_amg_state"]) == 0
    import h5py
    import zarr

    assert zarr.open(output, mode="r")["features"].shape[0] == 2
    with h5py.File(output / "is_state.h5") as file:
        assert set(file) == {"state-0", "state-1"}


def test_the_training_command_takes_the_options_of_1_8(folder, tmp_path):
    from micro_sam.cli import _train_as_1_x, train

    options = train.build_parser().parse_args(
        ["--images", str(folder / "images"), "--labels", str(folder / "labels"), "--image_key", "*.tif"]
        + ["--label_key", "*.tif", "--n_epochs", "3", "-s", str(tmp_path), "--trained_model_name", "mine"]
        + ["--segmentation_decoder", "instances", "--num_workers", "2", "--patch_shape", "512", "512", "-m", "vit_b"]
    )
    _train_as_1_x.translate(options)
    assert options.steps == 150 and options.dense_head == "add" and options.images == [str(folder / "images" / "*.tif")]
    assert options.output == str(tmp_path / "checkpoints" / "mine" / "best.safetensors")
