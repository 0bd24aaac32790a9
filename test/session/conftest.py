"""A segmentation without a network: discs around points, filled boxes."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from micro_sam.embeddings.tiles import TileGrid
from micro_sam.segmentation.values import ObjectMask

SHAPE = (50, 70)  # not square, so that swapped axes show


class FakeEmbeddings:
    """Knows which slices are complete, and nothing else."""

    def __init__(self, shape):
        self.shape = shape
        self.n_slices = shape[0] if len(shape) == 3 else None
        self.grid = TileGrid(shape[-2:])
        self.image = None
        self.missing = set()

    def is_complete(self, i=None, tile=None):
        return i not in self.missing

    def is_skipped(self, i, tile):
        return False


class FakePredictor:
    model_name, model_hash = "fake", "abc"


def disc(shape, centre, radius=6):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


def fake_segment_objects(predictor, prompts, embeddings, i=None, *, batched=False, previous=None):
    shape = embeddings.shape[-2:]
    if len(prompts.boxes):
        masks = []
        for y0, x0, y1, x1 in prompts.boxes.astype(int):
            mask = np.zeros(shape, bool)
            mask[y0 : y1 + 1, x0 : x1 + 1] = True
            masks.append(mask)
    elif batched:
        masks = [disc(shape, point) for point in prompts.positive]
    else:
        masks = [np.any([disc(shape, point) for point in prompts.positive], axis=0)]
    for point in prompts.negative:
        masks = [mask & ~disc(shape, point, 3) for mask in masks]
    return [ObjectMask.from_array(mask, score=0.9, logits=np.zeros((8, 8), np.float32)) for mask in masks]


@pytest.fixture
def fake_network(monkeypatch):
    """Replace the prompted segmentation; calls are counted in the list that is returned."""
    calls = []

    def segment_objects(*args, **kwargs):
        calls.append((args, kwargs))
        return fake_segment_objects(*args, **kwargs)

    module = types.ModuleType("micro_sam.segmentation.prompted.segment")
    module.segment_objects = segment_objects
    monkeypatch.setitem(sys.modules, "micro_sam.segmentation.prompted.segment", module)
    import micro_sam.segmentation.prompted as package

    monkeypatch.setattr(package, "segment", module, raising=False)
    return calls


@pytest.fixture
def runs(monkeypatch, fake_network):
    """A propagation that copies the nearest known mask to every slice within 6 slices of it."""
    calls = []

    def iter_propagate_volume(predictor, embeddings, masks, *, stops=(), z_range=None, **options):
        calls.append({"masks": dict(masks), "stops": tuple(stops), "z_range": z_range, **options})
        for z in sorted(masks):
            yield SliceStep(z, masks[z], masks[z].score, 1.0, "prompt")
        lower, upper = z_range
        lower = max([lower, *(s + 1 for s in stops if s < min(masks))])
        upper = min([upper, *(s - 1 for s in stops if s > max(masks))])
        for z in range(lower, upper + 1):
            nearest = min(masks, key=lambda known: abs(known - z))
            if z not in masks and abs(nearest - z) <= 6:
                mask = masks[nearest]
                yield SliceStep(
                    z, ObjectMask(mask.box, mask.mask, 0.9 - 0.05 * abs(nearest - z)), 0.9, 0.8, "propagated"
                )

    import micro_sam.segmentation.propagation.volume as module
    from micro_sam.segmentation.propagation.volume import SliceStep

    monkeypatch.setattr(module, "iter_propagate_volume", iter_propagate_volume)
    return calls


def attach_fake(session):
    session.model.attach(FakePredictor(), FakeEmbeddings(session.shape))
    return session


def snapshot(session):
    """All that undo must restore, as plain data that compares."""
    state = session.state
    masks = {
        z: [(m.box, m.mask.tobytes(), m.score) for m in answer.masks] + [answer.labels, answer.drawn]
        for z, answer in state.answers.items()
    }
    return {
        "labels": {name: array.tobytes() for name, array in state.labels.items()},
        "prompts": state.prompts,
        "objects": dict(state.objects),
        "last_id": state.last_id,
        "auto_in_pieces": state.auto_in_pieces,
        "region_of_interest": state.region_of_interest,
        "regions": dict(state.regions),
        "answers": masks,
        "confidence": dict(state.confidence),
        "painted": dict(state.painted),
        "anchors": state.anchors,
        "reopened": state.reopened.id if state.reopened else None,
        "tracks": dict(state.tracks),
        "current_tracks": dict(state.current_tracks),
        "classes": state.classes,
        "current_class": state.current_class,
    }


def check_invariants(session):
    """What must be true after every act."""
    state = session.state
    current = session.current.reshape(-1, *session.shape[-2:])
    for z, plane in enumerate(current):
        region = state.regions.get(z)
        outside = plane.copy()
        if region is not None:
            outside[region[0] : region[2], region[1] : region[3]] = 0
        assert not outside.any(), f"pixels of current outside the known region of slice {z}"
    values, counts = np.unique(session.committed, return_counts=True)
    areas = {int(v): int(n) for v, n in zip(values, counts, strict=True) if v}
    assert areas == {i: record.area for i, record in state.objects.items()}
    stack = session.committed.reshape(-1, *session.shape[-2:])
    for i, record in state.objects.items():
        inside = stack[slice(*record.slices), record.box[0] : record.box[2], record.box[1] : record.box[3]]
        assert int((inside == i).sum()) == record.area
        assert record.id == i
    assert state.last_id >= max(state.objects, default=0)


@pytest.fixture
def session(fake_network):
    from micro_sam.session.session import Session

    session = attach_fake(Session(SHAPE))
    session.heard, session.regions = [], []
    session.events.message.connect(session.heard.append)
    session.events.labels_changed.connect(lambda name, region: session.regions.append((name, region)))
    return session


def commit_disc(session, y, x):
    session.prompts.add_point((y, x))
    session.segment.slice()
    return session.objects.commit().ids[0]
