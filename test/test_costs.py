"""What must stay cheap: a start with a full cache, automatic masks of a huge image, clearing and committing."""

import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from micro_sam.embeddings.opening import open_embeddings
from micro_sam.embeddings.signature import SAMPLED_SLICES
from micro_sam.models.predictor import ImageFeatures
from micro_sam.segmentation.values import ObjectMask
from micro_sam.session.session import VolumeSession

ROOT = Path(__file__).parents[1]
MB = 2**20


class Counted:
    """An array on disc that counts the bytes it is asked for."""

    def __init__(self, data: np.ndarray) -> None:
        self.data, self.shape, self.dtype, self.ndim, self.read = data, data.shape, data.dtype, data.ndim, 0

    def __getitem__(self, key):
        part = np.array(self.data[key])
        self.read += part.nbytes
        return part


def test_a_start_with_a_full_cache_reads_neither_the_image_nor_the_features(tmp_path):
    shape = (64, 1024, 1024)
    np.lib.format.open_memmap(tmp_path / "stack.npy", "w+", "uint8", shape)[::8, ::64] = 200
    image = np.load(tmp_path / "stack.npy", mmap_mode="r")
    model = SimpleNamespace(
        image_size=512, grid_size=64, embed_dim=128, dense_kind=None, whole_up_to=4.0, smallest_halo=64
    )
    predictor = SimpleNamespace(model=model, model_type="nano", model_name="n", model_hash="0", device="cpu")
    predictor.precision = "fp32"
    _, store = open_embeddings(predictor, image, tmp_path / "cache.zarr", 3, "whole", image_path=tmp_path / "stack.npy")
    features = ImageFeatures(torch.ones(1, 128, 64, 64), (512, 512), shape[1:])
    for i, tile in store.items():
        store.write(i, tile, features)
    store.finish()

    counted, begin = Counted(image), time.process_time()
    embeddings, store = open_embeddings(
        predictor, counted, tmp_path / "cache.zarr", 3, "whole", image_path=tmp_path / "stack.npy"
    )
    seconds = time.process_time() - begin
    print(f"{counted.read / MB:.2f} of {image.nbytes / MB:.0f} MB read, {seconds:.3f} s of processor time")
    assert not store.missing()
    assert counted.read <= SAMPLED_SLICES * image[0].nbytes  # the same for any number of slices
    opened = {"n": 0}
    files = store._files
    read = files.read

    def counting(i, tile):
        opened["n"] += 1
        return read(i, tile)

    files.read = counting
    embeddings.load(40, 0)
    assert opened["n"] == 1  # the slice that is asked for, and no other


def test_storing_a_tile_copies_no_features_and_writes_each_file_once(tmp_path, monkeypatch):
    model = SimpleNamespace(
        image_size=512, grid_size=64, embed_dim=128, dense_kind=None, whole_up_to=4.0, smallest_halo=64
    )
    predictor = SimpleNamespace(model=model, model_type="nano", model_name="n", model_hash="0", device="cpu")
    predictor.precision = "fp32"
    image = np.zeros((768, 768), "uint8")
    _, store = open_embeddings(predictor, image, tmp_path / "e", 2, (384, 384), (64, 64))
    features = ImageFeatures(torch.rand(1, 128, 64, 64), (448, 448), (448, 448), torch.rand(4, 64, 64))
    store.write(None, 0, features)
    names = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda old, new: (names.append(Path(new).name), replace(old, new)))
    tracemalloc.start()
    store.write(None, 1, features)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # description and content of two arrays, the sizes, and the mark last
    assert names == [".zarray", "0.0.0", ".zarray", ".zattrs", "0.0.0.0", "0.1"]
    assert peak < features.features.nbytes / 2, f"{peak / MB:.1f} MB for features of 2 MB"
    monkeypatch.undo()

    reads = []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: (reads.append(path.name), read_bytes(path))[1])
    assert store.missing() == [(None, 2), (None, 3)]
    assert sorted(name for name in reads if name[0] != ".") == ["0.0", "0.1"], "the marks that are there, and no others"


