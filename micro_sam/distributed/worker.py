"""What runs in a worker: one model, loaded at the first task and kept."""

from __future__ import annotations

import logging
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from micro_sam.errors import InputError, MicroSamError, ModelError

if TYPE_CHECKING:
    from micro_sam.models.predictor import Predictor

logger = logging.getLogger(__name__)

_LOADED: dict[ModelSource, Predictor] = {}


@dataclass(frozen=True)
class ModelSource:
    """Which model workers load, and from where; no worker downloads anything.

    Attributes
    ----------
    model_type
        Name in the registry; None with a checkpoint whose type is found in the file.
    checkpoint
        Weights of one's own, by their absolute path.
    device, precision
        As for `get_sam_model`; a worker that is left the choice takes the GPU that is its own.
    folder
        The cache directory of micro_sam that workers look for published weights in.
    """

    model_type: str | None
    checkpoint: str | None = None
    device: str | None = None
    precision: str = "auto"
    folder: str | None = None

    @classmethod
    def prepare(
        cls,
        model_type: str | None,
        checkpoint: str | os.PathLike[str] | None = None,
        device: str | None = None,
        precision: str = "auto",
    ) -> ModelSource:
        """Make sure that the weights are here, which may download them, before any worker is started.

        Raises
        ------
        ModelError
            When they cannot be had.
        """
        from micro_sam.models.cache import get_cache_directory
        from micro_sam.models.download import fetch
        from micro_sam.models.registry import get_spec

        if checkpoint is not None:
            path = Path(checkpoint).expanduser().absolute()
            if not path.is_file():
                raise ModelError(f"There is no file {path}.")
            return cls(model_type, str(path), device, precision)
        spec = get_spec(model_type)
        for weights in (spec.weights, spec.decoder):
            if weights is not None:
                fetch(weights)
        return cls(spec.name, None, device, precision, str(get_cache_directory()))

    def load(self) -> Predictor:
        """The model, on the device of this worker.

        Raises
        ------
        ModelError, InputError
            When the weights are not where they should be, or the device is not there.
        """
        if self.folder is not None:
            os.environ["MICROSAM_CACHEDIR"] = self.folder
            self._check_weights()
        elif not Path(self.checkpoint or "").is_file():
            raise ModelError(f"There is no file {self.checkpoint}: keep weights where all machines see them.")
        from micro_sam.models.build import get_sam_model

        predictor: Predictor = get_sam_model(
            self.model_type, device=_own_device(self.device), checkpoint_path=self.checkpoint, precision=self.precision
        )
        return predictor

    def _check_weights(self) -> None:
        from micro_sam.models.cache import find_file
        from micro_sam.models.registry import get_spec

        spec = get_spec(self.model_type)
        for weights in (spec.weights, spec.decoder):
            if weights is not None and find_file(weights) is None:
                raise ModelError(
                    f"The weights of {spec.name} are not in {self.folder}, and workers download nothing: let "
                    "MICROSAM_CACHEDIR name a folder that all machines see, or give the file with --checkpoint."
                )


class UnfitWorker(RuntimeError):
    """This process cannot work: its model cannot be loaded, or its GPU is lost. The message is for the user."""


@dataclass(frozen=True)
class Answer:
    """What came of a task.

    Attributes
    ----------
    value
        What the task gives.
    error
        One sentence that says why there is no value.
    unfit
        One sentence that says why this worker cannot do any task; the task is for others.
    worker
        The address of the worker, as dask knows it.
    """

    value: Any = None
    error: str | None = None
    unfit: str | None = None
    worker: str = ""


def perform(function: Callable[[Predictor, Any], Any], source: ModelSource, task: Any) -> Answer:
    """Do a task with this worker's model. Errors are part of the answer."""
    worker = _worker()
    address = "" if worker is None else worker.address
    try:
        predictor = worker_predictor(source)
        return Answer(function(predictor, task), worker=address)
    except UnfitWorker as error:
        return Answer(unfit=str(error), worker=address)
    except MicroSamError as error:
        return Answer(error=str(error), worker=address)
    except Exception as error:
        logger.exception("a task failed")
        if _device_is_lost(error):
            words = f"The GPU of {platform.node()} fails: {_first_line(error)}"
            return Answer(unfit=words, worker=address)
        return Answer(error=f"{type(error).__name__}: {_first_line(error)}", worker=address)


def worker_predictor(source: ModelSource) -> Predictor:
    """The model of this process, loaded once.

    Raises
    ------
    UnfitWorker
        When it cannot be loaded.
    """
    if source not in _LOADED:
        try:
            _LOADED[source] = source.load()
        except Exception as error:  # drivers, file systems and torch raise many kinds
            words = str(error) if isinstance(error, MicroSamError) else f"{type(error).__name__}: {_first_line(error)}"
            raise UnfitWorker(f"The model cannot be loaded on {platform.node()}: {words}") from None
    return _LOADED[source]


def _own_device(wanted: str | None) -> str | None:
    """The GPU of this worker: workers of a job are numbered, and share its GPUs out by their number."""
    if wanted not in (None, "auto", "cuda"):
        return wanted
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0 and wanted == "cuda":
        raise InputError("--device cuda was asked for, and there is no GPU here.")
    return wanted if count < 2 else f"cuda:{_number() % count}"


def _number() -> int:
    """The number of this worker in its job; 0 where workers see their own GPU only (dask-cuda)."""
    worker = _worker()
    if worker is None or "dask_cuda" in sys.modules:
        return 0
    last = str(worker.name).rpartition("-")[2]
    return int(last) if last.isdigit() else 0


def _worker() -> Any:
    try:
        from distributed import get_worker

        return get_worker()
    except (ImportError, ValueError):  # not in a worker
        return None


def _device_is_lost(error: Exception) -> bool:
    """After these, whatever else this process asks of its GPU fails, too."""
    return "CUDA error" in str(error) or "device-side assert" in str(error)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
