"""The commands with workers and in job arrays, on real files with the shipped model."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from tqdm import tqdm

from micro_sam.cli._segment import Segmentation, SegmentationSettings, SegmentationTask
from micro_sam.cli._segment import segment as run_task
from micro_sam.cli.automatic_segmentation import main as segment
from micro_sam.cli.info import main as info
from micro_sam.cli.precompute_embeddings import main as precompute
from micro_sam.embeddings.embeddings import as_embeddings
from micro_sam.embeddings.jobs import EmbeddingJob
from micro_sam.embeddings.tasks import EmbeddingSettings
from micro_sam.models.build import get_sam_model
from micro_sam.sample_data import open_sample

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

MODEL = ["-m", "nano_lm", "-d", "cpu"]


@pytest.fixture
def stack(tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, (np.random.default_rng(0).random((5, 60, 80)) * 4000).astype("uint16"))
    return path


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for name in "abc":
        tifffile.imwrite(tmp_path / "images" / f"{name}.tif", (rng.random((60, 80)) * 4000).astype("uint16"))
    return tmp_path / "images"


@pytest.fixture
def one_thread():
    """As the workers of these tests have: on some processors the last bits depend on the number of threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def same(one, other):
    one, other = as_embeddings(one), as_embeddings(other)
    items = list(one.store.items())
    assert items == list(other.store.items()) and other.is_complete()
    return all(np.array_equal(one.load(*item).features, other.load(*item).features) for item in items)


def test_parts_fill_one_cache_and_say_what_is_left(stack, tmp_path, capsys):
    arguments = ["-i", str(stack), *MODEL, "-p"]
    assert precompute([*arguments, "-o", str(tmp_path / "single")]) == 0
    for part in ("2/2", "1/2"):
        assert precompute([*arguments, "-o", str(tmp_path / "parts"), "--part", part]) == 0
    said = capsys.readouterr().out
    assert "Part 2/2 is done; 2 are left to the other parts" in said and "Part 1/2 is done, and so are all" in said
    assert same(tmp_path / "single", tmp_path / "parts")
    kept = [sorted(path.name for path in (tmp_path / name / "automatic").iterdir()) for name in ("single", "parts")]
    assert kept[0] == kept[1] and (tmp_path / "parts" / "is_state.h5").exists()
    assert precompute([*arguments, "-o", str(tmp_path / "parts"), "--part", "1/2"]) == 0
    assert "nothing to compute" in capsys.readouterr().out


