"""From a module to an ONNX file.

`torch.onnx` has two exporters. The one that traces (``dynamo=False``) is used: it needs no package beside torch, and
imports neither triton nor torchvision, whose import kills a process with an open window on some machines.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from micro_sam.errors import ModelError
from micro_sam.models.sam import Sam

OPSET = 17  # since 2022; layer normalisation is one operator from here on
EXTRA = 'Exporting needs the packages onnx and onnxruntime; install them with: pip install "micro_sam[export]"'


@dataclass(frozen=True)
class Graph:
    """A module to export, with an example of its inputs.

    Attributes
    ----------
    module : nn.Module
    inputs : Mapping[str, Tensor]
        Names and examples of the inputs, in the order of ``forward``; float32.
    outputs : Sequence[str]
    dynamic : Mapping[str, dict[int, str]]
        Axes of inputs and outputs that may have any length.
    """

    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: Sequence[str]
    dynamic: Mapping[str, dict[int, str]] = field(default_factory=dict)


def require_packages() -> tuple[Any, Any]:
    """The modules onnx and onnxruntime; a `ModelError` says how to install them."""
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise ModelError(f"{EXTRA} ({error}).") from error
    return onnx, onnxruntime


def plain_copy(model: Sam) -> Sam:
    """The model on the CPU, float32, for inference; the one given stays as it is.

    It decodes on the whole grid, as other programs do.
    """
    model = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    model.decode_window = None
    return model


def write_graph(graph: Graph, path: Path) -> None:
    """Write an ONNX file; weights of more than 2 GB go into a file ``<name>.data`` beside it.

    Raises
    ------
    ModelError
        When the module cannot be exported.
    """
    onnx, _ = require_packages()
    folder = path.with_suffix(".parts")  # where torch puts each large weight into a file of its own
    folder.mkdir()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # shapes that the trace holds fast (the input size is fixed), deprecations
        try:
            torch.onnx.export(
                graph.module.eval(),
                tuple(graph.inputs.values()),
                str(folder / path.name),
                input_names=list(graph.inputs),
                output_names=list(graph.outputs),
                dynamic_axes=dict(graph.dynamic),
                opset_version=OPSET,
                dynamo=False,
            )
        except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
            raise ModelError(f"The model cannot be written as ONNX: {error}") from error
    if len(list(folder.iterdir())) == 1:
        (folder / path.name).rename(path)
    else:
        content = onnx.load(folder / path.name)
        onnx.save_model(content, path, save_as_external_data=True, location=f"{path.stem}.data")
    for part in folder.iterdir():
        part.unlink()
    folder.rmdir()
    onnx.checker.check_model(path)
