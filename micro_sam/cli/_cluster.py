"""Options of the commands that can run on a cluster, and what they have in common when they do."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Self

from pydantic import model_validator

from micro_sam.cli._fields import Options, option
from micro_sam.distributed.options import ClusterOptions, Part
from micro_sam.errors import InputError

SHARING = "see docs/cluster.md; needs pip install 'micro_sam[cluster]'"


class Sharing(Options):
    """With whom the work is shared: workers of a cluster, other jobs of an array, or nobody."""

    cluster: ClusterOptions | None = None
    part: Part | None = option(
        None,
        "without dask, in a job array: do the K-th of N parts; start all parts, in any order",
        metavar="K/N",
        reads=Part.parse,
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.cluster is not None:
            if self.part is not None:
                raise InputError("--part is for job arrays without dask, --scheduler for dask: leave one of them out.")

            from micro_sam.distributed.clusters import check_packages

            check_packages(self.cluster)
        return self


@contextlib.contextmanager
def started(wanted: ClusterOptions) -> Iterator[Any]:
    """The cluster; where it can be watched is printed. SIGTERM ends it as Ctrl-C does, with all jobs."""
    from micro_sam.distributed.clusters import open_cluster

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = None
    with contextlib.suppress(ValueError):  # not in the main thread
        before = signal.signal(signal.SIGTERM, stop)
    try:
        with open_cluster(wanted) as cluster:
            number = cluster.wanted or cluster.workers
            print(f"{number} worker{'s' * (number != 1)}, dashboard: {cluster.dashboard}")
            yield cluster
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def run_tasks(
    cluster: Any,
    function: Callable[[Any, Any], Any],
    source: Any,
    tasks: Iterable[Any],
    follow: Callable[[Any, Any], Iterable[Any]],
    bar: Any,
) -> dict[str, str]:
    """Do all tasks; returns the images of which something failed, with the first error of each.

    ``follow(task, answer)`` moves the bar and gives the tasks that come next.
    """
    from micro_sam.distributed.tasks import iter_tasks

    failed: dict[str, str] = {}
    for task, answer in iter_tasks(cluster, function, source, tasks, follow, say=lambda words: bar.write(words)):
        name = str(task.job.image_path)
        if answer.error is not None and name not in failed:
            failed[name] = answer.error
            bar.clear()
            print(f"{name}: {answer.error}", file=sys.stderr)
    return failed


def report(failed: Collection[Any], total: int, what: str) -> int:
    """The exit code: 1 when something failed. The errors were printed when they came."""
    if failed:
        print(f"{len(failed)} of {total} images could not be {what}; the others are stored.", file=sys.stderr)
    return int(bool(failed))
