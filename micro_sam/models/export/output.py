"""Exports appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from micro_sam.errors import OutputError


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
    """A folder beside ``path`` to prepare the output in.

    Yields the name that the output has inside that folder: make a file or a folder of it. Without an error it then
    becomes ``path``; with one, nothing is left. Failures of writing become an `OutputError`.
    """
    check_output(path)
    folder = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        partial = folder / path.name
        yield partial
        check_output(path)  # a rename would replace a file, or an empty folder, that came meanwhile
        os.replace(partial, path)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
