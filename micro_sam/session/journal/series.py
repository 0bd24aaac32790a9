"""The index of a series, ``series.json`` beside its results: which images it has, and which one was open last."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from micro_sam import __version__
from micro_sam.io.atomic import write_bytes
from micro_sam.session.journal import places

log = logging.getLogger(__name__)
FILE = "series.json"


@dataclass(frozen=True)
class SeriesImage:
    """One image of a series.

    Attributes
    ----------
    name
        Unique in the series.
    path
        Of the image file; None for an array.
    result
        Where its objects are saved; its session lies beside that.
    """

    name: str
    path: Path | None
    result: Path


@dataclass(frozen=True)
class SeriesIndex:
    """What the index says; paths are seen from where it lies.

    Attributes
    ----------
    tool
        ``"2d"`` or ``"3d"``.
    last
        Name of the image that was open last.
    images
        Name -> record with ``image``, ``result`` and ``session``, in the order of the series.
    """

    tool: str
    last: str
    images: dict[str, dict[str, Any]]

    def sessions(self, folder: Path) -> list[Path]:
        """The sessions that are there, in the order of the series."""
        found = (folder / record["session"] for record in self.images.values())
        return [session for session in found if session.is_dir()]


def write(folder: Path, tool: str, images: Sequence[SeriesImage], last: str) -> None:
    """Write the index into the folder of the results, if that is there; a disc that takes nothing is no hindrance."""
    records = [
        {
            "name": image.name,
            "image": places.relative(image.path, folder),
            "result": places.relative(image.result, folder),
            "session": places.relative(places.beside(image.result), folder),
        }
        for image in images
    ]
    content = {"micro_sam": __version__, "tool": tool, "last": last, "images": records}
    if folder.is_dir():
        try:
            write_bytes(folder / FILE, json.dumps(content, indent=1).encode(), durable=False)
        except OSError as error:
            log.warning("The index of the series cannot be written to %s: %s", folder, error)


def read(folder: str | os.PathLike[str]) -> SeriesIndex | None:
    """The index in a folder; None where there is none, or it cannot be read."""
    try:
        content = json.loads((Path(folder) / FILE).read_text(encoding="utf-8"))
        images = {str(record["name"]): dict(record) for record in content["images"]}
        for record in images.values():
            places.beside(record["session"])
        return SeriesIndex(str(content["tool"]), str(content["last"]), images)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("The index of the series in %s cannot be read: %s", folder, error)
        return None
