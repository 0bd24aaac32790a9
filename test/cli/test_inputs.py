"""Commands read what the reader reads, stay lazy where it does, and end with one sentence for what is damaged."""

import numpy as np
import pytest
import tifffile
import zarr

from micro_sam.cli import automatic_segmentation, evaluate, precompute_embeddings
from micro_sam.io.formats.geojson import geojson_bytes
from micro_sam.io.labels import load_labels, save_labels
from micro_sam.sample_data import open_sample


@pytest.fixture(scope="module")
def coins() -> np.ndarray:
    return open_sample("coins").image[:200, :240]


def test_a_zarr_is_segmented(coins, tmp_path):
    array = zarr.create_array(str(tmp_path / "a.zarr"), shape=coins.shape, chunks=(100, 100), dtype=coins.dtype)
    array[...] = coins
    out = tmp_path / "labels.tif"
    assert automatic_segmentation.main(["-i", str(tmp_path / "a.zarr"), "-o", str(out), "-m", "nano_lm"]) == 0
    assert load_labels(out, shape=coins.shape).any()


def test_a_chunk_that_is_damaged_ends_commands_with_a_sentence(coins, tmp_path, capsys):
    array = zarr.create_array(str(tmp_path / "a.zarr"), shape=coins.shape, chunks=(100, 100), dtype=coins.dtype)
    array[...] = coins
    chunk = tmp_path / "a.zarr" / "c" / "1" / "1"
    chunk.write_bytes(chunk.read_bytes()[:200])
    for command, output in ((automatic_segmentation, "labels.tif"), (precompute_embeddings, "cache.zarr")):
        arguments = ["-i", str(tmp_path / "a.zarr"), "-o", str(tmp_path / output), "-m", "nano_lm"]
        assert command.main(arguments) == 2
        assert "damaged" in capsys.readouterr().err


def test_a_cut_stack_is_not_embedded(tmp_path, capsys):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 40, 56), "uint16"), imagej=True, metadata={"axes": "ZYX"})
    raw = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(raw[: len(raw) // 2])
    arguments = ["-i", str(tmp_path / "a.tif"), "-o", str(tmp_path / "cache.zarr"), "-m", "nano_lm"]
    assert precompute_embeddings.main(arguments) == 2
    assert "20 pages" in capsys.readouterr().err and not (tmp_path / "cache.zarr").exists()


def test_one_of_several_images_is_chosen_with_the_key(tmp_path, capsys):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 40, 56), "uint16"), metadata={"axes": "RYX"})
    arguments = ["-i", str(tmp_path / "a.tif"), "-o", str(tmp_path / "cache.zarr"), "-m", "nano_lm"]
    assert precompute_embeddings.main(arguments) == 2
    assert "which one" in capsys.readouterr().err
    assert precompute_embeddings.main([*arguments, "-k", "1"]) == 0


def test_labels_of_neighbours_are_evaluated(tmp_path, capsys):
    labels = np.zeros((40, 56), "uint8")
    labels[5:20, 5:20], labels[25:35, 30:50] = 1, 2
    save_labels(tmp_path / "truth.tif", labels)
    (tmp_path / "qupath.geojson").write_bytes(geojson_bytes(labels))
    np.save(tmp_path / "img_seg.npy", {"masks": labels}, allow_pickle=True)
    for name in ("qupath.geojson", "img_seg.npy"):
        assert evaluate.main(["-l", str(tmp_path / "truth.tif"), "-s", str(tmp_path / name)]) == 0
        assert "mSA 1.0000" in capsys.readouterr().out
