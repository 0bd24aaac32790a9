"""Exports appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from micro_sam.errors import OutputError
from micro_sam.io.atomic import replacing


def check_output(path: Path) -> None:
    """Raise an `OutputError` when something of this name exists or nothing can be written beside it."""
    if path.exists() or path.is_symlink():
        raise OutputError(f"{path} exists already; give another name, or remove it first.")
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        why = "may not be written to" if parent.is_dir() else "is a file"
        raise OutputError(f"{path} cannot be written, because {parent} {why}; give another name.")


@contextmanager
def partial_output(path: Path) -> Iterator[Path]:
    """Prepare an output that does not exist yet.

    Yields a place in a folder of its own: make a file or a folder of it. Without an error it then becomes ``path``;
    with one, nothing is left, nor is anything that was put beside it. Failures of writing become an `OutputError`.
    """
    check_output(path)
    with replacing(path, only_new=True, check=lambda: check_output(path)) as (place,):
        yield place
