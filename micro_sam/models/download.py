"""Weights from the network: resumable, checked before use, and safe against a second process that wants the same."""

from __future__ import annotations

import errno
import http.client
import logging
import shutil
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from micro_sam.errors import ModelError
from micro_sam.io.atomic import move_into_place
from micro_sam.io.web import content_length, open_url, read_blocks
from micro_sam.models.cache import (
    check_content,
    expected_hashes,
    find_file,
    find_local,
    get_cache_directory,
    get_model_directory,
    remember_sha256,
)
from micro_sam.models.hashing import BLOCK, new_digests
from micro_sam.models.registry import MODELS, SHIPPED_MODEL
from micro_sam.models.spec import WeightFile

__all__ = ["fetch", "find_local", "get_cache_directory", "usable_models"]

logger = logging.getLogger(__name__)

ATTEMPTS = 3  # at one download, each going on where the last one broke off
FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}  # the disc, or one's share of it

Progress = Callable[[int, "int | None"], None]


def usable_models() -> list[str]:
    """Names of the models whose weights are on this machine."""
    return [name for name, spec in MODELS.items() if find_local(spec) is not None]


def fetch(weights: WeightFile, progress: Progress | None = None) -> Path:
    """The path of a weight file, downloaded if it is not on this machine.

    A download goes to ``<name>.part`` beside the target, goes on there when it broke off (also in another run), and
    takes its name only after its hash was checked. A second process that wants the same file waits for the first.

    Parameters
    ----------
    weights : WeightFile
        Which file.
    progress : Callable[[int, int | None], None] | None
        Called with the number of bytes that are here and the number in all (None where the server does not say).
        An exception that it raises ends the download; what is here stays for the next time.

    Raises
    ------
    ModelError
        When the file cannot be had, or is not what its hash says; the message names the address, the place to put it
        by hand, the hash, and the models that can be used at once.
    """
    found = find_file(weights)
    if found is not None:
        check_content(found, weights)
        return found
    if weights.how:
        place = get_model_directory() / weights.filename
        raise ModelError(
            f"The weights {weights.filename} are not on this machine. {weights.how} To use them by this "
            f"name, put the file at {place} ({weights.hash_text})."
        )
    if weights.url is None:
        raise ModelError(f"The file {weights.filename} is missing from this installation. Install micro_sam again.")
    target = get_model_directory() / weights.filename
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(target):
            if not target.exists():  # another process may have fetched it while we waited
                _download(weights, target, progress)
    except (OSError, http.client.HTTPException) as error:
        raise ModelError(f"{_why(error, weights, target)} {_by_hand(weights, target)}") from error
    return target


def _download(weights: WeightFile, target: Path, progress: Progress | None) -> None:
    partial = target.with_name(f"{target.name}.part")
    logger.info("Downloading %s to %s", weights.url, target)
    for attempt in range(ATTEMPTS):
        resumed = _size(partial) > 0
        try:
            complete = _transfer(weights, partial, progress)
        except (ConnectionError, TimeoutError, http.client.HTTPException):
            if attempt == ATTEMPTS - 1:
                raise
            continue
        if not complete:
            continue
        problem, sha256 = _check(partial, weights)
        if problem is None:
            move_into_place(partial, target)
            remember_sha256(weights, target, sha256)
            return
        partial.unlink()
        if not resumed:  # a resumed file may have begun as another version; from the start it would be the same again
            raise ModelError(f"{problem} {_by_hand(weights, target)}")
    raise ConnectionError("the connection broke off several times")


def _transfer(weights: WeightFile, partial: Path, progress: Progress | None) -> bool:
    """Append what is missing to the partial file; True when the server has sent all that it announced."""
    done = _size(partial)
    headers = {"User-Agent": "micro_sam", "Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    try:
        response = open_url(str(weights.url), headers)
    except urllib.error.HTTPError as error:
        if error.code == 416 and done:  # nothing lies beyond: it is complete, or was another file
            return True
        raise
    with response:
        if response.status != 206:  # the server knows no ranges and begins at the start
            done = 0
        length = content_length(response)
        total = done + length if length is not None else weights.size
        _check_space(partial, (total or 0) - done)
        with open(partial, "ab" if done else "wb") as file:
            for block in read_blocks(response, BLOCK):
                file.write(block)
                done += len(block)
                if progress is not None:
                    progress(done, total)
    return length is None or done == total


def _check(partial: Path, weights: WeightFile) -> tuple[str | None, str]:
    """What is wrong with a complete download, as a sentence (None when its hashes are right), and its sha256."""
    expected = expected_hashes(weights)
    digests = new_digests("sha256", *(name for name in expected if name != "sha256"))
    with open(partial, "rb") as file:
        head = file.read(BLOCK)
        block = head
        while block:
            for digest in digests.values():
                digest.update(block)
            block = file.read(BLOCK)
    found = {name: digest.hexdigest() for name, digest in digests.items()}
    wrong = [f"{name} {found[name]}" for name, value in expected.items() if found[name] != value]
    problem = None
    if wrong and head.lstrip()[:1] == b"<":
        problem = f"{weights.url} answered with a web page instead of {weights.filename}: a firewall or a login page?"
    elif wrong:
        problem = f"What {weights.url} sent is not {weights.filename} (its {', '.join(wrong)}) and was not kept."
    return problem, found["sha256"]


@contextmanager
def _only_one(target: Path) -> Iterator[None]:
    """Hold a lock that the operating system releases when a process dies."""
    from filelock import FileLock, Timeout

    lock = FileLock(target.with_name(f"{target.name}.lock"))
    try:
        lock.acquire(timeout=0.1)
    except Timeout:
        logger.info("Another process is downloading %s; waiting for it", target.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _check_space(partial: Path, needed: int) -> None:
    free = shutil.disk_usage(partial.parent).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{_in_words(needed)} are needed and {_in_words(free)} are free")


def _in_words(size: int) -> str:
    unit, name = next(((u, n) for u, n in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if size >= u), (1, "bytes"))
    return f"{size / unit:.1f} {name}" if unit > 1 else f"{size} {name}"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _why(error: OSError | http.client.HTTPException, weights: WeightFile, target: Path) -> str:
    """The reason of a failed download, for a user."""
    name = weights.filename
    if isinstance(error, urllib.error.HTTPError):
        answer = " ".join(str(error.reason).split())  # that of endless redirects has several lines
        return f"{name} could not be downloaded: the server answered {error.code} ({answer})."
    if isinstance(error, OSError) and error.errno in FULL:
        return f"{name} could not be downloaded: the disc of {target.parent} is full ({error.strerror})."
    refused = (PermissionError, FileExistsError, NotADirectoryError)
    if isinstance(error, OSError) and (isinstance(error, refused) or error.errno == errno.EROFS):
        return (
            f"{name} could not be downloaded: the folder {target.parent} cannot be written ({error.strerror}). "
            "Another folder is chosen with the environment variable MICROSAM_CACHEDIR."
        )
    reason = getattr(error, "reason", None) or error
    kept = " What arrived is kept for the next time." if _size(target.with_name(f"{target.name}.part")) else ""
    return f"{name} could not be downloaded: {reason} (no network, or a firewall?).{kept}"


def _by_hand(weights: WeightFile, target: Path) -> str:
    usable = usable_models()
    ready = f" These models can be used right now: {', '.join(usable)}." if usable else ""
    return (
        f"To install it by hand, put {weights.url} at {target} ({weights.hash_text}).{ready} The model {SHIPPED_MODEL} "
        f"ships with the package and needs no download (on the command line: -m {SHIPPED_MODEL})."
    )
