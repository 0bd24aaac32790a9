"""``python -m micro_sam try`` on a machine without a screen: the main job, done on a sample and written to files."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from micro_sam.cli._common import make_parser, run
from micro_sam.cli._fields import Options, option, read_options
from micro_sam.errors import OutputError

if TYPE_CHECKING:
    import numpy as np

SAMPLE, MODEL = "cell", "nano_lm"
CLICK = (375, 425)  # (y, x) on the one cell of the sample
OUTLINES = {"automatic": (255, 220, 0), "click": (255, 0, 255)}  # RGB
FOLDER = "micro_sam_try"
FILES = ("objects.tif", "clicked_object.tif", "outlines.png")

NEXT = """
To get a window: start the same command on a computer with a screen, or connect with 'ssh -X' (Linux, Mac) and start it
again. Without a screen, your own images are segmented and prepared for the window by
  {commands}micro_sam.automatic_segmentation -i image.tif -o labels.tif -m nano_lm
  {commands}micro_sam.precompute_embeddings -i image.tif -o embeddings.zarr -m nano_lm"""


class DemoOptions(Options):
    """Where the results go."""

    output_folder: str | None = option(
        None, f"default: a new folder {FOLDER} where the command is started", "-o", metavar="PATH"
    )


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    return make_parser("cli.demo", "Segment a sample image without a window and write what was found.", DemoOptions)


@run
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = read_options(build_parser(), DemoOptions, arguments)
    folder = new_folder(options.output_folder)

    from micro_sam.embeddings.compute import precompute_image_embeddings
    from micro_sam.io.labels import save_labels
    from micro_sam.sample_data import open_sample
    from micro_sam.segmentation.files import get_predictor_and_segmenter
    from micro_sam.session.session import Session

    image = open_sample(SAMPLE).image
    predictor, segmenter = get_predictor_and_segmenter(MODEL)
    size = f"{image.shape[0]} x {image.shape[1]} pixels"
    print(f"The sample image {SAMPLE!r} ({size}) is embedded with {MODEL}.", flush=True)
    embeddings = precompute_image_embeddings(predictor, image, ndim=2, verbose=False)
    embeddings.image = image  # for close-ups, as in the window

    session = Session(image.shape)
    session.model.attach(predictor, embeddings)
    session.prompts.add_point(CLICK)
    session.segment.slice()
    clicked = session.current > 0
    print(f"A click at y = {CLICK[0]}, x = {CLICK[1]} gives an object of {int(clicked.sum())} pixels.")

    segmenter.initialize(image, embeddings)
    objects = segmenter.generate()
    number = int(objects.max())
    print(f"Segmenting all objects automatically finds {number} object{'s' if number != 1 else ''}.")

    names = {name: folder / name for name in FILES}
    save_labels(names["objects.tif"], objects)
    save_labels(names["clicked_object.tif"], clicked)
    _save_picture(names["outlines.png"], image, objects, clicked)
    print(f"\nWritten in {folder.absolute()}:")
    for name, what in zip(
        FILES,
        (
            "label image, one number per object",
            "label image of the object that was clicked",
            "the image with outlines: all objects in yellow, the clicked one in magenta",
        ),
        strict=True,
    ):
        print(f"  {name}  {what}")
    print(NEXT.format(commands=_commands()))
    return 0


def new_folder(path: str | None) -> Path:
    """A folder of our own: the one named, else one that is new, in the working directory or where one may write.

    Raises
    ------
    OutputError
        When the named folder holds something, or cannot be made.
    """
    if path is not None:
        folder = Path(path).expanduser()
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputError(f"{folder} is there already; give the name of a new folder.")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"The folder {folder} cannot be made: {error.strerror}. Choose another place.") from error
        return folder
    for number in range(1, 1000):
        folder = Path(FOLDER if number == 1 else f"{FOLDER}_{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        except OSError:  # a folder that is not ours to write in
            break
        return folder
    return Path(tempfile.mkdtemp(prefix=f"{FOLDER}_"))


def _commands() -> str:
    """What to type before the name of a command, where the environment is not activated."""
    beside = Path(sys.executable).parent
    return "" if shutil.which("micro_sam.info") or not (beside / "micro_sam.info").exists() else f"{beside}/"


def _save_picture(path: Path, image: np.ndarray, objects: np.ndarray, clicked: np.ndarray) -> None:
    import imageio.v3 as imageio
    import numpy as np
    from skimage.segmentation import find_boundaries

    from micro_sam.io.atomic import replacing

    picture = np.stack([image] * 3, axis=-1)
    picture[find_boundaries(objects)] = OUTLINES["automatic"]
    picture[find_boundaries(clicked)] = OUTLINES["click"]
    y, x = CLICK
    picture[y - 6 : y + 7, x] = picture[y, x - 6 : x + 7] = OUTLINES["click"]
    with replacing(path) as (place,):
        imageio.imwrite(place, picture)


if __name__ == "__main__":
    sys.exit(main())
