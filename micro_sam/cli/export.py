"""``micro_sam.export``: a model for other programs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from micro_sam.cli._common import make_parser, parse, run
from micro_sam.errors import InputError
from micro_sam.io.results import check_not_input
from micro_sam.models.export import FORMATS, check_export

EPILOG = """examples:
  micro_sam.export -m nano_lm -o nano_lm_onnx
  micro_sam.export -c mine.safetensors -o mine.zip --format bioimageio --licence CC-BY-4.0 --author "Jane Doe"

What is exported is run in ONNX Runtime beside the model itself and only kept when both agree. Needs the packages of
the extra "export": pip install "micro_sam[export]"."""


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = make_parser("export", "Export a model for other programs.")
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument("-m", "--model_type", metavar="NAME", help="the model; micro_sam.info lists them all")
    parser.add_argument(
        "-c", "--checkpoint", metavar="PATH", help="weights of your own; their type is found in the file"
    )
    parser.add_argument("-o", "--output", required=True, metavar="PATH", help="what to write; it must not exist")
    parser.add_argument(
        "--format",
        choices=list(FORMATS),
        default="onnx",
        help="; ".join(f"{name}: {text}" for name, text in FORMATS.items()) + " (default: onnx)",
    )
    parser.add_argument(
        "--licence", metavar="SPDX", help="for bioimage.io: licence of weights of your own, for example CC-BY-4.0"
    )
    parser.add_argument(
        "--author", action="append", default=[], metavar="NAME", help="for bioimage.io: an author; may be repeated"
    )
    return parser


@run
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = build_parser()
    given = parser.parse_args(arguments)
    if given.model_type is None and given.checkpoint is None:
        raise InputError("Say which model to export: -m NAME for a model of the list, -c PATH for your own weights.")
    if given.format != "bioimageio" and (given.licence or given.author):
        raise InputError("--licence and --author are for bioimage.io packages; add --format bioimageio.")
    options = parse(parser, arguments)
    check_not_input(options.output, options.checkpoint)
    check_export(options.output, options.format)

    from micro_sam.models.build import get_sam_model
    from micro_sam.models.export import export_model, find_card

    predictor = get_sam_model(options.model_type, device="cpu", checkpoint_path=options.checkpoint, precision="fp32")
    path = export_model(
        predictor,
        options.output,
        options.format,
        card=find_card(options.model_type, options.checkpoint),
        licence=options.licence,
        authors=options.author,
    )
    print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
