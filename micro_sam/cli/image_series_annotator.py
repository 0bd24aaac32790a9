"""``micro_sam.image_series_annotator``: annotate a folder of images, one after the other."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from micro_sam.cli._common import PREFER_DECODER, TilingOptions, WindowModel, make_parser, run
from micro_sam.cli._fields import Options, option, read_options
from micro_sam.cli._window import check_device, check_screen

EPILOG = """examples:
  micro_sam.image_series_annotator -i images/ -o objects/ -m nano_lm
  micro_sam.image_series_annotator -i images/ -o objects/ -p "*_dapi.tif" -e embeddings/ -m vit_b

Keys in the window: those of the annotator, and N save and next image, Shift-N save and previous image. The results
are also saved when the window is closed; the next start goes on with the first image that has none."""


class SeriesOptions(Options):
    """Which images are annotated, and how."""

    input_folder: str = option(..., "holds the images", "-i", metavar="FOLDER")
    output_folder: str = option(..., "gets one label image (tif) per image", "-o", metavar="FOLDER")
    pattern: str = option("*", "which files, in quotes (default: all images of a known kind)", "-p")
    key: str | None = option(
        None,
        "which image of each file: the dataset in a container (hdf5, zarr, n5), or the number or name of an image",
        "-k",
    )
    initial_segmentation_folder: str | None = option(None, "labels to begin with, one for each image", metavar="FOLDER")
    initial_segmentation_pattern: str = option("*", "which of them, in quotes")
    embedding_path: str | None = option(
        None, "keeps the embeddings of each image for the next start", "-e", metavar="FOLDER"
    )
    model: WindowModel
    tiling: TilingOptions
    is_volumetric: bool = option(False, "the images are stacks of slices (3D annotator)")
    with_segmented: bool = option(False, "show images that have a result, too, to correct them")
    skip_segmented: bool = option(False, "pass over images that have a result (default)")
    prefer_decoder: bool = option(True, PREFER_DECODER)
    precompute_amg_state: bool = option(
        False, "prepare the automatic segmentation of each image, so that it answers at once"
    )
    resume: bool = option(
        True,
        "what becomes of an earlier session",
        switches={
            "--resume": (True, "go on with the session of each image where it ended (default)"),
            "--new_session": (False, "begin a new session for each image"),
        },
    )


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    return make_parser(
        "image_series_annotator",
        "Segment the objects of all images of a folder, one by one.",
        SeriesOptions,
        EPILOG,
    )


@run
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = read_options(build_parser(), SeriesOptions, arguments)
    check_screen()
    check_device(options.model.device)

    from micro_sam.sam_annotator import image_folder_annotator

    image_folder_annotator(
        options.input_folder,
        options.output_folder,
        options.pattern,
        initial_segmentation_folder=options.initial_segmentation_folder,
        initial_segmentation_pattern=options.initial_segmentation_pattern,
        prefer_decoder=options.prefer_decoder,
        embedding_path=options.embedding_path,
        precompute_amg_state=options.precompute_amg_state,
        is_volumetric=options.is_volumetric,
        key=options.key,
        resume=options.resume,
        model_type=options.model.model_type,
        checkpoint_path=options.model.checkpoint,
        device=options.model.device,
        tile_shape=options.tiling.tile_shape,
        halo=options.tiling.halo,
        skip_segmented=not options.with_segmented,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
