"""What cannot be learned from is said in a sentence, before any training."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from micro_sam.errors import InputError
from micro_sam.io.labels import save_labels
from micro_sam.training import data
from micro_sam.training.config import DataSource, TrainConfig, load_recipe
from micro_sam.training.crops import TrainingImage


def source(folder: Path, **settings) -> DataSource:
    return DataSource((str(folder / "images"),), (str(folder / "labels"),), **settings)


def save(folder: Path, kind: str, name: str, array: np.ndarray) -> None:
    (folder / kind).mkdir(exist_ok=True)
    tifffile.imwrite(folder / kind / name, array)


def square(size: int = 40) -> np.ndarray:
    labels = np.zeros((size, size), np.uint16)
    labels[5:20, 8:30] = 3
    return labels


def test_images_pair_with_labels_of_their_name(tiny_set, tmp_path):
    (tiny_set[1] / "cell_1.tif").unlink()
    found = data.read_source(source(tmp_path / "set"))
    assert [i.name for i in found] == ["cell_0.tif", "cell_2.tif"]
    assert found[0].image.shape == (128, 128, 3) and found[0].image.dtype == np.uint8
    assert found[0].labels.dtype == np.int32


def test_images_pair_with_labels_of_the_same_number(tmp_path):
    for number in (2, 10):
        save(tmp_path, "images", f"raw_{number}.tif", np.full((40, 40), number, np.uint8))
        save(tmp_path, "labels", f"masks_{number}.tif", square())
    pairs = data.pair_files(
        data.find_files([str(tmp_path / "images")], ""), data.find_files([str(tmp_path / "labels")], "")
    )
    assert [(a.name, b.name) for a, b in pairs] == [("raw_2.tif", "masks_2.tif"), ("raw_10.tif", "masks_10.tif")]


def test_outlines_in_a_folder_are_labels_of_the_images_of_their_name(tmp_path):
    for name in ("a", "b"):
        save(tmp_path, "images", f"{name}.tif", np.full((40, 60), 9, np.uint8))
        save_labels(tmp_path / "images" / f"{name}_objects.tif", square())  # beside its image: a result, no image
    (tmp_path / "labels").mkdir()
    save_labels(tmp_path / "labels" / "b.geojson", square())
    found = data.read_source(source(tmp_path))
    assert [image.name for image in found] == ["b.tif"] and found[0].labels.shape == (40, 60)
    assert np.array_equal(found[0].labels[:, :40], square())


@pytest.mark.parametrize("background", [0, 5])
def test_objects_may_have_ids_of_any_size(tmp_path, background):
    save(tmp_path, "images", "a.tif", np.zeros((40, 40), np.uint8))
    save(tmp_path, "labels", "a.tif", np.where(square() > 0, 2_000_000_000, background).astype("uint32"))
    labels = data.read_source(source(tmp_path))[0].labels
    assert labels.max() < 3 and np.array_equal(labels > labels[0, 0], square() > 0)
    assert (labels[0, 0] == 0) == (background == 0)


def test_an_image_that_cannot_be_learned_from_is_named(tmp_path):
    save(tmp_path, "images", "grey.tif", np.zeros((40, 40), np.uint8))
    tifffile.imwrite(
        tmp_path / "images" / "two.tif", np.zeros((2, 40, 40), np.uint16), imagej=True, metadata={"axes": "CYX"}
    )
    for name in ("grey", "two"):
        save(tmp_path, "labels", f"{name}.tif", square())
    with pytest.raises(InputError, match="two.tif: The image has 2 channels"):
        data.read_source(source(tmp_path))


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (["a_1", "a_2", "a_3"], ["b_1", "b_2"], "3 images but 2 label images"),
        (["a_1", "a_2"], ["b_2", "b_3"], "whose numbers differ"),
    ],
)
def test_files_that_do_not_pair_are_refused(images, labels, message):
    with pytest.raises(InputError, match=message):
        data.pair_files([Path(f"{n}.tif") for n in images], [Path(f"{n}.tif") for n in labels])


@pytest.mark.parametrize(
    ("image", "labels", "message"),
    [
        (np.zeros((40, 50), np.uint8), square(), "do not match"),
        (np.zeros((5, 40, 40), np.uint8), square(), "5 channels"),
        (np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8), "has an object"),
        (np.zeros((40, 40), np.uint8), square() / 2.0, "fractions"),
        (np.zeros((40, 40), np.uint8), square().astype(np.int16) * -1, "negative"),
        (np.zeros((40, 40), np.uint8), np.zeros((40, 40, 3), np.uint8), "colour picture"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, image, labels, message):
    save(tmp_path, "images", "a.tif", image)
    save(tmp_path, "labels", "a.tif", labels)
    with pytest.raises(InputError, match=message):
        data.read_source(source(tmp_path))


def test_huge_image_is_refused_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "MAX_PIXELS", 1000)
    save(tmp_path, "images", "a.tif", np.zeros((40, 40), np.uint8))
    save(tmp_path, "labels", "a.tif", square())
    with pytest.raises(InputError, match="Cut pieces"):
        data.read_source(source(tmp_path))


def test_channel_first_colours_and_singleton_axes_are_understood(tmp_path):
    save(tmp_path, "images", "a.tif", np.random.default_rng(0).integers(0, 255, (3, 40, 40)).astype(np.uint8))
    save(tmp_path, "labels", "a.tif", square()[None])
    (image,) = data.read_source(source(tmp_path))
    assert image.image.shape == (40, 40, 3) and image.labels.shape == (40, 40)


def test_stack_gives_its_slices(tmp_path):
    labels = np.stack([square()] * 10)
    labels[4] = 0
    save(tmp_path, "images", "a.tif", np.zeros((10, 40, 40), np.uint8))
    save(tmp_path, "labels", "a.tif", labels)
    found = data.read_source(source(tmp_path, stack=True, every=2, part=(0.0, 0.7)))
    assert [i.name for i in found] == ["a.tif[0]", "a.tif[2]", "a.tif[6]"]


def test_noisy_stacks_are_smoothed_as_the_tools_do_it(tmp_path):
    labels = np.stack([square()] * 4)
    noise = np.random.default_rng(0).normal(0, 40, labels.shape)
    save(tmp_path, "images", "a.tif", np.clip((labels > 0) * 80 + 90 + noise, 0, 255).astype(np.uint8))
    save(tmp_path, "labels", "a.tif", labels)
    image = data.read_source(source(tmp_path))[0]
    inside = image.image[..., 0][square() > 0].astype(float)
    assert inside.std() < 25


def test_one_image_is_cut_in_two(tiny_set, tmp_path):
    images = data.read_source(source(tmp_path / "set"))
    (learn,), (keep,) = data.split(images[:1], 0.2, 0)
    assert learn.labels.size + keep.labels.size == images[0].labels.size
    assert max(learn.labels.shape) == max(keep.labels.shape) == 128
    assert set(learn.ids) | set(keep.ids) == set(images[0].ids)
    assert len(keep.ids) <= len(learn.ids)


def test_the_cut_runs_between_objects():
    labels = np.zeros((60, 200), np.int32)
    labels[2:20, 10:30], labels[5:18, 90:130], labels[24:40, 50:70], labels[44:58, 100:140] = 1, 2, 3, 4
    learn, keep = data.cut_in_two(TrainingImage(np.zeros((60, 200, 3), np.uint8), labels, "a.tif"), 0.25)
    assert sorted(learn.ids) == [1, 2, 3] and sorted(keep.ids) == [4]
    assert learn.labels.shape[1] == keep.labels.shape[1] == 200


def test_one_object_is_not_enough(tmp_path):
    save(tmp_path, "images", "a.tif", np.zeros((40, 40), np.uint8))
    save(tmp_path, "labels", "a.tif", square())
    with pytest.raises(InputError, match="only one image"):
        data.split(data.read_source(source(tmp_path)), 0.2, 0)


def test_one_of_three_images_is_kept_back(tiny_set, tmp_path):
    learn, keep = data.split(data.read_source(source(tmp_path / "set")), 0.2, 0)
    assert len(learn) == 2 and len(keep) == 1


def test_results_saved_beside_the_images_are_found(tmp_path):
    from micro_sam.io.labels import save_labels

    for name in ("a", "b", "c"):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.zeros((40, 40), np.uint8))
    save_labels(tmp_path / "a_objects.tif", square())
    save_labels(tmp_path / "c_objects.zarr", square())
    for labels in ((), (str(tmp_path),)):
        found = data.read_source(DataSource((str(tmp_path),), labels))
        assert [i.name for i in found] == ["a.tif", "c.tif"]
    with pytest.raises(InputError, match="b_objects.tif"):
        data.read_source(DataSource((str(tmp_path / "b.tif"),)))
    named = DataSource((str(tmp_path / "[ac].tif"),), (str(tmp_path / "*_objects.*"),))
    assert len(data.read_source(named)) == 2


@pytest.mark.parametrize("name", ["movie_RES", "tracks.geff", "tracks.xml", "masks"])
def test_tracks_of_a_movie_are_labels_of_its_frames(tmp_path, name):
    from micro_sam.io.tracks import save_tracks

    labels = np.stack([np.roll(square(), t, 1) for t in range(3)])
    tifffile.imwrite(tmp_path / "movie.tif", np.zeros((3, 40, 40), np.uint8))
    if name == "masks":  # plain label images, one per frame
        (tmp_path / name).mkdir()
        for t, frame in enumerate(labels):
            tifffile.imwrite(tmp_path / name / f"t{t}.tif", frame)
    else:
        save_tracks(tmp_path / name, labels)
    found = data.read_source(DataSource((str(tmp_path / "movie.tif"),), (str(tmp_path / name),)))
    assert [i.name for i in found] == ["movie.tif[0]", "movie.tif[1]", "movie.tif[2]"]
    assert np.array_equal(found[2].labels > 0, labels[2] > 0)


def test_frames_in_a_folder_pair_with_a_tracking_result(tmp_path):
    from micro_sam.io.tracks import save_tracks

    for t in range(3):
        save(tmp_path, "frames", f"t{t:03d}.tif", np.zeros((40, 40), np.uint8))
    save_tracks(tmp_path / "frames_RES", np.stack([square()] * 3))
    found = data.read_source(DataSource((str(tmp_path / "frames"),), (str(tmp_path / "frames_RES"),)))
    assert [i.name for i in found] == ["t000.tif", "t001.tif", "t002.tif"]


def test_tracks_without_masks_are_no_labels(tmp_path):
    tifffile.imwrite(tmp_path / "movie.tif", np.zeros((2, 40, 40), np.uint8))
    (tmp_path / "tracks.csv").write_text("ID,T,Y,X\n1,0,5,5\n1,1,6,6\n")
    with pytest.raises(InputError, match="masks are needed"):
        data.read_source(DataSource((str(tmp_path / "movie.tif"),), (str(tmp_path / "tracks.csv"),)))


def test_validation_is_thinned_evenly_and_keeps_small_groups():
    def image(name: str, group: str) -> TrainingImage:
        return TrainingImage(np.zeros((8, 8, 3), np.uint8), np.ones((8, 8), np.int32), name, group)

    images = [image(str(i), "large") for i in range(50)] + [image("only", "small")]
    chosen = data.thin(images, 6)
    assert [i.name for i in chosen] == ["only", "0", "12", "24", "37", "49"]
    assert len(data.thin(images, 100)) == 51


@pytest.mark.parametrize("what", ["nothing/here", "nothing/*.tif"])
def test_missing_files_are_named(what):
    with pytest.raises(InputError, match="nothing"):
        data.find_files([what], "image")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"trainable": "all"}, "trainable"),
        ({"learning_rate": 5.0}, "learning rate"),
        ({"output": "model.pt"}, "safetensors"),
        ({"validation_share": 1.5}, "share"),
    ],
)
def test_senseless_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        TrainConfig(**settings)


def test_recipe_of_the_package_reads():
    from micro_sam.cli.train import recipe_path

    config = load_recipe(recipe_path("nano_lm"), "/data", output="x.safetensors", steps=7)
    assert config.steps == 7 and config.synthetic > 0
    assert config.train[0].images == ("/data/nuclei2d_dsb2018/train/images",)
    assert not any("val" in p for s in config.train for p in s.images)


def test_recipe_with_unknown_settings_is_refused(tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text("stepps = 5\n")
    with pytest.raises(InputError, match="stepps"):
        load_recipe(recipe)
    recipe.write_text("steps = \n")
    with pytest.raises(InputError, match="no valid TOML"):
        load_recipe(recipe)
