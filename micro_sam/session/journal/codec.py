"""Values of a session as JSON, and label pixels as bytes: what the journal writes, and reads back exactly.

Only what is there *after* an action is written. What was there before follows from all actions before it.

Prompts are written once, in a table of their own, and are numbers everywhere else: a set of prompts that grows by one
point with each action would fill the journal otherwise. The low-resolution logits of an answer are not written: they
only guide the next correction, and one of them takes more than a hundred objects.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from micro_sam.errors import CacheError
from micro_sam.segmentation.region_of_interest import RegionOfInterest
from micro_sam.segmentation.values import ObjectMask
from micro_sam.session.commands import EntriesEdit, EntryEdit, ValueEdit
from micro_sam.session.current_tracks import CurrentTrack
from micro_sam.session.label_edits import LabelEdit, Runs
from micro_sam.session.lineage import Track
from micro_sam.session.prompts import AnyPrompt, PointPrompt, PromptSet, ShapePrompt
from micro_sam.session.values import Anchors, ObjectClass, ObjectRecord, Reopened, SliceAnswer, SliceConfidence

Number = Callable[[AnyPrompt], int]
"""The number of a prompt in the journal; a new one is written down."""
Prompt = Callable[[int], AnyPrompt]

_DEFAULTS = {"positive": True, "track_id": None, "state": "track"}
SINGLE = (
    "prompts",
    "last_id",
    "anchors",
    "reopened",
    "auto_in_pieces",
    "region_of_interest",
    "classes",
    "current_class",
)
_WIDTHS = ("<u1", "<u2", "<u4")


# ---------------------------------------------------------------------- prompts


def prompt_to_json(prompt: AnyPrompt) -> dict[str, Any]:
    """A prompt without what is usual."""
    return {key: value for key, value in prompt.record().items() if _DEFAULTS.get(key, ...) != value}


def prompt_from_json(record: Mapping[str, Any]) -> AnyPrompt:
    """Inverse of :func:`prompt_to_json`."""
    return (PointPrompt if "position" in record else ShapePrompt).from_record(dict(record))


def _set_to_json(prompts: PromptSet, number: Number) -> list[list[int]]:
    return [[number(p) for p in prompts.points], [number(p) for p in prompts.shapes]]


def _set_from_json(value: list[list[int]], prompt: Prompt) -> PromptSet:
    points, shapes = ([prompt(n) for n in numbers] for numbers in value)
    return PromptSet().add(*points, *shapes)


# ---------------------------------------------------------------------- values of the state


def edit_to_json(edit: ValueEdit | EntryEdit | EntriesEdit, number: Number) -> list[Any]:
    """An edit of a value as ``[key, after]``, of entries as ``[key, entry, after]`` or ``[key, {entry: after}]``."""
    write = _WRITERS[edit.key]
    if isinstance(edit, ValueEdit):
        return [edit.key, _or_none(write, edit.after, number)]
    if isinstance(edit, EntryEdit):
        return [edit.key, int(edit.entry), _or_none(write, edit.after, number)]
    if isinstance(edit, EntriesEdit):
        return [edit.key, {str(entry): _or_none(write, value, number) for entry, value in edit.after.items()}]
    raise TypeError(f"{type(edit)} is no edit of a value")


def value_from_json(key: str, value: Any, prompt: Prompt) -> Any:
    """A value of the state that :func:`edit_to_json` wrote."""
    return None if value is None else _READERS[key](value, prompt)


def is_single(key: str) -> bool:
    """Whether the state has one value under this key, not a dict of entries."""
    return key in SINGLE


def to_plain(value: Any) -> Any:
    """For ``json.dumps(default=...)``: numbers of numpy, paths and the like."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if hasattr(value, "record"):
        return value.record()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return str(value)


def _or_none(write: Callable[[Any, Number], Any], value: Any, number: Number) -> Any:
    return None if value is None else write(value, number)


