"""Several images in one file: they are listed, and one is chosen by its key."""

from __future__ import annotations

from pathlib import Path

from micro_sam.errors import ChoiceError

MOST_LISTED = 20


def listed(images: dict[str, str]) -> str:
    """Keys and words of the images, for a message."""
    names = []
    for key, words in list(images.items())[:MOST_LISTED]:
        names.append(f"{key} {words}" if words.startswith("(") else f"{key} = {words}" if words else key)
    more = len(images) - MOST_LISTED
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")


def choose(path: Path, key: str | None, images: dict[str, str]) -> tuple[str, str]:
    """The key of the image to open, and a sentence when the first of several was taken.

    A key may also be the name of an image, if no other has the same.

    Raises
    ------
    ChoiceError
        When there is no such image; the message lists them.
    """
    if key is None:
        first = next(iter(images))
        if len(images) == 1:
            return first, ""
        return first, (
            f"{path.name} holds {len(images)} images and the first is shown; another one can be chosen with its key "
            f"(--key): {listed(images)}."
        )
    wanted = str(key).strip("/")
    if wanted in images:
        return wanted, ""
    named = [one for one, words in images.items() if words.rpartition(" (")[0] == wanted]
    if len(named) == 1:
        return named[0], ""
    raise no_such_image(path, key, images)


def no_such_image(path: Path, key: str, images: dict[str, str]) -> ChoiceError:
    """The error for a key that is not there."""
    if len(images) == 1:
        what = f"{path} holds one image and has no dataset {key!r}; leave out the key, or use {listed(images)}."
    else:
        what = f"{path} has no dataset {key!r}; choose one with the key (--key): {listed(images)}."
    return ChoiceError(what, dict(images), path)
