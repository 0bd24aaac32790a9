"""Images that lie on disc, or are computed when they are looked at, are images for every function of the library."""

import json

import numpy as np
import pytest
import tifffile
import torch
import zarr

from micro_sam import util
from micro_sam.automatic_segmentation import automatic_instance_segmentation, get_predictor_and_segmenter
from micro_sam.cli.automatic_segmentation import main
from micro_sam.errors import InputError
from micro_sam.evaluation.metrics import compare_labels, run_evaluation
from micro_sam.io.formats import folders, hdf5, numpy_files, tif
from micro_sam.io.images import open_image
from micro_sam.io.labels import load_labels
from micro_sam.multi_dimensional_segmentation import automatic_3d_segmentation, automatic_tracking, track_across_frames
from micro_sam.sample_data import open_sample


@pytest.fixture(scope="module")
def coins():
    return open_sample("coins").image[:160, :200].copy()


@pytest.fixture(scope="module")
def tool():
    return get_predictor_and_segmenter("nano_lm", device="cpu")


@pytest.fixture(autouse=True)
def nothing_is_small(monkeypatch):
    """Files of any size stay on disc."""
    monkeypatch.setattr(tif, "LARGEST_EAGER_TIF", 0)
    monkeypatch.setattr(hdf5, "LARGEST_EAGER_DATASET", 0)
    monkeypatch.setattr(numpy_files, "LARGEST_EAGER_ARRAY", 0)
    monkeypatch.setattr(folders, "LARGEST_EAGER_STACK", 0)


def as_zarr(folder, data):
    zarr.save_array(str(folder / "image.zarr"), data)
    return folder / "image.zarr"


def as_ome_zarr(folder, data):
    group = zarr.open_group(str(folder / "ome.zarr"), mode="w", zarr_format=2)
    group.create_array("0", data=data, chunks=(*(1,) * (data.ndim - 2), 64, 64))
    axes = [{"name": letter, "type": "space"} for letter in "zyx"[-data.ndim :]]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}]
    return folder / "ome.zarr"


def as_n5(folder, data):
    path = folder / "image.n5" / "raw"
    path.mkdir(parents=True)
    size = list(reversed(data.shape))
    about = {"dimensions": size, "blockSize": size, "dataType": str(data.dtype), "compression": {"type": "raw"}}
    (path / "attributes.json").write_text(json.dumps(about))
    block = path.joinpath(*"0" * data.ndim)  # one block holds all
    block.parent.mkdir(parents=True)
    header = np.array([0, data.ndim], ">u2").tobytes() + np.array(size, ">u4").tobytes()
    block.write_bytes(header + data.astype(data.dtype.newbyteorder(">")).tobytes())
    return folder / "image.n5"


def as_hdf5(folder, data):
    import h5py

    with h5py.File(folder / "image.h5", "w") as file:
        file.create_dataset("raw", data=data, chunks=True, compression="gzip")
    return folder / "image.h5"


def as_compressed_tif(folder, data):
    tifffile.imwrite(folder / "image.tif", data, compression="zlib", tile=(64, 64))
    return folder / "image.tif"


def as_plain_tif(folder, data):
    tifffile.imwrite(folder / "plain.tif", data)
    return folder / "plain.tif"


def as_npy(folder, data):
    np.save(folder / "image.npy", data)
    return folder / "image.npy"


def as_slices(folder, data):
    (folder / "slices").mkdir()
    for z, plane in enumerate(data):
        tifffile.imwrite(folder / "slices" / f"{z}.tif", plane)
    return folder / "slices"


FILES = [as_zarr, as_ome_zarr, as_n5, as_hdf5, as_compressed_tif, as_plain_tif, as_npy]


def as_dask(data):
    return pytest.importorskip("dask.array").from_array(data, chunks=(*(1,) * (data.ndim - 2), 64, 64))


ARRAYS = [
    zarr.array,
    as_dask,
    torch.from_numpy,
    lambda data: data.tolist(),
    lambda data: np.frombuffer(data.tobytes(), data.dtype).reshape(data.shape),
]


def ndarray_only(labels):
    assert isinstance(labels, np.ndarray) and labels.dtype == np.uint32
    return labels


@pytest.fixture(scope="module")
def expected(tool, coins):
    labels = automatic_instance_segmentation(*tool, coins, verbose=False)
    assert labels.max() > 3
    return labels


