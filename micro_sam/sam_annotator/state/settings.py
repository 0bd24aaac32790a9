"""Model, device, where embeddings are kept, tiles; and what is offered when the wanted model is not there."""

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
        The user's own weights for that model; None: the registry's.
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
    offered
        A larger model that the window names when it is ready, because nobody has said which one is wanted.
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
    offered: str | None = None

    @classmethod
    def of(cls, model_type: str | None, checkpoint_path: str | Path | None, *others: Any, **more: Any) -> Settings:
        """The settings of a window that begins; without a model it begins with the one that works at once.

        Parameters
        ----------
        model_type, checkpoint_path
            What was asked for.
        *others, **more
            The other fields.
        """
        from micro_sam.models.registry import DEFAULT_MODEL, SHIPPED_MODEL

        if model_type is None and checkpoint_path is None:
            model_type, more["offered"] = SHIPPED_MODEL, DEFAULT_MODEL
        return cls(model_type, checkpoint_path, *others, **more)

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
    def model_key(self) -> tuple[str | None, ...]:
        """What decides which model is loaded."""
        files = (str(self.checkpoint_path or ""), str(self.decoder_path or ""))
        return (self.model_type, self.device or "auto", *files, self.precision)


@dataclass(frozen=True)
class ModelOffer:
    """The weights of the wanted model are not on this machine: what can be done about it.

    Attributes
    ----------
    wanted
        Name of the model.
    gigabytes
        What there is to download; None when it cannot be downloaded.
    seconds
        Time that one image takes with it on this machine, estimated.
    memory
        Gigabytes of memory it needs.
    instead
        Name of the model that comes with the program.
    instead_seconds
        Time that one image takes with that.
    """

    wanted: str
    gigabytes: float | None
    seconds: float
    memory: float
    instead: str
    instead_seconds: float


def missing_weights(settings: Settings) -> ModelOffer | None:
    """What to offer when the weights of the wanted model are not here; None when they are."""
    from micro_sam.models.build import estimate_cost
    from micro_sam.models.device import get_device
    from micro_sam.models.download import find_local
    from micro_sam.models.registry import SHIPPED_MODEL, get_spec

    spec = get_spec(settings.model_type)
    if find_local(spec) is not None:
        return None
    shipped = get_spec(SHIPPED_MODEL)
    device = get_device(settings.device)
    seconds, memory = estimate_cost(spec, device)
    return ModelOffer(
        wanted=spec.name,
        gigabytes=spec.weights.size / 1e9 if spec.weights.size and spec.weights.url else None,
        seconds=seconds,
        memory=memory,
        instead=shipped.name,
        instead_seconds=estimate_cost(shipped, device)[0],
    )


def no_model(settings: Settings) -> ModelOffer:
    """What to offer when the wanted model could not be loaded or downloaded."""
    from micro_sam.models.registry import SHIPPED_MODEL

    return ModelOffer(str(settings.model_type or "the model"), None, 0, 0, SHIPPED_MODEL, 0)
