"""Imaris files: a dataset for each resolution, time point and channel, larger than the image."""

import h5py
import numpy as np
import pytest

from micro_sam.errors import InputError
from micro_sam.io.images import load_image_data, open_image


def letters(text):
    """As Imaris writes attributes: an array of single letters."""
    return np.array([letter.encode() for letter in str(text)], "S1")


def write_imaris(path, image, voxel=(2.0, 0.5, 0.25), chunk=(8, 32, 32), levels=2, stated=True, times=()):
    """A (T, C, Z, Y, X) image as Imaris lays it out."""
    with h5py.File(path, "w") as file:
        file.attrs["ImarisDataSet"] = letters("ImarisDataSet")
        about = file.create_group("DataSetInfo/Image")
        for k, (letter, size, length) in enumerate(zip("XYZ", image.shape[:1:-1], voxel[::-1], strict=True)):
            about.attrs[letter] = letters(size)
            about.attrs[f"ExtMin{k}"], about.attrs[f"ExtMax{k}"] = letters(10), letters(10 + size * length)
        about.attrs["Unit"] = letters("um")
        info = file.create_group("DataSetInfo/TimeInfo")
        for k, moment in enumerate(times, 1):
            info.attrs[f"TimePoint{k}"] = letters(moment)
        file.create_dataset("Thumbnail/Data", data=np.zeros((256, 1024), "uint8"))
        for level in range(levels):
            step = 2**level
            for t, c in np.ndindex(image.shape[:2]):
                part = image[t, c, :, ::step, ::step]
                group = file.create_group(f"DataSet/ResolutionLevel {level}/TimePoint {t}/Channel {c}")
                filled = [-(-n // m) * m for n, m in zip(part.shape, chunk, strict=True)]
                data = group.create_dataset("Data", filled, part.dtype, chunks=chunk, compression="gzip")
                data[tuple(map(slice, part.shape))] = part
                group.create_dataset("Histogram", data=np.zeros(256, "uint64"))
                if stated:
                    for letter, size in zip("ZYX", part.shape, strict=True):
                        group.attrs[f"ImageSize{letter}"] = letters(size)
    return path


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(1, 60000, (3, 2, 5, 40, 50)).astype("uint16")


def test_an_imaris_file_is_one_image_without_what_fills_its_chunks(image, tmp_path):
    times = ("2026-01-02 03:04:05.000", "2026-01-02 03:05:05.000", "2026-01-02 03:06:05.000")
    source = open_image(write_imaris(tmp_path / "a.ims", image, times=times))
    assert source.axes == "TCZYX" and source.shape == image.shape and source.unit == "µm"
    assert source.scale == (60.0, 1.0, 2.0, 0.5, 0.25)
    np.testing.assert_array_equal(np.asarray(source.data), image)
    np.testing.assert_array_equal(source.data[1, -1, 2:4, 5, -10:], image[1, -1, 2:4, 5, -10:])
    np.testing.assert_array_equal(source.data[:, 0, 0], image[:, 0, 0])
    assert [level.shape for level in source.levels] == [(3, 2, 5, 20, 25)]
    np.testing.assert_array_equal(source.levels[0][2, 1], image[2, 1, :, ::2, ::2])


@pytest.mark.parametrize(
    ("part", "axes"), [(np.s_[:1, :1], "ZYX"), (np.s_[:, :1, :1], "TYX"), (np.s_[:1, :, :1], "CYX")]
)
def test_axes_of_one_are_left_out(image, part, axes, tmp_path):
    source = open_image(write_imaris(tmp_path / "a.ims", image[part]))
    assert source.axes == axes and source.data.ndim == 3 and len(source.scale) == 3
    np.testing.assert_array_equal(load_image_data(tmp_path / "a.ims"), image[part].squeeze())


def test_without_sizes_at_the_channels_those_of_the_image_count(image, tmp_path):
    source = open_image(write_imaris(tmp_path / "a.ims", image, stated=False))
    assert source.shape == image.shape and source.levels == ()


def test_an_extent_that_means_nothing_is_no_voxel_size(image, tmp_path):
    path = write_imaris(tmp_path / "a.ims", image[:1, :1])
    with h5py.File(path, "a") as file:
        del file["DataSetInfo"]
    source = open_image(path)
    assert source.scale is None and source.shape == image.shape[2:]


def test_a_single_dataset_can_be_asked_for_by_its_key(image, tmp_path):
    path = write_imaris(tmp_path / "a.ims", image)
    key = "DataSet/ResolutionLevel 1/TimePoint 0/Channel 1/Data"
    assert open_image(path, key).data[0, :20, :25].tolist() == image[0, 1, 0, ::2, ::2].tolist()


def test_a_channel_that_is_missing_is_named(image, tmp_path):
    path = write_imaris(tmp_path / "a.ims", image)
    with h5py.File(path, "a") as file:
        del file["DataSet/ResolutionLevel 0/TimePoint 1/Channel 0"]
    with pytest.raises(InputError, match="no channel 0 of time point 1"):
        open_image(path)
