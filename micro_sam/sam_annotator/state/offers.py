"""What a window offers when the model that is wanted is not there."""

from __future__ import annotations

from dataclasses import dataclass

from micro_sam.sam_annotator.state.settings import Settings


@dataclass(frozen=True)
class ModelOffer:
    """The weights of the wanted model are not on this machine: what can be done about it.

    Attributes
    ----------
    wanted
        Name of the model.
    gigabytes
        What there is to download; None when it cannot be downloaded.
    seconds
        Time that one image takes with it on this machine, estimated.
    memory
        Gigabytes of memory it needs.
    instead
        Name of the model that comes with the program.
    instead_seconds
        Time that one image takes with that.
    """

    wanted: str
    gigabytes: float | None
    seconds: float
    memory: float
    instead: str
    instead_seconds: float


def missing_weights(settings: Settings) -> ModelOffer | None:
    """What to offer when the weights of the wanted model are not here; None when they are."""
    from micro_sam.models.build import estimate_cost
    from micro_sam.models.device import get_device
    from micro_sam.models.download import find_local
    from micro_sam.models.registry import SHIPPED_MODEL, get_spec

    spec = get_spec(settings.model_type)
    if find_local(spec) is not None:
        return None
    shipped = get_spec(SHIPPED_MODEL)
    device = get_device(settings.device)
    seconds, memory = estimate_cost(spec, device)
    return ModelOffer(
        wanted=spec.name,
        gigabytes=spec.weights.size / 1e9 if spec.weights.size and spec.weights.url else None,
        seconds=seconds,
        memory=memory,
        instead=shipped.name,
        instead_seconds=estimate_cost(shipped, device)[0],
    )


def no_model(settings: Settings) -> ModelOffer:
    """What to offer when the wanted model could not be loaded or downloaded."""
    from micro_sam.models.registry import SHIPPED_MODEL

    return ModelOffer(str(settings.model_type or "the model"), None, 0, 0, SHIPPED_MODEL, 0)
