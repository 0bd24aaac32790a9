"""The model of a session, and the features of its image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from micro_sam.errors import InputError, NotComputedYet
from micro_sam.segmentation.values import ObjectMask, Prompts
from micro_sam.session.first_answers import FirstAnswers

if TYPE_CHECKING:
    from micro_sam.embeddings.embeddings import Embeddings
    from micro_sam.models.predictor import Predictor
    from micro_sam.segmentation.volume.maps import VolumeMaps


class Model:
    """Predictor, embeddings and (in volumes) maps that a session uses at present.

    Parameters
    ----------
    shape
        Of the session.
    changed
        Called when others are attached.
    """

    def __init__(self, shape: tuple[int, ...], changed: Callable[[], object]) -> None:
        self._shape = shape
        self._changed = changed
        self._predictor: Predictor | None = None
        self._embeddings: Embeddings | None = None
        self._maps: VolumeMaps | None = None
        self._first: FirstAnswers | None = None

    @property
    def predictor(self) -> Predictor | None:
        """The model in use; None before :meth:`attach`."""
        return self._predictor

    @property
    def embeddings(self) -> Embeddings | None:
        """The features in use; None before :meth:`attach`."""
        return self._embeddings

    @property
    def maps(self) -> VolumeMaps | None:
        """The maps of a volume, complete or growing; None where there are none."""
        return self._maps

    @property
    def answering(self) -> tuple[Any, Any] | None:
        """Predictor and embeddings for a request, or what answers in their place before they are there; else None."""
        if self._predictor is not None and self._embeddings is not None:
            return self._predictor, self._embeddings
        if self._first is not None and self._first.is_open:
            return self._first, self._first
        return None

    def attach_first(self, first: FirstAnswers | None) -> None:
        """Let a process answer until :meth:`attach`; None: nobody any more."""
        if self._first is not None:
            self._first.close()
        self._first = first

    def attach(self, predictor: Predictor, embeddings: Embeddings) -> None:
        """Use this model and these features from now on; maps of others are let go.

        Prompts and objects stay; plans made before become stale.
        """
        self.attach_first(None)
        if embeddings is not self._embeddings or predictor is not self._predictor:
            self._maps = None
        self._predictor, self._embeddings = predictor, embeddings
        self._changed()

    def attach_maps(self, maps: VolumeMaps | None) -> None:
        """Use these maps of the volume from now on; they may still grow.

        Raises
        ------
        InputError
            For maps of a volume of another shape.
        """
        if maps is not None and tuple(maps.shape) != self._shape:
            raise InputError(
                f"These maps are of a volume {tuple(maps.shape)}, but this one has the shape {self._shape}."
            )
        self._maps = maps

    @property
    def facts(self) -> dict[str, str]:
        """Name and hash of the model, for records; empty texts without one."""
        model = self._first if self._predictor is None else self._predictor
        return {key: str(getattr(model, key, "") or "") for key in ("model_name", "model_hash")}

    def check(self) -> tuple[Predictor, Embeddings]:
        """Predictor and embeddings; InputError when they are not there yet."""
        if self._predictor is None or self._embeddings is None:
            raise InputError("The model is not ready yet. Wait until the embeddings are computed, then try again.")
        return self._predictor, self._embeddings

    def check_ready(
        self,
        index: int | None,
        where: str,
        prompts: Prompts,
        batched: bool = False,
        previous: Sequence[ObjectMask] | None = None,
    ) -> None:
        """Raise NotComputedYet when a tile is missing that these prompts of a slice need.

        Parameters
        ----------
        index
            What the embeddings call the slice; None in 2D.
        where
            What messages call it.
        """
        answering = self.answering
        if answering is not None and answering[0] is self._first:
            return  # it computes what is missing
        predictor, embeddings = self.check()
        from micro_sam.segmentation.prompted.readiness import missing_tiles  # torch is not there before the window

        missing = missing_tiles(predictor, embeddings, index, prompts, batched=batched, previous=previous)
        if missing:
            what = "this part of " if len(embeddings.grid) > 1 else ""
            items: tuple[Any, ...] = tuple((index, tile) for tile in missing)
            raise NotComputedYet(f"The embedding of {what}{where} is not computed yet. It will be ready soon.", items)
