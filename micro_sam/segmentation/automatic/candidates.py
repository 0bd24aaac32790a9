"""The raw answers of an automatic mask generator: small, and independent of any threshold.

Each candidate keeps the logits of its low-resolution box in float16. Thresholds act on scores; only what passes them
is brought to the resolution of the image, in its box. Memory does not depend on the size of the image, but on the
number and size of the objects.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from micro_sam.segmentation.prompted.lowres import stability_score, valid_part
from micro_sam.segmentation.values import ObjectMask

if TYPE_CHECKING:
    from micro_sam.models.predictor import Predictor

_OUTSIDE = -32.0  # logit outside the kept box: far from any threshold
_UNKNOWN = -1.0


@dataclass(frozen=True)
class Frame:
    """What the network saw at once: the image, a tile or a crop.

    Parameters
    ----------
    outer : (y0, x0, y1, x1)
        The area it sees, in the image.
    inner : (y0, x0, y1, x1)
        The area in which its clicks are placed.
    layer : int
        0 for the image and for tiles, 1 and more for crops.
    input_size : (h, w)
        Of the network's input.
    tiled : bool
        Whether objects may go on in neighbouring frames of the same layer.
    """

    outer: tuple[int, int, int, int]
    inner: tuple[int, int, int, int]
    layer: int = 0
    input_size: tuple[int, int] = (0, 0)
    tiled: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the outer area."""
        return self.outer[2] - self.outer[0], self.outer[3] - self.outer[1]

    @property
    def sizes(self) -> Any:
        """What the predictor needs to know for upscaling, in the form of image features."""
        return SimpleNamespace(input_size=self.input_size, original_size=self.shape)


