"""Addresses of stores on a network ("https://...", "s3://..."), which are read through fsspec.

`micro_sam.io.web` is for downloads of whole files; here nothing is downloaded but the chunks that are looked at.
"""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from micro_sam.errors import InputError

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):[\\/]+")  # two letters or more: C:/ is a drive
SILENCE = 30.0  # seconds without an answer of a server

if TYPE_CHECKING:
    _LocalPath = Path
else:
    _LocalPath = type(Path())  # Path itself cannot be subclassed in Python 3.11


class Address(_LocalPath):
    """An address as a path: it has a name and a parent, and never exists on this machine.

    Its text is the address with both slashes, which a plain `Path` loses.
    """

    def __str__(self) -> str:
        return _SCHEME.sub(r"\1://", super().__str__().replace("\\", "/"))

    def __fspath__(self) -> str:
        return str(self)


def is_address(path: Any) -> bool:
    """Whether a path is an address on a network, also after `Path` took one of its slashes."""
    if isinstance(path, str):
        return "://" in path and _SCHEME.match(path) is not None
    return isinstance(path, os.PathLike) and _SCHEME.match(os.fspath(path)) is not None


def path_of(path: str | os.PathLike[str]) -> Path:
    """The path of a file or folder on this machine, or an `Address`."""
    return Address(path) if is_address(path) else Path(path).expanduser()


def open_address(address: Path) -> Any:
    """The zarr group or array at an address, read only.

    Raises
    ------
    InputError
        When a package is missing, nothing is there, or the server cannot be reached.
    """
    import zarr

    options = _options(address)
    try:
        return zarr.open(str(address), mode="r", storage_options=options)
    except FileNotFoundError as error:
        raise InputError(
            f"There is no zarr at {address}. An address names the folder of an (OME-)Zarr, as in "
            "https://server/image.zarr; download files of other kinds first."
        ) from error


def refuse_address(path: str | os.PathLike[str], what: str) -> None:
    """Raise InputError if a path, where something is wanted that must lie on this machine, is an address."""
    if is_address(path):
        raise InputError(f"{path_of(path)} is an address; {what} must be on this machine or a mounted drive.")


def _options(address: Path) -> dict[str, Any]:
    """What fsspec is told about a server, once the packages are there that it needs."""
    from fsspec.registry import known_implementations

    scheme = str(address).partition("://")[0].lower()
    if scheme not in known_implementations:
        raise InputError(
            f"{address} cannot be read: {scheme}:// is no kind of address that is known here. Known are https://, "
            "http://, and s3:// and gs:// with packages of their own."
        )
    if scheme in ("http", "https"):
        if importlib.util.find_spec("aiohttp") is None:
            raise InputError(
                f"Reading {address} needs the package aiohttp, which is not installed: pip install 'micro_sam[remote]'"
            )
        from aiohttp import ClientTimeout

        return {"client_kwargs": {"timeout": ClientTimeout(total=None, sock_connect=SILENCE, sock_read=SILENCE)}}
    try:
        from fsspec import get_filesystem_class

        get_filesystem_class(scheme)
    except ImportError as error:
        said = " ".join(str(known_implementations[scheme].get("err") or error).split()).rstrip(".")
        raise InputError(f"Reading {address} needs a package that is not installed. {said}.") from error
    return {}
