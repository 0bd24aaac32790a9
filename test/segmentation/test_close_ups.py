"""Small objects are looked at again, enlarged; what large objects and other models say is untouched."""

import numpy as np
import pytest

from micro_sam.embeddings.compute import iter_embeddings, open_embeddings, precompute_image_embeddings
from micro_sam.embeddings.embeddings import as_embeddings
from micro_sam.errors import ModelError
from micro_sam.models.build import get_sam_model
from micro_sam.models.predictor import Predictor
from micro_sam.models.sam import Sam
from micro_sam.segmentation.prompted import close_ups
from micro_sam.segmentation.prompted.close_ups import segment_object
from micro_sam.segmentation.prompted.objects import ObjectPrompt, segment_in_tiles
from micro_sam.segmentation.prompted.segment import segment_objects
from micro_sam.segmentation.values import Prompts

SHAPE = (500, 620)
SMALL, LARGE = ((120, 150), 5), ((330, 420), 70)


def draw(shape=SHAPE, discs=(SMALL, LARGE)) -> np.ndarray:
    """Bright discs on a dark, slightly noisy ground, uint8."""
    image = np.random.default_rng(0).normal(40, 6, shape)
    for (cy, cx), radius in discs:
        image[disc(shape, (cy, cx), radius)] += 130
    return image.clip(0, 255).astype("uint8")


def disc(shape, centre, radius) -> np.ndarray:
    y, x = np.ogrid[: shape[0], : shape[1]]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


def iou(mask, truth: np.ndarray) -> float:
    found = mask.full(truth.shape)
    return (found & truth).sum() / max((found | truth).sum(), 1)


@pytest.fixture(scope="module")
def predictor():
    return get_sam_model("nano_lm", "cpu")


@pytest.fixture(scope="module")
def embeddings(predictor):
    return precompute_image_embeddings(predictor, draw(), verbose=False)


@pytest.fixture
def passes(predictor, monkeypatch):
    """How many close-ups were encoded."""
    done, encode = [], predictor.encode_close_up

    def count(image):
        done.append(image.shape)
        return encode(image)

    monkeypatch.setattr(predictor, "encode_close_up", count)
    return done


def click(y, x) -> ObjectPrompt:
    return ObjectPrompt(np.array([[y, x]], float), np.array([1]))


def test_small_object_is_seen_better_from_close_by(predictor, embeddings):
    truth = disc(SHAPE, *SMALL)
    close = segment_object(predictor, embeddings, None, click(*SMALL[0]))
    far = segment_in_tiles(predictor, embeddings, None, click(*SMALL[0]))
    assert isinstance(close.tile, tuple) and far.tile == 0
    assert iou(close, truth) > 0.75 and iou(close, truth) > iou(far, truth)


def test_box_is_asked_close_by_at_once(predictor, passes):
    embeddings = precompute_image_embeddings(predictor, draw(), verbose=False)
    (cy, cx), r = SMALL
    (found,) = segment_objects(predictor, Prompts(boxes=[(cy - r, cx - r, cy + r + 1, cx + r + 1)]), embeddings)
    assert len(passes) == 1 and iou(found, disc(SHAPE, *SMALL)) > 0.7


def test_large_object_needs_no_close_up(predictor, embeddings, passes):
    found = segment_object(predictor, embeddings, None, click(*LARGE[0]))
    assert not passes and found.tile == 0
    assert np.array_equal(found.mask, segment_in_tiles(predictor, embeddings, None, click(*LARGE[0])).mask)


@pytest.mark.parametrize("place", [SMALL[0], LARGE[0]])
def test_no_question_is_asked_twice(predictor, embeddings, monkeypatch, place):
    asked, decode = [], Predictor.decode

    def count(self, image, **prompts):
        asked.append((id(image), str(prompts)))
        return decode(self, image, **prompts)

    monkeypatch.setattr(Predictor, "decode", count)
    segment_object(predictor, embeddings, None, click(*place))
    assert asked and len(asked) == len(set(asked))


def test_corrections_look_at_the_same_close_up(predictor, embeddings, passes):
    points, labels = [SMALL[0]], [1]
    (first,) = segment_objects(predictor, Prompts(points=points, labels=labels), embeddings)
    before = len(passes)
    points, labels = [*points, (SMALL[0][0] + 9, SMALL[0][1])], [*labels, 0]
    (second,) = segment_objects(predictor, Prompts(points=points, labels=labels), embeddings, previous=[first])
    assert second.tile == first.tile and len(passes) == before
    assert iou(second, disc(SHAPE, *SMALL)) > 0.7


def test_the_mouse_that_moves_on_an_object_meets_few_close_ups_and_costs_nothing_when_it_comes_back(predictor, passes):
    embeddings = precompute_image_embeddings(predictor, draw(), verbose=False)
    places = [(SMALL[0][0] + y, SMALL[0][1] + x) for y in range(-2, 3) for x in range(-2, 3)]
    for place in places:
        segment_object(predictor, embeddings, None, click(*place))
    seen = len(passes)
    for place in places:
        segment_object(predictor, embeddings, None, click(*place))
    assert 1 <= seen <= 5 and len(passes) == seen


