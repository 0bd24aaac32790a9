"""``micro_sam.annotator_tracking``: the window for movies."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from micro_sam.cli._common import add_annotator, make_parser, parse, resume_of, run
from micro_sam.cli._window import check_device, check_screen

EPILOG = """examples:
  micro_sam.annotator_tracking -i sample:dividing_cells -m nano_lm
  micro_sam.annotator_tracking -i movie.tif -e movie_embeddings.zarr -m vit_b -t movie_RES

Click an object in its first frame, press V to track it, D and a click to mark its division, C to commit the tracks.
An earlier result is a folder of the Cell Tracking Challenge, a GEFF, a TrackMate file, or a label series."""


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = make_parser("annotator_tracking", "Track the objects of a movie (2D + time) interactively.")
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    add_annotator(parser, result="tracking", short="t")
    return parser


@run
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parse(build_parser(), arguments)
    check_screen()
    check_device(options.device)

    from micro_sam.sam_annotator import annotator_tracking

    annotator_tracking(
        options.input,
        embedding_path=options.embedding_path,
        show_embeddings=options.show_embeddings,
        tracking_result=options.tracking_result,
        model_type=options.model_type,
        tile_shape=options.tile_shape,
        halo=options.halo,
        precompute_amg_state=options.precompute_amg_state,
        checkpoint_path=options.checkpoint,
        device=options.device,
        key=options.key,
        axes=options.axes,
        decoder_path=options.decoder_path,
        prefer_decoder=options.prefer_decoder,
        session=options.session,
        resume=resume_of(options),
        tracking_key=options.tracking_key,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
