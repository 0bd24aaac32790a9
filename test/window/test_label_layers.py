"""What is on a label layer is in the session, however it came there."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from napari.layers import Layer

from micro_sam.io.labels import load_labels
from micro_sam.sam_annotator import annotator_2d

from . import driver
from .driver import canvas, canvas_point, click, drag, key, wait_idle, wait_until

COIN = (60, 100)
KEYS = ("current", "committed", "auto")
MIDDLE = {2: (150, 200), 3: (6, 80, 80)}


def layer_of(tool, name):
    return tool.layers.labels[name].layer


def corner(layer, size: int = 30) -> np.ndarray:
    """Vertices of a square around the middle, in the plane in view."""
    rows, columns = layer._slice_input.order[-2:]
    vertices = np.tile(MIDDLE[layer.ndim], (4, 1))
    vertices[:, rows] += np.array([0, 0, size, size])
    vertices[:, columns] += np.array([0, size, size, 0])
    return vertices


def around(layer) -> tuple[slice, ...]:
    return tuple(slice(p - 3, p + 4) for p in MIDDLE[layer.ndim])


def replaced(layer):
    labels = np.asarray(layer.data).astype("int64")
    labels[around(layer)] = 9
    layer.data = labels


WAYS = {
    "paint": lambda layer: layer.paint(MIDDLE[layer.ndim], 9),
    "polygon": lambda layer: layer.paint_polygon(corner(layer), 9),
    "fill": lambda layer: layer.fill(MIDDLE[layer.ndim], 9),
    "data_setitem": lambda layer: layer.data_setitem(tuple(np.array([p, p + 1]) for p in MIDDLE[layer.ndim]), 9),
    "write": lambda layer: (layer.data.__setitem__(around(layer), 9), layer.refresh()),
    "new array": replaced,
}


def check_step(tool, name, change):
    """The change is on the layer and in the session alike, and undo and redo take it back and bring it again."""
    session, layer = tool.session, layer_of(tool, name)
    before, records = session.labels.layer(name).copy(), dict(session.objects)
    change(layer)
    driver.process(0.05)
    after = session.labels.layer(name).copy()
    assert not np.array_equal(before, after) and 9 in after
    assert np.array_equal(layer.data, after) and np.shares_memory(layer.data, session.labels.layer(name))
    if name == "committed":
        check_records(session)
        assert tool.saving.unsaved
    tool.viewer.layers.selection.active = layer
    key(tool.viewer, "ctrl+z")
    assert np.array_equal(session.labels.layer(name), before) and np.array_equal(layer.data, before)
    assert dict(session.objects) == records
    key(tool.viewer, "ctrl+shift+z")
    assert np.array_equal(session.labels.layer(name), after) and np.array_equal(layer.data, after)
    layer.undo()  # of napari: there is one history, the session's
    assert np.array_equal(session.labels.layer(name), after)
    assert tool.status.kind != "error", tool.status.text


def check_records(session):
    """Area and place of every committed object are as the pixels say."""
    ids, areas = np.unique(session.committed[session.committed > 0], return_counts=True)
    assert {i: record.area for i, record in session.objects.items()} == dict(zip(ids.tolist(), areas, strict=True))
    for i, record in session.objects.items():
        y, x = np.nonzero(session.committed == i)[-2:]
        y0, x0, y1, x1 = record.box
        assert y0 <= y.min() and y.max() < y1 and x0 <= x.min() and x.max() < x1


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("way", WAYS)
def test_change_from_a_script_or_plugin_is_in_the_session(tool, name, way):
    check_step(tool, name, WAYS[way])
    if name == "auto":
        tool.actions.set_source("auto")
    if name != "committed":
        key(tool.viewer, "c")
        assert tool.session.committed[MIDDLE[2]] == 1, tool.status.text
    check_records(tool.session)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0)])
@pytest.mark.parametrize("n_edit", [2, 3])
def test_change_in_a_turned_volume_is_in_the_session(tool_3d, order, n_edit):
    tool_3d.viewer.dims.order = order
    layer = layer_of(tool_3d, "committed")
    layer.n_edit_dimensions = n_edit
    try:
        for way in ("paint", "fill", "write", "new array", *(("polygon",) if n_edit == 2 else ())):
            check_step(tool_3d, "committed", WAYS[way])
            tool_3d.actions.undo()
    finally:
        layer.n_edit_dimensions = 2
        tool_3d.viewer.dims.order = (0, 1, 2)


def click_canvas(tool, layer, position):
    driver.press(canvas(tool.viewer), canvas_point(tool.viewer, layer, position))


def test_polygon_drawn_with_the_tool_of_napari_is_an_object_that_is_undone_and_saved(tool, tmp_path):
    layer = layer_of(tool, "committed")
    tool.viewer.layers.selection.active = layer
    layer.mode, layer.selected_label = "polygon", 5
    for vertex in ((100, 100), (100, 160), (150, 160), (150, 100), (100, 100)):
        click_canvas(tool, layer, vertex)
    layer._overlays["polygon"].add_polygon_to_labels(layer)
    driver.process(0.1)
    session = tool.session
    assert session.committed[125, 130] == 5 and set(session.objects) == {5} and tool.saving.unsaved
    check_records(session)
    drawn = session.committed.copy()
    key(tool.viewer, "ctrl+z")
    assert not session.committed.any() and not session.objects
    key(tool.viewer, "ctrl+shift+z")
    assert np.array_equal(session.committed, drawn)
    tool.actions.use_tool("point")
    click(tool, COIN)
    wait_idle(tool)
    key(tool.viewer, "c")
    assert set(session.objects) == {5, 6}
    tool.actions.save(tmp_path / "objects.tif")
    assert np.array_equal(load_labels(tmp_path / "objects.tif"), layer.data)


@pytest.mark.parametrize("contiguous", [True, False])
@pytest.mark.parametrize("preserve", [True, False])
def test_fill_and_eraser_by_mouse_respect_the_options_of_the_layer(tool, contiguous, preserve):
    layer = layer_of(tool, "committed")
    layer.data[100:120, 100:120] = 3
    layer.data[200:220, 100:120] = 3
    before = tool.session.committed.copy()
    tool.viewer.layers.selection.active = layer
    layer.contiguous, layer.preserve_labels, layer.selected_label = contiguous, preserve, 8
    layer.mode = "fill"
    click_canvas(tool, layer, (110, 110))
    expected = before.copy()
    if not preserve:
        expected[100:120, 100:120] = 8
        if not contiguous:
            expected[before == 3] = 8
    assert np.array_equal(tool.session.committed, expected) and np.array_equal(layer.data, expected)
    check_records(tool.session)
    layer.mode, layer.selected_label = "erase", int(expected[110, 110])
    drag(tool, (110, 90), (110, 130))
    assert not tool.session.committed[110, 105:115].any()
    check_records(tool.session)
    key(tool.viewer, "ctrl+z")
    assert np.array_equal(tool.session.committed, expected)
    layer.contiguous, layer.preserve_labels, layer.mode = True, False, "pan_zoom"


def test_brush_in_three_dimensions_is_one_step(tool_3d):
    layer = layer_of(tool_3d, "current")
    tool_3d.actions.use_tool("paint")
    layer.n_edit_dimensions, layer.brush_size = 3, 7
    z = tool_3d.state.z
    drag(tool_3d, (z, 20, 20), (z, 20, 60))
    assert tool_3d.session.current[z, 20, 40] == 1 and tool_3d.session.current[z - 2, 20, 40] == 1
    assert np.array_equal(layer.data, tool_3d.session.current)
    key(tool_3d.viewer, "ctrl+z")
    assert not tool_3d.session.current.any()
    key(tool_3d.viewer, "ctrl+shift+z")
    layer.n_edit_dimensions = 2
    key(tool_3d.viewer, "c")
    (record,) = tool_3d.session.objects.values()
    assert record.slices[0] < z < record.slices[1] - 1


@pytest.mark.parametrize("way", ["paint", "write", "new array"])
def test_tracks_painted_from_outside_are_in_the_lineage(tool_tracking, way):
    tool = tool_tracking
    check_step(tool, "committed", lambda layer: _in_first_frames(layer, way))
    track = tool.session.tracks.lineage[9]
    frames = np.flatnonzero((tool.session.committed == 9).any(axis=(1, 2)))
    assert (track.start, track.end) == (frames[0], frames[-1])
    tool.actions.undo()
    assert 9 not in tool.session.tracks.lineage
    check_step(tool, "current", lambda layer: _in_first_frames(layer, way))
    assert 9 in tool.session.tracks.current


def _in_first_frames(layer, way):
    if way == "paint":
        layer.n_edit_dimensions, layer.brush_size = 3, 9
        layer.paint((1, 60, 60), 9)
        layer.n_edit_dimensions = 2
    elif way == "write":
        layer.data[:3, 50:60, 50:60] = 9
    else:
        labels = np.array(layer.data)
        labels[:3, 50:60, 50:60] = 9
        layer.data = labels


def test_objects_put_in_as_a_new_array_stay_when_others_are_committed(tool, coins, tmp_path):
    mine = np.zeros(coins.shape, "uint16")
    mine[200:220, 200:240] = 5
    layer = tool.viewer.layers["committed_objects"]
    layer.data = mine
    assert set(tool.session.objects) == {5} and "1 object" in tool.status.text and "Undo" in tool.status.text
    click(tool, COIN)
    wait_idle(tool)
    key(tool.viewer, "c")
    assert layer.data[COIN] == 6 and layer.data[210, 220] == 5
    tool.actions.save(tmp_path / "mine.tif")
    assert np.unique(tifffile.imread(tmp_path / "mine.tif")).tolist() == [0, 5, 6]
    mine[:] = 7
    assert 7 not in tool.session.committed, "the script's array is its own"


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (np.ones((10, 10), int), "shape"),
        (np.ones((3, 303, 384), int), "shape"),
        (np.full((303, 384), -1), "labels go from 0"),
        (np.full((303, 384), 2**40), "labels go from 0"),
    ],
)
def test_array_that_does_not_fit_is_a_sentence_and_the_old_picture_comes_back(tool, other, says):
    layer = layer_of(tool, "committed")
    layer.data[100:120, 100:120] = 3
    before, scale = tool.session.committed.copy(), tuple(layer.scale)
    layer.data = other
    driver.process(0.1)
    assert tool.status.kind == "error" and says in tool.status.text
    assert np.array_equal(tool.session.committed, before) and np.array_equal(layer.data, before)
    assert tuple(layer.scale) == scale and layer.ndim == 2 and tool.viewer.dims.ndim == 2
    click(tool, COIN)
    assert wait_until(lambda: tool.session.has_current), "the tool still works"


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "int64", "uint64"])
def test_labels_of_any_type_are_taken_over(tool, coins, dtype):
    layer = layer_of(tool, "committed")
    layer.data = (coins > 150).astype(dtype)
    assert layer.data.dtype == np.uint32 and np.array_equal(tool.session.committed, coins > 150)
    check_records(tool.session)


def test_colour_image_has_labels_that_are_heard_too(opened):
    from micro_sam.sample_data import open_sample

    tool = opened(annotator_2d, open_sample("immunohistochemistry").image, model_type="nano_lm")
    for way in ("paint", "polygon", "write"):
        check_step(tool, "committed", WAYS[way])
        tool.actions.undo()


def test_edit_that_the_session_refuses_leaves_the_picture_as_it_was(tool, monkeypatch):
    from micro_sam.errors import InputError

    def refuse(*args, **kwargs):
        raise InputError("not now")

    layer = layer_of(tool, "committed")
    layer.data[100:120, 100:120] = 3
    before = tool.session.committed.copy()
    monkeypatch.setattr(type(tool.session.labels), "paint", refuse)
    for way in ("paint", "polygon", "data_setitem", "write"):
        WAYS[way](layer)
        driver.process(0.1)
        assert np.array_equal(layer.data, before) and np.array_equal(tool.session.committed, before), way
        assert tool.status.text == "not now"


def test_layers_renamed_duplicated_deleted_and_of_other_files_stay_apart(tool):
    layers, committed = tool.viewer.layers, layer_of(tool, "committed")
    committed.data[100:120, 100:120] = 3
    committed.name = "mine"
    committed.paint((150, 150), 4)
    assert set(tool.session.objects) == {3, 4}
    data, state, kind = committed.as_layer_data_tuple()
    copied = Layer.create(np.array(data), {**state, "name": "a copy"}, kind)
    layers.append(copied)
    other = tool.viewer.add_labels(np.zeros(tool.session.shape, int), name="other")
    copied.paint((50, 50), 7)
    other.paint((50, 50), 7)
    assert set(tool.session.objects) == {3, 4}, "copies and layers of other files are not ours"
    layers.remove(committed)
    driver.process(0.3)
    again = layer_of(tool, "committed")
    assert again is not committed and again in layers and np.array_equal(again.data, tool.session.committed)
    committed.paint((200, 200), 8)
    committed.data[:10] = 8
    assert 8 not in tool.session.committed, "the deleted layer is on its own"
    again.paint((200, 200), 8)
    assert 8 in tool.session.objects
    for layer in (copied, other):
        layers.remove(layer)
    tool.actions.use_tool("point")
