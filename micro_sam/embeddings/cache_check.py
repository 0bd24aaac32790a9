"""Whether what a cache says of itself can be true; its attributes may have been edited, or damaged by a copy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from micro_sam.embeddings.cache_key import CacheKey
from micro_sam.models.sizes import resized_size

LARGEST_SMOOTHING = 100.0  # sigma in pixels; this program uses 1.5
LARGEST_STRIDE = 64  # pixels of the network's input for one position of its features; 16 for Segment Anything


def faulty_attribute(attrs: Mapping[str, Any], key: CacheKey) -> str | None:
    """What is wrong with the attributes of a cache, as half a sentence; None when they fit together.

    Parameters
    ----------
    attrs
        Of the cache.
    key
        What the cache belongs to, from the same attributes.
    """
    notes = attrs.get("cache")
    if notes is not None:
        for name, fits in _NOTES.items():
            if (name in notes or name in _NEEDED) and not fits(notes.get(name)):
                return _is_not(f"cache/{name}", notes.get(name))
        if len(key.shape) not in (key.ndim, key.ndim + 1):
            return _is_not("cache/ndim", key.ndim)
    for name in ("model_type", "model_name", "model_hash", "data_signature", "micro_sam_version"):
        if not isinstance(attrs.get(name), str | None):
            return _is_not(name, attrs[name])
    if key.grid.is_tiled:
        return None
    size, original = attrs.get("input_size"), attrs.get("original_size")
    if original is not None and list(original) != list(key.grid.shape):
        return _is_not("original_size", original)
    if size is not None and notes is not None and list(size) != list(resized_size(key.grid.shape, notes["image_size"])):
        return _is_not("input_size", size)
    return None


def is_network_size(size: Any, shape: tuple[int, int], positions: int) -> bool:
    """Whether a network with (`positions`, `positions`) features can have seen an image of this shape in this size."""
    if not _is_integers(size, 2, 1):
        return False
    longest = max(size)
    expected = resized_size(shape, longest)
    fits = all(abs(a - max(b, 1)) <= 1 for a, b in zip(size, expected, strict=True))  # other programs round otherwise
    return fits and longest % positions == 0 and longest <= LARGEST_STRIDE * positions


def _is_not(name: str, value: Any) -> str:
    text = "is missing" if value is None else f"{str(value)[:80]} cannot be true"
    return f"{name} {text}"


def _is_integers(values: Any, number: int | None, smallest: int) -> bool:
    if not isinstance(values, (list, tuple)) or (number is not None and len(values) != number) or not values:
        return False
    return all(_is_integer(value, smallest) for value in values)


def _is_integer(value: Any, smallest: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and smallest <= value < 2**53


def _is_range(values: Any) -> bool:
    """Whether these are the lower and upper ends of ranges of grey values, and perhaps a smoothing."""
    if not isinstance(values, (list, tuple)) or len(values) not in (2, 3):
        return False
    lower, upper = values[:2]
    if not (isinstance(lower, (list, tuple)) and isinstance(upper, (list, tuple)) and 0 < len(lower) == len(upper)):
        return False
    numbers = [*lower, *upper, *values[2:]]
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in numbers):
        return False
    return all(0 <= v <= LARGEST_SMOOTHING for v in values[2:])


def _is_image(values: Any) -> bool:
    if not isinstance(values, dict) or not _is_integers(values.get("shape"), None, 1):
        return False
    file = values.get("file")
    if not (file is None or (isinstance(file, list) and len(file) == 2 and all(isinstance(v, int) for v in file))):
        return False
    needed, known = ("dtype", "samples"), ("content", "sha1")
    return all(isinstance(values.get(name), str) for name in needed) and all(
        isinstance(values.get(name), str | None) for name in known
    )


_NEEDED = ("image", "ndim", "image_size")
_NOTES: dict[str, Callable[[Any], bool]] = {
    "image": _is_image,
    "ndim": lambda value: value in (2, 3) and not isinstance(value, bool),
    "precision": lambda value: value is None or isinstance(value, str),
    "normalization": lambda value: value is None or _is_range(value),
    "normalization_values": lambda value: value is None or _is_range(value),
    "image_size": lambda value: _is_integer(value) and value <= 2**16,
    "feature_shape": lambda value: _is_integers(value, 4, 1) and value[0] == 1 and value[2] == value[3],
    "shard": lambda value: _is_integer(value) and value <= 2**31,
}
