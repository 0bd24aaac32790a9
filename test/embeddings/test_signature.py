"""Knowing an image without reading it again."""

import os
import shutil

import numpy as np
import pytest
import zarr

from micro_sam.embeddings.signature import ImageSignature, compute_signature, hash_content, hash_samples, is_same_image


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 60000, (30, 200, 300)).astype("uint16")


def test_the_same_pixels_are_the_same_image_whatever_holds_them(image, tmp_path):
    np.save(tmp_path / "a.npy", image)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    lazy = zarr.create_array(str(tmp_path / "a.zarr"), data=image, chunks=(1, 200, 300))
    big_endian, turned = image.astype(">u2"), np.asfortranarray(image)
    signature = compute_signature(image)
    assert ImageSignature.from_json(signature.to_json()) == signature
    for same in (mapped, lazy, big_endian, turned):
        assert hash_samples(same) == signature.samples
        assert is_same_image(signature, same)
    assert hash_content(lazy) == hash_content(image) == (signature.content, signature.sha1)


def test_every_pixel_counts_for_arrays_in_memory(image):
    signature = compute_signature(image)
    for index in ((0, 0, 0), (13, 101, 77), (29, 199, 299)):
        changed = image.copy()
        changed[index] += 1
        assert not is_same_image(signature, changed)
    assert not is_same_image(signature, image.reshape(30, 300, 200))
    assert not is_same_image(signature, image.view("int16"))


def test_unchanged_file_is_known_without_reading_it_whole(image, tmp_path, monkeypatch):
    path = tmp_path / "a.npy"
    np.save(path, image)
    signature = compute_signature(np.load(path, mmap_mode="r"))
    assert signature.file == (path.stat().st_size, path.stat().st_mtime_ns)
    with monkeypatch.context() as patch:
        patch.setattr("micro_sam.embeddings.signature.hash_content", None)
        assert is_same_image(signature, np.load(path, mmap_mode="r"))

    copy = tmp_path / "copy.npy"
    shutil.copy(path, copy)
    os.utime(copy, (5, 5))
    assert is_same_image(signature, np.load(copy, mmap_mode="r"))
    changed = image.copy()
    changed[7, 101, 77] += 1  # between the sampled blocks
    np.save(copy, changed)
    assert hash_samples(changed) == signature.samples
    assert not is_same_image(signature, np.load(copy, mmap_mode="r"))


@pytest.mark.parametrize("shape", [(1, 1), (20000, 30), (5, 7, 3), (2, 5, 7, 3), (3, 1, 1)])
def test_all_shapes_have_signatures(shape):
    image = np.zeros(shape, "uint8")
    signature = compute_signature(image)
    assert is_same_image(signature, image)
    image[(-1,) * len(shape)] = 1
    assert not is_same_image(signature, image)
