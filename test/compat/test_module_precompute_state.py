"""``micro_sam.precompute_state`` with the calls of micro-sam 1.8."""

import threading
import time
from types import SimpleNamespace

import h5py
import imageio.v3 as imageio
import numpy as np
import pytest

from micro_sam import precompute_state
from micro_sam.compat import states
from micro_sam.embeddings.compute import open_embeddings
from micro_sam.errors import OutputError
from micro_sam.io.atomic import locked
from micro_sam.models.build import get_sam_model
from micro_sam.sample_data import open_sample
from micro_sam.segmentation.automatic.dense import get_segmenter
from micro_sam.segmentation.automatic.states import read_state, state_path


def test_states_are_kept_in_the_file_of_1_8(predictor, blobs, embeddings, tmp_path):
    image, _ = blobs
    first = precompute_state.cache_is_state(predictor, None, image, embeddings, tmp_path, verbose=False)
    with h5py.File(tmp_path / "is_state.h5") as file:
        assert set(file["state"]) == {"foreground", "center_distances", "boundary_distances"}
        assert file["state/foreground"].shape == image.shape and file["state/foreground"].dtype == "float32"
    with h5py.File(tmp_path / "is_state.h5", "a") as file:  # as 1.8 would have written it
        file["state/foreground"][:80] = 0
    again = precompute_state.cache_is_state(predictor, None, image, embeddings, tmp_path, verbose=False)
    assert first.generate().max() >= 4 and again.generate()[:80].max() == 0
    assert precompute_state.cache_is_state(predictor, None, image, embeddings, tmp_path, skip_load=True) is None


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "no group"])
def test_a_damaged_file_of_states_is_begun_anew(tmp_path, damage):
    path, maps = tmp_path / "is_state.h5", {name: np.full((8, 9), 0.5, "float32") for name in states.MAPS}
    for i in range(3):
        states.write_maps(path, i, maps)
    if damage == "no group":
        with h5py.File(path, "a") as file:
            del file["state-1"]
            file["state-1"] = 5
    else:
        content = {"cut": path.read_bytes()[:-3000], "empty": b"", "text": b"text"}[damage]
        path.write_bytes(content)
    assert states.read_maps(path, 1, (8, 9)) is None
    states.write_maps(path, 1, maps)
    assert states.read_maps(path, 1, (8, 9))["foreground"].min() == 0.5
    if damage != "no group":  # it may be somebody else's file
        assert (tmp_path / "is_state.h5.bak").read_bytes() == content


def test_a_file_that_another_process_writes_is_waited_for(tmp_path):
    """Half written, it looks damaged."""
    path, maps = tmp_path / "is_state.h5", {name: np.full((8, 9), 0.5, "float32") for name in states.MAPS}
    begun = threading.Event()

    def other():
        with locked(tmp_path):
            path.write_bytes(b"half")
            begun.set()
            time.sleep(0.3)
            path.unlink()
            states._add_maps(path, 0, maps)

    thread = threading.Thread(target=other)
    thread.start()
    begun.wait()
    states.write_maps(path, 1, maps)
    thread.join()
    assert [file.name for file in tmp_path.iterdir()] == ["is_state.h5"]
    assert all(states.read_maps(path, i, (8, 9)) is not None for i in range(2))


def test_states_are_not_written_onto_a_full_disc(tmp_path, monkeypatch):
    maps = {name: np.zeros((8, 9), "float32") for name in states.MAPS}
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=100))
    with pytest.raises(OutputError, match="no space left"):
        states.write_maps(tmp_path / "is_state.h5", None, maps)


def test_a_pickled_state_is_not_read_and_the_answers_are_kept(predictor, blobs, embeddings, tmp_path, caplog):
    (tmp_path / "amg_state.pickle").write_bytes(b"cos\nsystem\n(S'touch /tmp/never'\ntR.")
    arguments = (predictor, blobs[0], embeddings, tmp_path)
    amg = precompute_state.cache_amg_state(*arguments, verbose=False, points_per_side=4)
    assert "pickle" in caplog.text and (tmp_path / "automatic" / "masks.npz").exists()
    predictor_without_network = type("Predictor", (), {"__getattr__": lambda self, name: getattr(predictor, name)})()
    again = precompute_state.cache_amg_state(predictor_without_network, *arguments[1:], points_per_side=4)
    assert np.array_equal(amg.generate(pred_iou_thresh=0.5), again.generate(pred_iou_thresh=0.5))


def test_a_folder_of_images_is_embedded_and_prepared(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    coins = open_sample("coins").image[:160, :200]
    for name in "ab":
        imageio.imwrite(images / f"{name}.png", coins)
    precompute_state.precompute_state(images, tmp_path / "states", "*.png", "nano_lm", precompute_amg_state=True)
    predictor = get_sam_model("nano_lm", device="cpu")
    for name in "ab":
        (cache,) = (tmp_path / "states").glob(f"{name}*.zarr")
        embeddings, store = open_embeddings(predictor, coins, cache, 2)
        assert not store.missing() and embeddings.shape == coins.shape
        segmenter = get_segmenter(predictor)
        kept = state_path(embeddings, segmenter.method)
        assert kept is not None and read_state(segmenter, kept), "what the network says of all objects is there"
