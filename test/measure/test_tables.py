"""Tables of objects and tracks."""

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from skimage import measure

from micro_sam.errors import InputError, NotOurs, OutputError
from micro_sam.io.images import open_image
from micro_sam.io.labels import save_labels
from micro_sam.io.marks import read_kind
from micro_sam.io.tables import check_table_path
from micro_sam.io.tracks import TrackRow, save_tracks
from micro_sam.measure import measure_objects, measure_tracks, object_columns, save_table
from micro_sam.measure.objects import measure_object
from micro_sam.measure.pieces import measure_pieces


@pytest.fixture(scope="module")
def mixed():
    """A stack of labels in many pieces that touch at faces, edges and corners, and an image of it."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 5, (7, 15, 17)).repeat(3, 0).repeat(4, 1).repeat(4, 2)
    return (coarse * 1000).astype(np.uint32), rng.random(coarse.shape).astype(np.float32)


def test_values_are_those_of_regionprops_and_pieces_touch_by_corners(mixed):
    labels, image = mixed
    table = measure_objects(labels, image, scale=(2.0, 0.5, 0.5)).set_index("id")
    assert list(table.reset_index().columns) == object_columns(3, (1, 1, 1), n_channels=1)
    for region in measure.regionprops(labels, image):
        row = table.loc[region.label]
        assert row["voxels"] == region.area and row["volume_um3"] == pytest.approx(region.area * 0.5)
        assert tuple(row[["z", "y", "x"]]) == pytest.approx(region.centroid)
        assert row["mean_intensity"] == pytest.approx(region.intensity_mean, rel=1e-5)
        z0, y0, x0, z1, y1, x1 = region.bbox
        assert (row["first_slice"], row["last_slice"]) == (z0, z1 - 1)
        assert (row["y_min"], row["x_min"], row["y_max"], row["x_max"]) == (y0, x0, y1, x1)
        assert row["pieces"] == measure.label(labels == region.label, connectivity=3).max()


@pytest.mark.parametrize("rows", [1, 7, 60, 150, 10**6])
def test_blocks_of_any_size_give_the_same_table(mixed, rows):
    labels, image = mixed
    whole = measure_pieces(labels, [image])
    block = measure_pieces(labels, [image], block_bytes=rows * labels.shape[2] * 4)
    pd.testing.assert_frame_equal(block, whole, check_dtype=False)


def test_lazy_and_mapped_arrays_are_measured_in_parts(mixed, tmp_path):
    import dask.array

    labels, image = mixed
    whole = measure_objects(labels, image)
    np.save(tmp_path / "labels.npy", labels)
    stored = zarr.create_array(str(tmp_path / "l.zarr"), data=labels, chunks=(4, 32, 32))
    for one in (np.load(tmp_path / "labels.npy", mmap_mode="r"), dask.array.from_array(labels, chunks=20), stored):
        pd.testing.assert_frame_equal(measure_objects(one, image), whole)


def test_channels_and_units_come_from_the_files(tmp_path):
    labels = np.zeros((40, 50), np.uint16)
    labels[5:15, 5:15], labels[20:35, 20:40] = 3, 9
    save_labels(tmp_path / "labels.tif", labels, scale=(0.5, 0.5))
    image = np.stack([labels * 10, labels * 0 + 7]).astype(np.uint16)
    tifffile.imwrite(tmp_path / "image.tif", image, imagej=True, metadata={"axes": "CYX"})
    table = measure_objects(tmp_path / "labels.tif", tmp_path / "image.tif", classes={3: "round"}, certainty={9: 0.5})
    assert list(table["id"]) == [3, 9] and list(table["area_um2"]) == [25.0, 75.0]
    assert list(table["mean_intensity_0"]) == [30, 90] and list(table["mean_intensity_1"]) == [7, 7]
    assert list(table["class"]) == ["round", ""] and np.isnan(table["certainty"][0]) and table["certainty"][1] == 0.5


@pytest.mark.parametrize("n", [2, 3])
def test_an_image_whose_axes_lie_in_another_order_is_laid_over_the_labels(tmp_path, n):
    labels = np.zeros((4, 20, 20), np.uint16)[:n] if n == 3 else np.zeros((20, 20), np.uint16)
    labels[..., 2:6, 4:16], labels[..., 12:15, 15:19] = 1, 2
    save_labels(tmp_path / "labels.tif", labels)
    group = zarr.open_group(str(tmp_path / "image.zarr"), mode="w", zarr_format=2)
    group.create_array("0", data=np.ascontiguousarray(np.moveaxis(labels * 10, -1, -2)))
    axes = [{"name": name, "type": "space"} for name in "zxy"[-n:]]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}]
    assert list(measure_objects(tmp_path / "labels.tif", tmp_path / "image.zarr")["mean_intensity"]) == [10, 20]
    turned = open_image(tmp_path / "image.zarr")
    assert list(measure_objects(turned)["x_max"]) == [16, 19], "labels, too"


@pytest.mark.parametrize("rows", [1, 10**6])
def test_pixels_without_a_value_are_left_out_of_the_mean(rows):
    labels = np.zeros((2, 6, 6), np.uint8)
    labels[:, :4, :4], labels[:, 4:, 4:] = 1, 2
    image = labels * 10.0
    image[0, :2], image[:, 4:, 4:], image[1, 3, 3] = np.nan, np.nan, 30
    found = measure_pieces(labels, [image, labels], block_bytes=rows * 6)
    assert found["mean_0"].to_list() == pytest.approx([10 + 20 / 24, np.nan], nan_ok=True)
    assert found["mean_1"].to_list() == [1, 2]


def test_negative_labels_are_refused():
    with pytest.raises(InputError, match="negative values .down to -1"):
        measure_objects(np.array([[-1, 2], [2, 2]]))


def test_movies_have_a_row_per_object_and_frame(tmp_path):
    labels = np.zeros((3, 20, 20), np.uint16)
    labels[0, 2:4, 2:4], labels[1:, 5:8, 5:8], labels[2, 15:, 15:] = 4, 4, 9
    save_labels(tmp_path / "masks.tif", labels, kind="tracks")
    table = measure_objects(tmp_path / "masks.tif")
    assert table[["id", "frame", "pixels"]].values.tolist() == [[4, 0, 4], [4, 1, 9], [4, 2, 9], [9, 2, 25]]
    assert len(measure_objects(labels)) == 2  # nothing says that an array is a movie
    one = measure_object(labels, 4, (0, 0, 0, 3, 20, 20), movie=True)
    pd.testing.assert_frame_equal(one, measure_objects(labels, movie=True).query("id == 4"), check_dtype=False)


def test_one_object_is_measured_without_the_others(mixed):
    labels, image = mixed
    whole = measure_objects(labels, image).query("id == 2000").reset_index(drop=True)
    one = measure_object(labels, 2000, (0, 0, 0, *labels.shape), [image])
    pd.testing.assert_frame_equal(one, whole)


def test_empty_labels_give_an_empty_table_with_its_columns():
    table = measure_objects(np.zeros((20, 30), int), np.zeros((20, 30)))
    assert len(table) == 0 and list(table.columns) == object_columns(2, n_channels=1)
    assert len(measure_objects(np.zeros((2, 20, 30), int), movie=True)) == 0
    assert len(measure_tracks(np.zeros((2, 20, 30), int))) == 0


def test_labels_of_another_shape_are_refused():
    with pytest.raises(InputError, match=r"shape \(20, 30\), but the image has \(20, 31\)"):
        measure_objects(np.zeros((20, 30), int), np.zeros((20, 31)))
    with pytest.raises(InputError, match="two or three axes"):
        measure_objects(np.zeros((2, 2, 20, 30), int))


@pytest.mark.parametrize("name", ["movie_RES", "movie.geff", "movie.xml", "movie.csv"])
def test_tracks_of_every_format_are_measured(tmp_path, name):
    labels = np.zeros((4, 40, 40), np.uint16)
    labels[0, 4:7, 4:7], labels[1, 4:7, 8:11] = 1, 1
    labels[2, 1:3, 8:11], labels[3, 1:3, 14:17], labels[2, 20:23, 8:11] = 2, 2, 3
    rows = [TrackRow(1, 0, 1), TrackRow(2, 2, 3, 1), TrackRow(3, 2, 2, 1)]
    save_tracks(tmp_path / name, labels, rows, scale=(60.0, 0.5, 0.5))
    table = measure_tracks(tmp_path / name, scale=(60.0, 0.5, 0.5)).set_index("id")
    assert table.loc[1, "daughters"] == "2 3" and table.loc[3, "parent"] == 1 and list(table["depth"]) == [0, 1, 1]
    assert list(table["frames"]) == [2, 2, 1] and table.loc[2, "displacement_um"] == pytest.approx(3.0)
    assert table.loc[2, "mean_speed_um_per_s"] == pytest.approx(3.0 / 60) and np.isnan(
        table.loc[3, "mean_speed_um_per_s"]
    )


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_tables_are_written_with_a_mark_and_replace_only_their_own(tmp_path, name):
    path = tmp_path / name
    table = measure_objects(np.eye(4, dtype=int), classes={1: "größer, rund"})
    save_table(path, table)
    save_table(path, table)
    assert read_kind(path) == "table"
    read = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    assert list(read["class"]) == ["größer, rund"] and list(read.columns) == list(table.columns)
    path.write_bytes(b"mine,yours\n1,2\n")
    with pytest.raises(NotOurs):
        save_table(path, table)
    assert path.read_bytes() == b"mine,yours\n1,2\n"


def test_other_endings_and_a_missing_package_are_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(OutputError, match=r"must end in \.csv or \.parquet"):
        check_table_path(tmp_path / "table.xlsx")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(OutputError, match="pyarrow, which is not installed"):
        check_table_path(tmp_path / "table.parquet")
