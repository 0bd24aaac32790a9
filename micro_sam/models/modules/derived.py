"""Weights that are computed from parameters once, and again when a parameter has changed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


class DerivedModule(nn.Module):
    """A module that keeps values derived from its parameters (folded, fused or reordered weights).

    The parameters stay what a checkpoint holds, so training, loading and saving know nothing of this. A derived value
    is kept outside the state dict, together with the identity and the version counter of the tensors it came from; an
    optimiser step, ``load_state_dict`` or a move to another device makes the next call compute it anew.
    """

    def derived(self, name: Hashable, sources: Iterable[Tensor], compute: Callable[[], T]) -> T:
        """The value of ``compute()`` for the present content of ``sources`` (computed without gradients).

        Safe to call from several threads: at worst the same value is computed twice.
        """
        key = tuple((t.data_ptr(), t._version, t.dtype, t.device) for t in sources)
        cache = self.__dict__.setdefault("_derived", {})
        kept = cache.get(name)
        if kept is not None and kept[0] == key:
            return kept[1]
        with torch.no_grad():
            value = compute()
        cache[name] = (key, value)
        return value

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # .to(), .half(), .cuda(): the addresses of the parameters may be used again for other contents.
        self.__dict__.pop("_derived", None)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # of torch
        return self

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state.pop("_derived", None)
        return state
