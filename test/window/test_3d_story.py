"""The story of a first object in a volume, with real mouse and key events: click, extend, commit, correct."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from micro_sam.sam_annotator import annotator_3d

from . import driver
from .driver import click, drag, key, wait_idle, wait_until
from .volumes import FIRST, box_in, go_to, menu, middle_of, overlap, point_at, slices_of


def largest_piece(mask: np.ndarray) -> np.ndarray:
    pieces, _ = ndimage.label(mask)
    return pieces == np.bincount(pieces.ravel())[1:].argmax() + 1


def test_from_a_click_to_a_committed_object_and_its_correction(tool_3d):
    tool = tool_3d
    viewer, session = tool.viewer, tool.session
    names = {layer.name for layer in viewer.layers}
    assert names == {"raw", "prompts", "box_prompts", "current_object", "committed_objects", "auto_segmentation"}
    place = middle_of(FIRST)
    go_to(tool, place[0])
    menu(tool).method.value = "propagation"

    # A click is segmented at once, in the slice in view only.
    click(tool, place)
    wait_idle(tool)
    assert [point.z for point in session.prompts.drawn.points] == [place[0]]
    assert slices_of(tool) == [place[0]]

    # V extends it through the volume.
    key(viewer, "v")
    wait_idle(tool)
    assert overlap(session.current > 0, FIRST) > 0.5, tool.status.text
    grown = session.current.copy()
    strip = menu(tool).strip
    assert wait_until(lambda: set(strip.state.confidence) == set(slices_of(tool)))
    assert strip.state.prompted == {place[0]}

    # The run is one step of undo.
    key(viewer, "ctrl+z")
    assert slices_of(tool) == [place[0]]
    key(viewer, "ctrl+shift+z")
    assert np.array_equal(session.current, grown)

    # W goes to the slice that is worth a look.
    weakest = session.propagation.weakest_slice()
    key(viewer, "w")
    assert tool.state.z == weakest and f"Slice {weakest}" in tool.status.text

    # Commit, undo, redo.
    key(viewer, "c")
    grown = largest_piece(grown > 0)  # crumbs that nobody asked for are left out, and that is said
    assert np.array_equal(session.committed > 0, grown) and not session.has_current
    key(viewer, "ctrl+z")
    assert session.has_current and not session.committed.any()
    key(viewer, "ctrl+shift+z")
    (committed_id,) = session.objects

    # O opens the object under the mouse again, with its prompt.
    go_to(tool, place[0])
    point_at(tool, place)
    key(viewer, "o")
    assert session.objects.reopened == committed_id, tool.status.text
    assert len(session.prompts.drawn.points) == 1 and not session.committed.any()

    # A correction in another slice: what lies on the other side of the first prompt stays as it was.
    z = place[0] + 2
    go_to(tool, z)
    driver.press(tool.dock.panels.prompts.tools["box"])
    drag(tool, *box_in(FIRST, z))
    wait_idle(tool)
    assert session.prompts.drawn.slices == (place[0], z)
    key(viewer, "v")
    wait_idle(tool)
    assert np.array_equal(session.current[: place[0]], grown[: place[0]])
    assert overlap(session.current > 0, FIRST) > 0.5, tool.status.text
    key(viewer, "c")
    assert set(session.objects) == {committed_id}
    assert len(session.objects[committed_id].prompts) == 2


@pytest.mark.slow
def test_nuclei_of_a_real_stack_are_extended_and_committed(opened, shared_data):
    folder = shared_data / "nuclei3d_stardist"
    image, truth = (tifffile.imread(folder / f"stardist_{kind}.tif") for kind in ("image", "labels"))
    tool = opened(annotator_3d, image, model_type="nano_lm")
    assert wait_until(lambda: tool.session.model.embeddings is not None and not tool.engine.busy, 300), tool.status.text
    menu(tool).method.value = "propagation"
    menu(tool).iou_threshold.value = 0.6  # low, since the person says where each nucleus ends
    sizes = np.bincount(truth.ravel())[1:]
    chosen = (np.argsort(-sizes)[:3] + 1).tolist()
    for value in chosen:
        slices = np.flatnonzero((truth == value).any((1, 2)))
        z = int(slices[len(slices) // 2])
        go_to(tool, z)
        y, x = (int(v) for v in np.median(np.argwhere(truth[z] == value), axis=0))
        click(tool, (z, y, x))
        for stop in (slices[0] - 1, slices[-1] + 1):
            if 0 <= stop < len(image):
                go_to(tool, int(stop))
                key(tool.viewer, "t")
                click(tool, (int(stop), y, x))
                key(tool.viewer, "t")
        wait_idle(tool)
        key(tool.viewer, "v")
        wait_idle(tool, 120)
        assert set(slices_of(tool)) <= set(slices.tolist()), "a single negative point ends it"
        key(tool.viewer, "c")
    session = tool.session
    assert sorted(session.objects) == [1, 2, 3], tool.status.text
    overlaps = []
    for number, value in enumerate(chosen, 1):
        mask, wanted = session.committed == number, truth == value
        overlaps.append((mask & wanted).sum() / (mask | wanted).sum())
    assert np.mean(overlaps) > 0.3, overlaps
    tool.saving.unsaved = False
