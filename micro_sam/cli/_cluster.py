"""Options of the commands that can run on a cluster, and what they have in common when they do."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from micro_sam.distributed.options import ClusterOptions, Part
from micro_sam.errors import InputError

_NAMES = ("workers", "cores", "memory", "gpus", "queue", "walltime", "job_extra", "job_script_prologue")


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """``--scheduler`` and what belongs to it, and ``--part``."""
    group = parser.add_argument_group("on a cluster", "see docs/cluster.md; needs pip install 'micro_sam[cluster]'")
    group.add_argument(
        "--scheduler",
        metavar="NAME",
        help="spread the work over workers: local (processes here), slurm, lsf, pbs or sge (jobs), or the address "
        "tcp://HOST:PORT of a dask scheduler that runs already",
    )
    group.add_argument("--workers", type=int, metavar="N", help="how many workers (default: 1, or one for each GPU)")
    group.add_argument("--cores", type=int, metavar="N", help="processor cores of a job (default: 4)")
    group.add_argument("--memory", metavar="SIZE", help="memory of a job, such as 32GB (default: 16GB)")
    group.add_argument("--gpus", type=int, metavar="N", help="GPUs of a job; each has a worker of its own")
    group.add_argument("--queue", metavar="NAME", help="queue or partition that jobs go to")
    group.add_argument("--walltime", metavar="HH:MM:SS", help="longest time of a job; others go on when it ends")
    group.add_argument(
        "--job_extra", action="append", default=[], metavar="LINE", help="a further line of a job's header; repeatable"
    )
    group.add_argument(
        "--job_script_prologue",
        action="append",
        default=[],
        metavar="LINE",
        help="a command to run in a job before the worker starts, such as 'module load cuda'; repeatable",
    )
    group.add_argument(
        "--part",
        type=Part.parse,
        metavar="K/N",
        help="without dask, in a job array: do the K-th of N parts; start all parts, in any order",
    )


def cluster_options(options: argparse.Namespace) -> ClusterOptions | None:
    """What was asked of a cluster; None: nothing. Whether its packages are here is checked, too.

    Raises
    ------
    InputError
        When it cannot be.
    """
    given = [name for name in _NAMES if getattr(options, name)]
    if options.scheduler is None:
        if given:
            raise InputError(f"--{given[0]} belongs to a cluster: say which with --scheduler.")
        return None
    if options.part is not None:
        raise InputError("--part is for job arrays without dask, --scheduler for dask: leave one of them out.")
    values = {name: getattr(options, name) for name in _NAMES}
    values |= {name: tuple(values[name]) for name in ("job_extra", "job_script_prologue")}
    wanted = ClusterOptions(options.scheduler, **values)

    from micro_sam.distributed.clusters import check_packages

    check_packages(wanted)
    return wanted


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
