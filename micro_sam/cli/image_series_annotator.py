"""``micro_sam.image_series_annotator``: annotate a folder of images, one after the other."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from micro_sam.cli._common import add_model, add_tiling, make_parser, parse, run
from micro_sam.cli._window import check_device, check_screen

EPILOG = """examples:
  micro_sam.image_series_annotator -i images/ -o objects/ -m nano_lm
  micro_sam.image_series_annotator -i images/ -o objects/ -p "*_dapi.tif" -e embeddings/ -m vit_b

Keys in the window: those of the annotator, and N save and next image, Shift-N save and previous image. The results
are also saved when the window is closed; the next start goes on with the first image that has none."""


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = make_parser("image_series_annotator", "Segment the objects of all images of a folder, one by one.")
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument("-i", "--input_folder", required=True, metavar="FOLDER", help="holds the images")
    parser.add_argument(
        "-o", "--output_folder", required=True, metavar="FOLDER", help="gets one label image (tif) per image"
    )
    parser.add_argument(
        "-p", "--pattern", default="*", help="which files, in quotes (default: all images of a known kind)"
    )
    parser.add_argument(
        "-k",
        "--key",
        help="which image of each file: the dataset in a container (hdf5, zarr, n5), or the number or name of an image",
    )
    parser.add_argument(
        "--initial_segmentation_folder", metavar="FOLDER", help="labels to begin with, one for each image"
    )
    parser.add_argument("--initial_segmentation_pattern", default="*", help="which of them, in quotes")
    parser.add_argument(
        "-e", "--embedding_path", metavar="FOLDER", help="keeps the embeddings of each image for the next start"
    )
    add_model(parser, window=True)
    add_tiling(parser)
    parser.add_argument("--is_volumetric", action="store_true", help="the images are stacks of slices (3D annotator)")
    parser.add_argument(
        "--with_segmented", action="store_true", help="show images that have a result, too, to correct them"
    )
    parser.add_argument("--skip_segmented", action="store_true", help="pass over images that have a result (default)")
    parser.add_argument(
        "--prefer_decoder",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="begin the automatic segmentation with the model's decoder where it has one (default)",
    )
    parser.add_argument(
        "--precompute_amg_state",
        action="store_true",
        help="prepare the automatic segmentation of each image, so that it answers at once",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--resume", action="store_true", help="go on with the session of each image where it ended (default)"
    )
    which.add_argument("--new_session", action="store_true", help="begin a new session for each image")
    return parser


@run
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parse(build_parser(), arguments)
    check_screen()
    check_device(options.device)

    from micro_sam.sam_annotator import image_folder_annotator

    image_folder_annotator(
        options.input_folder,
        options.output_folder,
        options.pattern,
        initial_segmentation_folder=options.initial_segmentation_folder,
        initial_segmentation_pattern=options.initial_segmentation_pattern,
        prefer_decoder=options.prefer_decoder,
        model_type=options.model_type,
        embedding_path=options.embedding_path,
        tile_shape=options.tile_shape,
        halo=options.halo,
        precompute_amg_state=options.precompute_amg_state,
        checkpoint_path=options.checkpoint,
        device=options.device,
        is_volumetric=options.is_volumetric,
        skip_segmented=not options.with_segmented,
        key=options.key,
        resume=not options.new_session,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
