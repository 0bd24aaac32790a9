"""``micro_sam.annotator_2d``: segment the objects of a 2D image in a napari window."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from micro_sam.cli._common import add_annotator, make_parser, parse, resume_of, run
from micro_sam.cli._window import check_device, check_screen
from micro_sam.errors import InputError

EPILOG = """examples:
  micro_sam.annotator_2d -i sample:coins -m nano_lm
  micro_sam.annotator_2d -i image.tif -e image_embeddings.zarr
  micro_sam.annotator_2d -i image.tif -s image_objects.tif -m vit_b

nano_lm ships with the program and needs no download. Keys in the window: s segment, c commit, t positive / negative
point, Shift-C clear, Ctrl-Z undo, Ctrl-Shift-Z redo."""


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = make_parser("annotator_2d", "Segment the objects of a 2D image by clicking them.")
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    add_annotator(parser)
    return parser


@run
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parse(build_parser(), arguments)
    if options.segmentation_result is not None and options.input is None:
        raise InputError("--segmentation_result needs the image it belongs to: give it with --input.")
    check_screen()
    check_device(options.device)

    from micro_sam.sam_annotator import annotator_2d

    annotator_2d(
        options.input,
        embedding_path=options.embedding_path,
        show_embeddings=options.show_embeddings,
        segmentation_result=options.segmentation_result,
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
        segmentation_key=options.segmentation_key,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
