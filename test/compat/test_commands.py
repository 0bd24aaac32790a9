"""The commands of micro-sam 1.8: each of its options is taken or refused with a sentence, none is guessed."""

import importlib

import h5py
import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile

from micro_sam.cli import automatic_segmentation as command

# as ``-h`` of the commands of 1.8.14 lists them
ANNOTATOR = (
    "-i --input -k --key -e --embedding_path -s --segmentation_result -sk --segmentation_key -m --model_type "
    "-c --checkpoint --decoder_path -d --device --tile_shape --halo --precompute_amg_state --prefer_decoder"
)
OPTIONS = {
    "annotator_2d": ANNOTATOR,
    "annotator_3d": ANNOTATOR,
    "annotator_tracking": (
        "-i --input -k --key -e --embedding_path -m --model_type -c --checkpoint --decoder_path -d --device "
        "--tile_shape --halo"
    ),
    "image_series_annotator": (
        "-i --input_folder -o --output_folder -p --pattern --initial_segmentation_folder "
        "--initial_segmentation_pattern -e --embedding_path -m --model_type -c --checkpoint -d --device "
        "--is_volumetric --tile_shape --halo --precompute_amg_state --prefer_decoder --skip_segmented"
    ),
    "info": "--download",
    "precompute_embeddings": (
        "-i --input_path -e --embedding_path --pattern -k --key -m --model_type -c --checkpoint --tile_shape --halo "
        "-n --ndim -p --precompute_amg_state"
    ),
    "automatic_segmentation": (
        "-i --input_path -o --output_path -e --embedding_path --pattern -k --key -m --model_type -c --checkpoint "
        "--tile_shape --halo -n --ndim --mode --annotate -d --device --tracking -v --verbose"
    ),
    "train": (
        "--images --labels --image_key --label_key --val_images --val_labels --val_image_key --val_label_key "
        "--configuration --segmentation_decoder -d --device --patch_shape -m --model_type --checkpoint_path "
        "-s --save_root --trained_model_name --output_path --n_epochs --num_workers --batch_size --preprocess"
    ),
    "evaluate": "--labels --predictions --label_key --prediction_key -o --output_path --threshold -v --verbose",
}


@pytest.mark.parametrize("command", OPTIONS)
def test_every_option_is_taken_and_none_is_abbreviated(command, capsys):
    parser = importlib.import_module(f"micro_sam.cli.{command}").build_parser()
    assert not parser.allow_abbrev
    missing = [name for name in OPTIONS[command].split() if name not in parser._option_string_actions]
    assert not missing
    longest = max(OPTIONS[command].split(), key=len)
    with pytest.raises(SystemExit):
        parser.parse_args([longest[:-1], "x"])
    capsys.readouterr()


@pytest.fixture
def results(tmp_path):
    labels = np.zeros((40, 50), "uint16")
    labels[5:15, 5:15], labels[20:35, 20:40] = 1, 2
    for name in ("truth", "found"):
        (tmp_path / name).mkdir()
        for k in range(2):
            tifffile.imwrite(tmp_path / name / f"{name}_{k}.tif", labels)
    return tmp_path


def test_results_are_evaluated_with_the_options_of_1_8(results, capsys):
    from micro_sam.cli.evaluate import main

    folders = ["--labels", str(results / "truth"), "--predictions", str(results / "found")]
    keys = ["--label_key", "truth_*.tif", "--prediction_key", "found_*.tif"]
    assert main([*folders, *keys, "--output_path", str(results / "figures.csv"), "-v"]) == 0
    assert "mean of 2: mSA 1.0000" in capsys.readouterr().out and (results / "figures.csv").exists()
    files = [[str(results / name / f"{name}_{k}.tif") for k in range(2)] for name in ("truth", "found")]
    assert main(["--labels", *files[0], "--predictions", *files[1]]) == 0
    assert main(["--labels", *files[0], "--predictions", files[1][0]]) == 2
    assert "2 label images of the truth, but 1" in capsys.readouterr().err
    assert main([*folders, "--label_key", "none_*.tif"]) == 2 and "Nothing matches" in capsys.readouterr().err
    assert main([*folders, "--threshold", "0.5"]) == 2 and "SA50" in capsys.readouterr().err


def test_labels_in_containers_are_evaluated(results, capsys):
    from micro_sam.cli.evaluate import main

    with h5py.File(results / "truth.h5", "w") as file:
        file["labels/truth"] = tifffile.imread(results / "truth" / "truth_0.tif")
    arguments = ["--labels", str(results / "truth.h5"), "--label_key", "labels/truth"]
    assert main([*arguments, "--predictions", str(results / "found" / "found_0.tif")]) == 0
    assert "mean of 1: mSA 1.0000" in capsys.readouterr().out


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
    import zarr

    assert zarr.open(output, mode="r")["features"].shape[0] == 2
    with h5py.File(output / "is_state.h5") as file:
        assert set(file) == {"state-0", "state-1"}


def test_the_training_command_takes_the_options_of_1_8(folder, tmp_path):
    from micro_sam.cli import train
    from micro_sam.cli._fields import read_options
    from micro_sam.cli._train_options import TrainOptions, translate

    options = read_options(
        train.build_parser(),
        TrainOptions,
        ["--images", str(folder / "images"), "--labels", str(folder / "labels"), "--image_key", "*.tif"]
        + ["--label_key", "*.tif", "--n_epochs", "3", "-s", str(tmp_path), "--trained_model_name", "mine"]
        + ["--segmentation_decoder", "instances", "--num_workers", "2", "--patch_shape", "512", "512", "-m", "vit_b"],
    )
    translate(options)
    assert options.settings.steps == 150 and options.settings.dense_head == "add"
    assert options.images == (str(folder / "images" / "*.tif"),)
    assert options.output == str(tmp_path / "checkpoints" / "mine" / "best.safetensors")
