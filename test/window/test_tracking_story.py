"""The whole story of a movie in the tracking annotator, with real mouse and key events."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from micro_sam.models.predictor import Predictor
from micro_sam.sam_annotator import annotator_tracking
from micro_sam.session.lineage import Track

from . import driver
from .driver import Heartbeat, click, key, wait_idle, wait_until
from .movies import DAUGHTERS, LAST, MOTHER, N_FRAMES, OTHER, divide, frames_of, go_to, overlap, place_of, small_movie

FAMILY = (Track(1, 0, LAST), Track(2, LAST + 1, N_FRAMES - 1, 1), Track(3, LAST + 1, N_FRAMES - 1, 1))
LONGEST_FREEZE = 2.5  # seconds; on a machine of its own it is a tenth of that


@pytest.fixture
def encoder_calls(monkeypatch) -> list[int]:
    """Grows by the number of frames that are embedded."""
    calls: list[int] = []
    one, many = Predictor.encode, Predictor.encode_batch

    def encode(self, image):
        calls.append(1)
        return one(self, image)

    def encode_batch(self, images):
        calls.extend([1] * len(images))
        return many(self, images)

    monkeypatch.setattr(Predictor, "encode", encode)
    monkeypatch.setattr(Predictor, "encode_batch", encode_batch)
    return calls


def test_from_the_first_click_to_the_saved_lineage_and_back(opened, tmp_path, encoder_calls):
    movie, _ = small_movie()
    cache, result = tmp_path / "movie.zarr", tmp_path / "movie_RES"
    tool = opened(annotator_tracking, movie, model_type="nano_lm", embedding_path=cache)
    viewer, session = tool.viewer, tool.session
    names = [layer.name for layer in viewer.layers]
    labels = ["auto_segmentation", "committed_tracks", "current_tracks"]
    assert names == ["raw", *labels, "tracks", "box_prompts", "prompts"]

    # A click before the model is there is kept, and segmented when it is.
    click(tool, place_of(MOTHER, 0))
    assert len(session.prompts.drawn.points) == 1
    assert wait_until(lambda: session.has_current), tool.status.text
    assert wait_until(lambda: not tool.engine.busy), tool.status.text
    wait_idle(tool)
    assert frames_of(session.current, 1) == [0] and overlap(session.current[0] == 1, MOTHER, 0) > 0.5

    # V follows it; the division is not marked yet.
    with Heartbeat() as heart:
        key(viewer, "v")
        wait_idle(tool)
    assert frames_of(session.current, 1)[: LAST + 1] == list(range(LAST + 1)), tool.status.text
    assert "frame" in tool.status.text
    assert heart.longest < LONGEST_FREEZE

    # Undo takes the whole run back, redo does it again.
    after = session.current.copy()
    key(viewer, "ctrl+z")
    assert frames_of(session.current, 1) == [0]
    key(viewer, "ctrl+shift+z")
    assert np.array_equal(session.current, after)
    key(viewer, "ctrl+z")
    key(viewer, "ctrl+z")
    assert not len(session.prompts.drawn) and not session.has_current

    # The division: D and a click on the mother, then both daughters.
    divide(tool)
    assert [prompt.state for prompt in session.prompts.drawn.points] == ["track", "division", "track", "track"]
    assert [prompt.track_id for prompt in session.prompts.drawn.points] == [1, 1, 2, 3]
    with Heartbeat() as heart:
        key(viewer, "v")
        wait_idle(tool)
    assert heart.longest < LONGEST_FREEZE
    assert frames_of(session.current, 1) == list(range(LAST + 1)), tool.status.text
    for label, daughter in zip((2, 3), DAUGHTERS, strict=True):
        assert frames_of(session.current, label) == list(range(LAST + 1, N_FRAMES)), tool.status.text
        assert overlap(session.current[LAST + 1] == label, daughter, LAST + 1) > 0.5

    # Commit: ids and lineage; undo and redo of it.
    key(viewer, "c")
    assert session.tracks.lineage.tracks == FAMILY and not session.has_current and not len(session.prompts.drawn)
    assert wait_until(lambda: tool.layers.tracks.graph == {2: [1], 3: [1]})
    assert tool.layers.tracks.visible and len(tool.layers.tracks.data) == 2 * N_FRAMES - LAST - 1
    key(viewer, "ctrl+z")
    assert not len(session.tracks.lineage) and session.has_current
    assert wait_until(lambda: not tool.layers.tracks.visible)
    key(viewer, "ctrl+shift+z")
    assert session.tracks.lineage.tracks == FAMILY

    # Another object: the next click needs nothing before it, ids go on.
    go_to(tool, 0)
    click(tool, place_of(OTHER, 0))
    wait_idle(tool)
    key(viewer, "v")
    wait_idle(tool)
    key(viewer, "c")
    assert session.tracks.lineage.tracks[:3] == FAMILY and session.tracks.lineage[4].parent is None
    committed, lineage = session.committed.copy(), session.tracks.lineage

    # Save, close, start again with the result and the embeddings: nothing is computed, nothing is lost.
    tool.actions.save(result)
    assert (result / "res_track.txt").read_text().splitlines()[1] == f"2 {LAST + 1} {N_FRAMES - 1} 1"
    assert not tool.saving.must_ask
    driver.close(viewer)
    assert len(encoder_calls) == N_FRAMES
    tool = opened(annotator_tracking, movie, model_type="nano_lm", embedding_path=cache, tracking_result=result)
    session = tool.session
    assert np.array_equal(session.committed, committed) and session.tracks.lineage == lineage
    assert tool.layers.tracks.visible and tool.layers.tracks.graph == {2: [1], 3: [1]}
    assert not tool.saving.must_ask and not session.history.can_undo
    assert wait_until(lambda: session.model.embeddings is not None and not tool.engine.busy), tool.status.text
    assert len(encoder_calls) == N_FRAMES

    # And it goes on: a new track gets the next id, and the old ones stay.
    click(tool, place_of(3, 0))
    wait_idle(tool)
    key(tool.viewer, "c")
    assert session.tracks.lineage[5] == Track(5, 0, 0) and session.tracks.lineage.tracks[:4] == lineage.tracks
    tool.saving.unsaved = False


@pytest.mark.slow
def test_a_division_of_h2b_nuclei_is_followed(opened, shared_data, tmp_path):
    folder = shared_data / "track_h2b_mitocheck"
    rows = np.loadtxt(folder / "01_GT" / "TRA" / "man_track.txt", dtype=int)
    mother, daughters = next(
        (row, rows[rows[:, 3] == row[0]]) for row in rows if (rows[:, 3] == row[0]).sum() == 2 and row[2] > row[1]
    )
    begin, end = max(mother[1], mother[2] - 4), min(daughters[:, 2].min(), mother[2] + 5)
    images = [tifffile.imread(folder / "01" / f"t{t:03d}.tif") for t in range(begin, end + 1)]
    truth = [tifffile.imread(folder / "01_GT" / "TRA" / f"man_track{t:03d}.tif") for t in range(begin, end + 1)]

    def place(label: int, t: int) -> tuple[int, int, int]:
        return t, *(int(v) for v in np.median(np.argwhere(truth[t] == label), axis=0))

    tool = opened(annotator_tracking, np.stack(images), model_type="nano_lm")
    assert wait_until(lambda: tool.session.model.embeddings is not None and not tool.engine.busy), tool.status.text
    division = int(mother[2] - begin)
    click(tool, place(mother[0], 0))
    go_to(tool, division)
    key(tool.viewer, "d")
    click(tool, place(mother[0], division))
    go_to(tool, division + 1)
    click(tool, place(daughters[0][0], division + 1))
    key(tool.viewer, "e")
    click(tool, place(daughters[1][0], division + 1))
    wait_idle(tool)
    key(tool.viewer, "v")
    wait_idle(tool, 120)
    key(tool.viewer, "c")
    assert tool.session.tracks.lineage.divisions == (1,) and tool.session.tracks.lineage.daughters(1) == (2, 3)
    found = [(tool.session.committed[division + 1] == i) for i in (2, 3)]
    for mask, daughter in zip(found, daughters[:, 0], strict=True):
        wanted = truth[division + 1] == daughter
        assert (mask & wanted).sum() / (mask | wanted).sum() > 0.4
    tool.actions.save(tmp_path / "h2b_RES")
    tool.saving.unsaved = False
