"""The cache on disc never lies: what is wrong is refused, what is incomplete is computed, what is complete stays."""

import contextlib
import dataclasses
import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch
import xxhash
import zarr
from old_caches import write_old_cache

from micro_sam.embeddings.compute import iter_embeddings, open_embeddings, precompute_image_embeddings
from micro_sam.embeddings.embeddings import as_embeddings
from micro_sam.embeddings.zarr_layout import make_stack
from micro_sam.embeddings.zarr_store import ZarrStore
from micro_sam.errors import CacheError, NotComputedYet, OutputError
from micro_sam.io.normalization import Normalization
from micro_sam.models.registry import EARLIER_WEIGHTS


def test_layout_is_the_one_that_scripts_know(predictor, stack, tmp_path):
    precompute_image_embeddings(predictor, stack, tmp_path / "volume", verbose=False)
    group = zarr.open_group(str(tmp_path / "volume"), mode="r")
    assert group.metadata.zarr_format == 2
    assert group["features"].shape == (5, 1, 4, 8, 8) and group["features"].dtype == "float32"
    assert group["features"].chunks == (1, 1, 4, 8, 8)
    attrs = dict(group.attrs)
    assert attrs["input_size"] == [46, 64] and attrs["original_size"] == [40, 56]
    assert attrs["data_signature"] == hashlib.sha1(stack.tobytes()).hexdigest()
    assert attrs["tile_shape"] is None and attrs["halo"] is None
    assert (attrs["model_type"], attrs["model_name"], attrs["model_hash"]) == ("vit_b", "fake", "0123456789abcdef")
    assert attrs["micro_sam_version"]

    precompute_image_embeddings(
        predictor, stack[0], tmp_path / "tiled", tile_shape=(32, 40), halo=(4, 8), verbose=False
    )
    group = zarr.open_group(str(tmp_path / "tiled"), mode="r")
    assert sorted(group["features"].array_keys()) == ["0", "1", "2", "3"]
    assert dict(group["features"].attrs) == {"shape": [40, 56], "tile_shape": [32, 40], "halo": [4, 8]}
    assert group["features/0"].shape == (1, 4, 8, 8)
    assert group["features/0"].attrs["original_size"] == [36, 48]
    assert group.attrs["input_size"] is None and group.attrs["tile_shape"] == [32, 40]


def test_a_cut_chunk_of_an_older_cache_is_not_taken_for_features(predictor, stack, tmp_path):
    import numcodecs

    path = write_old_cache(tmp_path / "a", stack)
    group = zarr.open_group(str(path), mode="a")
    del group["features"]
    array = group.create_array(
        "features", shape=(5, 1, 4, 8, 8), chunks=(1, 1, 4, 8, 8), dtype="float32", compressors=numcodecs.Blosc()
    )
    array[:] = np.random.default_rng(0).random(array.shape)
    chunk = path / "features" / "3.0.0.0.0"
    chunk.write_bytes(chunk.read_bytes()[:-300])
    embeddings, _ = open_embeddings(predictor, stack, path)
    assert embeddings.load(2).features.shape == (1, 4, 8, 8)
    with pytest.raises(NotComputedYet, match="damaged"):
        embeddings.load(3)


def test_caches_of_older_versions_open_and_go_on(predictor, stack, tmp_path):
    path = write_old_cache(tmp_path / "a", stack)
    embeddings, store = open_embeddings(predictor, stack, path)
    assert embeddings.is_complete() and not store.missing()
    assert embeddings.load(3).features[0, 0, 0, 0] == 4
    assert embeddings.load(3).input_size == (46, 64)

    path = write_old_cache(tmp_path / "b", stack, leave_out=2)
    embeddings, store = open_embeddings(predictor, stack, path)
    assert store.missing() == [(2, 0)]
    assert list(iter_embeddings(predictor, stack, store)) == [(2, 0)]
    assert embeddings.is_complete() and embeddings.load(3).features[0, 0, 0, 0] == 4
    again, store = open_embeddings(predictor, stack, path)
    assert again.is_complete() and not store.missing()

    path = write_old_cache(tmp_path / "c", stack[0], tiled=True, leave_out=2)
    embeddings, store = open_embeddings(predictor, stack[0], path)
    assert embeddings.grid.tile_shape == (32, 32) and not store.missing(), "tiles outside the mask are not missing"
    assert embeddings.load(tile=3).features.max() == 4
    assert as_embeddings(zarr.open_group(str(path), mode="r")).load(tile=1).features.max() == 2

    with pytest.raises(CacheError, match="image differs"):
        open_embeddings(predictor, stack + 1, tmp_path / "a")
    other = write_old_cache(tmp_path / "d", stack, model_hash="ffff")
    with pytest.raises(CacheError, match="model differs"):
        open_embeddings(predictor, stack, other)


