"""Label images of any program in, atomically out."""

import errno
import subprocess
import sys
import time

import h5py
import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile

from micro_sam.errors import InputError, OutputError
from micro_sam.io.labels import SUFFIXES, load_labels, save_labels


@pytest.fixture
def labels():
    result = np.zeros((5, 40, 56), "uint32")
    result[1:3, 5:20, 7:30], result[3, 30:, 40:] = 1, 70000
    return result


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("ndim", [2, 3])
def test_labels_come_back_as_they_were(labels, tmp_path, suffix, ndim):
    if ndim == 2:
        labels = labels[1]
    elif suffix == ".png":
        with pytest.raises(OutputError, match="2D"):
            save_labels(tmp_path / "a.png", labels)
        return
    path = save_labels(tmp_path / "new folder" / f"a{suffix}", labels, scale=(2.0, 0.5, 0.5)[-ndim:])
    for _ in range(2):
        loaded = load_labels(path, shape=labels.shape)
        assert loaded.dtype == np.uint32 and np.array_equal(loaded, labels)
        save_labels(path, labels)  # over the first
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_tif_is_small_and_keeps_the_scale(labels, tmp_path):
    path = save_labels(tmp_path / "a.tif", labels[1])
    assert tifffile.imread(path).dtype == np.uint16 and path.stat().st_size < 2000
    assert tifffile.imread(save_labels(tmp_path / "b.tif", labels)).dtype == np.uint32


@pytest.mark.parametrize("dtype", [bool, "uint8", "int16", "int32", "int64", "uint64", "float32", "float64"])
def test_labels_of_any_number_type_are_accepted(dtype):
    values = np.array([[0, 1], [1, 0]]).astype(dtype)
    assert load_labels(values).tolist() == [[0, 1], [1, 0]]


def test_large_ids_are_numbered_anew():
    assert load_labels(np.array([[0, 2**40], [7, 2**40]])).tolist() == [[0, 2], [1, 2]]
    assert load_labels(np.array([[3, 2**40]])).tolist() == [[1, 2]]


@pytest.mark.parametrize(
    "values, words",
    [
        (np.array([[0.5, 1]]), "no whole numbers"),
        (np.array([[np.nan, 1]]), "NaN or infinity; labels are whole numbers"),
        (np.array([[-1, 1]]), "negative"),
        (np.array([["a", "b"]]), "whole numbers"),
        (np.random.default_rng(0).integers(0, 255, (9, 8, 3)).astype("uint8"), "colour picture"),
    ],
)
def test_what_is_no_label_image_is_refused(values, words):
    with pytest.raises(InputError, match=words):
        load_labels(values)


@pytest.mark.parametrize("shape", [(3, 20, 1), (3, 1, 1), (3, 1, 20), (1, 20, 30), (20, 1), (1, 1)])
@pytest.mark.parametrize("suffix", [".tif", ".zarr", ".ome.zarr", ".h5", ".npy"])
def test_labels_of_one_slice_row_or_column_come_back(tmp_path, shape, suffix):
    labels = np.arange(1, np.prod(shape) + 1).reshape(shape).astype("uint16")
    save_labels(tmp_path / f"a{suffix}", labels, (2.0, 0.5, 0.25)[-len(shape) :])
    assert np.array_equal(load_labels(tmp_path / f"a{suffix}", shape=shape), labels)


def test_a_stack_as_narrow_as_colours_is_one(tmp_path):
    narrow = np.arange(10 * 40 * 3).reshape(10, 40, 3).astype("uint8")
    np.save(tmp_path / "a.npy", narrow)
    tifffile.imwrite(tmp_path / "a.tif", narrow, photometric="minisblack")
    for name in ("a.npy", "a.tif"):
        assert np.array_equal(load_labels(tmp_path / name, shape=narrow.shape), narrow)
    with pytest.raises(InputError, match="colour picture"):
        load_labels(tmp_path / "a.npy", shape=(10, 40))


def test_shape_must_be_that_of_the_image(labels, tmp_path):
    plane = labels[1]
    assert load_labels(plane[None], shape=(40, 56)).shape == (40, 56)
    assert load_labels(plane, shape=(1, 40, 56)).shape == (1, 40, 56)
    with pytest.raises(InputError, match=r"\(40, 56\), but the image has \(56, 40\).*90 degrees"):
        load_labels(plane, shape=(56, 40))
    with pytest.raises(InputError, match="must be the same"):
        load_labels(labels, shape=(4, 40, 56))


def test_pictures_and_containers_of_other_tools_are_read(labels, tmp_path):
    picture = np.repeat(labels[1].astype("uint8")[..., None], 3, axis=-1)
    imageio.imwrite(tmp_path / "a.png", picture)
    assert np.array_equal(load_labels(tmp_path / "a.png"), labels[1])
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["x"], file["seg"] = [1, 2], labels
    assert np.array_equal(load_labels(tmp_path / "b.h5", "seg"), labels)


@pytest.mark.parametrize("suffix", [".tif", ".zarr", ".h5", ".npy"])
def test_failed_save_destroys_nothing(labels, tmp_path, monkeypatch, suffix):
    path = save_labels(tmp_path / f"a{suffix}", labels)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        for name in ("tifffile.imwrite", "zarr.create_array", "h5py.File", "numpy.save"):
            patch.setattr(name, full)
        with pytest.raises(OutputError, match="No space left on device"):
            save_labels(path, labels * 0)
    with monkeypatch.context() as patch:
        for name in ("os.replace", "os.rename"):  # a folder takes its place by the second
            patch.setattr(name, full)
        with pytest.raises(OutputError, match="Nothing was lost"):
            save_labels(path, labels * 0)
    # threads of zarr may go on for a moment after its error; what they still write goes with the next load
    for _ in range(100):
        assert np.array_equal(load_labels(path), labels)
        if [p.name for p in tmp_path.iterdir()] == [path.name]:
            break
        time.sleep(0.05)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_places_that_cannot_be_written_are_said(labels, tmp_path):
    (tmp_path / "file").write_text("text")
    with pytest.raises(OutputError):
        save_labels(tmp_path / "file" / "a.tif", labels)
    with pytest.raises(OutputError, match="must end in"):
        save_labels(tmp_path / "a.jpg", labels)


def test_program_that_is_killed_while_it_saves_leaves_a_whole_file(tmp_path):
    path = tmp_path / "result.tif"
    save_labels(path, np.full((600, 600), 1))
    code = (
        "import sys, numpy as np\nfrom micro_sam.io.labels import save_labels\n"
        "for k in range(2, 60000):\n"
        "    save_labels(sys.argv[1], np.full((600, 600), k))\n"
        "    print(k, flush=True)\n"
    )
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
        for _line in range(2):
            assert process.stdout.readline()
        process.kill()
        process.wait()
        assert len(np.unique(load_labels(path))) == 1


def test_labels_in_zarr_keep_their_axes_and_pixel_size(tmp_path):
    from micro_sam.io.images import open_image

    save_labels(tmp_path / "a.zarr", np.ones((3, 20, 30), np.uint16), scale=(2.0, 0.5, 0.25))
    source = open_image(tmp_path / "a.zarr")
    assert (source.axes, source.scale, source.unit) == ("ZYX", (2.0, 0.5, 0.25), "µm")
