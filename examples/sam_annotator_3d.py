"""Segment the nuclei of a volume with the 3D annotator.

Click a nucleus in one slice, press V to extend it through the volume, C to commit it. Correct a committed nucleus with
O while the mouse is over it: click in the slices that are wrong, then press V again.
"""

from pathlib import Path

from micro_sam.sam_annotator import annotator_3d

HERE = Path(__file__).parent


def annotate_nuclei() -> None:
    """A generated stack that comes with the package; the embeddings are kept, so the second start is quick."""
    annotator_3d(
        "sample:nuclei_volume", embedding_path=HERE / "embeddings" / "nuclei_volume.zarr", model_type="nano_lm"
    )


def annotate_own_volume() -> None:
    """A volume of your own, with an earlier result to go on with."""
    annotator_3d(
        "stack.tif",
        embedding_path="stack_embeddings.zarr",
        segmentation_result="stack_objects.tif",
        model_type="vit_b",
    )


if __name__ == "__main__":
    annotate_nuclei()
