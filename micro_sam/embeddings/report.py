"""What a cache holds, for a user who finds it."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

from micro_sam.embeddings.store import Item
from micro_sam.embeddings.zarr_layout import is_cache
from micro_sam.embeddings.zarr_store import ZarrStore
from micro_sam.errors import CacheError

MOST_RANGES = 12  # of what is missing


def describe_cache(path: str | Path) -> dict[str, Any]:
    """What a cache is of, what it holds and what is missing, as values that JSON knows; nothing is changed.

    Returns
    -------
    dict
        ``image`` (shape, dtype, when its file changed), ``model``, ``tiles``, ``items``, ``complete``, ``skipped``,
        ``missing`` (as ranges in words), ``bytes`` and ``files`` on disc, and what is ``prepared`` besides.

    Raises
    ------
    CacheError
        When there is no cache at the path.
    """
    path = Path(path).expanduser()
    if path.is_dir() and not is_cache(path):
        inside = sorted(one for one in path.glob("*.zarr") if is_cache(one))
        if inside:
            raise CacheError(
                f"{path} is a folder with the embeddings of {len(inside)} image{'s' * (len(inside) > 1)}; name one of "
                f"them, such as {inside[0]}."
            )
    store = ZarrStore.open(path)
    key, missing = store.key, store.missing()
    total = len(store.grid) * (store.n_slices or 1)
    skipped = sum(store.is_skipped(*item) for item in store.items())
    size, files = _size(path)
    signature = key.signature
    return {
        "path": str(path),
        "image": {
            "shape": list(key.shape),
            "dtype": None if signature is None else signature.dtype,
            "ndim": key.ndim,
            "samples": None if signature is None else signature.samples,
            "file": None if signature is None or signature.file is None else list(signature.file),
        },
        "model": {"type": key.model_type, "name": key.model_name, "hash": key.model_hash, "precision": key.precision},
        "tiles": None
        if key.tile_shape is None
        else {"shape": list(key.tile_shape), "halo": list(key.halo or (0, 0)), "number": len(store.grid)},
        "slices": store.n_slices,
        "items": total,
        "complete": total - len(missing) - skipped,
        "skipped": skipped,
        "missing": _ranges(missing, len(store.grid)),
        "items_per_file": store.items_per_file,
        "bytes": size,
        "files": files,
        "prepared": _prepared(path),
        "writable": store.writable,
    }


def as_text(found: dict[str, Any]) -> str:
    """The same as a user reads it."""
    image, model, tiles = found["image"], found["model"], found["tiles"]
    what = {2: "an image", 3: "a stack or time series"}[image["ndim"]]
    shape = " x ".join(map(str, image["shape"]))
    name = model["name"] or model["type"] or "not known"
    unit = "tiles" if tiles is not None else "slices" if found["slices"] is not None else "image"
    lines = {
        "embeddings": found["path"],
        "of": f"{what}, {shape}{', ' + image['dtype'] if image['dtype'] else ''}",
        "its file": _file(image["file"]),
        "model": name + (f" (weights {model['hash'][:12]})" if model["hash"] else ""),
        "precision": model["precision"] or "not known",
    }
    if tiles is not None:
        tile, halo = (" x ".join(map(str, tiles[key])) for key in ("shape", "halo"))
        lines["tiles"] = f"{tiles['number']} of {tile} pixels, halo {halo}" + (
            "" if not found["slices"] else " a slice"
        )
    lines["complete"] = (
        f"{found['complete']} of {found['items']} {unit}"
        if found["items"] > 1
        else ("yes" if found["complete"] else "no")
    )
    if found["skipped"]:
        lines["outside the mask"] = str(found["skipped"])
    lines["missing"] = ", ".join(found["missing"]) or "nothing"
    lines["prepared"] = ", ".join(found["prepared"]) or "nothing else"
    per_file = f", {found['items_per_file']} items in a file" if found["items_per_file"] > 1 else ""
    lines["on disc"] = f"{found['bytes'] / 1e6:,.1f} MB in {found['files']:,} files{per_file}"
    return "\n".join(f"{key:<18}{value}" for key, value in lines.items())


def _file(state: list[int] | None) -> str:
    """Size and last change of the file, as whoever looks for it sees them."""
    if state is None:
        return "not known"
    size, changed = state
    return f"{size:,} bytes, changed {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(changed / 1e9))}"


def _ranges(missing: list[Item], tiles: int) -> list[str]:
    """Missing items in words: "slices 3-7", "tiles 0-12 of slice 4"."""
    by_slice: dict[int | None, list[int]] = {}
    for i, tile in missing:
        by_slice.setdefault(i, []).append(tile)
    whole = [i for i, some in by_slice.items() if len(some) == tiles and i is not None]
    words = [_words("slice", first, last) for first, last in _runs(whole)]
    for i, some in by_slice.items():
        if i is None and tiles == 1:
            words.append("the image")
        elif i is None or len(some) < tiles:
            of = "" if i is None else f" of slice {i}"
            words += [_words("tile", first, last) + of for first, last in _runs(some)]
    if len(words) > MOST_RANGES:
        words = [*words[:MOST_RANGES], f"and {len(words) - MOST_RANGES} more such ranges"]
    return words


def _words(what: str, first: int, last: int) -> str:
    return f"{what} {first}" if first == last else f"{what}s {first}-{last}"


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def _prepared(path: Path) -> list[str]:
    found = []
    slices = sum(1 for _ in (path / "automatic").glob("*.npz"))
    if slices:
        found.append(f"automatic segmentation ({slices})")
    for folder, words in (("dense_blocks", ""), ("closer_blocks", ", looked at closer")):  # of a large image
        blocks = sum(1 for _ in (path / "automatic" / folder).glob("*.npy"))
        if blocks:
            found.append(f"automatic segmentation ({blocks} block{'s' * (blocks > 1)}{words})")
    if (path / "is_state.h5").is_file():
        found.append("automatic segmentation for micro-sam 1.x")
    if (path / "state" / "volume").is_dir():
        found.append("maps of the volume")
    return found


def _size(path: Path) -> tuple[int, int]:
    sizes = []
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):  # a cache may be changing
                found = os.stat(os.path.join(folder, name))
                # a file of several items has holes until they are all there
                sizes.append(min(found.st_size, getattr(found, "st_blocks", found.st_size) * 512))
    return sum(sizes), len(sizes)