def _mask_to_json(mask: ObjectMask) -> dict[str, Any]:
    """Lengths of the runs of pixels, row by row, beginning with background."""
    flat = mask.mask.reshape(-1)
    ends = np.flatnonzero(np.diff(flat, prepend=False, append=~flat[-1:] if flat.size else False))
    record = {"box": list(mask.box), "runs": np.diff(ends, prepend=0).tolist(), "score": float(mask.score)}
    if mask.tile != 0:
        record["tile"] = list(mask.tile) if isinstance(mask.tile, tuple) else int(mask.tile)
    if mask.cut_at:
        record["cut_at"] = list(mask.cut_at)
    return record


def _mask_from_json(record: Mapping[str, Any]) -> ObjectMask:
    y0, x0, y1, x1 = box = tuple(record["box"])
    runs = record["runs"]
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    tile = record.get("tile", 0)
    tile = tuple(tile) if isinstance(tile, list) else tile
    cut_at = tuple(record.get("cut_at", ()))
    return ObjectMask(box, flat.reshape(y1 - y0, x1 - x0), record["score"], None, tile, cut_at)


def _answer_to_json(answer: SliceAnswer, number: Number) -> dict[str, Any]:
    return {
        "masks": [_mask_to_json(mask) for mask in answer.masks],
        "labels": [int(label) for label in answer.labels],
        "drawn": _set_to_json(answer.drawn, number),
        "flags": int(answer.batched) + 2 * int(answer.imposed),
    }


def _answer_from_json(record: Mapping[str, Any], prompt: Prompt) -> SliceAnswer:
    masks = tuple(_mask_from_json(mask) for mask in record["masks"])
    drawn = _set_from_json(record["drawn"], prompt)
    return SliceAnswer(masks, tuple(record["labels"]), drawn, bool(record["flags"] & 1), bool(record["flags"] & 2))


def _confidence_to_json(values: Mapping[int, SliceConfidence], number: Number | None = None) -> dict[str, list[Any]]:
    return {str(label): [c.score, c.overlap, c.source] for label, c in values.items()}


def _confidence_from_json(record: Mapping[str, list[Any]], prompt: Prompt | None = None) -> dict[int, SliceConfidence]:
    return {int(label): SliceConfidence(*values) for label, values in record.items()}


def _object_to_json(record: ObjectRecord, number: Number) -> dict[str, Any]:
    values = {
        "id": int(record.id),
        "source": record.source,
        "slices": [int(z) for z in record.slices],
        "box": [int(v) for v in record.box],
        "area": int(record.area),
    }
    if len(record.prompts):
        values["prompts"] = _set_to_json(record.prompts, number)
    if record.confidence:
        values["confidence"] = _confidence_to_json(record.confidence)
    for key in ("painted", "imposed"):
        if getattr(record, key):
            values[key] = [int(z) for z in getattr(record, key)]
    for key in ("model_name", "model_hash"):
        if getattr(record, key):
            values[key] = getattr(record, key)
    if record.object_class:
        values["object_class"] = int(record.object_class)
    return values


def _object_from_json(record: Mapping[str, Any], prompt: Prompt) -> ObjectRecord:
    values = {
        **record,
        **{key: tuple(record[key]) for key in ("slices", "box", "painted", "imposed") if key in record},
    }
    if "prompts" in record:
        values["prompts"] = _set_from_json(record["prompts"], prompt)
    if "confidence" in record:
        values["confidence"] = _confidence_from_json(record["confidence"])
    return ObjectRecord(**values)


def _anchors_to_json(anchors: Anchors, number: Number) -> list[Any]:
    return [_set_to_json(anchors.prompts, number), {str(z): int(n) for z, n in anchors.painted.items()}]


def _anchors_from_json(value: list[Any], prompt: Prompt) -> Anchors:
    return Anchors(_set_from_json(value[0], prompt), {int(z): n for z, n in value[1].items()})


def _reopened_to_json(reopened: Reopened, number: Number) -> dict[str, Any]:
    return {
        "record": _object_to_json(reopened.record_before, number),
        "edits": [[e.name, e.z, list(e.box), e.data.hex()] for e in reopened.edits],
        "parent": reopened.parent,
        "daughters": list(reopened.daughters),
    }


