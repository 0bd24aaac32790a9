"""The order in which features are computed."""

import pytest

from micro_sam.embeddings.compute import iter_embeddings, open_embeddings
from micro_sam.embeddings.order import Focus, Queue, is_large, nearby
from micro_sam.embeddings.tiles import TileGrid

GRID = TileGrid((200, 250), (50, 50), (10, 10))  # 4 rows of 5 tiles


def order_of(focus, items=None, grid=GRID):
    queue = Queue([(None, tile) for tile in range(len(grid))] if items is None else items, grid)
    found = []
    while len(queue):
        found += queue.take(focus)
    return [tile for _, tile in found] if items is None else found


def test_without_a_focus_the_order_is_that_of_the_image():
    assert order_of(None) == order_of(Focus()) == list(range(20))


def test_the_tile_of_a_click_comes_first_then_its_neighbours_outward():
    order = order_of(Focus(prompts=((125.0, 175.0, 125.0, 175.0),)))  # in the middle of tile 13
    assert order[0] == 13 and set(order[:5]) == {13, 12, 14, 8, 18}
    assert sorted(order) == list(range(20)) and set(order[-2:]) <= {0, 5, 1}


def test_a_click_near_the_corner_of_tiles_has_the_four_that_see_it_first():
    order = order_of(Focus(prompts=((52.0, 98.0, 52.0, 98.0),), view=(150.0, 200.0, 200.0, 250.0)))
    assert order[0] == 6 and set(order[:4]) == {6, 7, 1, 2}
    assert order[4] == 19, "then the view"


def test_of_several_prompts_the_newest_comes_first():
    order = order_of(Focus(prompts=((175.0, 225.0, 175.0, 225.0), (25.0, 25.0, 25.0, 25.0))))
    assert order[:2] == [19, 0]
    assert order[2] in (14, 18), "the others from the newest prompt outward"


def test_a_box_over_four_tiles_has_them_all_first():
    assert set(order_of(Focus(prompts=((70.0, 70.0, 130.0, 130.0),)))[:4]) == {6, 7, 11, 12}


def test_without_prompts_the_tiles_on_the_screen_come_first_from_their_middle():
    order = order_of(Focus(view=(60.0, 60.0, 190.0, 140.0)))
    assert set(order[:6]) == {6, 7, 11, 12, 16, 17} and set(order[:2]) == {11, 12}


def test_what_something_waits_for_comes_before_all_others():
    focus = Focus(wanted=((None, 17), (None, 3), (None, 99)), prompts=((25.0, 25.0, 25.0, 25.0),))
    assert order_of(focus)[:3] == [17, 3, 0]


def test_the_slice_in_view_comes_first_and_in_it_the_tiles_near_the_prompt():
    items = [(i, tile) for i in range(5) for tile in range(20)]
    order = order_of(Focus(index=3, wanted=((1, 4),), prompts=((125.0, 175.0, 125.0, 175.0),)), items)
    assert order[0] == (1, 4) and order[1] == (3, 13) and {i for i, _ in order[1:21]} == {3}
    assert order[21] == (2, 13) and {i for i, _ in order[22:60]} == {2, 4}


def test_the_order_follows_the_focus_while_it_moves():
    queue = Queue([(None, tile) for tile in range(20)], GRID)
    places = {1: (25.0, 25.0, 25.0, 25.0), 19: (175.0, 225.0, 175.0, 225.0)}
    assert queue.take(Focus(prompts=(places[19],))) == [(None, 19)]
    assert queue.take(Focus(prompts=(places[1],))) == [(None, 0)]
    assert queue.take(Focus(prompts=(places[19],)), 3)[0] in ((None, 14), (None, 18))
    assert len(queue) == 15


def test_a_batch_holds_the_nearest_tiles():
    queue = Queue([(None, tile) for tile in range(20)], GRID)
    batch = queue.take(Focus(prompts=((125.0, 175.0, 125.0, 175.0),)), 5)
    assert batch[0] == (None, 13) and {tile for _, tile in batch} == {13, 12, 14, 8, 18}
    assert len(queue.take(None, 100)) == 15 and queue.take(None, 4) == []


