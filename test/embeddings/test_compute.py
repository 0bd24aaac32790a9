"""Computing embeddings: order, resuming, tiles, masks and the functions that scripts call."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from micro_sam.embeddings.compute import (
    iter_embeddings,
    open_embeddings,
    precompute_image_embeddings,
    set_precomputed,
)
from micro_sam.embeddings.embeddings import as_embeddings
from micro_sam.embeddings.store import to_device
from micro_sam.errors import InputError, ModelError, NotComputedYet, OutputError
from micro_sam.io.normalization import estimate_normalization
from micro_sam.models.predictor import ImageFeatures


@pytest.mark.parametrize("on_disc", [False, True])
@pytest.mark.parametrize("tile_shape", [None, (32, 32)])
@pytest.mark.parametrize("ndim", [2, 3])
def test_features_are_the_same_in_memory_and_on_disc(predictor, stack, tmp_path, on_disc, tile_shape, ndim):
    image = stack if ndim == 3 else stack[0]
    path = tmp_path / "cache.zarr" if on_disc else None
    embeddings = precompute_image_embeddings(predictor, image, path, tile_shape=tile_shape, verbose=False)
    assert embeddings.is_complete()
    grid = embeddings.grid
    assert len(grid) == (1 if tile_shape is None else 4)
    reference = precompute_image_embeddings(predictor, image, None, tile_shape=tile_shape, verbose=False)
    for i, tile in embeddings.store.items():
        loaded, expected = embeddings.load(i, tile), reference.load(i, tile)
        assert torch.equal(loaded.features, expected.features)
        assert loaded.input_size == expected.input_size
        assert loaded.original_size == expected.original_size == grid[tile].shape
        assert embeddings.load(i, tile) is loaded, "a slice that is used again is not read again"


def test_second_run_computes_nothing(predictor, stack, tmp_path):
    precompute_image_embeddings(predictor, stack, tmp_path / "e", verbose=False)
    calls = predictor.calls
    assert calls == 5
    precompute_image_embeddings(predictor, stack, tmp_path / "e", verbose=False)
    assert predictor.calls == calls


@pytest.mark.parametrize("tile_shape", [None, (32, 32)])
def test_interrupted_run_goes_on_where_it_stopped(predictor, stack, tmp_path, tile_shape):
    embeddings, store = open_embeddings(predictor, stack, tmp_path / "e", tile_shape=tile_shape)
    run = iter_embeddings(predictor, stack, store)
    done = [next(run), next(run), next(run)]
    run.close()
    assert all(embeddings.is_complete(i, t) for i, t in done) and not embeddings.is_complete()
    with pytest.raises(NotComputedYet):
        embeddings.load(4, 0)
    calls = predictor.calls
    again, store = open_embeddings(predictor, stack, tmp_path / "e", tile_shape=tile_shape)
    rest = list(iter_embeddings(predictor, stack, store))
    assert not set(rest) & set(done)
    assert predictor.calls - calls == len(rest) == len(list(store.items())) - 3
    assert again.is_complete() and embeddings.is_complete(), "who has the cache open sees the new slices"


def test_slice_in_view_comes_first(predictor, stack):
    _, store = open_embeddings(predictor, stack)
    view = [3]
    run = iter_embeddings(predictor, stack, store, focus=lambda: view[0])
    order = [next(run)[0], next(run)[0]]
    view[0] = 0
    order += [i for i, _ in run]
    assert order[0] == 3 and order[1] in (2, 4) and order[2] == 0
    assert sorted(order) == [0, 1, 2, 3, 4]


def test_batches_are_halved_when_the_memory_is_full(predictor, stack):
    predictor.largest_batch = 2
    _, store = open_embeddings(predictor, stack)
    assert len(list(iter_embeddings(predictor, stack, store, batch_size=5))) == 5
    predictor.largest_batch = 0
    _, store = open_embeddings(predictor, stack)
    with pytest.raises(ModelError, match="smaller model"):
        list(iter_embeddings(predictor, stack, store, batch_size=4))


class Busy:
    """Counts who works at the same time: ``with busy: ...``."""

    def __init__(self):
        self._lock, self._now, self.most = threading.Lock(), 0, 0

    def __enter__(self):
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)

    def __exit__(self, *_):
        with self._lock:
            self._now -= 1


class SlowStack:
    """A stack that takes a while to read."""

    def __init__(self, stack, seconds, busy=None):
        self.stack, self.seconds, self.busy = stack, seconds, busy or Busy()
        self.shape, self.dtype, self.ndim = stack.shape, stack.dtype, stack.ndim

    def __getitem__(self, index):
        with self.busy:
            time.sleep(self.seconds)
        return self.stack[index]


def on_a_gpu(predictor, store, monkeypatch, seconds=0.0, busy=None):
    """Lets the stand-in look like one on a GPU; its passes and the store's writes take `seconds` each."""
    predictor.device, busy = torch.device("cuda"), busy or Busy()
    encode, write = predictor.encode_batch, store.write

    def slow_encode(images):
        with busy:
            time.sleep(seconds)
        return encode(images)

    def slow_write(*arguments):
        with busy:
            time.sleep(seconds)
        write(*arguments)

    monkeypatch.setattr(predictor, "encode_batch", slow_encode)
    monkeypatch.setattr(store, "write", slow_write)


