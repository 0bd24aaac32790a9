"""OME-Zarr as other programs leave it: in parts, with several images, without units."""

import numpy as np
import pytest
import zarr

from micro_sam.errors import InputError
from micro_sam.io.images import open_image
from micro_sam.io.labels import load_labels, save_labels

PLANE = np.arange(20 * 30, dtype="uint16").reshape(20, 30)


def described(path="0", name=None, scale=(1.0, 1.0), unit=None):
    axes = [{"name": letter, "type": "space"} | ({"unit": unit} if unit else {}) for letter in "yx"]
    steps = [{"type": "scale", "scale": list(scale)}]
    datasets = [{"path": path, "coordinateTransformations": steps}]
    return {"version": "0.4", "axes": axes, "datasets": datasets} | ({"name": name} if name else {})


def test_several_images_in_one_group_are_listed(tmp_path):
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2)
    group.create_array("raw", data=PLANE)
    group.create_array("smooth/0", data=PLANE // 2)
    group.attrs["multiscales"] = [described("raw"), described("smooth/0", "smoothed")]
    first = open_image(tmp_path / "a.zarr")
    assert "holds 2 images" in first.note and first.choices == {"raw": "", "smooth/0": "smoothed"}
    second = open_image(tmp_path / "a.zarr", "smooth/0")
    assert np.array_equal(second.data[...], PLANE // 2) and second.axes == "YX"


def test_a_plate_that_was_copied_in_part_opens_and_says_so(tmp_path):
    plate = zarr.open_group(str(tmp_path / "p.zarr"), mode="w", zarr_format=2)
    plate.attrs["plate"] = {"wells": [{"path": "A/1"}, {"path": "A/2"}], "version": "0.4"}
    well = plate.create_group("A/2")
    well.attrs["well"] = {"images": [{"path": "0"}]}
    field = well.create_group("0")
    field.create_array("0", data=PLANE)
    field.attrs["multiscales"] = [described()]
    found = open_image(tmp_path / "p.zarr")
    assert np.array_equal(found.data[...], PLANE) and "1 of 2 wells of the plate are not there" in found.note


@pytest.mark.parametrize(
    ("scale", "unit", "known"),
    [
        ((1.0, 1.0), None, None),  # has to be written, also by who does not know it
        ((1.0, 1.0), "micrometer", (1.0, 1.0)),
        ((0.5, 0.25), None, (0.5, 0.25)),
    ],
)
def test_a_size_of_one_without_a_unit_is_not_known(tmp_path, scale, unit, known):
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2)
    group.create_array("0", data=PLANE)
    group.attrs["multiscales"] = [described(scale=scale, unit=unit)]
    assert open_image(tmp_path / "a.zarr").scale == known


def test_labels_without_a_size_have_none_when_they_come_back(tmp_path):
    save_labels(tmp_path / "a.ome.zarr", PLANE)
    assert open_image(tmp_path / "a.ome.zarr").scale is None


def test_a_group_of_labels_that_describes_nothing_is_read(tmp_path):
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2)
    group.create_array("0", data=PLANE)
    group.attrs["multiscales"] = [described()]
    group.create_group("labels").attrs["labels"] = ["cells"]
    group.create_array("labels/cells/0", data=PLANE // 7)
    assert np.array_equal(load_labels(tmp_path / "a.zarr"), PLANE // 7)


def test_a_zarr_in_a_zip_file_is_named_as_such(tmp_path):
    with zarr.storage.ZipStore(tmp_path / "a.ome.zarr.zip", mode="w") as store:
        zarr.create_array(store, data=PLANE)
    with pytest.raises(InputError, match="zarr in a zip file.*Unpack it"):
        open_image(tmp_path / "a.ome.zarr.zip")
