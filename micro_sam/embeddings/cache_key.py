"""What a cache belongs to, and the sentence that a user reads when it belongs to something else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from micro_sam.embeddings.signature import ImageSignature
from micro_sam.embeddings.tiles import TileGrid
from micro_sam.errors import CacheError
from micro_sam.io.normalization import Normalization
from micro_sam.models.registry import EARLIER_WEIGHTS, SHIPPED_MODEL


@dataclass(frozen=True)
class CacheKey:
    """Image, model and settings that the features of a cache were computed from.

    `precision` is remembered but not compared: features of any precision may be used anywhere. A `normalization` of
    None stands for the automatic one. A `signature` of None stands for an image that was not looked at (yet).
    """

    signature: ImageSignature | None
    shape: tuple[int, ...]
    ndim: int
    model_type: str | None
    model_name: str | None
    model_hash: str | None
    precision: str | None = None
    normalization: Normalization | None = None
    tile_shape: tuple[int, int] | None = None
    halo: tuple[int, int] | None = None

    @property
    def grid(self) -> TileGrid:
        """The tiles of each slice."""
        height, width = self.shape[self.ndim - 2 : self.ndim]
        return TileGrid((height, width), self.tile_shape, self.halo)

    @property
    def n_slices(self) -> int | None:
        """Number of slices; None for a 2D image."""
        return None if self.ndim == 2 else self.shape[0]

    def differences(self, wanted: CacheKey) -> list[str]:
        """What differs from the wanted key, in words; the image's content is compared elsewhere."""
        found = []
        if self.spatial_shape != wanted.spatial_shape:
            found.append(_differs("the shape of the image", self.spatial_shape, wanted.spatial_shape))
        if self.model_hash and wanted.model_hash:
            if self.model_hash != wanted.model_hash:
                found.append(_differs("the model", self._model(), wanted._model()))
        elif self.model_name and wanted.model_name and self.model_name != wanted.model_name:
            found.append(_differs("the model", self.model_name, wanted.model_name))
        elif self.model_type and wanted.model_type and self.model_type[:5] != wanted.model_type[:5]:
            found.append(_differs("the model type", self.model_type, wanted.model_type))
        for name, words in (("tile_shape", "the tile shape"), ("halo", "the halo")):
            stored, new = getattr(self, name), getattr(wanted, name)
            if stored != new and not (name == "halo" and found and "tile shape" in found[-1]):
                found.append(_differs(words, stored or "no tiles", new or "no tiles"))
        if self.normalization != wanted.normalization:
            stored, new = (_stretch(key.normalization) for key in (self, wanted))
            found.append(_differs("the grey value range", stored, new))
        return found

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Shape without channels: (H, W) or (Z, H, W)."""
        return tuple(self.shape[: self.ndim])

    def _model(self) -> str:
        date = next((date for date, known in EARLIER_WEIGHTS.items() if known == self.model_hash), None)
        since = "" if date is None else f", {SHIPPED_MODEL}@{date}"
        return f"{self.model_name or self.model_type} (weights {str(self.model_hash)[:12]}{since})"


def refuse(path: Any, differences: list[str]) -> CacheError:
    """The error for a cache that belongs to something else."""
    return CacheError(
        f"The embeddings in {path} do not belong to this image and these settings: {'; '.join(differences)}. Choose "
        "another embedding path, or delete that folder if it is no longer needed; nothing was changed."
    )


def _differs(what: str, stored: Any, wanted: Any) -> str:
    return f"{what} differs (stored: {stored}, wanted: {wanted})"


def _stretch(normalization: Normalization | None) -> str:
    if normalization is None:
        return "automatic"
    return f"{', '.join(f'{v:g}' for v in normalization.lower)} to {', '.join(f'{v:g}' for v in normalization.upper)}"
