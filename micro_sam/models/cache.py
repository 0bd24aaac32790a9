"""Where weights lie on this machine, and which models can be used right now."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from micro_sam.errors import ModelError
from micro_sam.models.hashing import file_hash
from micro_sam.models.spec import ModelSpec, WeightFile

SHIPPED_WEIGHTS = Path(__file__).parent / "weights"
OLD_FOLDER = "~/.sam_models"


def get_cache_directory() -> Path:
    """The folder for everything that is downloaded.

    The environment variable ``MICROSAM_CACHEDIR``; else ``SAM_MODELS``, the variable of older versions; else
    ``micro_sam`` in the operating system's cache directory. The folder need not exist.
    """
    for variable in ("MICROSAM_CACHEDIR", "SAM_MODELS"):
        if os.environ.get(variable):
            return Path(os.environ[variable]).expanduser().absolute()
    return Path(platformdirs.user_cache_dir("micro_sam", appauthor=False))


microsam_cachedir = get_cache_directory  # its older name


def get_model_directory() -> Path:
    """The folder that downloaded weights go to: ``models`` in the cache directory, or ``SAM_MODELS`` itself."""
    if os.environ.get("SAM_MODELS") and not os.environ.get("MICROSAM_CACHEDIR"):
        return get_cache_directory()
    return get_cache_directory() / "models"


def model_hash(path: Path) -> str:
    """The xxh128 of a weight file, remembered in the cache directory."""
    return file_hash(path, get_cache_directory() / "weight_hashes.json")


def find_local(spec: ModelSpec) -> Path | None:
    """The file with the weights of a model on this machine, or None. Nothing is read but folders."""
    return find_file(spec.weights)


def find_file(weights: WeightFile) -> Path | None:
    """The first file of a fitting name in the package (shipped weights) or in the folders of the models, or None."""
    return next((path for path in _candidates(weights) if path.is_file()), None)


def check_content(path: Path, weights: WeightFile) -> None:
    """Refuses a file on this machine that is not what its name promises.

    Raises
    ------
    ModelError
        When the hash is known and differs.
    """
    if weights.xxh128 is None:
        return
    found = model_hash(path)
    if found != weights.xxh128:
        raise ModelError(
            f"The file {path} is not the published {weights.filename} (its xxh128 is {found}, it should be "
            f"{weights.xxh128}): it is incomplete, or another model. Delete or rename it to have it downloaded again; "
            "if it holds weights of your own, give it as a checkpoint instead."
        )


def _candidates(weights: WeightFile) -> Iterator[Path]:
    if weights.url is None:
        yield SHIPPED_WEIGHTS / weights.filename
    names = [weights.filename, f"{weights.filename}.pt", f"{weights.filename}.pth", *weights.aliases]
    folders = [get_model_directory(), get_cache_directory() / "models"]
    if os.environ.get("SAM_MODELS"):
        folders.append(Path(os.environ["SAM_MODELS"]).expanduser())
    folders.append(Path(OLD_FOLDER).expanduser())
    yield from (folder / name for folder in folders for name in names)
