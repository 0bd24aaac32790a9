"""What all automatic segmenters share: an image goes in once, thresholds may change as often as one likes."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from micro_sam.embeddings.compute import iter_embeddings, open_embeddings
from micro_sam.embeddings.embeddings import Embeddings, as_embeddings
from micro_sam.errors import CacheError, InputError, NotComputedYet
from micro_sam.io.checks import check_image
from micro_sam.io.inputs import as_array, is_array
from micro_sam.io.normalization import estimate_normalization, to_rgb_uint8
from micro_sam.io.source import ImageSource

if TYPE_CHECKING:
    from micro_sam.models.predictor import Predictor

STATE_FORMAT = 1


class Segmenter(ABC):
    """Base of the automatic segmenters.

    ``iter_initialize`` asks the network, ``generate`` applies thresholds to what it said, ``get_state`` and
    ``set_state`` keep what it said for another day.

    Parameters
    ----------
    predictor : Predictor

    Attributes
    ----------
    hint : str or None
        After ``generate``: what to do when nothing was found, as a sentence for the user.
    """

    method = ""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.hint: str | None = None
        self._is_initialized = False
        self._shape: tuple[int, int] = (0, 0)
        self._slice: int | None = None

    @abstractmethod
    def iter_initialize(
        self, source: Mapping[str, Any] | np.ndarray, i: int | None = None, image: np.ndarray | None = None
    ) -> Iterator[tuple[int, int]]:
        """Ask the network; yields (done, total)."""

    @abstractmethod
    def generate(self, *args: Any, **thresholds: Any) -> Any:
        """Labels (H, W) uint32 for some thresholds; those of another output mode have a form of their own."""

    @abstractmethod
    def _settings(self) -> dict[str, Any]:
        """The parameters that a state depends on, JSON-able."""

    @abstractmethod
    def _arrays(self) -> dict[str, np.ndarray]:
        """What the network said."""

    @abstractmethod
    def _restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of ``_arrays``."""

    def initialize(
        self,
        image: np.ndarray | None = None,
        image_embeddings: Mapping[str, Any] | None = None,
        i: int | None = None,
        verbose: bool = False,
        pbar_init: Callable[[int, str], None] | None = None,
        pbar_update: Callable[[int], None] | None = None,
        tile_shape: tuple[int, int] | None = None,
        halo: tuple[int, int] | None = None,
        batch_size: int | None = None,
        mask: np.ndarray | None = None,
    ) -> None:
        """Ask the network, to the end.

        Parameters
        ----------
        image : (H, W) or (H, W, 3) array, optional
            Not needed when embeddings are given (but for crop layers).
        image_embeddings : mapping, optional
            None: they are computed.
        i : int, optional
            Slice of 3D embeddings.
        verbose : bool
            Show a progress bar in the terminal.
        pbar_init, pbar_update : callables, optional
            Called with (total, description) once, and with the number of steps just done.
        tile_shape, halo : (y, x), optional
            Tiles for embeddings that are computed here.
        batch_size, mask
            For these, too; see ``embeddings.compute.iter_embeddings``.
        """
        if image_embeddings is None:
            if image is None:
                raise InputError("Give an image, its embeddings, or both.")
            image_embeddings = compute_embeddings(self.predictor, image, tile_shape, halo, batch_size, mask)
        before = 0
        bar = None
        for done, total in self.iter_initialize(image_embeddings, i, image):
            if before == 0:
                if pbar_init is not None:
                    pbar_init(total, "Segment automatically")
                elif verbose:
                    bar = tqdm(total=total, desc="Segment automatically")
            for update in (pbar_update, bar.update if bar is not None else None):
                if update is not None:
                    update(done - before)
            before = done
        if bar is not None:
            bar.close()

    @property
    def is_kept(self) -> bool:
        """Whether what the network said lies beside the embeddings already."""
        return False

    @property
    def is_initialized(self) -> bool:
        """Whether the network was asked, or a state was set."""
        return self._is_initialized

    def clear_state(self) -> None:
        """Forget the image."""
        self._is_initialized, self._shape, self.hint = False, (0, 0), None

    def get_state(self) -> dict[str, np.ndarray]:
        """What the network said, with what it depends on, as arrays: ``np.savez(path, **state)`` keeps it."""
        self._require_initialized()
        return {"about": np.array(self._about()), "shape": np.array(self._shape)} | self._arrays()

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take up a state instead of asking the network.

        Raises
        ------
        CacheError
            When the state comes from another model, method or other parameters, or is damaged.
        """
        try:
            about, shape = json.loads(str(state["about"])), tuple(int(s) for s in state["shape"])
        except (KeyError, ValueError, TypeError) as error:
            raise CacheError("This is not a state of an automatic segmenter; run the segmentation again.") from error
        own = json.loads(self._about())
        different = [key for key in own if about.get(key) != own[key]]
        if different:
            raise CacheError(
                f"The state of the automatic segmentation was made with another {' and '.join(different)}; "
                "run the automatic segmentation again."
            )
        try:
            self._restore(state)
        except (KeyError, ValueError, IndexError) as error:
            self.clear_state()
            raise CacheError("The state of the automatic segmentation is damaged; run it again.") from error
        self._shape, self._is_initialized = (shape[0], shape[1]), True

    def _about(self) -> str:
        predictor = self.predictor
        about = {
            "format": STATE_FORMAT,
            "method": self.method,
            "model": [predictor.model_name, predictor.model_hash],
            "settings": self._settings(),
        }
        return json.dumps(about, sort_keys=True)

    def _require_initialized(self) -> None:
        if not self._is_initialized:
            raise NotComputedYet("The automatic segmentation is not computed yet: call initialize first.")

    def _open(self, source: Any, i: int | None, image: Any) -> tuple[Embeddings, np.ndarray | None]:
        if is_array(source) or isinstance(source, (list, tuple, ImageSource)):
            image = check_image(source, "2d").data
            source = compute_embeddings(self.predictor, image)
        elif image is not None:
            image = as_array(image)
        embeddings = as_embeddings(source)
        self._slice = i
        for tile in range(len(embeddings.grid)):  # all checks before the first second of work
            embeddings.store.check_item(i, tile)
            if not (embeddings.store.is_complete(i, tile) or embeddings.store.is_skipped(i, tile)):
                raise NotComputedYet("The embeddings are not complete yet: compute them first, then segment.")
        return embeddings, image


class TiledSegmenter(Segmenter):
    """A segmenter for tiles: ``initialize`` takes ``tile_shape`` and ``halo`` before ``verbose``, as in micro-sam."""

    def initialize(  # type: ignore[override]  # the order of micro-sam 1.x
        self,
        image: np.ndarray | None = None,
        image_embeddings: Mapping[str, Any] | None = None,
        i: int | None = None,
        tile_shape: tuple[int, int] | None = None,
        halo: tuple[int, int] | None = None,
        verbose: bool = False,
        pbar_init: Callable[[int, str], None] | None = None,
        pbar_update: Callable[[int], None] | None = None,
        **kwargs: Any,
    ) -> None:
        """Ask the network, to the end; parameters as of ``Segmenter.initialize``."""
        progress: dict[str, Any] = {"verbose": verbose, "pbar_init": pbar_init, "pbar_update": pbar_update}
        super().initialize(image, image_embeddings, i, tile_shape=tile_shape, halo=halo, **progress, **kwargs)


def compute_embeddings(
    predictor: Predictor,
    image: Any,
    tile_shape: tuple[int, int] | None = None,
    halo: tuple[int, int] | None = None,
    batch_size: int | None = None,
    mask: np.ndarray | None = None,
) -> Embeddings:
    """Embeddings of a 2D image, kept in memory."""
    image = as_array(image)
    embeddings, store = open_embeddings(predictor, image, ndim=2, tile_shape=tile_shape, halo=halo)
    for _ in iter_embeddings(predictor, image, store, batch_size=batch_size, mask=mask):
        pass
    return embeddings


def rgb_tile(image: np.ndarray) -> np.ndarray:
    """A 2D image as the network sees it, (H, W, 3) uint8."""
    return to_rgb_uint8(image, estimate_normalization(image, 2))
