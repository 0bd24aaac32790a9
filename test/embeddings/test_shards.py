"""Caches with several items in a file, and caches that several processes fill."""

import errno
import threading

import numpy as np
import pytest
import zarr

from micro_sam.distributed.options import Part
from micro_sam.embeddings.compute import iter_embeddings, open_embeddings
from micro_sam.embeddings.embeddings import as_embeddings
from micro_sam.embeddings.tasks import EmbeddingSettings, item_groups, items_of_part
from micro_sam.embeddings.views import as_numpy
from micro_sam.errors import CacheError, NotComputedYet, OutputError


@pytest.fixture
def large():
    """(200, 240) uint8 image that is cut into 20 tiles."""
    return np.random.default_rng(1).integers(0, 255, (200, 240)).astype("uint8")


def fill(predictor, image, path, **more):
    embeddings, store = open_embeddings(predictor, image, path, **more)
    list(iter_embeddings(predictor, image, store))
    return embeddings, store


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("tiles", [None, (48, 48)])
@pytest.mark.parametrize("shard", [2, 3, 1000])
def test_shards_hold_the_same_features_in_few_files(make_predictor, stack, tmp_path, shard, tiles, dense):
    predictor = make_predictor(dense=dense)
    plain, _ = fill(predictor, stack, tmp_path / "plain", tile_shape=tiles)
    fill(predictor, stack, tmp_path / "shards", tile_shape=tiles, shard=shard)
    again = as_embeddings(tmp_path / "shards")
    items = list(again.store.items())
    assert again.is_complete() and again.store.items_per_file == min(shard, len(items))
    for i, tile in items:
        one, other = plain.load(i, tile), again.load(i, tile)
        assert np.array_equal(one.features, other.features) and one.input_size == other.input_size
        assert one.original_size == other.original_size
        assert (one.dense is None) == (other.dense is None)
        assert one.dense is None or np.array_equal(one.dense, other.dense)
    data = [path for path in (tmp_path / "shards").rglob("*") if path.is_file() and path.name[0].isdigit()]
    assert len(data) == (3 if dense else 2) * -(-len(items) // min(shard, len(items)))
    if tiles is None:
        assert np.array_equal(plain["features"][:], again["features"][:]), "the mapping of scripts"
    else:
        assert np.array_equal(plain["features"]["1"][:], again["features"]["1"][:])
        assert again["features"].attrs["tile_shape"] == list(tiles)


def test_any_reader_of_zarr_reads_the_shards_of_a_stack(predictor, stack, tmp_path):
    embeddings, _ = fill(predictor, stack, tmp_path / "e", shard=2)
    group = zarr.open_group(str(tmp_path / "e"), mode="r")
    assert group["features"].shape[0] == 5 and group["features"].chunks[0] == 2
    assert np.array_equal(group["features"][3], as_numpy(embeddings.load(3).features))
    assert list(group.attrs["input_size"]) and list(group.attrs["original_size"]) == [40, 56]


def test_an_existing_cache_goes_on_as_it_began(predictor, stack, tmp_path):
    _, store = open_embeddings(predictor, stack, tmp_path / "plain")
    next(iter_embeddings(predictor, stack, store))
    assert fill(predictor, stack, tmp_path / "plain", shard=4)[1].items_per_file == 1
    _, store = open_embeddings(predictor, stack, tmp_path / "shards", shard=4)
    next(iter_embeddings(predictor, stack, store))
    assert fill(predictor, stack, tmp_path / "shards")[1].items_per_file == 4


def test_an_item_of_a_shard_is_there_wholly_or_not_at_all(predictor, stack, tmp_path):
    embeddings, store = open_embeddings(predictor, stack, tmp_path / "e", shard=5)
    run = iter_embeddings(predictor, stack, store)
    next(run), next(run)
    other = as_embeddings(tmp_path / "e")
    assert [other.is_complete(i) for i in range(5)] == [True, True, False, False, False]
    with pytest.raises(NotComputedYet):
        other.load(3)
    chunk = tmp_path / "e" / "features" / "0.0.0.0.0"
    with open(chunk, "r+b") as file:  # damaged by a copy
        file.write(b"\1" * 40)
    assert as_embeddings(tmp_path / "e").is_complete(0)
    with pytest.raises(NotComputedYet, match="damaged"):
        as_embeddings(tmp_path / "e").load(0)
    embeddings, store = open_embeddings(predictor, stack, tmp_path / "e")
    with pytest.raises(NotComputedYet):
        embeddings.load(0)
    list(iter_embeddings(predictor, stack, store))
    assert embeddings.is_complete() and as_embeddings(tmp_path / "e").load(0).features is not None


def test_shards_cut_short_by_a_copy_count_as_missing(predictor, stack, tmp_path):
    fill(predictor, stack, tmp_path / "e", shard=2)
    chunk = tmp_path / "e" / "features" / "1.0.0.0.0"
    chunk.write_bytes(chunk.read_bytes()[:100])
    assert as_embeddings(tmp_path / "e").store.missing() == [(2, 0), (3, 0)]
    (tmp_path / "e" / "state" / "checksum" / ".zarray").unlink()
    with pytest.raises(CacheError, match="lack the note"):
        as_embeddings(tmp_path / "e")


def test_full_disc_leaves_a_shard_without_the_item(predictor, stack, tmp_path, monkeypatch):
    embeddings, store = open_embeddings(predictor, stack, tmp_path / "e", shard=5)
    run = iter_embeddings(predictor, stack, store)
    next(run)

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fstat", full)
        with pytest.raises(OutputError, match="No space left on device.*intact"):
            next(run)
    assert embeddings.is_complete(0) and len(store.missing()) == 4
    list(iter_embeddings(predictor, stack, store))
    assert embeddings.is_complete()


@pytest.mark.parametrize("shard", [None, 3])
def test_parts_in_any_order_and_at_once_make_a_complete_cache(make_predictor, large, tmp_path, shard):
    single, _ = fill(make_predictor(), large, tmp_path / "single", tile_shape=(48, 48), shard=shard)
    predictors = [make_predictor() for _ in range(4)]
    ends = []

    def run(number):
        predictor = predictors[number - 1]
        _, store = open_embeddings(predictor, large, tmp_path / "parts", tile_shape=(48, 48), shard=shard)
        items = items_of_part(store, Part(number, 4))
        list(iter_embeddings(predictor, large, store, items=items))
        ends.append(store.finish())

    threads = [threading.Thread(target=run, args=(number,)) for number in (3, 1, 4, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    parts = as_embeddings(tmp_path / "parts")
    assert parts.is_complete() and any(ends)
    assert sum(predictor.calls for predictor in predictors) == len(parts.grid) == 25, "nothing is computed twice"
    for tile in range(25):
        assert np.array_equal(single.load(None, tile).features, parts.load(None, tile).features)


def test_whoever_is_last_notes_that_a_stack_is_complete(make_predictor, stack, tmp_path):
    ended = []
    for number in (2, 1, 3):
        predictor = make_predictor()
        _, store = open_embeddings(predictor, stack, tmp_path / "e")
        list(iter_embeddings(predictor, stack, store, items=items_of_part(store, Part(number, 3))))
        ended.append(store.finish())
    assert ended == [False, False, True]
    assert zarr.open_group(str(tmp_path / "e"), mode="r").attrs["input_size"] is not None


def test_notes_of_two_processes_do_not_undo_each_other(predictor, stack, tmp_path):
    fill(predictor, stack[:1], tmp_path / "e", ndim=3)
    group = zarr.open_group(str(tmp_path / "e"), mode="r+")
    group.attrs["input_size"] = None
    _, first = open_embeddings(predictor, stack[:1], tmp_path / "e", ndim=3)
    _, second = open_embeddings(predictor, stack[:1], tmp_path / "e", ndim=3)  # has read that there is no size yet
    assert first.finish()
    second.remember_file((1, 2))
    attrs = zarr.open_group(str(tmp_path / "e"), mode="r").attrs
    assert attrs["input_size"] is not None and attrs["cache"]["image"]["file"] == [1, 2]


def test_a_reader_uses_what_a_running_job_has_stored_and_leaves_the_job_its_items(make_predictor, stack, tmp_path):
    job, window = make_predictor(), make_predictor()
    _, store = open_embeddings(job, stack, tmp_path / "e")
    running = iter_embeddings(job, stack, store)
    next(running), next(running)
    embeddings, mine = open_embeddings(window, stack, tmp_path / "e")
    assert embeddings.is_complete(0) and embeddings.is_complete(1) and not embeddings.is_complete(4)
    looking = iter_embeddings(window, stack, mine, focus=lambda: 4)
    assert next(looking) == (4, 0)
    list(running)
    list(looking)
    assert embeddings.is_complete() and job.calls + window.calls == 5, "what the other stored is not computed again"


def test_what_another_process_stored_meanwhile_is_not_written_again(make_predictor, stack, tmp_path):
    _, store = open_embeddings(make_predictor(), stack, tmp_path / "e")
    other = as_embeddings(tmp_path / "e")
    features = make_predictor().encode_batch([np.zeros((40, 56, 3), "uint8")])[0]
    different = make_predictor().encode_batch([np.full((40, 56, 3), 9, "uint8")])[0]
    store.write(0, 0, features)
    other.store.write(0, 0, different)  # as another device computes it: a reader must not meet half of each
    assert np.array_equal(as_embeddings(tmp_path / "e").load(0).features, features.features)


def test_items_of_one_file_go_to_one_task(predictor, stack, tmp_path):
    _, store = open_embeddings(predictor, stack, tmp_path / "e", tile_shape=(32, 32), shard=3)
    groups = list(item_groups(store, store.items(), EmbeddingSettings(workers=4)))
    assert [item for group in groups for item in group] == list(store.items())
    numbers = [{(i * len(store.grid) + tile) // 3 for i, tile in group} for group in groups]
    assert all(len(one) == 1 for one in numbers) and len(groups) == len(set.union(*numbers))


def test_a_new_cache_of_many_tiles_makes_few_files_before_the_first_tile(predictor, tmp_path):
    image = np.zeros((2000, 2000), "uint8")
    _, store = open_embeddings(predictor, image, tmp_path / "e", tile_shape=(40, 40))
    assert len(store.grid) == 2500
    assert sum(path.is_file() for path in (tmp_path / "e").rglob("*")) < 12


@pytest.mark.parametrize("shard", [None, 3])
@pytest.mark.parametrize("tiles", [None, (48, 48)])
def test_a_cache_in_half_precision_takes_half_the_room_and_goes_on_as_it_began(
    predictor, stack, tmp_path, shard, tiles
):
    options = {"tile_shape": tiles, "shard": shard}
    plain, _ = fill(predictor, stack, tmp_path / "plain", **options)
    fill(predictor, stack, tmp_path / "half", half=True, **options)
    _, again = fill(predictor, stack, tmp_path / "half", **options)
    assert not again.missing() and all(again.is_complete(*item) for item in again.items())
    for item in again.items():
        one, other = plain.load(*item).features, again.load(*item).features
        assert other.dtype == one.dtype and not np.array_equal(one, other)
        assert np.allclose(one, other, rtol=1e-3, atol=1e-4)
    again.write(*item, plain.load(*item))  # what is there already is left alone
    room = [sum(p.stat().st_size for p in (tmp_path / n / "features").rglob("*")) for n in ("plain", "half")]
    assert room[1] < 0.75 * room[0]