def test_on_a_gpu_reading_computing_and_writing_overlap(predictor, stack, tmp_path, monkeypatch):
    embeddings, store = open_embeddings(predictor, stack, tmp_path / "e")
    store.normalization = estimate_normalization(stack, 3)
    busy = Busy()
    on_a_gpu(predictor, store, monkeypatch, 0.2, busy)
    order = []
    for item in iter_embeddings(predictor, SlowStack(stack, 0.2, busy), store, batch_size=1):
        assert store.is_complete(*item), "what is reported is stored"
        order.append(item[0])
    assert busy.most == 3
    assert order == [0, 1, 2, 3, 4] and embeddings.is_complete()


def test_on_a_gpu_a_run_that_is_closed_keeps_what_it_computed_and_goes_on(predictor, stack, tmp_path, monkeypatch):
    _, store = open_embeddings(predictor, stack, tmp_path / "e")
    on_a_gpu(predictor, store, monkeypatch)
    threads = threading.active_count()
    run = iter_embeddings(predictor, stack, store, batch_size=1)
    done = [next(run), next(run)]
    run.close()
    assert threading.active_count() == threads
    assert len(store.missing()) == 5 - predictor.calls <= 5 - len(done)
    rest = list(iter_embeddings(predictor, stack, store, batch_size=2))
    assert not set(rest) & set(done) and predictor.calls == 5 and not store.missing()


def test_on_a_gpu_a_full_disc_is_reported(predictor, stack, tmp_path, monkeypatch):
    embeddings, store = open_embeddings(predictor, stack, tmp_path / "e")
    write = store.write

    def full(i, tile, features):
        if i == 2:
            raise OutputError("The disc is full.")
        write(i, tile, features)

    monkeypatch.setattr(store, "write", full)
    on_a_gpu(predictor, store, monkeypatch)
    threads, done = threading.active_count(), []
    with pytest.raises(OutputError, match="full"):
        for item in iter_embeddings(predictor, stack, store, batch_size=1):
            done.append(item[0])
    assert done == [0, 1] and not embeddings.is_complete() and threading.active_count() == threads


def test_on_a_gpu_items_are_written_one_after_the_other_in_the_order_of_the_reports(
    predictor, stack, tmp_path, monkeypatch
):
    predictor.largest_batch = 1
    embeddings, store = open_embeddings(predictor, stack, tmp_path / "e")
    on_a_gpu(predictor, store, monkeypatch)
    write, busy, written, threads = store.write, threading.Lock(), [], set()

    def watched(i, tile, features):
        assert busy.acquire(blocking=False), "two writes at a time"
        time.sleep(0.01)
        write(i, tile, features)
        written.append((i, tile))
        threads.add(threading.current_thread())
        busy.release()

    monkeypatch.setattr(store, "write", watched)
    done = list(iter_embeddings(predictor, stack, store, batch_size=4, focus=lambda: 2))
    assert done == written and sorted(done) == list(store.items()) and embeddings.is_complete()
    assert predictor.calls == 5, "a batch that is too large is halved here too"
    assert threading.current_thread() not in threads


