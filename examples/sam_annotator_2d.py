"""Segment the objects of a 2D image interactively.

Run it, click an object, press C to commit it. The embedding of the image is kept in a folder beside this script, so the
second start computes nothing.
"""

from pathlib import Path

from micro_sam.sam_annotator import annotator_2d

HERE = Path(__file__).parent


def coins() -> None:
    """A sample that comes with the program, and the model that comes with it: no download."""
    annotator_2d("sample:coins", embedding_path=HERE / "embeddings" / "coins.zarr", model_type="nano_lm")


def own_image(path: str, result: str | None = None) -> None:
    """Your own image, with Segment Anything's largest model; `result` is a label image to go on with."""
    annotator_2d(
        path,
        embedding_path=HERE / "embeddings" / f"{Path(path).stem}.zarr",
        segmentation_result=result,
        model_type="vit_h",
    )


if __name__ == "__main__":
    coins()
    # own_image("my_image.tif")
