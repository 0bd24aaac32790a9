"""Images too large to be drawn or held as a whole: drawn in parts, labels in sparse files; all tools work on them."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from napari.layers import Labels

from micro_sam.io.label_arrays import is_on_disc
from micro_sam.sam_annotator import annotator_2d

from .driver import click, drag, key, process, wait_idle, wait_until
from .test_tiles import discs, look_at

PLACE, OTHER = (700, 900), (120, 130)


@pytest.fixture
def large(monkeypatch):
    """Planes of more than 100 x 100 pixels count as large, and no labels stay in memory."""
    monkeypatch.setattr("micro_sam.sam_annotator.view.layers.large_labels.LARGEST_PLANE", 10_000)
    monkeypatch.setattr("micro_sam.sam_annotator.controller.pictures.BLOCK", 256)
    monkeypatch.setattr("micro_sam.io.label_arrays.LARGEST_IN_MEMORY", 1000)


def test_a_large_plane_on_disc_is_clicked_painted_and_corrected_as_any_other(opened, large, tmp_path):
    image = discs(PLACE, OTHER, shape=(800, 1030))
    zarr.create_array(str(tmp_path / "one.zarr"), data=image, chunks=(128, 128), zarr_format=2)
    tool = opened(annotator_2d, tmp_path / "one.zarr", model_type="nano_lm")
    viewer, session, raw = tool.viewer, tool.session, tool.layers.raw
    assert (
        raw.multiscale and [level.shape for level in raw.data] == [(800, 1030), (200, 258), (50, 65)][: len(raw.data)]
    )
    assert all(is_on_disc(array) for array in (session.current, session.committed, session.auto))
    layers = {name: tool.layers.labels[name].layer for name in ("current", "committed", "auto")}
    assert all(isinstance(layer, Labels) and layer.multiscale and layer.editable for layer in layers.values())
    assert wait_until(lambda: tool.jobs.running("overview") is None)
    overview = np.asarray(raw.data[1])
    assert overview[175, 225] > 150 and overview[0, 0] < 60, "the overview has been read"

    assert wait_until(lambda: tool.engine.predictor is not None and not tool.engine.busy), tool.status.text
    look_at(tool, PLACE)
    click(tool, PLACE)
    assert wait_until(lambda: session.has_current), tool.status.text
    assert session.current[PLACE] and not session.current[OTHER]
    key(viewer, "c")
    assert wait_until(lambda: 1 in session.objects) and session.committed[PLACE] == 1
    key(viewer, "ctrl+z")
    assert not session.committed.any() and session.current[PLACE]
    key(viewer, "ctrl+shift+z")

    look_at(tool, OTHER)
    tool.actions.use_tool("paint")
    drag(tool, OTHER, (OTHER[0] + 20, OTHER[1] + 20))
    assert session.current[OTHER] and session.current[OTHER[0] + 20, OTHER[1] + 20]
    shown = layers["current"]
    assert shown._slice.image.raw.any(), "the stroke is drawn"
    key(viewer, "c")
    assert wait_until(lambda: len(session.objects) == 2), tool.status.text

    committed = layers["committed"]
    committed.paint_polygon([[300, 300], [300, 340], [330, 340], [330, 300]], 7)
    assert session.committed[310, 310] == 7 and 7 in session.objects, "painted by a script"
    committed.data[400:410, 400:410] = 8
    assert 8 in session.objects
    committed.data_setitem((np.array([500, 501]), np.array([500, 500])), 9)
    assert session.committed[500, 500] == session.committed[501, 500] == 9
    assert np.array_equal(np.asarray(committed.data), session.committed) and committed.data.shape == (800, 1030)
    committed.fill((310, 310), 11)
    process(0.1)
    assert session.committed[310, 310] == 11
    viewer.layers.selection.active = committed
    viewer.layers.save(str(tmp_path / "committed.tif"), selected=True)
    from tifffile import imread

    assert np.array_equal(imread(tmp_path / "committed.tif"), session.committed), "napari saves all of it"

    tool.actions.save(tmp_path / "objects.zarr")
    assert tool.saving.unsaved, "it is saved in a job"
    assert wait_until(lambda: not tool.saving.unsaved), tool.status.text
    assert np.array_equal(zarr.open_array(str(tmp_path / "objects.zarr")), session.committed)

    tool.actions.select([1, 8])
    tool.actions.delete_selected()
    assert not session.committed[PLACE] and not session.committed[405, 405] and session.committed[310, 310] == 11
    viewer.layers.remove(committed)
    process(0.2)
    again = tool.layers.labels["committed"].layer
    assert again is not committed and np.array_equal(np.asarray(again.data), session.committed)
    wait_idle(tool)
    tool.saving.unsaved = False
