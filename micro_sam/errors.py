"""Problems that the program foresees.

The message of each is written for the user at the screen: one or two full sentences that say what happened, why,
and what to do. The command line prints it and exits with code 2, the window shows it; neither shows a traceback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class MicroSamError(Exception):
    """A foreseen problem. Never raised itself; its subclasses say where the problem lies."""


class InputError(MicroSamError, ValueError):
    """An image, a label image, a prompt or an argument cannot be used as it is."""


class AxesError(InputError):
    """Nothing says what the axes of an image are, and its shape leaves it open.

    Attributes
    ----------
    readings
        Axes that the tool could use -> what they would mean, in words: ``{"CZYX": "3 channels of 8 slices"}``.
    path
        The file, if it is one.
    """

    def __init__(self, message: str, readings: dict[str, str], path: object = None) -> None:
        super().__init__(message)
        self.readings = readings
        self.path = path


class ChoiceError(InputError):
    """A file holds several images, and one has to be chosen.

    Attributes
    ----------
    choices
        Key -> what the image is, in words: ``{"1": "position 1 (12, 512, 512)"}``.
    path
        The file, if it is one.
    """

    def __init__(self, message: str, choices: dict[str, str], path: object = None) -> None:
        super().__init__(message)
        self.choices = choices
        self.path = path


class CacheError(MicroSamError, ValueError):
    """A cache on disc does not belong to this image, model or setting, or cannot be read."""


class NotComputedYet(MicroSamError, LookupError):
    """The features of a slice or tile are asked for before they are complete.

    Attributes
    ----------
    items
        What is missing, as (slice or None, tile) pairs; empty when that is not known.
    """

    def __init__(self, message: str, items: tuple[tuple[int | None, int], ...] = ()) -> None:
        super().__init__(message)
        self.items = items


class ModelError(MicroSamError, RuntimeError):
    """A model's weights are not to be had, or the file is not what it should be."""


class OutputError(MicroSamError, OSError):
    """A result cannot be written where it should go."""


class NotOurs(OutputError):
    """What exists at a place is no result that this program is known to have written; only its owner may decide.

    The writers of results replace it with ``replace_unmarked=True``, and keep it as ``NAME.bak``.
    """


class Cancelled(MicroSamError):
    """The user stopped a job. What was finished before stays."""


class ClusterError(MicroSamError, RuntimeError):
    """Workers cannot be had, or none of them can work."""


def as_input_error(error: ValidationError, prefix: str = "") -> MicroSamError:
    """The first of what pydantic finds wrong, as a sentence.

    Parameters
    ----------
    error
        Its reasons may be errors of this module, which are kept.
    prefix
        In front of the name of a field: ``"--"`` where that is an option of a command.
    """
    first = error.errors(include_url=False)[0]
    limits = first.get("ctx", {})
    cause = limits.get("error")
    if isinstance(cause, MicroSamError):
        return cause
    name = prefix + next((part for part in reversed(first["loc"]) if isinstance(part, str)), "value")
    wanted = {
        "greater_than_equal": "{ge} or more",
        "greater_than": "more than {gt}",
        "less_than_equal": "{le} or less",
        "less_than": "less than {lt}",
        "literal_error": "{expected}",
        "finite_number": "a number",
        "int_parsing": "a whole number",
        "int_from_float": "a whole number",
        "float_parsing": "a number",
    }.get(first["type"])
    if wanted is not None:
        return InputError(f"{name} must be {wanted.format(**limits)}, not {first['input']!r}.")
    return InputError(f"{name} {first['input']!r}: {first['msg']}.")
