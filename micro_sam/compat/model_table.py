"""The table of all models, with what scripts ask of a download registry: names, addresses, hashes."""

from __future__ import annotations

import os

from micro_sam.errors import InputError
from micro_sam.models.download import fetch
from micro_sam.models.registry import MODELS
from micro_sam.models.registry import models as model_states
from micro_sam.models.spec import WeightFile

__all__ = ["ModelTable", "models"]


class ModelTable(dict[str, str]):
    """Name -> "shipped", "cached" or "downloadable".

    Attributes
    ----------
    registry : dict of str -> str
        Hash ("xxh128:..." or "sha256:...") of every file that can be downloaded; decoders are ``<model>_decoder``.
    urls : dict of str -> str
        Where these files are published.
    """

    def __init__(self) -> None:
        super().__init__(model_states())
        self._files: dict[str, WeightFile] = {}
        for name, spec in MODELS.items():
            for key, file in ((name, spec.weights), (f"{name}_decoder", spec.decoder)):
                if file is not None and file.url is not None:
                    self._files[key] = file

    @property
    def registry(self) -> dict[str, str]:
        return {
            name: f"xxh128:{file.xxh128}" if file.xxh128 else f"sha256:{file.sha256}"
            for name, file in self._files.items()
        }

    @property
    def urls(self) -> dict[str, str]:
        return {name: str(file.url) for name, file in self._files.items()}

    def get_url(self, name: str) -> str:
        """The address of a file of ``registry``."""
        return str(self._file(name).url)

    def fetch(self, name: str) -> str:
        """The path of a file of ``registry``, downloaded and checked if it is not on this machine."""
        return os.fspath(fetch(self._file(name)))

    def _file(self, name: str) -> WeightFile:
        if name not in self._files:
            raise InputError(f"There is no file {name!r} to download. There are {', '.join(self._files)}.")
        return self._files[name]


def models() -> ModelTable:
    """All models: where each is (a mapping), and what can be downloaded (``registry``, ``urls``, ``get_url``)."""
    return ModelTable()
