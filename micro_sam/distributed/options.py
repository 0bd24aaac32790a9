"""Where work is done, and how much of a machine each worker gets."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TypeVar

from micro_sam.errors import InputError

JOB_SCHEDULERS = ("slurm", "lsf", "pbs", "sge")
SCHEDULERS = ("local", *JOB_SCHEDULERS)
_ADDRESS = re.compile(r"(tcp|tls|ucx|ws|wss)://.+:\d+/?$")
_WALLTIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<hours>\d+):(?P<minutes>[0-5]\d)(?::(?P<seconds>[0-5]\d))?$")
_MEMORY = re.compile(r"\d+(\.\d+)? ?([kmgt]i?b?)$", re.IGNORECASE)

T = TypeVar("T")


@dataclass(frozen=True)
class ClusterOptions:
    """What a user asks of a cluster.

    Parameters
    ----------
    scheduler
        "local": processes on this machine; "slurm", "lsf", "pbs", "sge": jobs of that scheduler; "tcp://HOST:PORT": a
        dask scheduler that is there already.
    workers
        How many; each holds the model once and does one thing at a time. With ``gpus`` each has one GPU.
    cores, memory, gpus
        Of a job; with "local" of all workers together. Memory as "16GB".
    queue, walltime, job_extra, job_script_prologue
        Of the jobs: queue or partition, longest time as HH:MM:SS or D-HH:MM:SS, further lines of the header, and lines
        to be run before a worker starts (modules, conda).

    Raises
    ------
    InputError
        With a sentence, for whatever cannot be.
    """

    scheduler: str = "local"
    workers: int | None = None
    cores: int | None = None
    memory: str | None = None
    gpus: int | None = None
    queue: str | None = None
    walltime: str | None = None
    job_extra: tuple[str, ...] = ()
    job_script_prologue: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.scheduler not in SCHEDULERS and not self.is_address:
            raise InputError(
                f"There is no scheduler {self.scheduler!r}; choose {', '.join(SCHEDULERS)}, or give the address of a "
                "dask scheduler as tcp://HOST:PORT."
            )
        for name in ("workers", "cores", "gpus"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name} must be 1 or more, not {value}.")
        if self.memory is not None and not _MEMORY.match(self.memory):
            raise InputError(f"--memory {self.memory!r} is no amount of memory; write it like 16GB.")
        if self.walltime is not None and self.seconds == 0:
            raise InputError(f"--walltime {self.walltime!r} is no time; write HH:MM:SS or D-HH:MM:SS, as in 08:00:00.")
        if not self.has_jobs:
            for name in ("queue", "walltime", "job_extra", "job_script_prologue"):
                if getattr(self, name):
                    raise InputError(
                        f"--{name} belongs to jobs: use it with --scheduler {' or '.join(JOB_SCHEDULERS)}."
                    )
        if self.is_address:
            for name in ("workers", "cores", "memory", "gpus"):
                if getattr(self, name):
                    raise InputError(
                        f"--{name} cannot be chosen for a scheduler that runs already; its workers are as they were "
                        "started."
                    )

    @property
    def is_address(self) -> bool:
        """Whether the scheduler runs already."""
        return _ADDRESS.match(self.scheduler) is not None

    @property
    def has_jobs(self) -> bool:
        """Whether workers are jobs of a scheduler of the cluster."""
        return self.scheduler in JOB_SCHEDULERS

    @property
    def per_job(self) -> int:
        """Workers in a job: one for each GPU."""
        return self.gpus or 1

    @property
    def jobs(self) -> int:
        """How many jobs there shall be."""
        return math.ceil((self.workers or self.per_job) / self.per_job)

    @property
    def seconds(self) -> int:
        """The longest time of a job; 0 when it is not known."""
        found = _WALLTIME.match(self.walltime or "")
        if found is None:
            return 0
        days, hours, minutes, seconds = (int(found[name] or 0) for name in ("days", "hours", "minutes", "seconds"))
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


@dataclass(frozen=True)
class Part:
    """One part of work that is split over jobs that do not know of each other: ``number`` (from 1) of ``count``."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Part:
        """From "3/16".

        Raises
        ------
        InputError
            For anything else.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        number, count = (int(found[1]), int(found[2])) if found else (0, 0)
        if not 1 <= number <= count:
            raise InputError(f"--part {text!r} is no part; write it as 3/16: the third of 16, counted from 1.")
        return cls(number, count)

    def of(self, things: list[T], group: int = 1) -> list[T]:
        """The share of a list: neighbours stay together, and so do ``group`` that begin at a multiple of it."""
        groups = math.ceil(len(things) / group)
        first, last = ((groups * k // self.count) * group for k in (self.number - 1, self.number))
        return things[first:last]

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"
