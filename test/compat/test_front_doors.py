"""Smaller modules of micro-sam 1.8: every public name is called with its documented arguments."""

import threading
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import h5py
import imageio.v3 as imageio
import known
import numpy as np
import pytest
import torch

from micro_sam import inference, multi_dimensional_segmentation, precompute_state, prompt_generators, sample_data
from micro_sam.compat import states
from micro_sam.errors import InputError, OutputError
from micro_sam.models.build import build_model
from micro_sam.models.predictor import ImageFeatures, Predictor
from micro_sam.sample_data import published
from micro_sam.sample_data.download import RemoteFile, _sha256

REFERENCE = np.load(Path(__file__).parent / "reference.npz")


def test_tracks_for_napari_are_those_of_1_8():
    labels = np.zeros((4, 20, 20), int)
    labels[:2, 2:6, 2:6], labels[2:, 2:4, 2:4], labels[2:, 6:9, 6:9] = 1, 2, 3
    labels[:, 15:18, 15:18] = 4
    data, graph = multi_dimensional_segmentation.get_napari_track_data(labels, [{1: [2, 3], 2: [], 3: []}, {4: []}])
    assert graph == {2: [1], 3: [1]} and data.shape == (10, 4)
    assert data[0].tolist() == [1, 0, 3.5, 3.5] and [3, 2, 7, 7] in data.tolist() and [2, 3, 2.5, 2.5] in data.tolist()


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


def test_corrections_lie_where_the_prediction_is_wrong():
    truth, found = np.zeros((1, 1, 40, 50), bool), np.zeros((1, 1, 40, 50), bool)
    truth[..., 10:20, 10:30], found[..., 10:20, 20:40] = True, True
    generator = prompt_generators.IterativePromptGenerator(seed=0)
    for prediction in (found, torch.from_numpy(found).float()):
        points, labels, boxes, masks = generator(torch.from_numpy(truth), prediction)
        assert points.shape == (1, 2, 2) and labels.tolist() == [[1, 0]] and boxes is None and masks is None
        (px, py), (nx, ny) = points[0].tolist()
        assert 10 <= px < 20 and 10 <= py < 20 and 30 <= nx < 40 and 10 <= ny < 20
    right = generator(truth, truth)[0][0].tolist()
    assert truth[0, 0][right[0][1], right[0][0]] and not truth[0, 0][right[1][1], right[1][0]]


def test_the_centre_that_is_given_is_the_first_point():
    mask = np.zeros((1, 1, 40, 50), bool)
    mask[..., 10:20, 10:30] = True
    generator = prompt_generators.PointAndBoxPromptGenerator(1, 0, 0, True, True)
    for centre, expected in (((12, 25), [25, 12]), ((0, 0), None)):
        points, _, boxes, _ = generator(mask, [(10, 10, 20, 30)], [centre])
        x, y = points[0, 0].tolist()
        assert mask[0, 0, y, x] and (expected is None or [x, y] == expected)
        assert boxes.tolist() == [[10, 10, 30, 20]]


@pytest.fixture(scope="module")
def known_predictor():
    """A vit_t with the decoder weights for which the answers of 1.8.14 are known; its encoder is not asked."""
    sam = build_model("vit_t")
    state = sam.state_dict()
    parts = {n: tuple(v.shape) for n, v in state.items() if n.startswith(("prompt_encoder.", "mask_decoder."))}
    sam.load_state_dict(known.weights(parts), strict=False)
    predictor = Predictor(sam)
    predictor.set_features(ImageFeatures(known.features(), known.INPUT_SIZE, known.SHAPE))
    return predictor


@pytest.mark.parametrize(
    ("name", "prompts"),
    [
        ("boxes", {"boxes": known.BOXES}),
        ("points", {"points": known.POINTS, "point_labels": np.ones((3, 1), int)}),
        ("multi", {"points": known.POINTS, "point_labels": np.ones((3, 1), int), "multimasking": True}),
    ],
)
def test_many_prompts_give_the_masks_of_1_8(known_predictor, name, prompts):
    masks = inference.batched_inference(known_predictor, None, 2, return_instance_segmentation=False, **prompts)
    assert np.allclose([one["predicted_iou"] for one in masks], REFERENCE[f"iou_{name}"], atol=1e-4)
    areas = np.array([one["area"] for one in masks])
    assert (np.abs(areas - REFERENCE[f"area_{name}"]) <= 0.01 * areas + 2).all()
    assert [one["seg_id"] for one in masks] == [1, 2, 3] and masks[0]["logits"].shape == (1, 256, 256)


def test_many_prompts_make_a_label_image(predictor, blobs, embeddings):
    image, truth = blobs
    boxes = np.array([[24, 20, 77, 61], [124, 25, 177, 66]])
    labels = inference.batched_inference(predictor, image, 1, boxes, segmentation_ids=[7, 9], verbose_embeddings=False)
    assert set(np.unique(labels)) == {0, 7, 9} and (labels[truth == 1] == 7).mean() > 0.7
    tiled = inference.batched_tiled_inference(
        predictor, image, 2, boxes=boxes, tile_shape=(96, 112), halo=(40, 40), verbose_embeddings=False, min_size=10
    )
    assert tiled.max() == 2 and (tiled[truth == 1] > 0).mean() > 0.7
    with pytest.raises(InputError, match="no prompt"):
        inference.batched_inference(predictor, image, 1)
    with pytest.raises(InputError, match="a number"):
        inference.batched_inference(predictor, image, 1, boxes, mask_threshold="auto")


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


def test_a_package_for_the_zoo_is_named_and_checked(tmp_path):
    from micro_sam.bioimageio import export_sam_model

    with pytest.raises(InputError, match="model card"):
        export_sam_model(None, None, "nano_lm", "mine", tmp_path, tags=["a"])


def test_names_of_other_modules_lead_to_the_same_functions():
    from micro_sam import prompt_based_segmentation, segment_from_prompts
    from micro_sam._vendored import batched_mask_to_box, mask_to_rle_pytorch

    for name in segment_from_prompts.__all__:
        assert getattr(segment_from_prompts, name) is getattr(prompt_based_segmentation, name)
    mask = torch.zeros((2, 10, 10), dtype=torch.bool)
    mask[0, 7:9, 3:5] = True
    assert batched_mask_to_box(mask).tolist() == [[3, 7, 4, 8], [0, 0, 0, 0]]
    assert mask_to_rle_pytorch(mask)[0]["counts"] == [37, 2, 8, 2, 51]


def test_the_rooms_below_do_not_know_the_front_doors():
    package = Path(known.__file__).parents[2] / "micro_sam"
    for room in ("segmentation", "embeddings", "models", "io", "session"):
        for path in (package / room).rglob("*.py"):
            assert "micro_sam.compat" not in path.read_text(), path
