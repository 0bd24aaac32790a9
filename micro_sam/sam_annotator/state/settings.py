"""What the person chose: model, device, where embeddings are kept, tiles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from micro_sam.errors import InputError
from micro_sam.io.atomic import recover


@dataclass(frozen=True)
class Settings:
    """Model and embedding settings of a tool.

    Attributes
    ----------
    model_type
        Name in the registry; None: found in the checkpoint.
    checkpoint_path
        The person's own weights for that model; None: the registry's.
    device
        None: the best there is.
    embedding_path
        Zarr folder for the embeddings; None: they are kept in memory.
    tile_shape, halo
        (y, x) in pixels; None: not tiled.
    precompute_amg_state
        Whether the network part of the automatic segmentation runs right after the embedding.
    show_embeddings
        Whether the embeddings are shown as a layer.
    decoder_path
        A decoder for automatic segmentation in a file of its own; None: that of the model, if it has one.
    prefer_decoder
        Whether the automatic segmentation begins with the decoder, where there is one, instead of a grid of clicks.
    precision
        Arithmetic of the encoder, see :func:`~micro_sam.models.device.resolve_precision`.
    """

    model_type: str | None = "vit_h"
    checkpoint_path: str | Path | None = None
    device: str | None = None
    embedding_path: str | Path | None = None
    tile_shape: tuple[int, int] | None = None
    halo: tuple[int, int] | None = None
    precompute_amg_state: bool = False
    show_embeddings: bool = False
    decoder_path: str | Path | None = None
    prefer_decoder: bool = True
    precision: str = "auto"

    def check(self) -> None:
        """Whether the settings go together.

        Raises
        ------
        InputError
            For a model that is not in the registry, a halo without tiles, a checkpoint that is not there, or labels in
            the place of ``show_embeddings``.
        """
        from micro_sam.models.registry import get_spec

        if self.model_type is not None and self.checkpoint_path is None:
            get_spec(self.model_type)
        if self.model_type is None and self.checkpoint_path is None:
            raise InputError("Name a model, or give the path of your own weights.")
        for path in (self.checkpoint_path, self.decoder_path):
            if path is not None:
                recover(path)
                if not Path(path).is_file():
                    raise InputError(f"There are no weights at {path}. Give the path of a file.")
        if not isinstance(self.show_embeddings, bool):
            raise InputError(
                f"show_embeddings is True or False, not {type(self.show_embeddings).__name__}. Give what follows "
                "embedding_path by name (segmentation_result=..., model_type=...): its order differs between versions."
            )
        if self.halo is not None and self.tile_shape is None:
            raise InputError("A halo is the overlap of tiles and needs a tile shape as well.")

    def changed(self, **values: Any) -> Settings:
        """A copy with other values."""
        return replace(self, **values)

    @property
    def model_key(self) -> tuple:
        """What decides which model is loaded."""
        files = (str(self.checkpoint_path or ""), str(self.decoder_path or ""))
        return (self.model_type, self.device or "auto", *files, self.precision)