@pytest.mark.parametrize("write", FILES)
def test_every_kind_of_file_is_segmented_by_path_and_by_what_it_holds(tmp_path, tool, coins, expected, write):
    path = write(tmp_path, coins)
    source = open_image(path)
    for image in (path, str(path), source, source.data):
        found = ndarray_only(automatic_instance_segmentation(*tool, image, verbose=False))
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("write", [as_zarr, as_hdf5, as_compressed_tif])
def test_the_command_segments_files_that_stay_on_disc(tmp_path, coins, expected, write, capsys):
    path = write(tmp_path, coins)
    for extra in ([], ["--tile_shape", "96", "96", "--halo", "16", "16"]):
        output = tmp_path / f"labels{len(extra)}.tif"
        call = [
            "-i",
            str(path),
            "-o",
            str(output),
            "-m",
            "nano_lm",
            "-d",
            "cpu",
            "-e",
            str(tmp_path / f"e{len(extra)}"),
        ]
        assert main([*call, *extra]) == 0
        labels = tifffile.imread(output)
        assert labels.shape == coins.shape
        assert f"{len(np.unique(labels)) - 1} objects" in capsys.readouterr().out
        assert extra or np.array_equal(labels, expected)


@pytest.mark.parametrize("wrap", ARRAYS)
def test_every_kind_of_array_is_an_image_for_every_function(tmp_path, tool, coins, expected, wrap):
    predictor, segmenter = tool
    image = wrap(coins)
    np.testing.assert_array_equal(automatic_instance_segmentation(predictor, segmenter, image, verbose=False), expected)
    embeddings = util.precompute_image_embeddings(predictor, image, tmp_path / "e", verbose=False)
    assert embeddings.is_complete()
    same = np.array(image) if isinstance(image, list) else coins  # a list says nothing of the type
    again = util.precompute_image_embeddings(predictor, same, tmp_path / "e", verbose=False)
    assert again.is_complete(), "the same image, whatever holds it"
    segmenter.initialize(image)
    assert segmenter.generate().shape == coins.shape
    for _ in segmenter.iter_initialize(image):
        pass
    assert segmenter.generate().max() > 3
    labels = wrap(expected.astype("int32"))
    np.testing.assert_array_equal(load_labels(labels), expected)
    assert compare_labels(labels, expected)["mSA"] == 1
    assert run_evaluation([labels], [expected], verbose=False)["dice"][0] == 1


@pytest.mark.parametrize("wrap", [*ARRAYS[:2], ARRAYS[3]])
def test_lazy_stacks_are_segmented_and_tracked(tool, coins, wrap):
    predictor, segmenter = tool
    stack = wrap(np.stack([coins[:96, :96]] * 2))
    volume = automatic_3d_segmentation(stack, predictor, segmenter, verbose=False)
    assert volume.shape == (2, 96, 96)
    tracks, _ = automatic_tracking(stack, predictor, segmenter, verbose=False, tile_shape=(64, 64), halo=(16, 16))
    assert tracks.shape == (2, 96, 96)
    linked, _ = track_across_frames(stack, wrap(volume.astype("int32")), verbose=False)
    assert linked.shape == volume.shape


def test_a_folder_of_slices_that_stays_on_disc_is_a_stack(tmp_path, tool, coins):
    path = as_slices(tmp_path, np.stack([coins[:96, :96]] * 2))
    labels = automatic_instance_segmentation(*tool, path, tmp_path / "labels.tif", ndim=3, verbose=False)
    assert labels.shape == (2, 96, 96) and labels.max() > 0
    call = ["-i", str(path), "-o", str(tmp_path / "again.tif"), "-m", "nano_lm", "-d", "cpu", "-n", "3"]
    assert main(call) == 0
    assert np.array_equal(tifffile.imread(tmp_path / "again.tif"), labels)


def test_what_is_no_image_is_refused_with_one_sentence(tmp_path, tool):
    group = zarr.open_group(str(tmp_path / "g.zarr"), mode="w")
    for image in (group, {"a": 1}, None, [[1, 2], [3]], ["a", "b"], object()):
        with pytest.raises(InputError, match="must be a path or an array"):
            automatic_instance_segmentation(*tool, image, verbose=False)