@dataclass
class Candidates:
    """Candidates of one frame, in the order of the clicks.

    Parameters
    ----------
    frame : Frame
    side : int
        Size of the low-resolution grid (4g).
    offset : float
        Of the stability score.
    """

    frame: Frame
    side: int
    offset: float = 1.0
    values: list[np.ndarray] = field(default_factory=list)  # float16, one (h, w) per candidate
    corners: list[tuple[int, int]] = field(default_factory=list)  # (y, x) of each in the low-resolution grid
    scores: list[float] = field(default_factory=list)
    stability: list[float] = field(default_factory=list)  # at low resolution
    points: list[tuple[float, float]] = field(default_factory=list)  # (y, x) of the click, in the image

    def __post_init__(self) -> None:
        n = len(self.scores)
        self._exact_stability = np.full(n, _UNKNOWN)
        self._boxes = np.zeros((n, 4), int)

    def add(
        self,
        points: np.ndarray,
        logits: torch.Tensor,
        scores: torch.Tensor,
        image_size: int,
        floors: tuple[float, float, float],
    ) -> None:
        """Keep the answers to some clicks.

        Parameters
        ----------
        points : (B, 2)
            In the frame of the image.
        logits : (B, M, 4g, 4g)
        scores : (B, M)
        floors : (score, stability, share)
            Answers with lower scores, or that cover more than this share of the frame, are dropped at once.
        """
        valid = valid_part(logits, self.frame.sizes, image_size)
        stability = stability_score(valid, self.offset)
        share = (valid > 0).float().mean((-2, -1))
        height, width = valid.shape[-2:]
        wanted = (scores >= floors[0]) & (stability >= floors[1]) & (share > 0) & (share <= floors[2])
        for b, m in torch.nonzero(wanted).tolist():
            one = logits[b, m]
            # the first answers of the padding reach into the last pixels of the image
            above = one[: height + 1, : width + 1] > -self.offset
            rows, columns = (torch.nonzero(above.any(axis)).flatten() for axis in (1, 0))
            y0, x0 = max(int(rows[0]) - 2, 0), max(int(columns[0]) - 2, 0)
            part = one[y0 : int(rows[-1]) + 3, x0 : int(columns[-1]) + 3]
            self.values.append(part.to(torch.float16).cpu().numpy())
            self.corners.append((y0, x0))
            self.scores.append(float(scores[b, m]))
            self.stability.append(float(stability[b, m]))
            self.points.append((float(points[b][0]), float(points[b][1])))
        self.__post_init__()

    def __len__(self) -> int:
        return len(self.scores)

    def logits(self, k: int) -> torch.Tensor:
        """The answer (4g, 4g) of a candidate."""
        full = torch.full((self.side, self.side), _OUTSIDE)
        part, (y, x) = self.values[k], self.corners[k]
        full[y : y + part.shape[0], x : x + part.shape[1]] = torch.from_numpy(part.astype("float32"))
        return full

    def mask(self, predictor: Predictor, k: int) -> ObjectMask:
        """A candidate at the resolution of the image; notes its box and its exact stability."""
        logits = self.logits(k).to(predictor.device)
        box = predictor.foreground_box(logits, self.frame.sizes, threshold=-self.offset)
        origin = self.frame.outer[:2]
        if box is None:
            return ObjectMask((0, 0, 0, 0), np.zeros((0, 0), bool))
        upscaled = predictor.upscale(logits[None], self.frame.sizes, box=box)[0]
        self._exact_stability[k] = float(stability_score(upscaled, self.offset))
        offset = (box[0] + origin[0], box[1] + origin[1])
        mask = ObjectMask.from_array((upscaled > 0).cpu().numpy(), self.scores[k], offset=offset)
        self._boxes[k] = mask.box
        return mask

    def select(self, predictor: Predictor, score: float, stability: float) -> tuple[np.ndarray, np.ndarray]:
        """The candidates that pass both thresholds.

        The stability of a mask at the resolution of the image decides; the one at low resolution, which costs
        nothing, leaves out those that are far from passing.

        Returns
        -------
        indices : (k,) int
        boxes : (k, 4) int
            Of the masks, in the image.
        """
        scores, rough = np.array(self.scores), np.array(self.stability)
        passing = np.ones(len(self), bool)
        if score > 0:
            passing &= scores > score
        if stability > 0:
            passing &= rough >= stability - 0.1
        for k in np.flatnonzero(passing & (self._exact_stability == _UNKNOWN)).tolist():
            self.mask(predictor, k)
        if stability > 0:
            passing &= self._exact_stability >= stability
        passing &= self._boxes[:, 2] > self._boxes[:, 0]
        indices = np.flatnonzero(passing)
        return indices, self._boxes[indices]

    def exact_stability(self, k: int) -> float:
        """The stability of a candidate at the resolution of the image; known after :meth:`mask`."""
        return float(self._exact_stability[k])

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as arrays without objects, for files."""
        sizes = np.array([v.shape for v in self.values], "int32").reshape(-1, 2)
        frame = self.frame
        return {
            "frame": np.array([*frame.outer, *frame.inner, frame.layer, *frame.input_size, frame.tiled], "int64"),
            "values": np.concatenate([v.ravel() for v in self.values] or [np.zeros(0, "float16")]),
            "sizes": sizes,
            "corners": np.array(self.corners, "int32").reshape(-1, 2),
            "scores": np.array(self.scores, "float32"),
            "stability": np.array(self.stability, "float32"),
            "points": np.array(self.points, "float32").reshape(-1, 2),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], side: int, offset: float) -> Candidates:
        """The inverse of :meth:`to_arrays`."""
        numbers = [int(v) for v in arrays["frame"]]
        y0, x0, y1, x1, a0, b0, a1, b1, layer, height, width, tiled = numbers
        frame = Frame((y0, x0, y1, x1), (a0, b0, a1, b1), layer, (height, width), bool(tiled))
        sizes = np.asarray(arrays["sizes"], int)
        ends = np.cumsum(sizes.prod(1))[:-1]
        flat = np.split(np.asarray(arrays["values"]), ends) if len(sizes) else []
        return cls(
            frame,
            side,
            offset,
            [v.reshape(size) for v, size in zip(flat, sizes, strict=True)],
            [tuple(corner) for corner in np.asarray(arrays["corners"]).tolist()],
            np.asarray(arrays["scores"]).tolist(),
            np.asarray(arrays["stability"]).tolist(),
            [tuple(point) for point in np.asarray(arrays["points"]).tolist()],
        )
