"""What is known of a model before any of its weights is on this machine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WeightFile:
    """A file with weights, and how to recognise it.

    Attributes
    ----------
    filename : str
        Name in the folder of the models; for a shipped model, name in the package.
    url : str | None
        Where it is published; None for a file that ships with the package.
    sha256, xxh128 : str | None
        Hashes of the whole file, as hexadecimal digits. At least one of them for a file that is downloaded.
    size : int | None
        Length in bytes, where it is known.
    aliases : tuple[str, ...]
        Other names under which users keep this very file, for instance the one that a web browser gives it.
    how : str
        How to have a file that is neither published nor part of the package.
    """

    filename: str
    url: str | None
    sha256: str | None = None
    xxh128: str | None = None
    size: int | None = None
    aliases: tuple[str, ...] = ()
    how: str = ""

    @property
    def hash_text(self) -> str:
        """The hash to tell a user, for instance "sha256 a7bf..."; sha256 where known, as every system has a tool."""
        if self.sha256 is not None:
            return f"sha256 {self.sha256}"
        return f"xxh128 {self.xxh128}" if self.xxh128 is not None else "no hash is known"


@dataclass(frozen=True)
class ModelSpec:
    """A model that can be asked for by its name.

    Attributes
    ----------
    name : str
        The name that users type, for instance "vit_b_lm".
    architecture : str
        "vit_h", "vit_l", "vit_b", "vit_t" or "nano".
    family : str
        "sam" (the originals), "mobilesam", or "microscopy" (trained on microscopy images).
    licence : str
        Licence of the weights: an SPDX identifier, or where it is stated.
    weights : WeightFile
        The model itself.
    decoder : WeightFile | None
        A decoder for automatic segmentation in a file of its own.
    description : str
        What the model is for, in one line.
    shipped : bool
        Whether the weights are part of the package.
    """

    name: str
    architecture: str
    family: str
    licence: str
    weights: WeightFile
    decoder: WeightFile | None = None
    description: str = ""
    shipped: bool = False

    @property
    def has_dense_head(self) -> bool:
        """Whether the model segments a whole image without prompts: its own head, or a decoder beside it."""
        return self.decoder is not None or self.architecture == "nano"
