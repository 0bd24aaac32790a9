"""Heavy work runs in the background: the window lives, runs exclude each other, can be cancelled, and report errors."""

from __future__ import annotations

import gc
import threading
import time

import numpy as np
import pytest

from micro_sam.errors import InputError, ModelError
from micro_sam.models.predictor import Predictor
from micro_sam.sam_annotator.runtime.jobs import AHEAD, WORK, Job, Jobs, Progress
from micro_sam.sam_annotator.runtime.threads import LatestWins
from micro_sam.sam_annotator.state.images import from_array

from . import driver
from .driver import Heartbeat, click, key, wait_idle, wait_until

COIN, OTHER_COIN = (60, 100), (115, 160)


@pytest.fixture
def jobs(shared_tool):
    """Jobs of their own, and the errors that nobody handled."""
    errors: list[Exception] = []
    jobs = Jobs(errors.append)
    jobs.errors = errors
    yield jobs
    jobs.close()


def counting(number=3, wait=0.02, stop_at=None):
    def steps(job: Job):
        for k in range(number):
            if k == stop_at:
                raise ModelError("it broke")
            time.sleep(wait)
            yield Progress("counting", k + 1, number)
            yield k
        return "done"

    return steps


def test_run_yields_its_items_and_its_value_in_the_window_thread(jobs):
    items, results, threads = [], [], set()
    job = jobs.start(
        "count",
        counting(),
        on_item=lambda k: (items.append(k), threads.add(threading.current_thread())),
        on_done=results.append,
    )
    assert wait_until(lambda: results)
    assert items == [0, 1, 2] and results == ["done"]
    assert threads == {threading.main_thread()}
    assert job.progress == Progress("counting", 3, 3) and jobs.running() is None


def test_second_run_is_refused_while_one_runs_but_lanes_do_not_wait_for_each_other(jobs):
    jobs.start("first", counting(50))
    with pytest.raises(InputError, match="'first' is still running"):
        jobs.start("second", counting())
    done = []
    jobs.start("other lane", counting(), lane=AHEAD, on_done=done.append)
    assert wait_until(lambda: done)
    assert jobs.running(WORK) is not None
    jobs.cancel()
    assert wait_until(lambda: jobs.running(WORK) is None)


def test_cancelled_run_closes_its_generator_and_ends_as_cancelled(jobs):
    closed, ends = [], []

    def steps(job):
        try:
            while True:
                time.sleep(0.01)
                yield 1
        finally:
            closed.append(True)

    jobs.start("endless", steps, on_done=lambda _: ends.append("done"), on_cancel=lambda: ends.append("cancelled"))
    driver.process(0.1)
    jobs.cancel()
    assert wait_until(lambda: ends)
    assert ends == ["cancelled"] and closed == [True]


def test_errors_of_runs_and_of_callbacks_are_reported_and_the_lane_is_free_again(jobs):
    jobs.start("breaks", counting(stop_at=1))
    assert wait_until(lambda: jobs.errors)
    assert isinstance(jobs.errors[0], ModelError)
    jobs.start("callback breaks", counting(), on_item=lambda _: 1 / 0)
    assert wait_until(lambda: len(jobs.errors) > 1)
    assert isinstance(jobs.errors[1], ZeroDivisionError)
    assert wait_until(lambda: jobs.running() is None)


def test_step_reports_progress_from_inside_and_is_ended_by_cancel(jobs):
    ends = []

    def steps(job):
        yield Progress("long step")
        for k in range(1000):
            job.report(Progress("inside", k, 1000))
            time.sleep(0.005)

    job = jobs.start("download", steps, on_cancel=lambda: ends.append("cancelled"))
    assert wait_until(lambda: job.progress.done > 3)
    jobs.cancel()
    assert wait_until(lambda: ends == ["cancelled"])


