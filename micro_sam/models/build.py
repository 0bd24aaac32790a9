"""From the name of a model, or a checkpoint, to a predictor."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from micro_sam.errors import InputError, ModelError
from micro_sam.models.backends import check_backend, open_encoder
from micro_sam.models.checkpoints import Checkpoint, load_checkpoint, load_decoder_state
from micro_sam.models.device import get_device, resolve_precision
from micro_sam.models.download import Progress, fetch
from micro_sam.models.modules.nano import DenseHead
from micro_sam.models.modules.unetr_decoder import UNETRDecoder
from micro_sam.models.predictor import Predictor
from micro_sam.models.registry import DEFAULT_MODEL, get_architecture_name, get_spec
from micro_sam.models.sam import Sam
from micro_sam.models.spec import ModelSpec, WeightFile

logger = logging.getLogger(__name__)

# Multiply-accumulates of the image encoder (10^9), counted with torch.utils.flop_counter, and its weights and working
# memory at float32 (GB), for one image. SAM and MobileSAM: 1024 x 1024 pixels; nano: its input of 512 x 512.
# MobileSAM's 37 count twice: its depth-wise convolutions wait for memory.
COST = {
    "vit_h": (2833, 2.6 + 1.5),
    "vit_l": (1425, 1.3 + 1.2),
    "vit_b": (471, 0.4 + 0.9),
    "vit_t": (75, 0.1 + 0.7),
    "nano": (10, 0.1 + 0.3),
}
EFFICIENCY = 0.6  # share of the speed of one large matrix product that an encoder reaches

# What some programs write beside the weights, and parts of MobileSAM's checkpoints that some programs leave out.
CONSTANTS = ("pixel_mean", "pixel_std", "attention_bias_idxs")
UNUSED = ("image_encoder.head.", "image_encoder.norm_head.")


def build_model(architecture: str, dense_head: DenseHead | UNETRDecoder | None = None) -> Sam:
    """A model with random weights, in evaluation mode.

    Parameters
    ----------
    architecture : str
        "vit_h", "vit_l", "vit_b", "vit_t" or "nano".
    dense_head : DenseHead | UNETRDecoder | None
        A head for automatic segmentation; None is the architecture's own (nano has one).

    Raises
    ------
    InputError
        For an unknown architecture.
    """
    return Sam.from_architecture(architecture, dense_head)


def get_sam_model(
    model_type: str | None = DEFAULT_MODEL,
    device: str | torch.device | None = None,
    checkpoint_path: str | os.PathLike[str] | None = None,
    return_sam: bool = False,
    return_state: bool = False,
    decoder_path: str | os.PathLike[str] | None = None,
    precision: str = "auto",
    backend: str = "torch",
    progress_bar_factory: Callable[[str], Any] | None = None,
    peft_kwargs: Mapping[str, Any] | None = None,
    flexible_load_checkpoint: bool = False,
    **model_kwargs: Any,
) -> Any:
    """A predictor for a model of the registry, or for weights of one's own.

    Parameters
    ----------
    model_type : str | None
        Name of a model (`get_model_names`). With a checkpoint: its type, or None to find it in the file. Without one,
        None is the default, vit_h.
    device : str | torch.device | None
        See `get_device`.
    checkpoint_path : str | os.PathLike[str] | None
        Weights of one's own: a state dict of Segment Anything, a fine-tuned checkpoint, or safetensors.
    return_sam, return_state : bool
        Also return the model; the content of the weight file (a dict with ``model_state`` and, where the model has
        one, ``decoder_state``).
    decoder_path : str | os.PathLike[str] | None
        A decoder for automatic segmentation in a file of its own. Models of the registry bring theirs.
    precision : str
        "auto", "fp32", "bf16" or "fp16", see `resolve_precision`.
    backend : str
        What encodes images: "torch", or on a CPU "openvino" or "onnx" (ONNX Runtime), which come with the extras of
        these names. The encoder is exported at the first use, which takes some seconds, and kept.
    progress_bar_factory : Callable[[str], Any] | None
        Makes the progress bar of a download from the model's name: an object with ``total`` and ``update(bytes)``, as
        tqdm's, which is the default.
    peft_kwargs : Mapping | None
        How a checkpoint of micro-sam 1.x was fine-tuned (``rank``, ``peft_module``). Low-rank adapters are found in the
        file and merged whether it is given or not.
    flexible_load_checkpoint : bool
        Not supported.
    **model_kwargs
        Not supported: other sizes of the model.

    Returns
    -------
    Predictor | tuple
        ``predictor``, followed by the model and the state where asked for.

    Raises
    ------
    InputError
        For an unknown model, device or precision.
    ModelError
        When weights cannot be had, or a file is not what it should be.
    """
    # all that can be wrong in the arguments is said before gigabytes are fetched
    _refuse_other_models(flexible_load_checkpoint, model_kwargs)
    if peft_kwargs:
        from micro_sam.models.peft_sam import check_peft_kwargs

        check_peft_kwargs(peft_kwargs)
    device_was_left_open = device is None or str(device) == "auto"
    device = get_device(device)
    if backend != "torch" and device_was_left_open:
        device = torch.device("cpu")
    precision = resolve_precision(precision, device)
    check_backend(backend, device, precision)
    for path in (checkpoint_path, decoder_path):
        if path is not None and not Path(path).exists():
            raise ModelError(f"There is no file {path}.")

    if checkpoint_path is None:
        spec = get_spec(model_type or DEFAULT_MODEL)
        checkpoint, name = _load_published(spec, decoder_path is None, progress_bar_factory), spec.name
    else:
        expected = None if model_type is None else get_architecture_name(model_type)
        checkpoint, name = load_checkpoint(checkpoint_path, expected), Path(checkpoint_path).stem
    decoder_state = checkpoint.decoder_state if decoder_path is None else load_decoder_state(decoder_path)

    try:
        sam = build_with_weights(checkpoint.architecture, checkpoint.state_dict, decoder_state, device)
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"The model {name} does not fit into the memory of {device}. Choose a smaller model (vit_b, vit_t, "
            "nano_lm), half precision, or the CPU."
        ) from error
    predictor = Predictor(sam, model_name=name, model_hash=checkpoint.hash, precision=precision)
    if backend != "torch":
        predictor.encode_with(open_encoder(predictor, backend), backend)
    logger.info("Model %s (%s) on %s, %s, %s", name, checkpoint.architecture, device, precision, backend)
    result: list[Any] = [predictor]
    if return_sam:
        result.append(sam)
    if return_state:
        result.append(_state(checkpoint, decoder_state))
    return result[0] if len(result) == 1 else tuple(result)


def _refuse_other_models(flexible_load_checkpoint: bool, model_kwargs: Mapping[str, Any]) -> None:
    if flexible_load_checkpoint:
        raise InputError(
            "flexible_load_checkpoint=True is not supported: a model of which some weights stay random segments "
            "nothing. Give a checkpoint of this very model, or start a training with micro_sam.training.train_sam."
        )
    if model_kwargs:
        raise InputError(
            f"Models of another form ({', '.join(model_kwargs)}) are not supported; leave these arguments out. Known "
            "are the models of the registry and checkpoints fine-tuned from them."
        )


def build_with_weights(
    architecture: str,
    state_dict: Mapping[str, Tensor],
    decoder_state: Mapping[str, Tensor] | None = None,
    device: str | torch.device = "cpu",
) -> Sam:
    """A model with these weights as float32; nothing is initialised at random first, and each weight copied once.

    Parameters
    ----------
    architecture : str
        See `build_model`.
    state_dict : Mapping[str, Tensor]
        Weights of encoder, prompt encoder and mask decoder.
    decoder_state : Mapping[str, Tensor] | None
        Weights of the dense head; None builds a model without one.
    device : str | torch.device
        Where the weights go.

    Raises
    ------
    ModelError
        When weights are missing, of another shape, or unknown to the architecture.
    """
    with _NoRandomNumbers():
        head = UNETRDecoder.for_state(decoder_state) if decoder_state and architecture != "nano" else None
        sam = build_model(architecture, head)
    if decoder_state is None:
        sam.dense_head = None
    own = sam.state_dict()
    state = {name: value for name, value in state_dict.items() if name in own or not name.endswith(CONSTANTS)}
    state |= {f"dense_head.{name}": value for name, value in (decoder_state or {}).items()}
    state |= {name: torch.zeros(own[name].shape) for name in own.keys() - state if name.startswith(UNUSED)}
    _check_weights(architecture, state, own)
    copies = {name: value.to(device, own[name].dtype, copy=True).contiguous() for name, value in state.items()}
    sam.load_state_dict(copies, assign=True)
    return sam.to(device).eval()


def estimate_cost(spec: ModelSpec, device: str | torch.device | None = None) -> tuple[float, float]:
    """What one image will cost, for the honest word before a long wait.

    Parameters
    ----------
    spec : ModelSpec
        The model.
    device : str | torch.device | None
        Where it will run, see `get_device`.

    Returns
    -------
    tuple[float, float]
        Seconds for the embedding of one image of 1024 x 1024 pixels at float32, estimated from the speed of a matrix
        product on the device; gigabytes of memory for the model and its work.
    """
    multiply_adds, gigabytes = COST[spec.architecture]
    return multiply_adds / (EFFICIENCY * _speed(str(get_device(device)))), gigabytes


@lru_cache(maxsize=8)
def _speed(device: str) -> float:
    """Multiply-accumulates (10^9 per second) of a large float32 matrix product; takes some hundredths of a second."""
    n = 1024 if device == "cpu" else 4096
    a = torch.rand(n, n, device=device)
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        (a @ a)[0, 0].item()  # item() waits for the GPU
        best = min(best, time.perf_counter() - start)
    return n**3 / 1e9 / best


def download_model(name: str, progress_bar_factory: Callable[[str], Any] | None = None) -> list[Path]:
    """The files of a model of the registry: its weights, and its decoder where it has one; downloaded if need be.

    Parameters
    ----------
    name
        Of the model.
    progress_bar_factory
        Makes a progress bar from a description. None: tqdm.

    Raises
    ------
    InputError
        For a name that is not known.
    ModelError
        When a file cannot be had.
    """
    spec = get_spec(name)
    files = [(spec.weights, spec.name)]
    if spec.decoder is not None:
        files.append((spec.decoder, f"{spec.name} (decoder)"))
    return [_fetch(weights, label, progress_bar_factory) for weights, label in files]


def _load_published(
    spec: ModelSpec, with_decoder: bool, progress_bar_factory: Callable[[str], Any] | None
) -> Checkpoint:
    """The checkpoint of a model of the registry, downloaded if need be."""
    checkpoint = load_checkpoint(_fetch(spec.weights, spec.name, progress_bar_factory), spec.architecture)
    if spec.decoder is None or not with_decoder:
        return checkpoint
    decoder_state = load_decoder_state(_fetch(spec.decoder, f"{spec.name} (decoder)", progress_bar_factory))
    return Checkpoint(checkpoint.architecture, checkpoint.state_dict, decoder_state, {}, checkpoint.hash)


def _fetch(weights: WeightFile, label: str, progress_bar_factory: Callable[[str], Any] | None) -> Path:
    with _progress_bar(label, progress_bar_factory) as progress:
        return fetch(weights, progress)


@contextmanager
def _progress_bar(label: str, factory: Callable[[str], Any] | None) -> Iterator[Progress]:
    """A progress callback around a bar that is made with the first byte: a file that is here needs no bar."""
    bar: Any = None
    shown = 0

    def progress(done: int, total: int | None) -> None:
        nonlocal bar, shown
        if bar is None:
            bar = factory(label) if factory is not None else _tqdm(label)
            bar.total = total
        bar.update(done - shown)
        shown = done

    try:
        yield progress
    finally:
        if hasattr(bar, "close"):
            bar.close()


def _tqdm(label: str) -> Any:
    from tqdm import tqdm

    return tqdm(desc=f"Downloading {label}", unit="B", unit_scale=True, unit_divisor=1000)


class _NoRandomNumbers(TorchFunctionMode):
    """Modules made under this mode, in this thread, keep the memory of their parameters as the system gives it.

    Drawing random numbers for a vit_h takes longer than reading its weights, and memory that nobody has written to
    costs nothing.
    """

    DRAWS = frozenset({Tensor.normal_, Tensor.uniform_, Tensor.erfinv_})

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in self.DRAWS or getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def _check_weights(architecture: str, given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Refuse weights that do not fit; says which."""
    missing = [name for name in own if name not in given]
    foreign = [name for name in given if name not in own]
    misfits = [name for name in own if name in given and own[name].shape != given[name].shape]
    for names, what in ((missing, "are missing"), (misfits, "have another shape"), (foreign, "are unknown")):
        if names:
            raise ModelError(
                f"The weights do not fit the model {architecture}: {len(names)} {what} "
                f"({', '.join(names[:3])}{', ...' if len(names) > 3 else ''}). "
                "The file is incomplete or was made for a changed architecture."
            )


def _state(checkpoint: Checkpoint, decoder_state: dict[str, Tensor] | None) -> dict[str, Any]:
    state = {**checkpoint.metadata, "architecture": checkpoint.architecture, "model_state": checkpoint.state_dict}
    return state if decoder_state is None else {**state, "decoder_state": decoder_state}