def test_another_slice_is_another_close_up_and_only_its_part_is_read(predictor):
    stack = np.stack([draw(), draw(discs=(((118, 153), 6),))])

    class Lazy:
        shape, dtype, ndim = stack.shape, stack.dtype, 3
        read: list = []

        def __getitem__(self, key):
            part = stack[key]
            self.read.append(part.shape)
            return part

    lazy = Lazy()
    embeddings, store = open_embeddings(predictor, lazy, ndim=3)
    list(iter_embeddings(predictor, lazy, store))
    lazy.read.clear()
    one = segment_object(predictor, embeddings, 0, click(*SMALL[0]))
    other = segment_object(predictor, embeddings, 1, click(*SMALL[0]))
    assert iou(one, disc(SHAPE, *SMALL)) > 0.7 and iou(other, disc(SHAPE, (118, 153), 6)) > 0.7
    assert lazy.read and all(max(shape) < 200 for shape in lazy.read)


def test_features_without_their_image_are_used_as_they_are(predictor, tmp_path):
    precompute_image_embeddings(predictor, draw(), tmp_path / "e.zarr", verbose=False)
    found = segment_object(predictor, as_embeddings(tmp_path / "e.zarr"), None, click(*SMALL[0]))
    assert found.tile == 0


def test_cache_that_is_opened_with_the_image_can_be_looked_at_closer(predictor, tmp_path):
    for _ in range(2):
        embeddings = precompute_image_embeddings(predictor, draw(), tmp_path / "e.zarr", verbose=False)
    assert isinstance(segment_object(predictor, embeddings, None, click(*SMALL[0])).tile, tuple)


def test_tiles_and_close_ups_go_together(predictor):
    embeddings = precompute_image_embeddings(predictor, draw(), tile_shape=(256, 256), halo=(32, 32), verbose=False)
    found = segment_object(predictor, embeddings, None, click(*SMALL[0]))
    assert isinstance(found.tile, tuple) and iou(found, disc(SHAPE, *SMALL)) > 0.75


@pytest.mark.parametrize("place", [(7, 7), (7, 612), (492, 612), (492, 300)])
def test_close_ups_end_at_the_border_of_the_image(predictor, place):
    embeddings = precompute_image_embeddings(predictor, draw(discs=((place, 6),)), verbose=False)
    found = segment_object(predictor, embeddings, None, click(*place))
    y0, x0, y1, x1 = found.tile
    assert 0 <= y0 < y1 <= SHAPE[0] and 0 <= x0 < x1 <= SHAPE[1]
    assert iou(found, disc(SHAPE, place, 6)) > 0.6


@pytest.mark.parametrize("shape", [(20, 33), (64, 64), (40, 900), (33, 20, 3)])
def test_small_long_and_coloured_images(predictor, shape):
    image = draw(shape[:2], discs=(((11, 12), 4),))
    image = np.repeat(image[..., None], 3, -1) if len(shape) == 3 else image
    embeddings = precompute_image_embeddings(predictor, image, ndim=2, verbose=False)
    found = segment_object(predictor, embeddings, None, click(11, 12))
    assert iou(found, disc(shape[:2], (11, 12), 4)) > 0.4


def test_clicks_far_apart_are_one_object(predictor, embeddings):
    far = Prompts(points=[SMALL[0], LARGE[0]], labels=[1, 1])
    (found,) = segment_objects(predictor, far, embeddings)
    assert found.tile == 0 and found.full(SHAPE)[LARGE[0]]


def test_empty_answer_close_by_leaves_the_first_one(predictor, embeddings, monkeypatch):
    from micro_sam.segmentation.values import ObjectMask

    nothing = ObjectMask((0, 0, 0, 0), np.zeros((0, 0), bool))
    monkeypatch.setattr(close_ups, "ask", lambda *a: nothing)
    far = segment_in_tiles(predictor, embeddings, None, click(*SMALL[0]))
    assert np.array_equal(segment_object(predictor, embeddings, None, click(*SMALL[0])).mask, far.mask)


def test_models_with_a_dear_encoder_take_none():
    sam = Predictor(Sam.from_architecture("vit_t"))
    assert sam.model.close_up is None
    with pytest.raises(ModelError, match="close-ups"):
        sam.encode_close_up(np.zeros((32, 32, 3), "uint8"))


def test_no_close_up_where_it_is_not_known_how_the_network_saw_the_image(predictor):
    embeddings = precompute_image_embeddings(predictor, draw(), verbose=False)
    embeddings.store.normalization = None  # as in caches that do not tell
    assert segment_object(predictor, embeddings, None, click(*SMALL[0])).tile == 0
