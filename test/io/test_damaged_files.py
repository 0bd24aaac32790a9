"""Files that are cut off or damaged are refused with one sentence, also where they are read late."""

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from micro_sam.errors import AxesError, InputError
from micro_sam.io.checks import check_image
from micro_sam.io.images import load_image_data, open_image
from micro_sam.io.lazy import LazyArray


@pytest.fixture
def volume():
    return np.random.default_rng(0).integers(0, 60000, (20, 40, 56)).astype("uint16")


@pytest.mark.parametrize("kind", ["imagej", "ome", "plain", "compressed"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
def test_a_stack_that_was_cut_off_is_refused_with_both_numbers(volume, tmp_path, kind, share):
    options = {
        "imagej": {"imagej": True, "metadata": {"axes": "ZYX"}},
        "ome": {"ome": True, "metadata": {"axes": "ZYX"}},
        "plain": {},
        "compressed": {"compression": "zlib"},
    }[kind]
    path = tmp_path / "a.ome.tif" if kind == "ome" else tmp_path / "a.tif"
    tifffile.imwrite(path, volume, **options)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * share)])
    with pytest.raises(InputError, match="cut off.*copy it again") as error:
        open_image(path)
    assert f"{int(len(raw) * share):,} bytes" in str(error.value)
    if kind == "imagej":  # the others describe themselves at the end, which is lost
        assert "20 pages" in str(error.value)


def test_imagej_stacks_with_one_directory_are_checked_by_their_bytes(volume, tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, volume, imagej=True, metadata={"axes": "ZYX"})
    raw = bytearray(path.read_bytes())
    order = "<" if raw[:2] == b"II" else ">"
    first = struct.unpack(order + "I", raw[4:8])[0]
    n_tags = struct.unpack(order + "H", raw[first : first + 2])[0]
    link = first + 2 + 12 * n_tags
    raw[link : link + 4] = bytes(4)  # ImageJ writes one directory for stacks of more than 4 GB
    path.write_bytes(raw)
    assert np.array_equal(np.asarray(open_image(path).data), volume)
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(InputError, match="cut off: it should have 20 pages"):
        open_image(path)


@pytest.mark.parametrize("version", [2, 3])
def test_a_cut_blosc_chunk_is_an_error(volume, tmp_path, version):
    import numcodecs

    compressors = zarr.codecs.BloscCodec(cname="lz4") if version == 3 else numcodecs.Blosc(cname="lz4")
    array = zarr.create_array(
        str(tmp_path / "a.zarr"),
        shape=volume.shape,
        chunks=(1, 40, 56),
        dtype="uint16",
        zarr_format=version,
        compressors=compressors,
    )
    array[...] = volume // 100
    chunk = tmp_path / "a.zarr" / ("c/3/0/0" if version == 3 else "3.0.0")
    raw = chunk.read_bytes()
    source = open_image(tmp_path / "a.zarr")
    assert np.array_equal(np.asarray(source.data), volume // 100)
    chunk.write_bytes(raw[: len(raw) // 2])
    assert np.array_equal(source.data[0], volume[0] // 100)
    with pytest.raises(InputError, match=f"cut off or damaged: it has {len(raw) // 2} bytes of {len(raw)}"):
        source.data[3]
    with pytest.raises(InputError, match="cut off or damaged"):
        load_image_data(tmp_path / "a.zarr")


def test_chunks_that_are_not_there_are_said(volume, tmp_path):
    array = zarr.create_array(str(tmp_path / "a.zarr"), shape=volume.shape, chunks=(1, 40, 56), dtype="uint16")
    array[:17] = volume[:17]
    assert "3 of 20 chunks of a.zarr are not there" in check_image(open_image(tmp_path / "a.zarr"), "3d").note


def test_what_is_read_late_fails_with_a_sentence(volume, tmp_path):
    class Broken:
        shape, dtype, chunks = (4, 40, 56), np.dtype("uint8"), (1, 40, 56)

        def __getitem__(self, index):
            raise RuntimeError("Error during decompression")

    with pytest.raises(InputError, match="a.zarr cannot be read.*damaged"):
        LazyArray(Broken(), Path("a.zarr"))[2]


def test_what_does_not_fit_into_memory_is_refused_before_it_is_read(tmp_path):
    zarr.create_array(str(tmp_path / "a.zarr"), shape=(400_000, 400_000), chunks=(1024, 1024), dtype="uint16")
    source = open_image(tmp_path / "a.zarr")
    assert source.data[:100, :100].shape == (100, 100)
    with pytest.raises(InputError, match="does not fit into the memory.*298.0 GB"):
        load_image_data(tmp_path / "a.zarr")


def test_the_number_of_tiles_is_checked_first(tmp_path):
    from micro_sam.embeddings.opening import open_embeddings

    class Model:
        image_size, whole_up_to, smallest_halo, embed_dim, grid_size = 1024, 2.0, 128, 256, 64

    class Predictor:
        model, model_type, model_name, model_hash, precision = Model(), "vit_b", "vit_b", None, "fp32"

    image = zarr.create_array(str(tmp_path / "a.zarr"), shape=(200_000, 200_000), chunks=(1024, 1024), dtype="uint8")
    with pytest.raises(InputError, match="68,121 tiles.*--key.*--tile_shape"):
        open_embeddings(Predictor(), image, tmp_path / "cache.zarr", 2)
    assert not (tmp_path / "cache.zarr").exists()


def test_a_huge_picture_is_too_large_not_damaged(tmp_path):
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    path = tmp_path / "huge.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    with pytest.raises(InputError, match="too large.*60000 x 60000"):
        open_image(path)


def test_axes_that_a_tif_does_not_mean_can_be_named(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 40, 56), "uint8"))  # written as planes of red, green, blue, alpha
    source = open_image(tmp_path / "a.tif")
    with pytest.raises(InputError, match="--axes ZYX"):
        check_image(source, "3d")
    assert check_image(source, "3d", axes="ZYX").shape == (4, 40, 56)
    with pytest.raises(AxesError, match="--axes"):
        check_image(np.zeros((3, 5, 40, 56)), "3d")


@pytest.mark.parametrize("size", [200, 5000, -2000])
def test_cut_arrays_and_volumes_name_their_bytes(volume, tmp_path, size):
    np.save(tmp_path / "a.npy", volume)
    head = bytearray(1024)
    head[:16], head[64:76] = struct.pack("<4i", 56, 40, 20, 6), struct.pack("<3i", 1, 2, 3)
    head[208:214] = b"MAP DD"
    (tmp_path / "a.mrc").write_bytes(bytes(head) + volume.tobytes())
    for name in ("a.npy", "a.mrc"):
        raw = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(raw[:size])
        with pytest.raises(InputError):
            load_image_data(tmp_path / name)


def test_damaged_files_of_every_kind_are_read_or_refused():
    script = Path(__file__).parents[2] / "benchmarks" / "mutations.py"
    done = subprocess.run([sys.executable, str(script), "--count", "15"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:]


def test_xml_that_defines_entities_is_refused(volume, tmp_path):
    xml = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
    tifffile.imwrite(tmp_path / "a.ome.tif", volume[0], description=xml + "</OME>", metadata=None)
    with pytest.raises(InputError, match="DOCTYPE"):
        open_image(tmp_path / "a.ome.tif")
