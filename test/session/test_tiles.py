"""Sessions with the shipped model and real embeddings of tiled images: a click waits for its own tiles only."""

import numpy as np
import pytest

from micro_sam.embeddings.compute import iter_embeddings, open_embeddings
from micro_sam.embeddings.order import Focus
from micro_sam.errors import InputError, NotComputedYet
from micro_sam.sample_data.synthetic import dividing_cells, nuclei_volume
from micro_sam.session.session import Session, TrackingSession, VolumeSession
from micro_sam.util import get_sam_model

TILE, HALO = (64, 64), (16, 16)  # tiles of 64 in an image of 192 x 192: 3 x 3, numbered row by row
CORNER_TILE = 8


@pytest.fixture(scope="module")
def predictor():
    return get_sam_model("nano_lm", device="cpu")


@pytest.fixture(scope="module")
def blind_predictor():
    """A model that takes no close-ups, as Segment Anything's."""
    predictor = get_sam_model("nano_lm", device="cpu")
    predictor.model.close_up = None
    return predictor


def discs(*centres, radius=12, shape=(192, 192)):
    y, x = np.mgrid[: shape[0], : shape[1]]
    inside = np.any([(y - cy) ** 2 + (x - cx) ** 2 <= radius**2 for cy, cx in centres], axis=0)
    noise = np.random.default_rng(0).normal(0, 4, shape)
    return np.clip(np.where(inside, 180, 40) + noise, 0, 255).astype("uint8")


def opened(session, predictor, image, **options):
    """The session with embeddings of which nothing is computed, and what computes one item after the other."""
    ndim = session.ndim
    embeddings, store = open_embeddings(predictor, image, ndim=ndim, tile_shape=TILE, halo=HALO, **options)
    session.model.attach(predictor, embeddings)
    return lambda focus=None: iter_embeddings(predictor, image, store, focus=lambda: focus)


def compute(run, *items):
    """Compute these items and no others."""
    steps = run(Focus(wanted=items))
    for _ in items:
        next(steps)
    steps.close()


def iou(a, b):
    return (a & b).sum() / max((a | b).sum(), 1)


@pytest.mark.parametrize("batched", [False, True])
def test_a_click_in_a_tiled_image_is_answered_with_its_own_tile(predictor, batched):
    image = discs((160, 160))
    session = Session(image.shape)
    run = opened(session, predictor, image)
    session.prompts.add_point((160, 160))
    with pytest.raises(NotComputedYet, match="this part of the image") as error:
        session.segment.plan(batched=batched)
    assert error.value.items == ((None, CORNER_TILE),)
    compute(run, (None, 0))
    with pytest.raises(NotComputedYet):
        session.segment.plan(batched=batched)
    compute(run, (None, CORNER_TILE))
    session.segment.slice(batched=batched)
    assert iou(session.current > 0, image > 110) > 0.7
    assert not session.model.embeddings.is_complete()


def test_a_click_needs_its_tile_and_not_those_of_negative_points(blind_predictor):
    image = discs((160, 160), (30, 30))
    session = Session(image.shape)
    run = opened(session, blind_predictor, image)
    session.prompts.add_point((160, 160))
    session.prompts.add_point((30, 30), positive=False)
    compute(run, (None, CORNER_TILE))
    session.segment.slice()
    assert session.current[160, 160] and not session.current[30, 30]
    session.prompts.add_point((30, 30), positive=True)
    with pytest.raises(NotComputedYet) as error:
        session.segment.plan()
    assert error.value.items == ((None, 0),)


def test_the_tile_of_the_newest_prompt_is_named_first(blind_predictor):
    session = Session((192, 192))
    opened(session, blind_predictor, discs())
    for centre in ((30, 30), (30, 160), (160, 30)):
        y, x = centre
        session.prompts.add_shape("rectangle", [(y - 9, x - 9), (y + 9, x + 9)])
    with pytest.raises(NotComputedYet) as error:
        session.segment.plan()
    assert error.value.items == ((None, 6), (None, 2), (None, 0))


def test_a_box_over_four_tiles_is_answered_with_one_and_completed_with_the_others(blind_predictor):
    image = discs((192, 192), radius=100, shape=(384, 384))

    def start():
        session = Session(image.shape)
        embeddings, store = open_embeddings(blind_predictor, image, tile_shape=(192, 192), halo=(32, 32))
        session.model.attach(blind_predictor, embeddings)
        session.prompts.add_shape("rectangle", [(92, 92), (292, 292)])
        return session, lambda focus=None: iter_embeddings(blind_predictor, image, store, focus=lambda: focus)

    session, run = start()
    with pytest.raises(NotComputedYet) as error:
        session.segment.plan()
    assert len(error.value.items) == 1, "the tile in which the box is understood best"
    compute(run, *error.value.items)
    result = session.segment.compute(session.segment.plan())
    assert result.cut_at, "what is not there yet is said"
    session.segment.apply(result)
    step = session.history.last
    while result.cut_at:
        compute(run, *((None, tile) for tile in result.cut_at))
        result = session.segment.compute(result.request)
        assert session.segment.apply(result, completes=True)
    assert session.history.last is step, "the same step of undo"
    whole, run = start()
    for _ in run():
        pass
    whole.segment.slice()
    assert np.array_equal(session.current, whole.current), "as if all had been there from the start"
    session.undo()
    assert not session.current.any() and len(session.prompts.drawn)


