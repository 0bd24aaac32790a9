"""Loggers that tell of workers that end; workers here import this, as the terminal is theirs, too."""

from __future__ import annotations

import logging

# they tell of every worker that ends, and of what it or its nanny wanted to say after connections were closed
QUIET = (
    *(f"distributed{name}" for name in ("", ".client", ".nanny", ".worker", ".scheduler", ".core")),
    "asyncio",
    "tornado.application",
)


def dask_setup(worker: object) -> None:
    """Called by dask in a worker that begins: what it does wrong in its tasks is told by the client, not by its log."""
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
