"""Which device a model runs on, and in which precision."""

from __future__ import annotations

import logging
import platform

import torch

from micro_sam.errors import InputError

log = logging.getLogger(__name__)

PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def get_device(device: str | torch.device | None = None) -> torch.device:
    """The device to compute on.

    Parameters
    ----------
    device : str | torch.device | None
        None or "auto" takes the best there is: a CUDA GPU, Apple's GPU ("mps"), the CPU. Otherwise a device by name,
        for instance "cpu", "cuda" or "cuda:1".

    Raises
    ------
    InputError
        (a ValueError) When the name is no device, or this machine does not have it.
    """
    if device is None or str(device) == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        selected = torch.device(device)
    except (RuntimeError, TypeError):
        selected = None
    if selected is None or selected.type not in ("cpu", "cuda", "mps"):
        raise InputError(f"{str(device)!r} is no device. Choose 'auto', {', '.join(map(repr, available_devices()))}.")
    reason = _why_not(selected)
    if reason:
        raise InputError(
            f"The device {str(selected)!r} cannot be used: {reason} "
            f"Choose 'auto', {', '.join(map(repr, available_devices()))}."
        )
    return selected


def available_devices() -> list[str]:
    """Names of the devices of this machine, the best first: "cuda:0", "cuda:1", ..., "mps", "cpu"."""
    names = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        names.append("mps")
    return [*names, "cpu"]


def describe_device(device: torch.device) -> str:
    """The device in words: a GPU with its name and memory, the CPU with the number of threads PyTorch uses."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{device} ({properties.name}, {properties.total_memory / 1e9:.0f} GB)"
    if device.type == "mps":
        return "mps (Apple GPU)"
    return f"{device} ({torch.get_num_threads()} threads)"


def resolve_precision(precision: str, device: str | torch.device) -> str:
    """The arithmetic of the encoder: "fp32", "bf16" or "fp16".

    Parameters
    ----------
    precision : str
        "auto" is exact (fp32) on the CPU and on Apple's GPU, bf16 on a CUDA GPU that computes in it, fp16 on older
        ones. The other names are taken as they are, but for bf16 on a processor that has no arithmetic for it and
        would take a hundred times as long: fp32, with a line in the log.
    device : str | torch.device
        Where the model will run.

    Raises
    ------
    InputError
        When the name is unknown, or the device cannot compute in it.
    """
    device = torch.device(device)
    if precision not in PRECISIONS:
        raise InputError(f"There is no precision {precision!r}; choose one of {', '.join(PRECISIONS)}.")
    if precision == "auto":
        if device.type != "cuda":
            return "fp32"
        return "bf16" if _has_fast_bf16(device) else "fp16"
    if precision == "fp16" and device.type == "cpu":
        raise InputError("fp16 is slower than fp32 on a CPU and less exact; choose fp32, or bf16 on recent processors.")
    if precision == "bf16" and device.type == "cpu" and not has_bf16():
        log.warning("This processor has no bf16 arithmetic (AVX-512): fp32 is used.")
        return "fp32"
    return precision


def has_bf16() -> bool:
    """Whether the processor computes in bf16: those of Intel and AMD need AVX-512, of others nothing is known."""
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    return not is_x86 or torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def _has_fast_bf16(device: torch.device) -> bool:
    """bf16 arithmetic came with compute capability 8.0 (Ampere); older cards emulate it, slowly."""
    return torch.cuda.get_device_capability(device)[0] >= 8


def _why_not(device: torch.device) -> str | None:
    """Why this machine cannot compute on the device, as a sentence; None when it can."""
    if device.type == "cuda":
        if torch.version.cuda is None and torch.version.hip is None:
            return "this installation of PyTorch is for CPUs only."
        if not torch.cuda.is_available():
            return "PyTorch finds no CUDA GPU or no driver for it."
        if device.index is not None and device.index >= torch.cuda.device_count():
            return f"this machine has {torch.cuda.device_count()} CUDA GPU(s), numbered from 0."
    elif device.type == "mps" and not torch.backends.mps.is_available():
        return "PyTorch finds no Apple GPU."
    return None
