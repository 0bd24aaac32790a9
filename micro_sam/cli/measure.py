"""``micro_sam.measure``: a table of objects or tracks."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from micro_sam.cli._common import make_parser, run
from micro_sam.cli._fields import Options, option, read_options


class MeasureOptions(Options):
    """What is measured, in which image, and where the table goes."""

    segmentation: str = option(
        ...,
        "labels of any program, or with --tracks a folder of the Cell Tracking Challenge, GEFF, TrackMate, CSV or "
        "masks",
        "-s",
        metavar="PATH",
    )
    segmentation_key: str | None = option(None, "their dataset in a container", "-sk", metavar="KEY")
    input: str | None = option(None, "the image, for mean intensities and the size of a pixel", "-i", metavar="PATH")
    key: str | None = option(None, "which image, where a file holds several", "-k")
    axes: str | None = option(None, "axes of the image, where its file does not say, as CZYX", metavar="LETTERS")
    output: str = option(..., "NAME.csv or NAME.parquet", "-o", metavar="TABLE")
    movie: bool = option(False, "the first axis of the labels is time: a row per frame")
    tracks: bool = option(False, "make a table of tracks")
    scale: tuple[float, ...] | None = option(
        None, "size of a pixel in µm along each axis (frames: seconds)", metavar="SIZE"
    )


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    return make_parser(
        "measure",
        "Make a table of objects: area or volume, place, pieces, mean intensities. With --tracks a table of tracks: "
        "path, displacement, speed, divisions.",
        MeasureOptions,
    )


@run
def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write the table."""
    options = read_options(build_parser(), MeasureOptions, arguments)

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
