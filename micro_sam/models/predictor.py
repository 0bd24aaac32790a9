"""The predictor that everything uses; scripts find the interface of ``segment_anything.SamPredictor`` in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from torch import Tensor

from micro_sam.errors import InputError
from micro_sam.models import frames
from micro_sam.models.image_features import Decoded, ImageFeatures
from micro_sam.models.sizes import Size
from micro_sam.models.stateless_predictor import Encoder, StatelessPredictor

__all__ = ["Decoded", "Encoder", "ImageFeatures", "Predictor", "features_of"]


class Predictor(StatelessPredictor):
    """Encodes images and decodes prompts with one model, and remembers an image for :meth:`predict`.

    ``encode``, ``decode`` and ``upscale`` keep no state. What is below is for scripts that know
    ``segment_anything.SamPredictor``: they set an image, then ask for its masks.
    """

    _current: ImageFeatures | None = None
    _source: Any = None

    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        """Encodes an image (H, W, 3), uint8, for calls of :meth:`predict`."""
        if image_format not in ("RGB", "BGR"):
            raise InputError(f"The image format is 'RGB' or 'BGR', not {image_format!r}.")
        image = np.asarray(image)
        self.set_features(self.encode(image if image_format == "RGB" else image[..., ::-1]))

    def set_features(self, image: ImageFeatures, source: Any = None) -> None:
        """Makes features that were computed before those of :meth:`predict`.

        ``source`` is what they were taken from, for callers that find more there than the features; see :attr:`source`.
        """
        self._current, self._source = image, source

    @property
    def source(self) -> Any:
        """What the current features were taken from, as given to :meth:`set_features`; None where unknown."""
        return self._source

    def reset_image(self) -> None:
        """Forgets the current image."""
        self._current = self._source = None

    def predict(
        self,
        point_coords: np.ndarray | None = None,
        point_labels: np.ndarray | None = None,
        box: np.ndarray | None = None,
        mask_input: np.ndarray | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Masks of one prompt on the current image, with the arguments of ``segment_anything.SamPredictor.predict``.

        Parameters
        ----------
        point_coords : np.ndarray | None
            (N, 2), x before y.
        point_labels : np.ndarray | None
            (N,), 1 foreground, 0 background.
        box : np.ndarray | None
            (x0, y0, x1, y1).
        mask_input : np.ndarray | None
            Logits (1, 4 g, 4 g).
        multimask_output : bool
            Three masks instead of one.
        return_logits : bool
            Logits instead of masks.

        Returns
        -------
        np.ndarray
            Masks (M, H, W), bool, or logits, float32.
        np.ndarray
            Predicted IoU (M,).
        np.ndarray
            Low-resolution logits (M, 4 g, 4 g).
        """
        image = features_of(self)
        decoded = self.decode(
            image,
            points=None if point_coords is None else np.asarray(point_coords)[None, :, ::-1],
            labels=None if point_labels is None else np.asarray(point_labels)[None],
            boxes=None if box is None else np.asarray(box).reshape(1, 2, 2)[..., ::-1].reshape(1, 4),
            mask_input=None if mask_input is None else np.asarray(mask_input)[None],
            multimask_output=multimask_output,
        )
        logits = decoded.low_res_logits[0]
        if return_logits:
            masks = self.upscale(logits, image).cpu().numpy()
        else:
            masks = frames.upscale_masks(logits, *self._frame(image), self.model.mask_threshold)
        return masks, decoded.scores[0].cpu().numpy(), logits.cpu().numpy()

    def get_image_embedding(self) -> Tensor:
        """Features (1, C, g, g) of the current image."""
        return features_of(self).features

    @property
    def is_image_set(self) -> bool:
        return self._current is not None

    @property
    def features(self) -> Tensor | None:
        return None if self._current is None else self._current.features

    @property
    def input_size(self) -> Size | None:
        """Size (h, w) of the resized image; settable, None forgets the image."""
        return None if self._current is None else self._current.input_size

    @input_size.setter
    def input_size(self, size: Size | None) -> None:
        self._resize_current("input_size", size)

    @property
    def original_size(self) -> Size | None:
        """Size (H, W) of the image; settable, None forgets the image."""
        return None if self._current is None else self._current.original_size

    @original_size.setter
    def original_size(self, size: Size | None) -> None:
        self._resize_current("original_size", size)

    @property
    def _hash(self) -> str:
        """The name under which scripts of micro_sam 1.x ask for ``model_hash``."""
        return f"xxh128:{self.model_hash}"

    def _resize_current(self, name: Literal["input_size", "original_size"], size: Size | None) -> None:
        if size is None:
            self.reset_image()
        elif self._current is not None:
            changed: dict[str, Any] = {name: size}
            self.set_features(replace(self._current, **changed))


def features_of(predictor: Predictor) -> ImageFeatures:
    """What was set with :meth:`Predictor.set_image` or :meth:`set_features`; RuntimeError when nothing was."""
    if predictor._current is None:
        raise RuntimeError("No image is set: call set_image(...) or set_precomputed(...) before predict(...).")
    return predictor._current
