"""Answers to the first prompts, from a process of its own.

Importing PyTorch is more than a second of Python, and so is opening a window: in one process the one waits for the
other. While a window opens, a second process loads the model and embeds the image, and answers what is asked until the
first one can do so itself. It writes nothing, and ends with the process that began it.
"""

from __future__ import annotations

import contextlib
import os
import pickle
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
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from micro_sam.session.first_answers import serve; serve()"
)


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


@dataclass(frozen=True)
class _Ready:
    model_name: str
    model_hash: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class _Question:
    prompts: Prompts
    index: int | None
    batched: bool
    previous: tuple[ObjectMask, ...] | None


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
            answer = None
            try:
                self._write(_Question(prompts, index, batched, None if previous is None else tuple(previous)))
                answer = self._read()
            except (OSError, EOFError, ValueError, pickle.UnpicklingError):
                self.close()
        if answer is None:
            raise NotComputedYet("The model is not ready yet.")
        return cast(tuple[ObjectMask, ...], answer)

    def close(self) -> None:
        """End the process; whoever waits for an answer gets none."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # what was not sent yet
                cast(BinaryIO, stream).close()

    def _begin(self) -> None:
        try:
            self._write(sys.path)
            self._write(self.order)
            ready: _Ready = self._read()
        except (OSError, EOFError, ValueError, pickle.UnpicklingError):
            self.close()
            return
        self.model_name, self.model_hash, self.shape = ready.model_name, ready.model_hash, ready.shape

    def _write(self, value: Any) -> None:
        stream = cast(BinaryIO, self._process.stdin)
        pickle.dump(value, stream, protocol=5)
        stream.flush()

    def _read(self) -> Any:
        return pickle.load(cast(BinaryIO, self._process.stdout))


def serve() -> None:
    """What the process does: load, embed, answer, until nobody asks any more."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer

    def send(value: Any) -> None:
        pickle.dump(value, answers, protocol=5)
        answers.flush()

    order: Order = pickle.load(sys.stdin.buffer)
    from micro_sam.embeddings.compute import iter_embeddings, open_embeddings
    from micro_sam.models.build import get_sam_model
    from micro_sam.models.threads import leave_a_core
    from micro_sam.segmentation.prompted.readiness import missing_tiles
    from micro_sam.segmentation.prompted.segment import segment_objects

    leave_a_core()
    predictor = get_sam_model(**order.model)
    embeddings, store = open_embeddings(predictor, order.pixels, **order.embedding)
    if len(store.missing()) == 1:
        list(iter_embeddings(predictor, order.pixels, store))
    send(_Ready(predictor.model_name, predictor.model_hash or "", embeddings.shape))

    def answer(question: _Question) -> tuple[ObjectMask, ...]:
        how: dict[str, Any] = {"batched": question.batched, "previous": question.previous}
        tiles = missing_tiles(predictor, embeddings, question.index, question.prompts, **how)
        if tiles:
            items = [(question.index, tile) for tile in tiles]
            list(iter_embeddings(predictor, order.pixels, store, items=items))
        return tuple(segment_objects(predictor, question.prompts, embeddings, question.index, **how))

    while True:
        try:
            question = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            found: tuple[ObjectMask, ...] | None = answer(question)
        except Exception:
            found = None  # the model itself will say what is wrong
        send(found)
