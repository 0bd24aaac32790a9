"""Samples that are fetched once, checked by their hash and kept in the cache directory."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import logging
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from micro_sam.errors import InputError, OutputError
from micro_sam.io.atomic import move_into_place, replacing
from micro_sam.io.web import open_url, read_blocks

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RemoteFile:
    """A file on the network; ``sha256`` decides whether what arrives is what was meant."""

    filename: str
    url: str
    sha256: str


def sample_directory() -> Path:
    """Where fetched samples are kept: ``sample_data`` in ``MICROSAM_CACHEDIR``, or in the user's cache directory."""
    base = os.environ.get("MICROSAM_CACHEDIR") or platformdirs.user_cache_dir("micro_sam")
    return Path(base).expanduser() / "sample_data"


def fetch_sample(remote: RemoteFile, directory: Path | None = None) -> Path:
    """Path of the file in a folder (None: `sample_directory`), downloaded if it is not there yet.

    Raises
    ------
    InputError
        If it cannot be downloaded, or is not what the hash says; the message names the address and the place to put
        it by hand.
    """
    target = (directory or sample_directory()) / remote.filename
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    by_hand = f"Fetch {remote.url} by hand and put it at {target} (sha256 {remote.sha256})."
    try:
        if target.exists() and _sha256(target) == remote.sha256:
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        logger.info("Fetching %s to %s", remote.url, target)
        with open_url(remote.url) as response, open(partial, "wb") as file:
            for block in read_blocks(response):
                file.write(block)
        if _sha256(partial) != remote.sha256:
            raise InputError(f"The sample {remote.filename} arrived with another content than expected. {by_hand}")
        move_into_place(partial, target)
    except (OSError, http.client.HTTPException) as error:
        raise InputError(f"The sample {remote.filename} could not be downloaded ({error}). {by_hand}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    return target


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def unpack_sample(archive: Path, folder: str) -> Path:
    """A folder of a zip archive, unpacked beside it (``<archive>.unzip``) if it is not there yet."""
    target = archive.with_name(f"{archive.name}.unzip")
    if not target.exists():
        try:
            with replacing(target, only_new=True) as (place,), zipfile.ZipFile(archive) as content:
                content.extractall(place)
        except (OSError, OutputError, zipfile.BadZipFile) as error:
            if not target.exists():  # no other process was quicker
                raise InputError(
                    f"The sample {archive} could not be unpacked ({error}). Delete it and try again."
                ) from error
    return target / folder
