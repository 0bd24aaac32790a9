"""Weights from and to files, read without running anything that a file says.

Accepted are plain Segment Anything and MobileSAM state dicts, checkpoints of micro-sam's fine-tuning (``model_state``
with the prefix ``sam.``, and optionally ``decoder_state``), and safetensors as :func:`save_checkpoint` writes them.
"""

from __future__ import annotations

import json
import os
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from micro_sam.errors import ModelError, OutputError
from micro_sam.io.marks import KEY, mark, mark_torch_file
from micro_sam.io.results import check_not_input, check_result, recover, write_result
from micro_sam.models.cache import model_hash
from micro_sam.models.lora_state import merge_lora
from micro_sam.models.registry import SHIPPED_MODEL, get_architecture_name

DENSE_HEAD = "dense_head."
VIT_WIDTHS = {(1280, 32): "vit_h", (1024, 24): "vit_l", (768, 12): "vit_b"}  # (width, depth)


@dataclass(frozen=True)
class Checkpoint:
    """The content of a weight file.

    Attributes
    ----------
    architecture : str
        "vit_h", "vit_l", "vit_b", "vit_t" or "nano", as found in the tensors.
    state_dict : dict[str, Tensor]
        Weights of encoder, prompt encoder and mask decoder by their names in Segment Anything; they may still lie in
        the file and are to be copied.
    decoder_state : dict[str, Tensor] | None
        Weights of the dense head or decoder, without prefix.
    metadata : dict[str, Any]
        What the file says of itself, for instance name and training settings; empty for stock files.
    hash : str
        xxh128 of the file.
    """

    architecture: str
    state_dict: dict[str, Tensor]
    decoder_state: dict[str, Tensor] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    hash: str = ""


def load_checkpoint(path: str | os.PathLike[str], architecture: str | None = None, prefix: str = "sam.") -> Checkpoint:
    """Read a weight file; its architecture is found in its tensors.

    Parameters
    ----------
    path : str | os.PathLike[str]
        The file.
    architecture : str | None
        The architecture that is expected, if one is.
    prefix : str
        What the names of the weights begin with, beside Segment Anything's own.

    Raises
    ------
    ModelError
        When the file is missing, unreadable, incomplete, holds no Segment Anything model, or one of another
        architecture.
    """
    path = Path(path)
    content, metadata = read_tensors(path)
    state, decoder_state = _split(content, prefix)
    found = detect_architecture(state)
    if found is None:
        raise ModelError(
            f"The file {path} holds no Segment Anything model that is known here ({_examples(state)}). Known are the "
            "originals (vit_h, vit_l, vit_b), MobileSAM (vit_t), nano, and models fine-tuned from these."
        )
    if architecture is not None and found != architecture:
        raise ModelError(
            f"The checkpoint {path} holds a model of type {found}, but {architecture} was asked for. "
            f"Choose the model type {SHIPPED_MODEL if found == 'nano' else found} for it, or leave the type out."
        )
    return Checkpoint(found, state, decoder_state, metadata, model_hash(path))


