"""The session with the shipped model, on a real image and on volumes and movies with known truth."""

import numpy as np
import pytest
from skimage import data

from micro_sam.sample_data.synthetic import dividing_cells, nuclei_volume
from micro_sam.segmentation.volume.scripts import maps_of, segment_object_in_volume
from micro_sam.session.session import Session, TrackingSession, VolumeSession
from micro_sam.util import get_sam_model, precompute_image_embeddings


@pytest.fixture(scope="module")
def predictor():
    return get_sam_model("nano_lm", device="cpu")


def iou(a, b):
    return (a & b).sum() / max((a | b).sum(), 1)


def attached(session, predictor, image, ndim):
    session.model.attach(predictor, precompute_image_embeddings(predictor, image, ndim=ndim, verbose=False))
    return session


def centre(mask):
    """The pixel of a mask that lies deepest inside."""
    from scipy.ndimage import distance_transform_edt

    return np.unravel_index(distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1].argmax(), mask.shape)


def test_two_coins_by_click_and_box_are_two_objects(predictor):
    image = data.coins()
    session = attached(Session(image.shape), predictor, image, 2)
    session.prompts.add_shape("rectangle", [(42, 80), (97, 140)])
    session.segment.slice()
    session.objects.commit()
    session.prompts.add_point((65, 50))
    session.segment.slice()
    report = session.objects.commit()
    assert report.ids == (2,) and set(session.objects) == {1, 2}
    assert 700 < session.objects[2].area < 6000 and session.committed[70, 110] == 1
    assert session.objects[2].model_name == "nano_lm" and len(session.objects[2].model_hash) > 8


@pytest.mark.slow
def test_a_nucleus_is_followed_through_a_volume_and_corrected(predictor):
    image, labels = nuclei_volume(shape=(7, 96, 96), n_objects=2, radius=11, seed=1)
    session = attached(VolumeSession(image.shape), predictor, image, 3)
    ids, counts = np.unique(labels[labels > 0], return_counts=True)
    truth = labels == ids[counts.argmax()]
    z = int(truth.sum(axis=(1, 2)).argmax())
    y, x = np.nonzero(truth[z])
    session.prompts.add_shape("rectangle", [(z, y.min(), x.min()), (z, y.max(), x.max())])
    text = session.propagation.segment(iou_threshold=0.5)
    session.objects.commit()
    assert "spans slices" in text
    once = iou(session.committed == 1, truth)
    assert once > 0.5
    session.objects.reopen(1)
    before = session.current.copy()
    other = int(np.flatnonzero(truth.any(axis=(1, 2)))[-1])
    session.prompts.add_point((other, *centre(truth[other])))
    session.propagation.segment(iou_threshold=0.5)
    assert np.array_equal(session.current[: z + 1], before[: z + 1])
    assert session.objects.commit().ids == (1,)
    assert iou(session.committed == 1, truth) > 0.5


@pytest.mark.slow
def test_a_cell_is_followed_through_its_division(predictor):
    image, labels, tracks = dividing_cells(shape=(10, 96, 96), n_cells=2, n_divisions=1, radius=10, seed=3)
    session = attached(TrackingSession(image.shape), predictor, image, 3)
    rows = {row.track_id: row for row in tracks}
    daughters = [row for row in tracks if row.parent]
    mother = rows[daughters[0].parent]
    last = mother.end
    session.prompts.add_point((0, *centre(labels[0] == mother.track_id)))
    session.prompts.add_point((last, *centre(labels[last] == mother.track_id)), state="division")
    for track, row in zip((2, 3), daughters, strict=True):
        session.prompts.add_point((row.start, *centre(labels[row.start] == row.track_id)), track_id=track)
    session.propagation.segment(iou_threshold=0.3)
    session.objects.commit()
    assert session.tracks.lineage.to_dict() == {1: [2, 3]}
    assert (
        session.tracks.lineage[1].end == last
        and session.tracks.lineage[2].start == session.tracks.lineage[3].start == last + 1
    )
    assert iou(session.committed == 1, labels == mother.track_id) > 0.4


def test_a_script_gets_the_same_whole_object_as_the_window(predictor):
    image, truth = nuclei_volume((16, 96, 96), n_objects=4, radius=14, seed=2)
    value = int(np.bincount(truth[truth > 0]).argmax())
    z = int(np.median(np.flatnonzero((truth == value).any((1, 2)))))
    session = attached(VolumeSession(image.shape), predictor, image, 3)
    embeddings = session.model.embeddings
    y, x = centre(truth[z] == value)
    clicks = [((z, y, x), True), ((z, y, x + 4), True), ((z + 2, y, x - 3), True), ((z + 4, 2, 2), False)]
    session.model.attach_maps(maps_of(predictor, embeddings))
    for place, positive in clicks:
        session.prompts.add_point(place, positive)
    session.propagation.segment(method="maps")
    mask = segment_object_in_volume(
        predictor, embeddings, [place for place, _ in clicks], [int(positive) for _, positive in clicks]
    )
    assert mask.any() and iou(mask, truth == value) > 0.4
    np.testing.assert_array_equal(session.current == 1, mask)


def clicks_in(kind, predictor):
    """A session of a kind on an image, and clicks for one object in one slice, with whether they are positive."""
    if kind == "2d":
        image = data.coins()
        session = attached(Session(image.shape), predictor, image, 2)
        return session, [((70, 40), True), ((75, 60), False), ((60, 56), True)]
    if kind == "3d":
        image, labels = nuclei_volume(shape=(7, 96, 96), n_objects=2, radius=11, seed=1)
        session = attached(VolumeSession(image.shape), predictor, image, 3)
    else:
        image, labels, _ = dividing_cells(shape=(7, 96, 96), n_cells=2, n_divisions=1, radius=10, seed=3)
        session = attached(TrackingSession(image.shape), predictor, image, 3)
    y, x = centre(labels[3] == np.unique(labels[3])[1])
    return session, [((3, y, x), True), ((3, y, min(x + 9, 95)), False), ((3, y, max(x - 6, 0)), True)]


@pytest.mark.parametrize("kind", ["2d", "3d", "tracking"])
def test_a_correction_after_a_restart_is_what_it_would_have_been(predictor, kind, tmp_path):
    from micro_sam.session.journal import store
    from micro_sam.session.journal.recorder import Journal

    session, clicks = clicks_in(kind, predictor)
    session.keeper.journal = Journal(tmp_path / "a.session", {"image": {"shape": list(session.shape)}})
    z = None if kind == "2d" else 3

    def click(some, position, positive):
        some.prompts.add_point(position, positive)
        some.segment.slice(z)

    for position, positive in clicks[:-1]:
        click(session, position, positive)
    session.keeper.journal.close()
    again = type(session)(session.shape)
    again.restore(store.read(tmp_path / "a.session").rows)
    again.model.attach(session.model.predictor, session.model.embeddings)
    session.keeper.journal = None
    click(session, *clicks[-1])
    click(again, *clicks[-1])
    assert session.has_current and np.array_equal(session.current, again.current)
    logits = [s.state.answers[z or 0].masks[0].logits for s in (session, again)]
    assert np.allclose(*logits, atol=1e-3)
