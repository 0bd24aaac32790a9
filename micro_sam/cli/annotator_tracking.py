"""``micro_sam.annotator_tracking``: the window for movies."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from micro_sam.cli._annotator import TrackingOptions
from micro_sam.cli._common import make_parser, run
from micro_sam.cli._fields import read_options

EPILOG = """examples:
  micro_sam.annotator_tracking -i sample:dividing_cells -m nano_lm
  micro_sam.annotator_tracking -i movie.tif -e movie_embeddings.zarr -m vit_b -t movie_RES

Click an object in its first frame, press V to track it, D and a click to mark its division, C to commit the tracks.
An earlier result is a folder of the Cell Tracking Challenge, a GEFF, a TrackMate file, or a label series."""


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    return make_parser(
        "annotator_tracking", "Track the objects of a movie (2D + time) interactively.", TrackingOptions, EPILOG
    )


@run
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = read_options(build_parser(), TrackingOptions, arguments)
    given = options.arguments()

    from micro_sam.sam_annotator import annotator_tracking

    annotator_tracking(**given)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
