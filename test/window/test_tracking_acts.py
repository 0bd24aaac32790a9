"""What a person does in the tracking tool: prompts of tracks, corrections, lineages, formats."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from qtpy.QtCore import QPoint

from micro_sam.errors import InputError
from micro_sam.io.tracks import TrackRow, load_tracks
from micro_sam.sam_annotator.controller.files.opening import load_result
from micro_sam.sam_annotator.launch import check_tracks
from micro_sam.sam_annotator.runtime.jobs import WORK
from micro_sam.sam_annotator.state.images import from_array
from micro_sam.sam_annotator.view.layers.colours import track_colours
from micro_sam.segmentation.automatic import states
from micro_sam.segmentation.interpolation import shifted
from micro_sam.segmentation.propagation import tracking as propagation

from . import driver
from .driver import click, drag, key, wait_idle, wait_until
from .movies import (
    DAUGHTERS,
    LAST,
    MOTHER,
    N_FRAMES,
    OTHER,
    box_of,
    divide,
    frames_of,
    go_to,
    menu,
    overlap,
    place_of,
    press,
    small_movie,
)


@pytest.fixture
def slow_steps(monkeypatch):
    """Every step of a run waits until the test lets it go."""
    gate = threading.Semaphore(0)
    step = propagation.project_mask

    def slow(*args, **kwargs):
        gate.acquire(timeout=20)
        return step(*args, **kwargs)

    monkeypatch.setattr(propagation, "project_mask", slow)
    yield gate
    for _ in range(100):
        gate.release()


@pytest.fixture
def quick_steps(monkeypatch):
    """From frame to frame the object is where the motion model expects it; the network is not asked."""

    def project_mask(predictor, embeddings, t, mask, mode, shift=(0.0, 0.0), box_extension=0.0):
        return shifted(mask, shift, embeddings.grid.shape), 0.9

    monkeypatch.setattr(propagation, "project_mask", project_mask)


@pytest.fixture
def with_truth(tool_tracking):
    """The tool with the true tracks committed: 1 divides into 5 and 6; 2, 3 and 4 are alone."""
    tool = tool_tracking
    tool.session.objects.load(small_movie()[1], {MOTHER: list(DAUGHTERS)})
    tool.session.history.clear()
    tool.saving.follow(tool.session)  # as if it had been loaded
    driver.process(0.2)
    return tool


# ---------------------------------------------------------------------- prompts


def test_prompts_show_their_track_and_state(tool_tracking):
    tool = tool_tracking
    divide(tool)
    layer, ids = tool.layers.points.layer, [1, 1, 2, 3]
    assert [str(symbol) for symbol in layer.symbol] == ["disc", "star", "disc", "disc"]
    assert list(layer.text.values) == [str(i) for i in ids]
    first = tool.session.objects.next_id  # in the colour of the track that it becomes
    assert np.allclose(layer.border_color, track_colours([first + i - 1 for i in ids]))
    assert np.allclose(track_colours([first]), tool.layers.labels["current"].layer.get_color(1))
    assert menu(tool).track_id.choices == (1, 2, 3)
    assert menu(tool).track_id.native.itemText(1) == "2: daughter of 1, from frame 4"
    assert menu(tool).track_state.value == "track" and menu(tool).track_id.value == 3
    menu(tool).track_id.value = 1
    assert tool.session.tracks.active == 1 and tool.state.z == LAST  # the mother has no later frame


def test_a_prompt_after_the_end_of_its_track_is_refused_with_a_sentence(tool_tracking):
    tool = tool_tracking
    divide(tool)
    menu(tool).track_id.value = 1
    go_to(tool, LAST + 2)
    click(tool, place_of(DAUGHTERS[0], LAST + 2))
    assert "Track 1 has ended" in tool.status.text and tool.status.kind == "error"
    assert len(tool.session.prompts.drawn.points) == 4 == len(tool.layers.points.layer.data)


def test_boxes_mark_divisions_and_begin_tracks(tool_tracking):
    tool = tool_tracking
    go_to(tool, LAST)
    press(tool, tool.dock.panels.prompts.tools["box"])
    key(tool.viewer, "d")
    drag(tool, *box_of(MOTHER, LAST))
    wait_idle(tool)
    assert [shape.state for shape in tool.session.prompts.drawn.shapes] == ["division"]
    assert tool.session.tracks.current[2].parent == 1 and tool.session.tracks.current[3].parent == 1
    go_to(tool, LAST + 1)
    drag(tool, *box_of(DAUGHTERS[0], LAST + 1))
    key(tool.viewer, "e")
    drag(tool, *box_of(DAUGHTERS[1], LAST + 1))
    key(tool.viewer, "n")
    drag(tool, *box_of(OTHER, LAST + 1))
    wait_idle(tool)
    assert [shape.track_id for shape in tool.session.prompts.drawn.shapes] == [1, 2, 3, 4]
    assert set(np.unique(tool.session.current[LAST + 1])) == {0, 2, 3, 4}
    assert tool.session.tracks.current[4].parent is None


# ---------------------------------------------------------------------- runs


def test_a_track_is_shown_while_it_grows_and_cancel_keeps_it(tool_tracking, slow_steps):
    tool = tool_tracking
    click(tool, place_of(OTHER, 0))
    wait_idle(tool)
    press(tool, menu(tool).run.native)
    assert tool.jobs.running(WORK) is not None
    for reached in (1, 2):
        slow_steps.release()
        assert wait_until(lambda t=reached: frames_of(tool.session.current, 1) == list(range(t + 1)))
        assert wait_until(lambda t=reached: tool.state.z == t)  # the view goes along
    driver.press(tool.dock.status.cancel)
    slow_steps.release()
    wait_idle(tool)
    assert "Cancelled" in tool.status.text
    assert frames_of(tool.session.current, 1) in ([0, 1, 2], [0, 1, 2, 3])
    key(tool.viewer, "ctrl+z")
    assert frames_of(tool.session.current, 1) == [0]


def test_it_says_why_and_where_a_track_stopped_and_stays_there(tool_tracking, monkeypatch):
    tool = tool_tracking
    step = propagation.project_mask

    def loses_it(predictor, embeddings, t, mask, *args, **kwargs):
        found, overlap = step(predictor, embeddings, t, mask, *args, **kwargs)
        return found, (0.1 if t == 4 else overlap)

    monkeypatch.setattr(propagation, "project_mask", loses_it)
    monkeypatch.setattr(propagation, "search_nearby", lambda predictor, embeddings, t, mask, *args: (mask, 0.0))
    click(tool, place_of(OTHER, 0))
    wait_idle(tool)
    key(tool.viewer, "v")
    wait_idle(tool)
    assert "Stopped at frame 4: the overlap with the expected mask is 0.10" in tool.status.text
    assert frames_of(tool.session.current, 1) == [0, 1, 2, 3] and tool.state.z == 3


def test_after_a_correction_only_what_follows_is_tracked_again(tool_tracking, quick_steps):
    tool = tool_tracking
    click(tool, place_of(OTHER, 0))
    wait_idle(tool)
    key(tool.viewer, "v")
    wait_idle(tool)
    before = tool.session.current.copy()
    go_to(tool, 5)
    click(tool, place_of(3, 5))  # it was another nucleus all the time
    wait_idle(tool)
    key(tool.viewer, "ctrl+z")
    press(tool, tool.dock.panels.prompts.tools["box"])
    drag(tool, *box_of(3, 5))
    wait_idle(tool)
    seen = []
    tool.propagation.stepped.connect(lambda step: seen.append(step.z))
    key(tool.viewer, "v")
    wait_idle(tool)
    assert np.array_equal(tool.session.current[:5], before[:5])
    assert min(t for t in seen if t >= 0) == 5 and tool.session.current[place_of(3, 5)] == 1
    key(tool.viewer, "ctrl+z")
    key(tool.viewer, "ctrl+z")
    assert np.array_equal(tool.session.current, before)


def test_a_track_is_followed_backward_too_when_the_person_says_so(tool_tracking):
    tool, start = tool_tracking, 6
    go_to(tool, start)
    click(tool, place_of(OTHER, start))
    wait_idle(tool)
    key(tool.viewer, "v")
    wait_idle(tool)
    forward = tool.session.current.copy()
    assert frames_of(forward, 1) == list(range(start, N_FRAMES)), tool.status.text
    menu(tool).parameters.expand(animate=False)
    press(tool, menu(tool).backward.native, QPoint(8, menu(tool).backward.native.height() // 2))
    assert tool.state.options.backward
    seen = []
    tool.propagation.stepped.connect(lambda step: seen.append(step.z))
    go_to(tool, start)
    key(tool.viewer, "v")
    wait_idle(tool)
    assert frames_of(tool.session.current, 1) == list(range(N_FRAMES)), tool.status.text
    backward = [t for t in seen if 0 <= t < start]
    assert backward == sorted(backward, reverse=True), "it runs from the click toward the first frame"
    right = [overlap(tool.session.current[t] == 1, OTHER, t) > 0.5 for t in range(start)]
    assert all(right), "it is the same nucleus all the way back"
    key(tool.viewer, "ctrl+z")
    assert np.array_equal(tool.session.current, forward), "one step of undo"
    key(tool.viewer, "ctrl+shift+z")
    key(tool.viewer, "c")
    (track,) = tool.session.tracks.lineage.tracks
    assert track.frames == range(N_FRAMES)


# ---------------------------------------------------------------------- without clicks


def test_all_objects_are_segmented_and_linked_with_one_click(tool_tracking):
    tool, truth = tool_tracking, small_movie()[1]
    press(tool, menu(tool).all_frames.native)
    wait_idle(tool, 120)
    assert tool.state.source == "auto" and "in auto_segmentation. Commit them with C" in tool.status.text
    tool.actions.use_tool("point")
    key(tool.viewer, "c")
    session = tool.session
    for nucleus, frames in ((OTHER, range(N_FRAMES)), (MOTHER, range(LAST + 1))):
        found = np.bincount(session.committed[0][truth[0] == nucleus])
        found[0] = 0
        track = session.tracks.lineage[int(found.argmax())]
        assert track.frames == frames
        assert len(session.tracks.lineage.daughters(track.id)) == (2 if nucleus == MOTHER else 0)
    key(tool.viewer, "ctrl+z")
    key(tool.viewer, "ctrl+z")
    assert not session.auto.any() and not len(session.tracks.lineage), "all frames are one step of undo"


@pytest.fixture
def third_frame(monkeypatch):
    """The third frame waits until this event is set: a hand is slower than the frames of this small movie."""
    event, real = threading.Event(), states.iter_initialize_kept

    def waiting(segmenter, embeddings, t):
        if t == 2:
            event.wait(60)
        yield from real(segmenter, embeddings, t)

    monkeypatch.setattr(states, "iter_initialize_kept", waiting)
    yield event
    event.set()


def test_segmenting_all_frames_is_cancelled_and_says_when_nothing_is_found(tool_tracking, third_frame):
    tool = tool_tracking
    press(tool, menu(tool).all_frames.native)
    driver.press(tool.dock.status.cancel)
    third_frame.set()
    wait_idle(tool, 120)
    assert "Cancelled" in tool.status.text and not tool.session.auto.any()
    values = dict(tool.automatic.values)
    try:
        tool.automatic.values["min_size"] = 100_000
        tool.actions.segment_and_track_all()
        wait_idle(tool, 120)
        assert "No object passes the thresholds in any frame" in tool.status.text
    finally:
        tool.automatic.values.update(values)
    assert tool.state.source == "current"


# ---------------------------------------------------------------------- committed tracks


def test_lineages_are_edited_by_choosing_tracks_and_every_act_is_undone(with_truth):
    tool = with_truth
    session, lineage = tool.session, tool.session.tracks.lineage
    acts = tool.dock.panels.objects.panel
    view = acts.view
    assert wait_until(lambda: view.lineage == lineage and view.isVisible())
    go_to(tool, 6)
    press(tool, view, view.bar(OTHER).center().toPoint())
    assert tool.state.selected == (OTHER,) and tool.state.z in session.tracks.lineage[OTHER].frames
    go_to(tool, 4)
    press(tool, acts.split.native)
    (new,) = {track.id for track in session.tracks.lineage.tracks} - {track.id for track in lineage.tracks}
    assert session.tracks.lineage[OTHER].end == 3
    assert session.tracks.lineage[new].start == 4 and session.tracks.lineage[new].parent is None
    assert tool.state.selected == (OTHER, new)
    press(tool, acts.link.native)
    assert session.tracks.lineage[new].parent == OTHER
    tool.actions.select((new,))
    press(tool, acts.unlink.native)
    assert session.tracks.lineage[new].parent is None
    tool.actions.select((OTHER, new))
    press(tool, acts.objects.merge.native)
    assert session.tracks.lineage[OTHER].end == N_FRAMES - 1 and new not in session.tracks.lineage
    tool.actions.select((DAUGHTERS[1],))
    press(tool, acts.objects.delete.native)
    assert session.tracks.lineage.daughters(MOTHER) == (DAUGHTERS[0],)
    assert wait_until(lambda: view.lineage == session.tracks.lineage)
    assert wait_until(lambda: tool.layers.tracks.graph == {DAUGHTERS[0]: [MOTHER]})
    for _ in range(5):
        key(tool.viewer, "ctrl+z")
    assert session.tracks.lineage == lineage and np.array_equal(session.committed, small_movie()[1])
    assert wait_until(lambda: len(tool.layers.tracks.graph) == 2)


def test_a_mother_that_goes_on_is_divided_by_a_link(with_truth):
    tool = with_truth
    tool.session.tracks.relink(DAUGHTERS[0], None)
    tool.session.tracks.relink(DAUGHTERS[1], None)
    tool.actions.select((OTHER, DAUGHTERS[1]))
    tool.actions.link_selected()
    assert tool.session.tracks.lineage[OTHER].end == LAST
    assert len(tool.session.tracks.lineage.daughters(OTHER)) == 2
    tool.actions.select((OTHER, 3))
    tool.actions.link_selected()
    assert "both begin in frame 0" in tool.status.text


def test_a_committed_track_opens_again_and_keeps_its_id_and_family(with_truth):
    tool = with_truth
    lineage = tool.session.tracks.lineage
    go_to(tool, 5)
    press(tool, menu(tool).corrections.correct)
    click(tool, place_of(DAUGHTERS[0], 5))
    assert tool.session.objects.reopened == DAUGHTERS[0] and "is open again" in tool.status.text
    assert frames_of(tool.session.current, 1) == list(range(LAST + 1, N_FRAMES))
    t, y, x = place_of(DAUGHTERS[0], 5)
    click(tool, (t, y + 2, x - 2))
    wait_idle(tool)
    key(tool.viewer, "c")
    assert tool.session.tracks.lineage == lineage, tool.status.text


def test_a_segmentation_of_every_frame_becomes_tracks(tool_tracking):
    tool, truth = tool_tracking, small_movie()[1]
    rng, labels = np.random.default_rng(0), np.zeros_like(small_movie()[1])
    for t, plane in enumerate(truth):  # another program numbers each frame anew
        names = np.concatenate([[0], rng.permutation(np.arange(1, truth.max() + 1))])
        labels[t] = names[plane]
    tool.actions.link_segmentation()
    assert "fewer than two frames" in tool.status.text
    layer = tool.viewer.add_labels(labels, name="from elsewhere")
    try:
        menu(tool).segmentation.value = layer
        driver.process(0.1)
        menu(tool).link.native.click()
        wait_idle(tool)
        assert tool.state.source == "auto", tool.status.text
        tool.actions.use_tool("point")
        key(tool.viewer, "c")
    finally:
        tool.viewer.layers.remove(layer)
    lineage = tool.session.tracks.lineage
    assert len(lineage) == 6 and len(lineage.divisions) == 1
    (mother,) = lineage.divisions
    assert (tool.session.committed == mother).sum() == (truth == MOTHER).sum()


def test_a_deleted_tracks_layer_is_made_again(with_truth):
    tool = with_truth
    data = tool.layers.tracks.data.copy()
    tool.viewer.layers.remove("tracks")
    assert wait_until(lambda: "tracks" in tool.viewer.layers)
    assert np.array_equal(tool.layers.tracks.data, data) and tool.layers.tracks.visible
    assert [layer.name for layer in tool.viewer.layers][-3:] == ["tracks", "box_prompts", "prompts"]
    assert "was made again" in tool.status.text


# ---------------------------------------------------------------------- saving and loading


@pytest.mark.parametrize("name", ["out_RES", "out.geff", "out.xml", "out.csv"])
def test_every_format_keeps_masks_and_lineage(with_truth, tmp_path, name):
    tool = with_truth
    tool.session.tracks.relink(DAUGHTERS[0], None)  # the lineage alone is worth saving, too
    assert tool.saving.unsaved
    tool.actions.save(tmp_path / name)
    assert not tool.saving.unsaved and "6 tracks with 0 divisions saved" in tool.status.text
    tracks = load_tracks(tmp_path / name, shape=small_movie()[0].shape)
    assert np.array_equal(tracks.labels, small_movie()[1])
    assert TrackRow(DAUGHTERS[1], LAST + 1, N_FRAMES - 1, MOTHER) in tracks.rows
    image = from_array(small_movie()[0], "tracking")
    fresh = tool.state.tool.make_session(image.shape)
    load_result(fresh, check_tracks(tmp_path / name, None, image))
    assert fresh.tracks.lineage == tool.session.tracks.lineage and np.array_equal(
        fresh.committed, tool.session.committed
    )
    tool.actions.save()  # once more into the same place
    assert tool.status.kind == "good"


def test_a_folder_with_other_files_is_never_replaced(with_truth, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with_truth.actions.save(tmp_path)
    assert "thesis.txt" in with_truth.status.text and with_truth.status.kind == "error"
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_tracks_without_masks_and_of_another_movie_are_refused(tmp_path):
    movie, labels = small_movie()
    image = from_array(movie, "tracking")
    with pytest.raises(InputError, match="frames"):
        check_tracks(labels[:-1], None, image)
    table = tmp_path / "tracks.csv"
    table.write_text("track_id,t,y,x\n1,0,5,5\n1,1,6,6\n")
    with pytest.raises(InputError, match="positions only"):
        check_tracks(table, None, image)
    with pytest.raises(InputError, match="needs the movie"):
        check_tracks(labels, None, None)


def test_unsaved_tracks_survive_a_window_that_is_closed_by_a_program(with_truth, tmp_path):
    tool = with_truth
    go_to(tool, 0)
    tool.session.objects.delete([OTHER])
    click(tool, place_of(OTHER, 0))
    wait_idle(tool)
    assert tool.saving.must_ask
    path = tool.saving.keep_copy(tmp_path, "movie")
    tracks = load_tracks(path)
    assert TrackRow(DAUGHTERS[0], LAST + 1, N_FRAMES - 1, MOTHER) in tracks.rows
    assert any((row.start, row.end, row.parent) == (0, 0, 0) for row in tracks.rows)  # it was not even committed
