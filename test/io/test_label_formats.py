"""Labels of neighbouring programs: Cellpose, ImageJ, StarDist, QuPath. Nothing that a file might run is run."""

import json
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest

from micro_sam.errors import InputError
from micro_sam.io.formats.geojson import geojson_bytes
from micro_sam.io.formats.outlines import Outline, draw, trace
from micro_sam.io.images import open_image
from micro_sam.io.label_reading import is_labels_only, read_labels
from micro_sam.io.labels import load_labels, save_labels


@pytest.fixture
def labels():
    labels = np.zeros((64, 80), "uint16")
    labels[5:20, 5:20] = 1
    labels[10:15, 10:12] = 0  # a hole
    labels[30:50, 30:60] = 2
    labels[50:52, 60:62] = 2  # a second part that touches with a corner
    labels[0:3, 70:80] = 3
    return labels


def save_seg(path, content, protocol=4):
    """As ``np.save(path, content, allow_pickle=True)`` of any version of numpy, which Cellpose calls."""
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        pickle.dump(np.array(content, object), file, protocol=protocol)


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["uint16", "uint32", "int64", ">u2"])
def test_masks_of_cellpose_are_read(labels, tmp_path, dtype, protocol):
    path = tmp_path / "img_seg.npy"
    flows = [np.zeros((3, 64, 80), "float32"), [np.zeros((2, 2))], None]
    masks = labels.astype(dtype)
    content = {"masks": masks, "outlines": masks, "filename": "img.tif", "flows": flows, "ismanual": np.ones(3, bool)}
    save_seg(path, content | {"diameter": np.float64(30.0), "chan_choose": [0, 0]}, protocol)
    assert np.array_equal(load_labels(path, shape=labels.shape), labels)
    assert is_labels_only(path)
    save_seg(path, {"masks": np.asfortranarray(np.stack([labels, labels]))}, protocol)
    assert np.array_equal(load_labels(path), np.stack([labels, labels]))
    with pytest.raises(InputError, match="Cellpose"):
        open_image(path)


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_no_code_of_a_seg_file_is_run(labels, tmp_path):
    marker = tmp_path / "marker"
    for protocol in (0, 1, 2, 4, 5):
        save_seg(tmp_path / "a_seg.npy", {"masks": labels, "other": Malicious(marker)}, protocol)
        assert np.array_equal(load_labels(tmp_path / "a_seg.npy"), labels)
    np.save(tmp_path / "d_seg.npy", {"masks": labels}, allow_pickle=True)
    assert np.array_equal(load_labels(tmp_path / "d_seg.npy"), labels)
    save_seg(tmp_path / "b_seg.npy", {"masks": Malicious(marker)})
    with pytest.raises(InputError, match="holds no masks.*save the masks as png or tif"):
        load_labels(tmp_path / "b_seg.npy")
    assert not marker.exists()
    save_seg(tmp_path / "c_seg.npy", {"masks": labels})
    raw = (tmp_path / "c_seg.npy").read_bytes()
    for cut in (len(raw) // 2, len(raw) - 20, 140):
        (tmp_path / "c_seg.npy").write_bytes(raw[:cut])
        with pytest.raises(InputError):
            load_labels(tmp_path / "c_seg.npy")


def polygon_roi(corners, position=0):
    """An ImageJ polygon (x, y), as ImageJ and StarDist write it."""
    xy = np.asarray(corners)
    left, top = xy.min(axis=0).tolist()
    right, bottom = xy.max(axis=0).tolist()
    head = bytearray(64)
    head[:4], head[4:6], head[6] = b"Iout", struct.pack(">h", 227), 0
    head[8:16] = struct.pack(">4h", top, left, bottom, right)
    head[16:18] = struct.pack(">h", len(xy))
    head[56:60] = struct.pack(">i", position)
    return bytes(head) + (xy[:, 0] - left).astype(">i2").tobytes() + (xy[:, 1] - top).astype(">i2").tobytes()


def square(y, x, size):
    return [(x, y), (x + size, y), (x + size, y + size), (x, y + size)]


def test_rois_of_imagej_and_stardist_become_labels(tmp_path):
    pytest.importorskip("roifile")
    with zipfile.ZipFile(tmp_path / "RoiSet.zip", "w") as archive:
        archive.writestr("0001-0010-0010.roi", polygon_roi(square(10, 12, 20)))
        archive.writestr("0002-0020-0030.roi", polygon_roi(square(20, 22, 10)))  # overlaps, smaller
        archive.writestr("0003-0050-0050.roi", polygon_roi(square(50, 50, 5)))
    labels, note = read_labels(tmp_path / "RoiSet.zip", shape=(64, 80))
    expected = np.zeros((64, 80), int)
    expected[10:30, 12:32], expected[20:30, 22:32], expected[50:55, 50:55] = 1, 2, 3
    assert np.array_equal(labels, expected)
    assert "2 objects of RoiSet.zip overlap" in note and "smaller" in note
    (tmp_path / "one.roi").write_bytes(polygon_roi(square(3, 4, 6), position=3))
    one = load_labels(tmp_path / "one.roi", shape=(5, 64, 80))
    assert one.sum() == 36 and one[2, 3:9, 4:10].all()
    with pytest.raises(InputError, match="slice 3, but the image has 2 slices"):
        load_labels(tmp_path / "one.roi", shape=(2, 64, 80))
    with pytest.raises(InputError, match="no image.*labels"):
        open_image(tmp_path / "RoiSet.zip")


def test_without_roifile_the_command_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "roifile", None)
    (tmp_path / "one.roi").write_bytes(polygon_roi(square(3, 4, 6)))
    with pytest.raises(InputError, match=r"pip install 'micro_sam\[formats\]'"):
        load_labels(tmp_path / "one.roi")


