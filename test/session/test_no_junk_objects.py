"""Real images: clicks, objects that are covered in part, then everything automatic, and no rims and crumbs of it."""

from collections import Counter

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from micro_sam.errors import InputError
from micro_sam.multi_dimensional_segmentation import merge_instance_segmentation_3d
from micro_sam.sample_data import open_sample
from micro_sam.segmentation.automatic.dense import DenseInstanceSegmenter
from micro_sam.segmentation.automatic.slices import segment_slices
from micro_sam.segmentation.stacks import track_labels
from micro_sam.session.session import Session, TrackingSession, VolumeSession
from micro_sam.util import get_sam_model, precompute_image_embeddings

MIN_SIZE = 25
CLICKS, PARTLY_COVERED = 5, 3


@pytest.fixture(scope="module")
def predictor():
    return get_sam_model("nano_lm", device="cpu")


def begin(predictor, image, kind):
    """A session with its features, and the automatic segmentation as the window makes it."""
    ndim = 2 if kind is Session else 3
    embeddings = precompute_image_embeddings(predictor, image, ndim=ndim, verbose=False)
    session = kind(image.shape[:ndim])
    session.model.attach(predictor, embeddings)
    segmenter = DenseInstanceSegmenter(predictor)
    thresholds = {"min_size": MIN_SIZE, "foreground_threshold": 0.4}
    if ndim == 2:
        segmenter.initialize(image, embeddings)
        return session, segmenter.generate(**thresholds), {}
    slices = segment_slices(segmenter, embeddings, **thresholds)
    if kind is VolumeSession:
        return session, merge_instance_segmentation_3d(slices, verbose=False), {}
    labels, rows = track_labels(slices)
    lineage: dict[int, list[int]] = {}
    for row in rows:
        if row.parent:
            lineage.setdefault(row.parent, []).append(row.track_id)
    return session, labels, {"lineage": lineage}


def segment(session, z):
    if isinstance(session, VolumeSession):
        session.propagation.segment()
    elif isinstance(session, TrackingSession):
        session.propagation.segment()
    else:
        session.segment.slice(z)


def commit(session, preserve, refusals):
    try:
        session.objects.commit("current", preserve, min_size=MIN_SIZE)
    except InputError as error:
        assert session.has_current, "a prompted object is never dropped"
        refusals.append(str(error))
    if session.has_current:
        session.prompts.clear()


def commit_auto(session, preserve):
    """What is committed; all objects are covered only where there are few."""
    try:
        return session.objects.commit("auto", preserve, min_size=MIN_SIZE)
    except InputError as error:
        assert len(np.unique(session.auto)) < 4, error
        return None


def story(session, auto, details, preserve):
    """Five clicks, three objects that committed ones cover in part, and everything automatic."""
    planes = auto.reshape(-1, *auto.shape[-2:])
    z = len(planes) // 3
    values, areas = np.unique(planes[z][planes[z] > 0], return_counts=True)
    chosen = values[np.argsort(-areas, kind="stable")][: CLICKS + PARTLY_COVERED]
    at = (lambda *place: place) if auto.ndim == 2 else (lambda *place: (z, *place))
    refusals: list[str] = []
    for value in chosen[:CLICKS]:
        inside = ndimage.distance_transform_edt(np.pad(planes[z] == value, 1))[1:-1, 1:-1]
        session.prompts.add_point(at(*np.unravel_index(inside.argmax(), inside.shape)))
        segment(session, z)
        commit(session, preserve, refusals)
    for value in (*chosen[CLICKS:], *chosen)[:PARTLY_COVERED]:
        box = ndimage.find_objects((planes[z] == value).astype(int))[0]
        (y0, y1), (x0, x1) = ((one.start, one.stop) for one in box)
        third = (x1 - x0) // 3
        corners = [(y0, max(x0 - third, 0)), (y1 - 1, min(x1 + third, auto.shape[-1] - 1))]
        session.prompts.add_shape("rectangle", [at(*corner) for corner in corners])
        segment(session, z)
        commit(session, preserve, refusals)
    # What lies over the clicked objects only in part: the automatic objects, moved.
    if preserve != "none":
        session.automatic.show(np.roll(auto, auto.shape[-1] // 25, axis=-1), **details)
        commit_auto(session, preserve)
        session.undo()
        assert session.auto.any()
    session.automatic.show(auto, **details)
    return commit_auto(session, preserve), refusals


def junk(session, per_frame):
    """What must not be: objects in several pieces, and small ones; per frame in movies."""
    found = Counter()
    for i, record in session.objects.items():
        mask = session.committed == i
        parts = [plane for plane in mask if plane.any()] if per_frame else [mask]
        for part in parts:
            pieces, number = ndimage.label(part)
            found["masks"] += 1
            found["in pieces"] += number > 1
            # A prompted object that is small by itself is what the user asked for.
            found["small"] += bool(part.sum() < MIN_SIZE and record.source == "auto")
            found["wanted pieces"] += number > 1 and len(record.prompts) > 1
    return found


def zigzags(session):
    """Steps of committed tracks that lead to a mask which neither overlaps the last one nor lies near."""
    found = 0
    for track in session.tracks.lineage.tracks:
        masks = [session.committed[t] == track.id for t in track.frames]
        for a, b in zip(masks, masks[1:], strict=False):
            distance = np.linalg.norm(np.subtract(ndimage.center_of_mass(a), ndimage.center_of_mass(b)))
            found += not (a & b).any() and distance > 2 * np.sqrt(max(a.sum(), b.sum()))
    return found


def coins(_):
    return open_sample("coins").image, Session


def nuclei(shared_data):
    return tifffile.imread(sorted((shared_data / "nuclei2d_dsb2018" / "val" / "images").iterdir())[0]), Session


def volume(_):
    return open_sample("nuclei_volume").image[10:18], VolumeSession


def ovule(shared_data):
    return tifffile.imread(shared_data / "nuclei3d_ovule" / "1136_image.tif")[45:53], VolumeSession


def movie(_):
    return open_sample("dividing_cells").image[:8], TrackingSession


def mitocheck(shared_data):
    frames = sorted((shared_data / "track_h2b_mitocheck" / "01").glob("*.tif"))[:8]
    return np.stack([tifffile.imread(frame) for frame in frames]), TrackingSession


@pytest.mark.slow
@pytest.mark.parametrize("image_of", [coins, nuclei, volume, ovule, movie, mitocheck])
def test_no_rims_and_crumbs_are_committed(predictor, image_of, request):
    needs_data = image_of in (nuclei, ovule, mitocheck)
    image, kind = image_of(request.getfixturevalue("shared_data") if needs_data else None)
    session, auto, details = begin(predictor, image, kind)
    embedded = session.model.embeddings
    for preserve in ("pixels", "none"):
        session = kind(auto.shape)
        session.model.attach(predictor, embedded)
        story(session, auto, details, preserve)
        found = junk(session, kind is TrackingSession)
        assert found["masks"] >= 4
        assert found["in pieces"] == found["wanted pieces"] and found["small"] == 0, (preserve, found)
        if kind is TrackingSession:
            assert zigzags(session) == 0
