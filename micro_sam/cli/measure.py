"""``micro_sam.measure``: a table of objects or tracks."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from micro_sam.cli._common import make_parser, run


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = make_parser(
        "measure",
        "Make a table of objects: area or volume, place, pieces, mean intensities. With --tracks a table of tracks: "
        "path, displacement, speed, divisions.",
    )
    parser.add_argument(
        "-s",
        "--segmentation",
        required=True,
        metavar="PATH",
        help="labels of any program, or with --tracks a folder of the Cell Tracking Challenge, GEFF, TrackMate, CSV or "
        "masks",
    )
    parser.add_argument("-sk", "--segmentation_key", metavar="KEY", help="their dataset in a container")
    parser.add_argument("-i", "--input", metavar="PATH", help="the image, for mean intensities and the size of a pixel")
    parser.add_argument("-k", "--key", help="which image, where a file holds several")
    parser.add_argument("--axes", metavar="LETTERS", help="axes of the image, where its file does not say, as CZYX")
    parser.add_argument("-o", "--output", required=True, metavar="TABLE", help="NAME.csv or NAME.parquet")
    parser.add_argument("--movie", action="store_true", help="the first axis of the labels is time: a row per frame")
    parser.add_argument("--tracks", action="store_true", help="make a table of tracks")
    parser.add_argument(
        "--scale", nargs="+", type=float, metavar="SIZE", help="size of a pixel in µm along each axis (frames: seconds)"
    )
    return parser


@run
def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write the table."""
    options = build_parser().parse_args(arguments)

    from micro_sam.io.collisions import check_not_input
    from micro_sam.io.tables import check_table_path, save_table

    check_not_input(options.output, options.segmentation, options.input)
    check_table_path(options.output)

    from micro_sam.io.classes import load_classes
    from micro_sam.measure import measure_objects, measure_tracks

    if options.tracks:
        scale = options.scale or _scale_of_movie(options.input, options.key, options.axes)
        table = measure_tracks(options.segmentation, scale=scale, key=options.segmentation_key)
    else:
        table = measure_objects(
            options.segmentation,
            options.input,
            scale=options.scale,
            movie=options.movie or None,
            key=options.segmentation_key,
            image_key=options.key,
            axes=options.axes,
            classes=load_classes(options.segmentation).names or None,
        )
    save_table(options.output, table)
    number = table["id"].nunique()
    noun = "track" if options.tracks else "object"
    print(f"{options.output}: {number} {noun}{'' if number == 1 else 's'}, {len(table)} rows")
    return 0


def _scale_of_movie(image: str | None, key: str | None, axes: str | None) -> Sequence[float] | None:
    """The size of a pixel as the movie's file says it; None: as the tracks say."""
    if image is None:
        return None
    from micro_sam.io.checks import check_image
    from micro_sam.io.images import open_image

    return check_image(open_image(image, key), "tracking", axes=axes).scale


if __name__ == "__main__":
    raise SystemExit(main())
