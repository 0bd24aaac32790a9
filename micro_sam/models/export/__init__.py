"""Models in the formats of other programs; one file per format.

Every export is run in ONNX Runtime beside our own predictor before it gets its name: a wrong export never appears.
Nothing heavy is imported here; the packages of the extra ``export`` are imported when an export begins.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from micro_sam.errors import InputError
from micro_sam.models.export.output import check_output

if TYPE_CHECKING:
    from micro_sam.models.predictor import Predictor

FORMATS = {
    "onnx": "a folder with encoder.onnx and decoder.onnx",
    "bioimageio": "a package (.zip) for the BioImage Model Zoo, bioimage.io",
}
SHIPPED_CARDS = Path(__file__).parents[1] / "weights"

__all__ = ["FORMATS", "check_export", "export_model", "find_card"]


def export_model(
    predictor: Predictor,
    output: str | os.PathLike[str],
    format: str = "onnx",
    *,
    card: str | None = None,
    licence: str | None = None,
    authors: Sequence[str] = (),
) -> Path:
    """Write a model for other programs; it appears whole and checked, or not at all.

    Parameters
    ----------
    predictor : Predictor
        The model; a copy on the CPU at float32 is exported.
    output : str | os.PathLike[str]
        What to write; it must not exist.
    format : str
        One of `FORMATS`.
    card, licence, authors
        For bioimage.io: the model card (Markdown, see `find_card`), the licence of the weights (SPDX identifier; None
        takes that of the registry) and the names of their authors.

    Returns
    -------
    Path
        The output.

    Raises
    ------
    InputError
        When there is no such format, or the name of the output or the licence does not fit it.
    ModelError
        When the packages of the extra ``export`` are missing, or the export does not give the model's results.
    OutputError
        When the output exists or cannot be written.
    """
    path = check_export(output, format)
    if format == "bioimageio":
        from micro_sam.models.export.bioimageio_package import write_package

        write_package(predictor, path, card, licence, authors)
    else:
        from micro_sam.models.export.onnx_folder import write_onnx_folder

        write_onnx_folder(predictor, path)
    return path


def check_export(output: str | os.PathLike[str], format: str = "onnx") -> Path:
    """What can be known to be wrong before the model is loaded; see `export_model` for the errors."""
    path = Path(output)
    if format not in FORMATS:
        raise InputError(f"There is no format {format!r}; choose one of {', '.join(FORMATS)}.")
    if format == "onnx" and path.suffix in (".onnx", ".zip"):
        raise InputError(f"An ONNX export is {FORMATS[format]}; {path.name!r} is named like a file. Name a folder.")
    if format == "bioimageio" and path.suffix != ".zip":
        raise InputError(f"A bioimage.io export is {FORMATS[format]}; {path.name!r} does not end in .zip.")
    check_output(path)
    return path


def find_card(model_name: str | None, checkpoint: str | os.PathLike[str] | None = None) -> str | None:
    """The model card (Markdown) that lies beside the weights, or None."""
    path = SHIPPED_CARDS / f"{model_name}.md" if checkpoint is None else Path(checkpoint).with_suffix(".md")
    return path.read_text(encoding="utf-8") if path.is_file() else None
