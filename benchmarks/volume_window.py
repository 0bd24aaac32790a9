"""Memory and liveliness of the 3D tool on a large volume: the maps are computed while somebody clicks.

    xvfb-run -s "-screen 0 1600x1000x24" python benchmarks/volume_window.py --shape 200 1024 1024 --minutes 10

A textured stack with round objects, made here. Every ten seconds a line: blocks of the maps that are done, memory of
the process, and the longest pause of the window (20 ms beats; without the time in which other programs had the
processor). Ends when the maps are complete or the time is over. With ``--cache`` the features are kept on disc, as they
are with ``--embedding_path``; without it, in memory.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test" / "window"))  # clicks as in the tests of the window


def main() -> None:
    """Parse arguments, open the window, click and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(200, 1024, 1024))
    parser.add_argument("--scale", type=float, nargs=3, default=(1.0, 1.0, 1.0), help="size of a voxel")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--cache", action="store_true", help="keep the features on disc")
    parser.add_argument("--output", type=Path, help="JSON file")
    options = parser.parse_args()
    rows = measure(textured(tuple(options.shape)), options)
    if options.output:
        options.output.write_text(json.dumps({"options": vars(options) | {"output": None}, "rows": rows}, indent=1))


def textured(shape: tuple[int, int, int], distance: int = 64) -> np.ndarray:
    """Bright balls on a grid over a dark background, both with noise; uint8, made slice by slice."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 12, (shape[1] + 64, shape[2] + 64)).astype("float32")
    image = np.empty(shape, "uint8")
    y, x = (np.abs((np.arange(n) % distance) - distance / 2).astype("float32") for n in shape[1:])
    flat = y[:, None] ** 2 + x**2
    for z in range(shape[0]):
        dy, dx = rng.integers(0, 64, 2)
        off = abs(z % distance - distance / 2)
        inside = flat + off**2 < (0.35 * distance) ** 2
        plane = 60 + 90 * inside + noise[dy : dy + shape[1], dx : dx + shape[2]]
        image[z] = np.clip(plane, 0, 255)
    return image


def memory(key: str) -> float:
    """GB of this process: VmRSS now, VmHWM at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 2**20


def measure(image: np.ndarray, options) -> list[dict]:
    """Open the tool and click every ten seconds until the maps are complete or the time is over."""
    from driver import Heartbeat, canvas, canvas_point, place, process
    from napari.layers import Image
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    from micro_sam.sam_annotator import annotator_3d, get_annotator

    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name) / "embeddings.zarr" if options.cache else None
    viewer = annotator_3d(
        Image(image, scale=tuple(options.scale)), embedding_path=path, model_type="nano_lm", return_viewer=True
    )
    tool = get_annotator(viewer)
    place(viewer)
    distance, began, rows, turn = 64, time.monotonic(), [], 0
    while time.monotonic() - began < 60 * options.minutes:
        with Heartbeat() as heart:
            z = 32 + distance * (turn % max(1, image.shape[0] // distance))
            tool.actions.go_to_slice(min(z + turn % 5, image.shape[0] - 1))
            process(0.3)
            where = (tool.state.z, 32 + distance * (1 + turn % 6), 32 + distance * (2 + turn % 5))
            point = canvas_point(viewer, tool.layers.points.layer, where)
            QTest.mouseClick(canvas(viewer), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, point)
            process(5)
            if turn % 3 == 2:
                tool.actions.commit()
            process(5)
        maps = tool.session.model.maps
        row = {
            "seconds": round(time.monotonic() - began, 1),
            "embedded": tool.engine.computed,
            "maps": maps.progress if maps is not None else (0, 0),
            "GB": round(memory("VmRSS"), 2),
            "peak GB": round(memory("VmHWM"), 2),
            "pause ms": round(1000 * heart.longest),
            "busy ms": round(1000 * heart.busiest),
            "slices of the object": len(tool.session.labels.current_slices),
            "objects": len(tool.session.objects),
        }
        rows.append(row)
        print(row, tool.status.text[:120], flush=True)
        turn += 1
        if maps is not None and maps.is_complete and turn > 6:
            break
    tool.session.prompts.clear()
    tool.saving.unsaved = False
    viewer.close()
    return rows


if __name__ == "__main__":
    main()