def _reopened_from_json(record: Mapping[str, Any], prompt: Prompt) -> Reopened:
    edits = tuple(LabelEdit(name, z, tuple(box), bytes.fromhex(data)) for name, z, box, data in record["edits"])
    before = _object_from_json(record["record"], prompt)
    return Reopened(before, edits, record["parent"], tuple(record["daughters"]))


def _same(value: Any, _: object) -> Any:
    return value


_WRITERS: dict[str, Callable[[Any, Number], Any]] = {
    "prompts": _set_to_json,
    "last_id": lambda value, number: int(value),
    "anchors": _anchors_to_json,
    "reopened": _reopened_to_json,
    "auto_in_pieces": _same,
    "region_of_interest": lambda region, number: region.record(),
    "classes": lambda classes, number: [one.record() for one in classes],
    "current_class": lambda value, number: int(value),
    "objects": _object_to_json,
    "regions": lambda box, number: [int(v) for v in box],
    "answers": _answer_to_json,
    "confidence": _confidence_to_json,
    "painted": lambda value, number: int(value),
    "tracks": lambda track, number: [track.id, track.start, track.end, track.parent],
    "current_tracks": lambda t, number: [t.id, t.parent, t.begin, t.division, t.limit],
    "auto_parents": lambda value, number: int(value),
}
_READERS: dict[str, Callable[[Any, Prompt], Any]] = {
    "prompts": _set_from_json,
    "last_id": _same,
    "anchors": _anchors_from_json,
    "reopened": _reopened_from_json,
    "auto_in_pieces": _same,
    "region_of_interest": lambda value, prompt: RegionOfInterest.from_record(value),
    "classes": lambda value, prompt: tuple(ObjectClass(*one) for one in value),
    "current_class": _same,
    "objects": _object_from_json,
    "regions": lambda value, prompt: tuple(value),
    "answers": _answer_from_json,
    "confidence": _confidence_from_json,
    "painted": _same,
    "tracks": lambda value, prompt: Track(*value),
    "current_tracks": lambda value, prompt: CurrentTrack(*value),
    "auto_parents": _same,
}


# ---------------------------------------------------------------------- pixels


def pixels_to_bytes(edit: LabelEdit) -> bytes:
    """What the rectangle of an edit holds after it: runs of equal pixels, in as few bytes as their numbers need."""
    runs = edit.runs
    values, width = runs.values[1], max(edit.shape[1], 1)
    begins = np.ones(len(values), bool)
    begins[1:] = (values[1:] != values[:-1]) | (runs.starts[1:] % width == 0)
    lengths = np.diff(runs.starts[begins], append=edit.n_pixels)
    columns = [_narrow(lengths), _narrow(values[begins])]
    head = bytes([_WIDTHS.index(column.dtype.str.replace("|", "<")) for column in columns])
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return head + packer.compress(b"".join(column.tobytes() for column in columns)) + packer.flush()


def pixels_from_bytes(data: bytes, shape: tuple[int, int]) -> Runs:
    """Inverse of :func:`pixels_to_bytes`.

    Raises
    ------
    CacheError
        When these are not the pixels of such a rectangle.
    """
    try:
        widths = [np.dtype(_WIDTHS[k]) for k in data[:2]]
        plain = zlib.decompress(data[2:], -15)
        n = len(plain) // sum(width.itemsize for width in widths)
        lengths = np.frombuffer(plain, widths[0], n).astype(np.int64)
        values = np.frombuffer(plain, widths[1], n, offset=n * widths[0].itemsize).astype(np.uint32)
    except (IndexError, ValueError, zlib.error) as error:
        raise CacheError(f"Pixels in the journal are damaged: {error}.") from error
    if int(lengths.sum()) != shape[0] * shape[1]:
        raise CacheError("Pixels in the journal are damaged: they do not fill their rectangle.")
    return Runs(shape, np.cumsum(lengths) - lengths, lengths, (values,))


def _narrow(values: np.ndarray) -> np.ndarray:
    largest = int(values.max(initial=0))
    return values.astype(_WIDTHS[0] if largest < 2**8 else _WIDTHS[1] if largest < 2**16 else _WIDTHS[2])
