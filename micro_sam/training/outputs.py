"""What a training writes, and whether it may."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from micro_sam.errors import InputError
from micro_sam.io.atomic import recover, remove
from micro_sam.io.results import Inputs, check_result
from micro_sam.training.config import TrainConfig


def check_outputs(kinds: Mapping[Path, str], config: TrainConfig, overwrite: bool) -> None:
    """Whether the result and what belongs to it may be written, before anything is read.

    Parameters
    ----------
    kinds : Mapping[Path, str]
        Files with the kind of result that they are, the weights first.
    config : TrainConfig
        Names the inputs.
    overwrite : bool
        Replace an earlier result; the state of an interrupted training is then removed.

    Raises
    ------
    InputError
        When there is a result already.
    OutputError
        When one of the files is an input, or something that a training did not write.
    """
    output = next(iter(kinds))
    recover(output)
    if output.exists() and not overwrite:
        raise InputError(f"{output} exists already. Choose another output, or overwrite it.")
    sources = [*config.train, *config.validation]
    inputs = Inputs(*(path for source in sources for path in (*source.images, *source.labels)), config.checkpoint)
    for path, kind in kinds.items():
        inputs.check(path)
        if overwrite or kind != "training":  # `load_state` knows more about a state to go on with
            check_result(path, kind)
    if overwrite:
        for path in (path for path, kind in kinds.items() if kind == "training"):
            remove(path)
