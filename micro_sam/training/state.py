"""The state of a training on disc: whole or not at all, and read without running anything that the file says."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from micro_sam.errors import InputError, OutputError
from micro_sam.io.marks import mark_torch_file
from micro_sam.io.results import recover, write_result


@dataclass
class TrainState:
    """What a training needs to go on as if it had not been interrupted.

    Attributes
    ----------
    settings : str
        The settings and the data in words (JSON), to tell a training from another.
    step : int
        Optimiser steps done.
    seconds : float
        What they took.
    chunk, objects : int
        Crops per pass and objects per crop that the memory allows.
    model, average, best : dict[str, Tensor]
        Weights as trained, their running average, and the best average so far (empty before the first validation).
    optimizer, scaler : dict
        State dicts of optimiser and gradient scaler.
    history : list[dict[str, float]]
        Figures of the validations, with their step.
    """

    settings: str = ""
    step: int = 0
    seconds: float = 0.0
    chunk: int = 0
    objects: int = 0
    model: dict[str, Tensor] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)


def save_state(path: Path, state: TrainState) -> None:
    """Writes the state; a process killed meanwhile leaves the former one.

    Raises
    ------
    OutputError
        When the file cannot be written.
    """
    try:
        with write_result(path, "training") as (place,):
            torch.save(vars(state), place)
            mark_torch_file(place, "training")
    except OutputError:
        raise
    except RuntimeError as error:  # what torch makes of a full disc
        raise OutputError(
            f"The state of the training cannot be written to {path}: {error}. The state before is intact."
        ) from error


def load_state(path: Path, settings: str) -> TrainState | None:
    """The state of an interrupted training with these settings; None when there is none.

    Raises
    ------
    InputError
        When the file is damaged, or belongs to a training with other settings or data.
    """
    recover(path)
    if not path.exists():
        return None
    try:
        state = TrainState(**torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # damaged files fail in every way there is
        raise InputError(
            f"The state of an interrupted training in {path} cannot be read. Remove it to begin anew."
        ) from error
    if state.settings != settings:
        raise InputError(
            f"{path} is the state of an interrupted training with other settings "
            f"({_difference(state.settings, settings)}). Repeat its settings to go on with it, choose "
            "another output, or begin anew (overwrite)."
        )
    return state


def _difference(then: str, now: str) -> str:
    old, new = json.loads(then), json.loads(now)
    names = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    parts = [f"{name}: {_short(old.get(name))} then, {_short(new.get(name))} now" for name in names]
    return "; ".join(parts[:3]) or "unknown"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."
