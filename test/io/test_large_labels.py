"""Labels larger than memory: sparse files, and results written in parts in every format."""

from __future__ import annotations

import json
import types
from pathlib import Path

import numpy as np
import pytest
import zarr

from micro_sam.errors import InputError
from micro_sam.io import label_arrays, label_reading
from micro_sam.io.label_arrays import any_label, is_on_disc, new_labels, release, written_pieces
from micro_sam.io.labels import load_labels, save_labels, small_ids
from micro_sam.io.results import read_kind
from micro_sam.segmentation.labels import count_labels


@pytest.fixture
def on_disc(monkeypatch):
    """No labels stay in memory, and all are written in parts."""
    monkeypatch.setattr(label_arrays, "LARGEST_IN_MEMORY", 0)
    monkeypatch.setattr("micro_sam.io.labels.LARGEST_RESULT", 0)
    monkeypatch.setattr("micro_sam.io.label_groups.CHUNK", 64)
    monkeypatch.setattr("micro_sam.io.label_groups.SMALLEST", 64)
    monkeypatch.setattr("micro_sam.io.labels.TILE", 64)


def objects(shape, many=False) -> np.ndarray:
    """Some objects; with `many`, ids beyond 16 bits."""
    labels = new_labels(shape)
    for k in range(12):
        y, x = 11 * k, 17 * (k % 8)
        labels[..., y : y + 9, x : x + 11] = k + 1 + (70_000 if many else 0)
    return labels


def test_a_large_array_takes_disc_only_where_it_was_written_and_keeps_it_when_released(on_disc):
    array = new_labels((40_000, 10_000))
    assert is_on_disc(array) and is_on_disc(array[5:9]) and not is_on_disc(np.zeros(3)) and not any_label(array)
    array[30_000:30_010, 4_000:4_100] = 70_001
    release(array)
    assert array[30_005, 4_050] == 70_001 and array[30_005, 4_150] == 0 and any_label(array)
    pieces = list(written_pieces(array, 500))
    assert 1 <= len(pieces) < 80, "what was never written is not looked at"
    assert any(part.any() for _, part in pieces)


def test_without_room_on_the_disc_labels_stay_in_memory(on_disc, monkeypatch):
    monkeypatch.setattr(label_arrays.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 0}))
    array = new_labels((100, 100))
    assert not is_on_disc(array) and not array.any()


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("shape", [(150, 170), (3, 150, 170)])
@pytest.mark.parametrize("name", ["a.tif", "a.zarr", "a.ome.zarr", "a.h5", "a.npy"])
def test_every_format_holds_what_was_written_in_parts(on_disc, tmp_path, name, shape, many):
    labels, path = objects(shape, many), tmp_path / name
    save_labels(path, labels, (0.5,) * len(shape))
    assert np.array_equal(load_labels(path), labels) and read_kind(path) == "labels"
    save_labels(path, labels)  # an earlier result is replaced


def test_a_new_group_of_labels_has_a_pyramid_that_keeps_ids_and_lies_where_it_says(on_disc, tmp_path):
    image = tmp_path / "image.zarr"
    zarr.open_group(str(image), mode="w", zarr_format=2).create_array("0", shape=(150, 170), dtype="uint8")
    labels = objects((150, 170), many=True)
    save_labels(image / "labels" / "cells", labels, (0.5, 0.25))
    attributes = json.loads((image / "labels" / "cells" / ".zattrs").read_text())
    assert attributes["image-label"]["source"] == {"image": "../../"}
    datasets = attributes["multiscales"][0]["datasets"]
    assert [one["path"] for one in datasets] == ["0", "1", "2"]
    for one in datasets:
        level = zarr.open_array(str(image / "labels" / "cells" / one["path"]), mode="r")[...]
        (transformation,) = one["coordinateTransformations"]
        steps = np.array(transformation["scale"]) / (0.5, 0.25)
        for y, x in np.ndindex(level.shape):
            assert level[y, x] == labels[round(y * steps[0]), round(x * steps[1])]
    assert set(np.unique(level)) <= set(np.unique(labels)) and level.any()
    assert not (image / "labels" / "cells" / "0" / "2.0").exists() or labels[128:, :64].any(), "empty chunks"


def test_a_command_writes_and_counts_large_labels_without_a_second_copy(on_disc, tmp_path, monkeypatch):
    labels = small_ids(objects((150, 170)))
    monkeypatch.setattr(label_arrays.Cast, "__array__", None)
    assert small_ids(labels) is labels and labels.dtype == np.uint16 and count_labels(labels) == 12
    save_labels(tmp_path / "a.tif", labels)
    assert load_labels(tmp_path / "a.tif").max() == 12


def test_files_that_others_have_mapped_keep_what_was_changed_in_memory(on_disc, tmp_path):
    np.zeros((300, 300), "uint32").tofile(tmp_path / "labels.raw")
    theirs = np.memmap(tmp_path / "labels.raw", "uint32", "c", shape=(300, 300))
    theirs[10:20, 10:20] = 3
    release(theirs)
    assert not is_on_disc(theirs) and theirs[15, 15] == 3
    save_labels(tmp_path / "a.zarr", theirs)
    assert theirs[15, 15] == 3 and load_labels(tmp_path / "a.zarr")[15, 15] == 3


def test_a_large_result_is_read_in_parts(on_disc, tmp_path, monkeypatch):
    labels = objects((3, 150, 170))
    monkeypatch.setattr("micro_sam.io.label_reading.LARGEST_RESULT", 0)
    monkeypatch.setattr("micro_sam.io.label_reading.ROWS", 64)
    for name in ("a.tif", "a.zarr"):
        save_labels(tmp_path / name, labels)
        found = load_labels(tmp_path / name, shape=labels.shape)
        assert np.array_equal(found, labels) and found.dtype == np.uint32 and is_on_disc(found)


def test_a_damaged_size_that_no_machine_can_hold_is_one_sentence():
    shape = (4, 4278190120, 56)
    data = types.SimpleNamespace(shape=shape, dtype=np.dtype("uint32"))
    with pytest.raises(InputError, match="labels.tif does not fit into the memory"):
        label_reading._pixels(types.SimpleNamespace(data=data, shape=shape, path=Path("labels.tif")))
