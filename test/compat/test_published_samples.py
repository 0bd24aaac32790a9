"""``micro_sam.sample_data``: each published sample is fetched, unpacked and opened as 1.8 does; no network."""

import hashlib
import zipfile

import imageio.v3 as imageio
import numpy as np
import pytest

from micro_sam import sample_data
from micro_sam.sample_data import published
from micro_sam.sample_data.download import RemoteFile

STACK = np.random.default_rng(0).integers(0, 255, (3, 12, 16), np.uint8)
FILES = {  # constant: what the archive holds, or None for the file itself
    "LUCCHI": "Lucchi++/Test_In/{}.png",
    "SERIES": "series/{}.tif",
    "HELA_MOVIE": "DIC-C2DH-HeLa/01/t{}.tif",
    "HELA_TRACKS": "masks/m{}.tif",
    "HELA_2D": None,
    "LIVECELL": None,
    "NUCLEUS_3D": None,
    "WHOLE_SLIDE": None,
    "HISTOPATHOLOGY": None,
}


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Every published file lies in a folder of this machine."""
    there = tmp_path / "there"
    there.mkdir()
    monkeypatch.setenv("MICROSAM_CACHEDIR", str(tmp_path / "cache"))
    for name, pattern in FILES.items():
        path = there / getattr(published, name).filename
        if pattern is None and path.suffix == ".svs":
            path.write_bytes(b"a slide")
        elif pattern is None:
            imageio.imwrite(path, STACK[0])
        else:
            with zipfile.ZipFile(path, "w") as archive:
                for k, plane in enumerate(STACK):
                    inside = pattern.format(k)
                    archive.writestr(inside, imageio.imwrite("<bytes>", plane, extension=inside[-4:]))
        remote = RemoteFile(path.name, path.as_uri(), hashlib.sha256(path.read_bytes()).hexdigest())
        monkeypatch.setattr(published, name, remote)
    return tmp_path


@pytest.mark.parametrize("name", [name for name in sample_data.__all__ if name.startswith("fetch_")])
def test_a_sample_is_fetched_into_the_folder_that_is_named(served, name):
    path = getattr(sample_data, name)(served / "mine")
    assert isinstance(path, str) and path.startswith(str(served / "mine"))
    assert getattr(sample_data, name)(served / "mine") == path  # a second time from the disc


@pytest.mark.parametrize("name", [name for name in sample_data.__all__ if name.startswith("sample_data_")])
def test_a_sample_is_a_list_of_layers(served, name):
    layers = getattr(sample_data, name)()
    for layer in layers:
        assert isinstance(layer[0], np.ndarray) and layer[1]["name"]
    found = np.stack([layer[0] for layer in layers]) if len(layers) > 1 else layers[0][0]
    assert np.array_equal(found, STACK) or np.array_equal(found, STACK[0])
    assert (layers[0][2:] == ("labels",)) == (name == "sample_data_segmentation")
