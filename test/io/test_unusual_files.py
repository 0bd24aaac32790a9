"""Valid files that are rarely met, and files that look like images: right, or one sentence."""

from __future__ import annotations

import os
import struct

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from micro_sam.errors import InputError
from micro_sam.io.checks import check_any
from micro_sam.io.images import open_image
from micro_sam.io.labels import load_labels

PLANE = np.random.default_rng(0).integers(1, 255, (40, 56)).astype("uint8")
STACK = np.stack([PLANE // (k + 1) for k in range(6)])


def pyramid(path, **below):
    with tifffile.TiffWriter(path) as file:
        file.write(np.tile(PLANE, (4, 4)), tile=(16, 16), photometric="minisblack", metadata=None, **below)
        file.write(np.tile(PLANE, (2, 2)), tile=(16, 16), subfiletype=1, metadata=None)


def mrc(values):
    def write(path):
        with mrcfile.new(path) as file:
            file.set_data(values)

    return write


def hdf5(**datasets):
    def write(path):
        with h5py.File(path, "w") as file:
            for name, value in datasets.items():
                file[name] = value

    return write


def sharded(path):
    array = zarr.create_array(
        path, shape=STACK.shape, chunks=(1, 20, 28), shards=(2, 40, 56), dtype="uint8", zarr_format=3
    )
    array[:] = STACK


READ = {  # rows of mrc run upward
    "big.tif": (lambda p: tifffile.imwrite(p, STACK, bigtiff=True), STACK),
    "planes of colour.tif": (
        lambda p: tifffile.imwrite(p, STACK[:3], photometric="rgb", planarconfig="separate"),
        np.moveaxis(STACK[:3], 0, -1),
    ),
    "half.tif": (lambda p: tifffile.imwrite(p, (PLANE / 255).astype("float16")), (PLANE / 255).astype("float16")),
    "levels below.tif": (lambda p: pyramid(p, subifds=1), np.tile(PLANE, (4, 4))),
    "levels behind.tif": (pyramid, np.tile(PLANE, (4, 4))),
    "fax.tif": (lambda p: Image.fromarray(PLANE > 99).save(p, compression="group4"), PLANE > 99),
    "big endian.tif": (lambda p: tifffile.imwrite(p, STACK.astype("uint16"), byteorder=">"), STACK),
    "predictor.tif": (lambda p: tifffile.imwrite(p, STACK, compression="lzw", predictor=True), STACK),
    "shards.zarr": (sharded, STACK),
    "with a number.h5": (hdf5(version=3, name="x", image=STACK), STACK),
    "broken links.h5": (hdf5(link=h5py.SoftLink("/nowhere"), circle=h5py.SoftLink("/"), image=STACK), STACK),
    "mode 6.mrc": (mrc(STACK.astype("uint16")), STACK[:, ::-1]),
    "mode 12.mrc": (mrc(STACK.astype("float16")), STACK[:, ::-1]),
    "transparent.png": (lambda p: Image.fromarray(PLANE).save(p, transparency=3), PLANE),
    "opaque.png": (lambda p: Image.fromarray(np.stack([PLANE, PLANE // 2], -1), "LA").save(p), PLANE),
    "one bit.png": (lambda p: Image.fromarray(PLANE > 99).save(p), np.where(PLANE > 99, 255, 0)),
    "frames.png": (
        lambda p: Image.fromarray(PLANE).save(p, save_all=True, append_images=[Image.fromarray(PLANE // 2)]),
        STACK[:2],
    ),
    "columns first.npy": (lambda p: np.save(p, np.asfortranarray(STACK)), STACK),
    "big endian.npy": (lambda p: np.save(p, STACK.astype(">u2")), STACK),
    "with a text.npz": (lambda p: np.savez(p, image=PLANE, name=np.array("x")), PLANE),
    "ünïcode #1.v2.TIF": (lambda p: tifffile.imwrite(p, PLANE), PLANE),
    "no ending": (lambda p: tifffile.imwrite(p, PLANE), PLANE),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READ)
def test_rare_kinds_of_files_open_right(tmp_path, name):
    write, right = READ[name]
    write(str(tmp_path / name))
    checked = check_any(open_image(tmp_path / name))
    assert np.array_equal(np.asarray(checked.data[...]), right)


def test_a_picture_in_inks_and_one_with_a_transparent_colour_are_colours(tmp_path):
    Image.fromarray(np.stack([PLANE] * 4, -1), "CMYK").save(tmp_path / "inks.jpg")
    Image.fromarray(np.stack([PLANE] * 3, -1)).save(tmp_path / "clear.png", transparency=(1, 1, 1))
    for name in ("inks.jpg", "clear.png"):
        assert check_any(open_image(tmp_path / name)).n_channels == 3


def test_where_an_ngff_image_lies_does_not_change_its_size(tmp_path):
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=3)
    group.create_array("0", data=STACK)
    moves = [{"type": "scale", "scale": [2, 0.5, 0.5]}, {"type": "translation", "translation": [10, 100, 200]}]
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    described = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": moves}]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [described]}
    found = open_image(tmp_path / "a.zarr")
    assert found.axes == "ZYX" and found.scale == (2.0, 0.5, 0.5)
    described["datasets"] = []
    group.attrs["ome"] = {"version": "0.5", "multiscales": [described]}
    with pytest.raises(InputError, match="names no dataset"):
        open_image(tmp_path / "a.zarr")


def of_mode(mode):
    def write(path):
        mrc(STACK.view("int8"))(path)
        with open(path, "r+b") as file:
            file.seek(12)
            file.write(struct.pack("<i", mode))

    return write


def links_to_itself(path):
    os.symlink(path, path)


def folder_in_itself(path):
    os.makedirs(path)
    os.symlink(path, os.path.join(path, "again"))


def described_elsewhere(path):
    xml = '<BinaryOnly MetadataFile="x.companion.ome"/>'
    xml = f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">{xml}</OME>'
    tifffile.imwrite(path, PLANE, description=xml, metadata=None)


REFUSED = {
    "packed.mrc": (of_mode(101), "mode 101"),
    "complex.mrc": (of_mode(3), "mode 3"),
    "unknown.mrc": (of_mode(-1), "mode -1"),
    "waves.npy": (lambda p: np.save(p, np.zeros((5, 5), "complex64")), "complex64"),
    "waves.tif": (lambda p: tifffile.imwrite(p, np.zeros((5, 5), "complex64")), "complex64"),
    "objects.npy": (lambda p: np.save(p, np.array([[1, None]], dtype=object)), "Python objects"),
    "texts.npy": (lambda p: np.save(p, np.array([["a", "b"]] * 3)), "numbers"),
    "days.npy": (lambda p: np.save(p, np.zeros((5, 5), "datetime64[s]")), "numbers"),
    "number.npy": (lambda p: np.save(p, np.array(5)), "single number"),
    "nothing.npy": (lambda p: np.save(p, np.zeros((0, 5))), "empty"),
    "number.h5": (hdf5(version=3), "two axes"),
    "texts.h5": (hdf5(names=np.array([[b"a", b"b"]] * 2)), "numbers"),
    "table.h5": (hdf5(rows=np.zeros((5, 5), [("a", "f4"), ("b", "i4")])), "numbers"),
    "empty": (os.makedirs, "no images"),
    "in itself": (folder_in_itself, "no images"),
    "to itself.tif": (links_to_itself, "is a link"),
    "elsewhere.ome.tif": (described_elsewhere, "x.companion.ome"),
    "no pages.tif": (lambda p: open(p, "wb").write(b"II*\0\0\0\0\0"), "without any image"),
    "movie.mp4": (lambda p: open(p, "wb").write(b"\0\0\0\x18ftypmp42" + bytes(100)), "cannot be read"),
    "paper.pdf": (lambda p: open(p, "wb").write(b"%PDF-1.4\n%x"), "cannot be read"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_image_is_refused_in_a_sentence(tmp_path, name):
    write, words = REFUSED[name]
    write(str(tmp_path / name))
    with pytest.raises(InputError, match=words):
        check_any(open_image(tmp_path / name))
    with pytest.raises(InputError):
        load_labels(tmp_path / name)


def test_labels_that_were_saved_as_colours_are_labels_only_if_these_agree(tmp_path):
    wide = PLANE.astype("uint16") * 3
    opaque = np.full_like(wide, 65535)
    tifffile.imwrite(tmp_path / "grey.tif", np.stack([wide] * 3 + [opaque], -1), photometric="rgb")
    assert np.array_equal(load_labels(tmp_path / "grey.tif"), wide)
    Image.fromarray(np.stack([PLANE, np.full_like(PLANE, 255)], -1), "LA").save(tmp_path / "opaque.png")
    assert np.array_equal(load_labels(tmp_path / "opaque.png"), PLANE)
    tifffile.imwrite(tmp_path / "colour.tif", np.stack([wide, wide // 2, wide], -1), photometric="rgb")
    with pytest.raises(InputError, match="colour picture"):
        load_labels(tmp_path / "colour.tif")


def test_a_background_below_0_is_refused_with_its_value(tmp_path):
    np.save(tmp_path / "a.npy", np.where(PLANE > 99, 1, -1).astype("int16"))
    with pytest.raises(InputError, match="negative values"):
        load_labels(tmp_path / "a.npy")