HUGE = """
import resource, sys
from types import SimpleNamespace
import numpy as np, torch
from micro_sam.embeddings.embeddings import Embeddings
from micro_sam.embeddings.store import MemoryStore
from micro_sam.embeddings.tiles import TileGrid
from micro_sam.models.sizes import resized_size
from micro_sam.models.predictor import Decoded, ImageFeatures, Predictor
from micro_sam.segmentation.automatic.masks import TiledAutomaticMaskGenerator

class Discs(Predictor):
    "Answers every click with a disc, as a network would that costs nothing."

    def __init__(self):
        self.model = SimpleNamespace(image_size=1024, grid_size=64, dense_kind=None)
        self.model_name = self.model_hash = self.model_type = "discs"

    device = torch.device("cpu")

    def decode(self, image, *, points, labels, multimask_output, windowed):
        y, x = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
        centres = torch.tensor(points[:, 0]).float() / 4
        logits = torch.stack([12 - ((y - cy) ** 2 + (x - cx) ** 2).sqrt() for cy, cx in centres])[:, None] * 40
        return Decoded(logits.repeat(1, 3, 1, 1), torch.tensor([[0.95, 0.2, 0.1]] * len(points)))

side = int(sys.argv[1])
grid = TileGrid((side, side), (768, 768), (128, 128))
store = MemoryStore(grid)
for tile in grid:
    size = tuple(s.stop - s.start for s in tile.outer)
    store.write(None, tile.index, ImageFeatures(torch.zeros(1, 1, 1, 1), resized_size(size, 1024), size))
generator = TiledAutomaticMaskGenerator(Discs(), points_per_side=4)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
generator.initialize(None, Embeddings(store))
labels = generator.generate()
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print("FIGURES", labels.shape[0], int(labels.max()), (after - before) / 1024, labels.nbytes / 2**20)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak of memory is told in other units elsewhere")
def test_automatic_masks_of_10000_x_10000_pixels_need_little_more_than_their_labels():
    run = subprocess.run([sys.executable, "-c", HUGE, "10000"], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    line = next(line for line in run.stdout.splitlines() if line.startswith("FIGURES"))
    side, objects, extra, labels = (float(v) for v in line.split()[1:])
    print(f"{objects:.0f} objects, {extra:.0f} MB beyond the start, of which {labels:.0f} MB are the labels")
    assert side == 10000 and objects > 1000
    # Besides the labels: the candidates, and the masks of one tile. One float mask of the image would be as large.
    assert extra < 3 * labels


def test_clearing_and_committing_in_a_large_volume_touches_only_the_object():
    session = VolumeSession((60, 1024, 1024))
    arrays = {name: session.labels.layer(name) for name in ("current", "committed", "auto")}
    seconds = {"commit": [], "clear": []}
    actions = {"commit": session.objects.commit, "clear": session.prompts.clear}
    acts = {z: "clear" if z % 20 == 0 else "commit" for z in range(10, 60, 5)}
    for z, act in acts.items():
        region = (slice(z, z + 1), slice(100, 160), slice(200, 260))
        before = session.current[region].copy()
        session.labels.layer("current")[region] = 1
        session.labels.paint("current", region, np.ones((1, 60, 60), session.current.dtype), before=before)
        begin = time.process_time()
        actions[act]()
        seconds[act].append(time.process_time() - begin)
        assert not session.current[z].any()
        assert session.committed[z].any() == (act == "commit")
    print({name: [f"{value * 1e3:.1f} ms" for value in values] for name, values in seconds.items()})
    assert all(session.labels.layer(name) is array for name, array in arrays.items())
    assert session.committed.any(axis=(1, 2)).sum() == len(seconds["commit"])
    volume = np.ones_like(session.committed)  # 240 MB in memory: of zeros that nobody wrote a system keeps one page
    begin = time.process_time()
    assert volume.copy().all()  # what is kept for undo, were it all
    copying = time.process_time() - begin
    assert all(np.median(values) < 0.3 * copying for values in seconds.values())


def test_a_mask_is_as_large_as_its_object():
    mask = ObjectMask.from_array(np.eye(40, dtype=bool), offset=(9000, 9000))
    assert mask.mask.nbytes == 1600
