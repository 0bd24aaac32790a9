"""Export for the BioImage Model Zoo with the arguments of micro-sam 1.x."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.models.build import get_sam_model
from micro_sam.models.export import export_model, find_card

__all__ = ["export_sam_model"]


def export_sam_model(
    image: np.ndarray | None,
    label_image: np.ndarray | None,
    model_type: str | None,
    name: str,
    output_path: str | os.PathLike[str],
    checkpoint_path: str | os.PathLike[str] | None = None,
    **kwargs: Any,
) -> None:
    """Write a model as a package for bioimage.io; checked against our own predictor before it appears.

    Parameters
    ----------
    image, label_image : arrays, optional
        Taken for scripts; the package is checked on an image of its own.
    model_type, checkpoint_path
        See ``util.get_sam_model``.
    name : str
        Name of the package.
    output_path : path
        The zip file, or a folder that gets ``<name>.zip``.
    **kwargs
        ``authors`` (names, or dicts with the key ``name``) and ``license``; others are not supported.

    Raises
    ------
    InputError, ModelError, OutputError
        See ``models.export.export_model``.
    """
    unknown = set(kwargs) - {"authors", "license", "licence"}
    if unknown:
        raise InputError(
            f"{', '.join(sorted(unknown))}: not supported. The description, links and tags of a package come from the "
            "model card beside the weights (a Markdown file of the same name)."
        )
    authors = [one["name"] if isinstance(one, dict) else str(one) for one in kwargs.get("authors") or ()]
    path = Path(output_path)
    path = path if path.suffix == ".zip" else path / f"{name}.zip"
    predictor = get_sam_model(model_type, device="cpu", checkpoint_path=checkpoint_path)
    export_model(
        predictor,
        path,
        "bioimageio",
        card=find_card(predictor.model_name, checkpoint_path),
        licence=kwargs.get("licence", kwargs.get("license")),
        authors=authors,
    )
