"""Where work is done, and how much of a machine each worker gets."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from micro_sam.errors import InputError

JOB_SCHEDULERS = ("slurm", "lsf", "pbs", "sge")
SCHEDULERS = ("local", *JOB_SCHEDULERS)
_ADDRESS = re.compile(r"(tcp|tls|ucx|ws|wss)://.+:\d+/?$")
_WALLTIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<hours>\d+):(?P<minutes>[0-5]\d)(?::(?P<seconds>[0-5]\d))?$")
_MEMORY = re.compile(r"\d+(\.\d+)? ?([kmgt]i?b?)$", re.IGNORECASE)

T = TypeVar("T")


def _field(tip: str, metavar: str, default: Any = None, **limits: Any) -> Any:
    return Field(default, description=tip, json_schema_extra={"metavar": metavar, "several": "repeated"}, **limits)


class ClusterOptions(BaseModel):
    """What a user asks of a cluster.

    Each worker holds the model once and does one thing at a time; with ``gpus`` each has one GPU. Cores, memory and
    GPUs are those of a job, with "local" of all workers together.

    Raises
    ------
    ValidationError
        With a sentence, for whatever cannot be.
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    scheduler: str = _field(
        "spread the work over workers: local (processes here), slurm, lsf, pbs or sge (jobs), or the address "
        "tcp://HOST:PORT of a dask scheduler that runs already",
        "NAME",
    )
    workers: int | None = _field("how many workers (default: 1, or one for each GPU)", "N", ge=1)
    cores: int | None = _field("processor cores of a job (default: 4)", "N", ge=1)
    memory: str | None = _field("memory of a job, such as 32GB (default: 16GB)", "SIZE")
    gpus: int | None = _field("GPUs of a job; each has a worker of its own", "N", ge=1)
    queue: str | None = _field("queue or partition that jobs go to", "NAME")
    walltime: str | None = _field("longest time of a job; others go on when it ends", "HH:MM:SS")
    job_extra: tuple[str, ...] = _field("a further line of a job's header; repeatable", "LINE", ())
    job_script_prologue: tuple[str, ...] = _field(
        "a command to run in a job before the worker starts, such as 'module load cuda'; repeatable", "LINE", ()
    )

    @model_validator(mode="before")
    @classmethod
    def _belong_to_a_scheduler(cls, values: dict[str, Any]) -> dict[str, Any]:
        given = [name for name, value in values.items() if value not in (None, [], ())]
        if given and values.get("scheduler") is None:
            raise InputError(f"--{given[0]} belongs to a cluster: say which with --scheduler.")
        return values

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.scheduler not in SCHEDULERS and not self.is_address:
            raise InputError(
                f"There is no scheduler {self.scheduler!r}; choose {', '.join(SCHEDULERS)}, or give the address of a "
                "dask scheduler as tcp://HOST:PORT."
            )
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
        return self

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