def load_decoder_state(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The weights of a decoder for automatic segmentation from a file of its own, or from a fine-tuned checkpoint.

    Raises
    ------
    ModelError
        When the file cannot be read or holds no such decoder.
    """
    content, _ = read_tensors(Path(path))
    outer, state = _split(content)
    if state is None and "out_conv.weight" in outer:
        state = {name: value for name, value in outer.items() if not name.startswith("encoder.")}
    if state is None:
        raise ModelError(f"The file {path} holds no decoder for automatic segmentation ({_examples(content)}).")
    return state


def detect_architecture(state: Mapping[str, Tensor]) -> str | None:
    """The architecture that a state dict belongs to, or None."""
    if not any(name.startswith("mask_decoder.") for name in state):
        return None
    if "image_encoder.stem.0.0.weight" in state:
        return "nano"
    if "image_encoder.patch_embed.seq.0.c.weight" in state:
        return "vit_t"
    if "image_encoder.patch_embed.proj.weight" in state:
        blocks = {int(m[1]) for name in state if (m := re.match(r"image_encoder\.blocks\.(\d+)\.", name))}
        return VIT_WIDTHS.get((state["image_encoder.patch_embed.proj.weight"].shape[0], len(blocks)))
    return None


def save_checkpoint(
    path: str | os.PathLike[str],
    model: nn.Module,
    metadata: Mapping[str, Any] | None = None,
    half: bool = False,
    parts: Mapping[Path, bytes] = MappingProxyType({}),
) -> None:
    """Write a model as safetensors: the weights, its dense head among them, and what is known of it.

    The file appears whole or not at all.

    Parameters
    ----------
    path : str | os.PathLike[str]
        The file to write, ending in ".safetensors".
    model : Sam
        The model.
    metadata : Mapping[str, Any] | None
        Name, training settings and the like; values that JSON knows. Architecture and kind of dense head are added.
    half : bool
        Store float16, half the size.
    parts : Mapping[Path, bytes]
        Further files in the same folder, with their content, that change together with the weights.

    Raises
    ------
    OutputError
        When the file cannot be written, or something that is no model of this program is there.
    """
    state = {
        name: (value.half() if half and value.is_floating_point() else value).detach().cpu().contiguous()
        for name, value in model.state_dict().items()
    }
    known = {**(metadata or {}), "architecture": model.architecture, "dense_head": model.dense_kind}
    known[KEY] = mark("weights")
    notes = {key: json.dumps(value) for key, value in known.items()}
    _write(Path(path), lambda place: _save_safetensors(state, place, notes), parts)


def _save_safetensors(state: dict[str, Tensor], place: str | os.PathLike[str], notes: dict[str, str]) -> None:
    Path(place).touch()
    mode = Path(place).stat().st_mode
    save_file(state, place, notes)
    os.chmod(place, mode)  # as any new file: safetensors makes one that nobody but its owner may read


def export_custom_sam_model(
    checkpoint_path: str | os.PathLike[str],
    model_type: str | None,
    save_path: str | os.PathLike[str],
    with_segmentation_decoder: bool = False,
    prefix: str = "sam.",
) -> None:
    """Write the Segment Anything part of a fine-tuned checkpoint as a plain state dict that every SAM tool reads.

    Parameters
    ----------
    checkpoint_path : str | os.PathLike[str]
        The fine-tuned checkpoint.
    model_type : str | None
        Its model type; None takes what the file holds.
    save_path : str | os.PathLike[str]
        The file to write: safetensors when its name ends so, else PyTorch's format.
    with_segmentation_decoder : bool
        Write the decoder for automatic segmentation too; only this program and micro-sam read such a file.
    prefix : str
        What the names of the weights in the checkpoint begin with.

    Raises
    ------
    ModelError
        When the checkpoint cannot be read, is of another type, or has no decoder though one is wanted.
    OutputError
        When the file cannot be written, is the checkpoint itself, or something else is there.
    """
    check_not_input(save_path, checkpoint_path)
    check_result(save_path, "weights")
    expected = None if model_type is None else get_architecture_name(model_type)
    checkpoint = load_checkpoint(checkpoint_path, expected, prefix)
    decoder = checkpoint.decoder_state
    if not with_segmentation_decoder:
        decoder = None
    elif decoder is None:
        raise ModelError(f"The checkpoint {checkpoint_path} has no decoder for automatic segmentation to export.")
    state = _copies(checkpoint.state_dict)
    if Path(save_path).suffix == ".safetensors":
        known = {**checkpoint.metadata, "architecture": checkpoint.architecture, "dense_head": None}
        if decoder is not None:
            state |= {f"{DENSE_HEAD}{name}": value for name, value in _copies(decoder).items()}
            known["dense_head"] = checkpoint.metadata.get("dense_head", "distances")
        known[KEY] = mark("weights")
        metadata = {key: json.dumps(value) for key, value in known.items()}
        _write(Path(save_path), lambda place: _save_safetensors(state, place, metadata))
        return
    content = state if decoder is None else {"model_state": state, "decoder_state": _copies(decoder)}
    _write(Path(save_path), lambda place: _write_torch(content, place))


def _copies(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone().contiguous() for name, value in state.items()}


def read_tensors(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Content and metadata of a file of weights.

    Raises
    ------
    ModelError
        When there is no such file, or it is no file of weights; one sentence that says what it is instead.
    """
    recover(path)
    if path.is_dir():
        raise ModelError(f"{path} is a folder; give the file with the weights.")
    if not path.exists():
        raise ModelError(f"There is no file {path}.")
    try:
        with open(path, "rb") as file:
            head = file.read(64)
        if not head:
            raise ModelError(f"The file {path} is empty.")
        return _read_safetensors(path) if _is_safetensors(path, head) else (_read_torch(path, head), {})
    except OSError as error:
        raise ModelError(f"The file {path} cannot be read: {error.strerror or error}.") from error


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            content = {name: file.get_tensor(name) for name in file.keys()}
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ModelError(f"The file {path} is incomplete or damaged ({error}). Copy or download it again.") from error
    return content, {key: _from_json(value) for key, value in metadata.items() if key != KEY}


def _read_torch(path: Path, head: bytes) -> dict[str, Any]:
    is_zip = zipfile.is_zipfile(path)
    if not is_zip and head[:2] == b"PK":
        raise ModelError(f"The file {path} is incomplete: its end is missing. Copy or download it again.")
    if not is_zip and head[:1] != b"\x80":  # PyTorch's old format is a pickle
        kind = "a web page" if head.lstrip()[:1] == b"<" else "no file of weights"
        raise ModelError(f"The file {path} is {kind}. Expected is a checkpoint of PyTorch (.pt, .pth) or safetensors.")
    try:
        with _harmless_numbers(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # guesses about pickle protocols, for developers of PyTorch
            # mmap: of a training checkpoint, which is three times the model, only the model is ever read
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception as error:  # damaged files fail in the restricted unpickler in every way there is
        if match := re.search(r"unsupported (?:global: )?GLOBAL (\S+)", str(error), re.IGNORECASE):
            raise ModelError(
                f"The file {path} holds more than weights (it calls for {match[1]}) and is not opened, because reading "
                "it could run a program. Export its weights (a state dict) where you trust it."
            ) from error
        raise ModelError(
            f"The file {path} is incomplete, damaged, or no checkpoint of PyTorch. Copy or download it again."
        ) from error
    if not isinstance(content, dict):
        raise ModelError(f"The file {path} holds no named weights (but a {type(content).__name__}).")
    return content


@contextmanager
def _harmless_numbers() -> Iterator[None]:
    """Lets numpy's scalars through, in which training programs keep their best score; they are mere numbers."""
    scalar: Any = np.float64(0).__reduce__()[0]  # numpy's function that makes a scalar; its module has no public name
    dtypes = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.bool_)]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")  # before and since numpy 2
    scalars = [(scalar, name) for name in names]
    with torch.serialization.safe_globals([*scalars, np.dtype, *dtypes]):
        yield


