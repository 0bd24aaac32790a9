"""Features of large images without a cache lie on the disc for the time."""

import gc
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from micro_sam.automatic_segmentation import automatic_instance_segmentation, get_predictor_and_segmenter
from micro_sam.embeddings import temporary_store
from micro_sam.embeddings.embeddings import Embeddings
from micro_sam.embeddings.store import MemoryStore
from micro_sam.embeddings.temporary_store import TemporaryStore, store_without_cache
from micro_sam.embeddings.tiles import TileGrid
from micro_sam.errors import NotComputedYet
from micro_sam.evaluation.metrics import compare_labels
from micro_sam.models.predictor import ImageFeatures
from micro_sam.sample_data import open_sample

GRID = TileGrid((400, 400), (64, 64), (16, 16))
MODEL = SimpleNamespace(grid_size=64, embed_dim=128, dense_kind="offsets")


def features(seed: int, dense: bool = True) -> ImageFeatures:
    made = torch.Generator().manual_seed(seed)
    values = torch.randn(1, 128, 64, 64, generator=made)
    return ImageFeatures(values, (96, 90), (96, 90), torch.randn(4, 256, 256, generator=made) if dense else None)


def test_features_come_back_almost_as_they_were():
    store = TemporaryStore(GRID)
    for tile, dense in ((0, True), (5, False)):
        assert not store.is_complete(None, tile)
        store.write(None, tile, features(tile, dense))
        back, expected = store.load(None, tile), features(tile, dense)
        assert back.features.dtype == torch.float32 and (back.dense is not None) == dense
        torch.testing.assert_close(back.features, expected.features, rtol=5e-4, atol=1e-6)
        assert (back.input_size, back.original_size) == (expected.input_size, expected.original_size)
    with pytest.raises(NotComputedYet):
        store.load(None, 7)
    assert len(store.missing()) == len(GRID) - 2


def test_the_memory_does_not_grow_with_the_number_of_tiles():
    store = TemporaryStore(GRID)
    tracemalloc.start()
    for tile in range(20):
        store.write(None, tile, features(tile))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 2**20 and not store._features  # numpy's share; torch holds nothing that the store does not


def test_the_folder_goes_with_the_store():
    store = TemporaryStore(GRID, 3)
    store.write(2, 4, features(0))
    folder = Path(store._folder.name)
    assert len(list(folder.iterdir())) == 1
    del store
    gc.collect()
    assert not folder.exists()


def test_a_full_disc_costs_memory_and_no_features(monkeypatch, caplog):
    store = TemporaryStore(GRID)
    store.write(None, 0, features(0))

    def full(file, **arrays):
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    store.write(None, 1, features(1))
    store.write(None, 2, features(2))
    assert [store.is_complete(None, tile) for tile in range(4)] == [True, True, True, False]
    torch.testing.assert_close(store.load(None, 1).features, features(1).features)
    assert len(caplog.records) == 1 and "TMPDIR" in caplog.text


def test_only_what_memory_should_not_hold_goes_onto_the_disc():
    small, large = TileGrid((4000, 4000), (384, 384), (64, 64)), TileGrid((20_000, 20_000), (384, 384), (64, 64))
    assert type(store_without_cache(small, None, "n", "0", MODEL)) is MemoryStore
    assert type(store_without_cache(large, None, "n", "0", MODEL)) is TemporaryStore
    assert type(store_without_cache(TileGrid((512, 512)), 100, "n", "0", MODEL)) is MemoryStore
    assert type(store_without_cache(TileGrid((512, 512)), 2000, "n", "0", MODEL)) is TemporaryStore


def test_segmentation_is_the_same_with_features_in_half_precision(monkeypatch):
    image = open_sample("coins").image
    predictor, segmenter = get_predictor_and_segmenter("nano_lm", device="cpu")
    tiling = {"tile_shape": (160, 160), "halo": (32, 32), "verbose": False, "return_embeddings": True}
    expected, _ = automatic_instance_segmentation(predictor, segmenter, image, **tiling)
    monkeypatch.setattr(temporary_store, "LARGEST_IN_MEMORY", 1000)
    found, embeddings = automatic_instance_segmentation(predictor, segmenter, image, **tiling)
    assert isinstance(embeddings, Embeddings) and isinstance(embeddings.store, TemporaryStore)
    assert compare_labels(found, expected)["mSA"] > 0.99
