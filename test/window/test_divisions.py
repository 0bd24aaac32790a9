"""A track that is followed stops where its object becomes two, and the division is offered."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import torch

from micro_sam.models.sam import Sam
from micro_sam.sam_annotator import annotator_tracking

from . import driver
from .driver import click, key, wait_idle, wait_until
from .movies import DAUGHTERS, LAST, MOTHER, N_FRAMES, OTHER, frames_of, go_to, menu, overlap, place_of, small_movie


def follow(tool, label: int = MOTHER) -> None:
    click(tool, place_of(label, 0))
    wait_idle(tool)
    key(tool.viewer, "v")
    wait_idle(tool)


def test_the_division_is_offered_and_one_click_follows_both_daughters(tool_tracking):
    tool = tool_tracking
    panel = tool.dock.panels.division
    assert not panel.isVisible()
    follow(tool)
    assert frames_of(tool.session.current, 1) == list(range(LAST + 1)), tool.status.text
    assert f"divide after frame {LAST}" in tool.status.text
    assert panel.isVisible() and f"Track 1 seems to divide after frame {LAST}" in panel.text.text()
    assert tool.state.z == LAST + 1, "the frame with both daughters is in view"
    outlines = next(one for one in tool.dock._overlays if type(one).__name__ == "DivisionOutline")
    assert outlines.isVisible() and len(outlines.edges)
    assert tool.dock.main_button.main() is panel.divide.native
    driver.press(panel.divide.native)
    wait_idle(tool)
    assert not panel.isVisible() and not outlines.isVisible()
    assert [(p.track_id, p.state) for p in tool.session.prompts.drawn.points] == [
        *[(1, "track"), (1, "division"), (2, "track"), (3, "track")]
    ]
    session = tool.session
    assert frames_of(session.current, 1) == list(range(LAST + 1)), tool.status.text
    shown = {}
    for label in (2, 3):
        assert frames_of(session.current, label) == list(range(LAST + 1, N_FRAMES)), tool.status.text
        shown[label] = max(DAUGHTERS, key=lambda one: overlap(session.current[LAST + 1] == label, one, LAST + 1))
        assert overlap(session.current[LAST + 1] == label, shown[label], LAST + 1) > 0.5
    assert set(shown.values()) == set(DAUGHTERS)
    key(tool.viewer, "c")
    wait_idle(tool)
    (mother,) = session.tracks.lineage.divisions  # numbers go on from those of earlier tests in this window
    assert session.tracks.lineage.daughters(mother) == (mother + 1, mother + 2)


def test_a_key_divides_and_undo_takes_it_back(tool_tracking):
    tool = tool_tracking
    follow(tool)
    before = tool.session.current.copy()
    key(tool.viewer, "shift+d")
    wait_idle(tool)
    assert frames_of(tool.session.current, 3), tool.status.text
    key(tool.viewer, "ctrl+z")
    key(tool.viewer, "ctrl+z")
    assert np.array_equal(tool.session.current, before) and len(tool.session.prompts.drawn.points) == 1
    assert not tool.dock.panels.division.isVisible(), "follow it again, and it is offered again"
    key(tool.viewer, "shift+d")
    assert "No division was found" in tool.status.text


def test_it_is_one_object_if_the_user_says_so(tool_tracking):
    tool = tool_tracking
    follow(tool)
    driver.press(tool.dock.panels.division.go_on.native)
    wait_idle(tool)
    point = tool.session.prompts.drawn.points[-1]
    assert (point.track_id, point.state, point.z) == (1, "track", LAST + 1)
    assert LAST + 1 in frames_of(tool.session.current, 1) and not tool.session.tracks.current[1].division


def test_what_was_offered_goes_with_the_track(tool_tracking):
    tool = tool_tracking
    follow(tool)
    assert tool.dock.panels.division.isVisible()
    key(tool.viewer, "shift+c")
    assert not tool.dock.panels.division.isVisible() and tool.session.tracks.current == {}
    go_to(tool, 0)
    follow(tool, OTHER)
    assert frames_of(tool.session.current, 1) == list(range(N_FRAMES)) and not tool.dock.panels.division.isVisible()


def test_tracks_go_on_where_divisions_are_switched_off(tool_tracking):
    tool = tool_tracking
    switch = menu(tool).form.widgets["divisions"]
    switch.value = False
    try:
        follow(tool)
        assert max(frames_of(tool.session.current, 1)) > LAST and not tool.dock.panels.division.isVisible()
    finally:
        switch.value = True


def test_a_model_without_maps_says_once_that_it_passes_divisions(opened, tmp_path):
    torch.manual_seed(0)
    checkpoint = tmp_path / "model.pth"
    torch.save(Sam.from_architecture("vit_t").state_dict(), checkpoint)
    movie = small_movie()[0][:3, :64, :64]
    tool = opened(annotator_tracking, movie, model_type=None, checkpoint_path=checkpoint)
    assert wait_until(lambda: tool.session.model.embeddings is not None and tool.session.model.embeddings.is_complete())
    wait_idle(tool)
    mask = np.zeros((1, 12, 12), np.uint32)
    mask[:] = 1
    tool.session.labels.paint("current", (slice(0, 1), slice(20, 32), slice(20, 32)), mask)
    texts: list[str] = []
    tool.status.changed.connect(lambda text, _: texts.append(text))
    for _ in range(2):
        key(tool.viewer, "v")
        wait_idle(tool)
        key(tool.viewer, "ctrl+z")
    said = [text for text in texts if "does not see divisions" in text]
    assert len(said) == 1 and "mark them with D" in said[0], texts
    tool.saving.unsaved = False


@pytest.mark.slow
def test_a_division_of_h2b_nuclei_is_offered(opened, shared_data):
    folder, mother = shared_data / "track_h2b_mitocheck", 2
    images = np.stack([tifffile.imread(folder / "01" / f"t{t:03d}.tif") for t in range(11)])
    truth = tifffile.imread(folder / "01_GT" / "TRA" / "man_track000.tif")
    tool = opened(annotator_tracking, images, model_type="nano_lm")
    assert wait_until(lambda: tool.session.model.embeddings is not None and not tool.engine.busy), tool.status.text
    click(tool, (0, *(int(v) for v in np.median(np.argwhere(truth == mother), axis=0))))
    wait_idle(tool)
    key(tool.viewer, "v")
    wait_idle(tool)
    assert tool.dock.panels.division.isVisible(), tool.status.text
    driver.press(tool.dock.panels.division.divide.native)
    wait_idle(tool)
    assert [frames_of(tool.session.current, label)[0] for label in (2, 3)] in ([7, 7], [8, 8]), tool.status.text
    tool.saving.unsaved = False
