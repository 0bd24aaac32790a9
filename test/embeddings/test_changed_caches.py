"""Caches that were damaged, cut off from their run, or edited: each is mended by the next run or refused by name."""

import os
import shutil

import numpy as np
import pytest
import torch
import zarr
from old_caches import write_old_cache

from micro_sam.embeddings import plain_files
from micro_sam.embeddings.compute import iter_embeddings, open_embeddings
from micro_sam.embeddings.embeddings import as_embeddings
from micro_sam.embeddings.report import describe_cache
from micro_sam.embeddings.zarr_store import ZarrStore
from micro_sam.errors import CacheError, InputError, NotComputedYet

LAYOUTS = {
    "whole": {"tile_shape": "whole"},
    "tiled": {"tile_shape": (32, 32), "halo": (4, 4)},
    "shards": {"tile_shape": "whole", "shard": 2},
    "tiled shards": {"tile_shape": (32, 32), "halo": (4, 4), "shard": 3},
}


def fill(predictor, image, path, **more):
    embeddings, store = open_embeddings(predictor, image, path, **more)
    list(iter_embeddings(predictor, image, store))
    return embeddings


def damage(path, folder="features"):
    """Change some bytes of the last data file of a cache."""
    file = sorted(p for p in (path / folder).rglob("*") if p.is_file() and p.name[0].isdigit())[-1]
    content = bytearray(file.read_bytes())
    start = len(content) // 8  # the last shard is not full
    content[start : start + 8] = bytes(255 - v for v in content[start : start + 8])
    file.write_bytes(content)


def load_all(embeddings):
    """The features of all items that can be had, and those that cannot."""
    found, failed = {}, []
    for item in embeddings.store.items():
        try:
            found[item] = embeddings.load(*item).features
        except NotComputedYet as error:
            assert error.items == (item,) and "damaged" in str(error)
            failed.append(item)
    return found, failed


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("what", ["features", "state/dense"])
def test_damage_that_was_found_once_is_computed_by_the_next_run(make_predictor, stack, tmp_path, layout, what):
    predictor, options = make_predictor(dense=True), LAYOUTS[layout]
    reference = load_all(fill(predictor, stack, tmp_path / "e", **options))[0]
    damage(tmp_path / "e", what)
    assert not as_embeddings(tmp_path / "e").store.missing(), "nobody has looked at it"
    failed = load_all(as_embeddings(tmp_path / "e"))[1]
    assert len(failed) == 1
    assert describe_cache(tmp_path / "e")["missing"], "every later run knows it"
    calls = predictor.calls
    again = fill(predictor, stack, tmp_path / "e", **options)
    assert predictor.calls == calls + 1
    found, failed = load_all(again)
    assert not failed and all(torch.equal(found[item], reference[item]) for item in reference)
    assert not load_all(as_embeddings(tmp_path / "e"))[1]


@pytest.mark.parametrize("tiled", [False, True])
def test_damage_in_a_cache_of_micro_sam_1_x_is_computed_by_the_next_run(predictor, stack, tmp_path, tiled):
    image = stack[0] if tiled else stack
    path = write_old_cache(tmp_path / "e", image, tiled=tiled, leave_out=0 if tiled else None)
    file = path / "features" / ("3/0.0.0.0" if tiled else "3.0.0.0.0")
    file.write_bytes(file.read_bytes()[:-10] + b"0123456789")
    with pytest.raises(NotComputedYet, match="damaged"):
        as_embeddings(path).load(*(None, 3) if tiled else (3, 0))
    item = (None, 3) if tiled else (3, 0)
    embeddings, store = open_embeddings(predictor, image, path)
    assert store.missing() == [item], "what lies outside the mask of 1.x stays left out"
    assert list(iter_embeddings(predictor, image, store)) == [item] and embeddings.is_complete()


def test_damage_that_cannot_be_noted_is_said_with_a_way_out(predictor, stack, tmp_path, monkeypatch):
    fill(predictor, stack, tmp_path / "e")
    damage(tmp_path / "e")
    monkeypatch.setattr("micro_sam.embeddings.zarr_store.is_writable", lambda path: False)
    with pytest.raises(NotComputedYet, match="cannot be noted.*cannot be written.*Copy the folder"):
        as_embeddings(tmp_path / "e").load(4)


def test_what_another_process_has_mended_is_used(make_predictor, stack, tmp_path):
    fill(make_predictor(), stack, tmp_path / "e")
    damage(tmp_path / "e")
    reader = as_embeddings(tmp_path / "e")
    with pytest.raises(NotComputedYet):
        reader.load(4)
    fill(make_predictor(), stack, tmp_path / "e")
    assert reader.is_complete() and reader.load(4).features is not None


