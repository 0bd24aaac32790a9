"""Track cells of a movie with the tracking annotator.

Click a nucleus in the first frame, press V to track it. Where it divides, go to its last frame, press D and click it;
then click both daughters in the next frame (E changes to the other one) and press V again. C commits the tracks.
"""

from pathlib import Path

from micro_sam.sam_annotator import annotator_tracking

HERE = Path(__file__).parent


def track_dividing_cells() -> None:
    """A generated movie that comes with the package; the embeddings are kept, so the second start is quick."""
    annotator_tracking(
        "sample:dividing_cells", embedding_path=HERE / "embeddings" / "dividing_cells.zarr", model_type="nano_lm"
    )


def track_own_movie() -> None:
    """A movie of your own, with an earlier result to go on with: the folder that was saved, or a label series."""
    annotator_tracking(
        "movie.tif", embedding_path="movie_embeddings.zarr", tracking_result="movie_RES", model_type="vit_b"
    )


if __name__ == "__main__":
    track_dividing_cells()
