"""Images -> features, features and prompts -> masks, without any state between calls: threads may share it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from micro_sam.errors import InputError, ModelError
from micro_sam.models import frames
from micro_sam.models.decode_windows import covered, cut_side, decode_in_windows
from micro_sam.models.image_features import Decoded, ImageFeatures
from micro_sam.models.image_sides import ImageSideCache
from micro_sam.models.modules import decoding
from micro_sam.models.prompt_input import prepare_prompts
from micro_sam.models.sam import Sam
from micro_sam.models.sizes import Box, Size, resized_size

__all__ = ["PRECISIONS", "Encoder", "StatelessPredictor"]

# padded image (1, 3, S, S), float32 -> features (1, C, g, g) and the dense maps (1, K, h, w) of a model that has them
Encoder = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]
DENSE_STEP = 32  # pixels: the sides of what a convolutional encoder is given are multiples of it
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class StatelessPredictor:
    """Encodes images and decodes prompts with one model.

    Parameters
    ----------
    model : Sam
        Moved to ``device`` and set to evaluation mode.
    model_name : str | None
        Name in the registry ("vit_b_lm"); the architecture when None.
    model_hash : str
        Hash of the weights, by which caches know the model.
    device : torch.device | str | None
        None leaves the model where it is.
    precision : str
        "fp32", "bf16" or "fp16": arithmetic of the network. Features and logits are float32 in any case.
    """

    def __init__(
        self,
        model: Sam,
        model_name: str | None = None,
        model_hash: str = "",
        device: torch.device | str | None = None,
        precision: str = "fp32",
    ) -> None:
        if precision not in PRECISIONS:
            raise InputError(f"There is no precision {precision!r}; choose one of {', '.join(PRECISIONS)}.")
        self.model = model.to(device or model.device).eval()
        self.model_type = model.architecture
        self.model_name = model_name or model.architecture
        self.model_hash = model_hash
        self.precision = precision
        self.backend = "torch"
        self._encoder: Encoder | None = None
        self._sides = ImageSideCache(self.model, PRECISIONS[precision])

    @property
    def device(self) -> torch.device:
        return self.model.device

    # ---- images -> features

    def encode_with(self, encoder: Encoder | None, backend: str) -> None:
        """Encode images in another runtime from now on, see ``backends``; None: with the model itself."""
        self._encoder = encoder
        self.backend = backend

    def encode(self, image: np.ndarray) -> ImageFeatures:
        """Features of one image (H, W, 3), uint8, RGB."""
        return self.encode_batch([image])[0]

    @torch.no_grad()
    def encode_batch(self, images: Iterable[np.ndarray]) -> list[ImageFeatures]:
        """Features of several images, in one pass of the network; each (H, W, 3), uint8, RGB, of any size."""
        images = [np.asarray(image) for image in images]
        if not images:
            return []
        if self._encoder is not None:
            return [self._encode_elsewhere(image) for image in images]
        inputs, sizes = [], []
        for image in images:
            frames.check_pixels(image)
            size = resized_size(image.shape[:2], self.model.image_size)
            pixels = torch.tensor(frames.resize_image(image, size), device=self.device)
            inputs.append(self.model.preprocess(pixels.permute(2, 0, 1)))
            sizes.append((size, image.shape[:2]))
        with self._autocast():
            features, dense = self.model.encode(torch.stack(inputs))
        features = features.float().contiguous()
        return [
            ImageFeatures(features[i : i + 1], *size, None if dense is None else dense[i].float().contiguous())
            for i, size in enumerate(sizes)
        ]

    @torch.no_grad()
    def encode_close_up(self, image: np.ndarray) -> ImageFeatures:
        """Features of a cut-out (H, W, 3), uint8, RGB, enlarged to ``Sam.close_up`` pixels, at the cost of so many.

        Returns
        -------
        ImageFeatures
            In the upper left of the feature grid, the rest is zero; without dense maps.

        Raises
        ------
        ModelError
            When this model takes no close-ups.
        """
        side = self.model.close_up
        if side is None:
            raise ModelError(f"The model ({self.model_type}) takes no close-ups: its encoder reads whole images only.")
        frames.check_pixels(image)
        size = resized_size(image.shape[:2], side)
        pixels = torch.tensor(frames.resize_image(image, size), device=self.device)
        with self._autocast():
            features = self.model.image_encoder(self.model.preprocess(pixels.permute(2, 0, 1), side)[None])
        rest = self.model.grid_size - features.shape[-1]
        features = nn.functional.pad(features.float(), (0, rest, 0, rest)).contiguous()
        return ImageFeatures(features, size, image.shape[:2])

    @torch.no_grad()
    def encode_dense(self, image: np.ndarray) -> Tensor:
        """Dense maps (K, h, w) of an image (H, W, 3), uint8, RGB, without padding and as the head gives them.

        Where the encoder is convolutional and runs in torch it is given no more than the image, so that a long and
        narrow one costs as much as its pixels.
        """
        model = self.model
        frames.check_pixels(image)
        if model.dense_kind != "offsets" or self._encoder is not None:
            features = self.encode(image)
            dense = features.dense if features.dense is not None else model.dense_from_features(features.features)[0]
            size, padded = features.input_size, (model.image_size, model.image_size)
        else:
            size = resized_size(image.shape[:2], model.image_size)
            size = (max(size[0], 1), max(size[1], 1))
            pixels = torch.tensor(frames.resize_image(image, size), device=self.device).permute(2, 0, 1)
            padded = (size[0] + -size[0] % DENSE_STEP, size[1] + -size[1] % DENSE_STEP)
            colours = (pixels - model.pixel_mean) / model.pixel_std
            with self._autocast():
                x = nn.functional.pad(colours, (0, padded[1] - size[1], 0, padded[0] - size[0]))[None]
                dense = model.maps_of_trunk(model.trunk(x))[0]
        height, width = (max(1, round(n * m / p)) for n, m, p in zip(size, dense.shape[-2:], padded, strict=True))
        return dense[:, :height, :width].float()

    def _encode_elsewhere(self, image: np.ndarray) -> ImageFeatures:
        """Features of one image by the encoder of another runtime."""
        assert self._encoder is not None
        frames.check_pixels(image)
        features, dense = self._encoder(frames.pad_image(image, self.model.image_size))
        size = resized_size(image.shape[:2], self.model.image_size)
        maps = None if dense is None else torch.from_numpy(dense)[0]
        return ImageFeatures(torch.from_numpy(features), size, image.shape[:2], maps)

    # ---- features and prompts -> masks

    @torch.no_grad()
    def decode(
        self,
        image: ImageFeatures,
        *,
        points: np.ndarray | Tensor | None = None,
        labels: np.ndarray | Tensor | None = None,
        boxes: np.ndarray | Tensor | None = None,
        mask_input: np.ndarray | Tensor | None = None,
        multimask_output: bool = False,
        score_threshold: float | None = None,
        windowed: bool = True,
    ) -> Decoded:
        """Masks of B prompts on one image. Prompts are in pixels of the original image.

        Parameters
        ----------
        image : ImageFeatures
        points : array (B, N, 2) | None
            (y, x); the centre of the first pixel is (0, 0).
        labels : array (B, N) | None
            1 foreground, 0 background, -1 padding (for prompts with fewer points than others).
        boxes : array (B, 4) | None
            (y0, x0, y1, x1).
        mask_input : array (B, 1, 4 g, 4 g) | None
            Low-resolution logits, of an earlier call for example.
        multimask_output : bool
            Three masks per prompt, for ambiguous prompts, instead of one.
        score_threshold : float | None
            Masks with a lower score are not computed, which saves half of their cost; they come back empty, with the
            logit -100 everywhere.
        windowed : bool
            Let a model that was trained so look at a window around each prompt (``Sam.decode_window``). Not worth it
            where most masks reach out of it, as those of clicks on a regular grid.

        Raises
        ------
        InputError
            When there is no prompt, or shapes do not fit together.
        """
        prompts = prepare_prompts(image, points, labels, boxes, mask_input, 4 * self.model.grid_size, self.device)
        window, grid = self.model.decode_window, self.model.grid_size
        run = partial(self._run_decoder, image.features, several=multimask_output, threshold=score_threshold)
        if window is None or window >= grid or not windowed:
            return Decoded(*run(*prompts))
        stride = self.model.image_size // grid
        return Decoded(*decode_in_windows(run, prompts, covered(image.input_size, stride), window, stride, grid))

    def _run_decoder(
        self,
        features: Tensor,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        masks: Tensor | None,
        corner: Tensor | None = None,
        several: bool = False,
        threshold: float | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Logits and scores of prepared prompts, on the whole grid or, with ``corner`` (B, 2), in windows of it."""
        encoder, decoder = self.model.prompt_encoder, self.model.mask_decoder
        sparse = encoder.embed_sparse(points, boxes)
        step = decoding.MICRO_BATCH.get(self.device.type, 16)
        if masks is None and corner is None:
            assert sparse is not None  # a prompt is points, a box or a mask
            side = self._sides.get(features, prompts=len(sparse))
            return decoding.decode(decoder, side, sparse, several, threshold)
        if sparse is None:
            assert masks is not None
            sparse = masks.new_empty((len(masks), 0, encoder.embed_dim))
        grid, window = self.model.grid_size, self.model.decode_window
        if corner is not None and window is not None:
            step *= (grid // window) ** 2
        parts = []  # an image side of its own for every prompt is large: only few at a time
        for start in range(0, len(sparse), step):
            these = slice(start, start + step)
            if masks is None:
                side = self._sides.get(features, prompts=0)
            else:
                side = self._sides.with_mask(features, encoder.mask_downscaling(masks[these]))
            if corner is not None and window is not None:
                side = cut_side(side, corner[these], window, grid)
            parts.append(decoding.decode(decoder, side, sparse[these], several, threshold, step))
        return torch.cat([logits for logits, _ in parts]), torch.cat([scores for _, scores in parts])

    @torch.no_grad()
    def upscale(self, logits: Tensor, image: ImageFeatures, box: Sequence[int] | None = None) -> Tensor:
        """Low-resolution logits (M, 4 g, 4 g) -> logits (M, H, W) of the original image.

        With ``box``, half-open (y0, x0, y1, x1) within the image, only that part: (M, y1 - y0, x1 - x0).
        """
        if box is None:
            return frames.upscale_logits(logits, *self._frame(image))
        y0, x0, y1, x1 = (int(v) for v in box)
        if not (0 <= y0 < y1 <= image.original_size[0] and 0 <= x0 < x1 <= image.original_size[1]):
            raise InputError(f"The box {tuple(box)} is empty or not within the image of {image.original_size} pixels.")
        return frames.upscale_logits_in_box(logits, *self._frame(image), (y0, x0, y1, x1))

    def foreground_box(self, logits: Tensor, image: ImageFeatures, threshold: float = 0.0) -> Box | None:
        """Box (y0, x0, y1, x1), half-open, that holds the whole mask of low-resolution logits (4 g, 4 g).

        None for an empty mask. Upscaling inside this box alone loses no pixel of the mask.
        """
        return frames.foreground_box(logits, *self._frame(image), threshold)

    # ---- inside

    def _frame(self, image: ImageFeatures) -> tuple[int, Size, Size]:
        return self.model.image_size, image.input_size, image.original_size

    def _autocast(self) -> AbstractContextManager[object]:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=PRECISIONS[self.precision])
