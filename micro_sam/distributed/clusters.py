"""Clusters of workers: processes here, jobs of a scheduler, or a dask scheduler that runs already."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import logging
import os
import re
import socket
import time
import warnings
from collections.abc import Iterator
from typing import Any

from micro_sam.distributed.options import ClusterOptions
from micro_sam.distributed.quiet import QUIET
from micro_sam.errors import ClusterError, InputError

CORES, MEMORY = 4, "16GB"  # of a job, unless said otherwise
NEVER = 2**31  # deaths of workers that a task survives
IN_WORKERS = {
    # the samples of dask's profiler grow by 15 MB a minute in each worker
    "distributed.worker.profile.enabled": False,
    # every 20 ms, the checks of event loops take 2 % of a core in each process
    "distributed.admin.tick.interval": "1s",
}
GRACE = 300  # seconds before the end of a job's time in which a worker leaves in order
ENDED = 2  # looks at which a job is not there any more
CONNECT = 30  # seconds to wait for a scheduler
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
ENVIRONMENT = (*THREADS, "MALLOC_TRIM_THRESHOLD_")
_CLASSES = {"slurm": "SLURM", "lsf": "LSF", "pbs": "PBS", "sge": "SGE"}


class Cluster:
    """Workers that can be given work; see `open_cluster`.

    Attributes
    ----------
    client : distributed.Client
    wanted : int or None
        How many workers were asked for; None: as many as there are.
    """

    def __init__(self, client: Any, owner: Any, options: ClusterOptions) -> None:
        self.client, self._owner, self._options = client, owner, options
        self.wanted = None if options.is_address else _workers(options)
        self._counted, self._count = 0.0, 0
        self._absent: dict[Any, int] = {}  # job that was seen at work -> looks in a row at which it was not there

    @property
    def workers(self) -> int:
        """How many workers there were within the last second."""
        if time.monotonic() - self._counted > 1:
            self._count = len(self.client.scheduler_info(n_workers=-1)["workers"])
            self._counted = time.monotonic()
        return self._count

    @property
    def dashboard(self) -> str | None:
        """Where a browser shows what the workers do."""
        link: str | None = self.client.dashboard_link
        return link

    def refill(self) -> None:
        """Start workers anew in place of those that are gone: ended jobs, killed processes."""
        if self._owner is None:
            return
        if self._options.has_jobs:
            self._forget_ended_jobs()
            self._owner.scale(jobs=self._options.jobs)
        else:
            self._owner.scale(self.wanted)

    def _forget_ended_jobs(self) -> None:
        """A job whose workers were here and are gone has ended; dask does not notice it where jobs have several."""
        names = {str(worker["name"]) for worker in self.client.scheduler_info(n_workers=-1)["workers"].values()}
        specification = self._owner.worker_spec
        for job in list(specification):
            workers = {f"{job}{suffix}" for suffix in specification[job].get("group", [""])}
            if workers & names:
                self._absent[job] = 0
            elif job in self._absent:
                self._absent[job] += 1
                if self._absent[job] >= ENDED:
                    del specification[job], self._absent[job]

    def dismiss(self, address: str) -> None:
        """End a worker that cannot work."""
        with contextlib.suppress(Exception):  # it may be gone already
            self.client.retire_workers([address], close_workers=True)


@contextlib.contextmanager
def open_cluster(options: ClusterOptions) -> Iterator[Cluster]:
    """Start workers, or connect to those that are there; those that were started end with the block.

    Raises
    ------
    InputError
        When a package is missing that this needs.
    ClusterError
        When the scheduler cannot be reached or refuses.
    """
    check_packages(options)
    import dask
    from distributed import Client

    settings = {
        "distributed.scheduler.allowed-failures": NEVER,
        # no worker is assigned more than it does now: what waits is not hurt when it ends
        "distributed.scheduler.worker-saturation": 1.0,
        **IN_WORKERS,
        # a process that is being started again is not lost
        **({} if options.has_jobs else {"distributed.deploy.lost-worker-timeout": "1 hour"}),
    }
    with _same_environment(), dask.config.set(settings), contextlib.ExitStack() as stack:
        owner = None
        try:
            if options.is_address:
                client = stack.enter_context(Client(options.scheduler, timeout=CONNECT))
                client.run_on_scheduler(_allow_failures)
            else:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # a dashboard's port that is taken
                    owner = stack.enter_context(_start(options))
                client = stack.enter_context(Client(owner, timeout=CONNECT))
        except (OSError, TimeoutError) as error:
            raise ClusterError(
                f"There is no answer from the scheduler {options.scheduler} ({_words(error)}). Check the address, and "
                "that the machine can be reached from here."
            ) from error
        cluster = Cluster(client, owner, options)
        try:
            cluster.refill()
            yield cluster
        finally:
            if owner is not None:
                with contextlib.suppress(Exception):
                    client.retire_workers(close_workers=False)


@contextlib.contextmanager
def _same_environment() -> Iterator[None]:
    """Put back what dask sets in this process for its workers: variables, and how much its loggers tell."""
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    loggers = [logging.getLogger(name) for name in QUIET]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        gc.collect()  # asyncio tells of a task that failed when it is forgotten
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def check_packages(options: ClusterOptions) -> None:
    """Raise InputError when what a cluster needs is not installed; nothing is imported."""
    needed = ["distributed", *(["dask_jobqueue"] if options.has_jobs else [])]
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"--scheduler {options.scheduler} needs {' and '.join(missing)}, not installed here. Install what clusters "
            "need with: pip install 'micro_sam[cluster]'"
        )


def job_script(options: ClusterOptions) -> str:
    """The script that is submitted for each job, as text."""
    cluster = _cluster_class(options)
    arguments = job_arguments(options)
    return str(cluster.job_cls("tcp://SCHEDULER:PORT", name="NAME", **arguments).job_script())


def job_arguments(options: ClusterOptions) -> dict[str, Any]:
    """The arguments of dask-jobqueue for these options."""
    cores, memory, gpus = options.cores or CORES, options.memory or MEMORY, options.gpus or 0
    header: list[str] = []
    arguments: dict[str, Any] = {"queue": options.queue, "walltime": options.walltime}
    if options.scheduler == "slurm" and gpus:
        header.append(f"--gres=gpu:{gpus}")
    if options.scheduler == "lsf":
        if options.walltime:
            arguments["walltime"] = f"{options.seconds // 3600}:{options.seconds // 60 % 60:02}"
        if gpus:
            header.append(f'-gpu "num={gpus}"')
    elif options.walltime and options.scheduler != "slurm":
        hours, rest = divmod(options.seconds, 3600)
        arguments["walltime"] = f"{hours:02}:{rest // 60:02}:{rest % 60:02}"
    if options.scheduler == "pbs":
        spec = f"select=1:ncpus={cores}:mem={_gigabytes(memory)}gb" + (f":ngpus={gpus}" if gpus else "")
        arguments["resource_spec"] = spec
    if options.scheduler == "sge":
        # its memory is counted for each slot
        per_slot = -(-_gigabytes(memory) * 1024 // cores)
        arguments["resource_spec"] = f"h_vmem={per_slot}M" + (f",gpu={gpus}" if gpus else "")
        header.append(f"-pe smp {cores}")
    threads = max(1, cores // options.per_job)
    # what is set in this process is not known to those that a job starts
    settings = [f"export DASK_{key.upper().replace('.', '__')}={value}" for key, value in IN_WORKERS.items()]
    prologue = [*(f"export {name}={threads}" for name in THREADS), *settings, *options.job_script_prologue]
    # one thread: a worker does one thing at a time, and leaves the cores to the network
    extra = ["--nthreads", "1", "--no-dashboard"]
    if gpus and importlib.util.find_spec("dask_cuda") is not None:
        arguments["worker_command"] = "dask cuda worker"
    if options.seconds:
        stay = max(options.seconds - GRACE, options.seconds // 2)
        stagger = min(GRACE // 2, stay // 10)
        # workers of dask-cuda have no option for it
        prologue.append(f"export DASK_DISTRIBUTED__WORKER__LIFETIME__DURATION={stay}s")
        prologue.append(f"export DASK_DISTRIBUTED__WORKER__LIFETIME__STAGGER={stagger}s")
    return {
        **arguments,
        "cores": cores,
        "memory": memory,
        "processes": options.per_job,
        "job_name": "micro_sam",
        "job_extra_directives": [*header, *options.job_extra],
        "job_script_prologue": prologue,
        "worker_extra_args": extra,
    }


def _start(options: ClusterOptions) -> Any:
    if options.has_jobs:
        return _cluster_class(options)(**job_arguments(options), scheduler_options={"dashboard_address": ":8787"})
    import dask
    from distributed import LocalCluster

    workers = _workers(options)
    arguments = {
        "n_workers": workers,
        "threads_per_worker": 1,
        "preload": [*dask.config.get("distributed.worker.preload"), "micro_sam.distributed.quiet"],
        "memory_limit": _limit(options, workers),
        "silence_logs": logging.CRITICAL,
        "env": dict.fromkeys(THREADS, str(_threads(options))),
    }
    if options.gpus and importlib.util.find_spec("dask_cuda") is not None:
        from dask_cuda import LocalCUDACluster

        return LocalCUDACluster(**arguments)
    return LocalCluster(processes=True, **arguments)


def _cluster_class(options: ClusterOptions) -> Any:
    import dask_jobqueue

    return getattr(dask_jobqueue, f"{_CLASSES[options.scheduler]}Cluster")


def _workers(options: ClusterOptions) -> int:
    if options.has_jobs:
        return options.jobs * options.per_job
    return options.workers or options.gpus or 1


def _threads(options: ClusterOptions) -> int:
    """Threads of the network in each worker on this machine."""
    if options.cores is None and os.environ.get("OMP_NUM_THREADS", "").isdigit():
        return int(os.environ["OMP_NUM_THREADS"])
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, (options.cores or here) // _workers(options))


def _limit(options: ClusterOptions, workers: int) -> int:
    """Bytes after which dask ends a worker; 0: never, as what the network takes is no leak."""
    return 0 if options.memory is None else _gigabytes(options.memory) * 10**9 // workers


def _gigabytes(memory: str) -> int:
    from dask.utils import parse_bytes

    return max(1, -(-int(parse_bytes(re.sub(r"(?i)([kmgt])$", r"\1B", memory))) // 10**9))


def _allow_failures(dask_scheduler: Any) -> None:
    dask_scheduler.allowed_failures = NEVER


def _words(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "there is no such machine"
    return str(error).splitlines()[0] if str(error) else type(error).__name__