def _split(content: Mapping[str, Any], prefix: str = "sam.") -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
    """Model and decoder of the content of a file, with Segment Anything's names."""
    nested = next((content[key] for key in ("model_state", "state_dict", "model") if _is_state(content.get(key))), None)
    state = {_plain_name(name, prefix): v for name, v in (nested or content).items() if isinstance(v, Tensor)}
    decoder = content.get("decoder_state") if _is_state(content.get("decoder_state")) else None
    inside = {name[len(DENSE_HEAD) :]: v for name, v in state.items() if name.startswith(DENSE_HEAD)}
    state = merge_lora({name: v for name, v in state.items() if not name.startswith(DENSE_HEAD)})
    return state, dict(decoder) if decoder is not None else inside or None


def _plain_name(name: str, prefix: str = "sam.") -> str:
    """Without the prefixes that training wrappers add."""
    return name.removeprefix("module.").removeprefix(prefix)


def _is_state(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(v, Tensor) for v in value.values())


def _is_safetensors(path: Path, head: bytes) -> bool:
    """By name, or by its first bytes: the length of a header that is JSON."""
    if path.suffix == ".safetensors":
        return True
    return len(head) > 8 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < path.stat().st_size


def _examples(content: Mapping[str, Any]) -> str:
    names = [str(name) for name in content][:3]
    return f"it holds {', '.join(names)}{', ...' if len(content) > 3 else ''}" if names else "it holds no weights"


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:  # other programs write plain text
        return text


def _write(path: Path, write: Any, parts: Mapping[Path, bytes] = MappingProxyType({})) -> None:
    try:
        with write_result(path, "weights", parts=list(parts)) as places:
            write(places[0])
            for place, content in zip(places[1:], parts.values(), strict=True):
                place.write_bytes(content)
    except OutputError:
        raise
    except (RuntimeError, SafetensorError) as error:  # what torch and safetensors make of a full disc
        raise OutputError(
            f"The model cannot be written to {path}: {error}. What was there before is intact."
        ) from error


def _write_torch(state: Mapping[str, Any], path: Path) -> None:
    torch.save(state, path)
    mark_torch_file(path, "weights")