@pytest.mark.parametrize("saved", [False, True])
def test_a_resumed_run_computes_only_what_is_missing_in_the_order_of_the_focus(predictor, stack, tmp_path, saved):
    image = stack[0]
    path = tmp_path / "e" if saved else None
    embeddings, store = open_embeddings(predictor, image, path, tile_shape=(32, 32), halo=(4, 4))
    run = iter_embeddings(predictor, image, store)
    assert next(run) == (None, 0)
    run.close()
    if saved:
        embeddings, store = open_embeddings(predictor, image, path, tile_shape=(32, 32), halo=(4, 4))
    focus = Focus(prompts=((39.0, 55.0, 39.0, 55.0),))
    order = [tile for _, tile in iter_embeddings(predictor, image, store, focus=lambda: focus)]
    assert order[0] == 3 and sorted(order) == [1, 2, 3] and predictor.calls == 4
    assert embeddings.is_complete()


LARGE = TileGrid((500, 500), (50, 50), (10, 10))  # 10 rows of 10 tiles


def tiles_near(focus, grid=LARGE):
    return sorted({tile for _, tile in nearby(focus, grid, None)})


def test_of_a_large_image_the_tile_of_a_click_and_its_neighbours_are_wanted():
    click = (275.0, 275.0, 275.0, 275.0)  # in the middle of tile 55
    assert tiles_near(Focus(prompts=(click,))) == [44, 45, 46, 54, 55, 56, 64, 65, 66]
    assert tiles_near(Focus(prompts=((5.0, 5.0, 5.0, 5.0),))) == [0, 1, 10, 11]
    assert tiles_near(Focus()) == [], "nobody looks anywhere"
    assert tiles_near(Focus(wanted=((None, 7),))) == [7]
    assert tiles_near(Focus(slices=(None,))) == list(range(100))


def test_a_view_is_wanted_unless_it_shows_nearly_everything(monkeypatch):
    assert tiles_near(Focus(view=(60.0, 60.0, 90.0, 90.0))) == [0, 1, 2, 10, 11, 12, 20, 21, 22]
    assert tiles_near(Focus(view=(0.0, 0.0, 500.0, 500.0))) == []
    monkeypatch.setattr("micro_sam.embeddings.order.MOST_TILES", 100)
    assert tiles_near(Focus(view=(0.0, 0.0, 500.0, 500.0))) == list(range(100))


def test_of_a_large_stack_the_slices_around_the_one_in_view_are_wanted(monkeypatch):
    monkeypatch.setattr("micro_sam.embeddings.order.SLICES_AROUND", 2)
    whole = TileGrid((50, 50))
    found = set(nearby(Focus(index=1, wanted=((9, 0),), slices=(20,)), whole, 100))
    assert found == {(i, 0) for i in (0, 1, 2, 3, 9, 20)}


def test_a_queue_that_serves_only_what_is_near_gives_nothing_else_until_the_focus_moves():
    queue = Queue([(None, tile) for tile in range(100)], LARGE)
    corner = Focus(prompts=((5.0, 5.0, 5.0, 5.0),), only=True)
    assert [tile for _, tile in queue.take(corner, 10)][0] == 0 and queue.take(corner) == []
    assert queue.take(Focus(wanted=((None, 50),), only=True)) == [(None, 50)]
    assert len(queue.take(Focus(), 100)) == 95


@pytest.mark.parametrize("n_slices, n_bytes, expected", [(None, 0, True), (3, 2**32, False), (3, 2**32 + 1, True)])
def test_what_counts_as_large(n_slices, n_bytes, expected):
    assert is_large(LARGE, n_slices, n_bytes) is expected
    assert not is_large(TileGrid((400, 400), (50, 50)), None, 2**40), "64 tiles"