def test_a_cache_of_the_shipped_weights_before_is_refused_with_their_date(make_predictor, stack, tmp_path):
    date, weights = list(EARLIER_WEIGHTS.items())[-1]
    before = make_predictor(name="nano_lm", weights=weights)
    precompute_image_embeddings(before, stack, tmp_path / "e", verbose=False)
    now = make_predictor(name="nano_lm", weights="f" * 32)
    with pytest.raises(CacheError, match=f"{weights[:12]}, nano_lm@{date}.*ffff") as error:
        open_embeddings(now, stack, tmp_path / "e")
    assert "another embedding path" in str(error.value)


def test_what_does_not_belong_is_refused_by_name(predictor, make_predictor, stack, tmp_path):
    path = tmp_path / "e"
    precompute_image_embeddings(predictor, stack, path, verbose=False)
    changed = stack.copy()
    changed[2, 20, 27] += 1
    square = stack.reshape(5, 56, 40)
    cases = [
        (predictor, changed, {}, "image differs"),
        (predictor, square, {}, "shape of the image differs"),
        (predictor, stack[:4], {}, r"stored: \(5, 40, 56\), wanted: \(4, 40, 56\)"),
        (predictor, stack.astype("int32"), {}, "image differs"),
        (make_predictor("other", "feedbeef"), stack, {}, "model differs.*fake.*other"),
        (predictor, stack, {"tile_shape": (32, 32)}, "tile shape differs"),
        (predictor, stack, {"normalization": Normalization((0,), (9,))}, "grey value range differs.*automatic.*0 to 9"),
    ]
    for model, image, options, words in cases:
        with pytest.raises(CacheError, match=words) as problem:
            open_embeddings(model, image, path, **options)
        assert "another embedding path" in str(problem.value) and str(path) in str(problem.value)
    tiled = tmp_path / "tiled"
    precompute_image_embeddings(predictor, stack, tiled, tile_shape=(32, 32), halo=(4, 4), verbose=False)
    with pytest.raises(CacheError, match="halo differs"):
        open_embeddings(predictor, stack, tiled, tile_shape=(32, 32), halo=(8, 8))
    with pytest.raises(CacheError, match="tile shape differs"):
        open_embeddings(predictor, stack, tiled, tile_shape="whole")
    assert open_embeddings(predictor, stack, tiled)[0].is_complete(), "without a wish the cache decides"


def test_cache_is_used_after_a_move_on_another_device_and_precision(predictor, make_predictor, stack, tmp_path):
    np.save(tmp_path / "image.npy", stack)
    path = tmp_path / "image.npy"
    image = np.load(path, mmap_mode="r")
    _, store = open_embeddings(predictor, image, tmp_path / "e", image_path=path)
    assert len(list(iter_embeddings(predictor, image, store))) == 5
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(path, tmp_path / "elsewhere" / "renamed.npy")
    os.utime(tmp_path / "elsewhere" / "renamed.npy", (1, 1))
    shutil.move(tmp_path / "e", tmp_path / "elsewhere" / "e")
    other = make_predictor("renamed model")
    other.precision = "bf16"
    moved = np.load(tmp_path / "elsewhere" / "renamed.npy", mmap_mode="r")
    embeddings, _ = open_embeddings(
        other, moved, tmp_path / "elsewhere" / "e", image_path=tmp_path / "elsewhere" / "renamed.npy"
    )
    assert embeddings.is_complete()


