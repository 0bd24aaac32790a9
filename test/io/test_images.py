"""Opening images of all kinds, and one clear sentence for everything that is none."""

import json
import os

import h5py
import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile
import zarr

from micro_sam.errors import InputError
from micro_sam.io.images import find_images, load_image_data, open_image
from micro_sam.io.lazy import LazyArray


@pytest.fixture
def volume():
    return np.random.default_rng(0).integers(0, 60000, (6, 40, 56)).astype("uint16")


def write_n5(path, array, block, compression):
    """A dataset as the N5 specification describes it (axes reversed, big-endian blocks)."""
    import gzip

    path.mkdir(parents=True)
    attributes = {
        "dimensions": list(reversed(array.shape)),
        "blockSize": list(reversed(block)),
        "dataType": str(array.dtype),
        "compression": {"type": compression},
    }
    (path / "attributes.json").write_text(json.dumps(attributes))
    for position in np.ndindex(*(-(-s // b) for s, b in zip(array.shape, block, strict=True))):
        where = tuple(slice(p * b, (p + 1) * b) for p, b in zip(position, block, strict=True))
        data = array[where]
        header = np.array([0, array.ndim], ">u2").tobytes() + np.array(data.shape[::-1], ">u4").tobytes()
        body = np.ascontiguousarray(data, data.dtype.newbyteorder(">")).tobytes()
        file = path.joinpath(*(str(p) for p in reversed(position)))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(header + (gzip.compress(body) if compression == "gzip" else body))


@pytest.mark.parametrize("kind", ["tif", "compressed", "npy", "h5", "zarr2", "zarr3", "n5", "n5-gzip", "mrc"])
def test_every_format_gives_the_same_pixels(volume, tmp_path, kind):
    path, key = tmp_path / f"image.{kind.split('-')[0]}", None
    if kind == "tif":
        tifffile.imwrite(path, volume)
    elif kind == "compressed":
        path = tmp_path / "image.tiff"
        tifffile.imwrite(path, volume, compression="zlib")
    elif kind == "npy":
        np.save(path, volume)
    elif kind == "h5":
        key = "raw/data"
        with h5py.File(path, "w") as file:
            file[key], file["other"] = volume, [1, 2]
    elif kind.startswith("zarr"):
        path, key = tmp_path / "image.zarr", "raw/data"
        group = zarr.open_group(str(path), mode="w", zarr_format=int(kind[-1]))
        group.create_array(key, data=volume, chunks=(1, 30, 30))
        group.create_array("other", data=np.zeros(3))
    elif kind.startswith("n5"):
        key = "raw/data"
        write_n5(path / key, volume, (4, 16, 20), "gzip" if "gzip" in kind else "raw")
    else:
        mrcfile = pytest.importorskip("mrcfile")
        with mrcfile.new(path) as file:
            file.set_data(volume)
    loaded = load_image_data(path, key)
    assert isinstance(loaded, np.ndarray) and loaded.dtype == volume.dtype
    expected = volume[:, ::-1] if kind == "mrc" else volume  # the rows of mrc files run upward
    assert np.array_equal(loaded, expected)
    assert loaded.shape == volume.shape
    lazy = load_image_data(path, key, lazy_loading=True)
    assert np.array_equal(lazy[2, 5:9, ::2], loaded[2, 5:9, ::2])
    assert np.array_equal(np.asarray(lazy[-1]), loaded[-1])


@pytest.mark.parametrize("suffix", ["png", "bmp", "jpg"])
def test_pictures_are_read_with_their_colours(tmp_path, suffix):
    picture = np.zeros((40, 56, 3), "uint8")
    picture[:20, :, 0] = 200
    imageio.imwrite(tmp_path / f"a.{suffix}", picture)
    source = open_image(tmp_path / f"a.{suffix}")
    assert source.axes == "YXS" and source.name == "a"
    assert np.abs(np.asarray(source.data).astype(int) - picture).mean() < 5


@pytest.mark.parametrize("spacing", [{}, {"spacing": 0.0}])
def test_a_distance_of_slices_that_imagej_does_not_write_is_one_of_its_unit(volume, tmp_path, spacing):
    metadata = {"axes": "ZYX", "unit": "nm", **spacing}
    tifffile.imwrite(tmp_path / "em.tif", volume, imagej=True, resolution=(1 / 5, 1 / 5), metadata=metadata)
    assert open_image(tmp_path / "em.tif").scale == pytest.approx((1e-3, 5e-3, 5e-3))


def test_axes_and_voxel_size_are_read_from_ome_and_imagej(volume, tmp_path):
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        volume.reshape(3, 2, 40, 56),
        metadata={"axes": "TCYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25, "TimeIncrement": 60},
    )
    source = open_image(tmp_path / "a.ome.tif")
    assert source.axes == "TCYX" and source.scale == (60, 1, 0.25, 0.5) and source.unit == "µm"
    tifffile.imwrite(
        tmp_path / "b.tif",
        volume,
        imagej=True,
        resolution=(2, 4),
        metadata={"axes": "ZYX", "spacing": 3, "unit": "um"},
    )
    source = open_image(tmp_path / "b.tif")
    assert source.axes == "ZYX" and source.scale == (3, 0.25, 0.5) and source.unit == "µm"
    tifffile.imwrite(tmp_path / "c.tif", volume)
    source = open_image(tmp_path / "c.tif")
    assert source.axes is None and source.scale is None


@pytest.mark.parametrize("version", [2, 3])
def test_ome_zarr_opens_at_full_resolution(volume, tmp_path, version):
    path = tmp_path / "image.zarr"
    group = zarr.open_group(str(path), mode="w", zarr_format=version)
    group.create_array("0", data=volume[None])
    group.create_array("1", data=volume[None, :, ::2, ::2])
    axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "czyx"]
    levels = [
        {"path": str(n), "coordinateTransformations": [{"type": "scale", "scale": [1, 2, 0.5 * f, 0.5 * f]}]}
        for n, f in enumerate((1, 2))
    ]
    multiscales = [{"axes": axes, "datasets": levels, "version": "0.4"}]
    group.attrs.update({"multiscales": multiscales} if version == 2 else {"ome": {"multiscales": multiscales}})
    source = open_image(path)
    assert source.shape == (1, 6, 40, 56) and source.axes == "CZYX" and source.key == "0"
    assert source.scale == (1, 2, 0.5, 0.5) and source.unit == "µm"
    assert open_image(path, "1").scale == (1, 2, 1, 1)
    nested = zarr.open_group(str(tmp_path / "plate.zarr"), mode="w", zarr_format=version)
    inner = nested.create_group("well")
    inner.create_array("0", data=volume[None])
    inner.attrs.update(group.attrs)
    assert open_image(tmp_path / "plate.zarr", "well").axes == "CZYX"


def test_folder_and_glob_are_stacks_in_natural_order(volume, tmp_path):
    for z in range(6):
        tifffile.imwrite(tmp_path / f"slice_{z * 2}.tif", volume[z])
    (tmp_path / "notes.txt").write_text("text")
    for path in (tmp_path, tmp_path / "slice_*.tif", str(tmp_path / "*")):
        assert np.array_equal(load_image_data(path), volume)
    assert np.array_equal(load_image_data(tmp_path, key="*_1?.tif"), volume[5])
    assert [p.name for p in find_images(tmp_path)][:2] == ["slice_0.tif", "slice_2.tif"]
    tifffile.imwrite(tmp_path / "slice_99.tif", volume[0, :20])
    with pytest.raises(InputError, match=r"slice_99.tif has \(20, 56\)"):
        load_image_data(tmp_path)


def test_large_files_stay_on_disc(volume, tmp_path, monkeypatch):
    monkeypatch.setattr("micro_sam.io.formats.tif.LARGEST_EAGER_TIF", 10)
    monkeypatch.setattr("micro_sam.io.formats.folders.LARGEST_EAGER_STACK", 10)
    monkeypatch.setattr("micro_sam.io.formats.hdf5.LARGEST_EAGER_DATASET", 10)
    tifffile.imwrite(tmp_path / "a.tif", volume)
    assert isinstance(open_image(tmp_path / "a.tif").data, np.memmap)
    tifffile.imwrite(tmp_path / "b.tif", volume, compression="zlib")
    assert isinstance(open_image(tmp_path / "b.tif").data, LazyArray)
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["raw"] = volume
    (tmp_path / "d").mkdir()
    for z in range(6):
        tifffile.imwrite(tmp_path / "d" / f"{z}.tif", volume[z])
    for name in ("a.tif", "b.tif", "c.h5", "d"):
        data = open_image(tmp_path / name).data
        assert tuple(data.shape) == volume.shape and data.dtype == volume.dtype
        assert np.array_equal(data[2:4, 3:9, 5], volume[2:4, 3:9, 5])
        assert np.array_equal(np.asarray(data), volume)


def test_samples_are_opened_by_name():
    source = open_image("sample:cell")
    assert source.axes[:2] == "YX" and source.name == "cell"
    with pytest.raises(InputError):
        open_image("sample:unicorn")


def test_what_is_no_image_is_one_sentence(volume, tmp_path):
    (tmp_path / "empty.tif").touch()
    (tmp_path / "text.tif").write_text("this is text")
    (tmp_path / "text.png").write_text("this is text")
    (tmp_path / "text.h5").write_text("this is text")
    (tmp_path / "text.xyz").write_text("this is text")
    (tmp_path / "empty.h5").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "broken.zarr").mkdir()
    (tmp_path / "broken.zarr" / ".zarray").write_text("{")
    tifffile.imwrite(tmp_path / "cells.tif", volume)
    data = (tmp_path / "cells.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(data[: len(data) // 3])
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["a"], file["b/c"] = volume, volume[0]
    group = zarr.open_group(str(tmp_path / "two.zarr"), mode="w")
    group.create_array("a", data=volume), group.create_array("b/c", data=volume[0])
    write_n5(tmp_path / "two.n5" / "a", volume, (6, 40, 56), "raw")
    cases = {
        "empty.tif": "is empty",
        "empty.h5": "is empty",
        "text.tif": "cannot be read as a tif",
        "text.png": "cannot be read as an image",
        "text.h5": "cannot be read",
        "text.xyz": "cannot be read as an image",
        "cut.tif": "is cut off.* copy it again",
        "folder": "no images",
        "broken.zarr": "cannot be read",
        "cell.tif": "There is no file .*Did you mean cells.tif",
        "nowhere/cells.tif": "does not exist either",
        "missing_*.tif": "no images that match",
        "two.h5": r"several datasets.*a \(6, 40, 56\), b/c \(40, 56\)",
        "two.zarr": r"several datasets.*a \(6, 40, 56\), b/c \(40, 56\)",
    }
    for name, words in cases.items():
        with pytest.raises(InputError, match=words):
            open_image(tmp_path / name)
    for name in ("two.h5", "two.zarr", "two.n5"):
        with pytest.raises(InputError, match="has no dataset 'z'.*a "):
            open_image(tmp_path / name, "z")
    for pattern in (None, "*.tif"):
        with pytest.raises(InputError, match="folder"):
            find_images(tmp_path / "folder", pattern)


def test_missing_permission_is_said(volume, tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, volume)
    path.chmod(0)
    if os.access(path, os.R_OK):  # the superuser reads everything

        def refuse(*args, **kwargs):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("tifffile.TiffFile", refuse)
    with pytest.raises(InputError, match="permission denied"):
        open_image(path)


@pytest.mark.parametrize("samples", [3, 4])
def test_a_png_with_colours_of_16_bits_keeps_them(tmp_path, samples):
    import imagecodecs

    pixels = np.random.default_rng(0).integers(0, 65536, (30, 40, samples)).astype(np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(pixels))
    source = open_image(tmp_path / "a.png")
    assert source.axes == "YXS" and np.array_equal(np.asarray(source.data), pixels)


def test_a_damaged_png_with_colours_of_16_bits_is_refused(tmp_path):
    import imagecodecs

    pixels = np.random.default_rng(0).integers(0, 65536, (30, 40, 3)).astype(np.uint16)
    whole = imagecodecs.png_encode(pixels)
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError):
        np.asarray(open_image(tmp_path / "a.png").data)
