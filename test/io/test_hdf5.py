"""HDF5 files of other programs: links, and numbers that mean something else than they say."""

import json

import h5py
import numpy as np
import pytest

from micro_sam.errors import ChoiceError, InputError
from micro_sam.io.formats import hdf5
from micro_sam.io.images import open_image
from micro_sam.io.labels import load_labels

STACK = np.linspace(0, 60_000, 3 * 20 * 30).reshape(3, 20, 30).astype("uint16")


def test_a_link_is_the_dataset_that_it_names(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exported/raw"] = STACK
        file["raw"] = h5py.SoftLink("/exported/raw")
    for key in ("raw", "/raw", "exported/raw", None):
        assert np.array_equal(open_image(tmp_path / "a.h5", key).data, STACK)
    with pytest.raises(ChoiceError, match="no dataset 'exported'"):
        open_image(tmp_path / "a.h5", "exported")


@pytest.mark.parametrize("inner", ["/raw", "/"])
def test_datasets_in_another_file_are_found_or_that_file_is_named(tmp_path, inner):
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["raw"] = STACK
    with h5py.File(tmp_path / "master.h5", "w") as file:
        file["images"] = h5py.ExternalLink("data.h5", inner)
    assert np.array_equal(open_image(tmp_path / "master.h5").data, STACK)
    (tmp_path / "data.h5").unlink()
    with pytest.raises(InputError, match="are in data.h5, which is not there"):
        open_image(tmp_path / "master.h5")


@pytest.mark.parametrize("largest", [0, 2**28])
def test_volumes_of_bigdataviewer_are_unsigned_at_full_resolution(tmp_path, monkeypatch, largest):
    monkeypatch.setattr(hdf5, "LARGEST_EAGER_DATASET", largest)
    for name, frames in (("one.h5", 1), ("two.h5", 2)):
        with h5py.File(tmp_path / name, "w") as file:  # as pybdv 0.6.0 and npy2bdv 1.1.0 write it
            file["s00/resolutions"], file["s00/subdivisions"] = np.ones((2, 3)), np.ones((2, 3), int)
            for t, level in np.ndindex(frames, 2):
                file[f"t{t:05}/s00/{level}/cells"] = STACK[:, :: level + 1, :: level + 1].view("int16")
    found = open_image(tmp_path / "one.h5")
    assert found.axes == "ZYX" and found.data.dtype == np.uint16 and np.array_equal(found.data[...], STACK)
    assert found.choices == {} and np.array_equal(load_labels(tmp_path / "one.h5"), STACK)
    assert open_image(tmp_path / "one.h5", "t00000/s00/1/cells").shape == (3, 10, 15)
    with pytest.raises(ChoiceError) as asked:
        open_image(tmp_path / "two.h5")
    assert list(asked.value.choices) == ["t00000/s00/0/cells", "t00001/s00/0/cells"]


XML = """<?xml version="1.0"?><SpimData version="0.2"><SequenceDescription><ViewSetups>
<ViewSetup><id>0</id><voxelSize><unit>micrometer</unit><size>0.1 0.2 1.5</size></voxelSize></ViewSetup>
<ViewSetup><id> 1 </id><voxelSize><unit>nm</unit><size>100 100 300</size></voxelSize></ViewSetup>
<ViewSetup><id>2</id><voxelSize><unit>pixel</unit><size>1 1 1</size></voxelSize></ViewSetup>
</ViewSetups></SequenceDescription></SpimData>"""


def test_the_voxel_size_of_bigdataviewer_stands_in_the_xml_beside(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for setup, level in np.ndindex(3, 2):
            file[f"t00000/s{setup:02}/{level}/cells"] = STACK[:, :: level + 1, :: level + 1].view("int16")
    assert open_image(tmp_path / "a.h5", "t00000/s00/0/cells").scale is None
    (tmp_path / "a.xml").write_text(XML)
    scales = [open_image(tmp_path / "a.h5", f"t00000/s{setup:02}/0/cells").scale for setup in range(3)]
    np.testing.assert_allclose(scales[0], (1.5, 0.2, 0.1))
    np.testing.assert_allclose(scales[1], (0.3, 0.1, 0.1))
    assert scales[2] is None
    assert open_image(tmp_path / "a.h5", "t00000/s00/1/cells").scale is None, "that is the size at full resolution"
    (tmp_path / "a.xml").write_text(XML[:200])
    assert open_image(tmp_path / "a.h5", "t00000/s00/0/cells").scale is None


def test_the_voxel_size_of_n5_of_bigdataviewer_stands_in_the_xml_beside(tmp_path):
    from test_images import write_n5

    group = tmp_path / "a.n5" / "setup1" / "timepoint0"
    for level in range(2):
        write_n5(group / f"s{level}", STACK[:, :: level + 1, :: level + 1], (3, 20, 30), "raw")
    (group / "attributes.json").write_text('{"resolution": [1.0, 1.0, 1.0], "multiScale": true}')
    assert open_image(tmp_path / "a.n5").scale is None, "ones without a unit are pixels"
    (tmp_path / "a.xml").write_text(XML)
    found = open_image(tmp_path / "a.n5")
    assert found.axes == "ZYX" and np.array_equal(found.data[...], STACK)
    np.testing.assert_allclose(found.scale, (0.3, 0.1, 0.1))


def test_sizes_in_the_group_of_an_n5_pyramid_are_those_of_its_full_resolution(tmp_path):
    from test_images import write_n5

    group = tmp_path / "a.n5" / "raw"
    for level in range(2):
        write_n5(group / f"s{level}", STACK[:, :: level + 1, :: level + 1], (3, 20, 30), "raw")
    (group / "attributes.json").write_text('{"resolution": [0.2, 0.2, 1.5], "axes": ["x", "y", "z"]}')
    file = group / "s1" / "attributes.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"downsamplingFactors": [2, 2, 1]}))
    np.testing.assert_allclose(open_image(tmp_path / "a.n5").scale, (1.5, 0.2, 0.2))
    np.testing.assert_allclose(open_image(tmp_path / "a.n5", "raw/s1").scale, (1.5, 0.4, 0.4))
