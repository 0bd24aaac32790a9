"""The table of a window, without the window: what is measured when, and how rows are shown and filtered."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from micro_sam.embeddings.tiles import TileGrid
from micro_sam.errors import InputError
from micro_sam.io.tracks import daughters
from micro_sam.measure import measure_objects, measure_tracks
from micro_sam.sam_annotator.controller.objects.measuring import Contents
from micro_sam.sam_annotator.state.images import OpenImage
from micro_sam.sam_annotator.view.tables.model import Filter, TableModel, title_of
from micro_sam.sample_data.synthetic import dividing_cells
from micro_sam.session.session import Session, TrackingSession


def grid(n: int) -> np.ndarray:
    labels = np.zeros((12 * n, 12 * n), np.uint32)
    for k in range(n * n):
        labels[12 * (k // n) : 12 * (k // n) + 5 + k % 4, 12 * (k % n) : 12 * (k % n) + 6] = k + 1
    return labels


def measured(contents: Contents) -> list[int]:
    """Measure what has changed; the ids that were looked at."""
    work, looked_at = contents.plan(), []
    for rows in contents.measure(work):
        looked_at += list(rows)
        contents.take(work, rows)
    contents.take(work, {})
    return looked_at


@pytest.mark.parametrize("n", [3, 9])  # few objects one by one, many in one pass
def test_only_objects_that_changed_are_measured_again(n):
    labels, image = grid(n), np.random.default_rng(0).random((12 * n, 12 * n, 3))
    session = Session(labels.shape)
    session.objects.load(labels)
    contents = Contents(session, OpenImage(image, rgb=True, scale=(0.5, 0.5)))
    assert measured(contents) == list(range(1, n * n + 1)) and measured(contents) == []
    expected = measure_objects(labels, image, scale=(0.5, 0.5))
    pd.testing.assert_frame_equal(contents.table().drop(columns="certainty"), expected)
    session.objects.delete([2])
    session.objects.merge([3, 4])
    assert measured(contents) == [3]
    assert contents.table()["id"].tolist() == [1, 3, *range(5, n * n + 1)]
    assert contents.table()["pieces"][1] == 2
    session.undo()
    session.undo()
    assert sorted(measured(contents)) == [2, 3, 4]
    pd.testing.assert_frame_equal(contents.table().drop(columns="certainty"), expected)


def test_a_class_is_a_column_and_needs_no_new_measurement():
    session = Session((24, 24))
    session.objects.load(grid(2))
    contents = Contents(session, OpenImage(np.zeros((24, 24))))
    measured(contents)
    session.classes.set(3, [2, 4])
    assert measured(contents) == []
    assert contents.table()["class"].tolist() == ["", "class 3", "", "class 3"]


def test_a_movie_has_a_row_per_track():
    movie, labels, rows = dividing_cells((5, 96, 96), n_cells=3, n_divisions=1)
    session = TrackingSession(labels.shape)
    session.objects.load(labels, daughters(rows))
    contents = Contents(session, OpenImage(movie, scale=(30.0, 0.5, 0.5)))
    assert len(contents.table()) == 0
    measured(contents)
    table = contents.table()
    expected = measure_tracks(labels, scale=(30.0, 0.5, 0.5))
    assert table["id"].tolist() == expected["id"].tolist()
    assert np.allclose(table["path_um"], expected["path_um"]) and "mean_speed_um_per_s" in table
    assert table["parent"].tolist() == [row.parent for row in rows]
    assert {"mean_area_um2", "pieces", "mean_intensity"} <= set(table.columns)
    daughter = next(row.track_id for row in rows if row.parent)
    session.tracks.relink(daughter, None)
    assert measured(contents) == []
    assert contents.table().set_index("id").loc[daughter, "parent"] == 0


def test_what_a_border_between_tiles_cuts_is_known_while_the_image_is_tiled():
    labels = np.zeros((3, 128, 128), np.uint32)
    labels[0, 20:40, 64:90], labels[1, 20:40, 50:64], labels[2, 20:40, 50:80], labels[0, 90:110, 20:40] = 1, 2, 2, 3
    session = TrackingSession(labels.shape)
    session.objects.load(labels)
    contents = Contents(session, OpenImage(np.zeros(labels.shape, np.uint8)))
    measured(contents)
    assert contents.cut_by_tiles() == {}
    for tile_shape, cut in (((64, 64), {1: 20, 2: 20}), (None, {})):
        grid = TileGrid((128, 128), tile_shape)
        session.model.attach(SimpleNamespace(), SimpleNamespace(grid=grid))
        assert contents.cut_by_tiles() == cut
    session.model.attach(SimpleNamespace(), SimpleNamespace(grid=TileGrid((128, 128), (64, 64))))
    session.objects.delete([1])
    assert contents.cut_by_tiles() == {2: 20}


@pytest.fixture
def model():
    model = TableModel()
    table = {"id": [1, 2, 3], "class": ["", "round", "long"], "area_um2": [5.0, 50.0, np.nan], "pieces": [1, 2, 1]}
    model.show(pd.DataFrame(table))
    return model


def ids(rows: Filter) -> list[int]:
    return [rows._model.ids[rows.mapToSource(rows.index(k, 0)).row()] for k in range(rows.rowCount())]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", [1, 2, 3]),
        ("area > 10", [2]),
        ("area um2 <= 5, pieces = 1", [1]),
        ("pieces==2", [2]),
        ("class = round", [2]),
        ("class != round and id<3", [1]),
        ("long", [3]),
        ("3", [3]),
        ("Pieces >= 1", [1, 2, 3]),
    ],
)
def test_filters(model, words, expected):
    rows = Filter(model)
    rows.use(words)
    assert ids(rows) == expected


def test_a_filter_that_names_no_column_says_which_there_are(model):
    rows = Filter(model)
    rows.use("id > 1")
    with pytest.raises(InputError, match="no column 'size'. It has: id, class, area µm², pieces"):
        rows.use("size > 3")
    assert ids(rows) == [2, 3]


def test_rows_come_and_go_without_a_new_table_and_numbers_sort_as_numbers(model):
    resets, rows = [], Filter(model)
    model.modelReset.connect(lambda: resets.append(1))
    rows.sort(2)
    assert ids(rows) == [3, 1, 2]  # what is not known comes first
    table = pd.DataFrame({"id": [2, 7], "class": ["", ""], "area_um2": [500.0, 60.0], "pieces": [1, 1]})
    model.show(table)
    assert ids(rows) == [7, 2] and model.ids == [2, 7] and not resets
    assert model.value(0, "area_um2") == 500.0 and model.data(model.index(0, 2)) == "500"
    assert title_of("mean_speed_um_per_s") == "mean speed µm per s"