def test_latest_question_wins(shared_tool):
    latest = LatestWins("test")
    answers = []
    latest.done.connect(lambda tag, value: answers.append((tag, value)))
    release = threading.Event()
    latest.ask(0, release.wait)
    driver.process(0.05)
    for k in range(1, 6):
        latest.ask(k, lambda k=k: k * k)
    release.set()
    assert wait_until(lambda: len(answers) == 2)
    driver.process(0.05)
    assert answers == [(0, True), (5, 25)]
    latest.close()


def test_window_lives_while_the_image_is_embedded_and_clicks_are_kept(tool, coins, monkeypatch):
    """The encoder waits for the test, so that there is something to wait for on any machine."""
    encode, go_on = Predictor.encode_batch, threading.Event()

    def slow(self, images):
        go_on.wait(60)
        return encode(self, images)

    monkeypatch.setattr(Predictor, "encode_batch", slow)
    tool.open(from_array(coins.copy(), "2d", "slow"))
    driver.process(0.5)
    with Heartbeat() as heartbeat:
        driver.process(0.5)
    assert tool.engine.busy and not tool.dock.status._running.isHidden()
    assert heartbeat.longest < 0.6, "0.03 s on an idle machine"
    click(tool, COIN)
    assert len(tool.session.prompts.drawn) == 1 and not tool.session.has_current
    assert "kept" in tool.status.text
    key(tool.viewer, "c")
    assert not tool.session.objects and "not ready yet" in tool.status.text
    go_on.set()
    assert wait_until(lambda: tool.session.has_current), tool.status.text
    assert tool.session.current[COIN] == 1


