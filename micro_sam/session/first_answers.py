"""Answers to the first prompts, from a process of its own.

Importing PyTorch is more than a second of Python, and so is opening a window: in one process the one waits for the
other. While a window opens, a second process loads the model and embeds the image, and answers what is asked until the
first one can do so itself. It writes nothing, and ends with the process that began it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np

from micro_sam.errors import NotComputedYet
from micro_sam.segmentation.values import ObjectMask, Prompts

MOST_BYTES = 64_000_000  # of an image: it is copied to the process
# what is imported here must be found there, too
BEGIN = (
    "import json, sys; sys.path[:] = json.loads(sys.stdin.buffer.readline()); "
    "from micro_sam.session.first_answers import serve; serve()"
)
GONE = (OSError, EOFError, ValueError)
"""What is raised where the other end of a pipe has gone, or this end is closed."""
Message = dict[str, Any]
"""Plain values and arrays."""


@dataclass(frozen=True)
class Order:
    """What the process is to get ready.

    Attributes
    ----------
    pixels
        (H, W[, C]) or (Z, H, W[, C]).
    model
        Arguments of :func:`~micro_sam.models.build.get_sam_model`.
    embedding
        Further arguments of :func:`~micro_sam.embeddings.compute.open_embeddings`.
    """

    pixels: np.ndarray
    model: Mapping[str, Any]
    embedding: Mapping[str, Any]


def can_begin(pixels: Any) -> bool:
    """Whether a process would help: PyTorch is yet to be imported, a core is free, and the image is quickly copied."""
    is_copied = type(pixels) is np.ndarray and pixels.nbytes <= MOST_BYTES
    can_start = bool(sys.executable) and not getattr(sys, "frozen", False)
    return is_copied and can_start and "torch" not in sys.modules and (os.cpu_count() or 1) > 1


class FirstAnswers:
    """The process, seen from the one that asks. It takes the place of predictor and embeddings in requests.

    Parameters
    ----------
    order
        What it gets ready, in the background from now on.

    Attributes
    ----------
    model_name, model_hash
        Of the model that answers; empty before the first answer.
    shape
        Of the image, as embeddings have it; before the first answer that of the pixels.
    """

    def __init__(self, order: Order) -> None:
        self.order = order
        self.model_name = self.model_hash = ""
        self.shape: tuple[int, ...] = order.pixels.shape
        self._asking = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-c", BEGIN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in the terminal is for the window
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        self._to, self._from = cast(BinaryIO, self._process.stdin), cast(BinaryIO, self._process.stdout)
        self._begun = threading.Thread(target=self._begin, name="micro_sam first answers", daemon=True)
        self._begun.start()

    @property
    def is_open(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def segment(
        self,
        prompts: Prompts,
        index: int | None = None,
        *,
        batched: bool = False,
        previous: Sequence[ObjectMask] | None = None,
    ) -> tuple[ObjectMask, ...]:
        """The objects of the prompts of a slice; parameters as of ``segment_objects``. Waits for the answer.

        Raises
        ------
        NotComputedYet
            When the process has ended, or cannot answer this: the question is for the model itself.
        """
        self._begun.join()
        with self._asking:
            answer: tuple[ObjectMask, ...] | None = None
            try:
                _write(self._to, _question(prompts, index, batched, previous))
                answer = _masks_of(_read(self._from), "answer")
            except GONE:
                self.close()
        if answer is None:
            raise NotComputedYet("The model is not ready yet.")
        return answer

    def close(self) -> None:
        """End the process; whoever waits for an answer gets none."""
        self._process.kill()
        self._process.wait()
        for stream in (self._to, self._from):
            with contextlib.suppress(OSError):  # what was not sent yet
                stream.close()

    def _begin(self) -> None:
        order = self.order
        try:
            self._to.write(json.dumps([str(path) for path in sys.path]).encode() + b"\n")
            _write(self._to, {"pixels": order.pixels, "model": dict(order.model), "embedding": dict(order.embedding)})
            ready = _read(self._from)
        except GONE:
            self.close()
            return
        self.model_name, self.model_hash, self.shape = ready["name"], ready["hash"], tuple(ready["shape"])


def serve() -> None:
    """What the process does: load, embed, answer, until nobody asks any more."""
    asked, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    order = _read(asked)
    from micro_sam.embeddings.compute import iter_embeddings, open_embeddings
    from micro_sam.models.build import get_sam_model
    from micro_sam.models.threads import leave_a_core
    from micro_sam.segmentation.prompted.readiness import missing_tiles
    from micro_sam.segmentation.prompted.segment import segment_objects

    leave_a_core()
    pixels, predictor = order["pixels"], get_sam_model(**order["model"])
    how: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in order["embedding"].items()
    }
    embeddings, store = open_embeddings(predictor, pixels, **how)
    if len(store.missing()) == 1:
        list(iter_embeddings(predictor, pixels, store))
    ready = {"name": predictor.model_name, "hash": predictor.model_hash or "", "shape": list(embeddings.shape)}
    _write(answers, ready)

    def answer(question: Message) -> tuple[ObjectMask, ...]:
        """The objects that a question asks for; tiles that it needs are embedded first."""
        masks = _masks_of(question, "masks") or ()
        prompts, index = Prompts(question["points"], question["labels"], question["boxes"], masks), question["index"]
        how: dict[str, Any] = {"batched": question["batched"], "previous": _masks_of(question, "previous")}
        if tiles := missing_tiles(predictor, embeddings, index, prompts, **how):
            list(iter_embeddings(predictor, pixels, store, items=[(index, tile) for tile in tiles]))
        return tuple(segment_objects(predictor, prompts, embeddings, index, **how))

    while True:
        try:
            question = _read(asked)
        except EOFError:
            return
        try:
            found: tuple[ObjectMask, ...] | None = answer(question)
        except Exception:
            found = None  # the model itself will say what is wrong
        _write(answers, _message_of("answer", found))


def _question(prompts: Prompts, index: int | None, batched: bool, previous: Sequence[ObjectMask] | None) -> Message:
    values = {"points": prompts.points, "labels": prompts.labels, "boxes": prompts.boxes}
    masks = {**_message_of("masks", prompts.masks), **_message_of("previous", previous)}
    return {**values, "index": index, "batched": batched, **masks}


def _message_of(name: str, masks: Sequence[ObjectMask | None] | None) -> Message:
    """Masks under a name, as plain values and arrays."""
    message: Message = {name: None if masks is None else []}
    for k, mask in enumerate(masks or ()):
        if mask is None:
            message[name].append(None)
            continue
        tile = mask.tile if isinstance(mask.tile, tuple) else (mask.tile,)
        numbers = {"box": mask.box, "tile": tile, "cut_at": mask.cut_at}
        whole = {key: [int(value) for value in values] for key, values in numbers.items()}
        message[name].append({**whole, "score": float(mask.score)})
        message[f"{name}_{k}"] = mask.mask
        if mask.logits is not None:
            message[f"{name}_{k}_logits"] = mask.logits
    return message


def _masks_of(message: Message, name: str) -> tuple[Any, ...] | None:
    """What `_message_of` was given."""
    if message[name] is None:
        return None
    masks: list[ObjectMask | None] = []
    for k, one in enumerate(message[name]):
        if one is None:
            masks.append(None)
            continue
        tile = one["tile"][0] if len(one["tile"]) == 1 else tuple(one["tile"])
        given = (message[f"{name}_{k}"], one["score"], message.get(f"{name}_{k}_logits"))
        masks.append(ObjectMask(tuple(one["box"]), *given, tile, tuple(one["cut_at"])))
    return tuple(masks)


def _write(stream: BinaryIO, message: Message) -> None:
    """Send a message: its length, then what `numpy.savez` makes of it."""
    arrays: dict[str, Any] = {key: value for key, value in message.items() if isinstance(value, np.ndarray)}
    plain = json.dumps({key: value for key, value in message.items() if key not in arrays})
    packed = io.BytesIO()
    np.savez(packed, plain=np.frombuffer(plain.encode(), np.uint8), **arrays)
    stream.write(packed.tell().to_bytes(8, "little"))
    stream.write(packed.getbuffer())
    stream.flush()


def _read(stream: BinaryIO) -> Message:
    """Wait for a message; EOFError when there will be none."""
    size = int.from_bytes(stream.read(8), "little")
    packed = stream.read(size)
    if not size or len(packed) < size:
        raise EOFError
    with np.load(io.BytesIO(packed)) as file:
        arrays = {key: file[key] for key in file.files if key != "plain"}
        return {**json.loads(file["plain"].tobytes()), **arrays}