def test_one_large_image_is_prepared_in_parts_and_by_several_workers_as_by_one_process(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("micro_sam.segmentation.automatic.dense_blocks.MOST_TILES", 4)
    monkeypatch.setattr("micro_sam.segmentation.automatic.dense_blocks.BLOCK_TILES", 2)
    image = tmp_path / "large.tif"
    tifffile.imwrite(image, np.tile(open_sample("coins").image[:160, :160], (1, 2)))
    arguments, tiles = ["-i", str(image), *MODEL], ["--tile_shape", "80", "80", "--halo", "16", "16"]
    cache = tmp_path / "single.zarr"
    assert precompute([*arguments, *tiles, "-o", str(cache)]) == 0
    for name in ("parts", "workers"):
        shutil.copytree(cache, tmp_path / f"{name}.zarr")
    for part in ("1/2", "2/2"):
        assert precompute([*arguments, *tiles, "-o", str(tmp_path / "parts.zarr"), "-p", "--part", part]) == 0
    blocks = sorted((tmp_path / "parts.zarr" / "automatic").glob("*_blocks/*.npy"))
    assert len(blocks) == 2 and not (tmp_path / "parts.zarr" / "is_state.h5").exists(), "too large for one file"
    capsys.readouterr()
    assert info(["--cache", str(tmp_path / "parts.zarr")]) == 0
    assert "prepared          automatic segmentation (2 blocks, looked at closer)\n" in capsys.readouterr().out
    written = [block.stat().st_mtime_ns for block in blocks]
    assert spread(image, tmp_path / "workers.zarr", tmp_path / "workers.tif") == [1, 1]
    labels = []
    for name in ("single", "parts", "workers"):
        output = tmp_path / f"{name}.tif"
        if not output.exists():
            assert segment([*arguments, *tiles, "-e", str(tmp_path / f"{name}.zarr"), "-o", str(output)]) == 0
        labels.append(tifffile.imread(output))
    assert labels[0].max() > 3 and all(np.array_equal(labels[0], one) for one in labels[1:])
    assert [block.stat().st_mtime_ns for block in blocks] == written, "nothing was computed again"


def spread(image, cache, output):
    """Segment an image as several workers do, one task after the other; how many blocks each block task had."""
    predictor = get_sam_model("nano_lm", device="cpu")
    job = EmbeddingJob(image, cache)
    settings = SegmentationSettings(tile_shape=(80, 80), halo=(16, 16), keep_embeddings=True)
    embedding = EmbeddingSettings(None, (80, 80), (16, 16), workers=2, smooth_noise=False)
    monkey = pytest.MonkeyPatch()
    monkey.setattr("micro_sam.cli._tasks.FEW_PARTS", 1)
    run, counts = Segmentation([SegmentationTask(job, output, settings)], embedding, tqdm(disable=True, total=1)), []
    waiting = list(run.tasks())
    while waiting:
        task = waiting.pop(0)
        counts += [len(task.parts)] if getattr(task, "parts", None) else []
        waiting += run.follow(task, SimpleNamespace(error=None, value=run_task(predictor, task)))
    monkey.undo()
    return counts


def test_parts_of_a_folder_are_whole_images_and_a_bad_one_gives_code_1(folder, tmp_path, capsys):
    (folder / "d.tif").write_text("no image")
    arguments = ["-i", str(folder), "--pattern", "*.tif", *MODEL]
    codes = [segment([*arguments, "-o", str(tmp_path / "out"), "--part", f"{k}/2"]) for k in (1, 2)]
    assert codes == [0, 1]
    shown = capsys.readouterr()
    assert "d.tif" in shown.err and "1 of 2 images could not be segmented" in shown.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.tif", "b.tif", "c.tif"]


def test_a_part_of_one_image_cannot_be_segmented(stack, tmp_path, capsys):
    assert segment(["-i", str(stack), "-o", str(tmp_path / "out.tif"), *MODEL, "--part", "1/2"]) == 2
    assert "--pattern" in capsys.readouterr().err


@pytest.mark.slow
def test_workers_embed_and_prepare_a_volume_as_one_process_does(stack, tmp_path, capsys, one_thread):
    pytest.importorskip("distributed")
    arguments = ["-i", str(stack), *MODEL, "-p"]
    assert precompute([*arguments, "-o", str(tmp_path / "single")]) == 0
    workers = ["--scheduler", "local", "--workers", "2", "--cores", "2", "--shard", "2"]
    assert precompute([*arguments, "-o", str(tmp_path / "spread"), *workers]) == 0
    shown = capsys.readouterr()
    assert "2 workers, dashboard: http" in shown.out and "5 slices and tiles of 1 image embedded" in shown.out
    assert same(tmp_path / "single", tmp_path / "spread")
    maps = [
        {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in (tmp_path / name).rglob("volume/**/0*")}
        for name in ("single", "spread")
    ]
    assert maps[0] == maps[1]
    kept = [sorted(path.name for path in (tmp_path / name / "automatic").iterdir()) for name in ("single", "spread")]
    assert kept[0] == kept[1] and (tmp_path / "spread" / "is_state.h5").exists()
    assert precompute([*arguments, "-o", str(tmp_path / "spread"), "--scheduler", "local", "--workers", "1"]) == 0
    assert "0 slices and tiles" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("keep", [False, True])
def test_workers_segment_as_one_process_does(folder, tmp_path, capsys, one_thread, keep):
    pytest.importorskip("distributed")
    arguments = ["-i", str(folder), "--pattern", "*.tif", *MODEL]
    assert segment([*arguments, "-o", str(tmp_path / "single")]) == 0
    capsys.readouterr()
    more = ["-e", str(tmp_path / "embeddings")] if keep else []
    number = "2" if keep else "1"
    # one thread each: threads that wait for a core that others have cost more than they bring
    workers = ["--scheduler", "local", "--workers", number, "--cores", number]
    assert segment([*arguments, "-o", str(tmp_path / "spread"), *more, *workers]) == 0
    assert capsys.readouterr().out.count("objects: ") == 3
    for name in "abc":
        one, other = (tifffile.imread(tmp_path / where / f"{name}.tif") for where in ("single", "spread"))
        assert np.array_equal(one, other)
    assert not keep or all(as_embeddings(tmp_path / "embeddings" / f"{name}.zarr").is_complete() for name in "abc")


@pytest.mark.slow
def test_killed_clients_and_workers_leave_a_cache_as_if_nothing_had_happened(tmp_path):
    """``benchmarks/faults_cluster.py`` does it more often."""
    pytest.importorskip("distributed")
    faults = __import__("faults_cluster")
    result = faults.kills(tmp_path / "scene", 3, 10)
    assert result["wrong"] == [] and sum(result["kills"].values()) == 3


@pytest.mark.slow
@pytest.mark.parametrize("scene", ["poisoned", "full_disc", "no_model"])
def test_what_fails_by_itself_is_told_and_the_rest_is_done(tmp_path, scene):
    pytest.importorskip("distributed")
    assert getattr(__import__("faults_cluster"), scene)(tmp_path / "scene")["wrong"] == []


@pytest.mark.slow
def test_two_clients_fill_one_cache(tmp_path):
    pytest.importorskip("distributed")
    assert __import__("faults_cluster").two_clients(tmp_path / "scene", 6)["wrong"] == []


@pytest.mark.slow
def test_workers_that_end_in_order_leave_their_tasks_to_others(tmp_path):
    pytest.importorskip("distributed")
    result = __import__("faults_cluster").orderly_ends(tmp_path / "scene", 4, 12)
    assert result["wrong"] == [] and result["orderly_ends"] == 4


def test_info_tells_what_a_cache_is_of_and_what_is_missing(stack, tmp_path, capsys):
    assert precompute(["-i", str(stack), "-o", str(tmp_path / "e"), *MODEL, "--part", "1/2"]) == 0
    capsys.readouterr()
    assert info(["--cache", str(tmp_path / "e")]) == 0
    shown = capsys.readouterr().out
    for words in (
        "5 x 60 x 80, uint16",
        "nano_lm (weights",
        "2 of 5 slices",
        "slices 2-4",
        f"{stack.stat().st_size:,}",
    ):
        assert words in shown
    assert info(["--cache", str(tmp_path / "e"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["complete"] == 2 and found["image"]["shape"] == [5, 60, 80] and found["bytes"] > 4_000_000


def test_info_names_ranges_of_tiles(tmp_path, capsys):
    tifffile.imwrite(tmp_path / "large.tif", np.random.default_rng(0).integers(0, 255, (90, 90)).astype("uint8"))
    arguments = ["-i", str(tmp_path / "large.tif"), "-o", str(tmp_path / "e"), *MODEL, "--tile_shape", "45", "45"]
    assert precompute([*arguments, "--part", "2/3"]) == 0
    capsys.readouterr()
    assert info(["--cache", str(tmp_path / "e")]) == 0
    shown = capsys.readouterr().out
    assert "1 of 4 tiles" in shown and "tile 0, tiles 2-3" in shown and "4 of 45 x 45 pixels" in shown


@pytest.mark.parametrize("kind", ["missing", "file", "folder", "folder of caches", "damaged"])
def test_info_of_what_is_no_cache_is_one_sentence(tmp_path, capsys, kind, stack):
    path = tmp_path / "place"
    if kind == "file":
        path.write_text("text")
    elif kind != "missing":
        path.mkdir()
    if kind == "folder of caches":
        assert precompute(["-i", str(stack), "-o", str(path / "a.zarr"), *MODEL, "--part", "1/5"]) == 0
    if kind == "damaged":
        assert precompute(["-i", str(stack), "-o", str(path), *MODEL, "--part", "1/5"]) == 0
        (path / ".zattrs").write_text('{"cache": ')
    capsys.readouterr()
    assert info(["--cache", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("micro_sam") and str(path) in said and len(said.strip().splitlines()) == 1
    assert kind != "folder of caches" or "a.zarr" in said


def test_who_hands_out_work_imports_no_network_and_a_worker_no_scikit_learn():
    code = (
        "import sys, micro_sam.cli._segment, micro_sam.distributed.clusters\n"
        "assert not {'torch', 'scipy', 'skimage', 'pandas', 'sklearn', 'elf'} & set(sys.modules), sys.modules\n"
        "import micro_sam.compat.automatic, micro_sam.segmentation.volume.keeping\n"
        "assert not {'pandas', 'sklearn', 'elf'} & set(sys.modules), sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
