"""Where weights lie on this machine, and which models can be used right now."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from micro_sam.errors import ModelError, OutputError
from micro_sam.io.atomic import write_bytes
from micro_sam.models.hashing import file_hash, remember_hash
from micro_sam.models.spec import ModelSpec, WeightFile

logger = logging.getLogger(__name__)

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
    return file_hash(path, _record())


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
    for name, expected in expected_hashes(weights).items():
        found = file_hash(path, _record(), name)
        if found != expected:
            raise ModelError(
                f"The file {path} is not the published {weights.filename} (its {name} is {found}, it should be "
                f"{expected}): it is incomplete, or another model. Delete or rename it to have it downloaded again; "
                "if it holds weights of your own, give it as a checkpoint instead."
            )


def expected_hashes(weights: WeightFile) -> dict[str, str]:
    """What a weight file must have, "xxh128" and "sha256" as far as they are known.

    xxh128 finds damage, but others can make a file that has it. Where nothing better is published, the sha256 of the
    first download counts from then on.
    """
    known = {"xxh128": weights.xxh128, "sha256": weights.sha256 or _remembered_sha256(weights)}
    return {name: value for name, value in known.items() if value is not None}


def remember_sha256(weights: WeightFile, path: Path, sha256: str) -> None:
    """Note the sha256 of a file that was downloaded and found right; what cannot be noted is done without."""
    remember_hash(path, _record(), "sha256", sha256)
    if weights.sha256 is None and _remembered_sha256(weights) is None:
        try:
            write_bytes(_sha256_file(weights), f"{sha256}  {weights.filename}\n".encode())
        except OutputError as error:
            logger.info("The sha256 of %s cannot be noted: %s", weights.filename, error)


def _remembered_sha256(weights: WeightFile) -> str | None:
    try:
        found = _sha256_file(weights).read_text().split()[0].lower()
    except (OSError, ValueError, IndexError):
        return None
    return found if len(found) == 64 and set(found) <= set("0123456789abcdef") else None


def _sha256_file(weights: WeightFile) -> Path:
    # apart from the weights, so that it stays when they are deleted and downloaded again
    return get_cache_directory() / "sha256" / f"{weights.filename}.sha256"


def _record() -> Path:
    return get_cache_directory() / "weight_hashes.json"


def _candidates(weights: WeightFile) -> Iterator[Path]:
    if weights.url is None:
        yield SHIPPED_WEIGHTS / weights.filename
    names = [weights.filename, f"{weights.filename}.pt", f"{weights.filename}.pth", *weights.aliases]
    folders = [get_model_directory(), get_cache_directory() / "models"]
    if os.environ.get("SAM_MODELS"):
        folders.append(Path(os.environ["SAM_MODELS"]).expanduser())
    folders.append(Path(OLD_FOLDER).expanduser())
    yield from (folder / name for folder in folders for name in names)
