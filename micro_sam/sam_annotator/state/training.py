"""How a training in the background stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

NAMES = {"click": "a click", "box": "a box", "corrected": "two corrections"}


@dataclass(frozen=True)
class RunState:
    """How a run stands.

    Attributes
    ----------
    state : str
        "running", "stopped" (by the user), "killed" (it ended without a word), "failed" or "done".
    step, steps : int
        Done, and in all; 0 while it is not known.
    seconds_left : float | None
    validations : tuple[dict[str, float], ...]
        Figures so far; the first are those of the model that the run started from.
    error : str
        Why it failed.
    """

    state: str
    step: int = 0
    steps: int = 0
    seconds_left: float | None = None
    validations: tuple[dict[str, Any], ...] = ()
    error: str = ""

    @property
    def can_go_on(self) -> bool:
        """Whether the same command takes it up where it stopped."""
        return self.state in ("stopped", "killed")


def figures(state: RunState) -> str:
    """How good the model is on what it did not learn from, before and now; empty without measurements."""
    from micro_sam.training.validation import score

    rows = [row for row in state.validations if row.get("click") is not None]
    if not rows:
        return ""
    best = max(rows[1:] or rows, key=score)
    parts = (f"{text} {rows[0][name]:.2f} → {best[name]:.2f}" for name, text in NAMES.items())
    return "IoU of " + ", ".join(parts)
