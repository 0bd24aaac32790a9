"""Objects where tiles meet."""

import tracemalloc

import numpy as np
import pytest
from segmentation_helpers import Oracle, iou, oracle_embeddings

from micro_sam.embeddings.embeddings import Embeddings
from micro_sam.embeddings.store import MemoryStore
from micro_sam.embeddings.tiles import TileGrid
from micro_sam.errors import InputError
from micro_sam.prompt_based_segmentation import segment_from_box, segment_from_mask, segment_from_points
from micro_sam.segmentation.prompted.objects import ObjectPrompt, segment_in_tiles
from micro_sam.segmentation.prompted.segment import segment_objects
from micro_sam.segmentation.values import Prompts
from micro_sam.session.session import Session


@pytest.fixture(scope="module")
def labels():
    """1: small, in one tile. 2: over a corner of four tiles. 3: a bar over all columns."""
    out = np.zeros((300, 400), "uint32")
    out[20:50, 30:70] = 1
    out[70:130, 60:150] = 2
    out[210:240, 10:390] = 3
    return out


TILES = (100, 100), (24, 24)


@pytest.mark.parametrize(
    ("value", "click"),
    [(1, (30, 40)), (2, (100, 100)), (2, (75, 62)), (2, (128, 148)), (3, (220, 15)), (3, (225, 380))],
)
def test_a_click_gives_the_complete_object(labels, value, click):
    embeddings = oracle_embeddings(labels, *TILES)
    found = segment_from_points(Oracle(), np.array([click]), np.array([1]), embeddings)
    assert iou(found[0], labels == value) > 0.95


@pytest.mark.parametrize(("value", "box"), [(1, (20, 30, 50, 70)), (2, (70, 60, 130, 150)), (3, (210, 10, 240, 390))])
def test_a_box_gives_the_complete_object(labels, value, box):
    embeddings = oracle_embeddings(labels, *TILES)
    assert iou(segment_from_box(Oracle(), box, embeddings)[0], labels == value) > 0.95
    assert iou(segment_from_mask(Oracle(), labels == value, embeddings)[0], labels == value) > 0.95


def test_clicks_in_distant_tiles_are_all_used(labels):
    embeddings = oracle_embeddings(labels, *TILES)
    (found,) = segment_objects(Oracle(), Prompts([(30, 40), (225, 380)], [1, 1]), embeddings)
    full = found.full(labels.shape)
    assert full[30, 40] and full[225, 380]


def test_negative_points_alone_are_refused_with_a_sentence(labels):
    prompt = ObjectPrompt(np.array([(250.0, 350.0)]), np.array([0]))
    with pytest.raises(InputError, match="No point is positive"):
        segment_in_tiles(Oracle(), oracle_embeddings(labels, *TILES), None, prompt)


def test_an_object_in_one_tile_asks_only_that_tile(labels):
    oracle = Oracle()
    segment_objects(oracle, Prompts([(30, 40)], [1]), oracle_embeddings(labels, *TILES))
    assert len(oracle.calls) == 1


def test_an_object_is_cut_where_features_are_missing_not_lost(labels):
    embeddings = oracle_embeddings(labels, *TILES, leave_out=[10])
    (found,) = segment_objects(Oracle(), Prompts([(220, 15)], [1]), embeddings)
    assert 0.3 < iou(found.full(labels.shape), labels == 3) < 0.8
    assert found.cut_at == (10,), "the answer says where it is cut"


def test_an_object_that_was_cut_grows_in_the_same_step_of_undo_when_its_tiles_come(labels):
    whole = oracle_embeddings(labels, *TILES)
    embeddings = oracle_embeddings(labels, *TILES, leave_out=[10])
    session = Session(labels.shape)
    session.model.attach(Oracle(), embeddings)
    session.prompts.add_point((220, 15))
    result = session.segment.compute(session.segment.plan())
    assert session.segment.apply(result, preview=True) and result.cut_at == (10,)
    part, steps = int((session.current > 0).sum()), session.history.last
    embeddings.store.write(None, 10, whole.load(tile=10))
    result = session.segment.compute(result.request)
    assert session.segment.apply(result, preview=True, completes=True) and not result.cut_at
    assert (session.current > 0).sum() > part and iou(session.current > 0, labels == 3) > 0.95
    assert session.history.last is steps
    session.undo()
    assert not session.current.any() and not len(session.prompts.drawn)


def test_a_tile_answers_like_an_image_of_its_own(predictor, tiled_blob_embeddings):
    grid = tiled_blob_embeddings.grid
    for click in [(40, 50), (180, 40), (185, 270)]:
        tile = grid.tile_at(*click)
        store = MemoryStore(TileGrid(tile.shape))
        store.write(None, 0, tiled_blob_embeddings.load(tile=tile.index))
        local = np.array(click) - tile.origin
        (alone,) = segment_objects(predictor, Prompts([local], [1]), Embeddings(store))
        (found,) = segment_objects(predictor, Prompts([click], [1]), tiled_blob_embeddings)
        inside = found.full(grid.shape)[tile.outer]
        np.testing.assert_array_equal(inside, alone.full(tile.shape))


def test_memory_does_not_grow_with_the_image():
    class Sparse:
        """Features of a 10,000 x 10,000 image that has one object."""

        grid = TileGrid((10_000, 10_000), (1000, 1000), (128, 128))

        def load(self, i=None, tile=0, device=None):
            shape = self.grid[tile].shape
            labels = np.zeros(shape, "uint32")
            if tile == 55:
                labels[200:260, 300:380] = 1
            return oracle_embeddings(labels).load()

    from micro_sam.segmentation.prompted.objects import ObjectPrompt, segment_in_tiles

    embeddings = Sparse()
    y, x = np.array(embeddings.grid[55].origin) + (230, 340)
    tracemalloc.start()
    found = segment_in_tiles(Oracle(), embeddings, None, ObjectPrompt(np.array([[y, x]], float), np.array([1])))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert abs(found.area - 60 * 80) < 200
    assert peak < 60e6  # a bool mask of the image would be 100 MB
