"""Addresses on the network, opened so that whatever a server does wrong is an OSError or HTTPException."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from http.client import HTTPResponse, IncompleteRead

TIMEOUT = 30.0  # seconds without a single byte


def open_url(url: str, headers: Mapping[str, str] | None = None) -> HTTPResponse:
    """What a server answers; use it in ``with``.

    Raises
    ------
    OSError, http.client.HTTPException
        When it cannot be reached, refuses, or sends us on to an address that is none.
    """
    request = urllib.request.Request(url, headers=dict(headers or {}))
    try:
        response: HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT)
        return response
    except (ValueError, OverflowError) as error:  # a redirect: no host, a port beyond 65535, brackets, letters
        raise urllib.error.URLError(f"{url} leads to an address that is none ({error})") from error


def read_blocks(response: HTTPResponse, size: int = 1 << 20) -> Iterator[bytes]:
    """What a server sends, in blocks of at most `size` bytes.

    Raises
    ------
    OSError, http.client.HTTPException
        When the connection breaks off, or the body is not as HTTP has it.
    """
    while True:
        try:
            block = response.read(size)
        except ValueError as error:  # a chunk of negative length
            raise IncompleteRead(b"") from error
        if not block:
            return
        yield block


def content_length(response: HTTPResponse) -> int | None:
    """The length in bytes that a server announces; None where it does not, or says something that is no length."""
    text = (response.headers.get("Content-Length") or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