def test_half_copied_cache_is_completed(predictor, stack, tmp_path):
    path = tmp_path / "e"
    reference = precompute_image_embeddings(predictor, stack, verbose=False)
    precompute_image_embeddings(predictor, stack, path, verbose=False)
    (path / "features" / "1.0.0.0.0").unlink()
    with open(path / "features" / "2.0.0.0.0", "r+b") as file:
        file.truncate(100)
    with open(path / "features" / "3.0.0.0.0", "r+b") as file:
        file.write(b"\xff\x00\xff\x00")
    calls = predictor.calls
    embeddings, store = open_embeddings(predictor, stack, path)
    assert store.missing() == [(1, 0), (2, 0)]
    with pytest.raises(NotComputedYet):
        embeddings.load(2)
    with pytest.raises(NotComputedYet, match="damaged"):
        embeddings.load(3)
    assert store.missing() == [(1, 0), (2, 0), (3, 0)]
    list(iter_embeddings(predictor, stack, store))
    assert predictor.calls - calls == 3
    for i in range(5):
        assert torch.equal(embeddings.load(i).features, reference.load(i).features)


@pytest.mark.parametrize("tile_shape", [None, (32, 32)])
@pytest.mark.parametrize("damage", ["missing", "short", "empty"])
def test_no_damaged_file_of_a_cache_gives_wrong_features(make_predictor, stack, tmp_path, tile_shape, damage):
    predictor, stack = make_predictor(dense=True), stack[:2]
    reference = precompute_image_embeddings(predictor, stack, tile_shape=tile_shape, verbose=False)
    precompute_image_embeddings(predictor, stack, tmp_path / "whole", tile_shape=tile_shape, verbose=False)
    files = sorted(p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole").rglob("*") if p.is_file())
    refused = 0
    for number, file in enumerate(files[:: 1 if tile_shape is None else 3]):
        path = tmp_path / str(number)
        shutil.copytree(tmp_path / "whole", path)
        if damage == "missing":
            (path / file).unlink()
        else:
            with open(path / file, "r+b") as handle:
                handle.truncate(handle.seek(0, 2) // 2 if damage == "short" else 0)
        try:
            embeddings, store = open_embeddings(predictor, stack, path, tile_shape=tile_shape or "whole")
        except CacheError:
            refused += 1
            continue
        for _ in range(2):  # what is found to be damaged when it is read is computed in the next run
            list(iter_embeddings(predictor, stack, store))
            for item in store.items():
                with contextlib.suppress(NotComputedYet):
                    embeddings.load(*item)
        for item in store.items():
            loaded, expected = embeddings.load(*item), reference.load(*item)
            assert torch.equal(loaded.features, expected.features), file
            assert loaded.input_size == expected.input_size and torch.allclose(loaded.dense, expected.dense, atol=0.01)
    assert refused < len(files) / 2


def test_run_that_is_killed_leaves_whole_slices_only(predictor, tmp_path):
    program = """
        import sys, time
        sys.path.insert(0, sys.argv[2])
        import numpy as np
        from conftest import FakePredictor
        from micro_sam.embeddings.compute import iter_embeddings, open_embeddings
        image = (np.arange(60 * 40 * 56) % 251).reshape(60, 40, 56).astype("uint8")
        _, store = open_embeddings(FakePredictor(), image, sys.argv[1])
        for i, _ in iter_embeddings(FakePredictor(), image, store):
            print(i, flush=True)
    """
    script, path = tmp_path / "program.py", tmp_path / "e"
    script.write_text(textwrap.dedent(program))
    here = os.path.dirname(__file__)
    process = subprocess.Popen([sys.executable, str(script), str(path), here], stdout=subprocess.PIPE, text=True)
    done = [int(process.stdout.readline()) for _ in range(7)]
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read()
    done += [int(line) for line in rest.splitlines()]
    process.wait()
    image = (np.arange(60 * 40 * 56) % 251).reshape(60, 40, 56).astype("uint8")
    embeddings, store = open_embeddings(predictor, image, path)
    missing = [i for i, _ in store.missing()]
    assert not set(done) & set(missing) and len(missing) < 60
    reference = precompute_image_embeddings(predictor, image, verbose=False)
    calls = predictor.calls
    list(iter_embeddings(predictor, image, store))
    assert predictor.calls - calls == len(missing)
    assert all(torch.equal(embeddings.load(i).features, reference.load(i).features) for i in range(60))


def test_dense_maps_are_kept_beside_the_features(make_predictor, stack, tmp_path):
    predictor = make_predictor(dense=True)
    embeddings = precompute_image_embeddings(predictor, stack, tmp_path / "e", verbose=False)
    loaded = open_embeddings(predictor, stack, tmp_path / "e")[0].load(2)
    assert loaded.dense.shape == (3, 32, 32) and loaded.dense.dtype == torch.float32
    assert torch.allclose(loaded.dense, predictor.encode(np.zeros((4, 4, 3), "uint8")).dense, atol=0.01)
    assert embeddings["features"].shape == (5, 1, 4, 8, 8)


def test_dense_maps_are_rounded_as_numpy_rounds(make_predictor, stack, tmp_path):
    predictor = make_predictor(dense=True)
    _, store = open_embeddings(predictor, stack, tmp_path / "e")
    half = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype("float32")  # all that are finite
    edges = np.concatenate([half, (half[1:] + half[:-1]) / 2, np.float32([65519, 65520, 1e9])])  # ties are hardest
    nearby = np.concatenate([edges, np.nextafter(edges, np.float32(0)), np.nextafter(edges, np.float32(1e30))])
    dense = np.concatenate([nearby, -nearby])[None, None]
    features = dataclasses.replace(predictor.encode(np.zeros((40, 56, 3), "uint8")), dense=torch.from_numpy(dense))
    store.write(0, 0, features)
    with np.errstate(over="ignore"):
        expected = dense.astype("float16")
    stored = zarr.open_group(str(tmp_path / "e"), mode="r")["state/dense/0"][0]
    assert stored.dtype == "float16" and stored.tobytes() == expected.tobytes()


def test_marks_are_read_as_zarr_has_them_whatever_else_lies_there(predictor, stack, tmp_path):
    options = dict(tile_shape=(32, 32), halo=(4, 4))
    _, store = open_embeddings(predictor, stack, tmp_path / "e", **options)
    items = list(store.items())
    for item in iter_embeddings(predictor, stack, store, items=items[::3]):
        assert store.is_complete(*item)
    store.skip(*items[1])
    folder = tmp_path / "e" / "state" / "checksum"
    marks = zarr.open_group(str(tmp_path / "e"), mode="r")["state/checksum"][:]
    for name in ("0.99", "99.0", "3", "0.1.2", ".DS_Store", f"0.0.{'0' * 32}.partial"):
        (folder / name).write_bytes(b"\1" * 8)
    assert np.array_equal(store._files.marks(), marks) and np.count_nonzero(marks) == len(items[::3]) + 1
    (folder / "0.0").write_bytes(b"\1" * 5)  # copied half
    assert ZarrStore.open(tmp_path / "e").missing()[0] == (0, 0)


def test_read_only_cache_is_read_but_not_written(predictor, stack, tmp_path, monkeypatch):
    path = tmp_path / "e"
    _, store = open_embeddings(predictor, stack, path)
    run = iter_embeddings(predictor, stack, store)
    next(run)
    run.close()

    def touch(self, *args, **kwargs):  # permission bits alone do not stop the superuser
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.touch", touch)
    embeddings, store = open_embeddings(predictor, stack, path)
    assert not store.writable and embeddings.load(0).features.shape == (1, 4, 8, 8)
    with pytest.raises(OutputError, match="cannot be written"):
        list(iter_embeddings(predictor, stack, store))


def test_full_disc_stops_the_run_and_keeps_what_was_stored(predictor, stack, tmp_path, monkeypatch):
    embeddings, store = open_embeddings(predictor, stack, tmp_path / "e")
    run = iter_embeddings(predictor, stack, store)
    assert next(run) == (0, 0)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_bytes", full)
        with pytest.raises(OutputError, match="No space left on device.*intact"):
            next(run)
    assert embeddings.is_complete(0) and len(store.missing()) == 4
    list(iter_embeddings(predictor, stack, store))
    assert embeddings.is_complete()


def test_cache_that_cannot_be_made_is_reported(predictor, stack, tmp_path):
    (tmp_path / "file").write_text("text")
    with pytest.raises(OutputError):
        open_embeddings(predictor, stack, tmp_path / "file" / "e")
    for name in ("file", "folder"):
        (tmp_path / "folder").mkdir(exist_ok=True)
        (tmp_path / "folder" / "notes.txt").write_text("text")
        with pytest.raises(CacheError, match="not a folder with embeddings"):
            open_embeddings(predictor, stack, tmp_path / name)
    assert (tmp_path / "folder" / "notes.txt").exists()
    (tmp_path / "empty").mkdir()
    assert precompute_image_embeddings(predictor, stack, tmp_path / "empty", verbose=False).is_complete()
    with pytest.raises(CacheError, match="no embeddings at"):
        as_embeddings(tmp_path / "missing")


def test_two_writers_do_not_disturb_each_other(predictor, make_predictor, stack, tmp_path):
    second = make_predictor()
    first_view, first = open_embeddings(predictor, stack, tmp_path / "e")
    second_view, other = open_embeddings(second, stack, tmp_path / "e")
    one = iter_embeddings(predictor, stack, first, focus=lambda: 0)
    two = iter_embeddings(second, stack, other, focus=lambda: 4)
    for run in (one, two, one, two, one, two):
        next(run, None)
    list(one), list(two)
    assert predictor.calls + second.calls == 5, "nothing is computed twice"
    assert first_view.is_complete() and second_view.is_complete()
    assert dict(zarr.open_group(str(tmp_path / "e")).attrs)["input_size"] == [46, 64]


@pytest.mark.parametrize("step", ["compute_signature", "estimate_normalization"])
def test_losing_the_race_of_creating_opens_the_winner(predictor, stack, tmp_path, monkeypatch, step):
    """Another process makes the cache after this one has seen that there is none."""
    from micro_sam.embeddings import opening

    real = getattr(opening, step)

    def overtaken(*arguments):
        monkeypatch.setattr(opening, step, real)
        _, store = open_embeddings(predictor, stack, tmp_path / "e", tile_shape=(32, 32))
        list(iter_embeddings(predictor, stack, store))
        return real(*arguments)

    monkeypatch.setattr(opening, step, overtaken)
    view, _ = open_embeddings(predictor, stack, tmp_path / "e")
    assert view.is_complete() and view.store.key.tile_shape == (32, 32)
    assert [p.name for p in tmp_path.iterdir()] == ["e"]


def test_losing_the_race_to_a_cache_of_another_image_is_refused(predictor, stack, tmp_path, monkeypatch):
    from micro_sam.embeddings import opening

    real = opening.compute_signature

    def overtaken(*arguments):
        monkeypatch.setattr(opening, "compute_signature", real)
        open_embeddings(predictor, 255 - stack, tmp_path / "e")
        return real(*arguments)

    monkeypatch.setattr(opening, "compute_signature", overtaken)
    with pytest.raises(CacheError, match="the image differs"):
        open_embeddings(predictor, stack, tmp_path / "e")


def test_a_cache_is_not_made_over_anything(predictor, stack, tmp_path):
    _, store = open_embeddings(predictor, stack, tmp_path / "e")
    assert ZarrStore.create(tmp_path / "e", store.key, (1, 4, 8, 8), store.normalization) is None
    assert ZarrStore.create(tmp_path / "f", store.key, (1, 4, 8, 8), store.normalization).missing()
    (tmp_path / "file").write_text("a note")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "note.txt").write_text("a note")
    for name in ("file", "folder"):
        with pytest.raises(OutputError, match="does not hold embeddings"):
            ZarrStore.create(tmp_path / name, store.key, (1, 4, 8, 8), store.normalization)
    assert (tmp_path / "file").read_text() == (tmp_path / "folder" / "note.txt").read_text() == "a note"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e", "f", "file", "folder"]


def test_one_slice_is_read_quickly(predictor, tmp_path):
    """Features of SAM's size, 4 MB a slice: what zarr takes to read it and a hash of it cost, and little more."""
    predictor.model.embed_dim, predictor.model.grid_size = 256, 64
    image = np.zeros((6, 32, 32), "uint8")
    embeddings, store = open_embeddings(predictor, image, tmp_path / "e")
    features = dataclasses.replace(
        predictor.encode(np.zeros((32, 32, 3), "uint8")), features=torch.rand(1, 256, 64, 64)
    )
    for i in range(6):
        store.write(i, 0, features)
    times, bare, array = [], [], zarr.open_array(tmp_path / "e" / "features", mode="r")
    for i in range(6):
        start = time.process_time()
        xxhash.xxh3_64(np.ascontiguousarray(array[i]))
        bare.append(time.process_time() - start)
        start = time.process_time()
        embeddings.load(i)
        times.append(time.process_time() - start)
    print(f"{min(times) * 1e3:.1f} ms a slice, {min(bare) * 1e3:.1f} ms with zarr alone")
    assert min(times) < 4 * min(bare)


def test_arrays_of_tiles_are_made_when_they_are_written(predictor, stack, tmp_path):
    embeddings, store = open_embeddings(predictor, stack, tmp_path / "e", tile_shape=(32, 32), halo=(4, 4))
    assert not list((tmp_path / "e" / "features").glob("*/.zarray"))
    run = iter_embeddings(predictor, stack, store)
    done = [next(run), next(run)]
    run.close()
    assert len(list((tmp_path / "e" / "features").glob("*/.zarray"))) == 2
    again, store = open_embeddings(predictor, stack, tmp_path / "e", tile_shape=(32, 32), halo=(4, 4))
    assert all(again.is_complete(*item) for item in done) and len(store.missing()) == len(list(store.items())) - 2
    for _ in iter_embeddings(predictor, stack, store):
        pass
    group = zarr.open_group(str(tmp_path / "e"), mode="r")
    assert sorted(group["features"].array_keys()) == [str(tile) for tile in range(len(store.grid))]
    assert all(group[f"features/{t}"].attrs["input_size"] for t in range(len(store.grid)))
    assert embeddings.is_complete(), "who has the cache open sees them"


def test_a_tile_outside_the_mask_has_no_array_and_the_cache_opens_as_a_group(predictor, stack, tmp_path):
    image, mask = stack[0], np.zeros(stack.shape[1:], bool)
    mask[-4:, -4:] = True
    precompute_image_embeddings(
        predictor, image, tmp_path / "e", tile_shape=(32, 32), halo=(4, 4), mask=mask, verbose=False
    )
    group = zarr.open_group(str(tmp_path / "e"), mode="r")
    assert list(group["features"].array_keys()) == ["3"]
    embeddings = as_embeddings(group)
    assert embeddings.is_complete(None, 3) and embeddings.load(tile=3).features.shape == (1, 4, 8, 8)


def test_a_tile_whose_description_was_lost_is_computed_again(predictor, stack, tmp_path):
    image, options = stack[0], dict(tile_shape=(32, 32), halo=(4, 4))
    precompute_image_embeddings(predictor, image, tmp_path / "e", **options, verbose=False)
    (tmp_path / "e" / "features" / "2" / ".zarray").unlink()
    embeddings, store = open_embeddings(predictor, image, tmp_path / "e", **options)
    assert store.missing() == [(None, 2)]
    assert list(iter_embeddings(predictor, image, store)) == [(None, 2)] and embeddings.is_complete()
    assert embeddings.load(tile=2).features.any()


def test_a_cache_that_made_all_its_arrays_at_the_start_goes_on(predictor, stack, tmp_path):
    image, options = stack[0], dict(tile_shape=(32, 32), halo=(4, 4))
    embeddings, store = open_embeddings(predictor, image, tmp_path / "e", **options)
    group = zarr.open_group(str(tmp_path / "e"), mode="r+")
    for tile in range(len(store.grid)):
        make_stack(group, f"features/{tile}", None, (1, 4, 8, 8), "float32")
    notes = dict(group.attrs["cache"])
    del notes["feature_shape"]
    group.attrs["cache"] = notes
    embeddings, store = open_embeddings(predictor, image, tmp_path / "e", **options)
    assert len(store.missing()) == len(store.grid)
    run = iter_embeddings(predictor, image, store)
    item = next(run)
    run.close()
    again, store = open_embeddings(predictor, image, tmp_path / "e", **options)
    assert again.is_complete(*item) and len(store.missing()) == len(store.grid) - 1
