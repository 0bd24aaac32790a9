"""Tasks on processes of this machine: lost workers, failing tasks, workers that cannot work, bounded numbers."""

import os
import subprocess
import sys

import pytest
import worker_functions as work

pytest.importorskip("distributed")

from micro_sam.distributed.clusters import THREADS, open_cluster
from micro_sam.distributed.options import ClusterOptions
from micro_sam.distributed.tasks import AHEAD, iter_tasks
from micro_sam.errors import ClusterError


@pytest.fixture(scope="module")
def cluster():
    with open_cluster(ClusterOptions(scheduler="local", workers=2, cores=2)) as one:
        yield one


@pytest.fixture
def source(tmp_path):
    return work.Source(str(tmp_path))


def test_all_tasks_are_done_and_each_process_loads_the_model_once(cluster, source, tmp_path):
    answers = dict(iter_tasks(cluster, work.double, source, range(40)))
    assert {task: answer.value for task, answer in answers.items()} == {k: 2 * k for k in range(40)}
    assert 1 <= len(list(tmp_path.glob("loaded_*"))) <= 2


def test_a_task_that_fails_is_answered_with_one_line_and_the_others_are_done(cluster, source):
    answers = dict(iter_tasks(cluster, work.fail_at_odd, source, range(8)))
    assert len(answers) == 8
    assert [answers[k].value for k in (0, 2, 4, 6)] == [0, 2, 4, 6]
    assert answers[1].error == "1 cannot be read." and answers[3].error == "ZeroDivisionError: by zero"


LATE = {
    "nanny": """
        nanny = cluster._owner.workers[0]

        async def close_and_talk():
            await nanny.rpc.close()
            nanny.log_event("topic", {"words": "too late"})

        cluster._owner.sync(close_and_talk)
""",
    "worker": """
        def beat_when_closed(dask_worker):
            import asyncio

            close = dask_worker.rpc.close

            async def close_and_beat():
                await close()
                asyncio.ensure_future(dask_worker.heartbeat())
                await asyncio.sleep(0.1)

            dask_worker.rpc.close = close_and_beat

        cluster.client.run(beat_when_closed)
""",
}


@pytest.mark.parametrize("who", LATE)
def test_what_is_said_after_connections_were_closed_is_not_printed(tmp_path, who):
    script = f"""
from micro_sam.distributed.clusters import open_cluster
from micro_sam.distributed.options import ClusterOptions

if __name__ == "__main__":
    with open_cluster(ClusterOptions(scheduler="local", workers=1, cores=1)) as cluster:
{LATE[who]}
"""
    (tmp_path / "late.py").write_text(script)
    done = subprocess.run([sys.executable, str(tmp_path / "late.py")], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stderr + done.stdout == ""


def test_follow_up_tasks_come_before_new_ones(cluster, source):
    def follow(task, answer):
        return [answer.value + 1000] if task < 100 else []

    order = [task for task, _ in iter_tasks(cluster, work.double, source, range(60), follow)]
    assert sorted(order) == sorted([*range(60), *(2 * k + 1000 for k in range(60))])
    assert order.index(1000) < order.index(40)


def test_only_a_few_tasks_are_handed_out_at_a_time(cluster, source):
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield taken

    run, most = iter_tasks(cluster, work.slow, source, endless()), 0
    for done, _ in enumerate(run):
        most = max(most, taken - done)
        if done == 50:
            break
    run.close()
    assert most <= AHEAD * 2 + 1


def test_workers_compute_on_the_threads_that_were_asked_for(cluster, source):
    answers = [answer.value for _, answer in iter_tasks(cluster, work.pid_and_threads, source, range(6))]
    assert {threads for _, *threads in map(tuple, answers) for threads in [tuple(threads)]} == {("1", 1)}
    assert os.getpid() not in {pid for pid, *_ in answers}


@pytest.mark.slow
def test_a_task_is_done_again_however_often_its_worker_ends(cluster, source, tmp_path):
    tasks = [(str(tmp_path), number) for number in range(2)]
    answers = dict(iter_tasks(cluster, work.die_often, source, tasks))
    assert sorted(answer.value for answer in answers.values()) == [0, 1]
    # dask gives up after the fourth death; an answer that is lost with a dying worker is computed once more
    assert len((tmp_path / "times_0").read_text()) >= 6


@pytest.mark.slow
def test_a_worker_that_cannot_load_the_model_leaves_the_work_to_others(tmp_path):
    said = []
    with open_cluster(ClusterOptions(scheduler="local", workers=2)) as cluster:
        source = work.Source(str(tmp_path), unfit=1)
        answers = dict(iter_tasks(cluster, work.double, source, range(20), say=said.append))
        assert sorted(answer.value for answer in answers.values()) == [2 * k for k in range(20)]
        assert len(said) == 1 and "The weights are not here." in said[0]


@pytest.mark.slow
def test_when_no_worker_can_load_the_model_there_is_one_sentence(tmp_path):
    before = {name: os.environ.get(name) for name in THREADS}
    with open_cluster(ClusterOptions(scheduler="local", workers=2)) as cluster:
        with pytest.raises(ClusterError, match="No worker can work. .*The weights are not here."):
            list(iter_tasks(cluster, work.double, work.Source(str(tmp_path), unfit=99), range(5)))
    assert {name: os.environ.get(name) for name in THREADS} == before, "dask changes them for its workers"


def test_a_scheduler_that_does_not_answer_is_one_sentence(monkeypatch):
    monkeypatch.setattr("micro_sam.distributed.clusters.CONNECT", 2)
    with pytest.raises(ClusterError, match="no answer from the scheduler tcp://127.0.0.1:9"):
        with open_cluster(ClusterOptions(scheduler="tcp://127.0.0.1:9")):
            pass


def test_plain_imports_know_nothing_of_dask_distributed():
    program = (
        "import sys, micro_sam.util, micro_sam.embeddings.tasks, micro_sam.distributed.tasks; "
        "from micro_sam.cli import automatic_segmentation, precompute_embeddings; "
        "automatic_segmentation.build_parser(); precompute_embeddings.build_parser(); "
        "print({m.partition('.')[0] for m in sys.modules} & {'distributed', 'dask_jobqueue'})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
