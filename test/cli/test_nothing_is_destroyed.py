"""No command writes onto an input or onto what is not its own: exit code 2 before anything is computed."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from micro_sam.cli import automatic_segmentation, evaluate, export, precompute_embeddings, train
from micro_sam.cli._fields import read_options
from micro_sam.errors import CacheError, OutputError
from micro_sam.io.labels import save_labels
from micro_sam.io.marks import read_kind
from micro_sam.precompute_state import precompute_state


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder to work in: a raw image, the same as OME-Zarr, notes; and no model can be loaded."""
    monkeypatch.chdir(tmp_path)
    image = np.random.default_rng(0).integers(0, 255, (40, 50)).astype("uint8")
    tifffile.imwrite("raw.tif", image)
    root = zarr.open_group("raw.zarr", mode="w", zarr_format=2)
    root.create_array("0", data=image)
    axes = [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}]
    root.attrs["multiscales"] = [{"axes": axes, "datasets": [{"path": "0"}], "version": "0.4"}]
    os.makedirs("images")
    for name in ("a", "b"):
        tifffile.imwrite(f"images/{name}.tif", image)
    os.makedirs("folder")
    Path("folder/notes.txt").write_text("mine")
    Path("link.tif").symlink_to("raw.tif")
    # inside of get_sam_model, which modules that are imported later keep by its name
    monkeypatch.setattr("micro_sam.models.build.build_with_weights", lambda *a, **k: pytest.fail("a model was loaded"))
    return tmp_path


def content(folder: Path) -> dict:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def refused(main, arguments: str, folder: Path, capsys, words: str = "") -> None:
    """The command ends with the exit code 2 and one sentence, and nothing has changed."""
    before = content(folder)
    assert main(arguments.split()) == 2, arguments
    error = capsys.readouterr().err
    assert "Traceback" not in error and words in error and len(error.strip().splitlines()) == 1, error
    assert content(folder) == before


@pytest.mark.parametrize(
    "output",
    ["raw.tif", "./raw.tif", "images/../raw.tif", "link.tif", "folder/other.tif"],
)
def test_segmentation_never_overwrites_an_image(work, capsys, output):
    tifffile.imwrite("folder/other.tif", np.zeros((4, 4)))
    refused(automatic_segmentation.main, f"-i raw.tif -o {output} -m nano_lm", work, capsys, output)


@pytest.mark.parametrize("output", ["raw.zarr", "raw.zarr/", "raw.zarr/0", "raw.zarr/0/labels.tif", "raw.zarr/x.zarr"])
def test_segmentation_never_writes_into_an_ome_zarr(work, capsys, output):
    refused(automatic_segmentation.main, f"-i raw.zarr -o {output} -m nano_lm", work, capsys, "input")


@pytest.mark.parametrize(
    "output", ["raw.zarr", "raw.zarr/x.tif", "folder", "cache.zarr", "tracks.zarr", "folder/new.jpg", "sample:coins"]
)
def test_segmentation_replaces_no_other_image_folder_cache_or_name(work, capsys, output):
    os.makedirs("cache.zarr/features")
    Path("cache.zarr/.zgroup").write_text('{"zarr_format": 2}')
    Path("cache.zarr/.zattrs").write_text('{"cache": {}}')
    save_labels("tracks.zarr", np.ones((2, 4, 4), "uint16"), kind="tracks")
    refused(automatic_segmentation.main, f"-i raw.tif -o {output} -m nano_lm", work, capsys)


@pytest.mark.parametrize(
    "arguments",
    [
        "-i images --pattern *.tif -o images",
        "-i images --pattern *.tif -o images/../images",
        "-i images --pattern * -o images",
        "-i images/*.tif -o images/labels.tif",
        "-i images -o images/labels.tif",
        "-i raw.tif -o labels.tif -e raw.tif",
        "-i raw.zarr -o labels.tif -e raw.zarr",
        "-i raw.tif -o labels.tif -e folder",
        "-i raw.tif -o new.zarr -e new.zarr",
        "-i images --pattern *.tif -o results -e images/../raw.zarr/0",
    ],
)
def test_segmentation_of_folders_and_with_embeddings_never_writes_onto_inputs(work, capsys, arguments):
    refused(automatic_segmentation.main, f"{arguments} -m nano_lm", work, capsys)


