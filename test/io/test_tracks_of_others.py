"""Tracks that other programs write open as they mean them."""

import logging

import numpy as np
import pytest

from micro_sam.errors import InputError
from micro_sam.io.tracks import TrackRow, load_tracks, save_tracks

# a cell that divides: nodes 0 and 1 are the mother, 2, 3 and 4, 5 her daughters
FRAMES = [0, 1, 2, 3, 2, 3]
LINKS = [(0, 1), (1, 2), (2, 3), (1, 4), (4, 5)]
Y, X = [5.5, 5.5, 5.5, 5.5, 14.5, 14.5], [5.5, 5.5, 5.5, 5.5, 14.5, 14.5]
FAMILY = (TrackRow(1, 0, 1), TrackRow(2, 2, 3, 1), TrackRow(3, 2, 3, 1))
SHAPES = [(0, 1), (2, 3)]


def masks(ids=(1, 1, 2, 2, 3, 3)):
    labels = np.zeros((4, 20, 30), np.uint32)
    for t, y, i in zip(FRAMES, Y, ids, strict=True):
        labels[t, int(y) - 2 : int(y) + 4, int(y) - 2 : int(y) + 4] = i
    return labels


def write_geff(path, props, nodes=None, links=LINKS, axes=("t", "y", "x"), missing=None, labels=None, **meta):
    """A GEFF as the format's own library writes it; `props` beside the axes t, y, x."""
    from geff.core_io import write_arrays
    from geff_spec import Axis, GeffMetadata

    nodes = np.arange(6) if nodes is None else np.asarray(nodes)
    columns = {"t": FRAMES, "y": Y, "x": X} | props
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in axes]
    kinds = [{"type": "time" if axis["name"] == "t" else "space", **axis} for axis in axes]
    metadata = GeffMetadata(
        directed=True,
        axes=[Axis(**axis) for axis in kinds],
        node_props_metadata={},
        edge_props_metadata={},
        **meta,
    )
    write_arrays(
        str(path),
        nodes.astype("uint64"),
        {
            name: {"values": np.asarray(values), "missing": (missing or {}).get(name)}
            for name, values in columns.items()
        },
        np.array([(nodes[a], nodes[b]) for a, b in links], "uint64").reshape(-1, 2),
        {},
        metadata,
        zarr_format=2,
    )
    if labels is not None:
        import zarr

        zarr.create_array(str(path.parent / "segmentation"), data=labels, zarr_format=2)
    return path


def masks_named(name, **more):
    return {"related_objects": [{"type": "labels", "path": "../segmentation", "label_prop": name}], **more}


# GEFF


@pytest.mark.parametrize("first", [1, 10, 2**40])
def test_masks_that_carry_the_ids_of_nodes_are_matched(tmp_path, first):
    nodes = np.arange(first, first + 6)
    small = masks(range(1, 7)).astype(np.int64)
    labels = np.where(small > 0, small + first - 1, 0)
    path = write_geff(tmp_path / "a.geff", {}, nodes, labels=labels, **masks_named("node_id"))
    loaded = load_tracks(path)
    assert loaded.rows == FAMILY and np.array_equal(loaded.labels, masks())


@pytest.mark.parametrize(
    "ids", [[2**32, 2**32, 7, 7, 8, 8], [2**32 - 1, 2**32 - 1, 0, 0, 1, 1], [1.5] * 6, [1e300] * 6]
)
def test_track_ids_that_fit_no_mask_are_refused(tmp_path, ids):
    path = write_geff(
        tmp_path / "a.geff", {"track_id": ids, "seg_id": [1, 1, 2, 2, 3, 3]}, labels=masks(), **masks_named("seg_id")
    )
    with pytest.raises(InputError, match="whole numbers up to"):
        load_tracks(path)


@pytest.mark.parametrize("large", [2**32, 1e300, np.inf, -5, 0])
def test_a_mask_number_that_no_mask_has_leaves_the_cell_without_a_mask(tmp_path, large):
    props = {"track_id": [1, 1, 2, 2, 3, 3], "seg_id": np.array([1, large, 2, 2, 3, 3], float)}
    path = write_geff(tmp_path / "a.geff", props, labels=masks(), **masks_named("seg_id"))
    loaded = load_tracks(path)
    assert loaded.rows == FAMILY and not loaded.labels[1].any() and loaded.labels[0].any()


