"""Many tasks over the workers of a cluster, a few in flight at a time."""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from micro_sam.distributed.clusters import Cluster
from micro_sam.distributed.worker import Answer, ModelSource, perform
from micro_sam.errors import ClusterError

Task = TypeVar("Task")
REFILL = 20.0  # seconds after which workers that are gone are started anew
FETCH = 5.0  # seconds to wait for an answer that is there
AHEAD = 2  # tasks for each worker that are handed out


def iter_tasks(
    cluster: Cluster,
    function: Callable[[Any, Any], Any],
    source: ModelSource,
    tasks: Iterable[Task],
    follow: Callable[[Task, Answer], Iterable[Task]] = lambda task, answer: (),
    say: Callable[[str], None] = lambda sentence: None,
) -> Iterator[tuple[Task, Answer]]:
    """Have workers do tasks. The tasks of a worker that ends are done again, however often.

    Closing the generator cancels what was not begun.

    Parameters
    ----------
    cluster
        From `open_cluster`.
    function
        ``function(predictor, task)``, of a module that the workers can import. It may be called again for a task that
        was done already.
    source
        The model.
    tasks
        Taken one by one when a worker is free.
    follow
        What else is to be done now that a task is done; this comes before the other tasks.
    say
        Called with sentences for the user.

    Yields
    ------
    task, answer
        In the order in which they are done.

    Raises
    ------
    ClusterError
        When no worker can load the model, or the scheduler is gone.
    """
    coming = iter(tasks)
    urgent: deque[Task] = deque()
    running: dict[Any, Task] = {}
    finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
    refilled, done, told = time.monotonic(), 0, False
    unfit: set[str] = set()

    def submit() -> None:
        limit = AHEAD * max(1, cluster.workers, cluster.wanted or 0)
        while len(running) < limit:
            try:
                task = urgent.popleft() if urgent else next(coming)
            except StopIteration:
                return
            future = cluster.client.submit(perform, function, source, task, pure=False)
            running[future] = task
            future.add_done_callback(finished.put)

    try:
        submit()
        while running:
            if time.monotonic() - refilled > REFILL:
                refilled = time.monotonic()
                if done or not unfit:
                    cluster.refill()
                if not cluster.workers and not told:
                    told = True
                    say("No worker is there at the moment; the work goes on when one comes.")
            try:
                future = finished.get(timeout=1.0)
            except queue.Empty:
                continue
            told = False
            task = running.pop(future)
            try:
                answer = _answer(future)
            except TimeoutError:  # its worker ended before the answer was fetched: it is done again
                running[future] = task
                time.sleep(0.1)
                future.add_done_callback(finished.put)
                continue
            except _again():
                urgent.append(task)
            else:
                if answer.unfit is None:
                    done += 1
                    urgent.extend(follow(task, answer))
                    yield task, answer
                else:
                    urgent.append(task)
                    if answer.worker not in unfit:
                        unfit.add(answer.worker)
                        say(answer.unfit)
                        cluster.dismiss(answer.worker)
                    wanted = cluster.wanted if cluster.wanted is not None else len(unfit) + cluster.workers
                    if not done and len(unfit) >= wanted:
                        raise ClusterError(f"No worker can work. {answer.unfit}")
            future.release()
            submit()
    finally:
        if running:
            cluster.client.cancel(list(running), force=True)


def _answer(future: Any) -> Answer:
    if future.status in ("lost", "pending"):
        raise TimeoutError
    if future.status == "cancelled":
        raise ClusterError(
            "The connection to the scheduler is lost. What was computed is stored; start again to go on from there."
        )
    answer: Answer = future.result(timeout=FETCH)
    return answer


def _again() -> tuple[type[Exception], ...]:
    """Errors that say that a worker ended, not that a task failed."""
    from distributed.scheduler import KilledWorker

    return (KilledWorker,)