def test_too_little_memory_is_not_taken_for_damage(predictor, stack, tmp_path, monkeypatch):
    fill(predictor, stack, tmp_path / "e")

    def full(*args):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(plain_files.PlainFiles, "read", full)
        with pytest.raises(MemoryError):
            as_embeddings(tmp_path / "e").load(1)
    assert not as_embeddings(tmp_path / "e").store.missing()


@pytest.mark.parametrize("layout", ["whole", "shards"])
def test_a_run_that_finds_nothing_missing_finishes_the_cache(predictor, stack, tmp_path, layout, monkeypatch):
    """Killed after the last slice, before the sizes are noted: micro_sam 1.x would not open such a cache."""
    with monkeypatch.context() as patch:
        patch.setattr(ZarrStore, "finish", lambda self: None)
        fill(predictor, stack, tmp_path / "e", **LAYOUTS[layout])
    assert zarr.open_group(str(tmp_path / "e"), mode="r").attrs["input_size"] is None
    _, store = open_embeddings(predictor, stack, tmp_path / "e", **LAYOUTS[layout])  # all that a run does then
    attrs = zarr.open_group(str(tmp_path / "e"), mode="r").attrs
    assert not store.missing() and attrs["input_size"] == [46, 64] and attrs["original_size"] == [40, 56]


def test_what_a_killed_process_left_is_cleared_and_what_a_living_one_writes_stays(predictor, stack, tmp_path):
    import os
    import subprocess
    import sys

    from micro_sam.io import atomic

    fill(predictor, stack, tmp_path / "e")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = [tmp_path / f".e.micro_sam-{atomic._host()}-{pid}-0123abcd" for pid in (dead.pid, os.getpid())]
    for folder in left:
        (folder / "new" / "e").mkdir(parents=True)
    old = tmp_path / "e" / "features" / f"9.0.0.0.0.{'a' * 32}.partial"
    new = tmp_path / "e" / "features" / f"9.0.0.0.0.{'b' * 32}.partial"
    other = tmp_path / "e" / "notes.partial"
    for file in (old, new, other):
        file.write_bytes(b"")
    for file in (old, other):
        os.utime(file, (1, 1))
    open_embeddings(predictor, stack, tmp_path / "e")
    assert [folder.exists() for folder in left] == [False, True]
    assert [file.exists() for file in (old, new, other)] == [False, True, True]


WRONG = {
    "input_size": [[-3, 64], [1e30, 64], [46.5, 64], [46, 60], "46", [46], {}],
    "original_size": [[56, 40], [0, 0], "a"],
    "tile_shape": [[-3, 4], [1e30, "a"], 5],
    "model_hash": [3, ["a"]],
    "data_signature": [5],
    "cache": [None, [], "a", {}],
    "cache/ndim": [4, "2", 2, None],
    "cache/image": [None, {}, {"shape": [-3, 40, 56], "dtype": "uint16", "samples": "a"}],
    "cache/image/shape": [[5, 40, 1e30], [5, 56], [5, 40, 56, 7, 7], [10**9, 40, 56], "a", []],
    "cache/image/file": ["a", [1], [None, 1]],
    "cache/image_size": [-3, 0, 1e30, "a", None],
    "cache/feature_shape": [[1, 4, 8], [1, 4, 8, 9], [2, 4, 8, 8], [1, -4, 8, 8], "a", 7],
    "cache/normalization_values": [[[0], [float("nan")]], [[0]], [["a"], [1]], [[0], [1, 2]], [[0], [1], -1], 3],
    "cache/normalization": [[[0], [1, 2]], 3],
    "cache/precision": [3],
    "cache/shard": [0, -1, "a", 1e30],
}


@pytest.mark.parametrize("layout", ["whole", "shards"])
def test_edited_attributes_are_refused_by_name(predictor, stack, tmp_path, layout):
    fill(predictor, stack, tmp_path / "whole", **LAYOUTS[layout])
    original = (tmp_path / "whole" / ".zattrs").read_text()
    for name, values in WRONG.items():
        for value in values:
            group = zarr.open_group(str(tmp_path / "whole"), mode="r+")
            attrs = group.attrs.asdict()
            *parents, last = name.split("/")
            inside = attrs
            for parent in parents:
                inside = inside[parent]
            inside[last] = value
            group.attrs.put(attrs)
            for open_it in (
                lambda: as_embeddings(tmp_path / "whole"),
                lambda: open_embeddings(predictor, stack, tmp_path / "whole", **LAYOUTS[layout]),
            ):
                with pytest.raises(CacheError) as problem:
                    open_it()
                assert str(tmp_path / "whole") in str(problem.value), (name, value)
                if name in ("input_size", "original_size", "cache/image_size", "cache/shard", "cache/feature_shape"):
                    assert last in str(problem.value), (name, value)
            (tmp_path / "whole" / ".zattrs").write_text(original)
    assert as_embeddings(tmp_path / "whole").is_complete()