@pytest.mark.parametrize("part", ["read", "encode"])
def test_on_a_gpu_an_error_comes_after_the_reports_of_what_is_stored(predictor, stack, tmp_path, monkeypatch, part):
    _, store = open_embeddings(predictor, stack, tmp_path / "e")
    store.normalization = estimate_normalization(stack, 3)
    on_a_gpu(predictor, store, monkeypatch)
    encode, threads, done = predictor.encode_batch, threading.active_count(), []
    image = SlowStack(stack, 0)

    def fail_at_third(images):
        if predictor.calls == 2:
            raise OSError("no more")
        return encode(images)

    if part == "encode":
        monkeypatch.setattr(predictor, "encode_batch", fail_at_third)
    else:
        image.stack = stack[:2]
    with pytest.raises(IndexError if part == "read" else OSError):
        for item in iter_embeddings(predictor, image, store, batch_size=1):
            done.append(item)
    assert done == [(0, 0), (1, 0)] and len(store.missing()) == 3 and threading.active_count() == threads


def test_on_a_gpu_a_full_disc_is_reported_also_when_the_network_fails_next(predictor, stack, tmp_path, monkeypatch):
    _, store = open_embeddings(predictor, stack, tmp_path / "e")
    on_a_gpu(predictor, store, monkeypatch)

    def full(*arguments):
        raise OutputError("The disc is full.")

    monkeypatch.setattr(store, "write", full)
    encode = predictor.encode_batch
    monkeypatch.setattr(predictor, "encode_batch", lambda images: encode(images if predictor.calls == 0 else None))
    with pytest.raises(OutputError, match="full"):
        list(iter_embeddings(predictor, stack, store, batch_size=1))


def test_on_a_gpu_features_in_memory_stay_where_they_are_and_are_reported_at_once(predictor, stack, monkeypatch):
    _, store = open_embeddings(predictor, stack)
    on_a_gpu(predictor, store, monkeypatch)
    encode, made = predictor.encode_batch, []

    def kept(images):
        made.extend(encode(images))
        return made[-len(images) :]

    monkeypatch.setattr(predictor, "encode_batch", kept)
    for item in iter_embeddings(predictor, stack, store, batch_size=1):
        assert store.load(*item) is made[-1]


def test_features_that_leave_the_gpu_are_waited_for():
    waited = []
    tensor = SimpleNamespace(device="cuda:0", to=lambda device, non_blocking: waited.append(not non_blocking))
    to_device(ImageFeatures(tensor, (64, 64), (64, 64), tensor), "cpu")
    assert waited == [True, True]


def test_mask_leaves_out_empty_tiles_and_slices(predictor, stack, tmp_path):
    mask = np.zeros(stack.shape, bool)
    mask[1, 35, 50] = True
    embeddings = precompute_image_embeddings(
        predictor, stack, tmp_path / "e", tile_shape=(32, 32), mask=mask, verbose=False
    )
    assert predictor.calls == 1
    assert embeddings.is_complete(1, 3) and not embeddings.is_complete(0, 0)
    _, store = open_embeddings(predictor, stack, tmp_path / "e")
    assert not store.missing(), "what the mask left out stays left out"
    mask[2, 0, 0] = True
    precompute_image_embeddings(predictor, stack, tmp_path / "e", tile_shape=(32, 32), mask=mask, verbose=False)
    assert predictor.calls == 2, "a larger mask adds what it covers"


def test_progress_callbacks_are_called(predictor, stack):
    seen = []
    precompute_image_embeddings(
        predictor, stack, pbar_init=lambda total, text: seen.append(total), pbar_update=lambda n: seen.append(n)
    )
    assert seen == [5, 1, 1, 1, 1, 1]


def test_set_precomputed_checks_slice_and_tile(predictor, stack):
    volume = precompute_image_embeddings(predictor, stack, verbose=False)
    assert set_precomputed(predictor, volume, i=2) is predictor
    assert torch.equal(predictor.held.features, volume.load(2).features)
    assert predictor.source == (volume, 2), "scripts find the image there, to look closer"
    for wrong in ({}, {"i": 5}, {"i": -1}):
        with pytest.raises(InputError):
            set_precomputed(predictor, volume, **wrong)
    image = precompute_image_embeddings(predictor, stack[0], verbose=False)
    with pytest.raises(ValueError, match="2D image"):
        set_precomputed(predictor, image, i=0)
    tiled = precompute_image_embeddings(predictor, stack[0], tile_shape=(32, 32), verbose=False)
    with pytest.raises(InputError, match="tile_id"):
        set_precomputed(predictor, tiled)
    set_precomputed(predictor, tiled, tile_id=3)
    assert predictor.held.original_size == tiled.grid[3].shape and predictor.source is None


