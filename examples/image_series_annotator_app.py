"""Annotate a folder of images one after the other.

Key N saves the objects of an image and goes on to the next one; Shift-N goes back. The results are label images (tif)
in the output folder. Images that have a result are passed over at the next start.

    python image_series_annotator_app.py INPUT_FOLDER OUTPUT_FOLDER [PATTERN]

Without folders, sample images are annotated.
"""

import sys
from pathlib import Path

from micro_sam.sam_annotator import image_folder_annotator, image_series_annotator

HERE = Path(__file__).parent


def samples() -> None:
    """Images that come with the program."""
    images = ["sample:coins", "sample:cell", "sample:immunohistochemistry"]
    image_series_annotator(images, HERE / "results", model_type="nano_lm", embedding_path=HERE / "embeddings")


def folder(input_folder: str, output_folder: str, pattern: str = "*") -> None:
    """All images of a folder."""
    image_folder_annotator(
        input_folder, output_folder, pattern, model_type="nano_lm", embedding_path=HERE / "embeddings"
    )


if __name__ == "__main__":
    if len(sys.argv) > 2:
        folder(*sys.argv[1:4])
    else:
        samples()
