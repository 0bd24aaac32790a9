"""The folder of the Cell Tracking Challenge: one mask image per frame and a table of tracks.

Ulman et al. 2017, An objective comparison of cell-tracking algorithms, Nature Methods 14, 1141-1152. Results are
``mask000.tif ...`` and ``res_track.txt``, ground truth is ``TRA/man_track000.tif ...`` and ``TRA/man_track.txt``, with
the masks again as ``SEG/man_seg000.tif ...``; a row of the table is ``L B E P``: label, first and last frame, parent or
0.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from micro_sam.errors import InputError
from micro_sam.io.label_reading import load_labels
from micro_sam.io.results import mark, write_result
from micro_sam.io.tracks.rows import TrackRow
from micro_sam.io.tracks.tracks import Tracks, check_no_gaps, tracks_from_labels

_NAMES = {"res_track.txt": "mask", "man_track.txt": "man_track"}
_LARGEST = np.iinfo(np.uint16).max


def is_ctc(path: Path) -> bool:
    """Whether a folder holds mask images by their names in the challenge, or the table."""
    return path.is_dir() and any(
        (folder / table).is_file() or any(folder.glob(f"{prefix}[0-9]*.tif"))
        for folder in (path, path / "TRA")
        for table, prefix in _NAMES.items()
    )


def load_ctc(path: str | Path) -> Tracks:
    """Read a result or ground truth folder (or the folder above its ``TRA``).

    Raises
    ------
    InputError
        If masks or the table are missing, or contradict each other.
    """
    path = Path(path)
    for folder in (path, path / "TRA"):
        for table, prefix in _NAMES.items():
            images = _numbered(folder, prefix)
            if images and not (folder / table).is_file():
                raise InputError(
                    f"{folder} has mask images, but not the table {table} that says which tracks they are."
                )
            if (folder / table).is_file() and not images:
                raise InputError(f"{folder} has the table {table}, but no mask images {prefix}000.tif and so on.")
            if images:
                return _read(folder / table, images)
    if not path.exists():
        raise InputError(f"There is no folder {path}.")
    raise InputError(
        f"{path} holds no tracks of the Cell Tracking Challenge: neither mask000.tif ... with res_track.txt, nor "
        "man_track000.tif ... with man_track.txt."
    )


def save_ctc(path: str | Path, tracks: Tracks, ground_truth: bool = False, *, replace_unmarked: bool = False) -> Path:
    """Write a result folder; what is at the path stays whole until the new folder is complete.

    The mask images carry the mark of this program; other programs find nothing but the files of the challenge.

    Parameters
    ----------
    path : path
        Folder.
    tracks : Tracks
        With labels.
    ground_truth : bool
        Use the names of ground truth, in the subfolders ``TRA`` and ``SEG``.
    replace_unmarked : bool
        See :func:`~micro_sam.io.tracks.save_tracks`.

    Raises
    ------
    InputError
        If there are no masks, a track has gaps, or an id does not fit into 16 bits.
    OutputError
        If it cannot be written.
    """
    import tifffile

    path = Path(path)
    if tracks.labels is None:
        raise InputError("The Cell Tracking Challenge needs masks, but only positions are known.")
    largest = max((row.track_id for row in tracks.rows), default=0)
    if largest > _LARGEST:
        raise InputError(
            f"The Cell Tracking Challenge holds ids up to {_LARGEST}, but there is a track {largest}. Save as GEFF, or "
            "number the tracks anew."
        )
    check_no_gaps(tracks, "the format of the Cell Tracking Challenge")
    table = "man_track.txt" if ground_truth else "res_track.txt"
    digits = max(3, len(str(len(tracks.labels) - 1)))

    with write_result(path, "tracks", replace_unmarked=replace_unmarked) as (place,):
        folder = place / "TRA" if ground_truth else place
        prefixes = [folder / _NAMES[table]] + ([place / "SEG" / "man_seg"] if ground_truth else [])
        for prefix in prefixes:
            prefix.parent.mkdir(parents=True)
        for t, labels in enumerate(tracks.labels):
            for prefix in prefixes:
                name = prefix.with_name(f"{prefix.name}{t:0{digits}d}.tif")
                tifffile.imwrite(name, labels.astype(np.uint16), compression="zlib", software=mark("tracks"))
        rows = "".join(f"{row.track_id} {row.start} {row.end} {row.parent}\n" for row in sorted(tracks.rows))
        (folder / table).write_text(rows)
    return path


def _numbered(folder: Path, prefix: str) -> list[Path]:
    found = {}
    for file in folder.glob(f"{prefix}*.tif*") if folder.is_dir() else ():
        number = re.fullmatch(rf"{prefix}(\d+)\.tiff?", file.name)
        if number:
            found[int(number.group(1))] = file
    missing = sorted(set(range(len(found))) - set(found))
    if missing:
        raise InputError(f"The mask image of frame {missing[0]} is missing in {folder}.")
    return [found[t] for t in range(len(found))]


def _read(table: Path, images: list[Path]) -> Tracks:
    rows = []
    for number, line in enumerate(table.read_text("utf-8-sig", "replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            track, start, end, parent = (int(float(value)) for value in line.split())
            rows.append(TrackRow(track, start, end, parent))
        except (ValueError, OverflowError):
            raise InputError(
                f"Line {number} of {table} is {line.strip()[:60]!r}; a line has four whole numbers: track, first "
                "frame, last frame, parent."
            ) from None
    frames = []
    for image in images:
        masks = load_labels(image)
        if math.prod(masks.shape[:-2]) > 1:
            raise InputError(
                f"{image} is a volume of the shape {masks.shape}. Tracks are read of 2D movies only: take one slice of "
                "each frame, or project them."
            )
        frames.append(masks.reshape(masks.shape[-2:]))
        if frames[-1].shape != frames[0].shape:
            raise InputError(f"{image} has the shape {frames[-1].shape}, other frames have {frames[0].shape}.")
    return tracks_from_labels(np.stack(frames), rows=rows)