def test_dicts_of_scripts_are_understood(predictor, stack):
    volume = precompute_image_embeddings(predictor, stack, verbose=False)
    plain = {key: volume[key] for key in volume}
    assert plain["features"].shape == (5, 1, 4, 8, 8) and plain["original_size"] == (40, 56)
    again = as_embeddings(plain)
    assert torch.equal(again.load(3).features, volume.load(3).features)
    tiled = precompute_image_embeddings(predictor, stack[0], tile_shape=(32, 32), verbose=False)
    plain = dict(tiled)
    assert plain["input_size"] is None and plain["features"].attrs["tile_shape"] == [32, 32]
    again = as_embeddings(plain)
    assert again.grid == tiled.grid and torch.equal(again.load(tile=2).features, tiled.load(tile=2).features)
    for wrong in (3, {"a": 1}, {"features": np.zeros((1, 4, 8, 8))}, {"features": np.zeros((8, 8)), **volume_sizes()}):
        with pytest.raises(InputError):
            as_embeddings(wrong)


def volume_sizes():
    return {"input_size": (46, 64), "original_size": (40, 56)}


def test_large_images_get_tiles_by_themselves(predictor, tmp_path):
    image = np.zeros((300, 100), "uint8")
    embeddings, _ = open_embeddings(predictor, image, tmp_path / "e")
    assert embeddings.grid.is_tiled and embeddings.grid.halo == (8, 8)
    again, _ = open_embeddings(predictor, image, tmp_path / "e")
    assert again.grid == embeddings.grid
    small, _ = open_embeddings(predictor, image[:100])
    assert not small.grid.is_tiled


def test_colour_images_are_not_stacks(predictor):
    colour = np.zeros((40, 56, 3), "uint8")
    assert precompute_image_embeddings(predictor, colour, verbose=False).n_slices is None
    assert precompute_image_embeddings(predictor, colour[None].repeat(2, 0), ndim=3, verbose=False).n_slices == 2
    for wrong in (np.zeros(5), np.zeros((2, 3, 4, 5, 6)), np.zeros((0, 5)), np.zeros((2, 40, 56, 2))):
        with pytest.raises(InputError):
            precompute_image_embeddings(predictor, wrong, verbose=False)


def test_mask_of_another_shape_is_refused(predictor, stack):
    with pytest.raises(InputError, match="mask has the shape"):
        precompute_image_embeddings(predictor, stack, mask=np.ones((3, 3), bool), verbose=False)


def test_noisy_stacks_are_smoothed_where_it_is_asked_for_and_a_cache_goes_on_as_it_began(predictor, stack, tmp_path):
    def features(path, **options):
        embeddings, store = open_embeddings(predictor, stack, path, 3, **options)
        for _ in iter_embeddings(predictor, stack, store):
            pass
        return embeddings, store

    plain, store = features(tmp_path / "plain.zarr")
    smoothed, other = features(tmp_path / "smoothed.zarr", smooth_noise=True)
    assert store.normalization.smoothing == 0 < other.normalization.smoothing
    assert not np.allclose(plain.load(2).features, smoothed.load(2).features)
    again, third = open_embeddings(predictor, stack, tmp_path / "smoothed.zarr", 3)
    assert third.normalization == other.normalization and not third.missing()
    old, fourth = open_embeddings(predictor, stack, tmp_path / "plain.zarr", 3, smooth_noise=True)
    assert fourth.normalization.smoothing == 0 and not fourth.missing()


def test_smoothed_tiles_agree_with_the_smoothed_image(predictor, stack):
    from micro_sam.embeddings.compute import network_image

    _, whole = open_embeddings(predictor, stack, None, 3, "whole", smooth_noise=True)
    _, tiled = open_embeddings(predictor, stack, None, 3, (32, 32), (4, 4), smooth_noise=True)
    image = network_image(stack, 1, whole.grid[0].outer, whole)
    for tile in tiled.grid:
        assert np.array_equal(network_image(stack, 1, tile.outer, tiled), image[tile.outer])