def test_a_model_that_looks_closer_answers_a_small_box_without_its_tile(predictor):
    image = discs((600, 600), shape=(768, 768))
    session = Session(image.shape)
    embeddings, store = open_embeddings(predictor, image, tile_shape=(384, 384), halo=(64, 64))
    session.model.attach(predictor, embeddings)
    next(iter_embeddings(predictor, image, store))
    session.prompts.add_shape("rectangle", [(587, 587), (613, 613)])
    session.segment.slice()
    assert iou(session.current > 0, image > 110) > 0.6
    session.prompts.clear()
    session.prompts.add_point((600, 600))
    with pytest.raises(NotComputedYet):
        session.segment.plan()


def test_a_polygon_and_an_ellipse_wait_for_their_tile(blind_predictor):
    image = discs((160, 160))
    for kind, corners in (
        ("polygon", [(146, 146), (146, 174), (174, 174), (174, 146)]),
        ("ellipse", [(147, 147), (147, 173), (173, 173), (173, 147)]),
    ):
        session = Session(image.shape)
        run = opened(session, blind_predictor, image)
        session.prompts.add_shape(kind, corners)
        with pytest.raises(NotComputedYet) as error:
            session.segment.plan()
        assert error.value.items == ((None, CORNER_TILE),)
        compute(run, (None, CORNER_TILE))
        assert session.segment.plan().prompts.masks[0] is not None


def test_the_mask_under_the_mouse_needs_its_tile_only(predictor):
    image = discs((160, 160))
    session = Session(image.shape)
    run = opened(session, predictor, image)
    compute(run, (None, CORNER_TILE))
    (mask,) = session.segment.compute(session.segment.plan_hover((160, 160))).masks
    assert not mask.is_empty
    with pytest.raises(NotComputedYet):
        session.segment.plan_hover((20, 20))


def test_a_prompt_outside_the_mask_of_the_embeddings_says_so(predictor):
    image = discs((160, 160))
    session = Session(image.shape)
    opened(session, predictor, image)
    mask = np.zeros(image.shape, bool)
    mask[:10, :10] = True
    for _ in iter_embeddings(predictor, image, session.model.embeddings.store, mask=mask):
        pass
    session.prompts.add_point((160, 160))
    with pytest.raises(InputError, match="outside the mask"):
        session.segment.plan()


def test_a_volume_of_tiles_grows_from_a_click_in_tiles_that_are_there(predictor):
    volume, labels = nuclei_volume(shape=(7, 128, 128), n_objects=2, radius=11, seed=1)
    ids, counts = np.unique(labels[labels > 0], return_counts=True)
    truth = labels == ids[counts.argmax()]
    z = int(truth.sum(axis=(1, 2)).argmax())
    y, x = (int(round(v)) for v in np.argwhere(truth[z]).mean(axis=0))
    session = VolumeSession(volume.shape)
    run = opened(session, predictor, volume)
    session.prompts.add_point((z, y, x))
    with pytest.raises(NotComputedYet) as error:
        session.segment.plan(z)
    (item,) = error.value.items
    assert item[0] == z
    compute(run, item)
    session.segment.slice(z)
    assert session.current[z].any()
    with pytest.raises(NotComputedYet):
        for step in session.propagation.compute(session.propagation.plan(iou_threshold=0.3)):
            session.propagation.apply_step(step)
    for _ in run():
        pass
    session.propagation.segment(iou_threshold=0.3)
    assert len(np.flatnonzero(session.current.any(axis=(1, 2)))) > 1


def test_a_track_over_tiles_begins_with_the_tile_of_its_click(predictor):
    movie, labels, tracks = dividing_cells(shape=(3, 128, 128), n_cells=2, n_divisions=0, radius=12, seed=1)
    session = TrackingSession(movie.shape)
    run = opened(session, predictor, movie)
    y, x = (int(round(v)) for v in np.argwhere(labels[0] == tracks[0].track_id).mean(axis=0))
    session.prompts.add_point((0, y, x))
    for plan in (lambda: session.segment.plan(0), session.propagation.plan):
        with pytest.raises(NotComputedYet) as error:
            plan()
        (item,) = error.value.items
    compute(run, item)
    session.segment.slice(0)
    assert session.current[0].any()
    for _ in run():
        pass
    session.propagation.segment(iou_threshold=0.2)
    assert len(np.flatnonzero(session.current.any(axis=(1, 2)))) > 1
