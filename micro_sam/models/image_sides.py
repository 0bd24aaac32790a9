"""What the mask decoder computes from an image alone, kept for the images in use."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor

from micro_sam.models.modules.decoding import ImageSide, as_positions
from micro_sam.models.sam import Sam

CAPACITY = 4  # images; about 14 MB each (float32, 256 channels, 64 x 64 positions)
PROJECT_FROM = 3  # prompts on an image from which its projections save more than they cost


@dataclass
class _Entry:
    features: weakref.ref[Tensor]
    version: tuple[int, ...]  # of the features and the weights
    side: ImageSide
    prompts: int = 0


class ImageSideCache:
    """The image sides of the few images that were used last.

    An image is known by its features tensor itself, not by its content; an entry dies with the tensor. Threads may
    share a cache: at worst two compute the same side.

    Parameters
    ----------
    model : Sam
    dtype : torch.dtype
        Of the decoder's arithmetic with image positions.
    """

    def __init__(self, model: Sam, dtype: torch.dtype = torch.float32) -> None:
        self._model = model
        self._dtype = dtype
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, features: Tensor, prompts: int) -> ImageSide:
        """The image side of ``features`` (1, C, g, g) for ``prompts`` more prompts without masks."""
        version = self._version(features)
        with self._lock:
            entry = self._entries.get(id(features))
        if entry is None or entry.features() is not features or entry.version != version:
            dense = self._model.prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1)
            entry = _Entry(weakref.ref(features), version, self.with_mask(features, dense))
        entry.prompts += prompts
        if entry.side.projected is None and entry.prompts >= PROJECT_FROM:
            entry.side = entry.side.project(self._model.mask_decoder)
        with self._lock:
            self._entries[id(features)] = entry
            self._entries.move_to_end(id(features))
            for key in [k for k, e in self._entries.items() if e.features() is None]:
                del self._entries[key]
            while len(self._entries) > CAPACITY:
                self._entries.popitem(last=False)
        return entry.side

    def with_mask(self, features: Tensor, dense: Tensor) -> ImageSide:
        """The image side with dense prompt embeddings (b, C, g, g); not kept."""
        encoder = self._model.prompt_encoder
        code = encoder.derived(
            "dense_pe_positions",
            (encoder.pe_layer.positional_encoding_gaussian_matrix,),
            lambda: as_positions(encoder.get_dense_pe()),
        )
        return ImageSide.of(features.to(self._model.device), dense, code, self._dtype)

    def _version(self, features: Tensor) -> tuple[int, ...]:
        layer = self._model.mask_decoder.transformer.blocks[0]
        weights = [
            self._model.prompt_encoder.no_mask_embed.weight,
            *layer.cross_attn_token_to_image.parameters(),
            *layer.cross_attn_image_to_token.parameters(),
        ]
        return (features._version, *(w._version for w in weights), *(w.data_ptr() for w in weights))