def test_labels_of_earlier_runs_are_replaced_and_new_groups_of_labels_are_planned(work):
    save_labels("labels.tif", np.ones((4, 4), "uint16"))
    for output in ("labels.tif", "raw.zarr/labels/cells"):
        command = automatic_segmentation
        arguments = ["-i", "raw.zarr", "-o", output, "-m", "nano_lm"]
        options = read_options(command.build_parser(), command.SegmentationOptions, arguments)
        assert str(automatic_segmentation.plan(options)[0][1]) == output


@pytest.mark.parametrize(
    "arguments",
    [
        "-i raw.tif -o raw.tif",
        "-i raw.zarr -o raw.zarr",
        "-i raw.zarr -e raw.zarr/",
        "-i raw.zarr -o raw.zarr/embeddings.zarr",
        "-i raw.tif -o raw.zarr",
        "-i raw.tif -o folder",
        "-i raw.tif -o images",
        "-i zarrs --pattern *.zarr -o zarrs",
        "-i raw.tif -o sample:coins",
    ],
)
def test_embeddings_are_never_stored_in_an_image_or_a_folder_of_others(work, capsys, arguments):
    os.makedirs("zarrs")
    os.rename("raw.zarr", "zarrs/a.zarr")
    os.symlink("zarrs/a.zarr", "raw.zarr")
    refused(precompute_embeddings.main, f"{arguments} -m nano_lm", work, capsys)
    words = arguments.split()
    before = content(work)
    with pytest.raises((OutputError, CacheError)):
        precompute_state(words[1], words[-1], words[3] if "--pattern" in words else None, model_type="nano_lm")
    assert content(work) == before


def test_evaluation_replaces_its_own_table_only(work, capsys):
    labels = np.zeros((20, 20), "uint16")
    labels[2:9, 2:9] = 1
    os.makedirs("truth")
    for name in ("truth.tif", "truth/a.tif", "truth/b.tif"):
        save_labels(name, labels)
    Path("notes.csv").write_text("image,mSA\nmine,1\n")
    for output in ("truth.tif", "raw.tif", "notes.csv", "folder"):
        refused(evaluate.main, f"-l truth.tif -s truth.tif -o {output}", work, capsys, output)
    refused(evaluate.main, "-l truth -s truth -o truth/table.csv", work, capsys, "pattern")
    for _ in range(2):
        assert evaluate.main("-l truth -s truth -o table.csv".split()) == 0
    assert read_kind(Path("table.csv")) == "table"
    import pandas

    assert list(pandas.read_csv("table.csv")) == ["image", "mSA", "SA50", "SA75", "dice"]


@pytest.mark.parametrize(
    "arguments",
    [
        "-i images -l images -o mine.safetensors --run_file raw.tif",
        "-i raw.tif -l raw.tif -o mine.safetensors --run_file raw.tif",
        "-i raw.tif -l raw.tif -o model.safetensors -c model.safetensors --overwrite",
        "-i raw.tif -l raw.tif -o other.safetensors --overwrite",
        "-i raw.tif -l raw.tif -o carded.safetensors",
        "-i raw.tif -l raw.tif -o logged.safetensors",
    ],
)
def test_training_replaces_only_what_it_wrote(work, capsys, arguments):
    for name in ("model.safetensors", "other.safetensors", "carded.md", "logged.log.csv"):
        Path(name).write_text("mine")
    refused(train.main, f"{arguments} -m nano_lm -d cpu".replace("-m nano_lm -d", "-d"), work, capsys)


def test_exports_and_runs_replace_nothing(work, capsys):
    Path("model.safetensors").write_text("x")
    for output in ("folder", "raw.zarr"):
        refused(export.main, f"-m nano_lm -o {output}", work, capsys, output)
    refused(export.main, "-c model.safetensors -o model.safetensors", work, capsys)


def test_notes_on_a_run_replace_notes_on_a_run(work):
    from micro_sam.io.run_file import RunFile, read_run

    Path("notes.json").write_text(json.dumps({"mine": 1}))
    with pytest.raises(OutputError), RunFile("notes.json"):
        pass
    assert json.loads(Path("notes.json").read_text()) == {"mine": 1}
    Path("earlier.json").write_text(json.dumps({"state": "stopped", "step": 3}))
    for _ in range(2):
        with RunFile("earlier.json") as file:
            file.write(state="done")
    assert read_run("earlier.json") == {"state": "done"}
