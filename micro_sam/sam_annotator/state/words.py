"""Numbers as people say them."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """A time as people say it: ``"about 2 s"``, ``"about 3 min"``."""
    if seconds < 0.95:
        return "less than 1 s"
    if seconds < 90:
        return f"about {seconds:.0f} s"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h"
