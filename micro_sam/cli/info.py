"""``micro_sam.info``: versions, device, folders, which models are here, what a cache and a session hold."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from typing import Any, Self

from pydantic import Field, model_validator

from micro_sam import __version__
from micro_sam.cli._common import make_parser, run
from micro_sam.cli._fields import Options, option, read_options
from micro_sam.errors import InputError, MicroSamError

PACKAGES = ("torch", "napari", "PyQt6", "zarr", "numpy", "segment-anything", "python-elf")


class SessionQuestions(Options):
    """What is asked of recorded sessions."""

    session: str | None = option(
        None,
        "what a methods section needs: model, versions, settings, objects, prompts and time per object, corrections; "
        "PATH is a session, or the folder of the results of a series",
        metavar="PATH",
    )
    table: bool = option(False, "with --session: the objects as a table (CSV)")
    compact: bool = option(False, "with --session: drop what was undone from the file")
    sessions: bool = option(False, "list the sessions whose results were not saved yet")
    prune: float | None = option(None, "with --sessions: delete those that are older than so many days", metavar="DAYS")

    @property
    def is_asked(self) -> bool:
        """Whether anything is."""
        return self.session is not None or self.sessions


class InfoOptions(Options):
    """What is asked."""

    as_json: bool = option(False, "print JSON, for programs and bug reports", "--json")
    cache: str | None = option(None, "show instead what embeddings on disc are of and what is missing", metavar="PATH")
    download: tuple[str, ...] | None = option(
        None,
        "download models now, for a machine without network later: 'models vit_b vit_b_lm', or all: 'models'",
        metavar=("models", "NAME"),
    )
    recorded: SessionQuestions = Field(title="sessions", description="what was done in a window, as it was recorded")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.download is not None and self.download[0] not in ("model", "models"):
            raise InputError(
                f"--download takes 'models' and their names, not '{self.download[0]}'; samples need no download."
            )
        asked = self.recorded
        if self.download is None and not asked.is_asked and (asked.table or asked.compact or asked.prune is not None):
            raise InputError("--table and --compact need --session, and --prune needs --sessions.")
        return self


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    return make_parser(
        "info", "Show versions, device, cache directory, and which models are on this machine.", InfoOptions
    )


@run
def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is installed, as a table or as JSON."""
    options = read_options(build_parser(), InfoOptions, arguments)
    if options.download is not None:
        return _download(*options.download[1:])
    if options.recorded.is_asked:
        return _tell_sessions(options.recorded, options.as_json)
    if options.cache is not None:
        from micro_sam.embeddings import report

        found = report.describe_cache(options.cache)
        print(json.dumps(found, indent=2) if options.as_json else report.as_text(found))
        return 0
    info = collect()
    print(json.dumps(info, indent=2) if options.as_json else as_text(info))
    return 0


def _download(*names: str) -> int:
    """Download models by name; all of them when none is named."""
    from micro_sam.models.build import download_model
    from micro_sam.models.registry import get_model_names, get_spec

    for name in names:
        get_spec(name)  # a wrong name is told before anything is downloaded
    for name in names or get_model_names():
        for path in download_model(name):
            print(path)
    return 0


def _tell_sessions(options: SessionQuestions, as_json: bool) -> int:
    from micro_sam.session.journal import places, report

    if options.sessions:
        if options.prune is not None:
            for folder in places.prune(options.prune):
                print(f"deleted {folder}")
        folders = places.all_sessions()
        for folder in folders:
            try:
                summary = places.summarise(folder)
            except MicroSamError as error:
                print(f"{folder}\n  {error}")
                continue
            image = summary.header.get("image", {})
            size = (folder / "journal.sqlite").stat().st_size
            print(f"{folder}\n  {image.get('name', '?')} {image.get('shape', '')}: {summary}, {size / 1000:.0f} kB")
        if not folders:
            print(f"There are no sessions in {places.sessions_folder()}.")
        return 0
    assert options.session is not None
    folders = report.sessions_in(options.session)
    if options.compact:
        for folder in folders:
            before, after = report.compact(folder)
            print(f"{folder}: {before:,} bytes before, {after:,} now")
        return 0
    facts = [report.facts_of(folder) for folder in folders]
    if as_json:
        print(json.dumps([asdict(one) for one in facts], indent=2, default=str))
    else:
        print(
            report.as_table(facts) if options.table else report.methods_text(facts), end="" if options.table else "\n"
        )
    return 0


def collect() -> dict[str, Any]:
    """Everything the command tells, as values that JSON knows; times in seconds, sizes in bytes."""
    from micro_sam.models.build import estimate_cost
    from micro_sam.models.cache import find_local, get_cache_directory, get_model_directory
    from micro_sam.models.device import available_devices, describe_device, get_device
    from micro_sam.models.registry import MODELS, models

    device = get_device()
    status = models()
    return {
        "micro_sam": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "device": describe_device(device),
        "devices": available_devices(),
        "cpu_count": os.cpu_count(),
        "cache_directory": str(get_cache_directory()),
        "model_directory": str(get_model_directory()),
        "models": [
            {
                "name": spec.name,
                "architecture": spec.architecture,
                "family": spec.family,
                "status": status[spec.name],
                "path": str(path) if (path := find_local(spec)) else None,
                "bytes": path.stat().st_size if path else spec.weights.size,
                "url": spec.weights.url,
                "automatic_segmentation": "decoder" if spec.has_dense_head else "grid of points",
                "seconds_per_image": round(estimate_cost(spec, device)[0], 3),
                "gigabytes": round(estimate_cost(spec, device)[1], 1),
                "licence": spec.licence,
                "description": spec.description,
            }
            for spec in MODELS.values()
        ],
    }


def as_text(info: dict[str, Any]) -> str:
    """The information as a user reads it."""
    head = {
        "micro_sam": info["micro_sam"],
        "Python": f"{info['python']} on {info['system']}",
        **{name: version or "not installed" for name, version in info["packages"].items()},
        "device": info["device"],
        "cache directory": info["cache_directory"],
        "weights in": info["model_directory"],
    }
    lines = [f"{name:<18}{value}" for name, value in head.items()]
    rows = [("model", "status", "size", "s / image", "what for")]
    for model in info["models"]:
        size = f"{model['bytes'] / 1e6:,.0f} MB" if model["bytes"] else ""
        rows.append((model["name"], model["status"], size, f"{model['seconds_per_image']:.2g}", model["description"]))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines.append("")
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += [
        "",
        "s / image: estimated time to embed 1024 x 1024 pixels on this device.",
        "Models that are downloadable are fetched when they are first used; choose one with -m NAME.",
    ]
    return "\n".join(lines)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    raise SystemExit(main())