def test_masks_that_share_a_number_within_a_family_are_refused_in_plain_words(tmp_path):
    props = {"lineage_id": [1] * 6}
    path = write_geff(tmp_path / "a.geff", props, labels=masks([1] * 6), **masks_named("lineage_id"))
    with pytest.raises(InputError, match="cannot be told apart"):
        load_tracks(path)


def test_masks_numbered_by_a_property_that_does_not_exist_are_refused(tmp_path):
    path = write_geff(tmp_path / "a.geff", {}, labels=masks(), **masks_named("colour"))
    with pytest.raises(InputError, match="'colour', which its nodes do not have"):
        load_tracks(path)


@pytest.mark.parametrize("name", ["seg_id", "track_id"])
def test_masks_without_a_named_property_are_matched_by_the_one_that_fits(tmp_path, name):
    segments = [4, 9, 4, 9, 5, 3] if name == "seg_id" else [1, 1, 2, 2, 3, 3]
    path = write_geff(tmp_path / "a.geff", {name: segments}, labels=masks(segments), **masks_named(None))
    loaded = load_tracks(path)
    assert loaded.rows == FAMILY and np.array_equal(loaded.labels, masks())


def test_a_property_that_is_declared_as_lineage_is_not_the_track(tmp_path):
    path = write_geff(tmp_path / "a.geff", {"track_id": [1] * 6}, track_node_props={"lineage": "track_id"})
    assert load_tracks(path).rows == FAMILY


@pytest.mark.parametrize("ids", [(0, 0, 1, 1, 2, 2), (1, 1, 2, 2, 3, 3)])
def test_track_ids_may_begin_with_0(tmp_path, ids):
    path = write_geff(
        tmp_path / "a.geff",
        {"track_id": ids, "label": [5, 5, 5, 5, 7, 7]},
        labels=masks([5, 5, 5, 5, 7, 7]),
        **masks_named("label", track_node_props={"tracklet": "track_id"}),
    )
    loaded = load_tracks(path)
    assert loaded.rows == FAMILY and np.array_equal(loaded.labels, masks())


def test_nodes_whose_track_is_missing_are_tracks_of_their_own(tmp_path):
    missing = {"track_id": np.array([False, False, True, False, True, False])}
    ids, links = [3, 3, 3, 4, 3, 5], [(0, 1), (2, 3), (4, 5)]
    rows = load_tracks(write_geff(tmp_path / "a.geff", {"track_id": ids}, links=links, missing=missing)).rows
    assert rows == (TrackRow(3, 0, 1), TrackRow(4, 3, 3, 6), TrackRow(5, 3, 3, 7), TrackRow(6, 2, 2), TrackRow(7, 2, 2))


@pytest.mark.parametrize("name, message", [("t", "without a time"), ("x", "without a place")])
def test_a_node_without_a_time_or_a_place_is_refused(tmp_path, name, message):
    values = [np.nan, *(FRAMES if name == "t" else X)[1:]]
    with pytest.raises(InputError, match=message):
        load_tracks(write_geff(tmp_path / "a.geff", {name: values}))


@pytest.mark.parametrize("step", [0.5, 1 / 3, 60.0, 1.0])
@pytest.mark.parametrize("start", [0, 2])
def test_times_in_seconds_become_frames(tmp_path, step, start, caplog):
    caplog.set_level(logging.INFO)
    times = (np.array(FRAMES) + start) * step
    path = write_geff(tmp_path / "a.geff", {"t": times}, axes=({"name": "t", "unit": "second"}, "y", "x"))
    assert load_tracks(path).rows == tuple(
        TrackRow(row.track_id, row.start + start, row.end + start, row.parent) for row in FAMILY
    )
    assert step == 1 or "times in second" in caplog.text


