"""OME-Zarr on a server is read where it lies: by the library, the commands and the cache."""

from __future__ import annotations

import importlib.util
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import zarr

from micro_sam.automatic_segmentation import automatic_instance_segmentation, get_predictor_and_segmenter
from micro_sam.cli.automatic_segmentation import main as segment
from micro_sam.cli.precompute_embeddings import main as embed
from micro_sam.embeddings.jobs import plan_jobs
from micro_sam.embeddings.signature import hash_samples
from micro_sam.errors import InputError, OutputError
from micro_sam.io.addresses import Address, is_address, path_of
from micro_sam.io.checks import check_image
from micro_sam.io.images import open_image
from micro_sam.io.labels import load_labels, save_labels
from micro_sam.session.journal.places import relative

SIDE, CHUNK = 2048, 256


def discs(shape: tuple[int, int]) -> np.ndarray:
    """Bright discs on a dark, noisy ground, and their labels in rows."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    inside = ((y % 64) - 32) ** 2 + ((x % 64) - 32) ** 2 <= 20**2
    noise = np.random.default_rng(0).normal(40, 4, shape)
    return (noise + 140 * inside).clip(0, 255).astype("uint8")


def write_ome_zarr(path: Path, image: np.ndarray, axes: str, zarr_format: int, levels: int = 1) -> None:
    group = zarr.open_group(str(path), mode="w", zarr_format=zarr_format)
    datasets = []
    for k in range(levels):
        step = 2**k
        data = image[..., ::step, ::step]
        group.create_array(str(k), data=data, chunks=(*(1,) * (data.ndim - 2), CHUNK, CHUNK))
        scale = [*(1.0,) * (data.ndim - 2), 0.5 * step, 0.5 * step]
        datasets.append({"path": str(k), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    kinds = {"t": "time", "c": "channel"}
    described = [{"name": a, "type": kinds.get(a, "space")} for a in axes]
    for one in described:
        if one["type"] == "space":
            one["unit"] = "micrometer"
    multiscales = [{"version": "0.4", "axes": described, "datasets": datasets}]
    if zarr_format == 3:
        multiscales[0].pop("version")
        group.attrs["ome"] = {"version": "0.5", "multiscales": multiscales}
    else:
        group.attrs["multiscales"] = multiscales


@pytest.fixture
def server(tmp_path):
    """A folder, its address, and the paths that were asked for."""
    folder, asked = tmp_path / "served", []
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            asked.append(self.path)

    running = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{running.server_address[1]}", asked
    running.shutdown()
    running.server_close()
    thread.join()


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_only_what_is_looked_at_comes_over_the_network(server, zarr_format):
    folder, address, asked = server
    image = discs((SIDE, SIDE))
    write_ome_zarr(folder / "slide.zarr", image, "yx", zarr_format, levels=3)
    source = open_image(f"{address}/slide.zarr")
    assert source.axes == "YX" and source.scale == (0.5, 0.5) and source.unit == "µm" and source.name == "slide"
    assert [level.shape for level in source.levels] == [(1024, 1024), (512, 512)]
    asked.clear()
    assert np.array_equal(source.data[300:400, 300:700], image[300:400, 300:700])
    assert len(asked) == 2  # chunks
    assert open_image(f"{address}/slide.zarr", "1").shape == (1024, 1024)


def test_a_large_image_is_known_by_few_of_its_chunks(server):
    folder, address, asked = server
    image = np.zeros((4096, 4096), "uint8")
    image[::7, ::5] = 200
    write_ome_zarr(folder / "slide.zarr", image, "yx", 2)
    source = open_image(f"{address}/slide.zarr")
    asked.clear()
    assert hash_samples(source.data) == hash_samples(image)
    assert 0 < len({path for path in asked}) <= 0.7 * 256


def test_axes_that_are_left_out_bring_no_chunk(server):
    folder, address, asked = server
    write_ome_zarr(folder / "five.zarr", discs((512, 512))[None, None, None], "tczyx", 2)
    source = open_image(f"{address}/five.zarr")
    asked.clear()
    checked = check_image(source)
    assert checked.data.shape == (512, 512) and asked == []


def test_commands_take_an_address(server, tmp_path, capsys):
    folder, address, _ = server
    image = discs((512, 512))
    write_ome_zarr(folder / "discs.zarr", image, "yx", 2)
    cache, labels = tmp_path / "cache.zarr", tmp_path / "labels.tif"
    assert embed(["-i", f"{address}/discs.zarr", "-o", str(cache), "-m", "nano_lm", "-d", "cpu"]) == 0
    call = ["-i", f"{address}/discs.zarr", "-e", str(cache), "-o", str(labels), "-m", "nano_lm", "-d", "cpu"]
    assert segment(call) == 0
    assert len(np.unique(load_labels(labels))) - 1 == 64
    assert embed(["-i", f"{address}/discs.zarr", "-o", str(cache), "-m", "nano_lm", "-d", "cpu"]) == 0
    assert "nothing to compute" in capsys.readouterr().out
    # a copy on this machine is the same image
    assert embed(["-i", str(folder / "discs.zarr"), "-o", str(cache), "-m", "nano_lm", "-d", "cpu"]) == 0
    assert "nothing to compute" in capsys.readouterr().out


def test_functions_take_an_address(server):
    folder, address, _ = server
    image = discs((512, 512))
    write_ome_zarr(folder / "discs.zarr", image, "yx", 3)
    predictor, segmenter = get_predictor_and_segmenter("nano_lm", device="cpu")
    labels = automatic_instance_segmentation(predictor, segmenter, f"{address}/discs.zarr", verbose=False)
    assert np.array_equal(labels, automatic_instance_segmentation(predictor, segmenter, image, verbose=False))


def test_a_store_of_another_kind_is_read_as_well():
    group = zarr.open_group("memory://micro_sam_test/image.zarr", mode="w")
    group.create_array("0", data=np.arange(64, dtype="uint8").reshape(8, 8))
    group.attrs["multiscales"] = [{"version": "0.4", "axes": ["y", "x"], "datasets": [{"path": "0"}]}]
    assert open_image("memory://micro_sam_test/image.zarr").data[7, 7] == 63


def test_what_is_missing_is_said_in_one_sentence(server, monkeypatch, tmp_path):
    folder, address, _ = server
    with pytest.raises(InputError, match=f"There is no zarr at {address}/none.zarr"):
        open_image(f"{address}/none.zarr")
    with pytest.raises(InputError, match="cannot be read over the network"):
        open_image("http://127.0.0.1:9/image.zarr")
    with pytest.raises(InputError, match="nosuch:// is no kind of address"):
        open_image("nosuch://server/image.zarr")
    with pytest.raises(InputError, match="must be on this machine"):
        plan_jobs(f"{address}/images", tmp_path, "*.tif")
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "aiohttp" else found(name, *a))
    with pytest.raises(InputError, match=r"needs the package aiohttp.*pip install 'micro_sam\[remote\]'"):
        open_image(f"{address}/image.zarr")


@pytest.mark.skipif(importlib.util.find_spec("s3fs") is not None, reason="s3fs is installed")
def test_a_kind_of_address_without_its_package_says_what_to_install():
    with pytest.raises(InputError, match="Install s3fs"):
        open_image("s3://bucket/image.zarr")


def test_nothing_is_written_to_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="only reads"):
        save_labels("https://server/labels.tif", np.zeros((4, 4), "uint8"))
    assert embed(["-i", "sample:coins", "-o", "https://server/cache.zarr", "-m", "nano_lm"]) == 2
    assert list(tmp_path.iterdir()) == []


def test_an_address_is_a_path_that_does_not_exist_here(tmp_path):
    address = path_of("https://server.org/data/slide.ome.zarr")
    assert isinstance(address, Address) and str(address) == "https://server.org/data/slide.ome.zarr"
    assert str(address.parent) == "https://server.org/data" and address.name == "slide.ome.zarr"
    assert not address.exists() and is_address(Path("https://server.org/a.zarr"))
    assert relative(address, tmp_path) == str(address)
    assert not any(is_address(path) for path in ("C:/data/a.tif", "sample:coins", "a:b", tmp_path, None, 3))
