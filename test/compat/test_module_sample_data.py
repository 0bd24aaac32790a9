"""``micro_sam.sample_data`` with the calls of micro-sam 1.8."""

import hashlib
import threading
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest

from micro_sam import sample_data
from micro_sam.errors import InputError
from micro_sam.sample_data import published
from micro_sam.sample_data.download import RemoteFile, _sha256

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


def test_samples_are_fetched_unpacked_and_shown(tmp_path, monkeypatch):
    served = tmp_path / "served"
    (served / "series").mkdir(parents=True)
    image = np.arange(64, dtype="uint8").reshape(8, 8)
    for number in range(3):
        imageio.imwrite(served / "series" / f"im{number}.tif", image + number)
    imageio.imwrite(served / "one.png", image)
    with zipfile.ZipFile(served / "series.zip", "w") as archive:
        for path in sorted((served / "series").iterdir()):
            archive.write(path, f"series/{path.name}")
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: handler(*a, directory=str(served)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for name, file in (("SERIES", "series.zip"), ("HELA_2D", "one.png"), ("WHOLE_SLIDE", "one.png")):
            remote = RemoteFile(file, f"http://127.0.0.1:{server.server_port}/{file}", _sha256(served / file))
            monkeypatch.setattr(published, name, remote)
        monkeypatch.setenv("MICROSAM_CACHEDIR", str(tmp_path / "cache"))
        folder = Path(sample_data.fetch_image_series_example_data(tmp_path / "mine"))
        assert sorted(path.name for path in folder.iterdir()) == ["im0.tif", "im1.tif", "im2.tif"]
        assert np.array_equal(imageio.imread(sample_data.fetch_hela_2d_example_data(tmp_path / "mine")), image)
        assert [layer[1]["name"] for layer in sample_data.sample_data_image_series()] == [
            f"image-{k}" for k in range(3)
        ]
        assert np.array_equal(sample_data.sample_data_hela_2d()[0][0], image)
        wrong = RemoteFile("one.png", f"http://127.0.0.1:{server.server_port}/one.png", "0" * 64)
        monkeypatch.setattr(published, "WHOLE_SLIDE", wrong)
        with pytest.raises(InputError, match="another content"):
            sample_data.fetch_wholeslide_example_data(tmp_path / "other")
    finally:
        server.shutdown()


def test_every_published_sample_has_an_address_and_a_hash():
    files = [value for value in vars(published).values() if isinstance(value, RemoteFile)]
    assert len(files) == 9 and all(len(one.sha256) == 64 and one.url.startswith("http") for one in files)
    assert all(callable(getattr(sample_data, name)) for name in sample_data.__all__)


def test_synthetic_data_are_repeatable():
    image, labels = sample_data.synthetic_data((48, 64), seed=1)
    assert image.shape == labels.shape == (48, 64) and set(np.unique(image)) == {0, 255}
    assert np.array_equal(image > 0, labels > 0) and np.array_equal(image, sample_data.synthetic_data((48, 64), 1)[0])