def test_geojson_goes_out_and_comes_back_with_the_same_pixels_and_ids(labels, tmp_path):
    stack = np.stack([labels, np.zeros_like(labels), labels[::-1] * 2])
    for number, wanted in enumerate((labels, stack)):
        path = tmp_path / f"{number}.geojson"
        path.write_bytes(geojson_bytes(wanted))
        assert np.array_equal(load_labels(path, shape=wanted.shape), wanted)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 3, (40, 56)).astype("uint16")  # corners that touch, holes in holes
    (tmp_path / "noise.geojson").write_bytes(geojson_bytes(noise))
    assert np.array_equal(load_labels(tmp_path / "noise.geojson", shape=noise.shape), noise)


def test_an_image_without_objects_and_large_ids_come_back_from_geojson(labels, tmp_path):
    for name, wanted in (("none", labels * 0), ("large", labels.astype("uint32") * 1_400_000_000)):
        save_labels(tmp_path / f"{name}.geojson", wanted)
        assert np.array_equal(load_labels(tmp_path / f"{name}.geojson", shape=wanted.shape), wanted)
    with pytest.raises(InputError, match="does not say how large"):
        load_labels(tmp_path / "none.geojson")


def test_every_kind_of_geojson_is_read_and_other_json_is_called_so(tmp_path):
    polygon = {"type": "Polygon", "coordinates": [[[2, 3], [7, 3], [7, 9], [2, 9], [2, 3]]]}
    several = {"type": "GeometryCollection", "geometries": [polygon]}
    for number, content in enumerate((polygon, several, {"type": "Feature", "geometry": polygon, "properties": None})):
        path = tmp_path / f"{number}.geojson"
        path.write_text(json.dumps(content))
        assert load_labels(path, shape=(20, 30)).nonzero()[0].size == 30
    (tmp_path / "coco.json").write_text(json.dumps({"images": [], "annotations": [{"segmentation": [[1, 1, 5, 5]]}]}))
    with pytest.raises(InputError, match="no GeoJSON.*COCO"):
        load_labels(tmp_path / "coco.json", shape=(20, 30))


def test_geojson_of_qupath_is_read(tmp_path):
    ring = [[10.5, 4.5], [30.5, 4.5], [30.5, 24.5], [10.5, 24.5], [10.5, 4.5]]
    hole = [[15, 10], [20, 10], [20, 15], [15, 15], [15, 10]]
    kinds = [
        {"type": "Polygon", "coordinates": [ring, hole]},
        {
            "type": "MultiPolygon",
            "coordinates": [[[[40, 40], [50, 40], [50, 50], [40, 40]]], [[[60, 5], [62, 5], [62, 9]]]],
        },
        {"type": "Point", "coordinates": [3, 3]},
    ]
    features = [
        {"type": "Feature", "id": str(k), "geometry": kind, "properties": {"objectType": "annotation"}}
        for k, kind in enumerate(kinds)
    ]
    for content in ({"type": "FeatureCollection", "features": features}, features):
        (tmp_path / "a.geojson").write_text(json.dumps(content))
        labels, note = read_labels(tmp_path / "a.geojson", shape=(64, 80))
        assert (labels == 1).sum() == 400 - 25 and labels[12, 17] == 0 and labels[6, 61] == 2 and labels.max() == 2
        assert "1 objects of a.geojson are lines or points" in note
    (tmp_path / "b.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    with pytest.raises(InputError, match="no objects"):
        load_labels(tmp_path / "b.geojson")


def test_outlines_of_a_mask_are_drawn_as_the_same_mask():
    rng = np.random.default_rng(1)
    for _ in range(50):
        mask = rng.random((rng.integers(1, 12), rng.integers(1, 12))) < rng.random()
        outlines = [Outline(1, part) for part in trace(mask)]
        drawn, _ = draw(outlines, mask.shape, __import__("pathlib").Path("a"))
        assert np.array_equal(drawn > 0, mask)


def test_labels_in_an_axis_order_of_their_own_are_brought_into_ours(tmp_path):
    import tifffile

    stack = np.arange(3 * 8 * 9).reshape(3, 8, 9).astype("uint16")
    tifffile.imwrite(tmp_path / "a.ome.tif", stack[:, None], metadata={"axes": "ZCYX"})
    assert np.array_equal(load_labels(tmp_path / "a.ome.tif", shape=stack.shape), stack)
    tifffile.imwrite(tmp_path / "b.tif", stack.astype("uint8"))  # written as red, green, blue, which nobody meant
    assert np.array_equal(load_labels(tmp_path / "b.tif", shape=stack.shape), stack.astype("uint8"))
    tifffile.imwrite(tmp_path / "c.ome.tif", np.stack([stack] * 2), metadata={"axes": "CZYX"})
    with pytest.raises(InputError, match="2 channels"):
        load_labels(tmp_path / "c.ome.tif", shape=stack.shape)
