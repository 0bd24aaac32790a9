"""Typed values that the session hands out: requests, results, records and reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from micro_sam.errors import InputError
from micro_sam.models.sizes import Box
from micro_sam.segmentation.values import ObjectMask
from micro_sam.session.label_edits import LabelEdit
from micro_sam.session.prompts import PointPrompt, PromptSet, ShapePrompt

LayerName = Literal["current", "committed", "auto"]
PreserveMode = Literal["pixels", "objects", "none"]
PRESERVE_MODES = ("pixels", "objects", "none")
_NO_PROMPTS = PromptSet()  # shared: there may be 100,000 records
_NOTHING: Mapping[int, Any] = MappingProxyType({})
CLASS_COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#999999", "#ffffff")
"""Okabe and Ito 2008, told apart by the colour-blind; then white."""
MIN_SIZE = 25
"""Pixels that at least must stay of an object that is cut, unless the settings of a tool say otherwise."""


@dataclass(frozen=True)
class SliceConfidence:
    """How sure the model is of one object in one slice.

    Attributes
    ----------
    score
        Predicted IoU, 0 to 1.
    overlap
        IoU with the object in the neighbouring slice it came from; None for a prompted slice.
    source
        How the slice was segmented: ``"prompt"``, ``"propagation"``, ``"painted"``, ...
    """

    score: float | None
    overlap: float | None = None
    source: str = "prompt"

    @property
    def value(self) -> float:
        """One number: the worse of score and overlap; 1 when neither is known (painted by hand)."""
        return min((v for v in (self.score, self.overlap) if v is not None), default=1.0)

    def record(self) -> dict[str, Any]:
        """JSON-able dict."""
        return {"score": self.score, "overlap": self.overlap, "source": self.source}


@dataclass(frozen=True)
class ObjectClass:
    """A class of objects.

    Attributes
    ----------
    number : int
        1 to 9, as on its key; 0 means no class.
    name : str
    colour : str
        ``"#rrggbb"``.
    """

    number: int
    name: str
    colour: str

    def record(self) -> list[Any]:
        """JSON-able."""
        return [self.number, self.name, self.colour]

    @classmethod
    def standard(cls, number: int) -> ObjectClass:
        """What a class is called until the user names it."""
        return cls(number, f"class {number}", CLASS_COLOURS[(number - 1) % len(CLASS_COLOURS)])


@dataclass(frozen=True)
class ObjectRecord:
    """Where a committed object came from: what a method section, a table and a correction need.

    Attributes
    ----------
    id
        Its value in the committed labels.
    source
        ``"prompts"``, ``"auto"``, ``"loaded"``, ``"painted"``, ``"merged"`` or ``"split"``.
    slices, box
        Half-open range of slices, and (y0, x0, y1, x1), that contain the object. After edits it may be smaller.
    area
        Number of pixels (voxels) it has now; kept up to date by every edit.
    prompts
        The prompts it was made with; :meth:`.ObjectActions.reopen` brings them back.
    confidence
        Per slice.
    painted
        Slices that the user painted by hand, also those from which all of it was erased.
    imposed
        Slices whose mask the user has said to be exact, whatever the maps of a volume say.
    model_name, model_hash
        The model that made it; empty for loaded or painted objects.
    object_class
        Number of its class; 0: none.
    """

    id: int
    source: str
    slices: tuple[int, int]
    box: Box
    area: int
    prompts: PromptSet = _NO_PROMPTS
    confidence: Mapping[int, SliceConfidence] = field(default_factory=lambda: _NOTHING)
    painted: tuple[int, ...] = ()
    imposed: tuple[int, ...] = ()
    model_name: str = ""
    model_hash: str = ""
    object_class: int = 0

    @property
    def is_given(self) -> bool:
        """Whether prompts and painted slices do not say what it is: it was loaded, say, or found automatically."""
        return not len(self.prompts) and self.source != "prompts"

    @property
    def score(self) -> float | None:
        """Mean predicted IoU over its slices; None when no model was asked."""
        scores = [c.score for c in self.confidence.values() if c.score is not None]
        return float(np.mean(scores)) if scores else None

    def changed(self, **values: Any) -> ObjectRecord:
        """A copy with other values."""
        return replace(self, **values)

    def record(self) -> dict[str, Any]:
        """JSON-able dict."""
        return {
            "id": self.id,
            "source": self.source,
            "slices": list(self.slices),
            "box": list(self.box),
            "area": self.area,
            "prompts": self.prompts.record(),
            "confidence": {str(z): c.record() for z, c in self.confidence.items()},
            "painted": list(self.painted),
            "imposed": list(self.imposed),
            "model_name": self.model_name,
            "model_hash": self.model_hash,
            "object_class": self.object_class,
        }


def _is_around(shape: ShapePrompt, point: PointPrompt) -> bool:
    (y0, x0), (y1, x1) = shape.corners.min(axis=0), shape.corners.max(axis=0)
    return bool(y0 <= point.position[-2] <= y1 and x0 <= point.position[-1] <= x1)


@dataclass(frozen=True, eq=False)
class SliceAnswer:
    """The last answer of the network that `current` shows in one slice (state of the session).

    ``labels[k]`` is the label of ``masks[k]`` in `current`; ``drawn`` are the prompts that were asked.
    ``imposed``: the user has said that the object is exactly so in this slice, whatever the maps of a volume say.
    """

    masks: tuple[ObjectMask, ...]
    labels: tuple[int, ...]
    drawn: PromptSet
    batched: bool = False
    imposed: bool = False

    @property
    def nbytes(self) -> int:
        """Memory it takes."""
        return sum(m.mask.nbytes + (m.logits.nbytes if m.logits is not None else 0) for m in self.masks)

    def is_imposed_on(self, label: int, prompts: PromptSet) -> bool:
        """Whether the user has said that an object is exactly so, and the prompts of the slice are as they were."""
        places = {prompt.z for prompt in self.drawn}
        return self.imposed and label in self.labels and all(prompts.in_slice(z) == self.drawn for z in places)

    def drawn_for(self, label: int) -> PromptSet:
        """The prompts that made one of the objects: its shape or point, points in its box, all negative points.

        Objects are in the order of :func:`~micro_sam.segmentation.prompted.segment.segment_objects`: first
        those of shapes, then that of positive points outside of all of them (`batched`: one for each).
        """
        if label not in self.labels:
            return PromptSet()
        if any(prompt.track_id is not None for prompt in self.drawn):
            return self.drawn.of_track(label)
        if len(self.labels) == 1:
            return self.drawn
        k = self.labels.index(label)
        negative = tuple(p for p in self.drawn.points if not p.positive)
        positive = [p for p in self.drawn.points if p.positive]
        if not self.drawn.shapes:
            return PromptSet((*positive[k : k + 1], *negative))
        inside = [[p for p in positive if _is_around(shape, p)] for shape in self.drawn.shapes]
        if k < len(inside):
            return PromptSet((*inside[k], *negative), (self.drawn.shapes[k],))
        lone = [p for p in positive if not any(p in some for some in inside)]
        k -= len(inside)
        return PromptSet((*(lone[k : k + 1] if self.batched else lone), *negative))


@dataclass(frozen=True, eq=False)
class Reopened:
    """A committed object that is being corrected: what is needed to put it back as it was, with its relations."""

    record_before: ObjectRecord
    edits: tuple[LabelEdit, ...]
    parent: int | None = None
    daughters: tuple[int, ...] = ()

    @property
    def id(self) -> int:
        """Id that the object gets again when it is committed."""
        return self.record_before.id


@dataclass(frozen=True)
class Anchors:
    """What fixed the object at the time of a propagation: prompts, and strokes per painted slice."""

    prompts: PromptSet
    painted: Mapping[int, int] = field(default_factory=dict)

    def changed_slices(self, prompts: PromptSet, painted: Mapping[int, int]) -> tuple[int, ...]:
        """Slices in which something else fixes the object now."""
        drawn = {*self.prompts.slices, *prompts.slices}
        changed = {z for z in drawn if self.prompts.in_slice(z) != prompts.in_slice(z)}
        changed |= {z for z in {*self.painted, *painted} if self.painted.get(z) != painted.get(z)}
        return tuple(sorted(changed))


@dataclass(frozen=True)
class CommitRules:
    """How objects are committed.

    Attributes
    ----------
    preserve
        What happens where committed objects are in the way; see :meth:`.ObjectActions.commit`.
    min_size
        Pixels that must stay of an object that is cut (in movies: in a frame).
    noun
        What an object is called: ``"object"`` or ``"track"``.
    per_slice
        Whether the masks of an object in different slices are decided one by one, as in movies.
    families
        Label of `current` -> a number that it shares with those which are committed together with it, or not at all.
    only
        Labels of `auto` that are committed, the others stay there; None: all.
    """

    preserve: str = "pixels"
    min_size: int = MIN_SIZE
    noun: str = "object"
    per_slice: bool = False
    families: Mapping[int, int] | None = None
    only: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.preserve not in PRESERVE_MODES:
            known = ", ".join(PRESERVE_MODES)
            raise InputError(f"Committed objects can be preserved by {known}, not by '{self.preserve}'.")
        if self.min_size < 0:
            raise InputError(f"The minimal size of an object is a number of pixels from 0 on, not {self.min_size}.")

    def record(self, source: str) -> dict[str, Any]:
        """What the history says of a commit."""
        only = {} if self.only is None else {"only": list(self.only)}
        return {"source": source, "preserve": self.preserve, "min_size": self.min_size, **only}


@dataclass(frozen=True)
class CommitReport:
    """What a commit did.

    Attributes
    ----------
    ids
        New ids (the old one for a reopened object), in the order of the labels they came from.
    labels
        The labels of the source that `ids` came from.
    areas
        Committed pixels per id.
    kept
        Pixels of these objects that were not committed because they belonged to committed objects (mode "pixels").
    left_out
        Labels of `auto` that were not committed at all.
    stay_open
        Labels of `current` that were not committed and are still there, with their prompts.
    cut
        Labels of which only a part was committed, because committed objects or nothing lay between it and the rest.
    lost
        Pixels that committed objects lost, by id (mode "none").
    crumbs
        How many of them were free, but too small a rest to keep, by id.
    vanished
        Ids of committed objects of which nothing is left.
    message
        All this as sentences.
    """

    ids: tuple[int, ...]
    labels: tuple[int, ...] = ()
    areas: Mapping[int, int] = field(default_factory=dict)
    kept: int = 0
    left_out: tuple[int, ...] = ()
    stay_open: tuple[int, ...] = ()
    cut: tuple[int, ...] = ()
    lost: Mapping[int, int] = field(default_factory=dict)
    crumbs: Mapping[int, int] = field(default_factory=dict)
    vanished: tuple[int, ...] = ()
    message: str = ""


def count(number: int, singular: str, plural: str | None = None) -> str:
    """``"1 point"``, ``"1,204 pixels"``: a number and its noun, for messages."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def named(noun: str, ids: Sequence[int], most: int = 8) -> str:
    """``"Track 3"``, ``"Objects 3 and 4"``: some ids with their noun, to begin a sentence."""
    return f"{noun.capitalize()}{'s' if len(ids) > 1 else ''} {listing(ids, most)}"


def listing(ids: Sequence[int], most: int = 8) -> str:
    """``"3, 4 and 7"``: ids for messages; long lists are cut."""
    names = [str(i) for i in ids[:most]]
    if len(ids) > most:
        return ", ".join(names) + f" and {len(ids) - most:,} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
