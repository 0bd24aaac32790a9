"""``micro_sam.annotator_3d``: the window for volumes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from micro_sam.cli._common import add_annotator, make_parser, parse, resume_of, run
from micro_sam.cli._window import check_device, check_screen

EPILOG = """examples:
  micro_sam.annotator_3d -i sample:nuclei_volume -m nano_lm
  micro_sam.annotator_3d -i stack.tif -e stack_embeddings.zarr -m vit_b -s stack_objects.tif

Click an object in one slice, press V to extend it through the volume, C to commit it."""


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = make_parser("annotator_3d", "Segment the objects of a volume (a stack of slices) interactively.")
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    add_annotator(parser)
    return parser


@run
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parse(build_parser(), arguments)
    check_screen()
    check_device(options.device)

    from micro_sam.sam_annotator import annotator_3d

    annotator_3d(
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
