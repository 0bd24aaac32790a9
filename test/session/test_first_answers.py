"""The process that answers the first prompts: the same masks as the model's own, and an end in every case."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest

from micro_sam.errors import NotComputedYet
from micro_sam.sample_data import open_sample
from micro_sam.segmentation.values import ObjectMask, Prompts
from micro_sam.session import first_answers
from micro_sam.session.first_answers import FirstAnswers, Order
from micro_sam.session.session import Session

MODEL = {"model_type": "nano_lm", "device": "cpu"}
COIN = (60, 100)


def points(*positions):
    return Prompts(points=np.array(positions, float), labels=np.ones(len(positions), int))


def own_answers(pixels, ndim, index, *questions):
    """What the model answers in this process: to each question (prompts, batched), the one after the other."""
    from micro_sam.embeddings.compute import iter_embeddings, open_embeddings
    from micro_sam.models.build import get_sam_model
    from micro_sam.segmentation.prompted.segment import segment_objects

    predictor = get_sam_model(**MODEL)
    embeddings, store = open_embeddings(predictor, pixels, ndim=ndim, smooth_noise=True)
    list(iter_embeddings(predictor, pixels, store))
    answers = []
    for prompts, batched in questions:
        previous = answers[-1] if answers and not batched else None
        answers.append(
            tuple(segment_objects(predictor, prompts, embeddings, index, batched=batched, previous=previous))
        )
    return predictor, answers


def same(one, other):
    return len(one) == len(other) and all(
        a.box == b.box and np.array_equal(a.mask, b.mask) and a.score == pytest.approx(b.score, abs=1e-4)
        for a, b in zip(one, other, strict=True)
    )


@pytest.fixture
def begun():
    """Begins processes and ends them after the test."""
    processes = []

    def begin(pixels, ndim=2, **embedding):
        order = Order(pixels, MODEL, {"ndim": ndim, "smooth_noise": True, **embedding})
        processes.append(FirstAnswers(order))
        return processes[-1]

    yield begin
    for process in processes:
        process.close()


@pytest.fixture(scope="module")
def coins():
    return open_sample("coins").image


def test_masks_are_those_of_the_model(begun, coins):
    first = begun(coins)
    correction = points(COIN, (60, 115))
    predictor, (one, corrected) = own_answers(coins, 2, None, (points(COIN), False), (correction, False))
    mine = first.segment(points(COIN))
    assert mine[0].mask[COIN[0] - mine[0].box[0], COIN[1] - mine[0].box[1]] and same(mine, one)
    assert same(first.segment(correction, previous=mine), corrected)
    assert (first.model_name, first.model_hash) == (predictor.model_name, predictor.model_hash)
    assert first.shape == coins.shape


def test_several_objects_and_tiles_that_are_embedded_when_they_are_wanted(begun, coins):
    first = begun(np.tile(coins, (3, 3)), tile_shape=(384, 384), halo=(64, 64))
    found = first.segment(points(COIN, (COIN[0] + 2 * coins.shape[0], COIN[1] + 2 * coins.shape[1])), batched=True)
    assert len(found) == 2 and not any(mask.is_empty for mask in found)


def test_a_slice_of_a_stack(begun, coins):
    stack = np.stack([coins[::-1], coins, coins[:, ::-1]])
    first = begun(stack, ndim=3)
    _, (wanted,) = own_answers(stack, 3, 1, (points(COIN), False))
    assert same(first.segment(points(COIN), 1), wanted)


def test_an_area_as_prompt(begun, coins):
    first, area = begun(coins), np.hypot(*np.indices(coins.shape) - np.reshape(COIN, (2, 1, 1))) < 20
    mask = ObjectMask.from_array(area)
    prompts = Prompts(boxes=np.array([mask.box, (30, 150, 65, 180)], float), masks=(mask, None))
    _, (wanted,) = own_answers(coins, 2, None, (prompts, False))
    assert same(first.segment(prompts), wanted) and len(wanted) == 2


def test_masks_arrive_as_they_were_sent():
    from micro_sam.session.first_answers import _masks_of, _message_of, _read, _write

    one = ObjectMask(
        (2, 3, 4, 6), np.array([[1, 0, 1], [0, 1, 1]], bool), 0.7, np.ones((4, 4), "float32"), (0, 1, 8, 9), (5,)
    )
    two = ObjectMask((0, 0, 0, 0), np.zeros((0, 0), bool), tile=3)
    stream = io.BytesIO()
    for masks in ((one, None, two), (), None):
        _write(stream, _message_of("masks", masks))
    stream.seek(0)
    first, none, second = _masks_of(_read(stream), "masks")
    assert none is None and (first.box, first.score, first.tile, first.cut_at) == (one.box, 0.7, one.tile, (5,))
    assert (first.mask == one.mask).all() and first.logits.dtype == "float32" and (first.logits == 1).all()
    assert second.is_empty and second.tile == 3 and second.logits is None
    assert _masks_of(_read(stream), "masks") == () and _masks_of(_read(stream), "masks") is None
    with pytest.raises(EOFError):
        _read(stream)


def test_a_question_it_cannot_answer_is_for_the_model(begun, coins):
    first = begun(coins)
    with pytest.raises(NotComputedYet):
        first.segment(Prompts())
    assert first.is_open and first.segment(points(COIN))


def test_weights_that_are_not_there_end_it(coins):
    first = FirstAnswers(Order(coins, {"model_type": "nano_lm", "checkpoint_path": "nowhere.pt"}, {"ndim": 2}))
    with pytest.raises(NotComputedYet):
        first.segment(points(COIN))
    assert not first.is_open


def test_who_waits_when_it_is_closed_gets_no_answer(begun, coins):
    first, seen = begun(coins), []

    def ask():
        try:
            first.segment(points(COIN))
        except NotComputedYet as error:
            seen.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    first.close()
    asking.join(20)
    assert len(seen) == 1 and not first.is_open
    first.close()  # once more does no harm


def test_it_ends_with_the_process_that_began_it():
    code = (
        "import numpy as np, os\n"
        "from micro_sam.session.first_answers import FirstAnswers, Order\n"
        "first = FirstAnswers(Order(np.zeros((64, 64), 'uint8'), {'model_type': 'nano_lm'}, {'ndim': 2}))\n"
        "first._begun.join()\n"
        "print(first._process.pid, flush=True)\n"
        "os._exit(0)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    number = int(run.stdout)
    for _ in range(600):
        if not psutil.pid_exists(number) or psutil.Process(number).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    raise AssertionError("the process is still there")


def test_where_a_process_does_not_help(monkeypatch, coins):
    monkeypatch.setattr(first_answers.os, "cpu_count", lambda: 2)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert first_answers.can_begin(coins)
    assert not first_answers.can_begin(np.broadcast_to(np.uint8(0), (10_000, 10_000)))  # much to copy
    assert not first_answers.can_begin([[0]])
    monkeypatch.setattr(first_answers.os, "cpu_count", lambda: 1)
    assert not first_answers.can_begin(coins)
    monkeypatch.setattr(first_answers.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(first_answers.sys, "frozen", True, raising=False)
    assert not first_answers.can_begin(coins)
    monkeypatch.delattr(first_answers.sys, "frozen")
    monkeypatch.setitem(sys.modules, "torch", object())
    assert not first_answers.can_begin(coins)


def test_a_session_asks_it_until_the_model_is_there(begun, coins):
    session = Session(coins.shape)
    assert session.model.answering is None
    first = begun(coins)
    session.model.attach_first(first)
    session.prompts.add_point(COIN)
    session.segment.slice()
    assert session.has_current and session.current[COIN] and session.model.predictor is None
    assert session.model.facts == {"model_name": "nano_lm", "model_hash": first.model_hash} and first.model_hash
    predictor, _ = own_answers(coins, 2, None)
    session.model.attach(predictor, object())
    assert not first.is_open and session.model.answering[0] is predictor