@pytest.mark.parametrize("size", [[-3, 64], [1e30, 64], [64, 64], "46", [46, 64, 1], [460, 640000]])
def test_sizes_of_older_caches_and_of_scripts_are_checked(predictor, stack, tmp_path, size):
    path = write_old_cache(tmp_path / "e", stack, input_size=size)
    with pytest.raises(CacheError, match="input_size"):
        as_embeddings(path)
    with pytest.raises(InputError, match=r"input_size|network saw"):
        as_embeddings(zarr.open_group(str(path), mode="r"))
    with pytest.raises(InputError, match=r"input_size|network saw"):
        as_embeddings({"features": np.zeros((1, 4, 8, 8)), "input_size": size, "original_size": (40, 56)})
    tiled = write_old_cache(tmp_path / "t", stack[0], tiled=True)
    zarr.open_group(str(tiled), mode="r+")["features/1"].attrs["input_size"] = size
    assert as_embeddings(tiled).load(tile=0).input_size
    with pytest.raises(CacheError, match="input_size"):
        as_embeddings(tiled).load(tile=1)
    with pytest.raises(InputError, match=r"input_size|network saw"):
        as_embeddings(zarr.open_group(str(tiled), mode="r")).load(tile=1)


def test_edited_attributes_of_a_tile_change_nothing(predictor, stack, tmp_path):
    image, options = stack[0], LAYOUTS["tiled"]
    reference = fill(predictor, image, tmp_path / "e", **options)
    group = zarr.open_group(str(tmp_path / "e"), mode="r+")
    group["features/2"].attrs.update(input_size=[-3, 5], original_size=[1e30])
    for part in ("features/1", "features/3"):
        file = tmp_path / "e" / part / ".zarray"
        file.write_text(file.read_text().replace("float32", "float64").replace("<f4", "<i4"))
    for _ in range(2):  # what is found damaged is computed, and described anew
        embeddings, store = open_embeddings(predictor, image, tmp_path / "e", **options)
        list(iter_embeddings(predictor, image, store))
        load_all(embeddings)
    found, failed = load_all(fill(predictor, image, tmp_path / "e", **options))
    assert not failed and all(torch.equal(found[item], reference.load(*item).features) for item in found)
    assert as_embeddings(tmp_path / "e").load(tile=2).input_size == reference.load(tile=2).input_size


def test_the_precompute_command_mends_what_segmenting_found_damaged(tmp_path, capsys):
    import tifffile

    from micro_sam.cli.automatic_segmentation import main as segment
    from micro_sam.cli.precompute_embeddings import main as precompute

    tifffile.imwrite(tmp_path / "a.tif", np.random.default_rng(0).integers(0, 255, (60, 80)).astype("uint8"))
    model, cache = ["-m", "nano_lm", "-d", "cpu"], str(tmp_path / "e")
    assert precompute(["-i", str(tmp_path / "a.tif"), "-o", cache, *model]) == 0
    damage(tmp_path / "e")
    call = ["-i", str(tmp_path / "a.tif"), "-o", str(tmp_path / "labels.tif"), "-e", cache, *model]
    assert segment(call) == 2
    assert "damaged" in capsys.readouterr().err
    assert precompute(["-i", str(tmp_path / "a.tif"), "-o", cache, *model]) == 0
    assert "1 slice embedded" in capsys.readouterr().out
    assert segment(call) == 0
    shutil.rmtree(cache)


def test_a_cache_opens_while_others_make_and_remove_folders_in_it(predictor, stack, tmp_path, monkeypatch):
    open_embeddings(predictor, stack, tmp_path / "e")
    staging, real = tmp_path / "e" / "automatic" / ".dense.npz.micro_sam-0-0-0", os.scandir
    staging.mkdir(parents=True)

    def scandir(path="."):
        if os.path.basename(path) == staging.name:
            os.rmdir(path)  # after it was seen, before it is looked into
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert ZarrStore.open(tmp_path / "e").missing()
    assert not staging.exists()
