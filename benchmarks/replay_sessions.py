"""Record sessions with the shipped model, and do them again from their journals: the masks must be the same.

python benchmarks/replay_sessions.py --objects 30 --volumes 5 --tracks 8 --output replay.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt

from micro_sam.errors import InputError
from micro_sam.sample_data.synthetic import dividing_cells, nuclei_volume
from micro_sam.session.journal import store
from micro_sam.session.journal.recorder import Journal
from micro_sam.session.replaying import KINDS, replay
from micro_sam.util import get_sam_model, precompute_image_embeddings


def centre(mask: np.ndarray) -> tuple[int, int]:
    """The pixel of a mask that lies deepest inside."""
    inside = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(inside.argmax(), mask.shape)
    return int(y), int(x)


def record(tool: str, image: np.ndarray, predictor: Any, steps: Callable[[Any], None], place: Path) -> dict[str, Any]:
    """Do the steps in a session with a journal, replay it from the disc, and compare."""
    embeddings = precompute_image_embeddings(predictor, image, ndim=image.ndim, verbose=False)
    session = KINDS[tool](image.shape)
    session.model.attach(predictor, embeddings)
    folder = place / f"{tool}.session"
    session.keeper.journal = Journal(folder, {"tool": tool, "image": {"shape": list(image.shape)}})
    steps(session)
    session.keeper.journal.close()
    contents = store.read(folder)
    *_, result = replay(tool, image.shape, contents.rows, predictor, embeddings)
    return {
        "objects": len(session.objects),
        "mean_iou": result.mean_iou,
        "worst_iou": min(result.ious.values(), default=None),
        "taken_as_recorded": len(result.taken),
        "problems": result.problems,
        "bytes": (folder / store.FILE).stat().st_size,
    }


def image_steps(truth: np.ndarray, number: int) -> Callable[[Any], None]:
    """A click on each object, a correction of every third, a box for every fourth, and some undo."""

    def steps(session: Any) -> None:
        done = 0
        for i in np.unique(truth)[1:]:
            if done == number:
                return
            mask = truth == i
            y, x = centre(mask)
            if i % 4 == 0:
                where = np.argwhere(mask)
                session.prompts.add_shape("rectangle", [tuple(where.min(0) - 1.0), tuple(where.max(0) + 1.0)])
            else:
                session.prompts.add_point((y, x))
            session.segment.slice()
            if i % 3 == 0:
                outside = np.argwhere((session.current > 0) & ~mask)
                session.prompts.add_point(tuple(outside[len(outside) // 2]), False) if len(outside) else None
                session.segment.slice()
            if i % 5 == 0:
                session.undo()
                session.redo()
            try:
                done += len(session.objects.commit().ids)
            except InputError:
                session.prompts.clear()

    return steps


def volume_steps(truth: np.ndarray, number: int) -> Callable[[Any], None]:
    """A click in the largest slice of each object, propagation, and a correction where it is least certain."""

    def steps(session: Any) -> None:
        for i in sorted(np.unique(truth)[1:], key=lambda i: -int((truth == i).sum()))[:number]:
            z = int((truth == i).sum(axis=(1, 2)).argmax())
            session.prompts.add_point((z, *centre(truth[z] == i)))
            session.segment.slice(z)
            session.propagation.segment()
            weak = session.propagation.weakest_slice()
            if weak is not None and (truth[weak] == i).any():
                session.prompts.add_point((weak, *centre(truth[weak] == i)))
                session.segment.slice(weak)
                session.propagation.segment()
            try:
                session.objects.commit()
            except InputError:
                session.prompts.clear()

    return steps


def track_steps(truth: np.ndarray, rows: list[Any], number: int) -> Callable[[Any], None]:
    """Each track clicked in its first frame; a mother with her division and both daughters."""

    def steps(session: Any) -> None:
        done = 0
        for row in rows:
            daughters = [other for other in rows if other.parent == row.track_id]
            if row.parent or done >= number:
                continue
            session.prompts.add_point((row.start, *centre(truth[row.start] == row.track_id)))
            if daughters:
                session.tracks.set_next_state("division")
                session.prompts.add_point((row.end, *centre(truth[row.end] == row.track_id)))
                for daughter, label in zip(daughters, (2, 3), strict=False):
                    session.tracks.set_active(label)
                    session.prompts.add_point((daughter.start, *centre(truth[daughter.start] == daughter.track_id)))
            session.propagation.segment()
            try:
                done += len(session.objects.commit().ids)
            except InputError:
                session.prompts.clear()

    return steps


def main() -> None:
    """Record and replay one session of each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=30)
    parser.add_argument("--volumes", type=int, default=5)
    parser.add_argument("--tracks", type=int, default=8)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    predictor = get_sam_model("nano_lm", device="cpu")
    volume, nuclei, *_ = nuclei_volume((14, 160, 160), seed=2)
    movie, labels, rows = dividing_cells((12, 160, 160), n_cells=8, n_divisions=2, seed=1)
    image, cells, _ = dividing_cells((2, 512, 512), n_cells=options.objects + 10, n_divisions=0, seed=3)
    result = {}
    with tempfile.TemporaryDirectory() as place:
        kinds = (
            ("2d", image[0], image_steps(cells[0], options.objects)),
            ("3d", volume, volume_steps(nuclei, options.volumes)),
            ("tracking", movie, track_steps(labels, rows, options.tracks)),
        )
        for tool, pixels, steps in kinds:
            result[tool] = record(tool, pixels, predictor, steps, Path(place))
            print(tool, json.dumps(result[tool]), flush=True)
    if options.output:
        options.output.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
