"""``micro_sam.annotator_3d``: the window for volumes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from micro_sam.cli._annotator import AnnotatorOptions
from micro_sam.cli._common import make_parser, run
from micro_sam.cli._fields import read_options

EPILOG = """examples:
  micro_sam.annotator_3d -i sample:nuclei_volume -m nano_lm
  micro_sam.annotator_3d -i stack.tif -e stack_embeddings.zarr -m vit_b -s stack_objects.tif

Click an object in one slice, press V to extend it through the volume, C to commit it."""


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    return make_parser(
        "annotator_3d", "Segment the objects of a volume (a stack of slices) interactively.", AnnotatorOptions, EPILOG
    )


@run
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = read_options(build_parser(), AnnotatorOptions, arguments)
    given = options.arguments()

    from micro_sam.sam_annotator import annotator_3d

    annotator_3d(**given)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
