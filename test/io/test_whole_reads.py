"""Nothing reads the whole of an image that is larger than memory."""

import math
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import tifffile
import torch
import zarr
from test_images import write_n5

from micro_sam.embeddings.compute import iter_embeddings, open_embeddings
from micro_sam.embeddings.signature import compute_signature, is_same_image
from micro_sam.io.checks import check_image, mix_channels
from micro_sam.io.images import open_image
from micro_sam.io.normalization import estimate_normalization
from micro_sam.io.source import ImageSource
from micro_sam.models.predictor import ImageFeatures


class Huge:
    """An array far larger than memory: its pixels are made where it is indexed, and large reads are refused."""

    def __init__(self, shape, dtype="uint8", most=2**23):
        self.shape, self.dtype, self.ndim, self.most, self.read = shape, np.dtype(dtype), len(shape), most, 0

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("the whole image was asked for")

    def __getitem__(self, index):
        index = index if isinstance(index, tuple) else (index,)
        assert Ellipsis not in index or len(index) > 1, "the whole image was asked for"
        if Ellipsis in index:
            place = index.index(Ellipsis)
            index = (*index[:place], *(slice(None),) * (self.ndim - len(index) + 1), *index[place + 1 :])
        index = (*index, *(slice(None),) * (self.ndim - len(index)))
        axes, shape = [], []
        for one, size in zip(index, self.shape, strict=True):
            if isinstance(one, slice):
                start, stop, step = one.indices(size)
                self._count(len(range(start, stop)) if step > 1 else 0)
                axes.append(np.arange(start, stop, step))
                shape.append(len(axes[-1]))
            else:
                axes.append(np.array([int(one) % size]))
        number = math.prod(len(axis) for axis in axes)
        self.read += number
        assert number <= self.most, f"{number} pixels were read at once"
        total = 0
        for k, axis in enumerate(axes):
            total = total + np.reshape(axis * (k + 3), [-1 if j == k else 1 for j in range(self.ndim)])
        return (total % 251).astype(self.dtype).reshape(shape)

    def _count(self, skipped):
        assert skipped < 10_000, "pixels far apart were asked for: every chunk is read"


SHAPES = [((400_000, 300_000), "2d", None), ((5000, 40_000, 50_000), "3d", None)]


@pytest.mark.parametrize(("shape", "tool", "axes"), SHAPES)
def test_an_image_of_a_hundred_gigabytes_is_checked_shown_and_recognised_from_samples(shape, tool, axes):
    from micro_sam.sam_annotator.state.images import from_array

    image = Huge(shape)
    opened = from_array(image, tool)
    assert opened.shape == shape and opened.contrast_limits[1] > opened.contrast_limits[0] + 100
    normalization = estimate_normalization(image, len(shape))
    assert normalization.lower[0] < 20 and normalization.upper[0] > 230
    assert is_same_image(compute_signature(image), image)
    assert image.read < 60_000_000, "of 120,000,000,000 pixels and more"


@pytest.mark.parametrize("channel", [0, "mix"])
def test_channels_of_a_huge_image_are_chosen_and_mixed_where_they_are_looked_at(channel):
    image = Huge((4, 100_000, 60_000), "uint16")
    checked = check_image(ImageSource(image, "CYX"), "2d", channel=channel)
    part = np.asarray(checked.data[1000:1100, 2000:2300])
    assert checked.shape == (100_000, 60_000) and part.shape == (100, 300) and part.std() > 0
    if channel == "mix":
        assert part.dtype == np.float32 and part.min() >= 0 and part.max() <= 1
    else:
        np.testing.assert_array_equal(part, image[0, 1000:1100, 2000:2300])


def test_a_mix_is_the_same_in_memory_and_piece_by_piece(monkeypatch):
    data = np.random.default_rng(0).integers(0, 4000, (300, 200, 3)).astype("uint16")
    whole = mix_channels(data)
    monkeypatch.setattr("micro_sam.io.checks.LARGEST_EAGER", 10)
    lazy = mix_channels(pytest.importorskip("dask.array").from_array(data))
    assert not isinstance(lazy, np.ndarray) and lazy.shape == (300, 200)
    np.testing.assert_array_equal(lazy[20:90, 5], whole[20:90, 5])
    np.testing.assert_array_equal(np.asarray(lazy), whole)


def test_tiles_of_a_huge_image_are_embedded_without_looking_at_the_others(tmp_path):
    image = Huge((60_000, 70_000))
    model = SimpleNamespace(
        image_size=1024, grid_size=4, embed_dim=8, dense_kind=None, whole_up_to=2.0, smallest_halo=128
    )
    predictor = SimpleNamespace(model=model, model_type="vit_b", model_name="n", model_hash="0", device="cpu")
    predictor.precision = "fp32"
    predictor.encode_batch = lambda pixels: [
        ImageFeatures(torch.ones(1, 8, 4, 4), one.shape[:2], one.shape[:2]) for one in pixels
    ]
    _, store = open_embeddings(predictor, image, ndim=2)
    before, run = image.read, iter_embeddings(predictor, image, store)
    for _ in range(3):
        next(run)
    run.close()
    assert len(store.missing()) == len(store.grid) - 3
    assert image.read - before <= 6 * 1024**2, "the tiles, and what is read ahead"


def bytes_read() -> int:
    """What this process has read from files so far, as the system counts it."""
    return int(Path("/proc/self/io").read_text().split("rchar:")[1].split()[0])


def write_in_chunks(kind, folder, data):
    if kind == "n5":
        write_n5(folder / "a.n5" / "raw", data, (64, 64), "gzip")
        return folder / "a.n5"
    if kind == "tif":
        tifffile.imwrite(folder / "a.tif", data, tile=(64, 64), compression="zlib")
        return folder / "a.tif"
    if kind == "zarr":
        zarr.create_array(str(folder / "a.zarr"), data=data, chunks=(64, 64), zarr_format=2)
        return folder / "a.zarr"
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("raw", data=data, chunks=(64, 64), compression="gzip")
    return folder / "a.h5"


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the system does not count bytes")
@pytest.mark.parametrize("kind", ["n5", "h5", "zarr", "tif"])
def test_of_a_file_in_chunks_the_bytes_of_a_few_chunks_are_read(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("micro_sam.io.formats.hdf5.LARGEST_EAGER_DATASET", 0)
    monkeypatch.setattr("micro_sam.io.formats.tif.LARGEST_EAGER_TIF", 0)
    monkeypatch.setattr("micro_sam.io.normalization.MAX_SAMPLED_PIXELS", 20_000)
    random = np.random.default_rng(0)
    (tmp_path / "small").mkdir()
    small = write_in_chunks(kind, tmp_path / "small", random.integers(0, 60_000, (128, 128)).astype("uint16"))
    data = random.integers(0, 60_000, (2048, 2304)).astype("uint16")
    large = write_in_chunks(kind, tmp_path, data)

    def look(path):
        image = check_image(open_image(path), "2d").data
        estimate_normalization(image, 2)
        return image[1000:1064, 1500:1570]

    look(small)  # libraries are read, too
    before = bytes_read()
    found = look(large)
    used = bytes_read() - before
    np.testing.assert_array_equal(found, data[1000:1064, 1500:1570])
    assert used < data.nbytes / 4, f"{used:,} of {data.nbytes:,} bytes"
