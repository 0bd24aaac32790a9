"""``micro_sam.annotator_2d``: segment the objects of a 2D image in a napari window."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from micro_sam.cli._annotator import AnnotatorOptions
from micro_sam.cli._common import make_parser, run
from micro_sam.cli._fields import read_options
from micro_sam.errors import InputError

EPILOG = """examples:
  micro_sam.annotator_2d -i sample:coins -m nano_lm
  micro_sam.annotator_2d -i image.tif -e image_embeddings.zarr
  micro_sam.annotator_2d -i image.tif -s image_objects.tif -m vit_b

nano_lm ships with the program and needs no download. Keys in the window: s segment, c commit, t positive / negative
point, Shift-C clear, Ctrl-Z undo, Ctrl-Shift-Z redo."""


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    return make_parser("annotator_2d", "Segment the objects of a 2D image by clicking them.", AnnotatorOptions, EPILOG)


@run
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = read_options(build_parser(), AnnotatorOptions, arguments)
    if options.result is not None and options.image.input is None:
        raise InputError("--segmentation_result needs the image it belongs to: give it with --input.")
    given = options.arguments()

    from micro_sam.sam_annotator import annotator_2d

    annotator_2d(**given)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
