"""``micro_sam.export``: a model for other programs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from micro_sam.cli._common import WeightsOptions, make_parser, run
from micro_sam.cli._fields import Options, option, read_options
from micro_sam.errors import InputError
from micro_sam.io.results import check_not_input
from micro_sam.models.export import FORMATS, check_export

EPILOG = """examples:
  micro_sam.export -m nano_lm -o nano_lm_onnx
  micro_sam.export -c mine.safetensors -o mine.zip --format bioimageio --licence CC-BY-4.0 --author "Jane Doe"

What is exported is run in ONNX Runtime beside the model itself and only kept when both agree. Needs the packages of
the extra "export": pip install "micro_sam[export]"."""


class ExportedModel(WeightsOptions):
    """Which model is exported."""

    model_type: str | None = option(None, "the model; micro_sam.info lists them all", "-m", metavar="NAME")
    has_default: ClassVar[bool] = False


class ExportOptions(Options):
    """Which model is exported, and to what."""

    model: ExportedModel
    output: str = option(..., "what to write; it must not exist", "-o", metavar="PATH")
    format: Literal["onnx", "bioimageio"] = option(
        "onnx", "; ".join(f"{name}: {text}" for name, text in FORMATS.items()) + " (default: onnx)"
    )
    licence: str | None = option(
        None, "for bioimage.io: licence of weights of your own, for example CC-BY-4.0", metavar="SPDX"
    )
    author: tuple[str, ...] = option(
        (), "for bioimage.io: an author; may be repeated", metavar="NAME", several="repeated"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.model.model_type is None and self.model.checkpoint is None:
            raise InputError(
                "Say which model to export: -m NAME for a model of the list, -c PATH for your own weights."
            )
        if self.format != "bioimageio" and (self.licence or self.author):
            raise InputError("--licence and --author are for bioimage.io packages; add --format bioimageio.")
        return self


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    return make_parser("export", "Export a model for other programs.", ExportOptions, EPILOG)


@run
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = read_options(build_parser(), ExportOptions, arguments)
    model = options.model
    check_not_input(options.output, model.checkpoint)
    check_export(options.output, options.format)

    from micro_sam.models.build import get_sam_model
    from micro_sam.models.export import export_model, find_card

    predictor = get_sam_model(model.model_type, device="cpu", checkpoint_path=model.checkpoint, precision="fp32")
    path = export_model(
        predictor,
        options.output,
        options.format,
        card=find_card(model.model_type, model.checkpoint),
        licence=options.licence,
        authors=options.author,
    )
    print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
