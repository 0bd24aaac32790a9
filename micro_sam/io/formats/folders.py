"""A folder of image files as one stack: what their names say about slices, channels, time and positions."""

from __future__ import annotations

import fnmatch
import glob
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from micro_sam.errors import ChoiceError
from micro_sam.io.choices import listed
from micro_sam.io.lazy import FileStack
from micro_sam.io.source import ImageSource

LARGEST_EAGER_STACK = 2**30  # bytes; larger folders of slices stay on disc
WORDS = {
    "T": ("t", "tp", "time", "timepoint", "frame", "frames"),
    "Z": ("z", "slice", "plane", "section", "depth"),
    "C": ("c", "ch", "channel", "w", "wavelength"),
    "R": ("p", "pos", "position", "xy", "series", "scene", "site", "field", "fov", "well", "tile", "m"),
}
STAINS = (
    r"dapi|hoechst\d*|gfp|egfp|rfp|yfp|cfp|bfp|mcherry|cherry|tdtomato|fitc|tritc|cy[357]|alexa\d*|texasred|draq5|"
    r"red|green|blue|farred|nir|bf|brightfield|phase|ph[123]?|dic|trans|405|488|561|568|594|633|640|647"
)
NOUNS = {"T": "time points", "Z": "slices", "C": "channels", "R": "positions"}


@dataclass(frozen=True)
class _Part:
    """A part of the names that is not the same in all files."""

    letter: str  # axis that the name says; "" when it does not
    values: tuple[str, ...]  # per file
    is_number: bool

    @property
    def levels(self) -> list[str]:
        found = list(dict.fromkeys(self.values))
        return sorted(found, key=int) if self.is_number else sorted(found)


def open_stack(paths: Sequence[Path], folder: Path, read: Callable[[Path], ImageSource]) -> ImageSource:
    """Files of equal shape, in natural order, as one image.

    Parameters
    ----------
    paths
        Naturally sorted.
    folder
        For messages.
    read
        Opens one file.

    Raises
    ------
    InputError
        When they differ in shape, or hold values that do not fit together.
    ChoiceError
        When their names speak of several positions, or of parts that are no full grid: nothing is stacked silently.
    """
    first = read(paths[0])
    if len(paths) == 1:
        return first
    kinds = _kinds(paths)
    if len(kinds) > 1:
        raise _ask_for_one(paths, folder, kinds, "of several kinds of images")
    parts = _parts(paths)
    positions = next((part for part in parts if part.letter == "R"), None)
    if positions is not None:
        raise _ask(paths, folder, positions, "positions")
    texts = [part for part in parts if not part.is_number and len(part.levels) < len(paths)]
    unknown = [part for part in texts if not part.letter]
    if len(parts) > 1 and (unknown or math.prod(len(p.levels) for p in parts) != len(paths) or len(texts) > 1):
        raise _ask(paths, folder, (texts or parts)[0], "parts")
    parts = _named(parts)
    if len({part.letter for part in parts}) != len(parts) or len(parts) > 3:
        raise _ask(paths, folder, (texts or parts)[0], "parts")
    if not parts:
        counts, order, letters = [len(paths)], list(range(len(paths))), "Z"
    else:
        parts = sorted(parts, key=lambda part: "TZC".index(part.letter))
        counts, letters = [len(p.levels) for p in parts], "".join(p.letter for p in parts)
        order = sorted(range(len(paths)), key=lambda k: [part.levels.index(part.values[k]) for part in parts])
    stack = FileStack([paths[k] for k in order], lambda p: np.asarray(read(p).data))
    data: Any = stack.whole() if stack.nbytes <= LARGEST_EAGER_STACK else stack
    if len(counts) > 1:
        data = _reshaped(data, counts)
    axes = None
    if first.axes and not set(first.axes) & set(letters):
        axes = letters + first.axes
    scale = None if first.scale is None or axes is None else (1.0,) * len(letters) + first.scale
    what = " and ".join(
        f"{n} {NOUNS[letter]}" + (f" ({', '.join(parts[k].levels)})" if letter == "C" else "")
        for k, (letter, n) in enumerate(zip(letters, counts, strict=True))
    )
    note = f"The {len(paths)} files from {paths[0].name} to {paths[-1].name} were taken for {what}."
    return ImageSource(data, axes, scale, first.unit, folder, note=note)


def _reshaped(data: np.ndarray | FileStack, counts: list[int]) -> object:
    if isinstance(data, np.ndarray):
        return data.reshape(*counts, *data.shape[1:])
    import dask.array

    lazy = dask.array.from_array(data, chunks=(1, *data.shape[1:]))
    return lazy.reshape((*counts, *data.shape[1:]))


def _tokens(paths: Sequence[Path]) -> list[list[str]]:
    """The names without their endings, cut into numbers, words, and what is between them."""
    return [re.findall(r"[0-9]+|[A-Za-z]+|[^0-9A-Za-z]+", path.name[: -len(path.suffix) or None]) for path in paths]