def test_times_at_no_fixed_distance_are_numbered_in_their_order(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    times = np.array([0.0, 0.7, 1.9, 2.2])[FRAMES]
    assert load_tracks(write_geff(tmp_path / "a.geff", {"t": times})).rows == FAMILY
    assert "numbered in their order" in caplog.text


def test_whole_numbers_without_a_unit_of_time_are_frames(tmp_path):
    times = np.array(FRAMES) * 2
    assert load_tracks(write_geff(tmp_path / "a.geff", {"t": times})).rows[0] == TrackRow(1, 0, 2)


@pytest.mark.parametrize("axes", [("t", "z", "y", "x"), ("t", "x", "y", "z")])
def test_an_axis_z_that_never_changes_is_left_out(tmp_path, axes):
    path = write_geff(tmp_path / "a.geff", {"z": [3.0] * 6, "x": [20.0] * 6}, axes=axes)
    loaded = load_tracks(path)
    assert loaded.rows == FAMILY and loaded.positions[0].tolist() == [1, 0, 5.5, 20]


def test_several_planes_are_refused(tmp_path):
    with pytest.raises(InputError, match="several planes"):
        load_tracks(write_geff(tmp_path / "a.geff", {"z": Y}, axes=("t", "z", "y", "x")))


def test_the_size_of_frames_and_pixels_is_kept(tmp_path):
    for name in ("a.geff", "a.xml"):
        loaded = load_tracks(save_tracks(tmp_path / name, masks(), FAMILY, scale=(30.0, 0.25, 0.5)))
        assert loaded.scale == pytest.approx((30, 0.25, 0.5))
        assert loaded.positions[0] == pytest.approx([1, 0, 5.5, 5.5])


def test_sizes_that_mean_nothing_are_left_out(tmp_path):
    for scale in ((1.0, 1.0), (0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, np.nan, 1.0)):
        assert load_tracks(save_tracks(tmp_path / "a.geff", masks(), FAMILY, scale=scale)).scale is None


# TrackMate


def trackmate(path, z=(0, 0, 0, 0, 0, 0), features="", label=(), links=LINKS):
    spots = [
        f'<Spot ID="{100 + k}" FRAME="{t}" POSITION_X="{x}" POSITION_Y="{y}" POSITION_Z="{z[k]}" '
        f'QUALITY="1" VISIBILITY="1" {f"LABEL={label[k]!r}".replace(chr(39), chr(34)) if label else ""}/>'
        for k, (t, y, x) in enumerate(zip(FRAMES, Y, X, strict=True))
    ]
    edges = "".join(f'<Edge SPOT_SOURCE_ID="{100 + a}" SPOT_TARGET_ID="{100 + b}"/>' for a, b in links)
    path.write_text(
        f'<TrackMate version="7"><Model><FeatureDeclarations><SpotFeatures>{features}</SpotFeatures>'
        f'</FeatureDeclarations><AllSpots>{"".join(spots)}</AllSpots><AllTracks><Track TRACK_ID="0">{edges}</Track>'
        '</AllTracks><FilteredTracks><TrackID TRACK_ID="0"/></FilteredTracks></Model></TrackMate>'
    )
    return path


def test_a_plane_of_trackmate_may_have_any_z(tmp_path):
    assert load_tracks(trackmate(tmp_path / "a.xml", z=[7.5] * 6)).rows == FAMILY
    with pytest.raises(InputError, match="several planes"):
        load_tracks(trackmate(tmp_path / "b.xml", z=Y))


def test_a_feature_that_only_bears_the_name_of_ours_is_not_the_track(tmp_path):
    other = '<Feature feature="LABEL" name="Class"/>'
    assert load_tracks(trackmate(tmp_path / "a.xml", features=other, label=["1"] * 6)).rows == FAMILY


def test_tracks_that_were_linked_anew_in_trackmate_are_numbered_anew(tmp_path):
    ours = '<Feature feature="LABEL" name="Label of the track in the masks"/>'
    path = trackmate(tmp_path / "a.xml", features=ours, label=["1", "1", "2", "2", "2", "2"])
    assert load_tracks(path).rows == FAMILY


def test_two_mothers_are_named_as_the_file_names_them(tmp_path):
    with pytest.raises(InputError, match="Spot 102 in frame 2 has two mothers, spots 101 and 100"):
        load_tracks(trackmate(tmp_path / "a.xml", links=[*LINKS, (0, 2)]))


@pytest.mark.parametrize(
    "old, new, message",
    [
        ('POSITION_X="5.5"', 'POSITION_X="nan"', "POSITION_X is 'nan'"),
        ('POSITION_X="5.5"', "", "POSITION_X is None"),
        ('ID="100"', 'ID="one"', "ID is 'one'"),
        ('FRAME="0"', 'FRAME="1e300"', "which no movie has"),
        ("<TrackMate", "<!DOCTYPE a><TrackMate", "DOCTYPE"),
        ("<TrackMate", '<?xml version="1.0" encoding="x"?><TrackMate', "no readable XML"),
    ],
)
def test_a_damaged_file_of_trackmate_is_refused_in_a_sentence(tmp_path, old, new, message):
    path = trackmate(tmp_path / "a.xml")
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        load_tracks(path)


# tables


def table(path, header, lines, encoding="utf-8"):
    path.write_text("\n".join([header, *lines]) + "\n", encoding=encoding)
    return path


@pytest.mark.parametrize("none", ["", "-1", "0", "NaN", "own"])
def test_a_table_of_detections_links_its_detections(tmp_path, none):
    parents = {2: 1, 3: 2, 4: 3, 5: 2, 6: 5}
    lines = [
        f"{t},{y},{x},{k},{parents.get(k, k if none == 'own' else none)},{track}"
        for k, (t, y, x, track) in enumerate(zip(FRAMES, Y, X, (1, 1, 2, 2, 3, 3), strict=True), 1)
    ]
    loaded = load_tracks(table(tmp_path / "a.csv", "t,y,x,id,parent_id,track_id", lines))
    assert loaded.rows == FAMILY and loaded.positions[-1].tolist() == [3, 3, 14.5, 14.5]
    without = [line.rpartition(",")[0] for line in lines]
    assert load_tracks(table(tmp_path / "b.csv", "t,y,x,ID,Parent ID", without)).rows == FAMILY


@pytest.mark.parametrize("none", ["", "-1", "0", "own"])
@pytest.mark.parametrize("first", [0, 1])
def test_a_table_of_tracks_links_its_tracks(tmp_path, none, first):
    if first == 0 and none == "0":
        none = "own"  # 0 is the mother here
    ids = np.array([1, 1, 2, 2, 3, 3]) - (1 - first)
    parents = [(ids[0] if none == "own" else none) if k < 2 else ids[0] for k in range(6)]
    rows = zip(ids, FRAMES, Y, X, parents, strict=True)
    lines = [",".join(str(value) for value in row) for row in rows]
    if first == 0 and none == "own":  # nothing in the table says that 0 is a track and not "none"
        expected = tuple(TrackRow(row.track_id, row.start, row.end) for row in FAMILY)
    else:
        expected = FAMILY
    assert load_tracks(table(tmp_path / "a.csv", "ID,t,y,x,parent", lines)).rows == expected


def test_a_table_with_both_kinds_of_parents_uses_the_tracks(tmp_path):
    """As ultrack writes it."""
    rows = zip((1, 1, 2, 2, 3, 3), FRAMES, Y, X, range(1001, 1007), (-1, -1, 1, 1, 1, 1), strict=True)
    lines = [",".join(map(str, (track, t, 0, *more))) + ",-1" for track, t, *more in rows]
    path = table(tmp_path / "a.csv", "track_id,t,z,y,x,id,parent_track_id,parent_id", lines)
    assert load_tracks(path).rows == FAMILY


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator, comma", [(",", "."), (";", ","), (";", "."), ("\t", ","), (" ", ".")])
def test_tables_of_spreadsheets_open_in_every_dialect(tmp_path, encoding, separator, comma):
    lines = [f"1;{t};{str(10.5 + t).replace('.', comma)};20{comma}5" for t in range(3)]
    lines = [line.replace(";", separator) for line in ("track_id;t;y;x", *lines, "", "")]
    loaded = load_tracks(table(tmp_path / "a.csv", lines[0], lines[1:], encoding))
    assert loaded.rows == (TrackRow(1, 0, 2),) and loaded.positions[2].tolist() == [1, 2, 12.5, 20.5]
    if separator != " ":
        path = table(tmp_path / "b.csv", f"sep={separator}", lines, encoding)
        assert load_tracks(path).rows == (TrackRow(1, 0, 2),)


def test_a_table_of_trackmates_spots_opens(tmp_path):
    header = "LABEL,ID,TRACK_ID,QUALITY,POSITION_X,POSITION_Y,POSITION_Z,POSITION_T,FRAME"
    names = ["Label,Spot ID,Track ID,Quality,X,Y,Z,T,Frame"] * 2 + [",,,(quality),(micron),(micron),(micron),(sec),"]
    lines = [f"ID{k},{k},0,1.0,{x},{y},0.0,{t * 2.5},{t}" for k, t, y, x in ((7, 0, 3, 4), (8, 1, 5, 6))]
    loaded = load_tracks(table(tmp_path / "a.csv", header, [*names, *lines]))
    assert loaded.rows == (TrackRow(1, 0, 1),) and loaded.positions.tolist() == [[1, 0, 3, 4], [1, 1, 5, 6]]


@pytest.mark.parametrize(
    "header, first",
    [
        ("track_id,frame,y,x", 0),
        ("Track ID,Frame,Y,X", 0),
        ("TRACK_ID,FRAME,POSITION_Y,POSITION_X", 0),
        ("axis-0,axis-1,axis-2,track_id", 3),
        ("axis-0,axis-1,axis-2,axis-3,track_id", 4),
        ("particle,frame,y,x", 0),
        (" Track n°,Slice n°,Y,X", 0),
    ],
)
def test_columns_are_known_by_their_names_wherever_they_stand(tmp_path, header, first):
    lines = [(t, 10 + t, 20 + t) if first != 4 else (t, 0, 10 + t, 20 + t) for t in range(3)]
    lines = [(*line, 1) if first else (1, *line) for line in lines]
    path = table(tmp_path / "a.csv", header, [",".join(map(str, line)) for line in lines])
    assert load_tracks(path).positions.tolist() == [[1, t, 10 + t, 20 + t] for t in range(3)]


def test_a_table_with_times_in_seconds_opens(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    lines = [f"1,{t * 0.4},{t},5" for t in range(4)]
    assert load_tracks(table(tmp_path / "a.csv", "track_id,time,y,x", lines)).rows == (TrackRow(1, 0, 3),)
    assert "a frame is 0.4 of them" in caplog.text


def test_a_table_of_several_planes_is_refused(tmp_path):
    lines = [f"1,{t},{t},5,{t}" for t in range(4)]
    with pytest.raises(InputError, match="several planes"):
        load_tracks(table(tmp_path / "a.csv", "track_id,t,y,x,z", lines))


def test_lines_that_stand_twice_are_used_once(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    lines = ["1,0,2,2", "1,1,3,3", "1,1,3,3"]
    assert len(load_tracks(table(tmp_path / "a.csv", "track_id,t,y,x", lines)).positions) == 2
    assert "1 lines twice" in caplog.text


def test_places_outside_the_picture_are_kept(tmp_path):
    """As after a correction of drift."""
    lines = ["1,0,-2.5,2", "1,1,-3,3"]
    assert load_tracks(table(tmp_path / "a.csv", "track_id,t,y,x", lines)).positions[0, 2] == -2.5


@pytest.mark.parametrize(
    "lines, message",
    [
        (["1,0,2,2", "1,0,9,9"], "two places in frame 0"),
        (["1,0,2,2", "1,1,nan,9"], "Line 3 .* nothing in the column y"),
        (["1,0,2,2", "1,,3,9"], "Line 3 .* nothing in the column t"),
        (["1,0,2,2", "1,1,3"], "Line 3 .* nothing in the column x"),
        (["1,0,2,2", "1,1,inf,9"], "Line 3 .* inf in the column y"),
        (["1.5,0,2,2"], "1.5 in the column track_id"),
        (["-3,0,2,2"], "cannot have the id -3"),
        (["1,-1,2,2"], "cannot go from frame -1"),
        (["1,1e30,2,2"], "which no movie has"),
    ],
)
def test_a_detection_that_makes_no_sense_is_refused_in_a_sentence(tmp_path, lines, message):
    with pytest.raises(InputError, match=message):
        load_tracks(table(tmp_path / "a.csv", "track_id,t,y,x", lines))


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\x00\x01", b"\xff\xfe", b"track_id,t,y,x", b'"'])
def test_what_is_no_table_is_refused_or_empty(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    if content.startswith(b"track"):
        assert load_tracks(tmp_path / "a.csv").rows == ()
    else:
        with pytest.raises(InputError):
            load_tracks(tmp_path / "a.csv")
