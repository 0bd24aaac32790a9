"""What the user has drawn: points and shapes, as immutable values with identities.

A prompt keeps its ``id`` for life: moving a point or changing its polarity makes a new value with the same id, so that
a layer that shows prompts can be compared with the session (:meth:`PromptSet.difference`). Ids are never used twice.

Coordinates are (y, x) in 2D and (z, y, x) in stacks and time series, in pixels of the image; the centre of pixel 0
is coordinate 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import numpy as np
from skimage.draw import polygon as draw_polygon

from micro_sam.errors import InputError
from micro_sam.segmentation.values import ObjectMask, Prompts

ShapeKind = Literal["rectangle", "ellipse", "polygon"]
PromptState = Literal["track", "division"]
SHAPE_KINDS = ("rectangle", "ellipse", "polygon")
PROMPT_STATES = ("track", "division")


@dataclass(frozen=True)
class PointPrompt:
    """A click.

    Attributes
    ----------
    id
        Identity in the session. None means "new": the session gives it one.
    position
        (y, x) or (z, y, x).
    positive
        Whether the point lies in the object (True) or in the background (False).
    track_id
        Which track or object the point belongs to; None where that is not used.
    state
        ``"track"``, or ``"division"`` where the object divides (tracking only).
    """

    id: int | None
    position: tuple[float, ...]
    positive: bool = True
    track_id: int | None = None
    state: PromptState = "track"

    def __post_init__(self) -> None:
        object.__setattr__(self, "position", tuple(float(value) for value in self.position))
        _check_common(self.position, self.state)

    @property
    def z(self) -> int:
        """Slice or frame the point lies in; 0 in 2D."""
        return _round(self.position[0]) if len(self.position) == 3 else 0

    def record(self) -> dict[str, Any]:
        """The prompt as a JSON-able dict."""
        return {
            "id": self.id,
            "position": list(self.position),
            "positive": self.positive,
            "track_id": self.track_id,
            "state": self.state,
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> PointPrompt:
        """Inverse of :meth:`record`."""
        return cls(**{**record, "position": tuple(record["position"])})


@dataclass(frozen=True)
class ShapePrompt:
    """A rectangle, ellipse or polygon that the user drew around one object.

    Attributes
    ----------
    id
        Identity in the session. None means "new".
    kind
        ``"rectangle"``, ``"ellipse"`` (given by the four corners of its box, as napari does) or ``"polygon"``.
    vertices
        Tuple of (y, x) or (z, y, x) tuples, all in one slice.
    track_id, state
        As in :class:`PointPrompt`.
    """

    id: int | None
    kind: ShapeKind
    vertices: tuple[tuple[float, ...], ...]
    track_id: int | None = None
    state: PromptState = "track"

    def __post_init__(self) -> None:
        vertices = tuple(tuple(float(value) for value in vertex) for vertex in self.vertices)
        object.__setattr__(self, "vertices", vertices)
        if self.kind not in SHAPE_KINDS:
            raise InputError(f"A prompt can be a rectangle, an ellipse or a polygon, not a {self.kind}.")
        if len(vertices) < 3 or (self.kind == "ellipse" and len(vertices) != 4):
            raise InputError(f"A {self.kind} with {len(vertices)} corners is not complete. Draw it again.")
        for vertex in vertices:
            _check_common(vertex, self.state)

    @property
    def z(self) -> int:
        """Slice or frame the shape lies in; 0 in 2D."""
        return _round(self.vertices[0][0]) if len(self.vertices[0]) == 3 else 0

    @property
    def corners(self) -> np.ndarray:
        """Vertices in the plane, float64 (n, 2), as (y, x)."""
        return np.array([vertex[-2:] for vertex in self.vertices], dtype=np.float64)

    def box(self, shape: tuple[int, int]) -> tuple[float, float, float, float]:
        """Bounding box (y0, x0, y1, x1), clipped to an image of `shape` (H, W)."""
        upper = np.array(shape, dtype=np.float64) - 1
        lower_corner = np.clip(self.corners.min(axis=0), 0, upper)
        upper_corner = np.clip(self.corners.max(axis=0), 0, upper)
        return (*lower_corner.tolist(), *upper_corner.tolist())

    def area_mask(self, shape: tuple[int, int]) -> ObjectMask | None:
        """The pixels inside an ellipse or polygon; None for a rectangle, whose box says all there is."""
        if self.kind == "rectangle":
            return None
        y0, x0, y1, x1 = self.box(shape)
        box = (int(np.floor(y0)), int(np.floor(x0)), int(np.ceil(y1)) + 1, int(np.ceil(x1)) + 1)
        size = (box[2] - box[0], box[3] - box[1])
        corners = self.corners - np.array(box[:2])
        if self.kind == "ellipse":
            mask = _ellipse_mask(corners, size)
        else:
            mask = np.zeros(size, dtype=bool)
            mask[draw_polygon(corners[:, 0], corners[:, 1], shape=size)] = True
        return ObjectMask(box=box, mask=mask, score=1.0) if mask.any() else None

    def record(self) -> dict[str, Any]:
        """The prompt as a JSON-able dict."""
        return {
            "id": self.id,
            "kind": self.kind,
            "vertices": [list(vertex) for vertex in self.vertices],
            "track_id": self.track_id,
            "state": self.state,
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> ShapePrompt:
        """Inverse of :meth:`record`."""
        return cls(**{**record, "vertices": tuple(tuple(vertex) for vertex in record["vertices"])})


AnyPrompt = PointPrompt | ShapePrompt
SomePrompt = TypeVar("SomePrompt", PointPrompt, ShapePrompt)


@dataclass(frozen=True)
class PromptSet:
    """All prompts of the current object. Immutable: every change gives a new set."""

    points: tuple[PointPrompt, ...] = ()
    shapes: tuple[ShapePrompt, ...] = ()
    _by_id: dict[int, AnyPrompt] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", tuple(self.points))
        object.__setattr__(self, "shapes", tuple(self.shapes))
        self._by_id.update({prompt.id: prompt for prompt in self if prompt.id is not None})

    def __iter__(self) -> Iterator[AnyPrompt]:
        yield from self.points
        yield from self.shapes

    def __len__(self) -> int:
        return len(self.points) + len(self.shapes)

    def __contains__(self, prompt_id: int | None) -> bool:
        return prompt_id in self._by_id

    def __getitem__(self, prompt_id: int) -> AnyPrompt:
        if prompt_id not in self._by_id:
            raise InputError(f"There is no prompt {prompt_id}: it may have been removed in the meantime.")
        return self._by_id[prompt_id]

    @property
    def slices(self) -> tuple[int, ...]:
        """Sorted indices of the slices that have prompts."""
        return tuple(sorted({prompt.z for prompt in self}))

    @property
    def stop_slices(self) -> tuple[int, ...]:
        """Slices in which the object is said to be absent: they have only negative points."""
        return tuple(z for z in self.slices if self.in_slice(z).is_stop)

    def in_slice(self, z: int) -> PromptSet:
        """The prompts of one slice (all of them in 2D, where `z` is 0)."""
        return PromptSet(tuple(p for p in self.points if p.z == z), tuple(s for s in self.shapes if s.z == z))

    def of_track(self, track_id: int | None) -> PromptSet:
        """The prompts that belong to one track."""
        return PromptSet(
            tuple(p for p in self.points if p.track_id == track_id),
            tuple(s for s in self.shapes if s.track_id == track_id),
        )

    def add(self, *prompts: AnyPrompt) -> PromptSet:
        """This set with prompts appended."""
        points = tuple(p for p in prompts if isinstance(p, PointPrompt))
        shapes = tuple(p for p in prompts if isinstance(p, ShapePrompt))
        return PromptSet(self.points + points, self.shapes + shapes)

    def without(self, ids: Iterable[int | None]) -> PromptSet:
        """This set without the prompts of the given ids."""
        gone = set(ids)
        return PromptSet(
            tuple(p for p in self.points if p.id not in gone), tuple(s for s in self.shapes if s.id not in gone)
        )

    def change(self, ids: Iterable[int | None], **values: Any) -> PromptSet:
        """This set with fields of some prompts replaced, in place and order."""
        changed = set(ids)
        return PromptSet(
            tuple(replace(p, **values) if p.id in changed else p for p in self.points),
            tuple(replace(s, **values) if s.id in changed else s for s in self.shapes),
        )

    def difference(self, other: PromptSet) -> tuple[set[int], set[int], set[int]]:
        """Ids (added, removed, changed) on the way from this set to `other`."""
        here, there = self._by_id, other._by_id
        changed = {key for key in here.keys() & there.keys() if here[key] != there[key]}
        return there.keys() - here.keys(), here.keys() - there.keys(), changed

    @property
    def is_stop(self) -> bool:
        """Whether these prompts of one slice say "the object is not here": only negative points."""
        return bool(self.points) and not self.has_positive

    @property
    def has_positive(self) -> bool:
        """Whether there is anything to segment: a shape or a positive point."""
        return bool(self.shapes) or any(point.positive for point in self.points)

    def to_prompts(self, shape: tuple[int, int]) -> Prompts:
        """What the network is asked, for the prompts of one slice.

        A rectangle becomes a box, an ellipse or polygon a box and its area as mask.

        Parameters
        ----------
        shape
            (H, W) of the slice; boxes are clipped to it.
        """
        points = np.array([point.position[-2:] for point in self.points], dtype=np.float64).reshape(-1, 2)
        labels = np.array([int(point.positive) for point in self.points], dtype=np.int64)
        boxes = np.array([s.box(shape) for s in self.shapes], dtype=np.float64).reshape(-1, 4)
        return Prompts(points=points, labels=labels, boxes=boxes, masks=tuple(s.area_mask(shape) for s in self.shapes))

    def record(self) -> dict[str, Any]:
        """The set as a JSON-able dict."""
        return {"points": [p.record() for p in self.points], "shapes": [s.record() for s in self.shapes]}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> PromptSet:
        """Inverse of :meth:`record`."""
        points = tuple(PointPrompt.from_record(point) for point in record["points"])
        return cls(points, tuple(ShapePrompt.from_record(shape) for shape in record["shapes"]))


def _round(value: float) -> int:
    return int(np.floor(value + 0.5))


def _check_common(position: tuple[float, ...], state: str) -> None:
    if len(position) not in (2, 3):
        raise InputError(f"A prompt needs a position (y, x) or (z, y, x), but got {len(position)} coordinates.")
    if not all(np.isfinite(position)):
        raise InputError("A prompt with a position that is not a finite number cannot be used. Place it again.")
    if state not in PROMPT_STATES:
        raise InputError(f"The state of a prompt is 'track' or 'division', not '{state}'.")


def _ellipse_mask(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixels inside the ellipse that touches the sides of the (possibly rotated) box `corners` (4, 2)."""
    centre = corners.mean(axis=0)
    axes = np.stack([corners[1] - corners[0], corners[3] - corners[0]], axis=1) / 2  # columns: the two half axes
    if abs(np.linalg.det(axes)) < 1e-9:
        return np.zeros(size, dtype=bool)
    inverse = np.linalg.inv(axes)
    y, x = np.mgrid[: size[0], : size[1]]
    along = np.tensordot(inverse, np.stack([y - centre[0], x - centre[1]]), axes=1)
    inside: np.ndarray = (along**2).sum(axis=0) <= 1
    return inside