def _parts(paths: Sequence[Path]) -> list[_Part]:
    """The parts of the names that change; empty when the names are not built alike."""
    split = _tokens(paths)
    if len({len(tokens) for tokens in split}) != 1:
        return []
    columns = list(zip(*split, strict=True))
    found = []
    for k, values in enumerate(columns):
        if len(set(values)) == 1:
            continue
        is_number = all(v.isascii() and v.isdigit() for v in values)
        if not is_number and not all(v.isascii() and v.isalnum() for v in values):
            return []
        found.append(_Part(_letter(columns, k, values, is_number), tuple(values), is_number))
    found = _joined(found)
    return _independent(found, len(paths))


def _letter(columns: list[tuple[str, ...]], k: int, values: tuple[str, ...], is_number: bool) -> str:
    """The axis that the word before a number means; stains are channels."""
    if not is_number:
        return "C" if all(re.fullmatch(STAINS, v.lower()) for v in values) else ""
    before = [column[0] for column in columns[:k] if len(set(column)) == 1]
    last = columns[k - 1] if k else ("",)
    if len(set(last)) != 1:
        return ""
    word = last[0] if last[0].isalpha() else before[-2] if len(before) > 1 else ""
    return next((letter for letter, words in WORDS.items() if word.lower() in words), "")


def _joined(parts: list[_Part]) -> list[_Part]:
    """Parts that always change together are one: ``DAPI405`` and ``GFP488``."""
    kept: list[_Part] = []
    for part in parts:
        same = next((k for k, other in enumerate(kept) if _same_groups(part, other)), None)
        if same is None:
            kept.append(part)
        elif part.letter and not kept[same].letter or part.is_number and not kept[same].is_number:
            kept[same] = part if part.letter or not kept[same].letter else kept[same]
    return kept


def _same_groups(a: _Part, b: _Part) -> bool:
    pairs = len(set(zip(a.values, b.values, strict=True)))
    return pairs == len(set(a.values)) == len(set(b.values))


def _independent(parts: list[_Part], n_files: int) -> list[_Part]:
    """Without numbers of no known meaning that another part, different in every file, implies (date and counter)."""
    if not any(len(set(part.values)) == n_files for part in parts):
        return parts
    return [p for p in parts if len(set(p.values)) == n_files or p.letter in ("C", "R") or not p.is_number]


def _named(parts: list[_Part]) -> list[_Part]:
    """Letters for parts whose names do not say it: text is channels, the last number slices, the one before time."""
    if len(parts) == 1:
        return [_Part(parts[0].letter or "Z", parts[0].values, parts[0].is_number)]
    taken = {part.letter for part in parts}
    found = []
    for part in reversed(parts):
        letter = part.letter
        if not letter:
            wanted = "C" if not part.is_number else "ZT"
            letter = next((one for one in wanted if one not in taken), "?")
            taken.add(letter)
        found.append(_Part(letter, part.values, part.is_number))
    return found[::-1]


def _kinds(paths: Sequence[Path]) -> dict[str, str]:
    """Patterns of names that are built differently, as images and their masks; only where each has several files."""
    split = _tokens(paths)
    if len({len(tokens) for tokens in split}) == 1:
        return {}
    found: dict[str, list[str]] = {}
    for path, tokens in zip(paths, split, strict=True):
        pattern = "".join("*[0-9]" if token[0] in "0123456789" else glob.escape(token) for token in tokens)
        found.setdefault(pattern + glob.escape(path.suffix), []).append(path.name)
    for pattern, names in found.items():
        if len(names) < 2 or sum(fnmatch.fnmatchcase(path.name, pattern) for path in paths) != len(names):
            return {}
    return {pattern: f"{len(names)} files" for pattern, names in found.items()}


def _ask(paths: Sequence[Path], folder: Path, part: _Part, what: str) -> ChoiceError:
    """The question which files to open, with a pattern for each answer."""
    choices = {}
    for level in part.levels:
        names = [path.name for path, value in zip(paths, part.values, strict=True) if value == level]
        choices[_pattern(names, [path.name for path in paths])] = f"{level}, {len(names)} files"
    word = "of positions" if what == "positions" else "of several channels, positions or times"
    return _ask_for_one(paths, folder, choices, word)


def _ask_for_one(paths: Sequence[Path], folder: Path, choices: dict[str, str], what: str) -> ChoiceError:
    return ChoiceError(
        f"The names of the {len(paths)} files in {folder} speak {what}, which are not stacked unasked; choose the "
        f"files with a pattern (--key): {listed(choices)}.",
        choices,
        folder,
    )


def _pattern(names: list[str], others: list[str]) -> str:
    """A glob that matches these names: what they have in common at both ends."""
    first = min(names)
    start = next((k for k in range(len(first)) if any(n[: k + 1] != first[: k + 1] for n in names)), len(first))
    if start == len(first):
        return first
    end = next((k for k in range(1, len(first)) if any(n[-k:] != first[-k:] for n in names)), 1) - 1
    return f"{first[:start]}*{first[len(first) - end :] if end else ''}"