def test_quick_clicks_give_the_answer_to_the_last_one(tool, monkeypatch):
    compute, go_on = type(tool.session.segment).compute, threading.Event()
    asked = []

    def slow(request):
        asked.append(len(request.drawn))
        go_on.wait(60)
        return compute(request)

    monkeypatch.setattr(type(tool.session.segment), "compute", staticmethod(slow))
    for k in range(6):
        tool.layers.points.layer.add([COIN[0] + 2 * (k % 3), COIN[1] + 2 * (k // 3)])
        driver.process(0.02)
    go_on.set()
    wait_idle(tool)
    assert asked[-1] == 6 and len(asked) == 2
    assert tool.session.current[COIN] == 1
    assert tool.session.history.last.name == "Add point"
    for _ in range(6):
        tool.actions.undo()
    assert not tool.session.has_current and not len(tool.session.prompts.drawn)


def test_answer_to_a_question_that_was_undone_is_not_shown(tool, monkeypatch):
    compute = type(tool.session.segment).compute
    release = threading.Event()

    def slow(request):
        release.wait(10)
        return compute(request)

    monkeypatch.setattr(type(tool.session.segment), "compute", staticmethod(slow))
    click(tool, COIN)
    tool.actions.undo()
    release.set()
    wait_idle(tool)
    assert not tool.session.has_current and tool.session.history.can_redo


def test_automatic_segmentation_runs_beside_the_clicks_and_thresholds_act_at_once(tool):
    decode = Predictor.decode
    driver.press(tool.dock.panels.automatic.run.native)
    click(tool, COIN)
    assert wait_until(lambda: tool.session.auto.any()), tool.status.text
    wait_idle(tool)
    assert tool.session.current[COIN] == 1
    found = len(np.unique(tool.session.auto)) - 1
    assert found > 15

    tool.dock.panels.automatic.parameters.panel.values["min_size"].value = 1500
    wait_idle(tool)
    sizes = np.bincount(tool.session.auto.ravel())[1:]
    assert 0 < np.count_nonzero(sizes) < found and sizes[sizes > 0].min() >= 1500
    assert "for these" in tool.status.text, "C commits the clicked object"
    tool.dock.panels.automatic.parameters.panel.values["min_size"].value = 100_000
    wait_idle(tool)
    assert not tool.session.auto.any() and "ower" in tool.status.text
    tool.dock.panels.automatic.parameters.panel.values["min_size"].value = 25
    wait_idle(tool)
    assert len(np.unique(tool.session.auto)) - 1 == found
    assert Predictor.decode is decode


def test_grid_of_points_is_the_other_method(tool, monkeypatch):
    from micro_sam.segmentation.automatic import masks as automatic_masks

    monkeypatch.setattr(automatic_masks, "point_grid", lambda side, grid=automatic_masks.point_grid: grid(6))
    tool.dock.panels.automatic.parameters.panel.method.value = "grid"
    assert (
        tool.dock.panels.automatic.parameters.panel.values["pred_iou_thresh"].visible
        or not tool.dock.panels.automatic.parameters.isExpanded()
    )
    driver.press(tool.dock.panels.automatic.run.native)
    assert wait_until(lambda: tool.jobs.running() is None and not tool.automatic.busy)
    tool.dock.panels.automatic.parameters.panel.method.value = "dense"
    assert tool.status.kind != "error", tool.status.text


def test_cancel_stops_the_run_and_a_second_one_is_refused_with_a_sentence(tool, monkeypatch):
    from micro_sam.segmentation.automatic.dense import DenseInstanceSegmenter

    def endless(self, *args, **kwargs):
        for k in range(10_000):
            time.sleep(0.02)
            yield k, 10_000

    monkeypatch.setattr(DenseInstanceSegmenter, "iter_initialize", endless)
    tool.actions.segment_all()
    driver.process(0.2)
    tool.actions.segment_all()
    assert "still running" in tool.status.text
    key(tool.viewer, "c")
    assert "still running" in tool.status.text
    driver.press(tool.dock.status.cancel)
    assert wait_until(lambda: tool.jobs.running() is None)
    assert not tool.session.auto.any() and "Cancelled" in tool.status.text


def test_unforeseen_error_keeps_the_window_and_the_work(tool, monkeypatch):
    click(tool, COIN)
    wait_idle(tool)

    def broken(request):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(type(tool.session.segment), "compute", staticmethod(broken))
    click(tool, (COIN[0] + 5, COIN[1]))
    wait_idle(tool)
    assert "ZeroDivisionError" in tool.status.text and tool.status.kind == "error"
    assert len(tool.session.prompts.drawn) == 2 and tool.session.current[COIN] == 1


def test_another_model_or_cache_keeps_prompts_and_objects(tool, tmp_path):
    click(tool, OTHER_COIN)
    wait_idle(tool)
    key(tool.viewer, "c")
    click(tool, COIN)
    wait_idle(tool)
    tool.dock.panels.model.panel.embeddings.value = tmp_path / "coins.zarr"
    tool.dock.panels.model.panel.apply.native.click()
    assert wait_until(lambda: not tool.engine.busy)
    wait_idle(tool)
    assert (tmp_path / "coins.zarr").is_dir()
    assert tool.session.committed[OTHER_COIN] == 1 and tool.session.current[COIN] == 1
    click(tool, (COIN[0] + 5, COIN[1]))
    wait_idle(tool)
    assert tool.session.current[COIN] == 1
    tool.actions.change_settings(tool.state.settings.changed(embedding_path=None))
    assert wait_until(lambda: not tool.engine.busy)


def test_garbage_of_background_threads_is_collected_in_the_window_thread(tool, jobs):
    """A collection in another thread may delete Qt and OpenGL objects there, which ends the process."""
    threads = set()

    class Litter:
        def __init__(self):
            self.me = self

        def __del__(self):
            threads.add(threading.current_thread())

    def steps(job):
        for _ in range(2000):
            Litter()
        yield 1

    done = []
    jobs.start("litter", steps, on_done=done.append)
    assert wait_until(lambda: done and threads)
    assert threads == {threading.main_thread()}


def test_what_stands_is_set_aside_for_the_collector_until_the_window_closes(tool):
    """A full collection over all objects of napari and Qt would hold up the window for a fifth of a second."""
    assert gc.get_freeze_count() > 50_000
    began = time.thread_time()
    gc.collect()
    assert time.thread_time() - began < 0.1
