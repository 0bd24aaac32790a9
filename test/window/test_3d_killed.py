"""A window that is killed while it computes the maps of a volume, and what the next one finds."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
import tifffile

from micro_sam.sam_annotator import annotator_3d
from micro_sam.segmentation.volume.maps import VolumeMaps

from .driver import wait_idle, wait_until
from .test_3d_whole_objects import click_at
from .volumes import slices_of, small_volume

PROGRAM = """
import sys
from micro_sam.sam_annotator import annotator_3d
from micro_sam.segmentation.volume.maps import VolumeMaps

add = VolumeMaps.add

def tell(self, block, values):
    add(self, block, values)
    print("kept", block.axis, block.plane, block.tile, flush=True)

VolumeMaps.add = tell
annotator_3d(sys.argv[1], embedding_path=sys.argv[2], model_type="nano_lm")
"""


@pytest.fixture
def stack(tmp_path):
    """A file that says how large its voxels are: maps along all axes."""
    path = tmp_path / "stack.tif"
    volume = small_volume()[0][:, 90:, 40:110]
    metadata = {"axes": "ZYX", "spacing": 2.5, "unit": "um"}
    tifffile.imwrite(path, volume, imagej=True, resolution=(1, 1), metadata=metadata)
    return path


def killed_after(number, *arguments):
    """The blocks of the maps that a window in a process of its own had kept when it was killed."""
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    kept = []
    for line in process.stdout:
        if line.startswith("kept"):
            kept.append(tuple(map(int, line.split()[1:])))
        if len(kept) == number:
            break
    process.send_signal(signal.SIGKILL)
    rest, errors = process.communicate()
    kept += [tuple(map(int, line.split()[1:])) for line in rest.splitlines() if line.count(" ") == 3]
    assert process.returncode == -signal.SIGKILL, errors[-2000:]
    return kept


@pytest.mark.slow
def test_a_window_finds_the_maps_that_a_killed_one_has_kept_and_goes_on(opened, stack, tmp_path, monkeypatch):
    cache = tmp_path / "embeddings.zarr"
    kept = killed_after(20, stack, cache)
    added, add = [], VolumeMaps.add

    def note(self, block, values):
        added.append((block.axis, block.plane, block.tile))
        add(self, block, values)

    monkeypatch.setattr(VolumeMaps, "add", note)
    tool = opened(annotator_3d, stack, embedding_path=cache, model_type="nano_lm")
    assert wait_until(lambda: tool.session.model.maps is not None and tool.session.model.maps.is_complete), (
        tool.status.text
    )
    wait_idle(tool)
    maps = tool.session.model.maps
    assert maps.geometry.axes == (0, 1, 2) and len(kept) >= 20
    assert not set(added) & set(kept), "what was complete is not computed again"
    assert len(added) == len(set(added)) and len(added) + len(kept) in (maps.progress[1], maps.progress[1] - 1)
    click_at(tool, (6, 143 - 90, 76 - 40))
    assert len(slices_of(tool)) > 4, tool.status.text
