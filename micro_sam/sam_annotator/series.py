"""A series of images, one after the other, in any of the tools.

Results are saved when the person goes on, goes back or closes the window. An image without objects is not written, and
so comes again at the next start. While one image is annotated, the next one is loaded and embedded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari
import numpy as np
from psygnal import Signal

from micro_sam.errors import InputError, MicroSamError, OutputError
from micro_sam.io.images import find_images
from micro_sam.io.labels import load_labels
from micro_sam.io.results import Inputs, recover
from micro_sam.sam_annotator.annotator_2d import Annotator2D
from micro_sam.sam_annotator.closing import may_leave_uncommitted
from micro_sam.sam_annotator.images import OpenImage, from_array, from_path
from micro_sam.sam_annotator.keys import Key
from micro_sam.sam_annotator.settings import Settings
from micro_sam.sam_annotator.widgets.series import SeriesMenu

if TYPE_CHECKING:
    from micro_sam.sam_annotator.annotator import Annotator


@dataclass(frozen=True)
class SeriesEntry:
    """One image of a series.

    Attributes
    ----------
    raw
        Array or path.
    name
        Unique in the series.
    output
        Where its objects are saved.
    embedding_path
        Its cache; None: its embeddings are kept in memory.
    initial
        Labels (array or path) to begin with while it has no result.
    """

    raw: Any
    name: str
    output: Path
    embedding_path: Path | None = None
    initial: Any = None

    def open(self, tool: str) -> OpenImage:
        """Load and check the image."""
        if isinstance(self.raw, (str, Path)):
            image = from_path(self.raw, tool).renamed(self.name)
        else:
            image = from_array(self.raw, tool, self.name)
        return replace(image, result=self.output)


def plan_series(
    images: Sequence[np.ndarray | str | Path], output_folder: str | Path, embedding_path: str | Path | None = None
) -> list[SeriesEntry]:
    """Names and files of a series: images with the same stem do not share a file.

    Parameters
    ----------
    images
        Arrays or paths.
    output_folder
        For one tif per image.
    embedding_path
        Folder for one cache per image, or None.

    Raises
    ------
    InputError
        When there are no images, or one of the files is not there.
    OutputError
        When the output folder is a file, or a result or cache would be one of the images or lie inside one.
    """
    images = list(images)
    if not images:
        raise InputError("There are no images to annotate.")
    output_folder = Path(output_folder).expanduser()
    for folder in (output_folder, *([Path(embedding_path)] if embedding_path is not None else [])):
        if folder.is_file():
            raise OutputError(f"{folder} is a file, but a folder is needed. Choose another one.")
    for image in images:
        if isinstance(image, (str, Path)) and not str(image).startswith("sample:") and not Path(image).exists():
            raise InputError(f"There is no image {image}.")
    entries = [
        SeriesEntry(
            image,
            name,
            output_folder / f"{name}.tif",
            None if embedding_path is None else Path(embedding_path) / f"{name}.zarr",
        )
        for image, name in zip(images, unique_names(images), strict=True)
    ]
    inputs = Inputs(*images)
    for entry in entries:
        inputs.check(entry.output)
        inputs.check(entry.embedding_path)
    recover(output_folder / "inside")
    return entries


def with_initial(entries: list[SeriesEntry], initial: Sequence[Any] | None) -> list[SeriesEntry]:
    """Entries with the labels to begin with, in the same order; InputError when their numbers differ."""
    if initial is None:
        return entries
    if len(initial) != len(entries):
        raise InputError(f"There are {len(entries)} images, but {len(initial)} initial segmentations.")
    return [replace(entry, initial=labels) for entry, labels in zip(entries, initial, strict=True)]


def unique_names(images: Sequence[Any]) -> list[str]:
    """A name for each image: its stem where that is the only one, else with its suffix, its folder, its number."""
    paths = [Path(str(image).removeprefix("sample:")) if isinstance(image, (str, Path)) else None for image in images]
    ways = (
        lambda path: path.stem,
        lambda path: path.name.replace(".", "_"),
        lambda path: f"{path.parent.name}_{path.name.replace('.', '_')}",
    )
    names: list[str | None] = [None] * len(images)
    for way in ways:
        left = [k for k, path in enumerate(paths) if names[k] is None and path is not None]
        counts = Counter(way(paths[k]) for k in left)
        for k in left:
            if counts[way(paths[k])] == 1 and way(paths[k]) not in names:
                names[k] = way(paths[k])
    taken = {name for name in names if name is not None}
    for k, path in enumerate(paths):
        if names[k] is None:
            stem, number = ("seg" if path is None else path.stem), k
            while f"{stem}_{number:05}" in taken:
                number += len(images)
            names[k] = f"{stem}_{number:05}"
            taken.add(names[k])
    return names


class Series:
    """Goes through a series with one tool.

    Attributes
    ----------
    index
        Position of the image that is shown.

    Signals
    -------
    changed
        Another image is shown.
    """

    changed = Signal()

    def __init__(self, annotator: Annotator, entries: Sequence[SeriesEntry], skip_segmented: bool = True) -> None:
        self.annotator = annotator
        self.entries = tuple(entries)
        self.skip_segmented = skip_segmented
        self.index = -1
        annotator.series = self
        annotator.saving.automatic = True
        annotator.keys.add([Key(("n",), "next image", self.next), Key(("Shift-N",), "previous image", self.previous)])
        self.menu = SeriesMenu(self)
        annotator.dock.add_on_top("Series", self.menu)
        annotator.engine.ready.connect(self._prepare_next)

    @property
    def entry(self) -> SeriesEntry:
        """The image that is shown."""
        return self.entries[self.index]

    def start(self) -> None:
        """Show the first image that has no result yet (without `skip_segmented` the first)."""
        first = self._find(range(len(self.entries)))
        if first is None:
            self.skip_segmented = False
            self._go(range(len(self.entries)))
            self.annotator.status.say(
                f"All {len(self.entries)} images have a result. You can correct them: N goes on, Shift-N back.", "good"
            )
            return
        self._go(range(first, len(self.entries)))

    def next(self) -> None:
        """Save, and show the next image."""
        ahead = range(self.index + 1, len(self.entries))
        following = self._find(ahead)
        if following is None:
            self._leave(None)
            return
        self._leave(range(following, len(self.entries)))

    def previous(self) -> None:
        """Save, and show the image before, with its result."""
        if self.index <= 0:
            self.annotator.status.say("This is the first image.", "warning")
            return
        self._leave(range(self.index - 1, -1, -1))

    def keep_embeddings_in_memory(self) -> None:
        """From now on: caches on disc belong to the model they were made with, and another one is in use."""
        self.entries = tuple(replace(entry, embedding_path=None) for entry in self.entries)

    def _find(self, candidates: range) -> int | None:
        """The first of the candidates that is still to do."""
        return next((k for k in candidates if not (self.skip_segmented and self.entries[k].output.exists())), None)

    def _leave(self, candidates: range | None) -> None:
        annotator = self.annotator
        try:
            if annotator.saving.uncommitted:
                raise InputError(
                    "The current object is not committed. Commit it with C or clear it with Shift-C first."
                )
            if not may_leave_uncommitted(annotator):
                return
            saved = annotator.saving.save_silently()
            if not saved and annotator.saving.has_news:
                raise InputError(
                    f"The objects of this image are not saved, because {annotator.saving.path} stays as it is. Press N "
                    "again to replace it, or save them in another file with Save As."
                )
        except Exception as error:
            annotator.status.report(error)
            return
        if candidates is None:
            text = f"This was the last image; results are in {self.entry.output.parent}."
            annotator.status.say(text + (" You can close the window." if saved or not annotator.saving.unsaved else ""))
            return
        self._go(candidates)

    def _go(self, candidates: range) -> None:
        """Show the first of the candidates that can be opened."""
        problems = []
        for index in candidates:
            try:
                self._open(index)
            except MicroSamError as error:
                problems.append(f"{self.entries[index].name} is left out: {error}")
                continue
            if problems:
                self.annotator.status.say(" ".join(problems), "error")
            return
        self.annotator.status.say(" ".join(problems), "error")

    def _open(self, index: int) -> None:
        annotator, entry = self.annotator, self.entries[index]
        image = annotator.engine.take_ahead(entry.name) or entry.open(annotator.tool)
        recover(entry.output)
        earlier = entry.output if entry.output.exists() else entry.initial
        committed = None if earlier is None else load_labels(earlier, shape=image.shape)
        before = annotator.settings
        annotator.use_settings(before.changed(embedding_path=entry.embedding_path))
        try:
            annotator.open(image, committed)
        except Exception:  # the image before stays, with its own result and cache
            annotator.use_settings(before)
            raise
        self.index = index
        annotator.viewer.title = f"{entry.name} ({index + 1} of {len(self.entries)}) - {annotator.title}"
        self.changed.emit()

    def _prepare_next(self, *_) -> None:
        following = self._find(range(self.index + 1, len(self.entries)))
        if following is None:
            return
        annotator, entry = self.annotator, self.entries[following]
        if annotator.ndim == 3 and entry.embedding_path is None:
            return  # two stacks of features in memory at once may be too much
        settings = annotator.settings.changed(embedding_path=entry.embedding_path)
        annotator.engine.prepare_ahead(lambda: entry.open(annotator.tool), annotator.ndim, settings)


def image_series_annotator(
    images: Sequence[np.ndarray | str | Path],
    output_folder: str | Path,
    model_type: str | None = "vit_h",
    embedding_path: str | Path | None = None,
    tile_shape: tuple[int, int] | None = None,
    halo: tuple[int, int] | None = None,
    viewer: napari.Viewer | None = None,
    return_viewer: bool = False,
    precompute_amg_state: bool = False,
    checkpoint_path: str | Path | None = None,
    is_volumetric: bool = False,
    device: str | None = None,
    skip_segmented: bool = True,
    initial_segmentations: Sequence[np.ndarray | str | Path] | None = None,
    prefer_decoder: bool = True,
) -> napari.Viewer | None:
    """Annotate images one after the other; key ``n`` saves and goes on, ``Shift-N`` goes back.

    Parameters
    ----------
    images
        Arrays or paths.
    output_folder
        Gets one label image (tif) per image that has objects.
    model_type, checkpoint_path, device
        The model; see :func:`~micro_sam.sam_annotator.annotator_2d.annotator_2d`.
    embedding_path
        Folder for one embedding cache per image; None: embeddings are kept in memory.
    tile_shape, halo
        (y, x) in pixels, for large images.
    viewer
        Dock the tool into this viewer instead of opening a window.
    return_viewer
        Return the viewer at once instead of starting the event loop.
    precompute_amg_state
        Whether the automatic segmentation of each image is prepared when it is shown.
    is_volumetric
        Whether the images are stacks of slices.
    skip_segmented
        Whether images that have a result are passed over; otherwise they are shown with it.
    initial_segmentations
        Labels to begin with, one (array or path) per image.
    prefer_decoder
        Whether the automatic segmentation begins with the model's decoder, where it has one.

    Returns
    -------
    viewer
        With `return_viewer`, else None when the window is closed.

    Raises
    ------
    InputError, OutputError
        When the series cannot be started. No window is opened then.
    """
    entries = with_initial(plan_series(images, output_folder, embedding_path), initial_segmentations)
    settings = Settings(
        model_type,
        checkpoint_path,
        device,
        None,
        tile_shape,
        halo,
        precompute_amg_state,
        prefer_decoder=prefer_decoder,
    )
    settings.check()
    kind: type[Annotator] = Annotator2D
    if is_volumetric:
        from micro_sam.sam_annotator.annotator_3d import Annotator3D

        kind = Annotator3D
    entries[0].open(kind.tool)  # a series of the wrong kind is told before a window opens
    viewer = napari.Viewer(title=kind.title) if viewer is None else viewer
    Series(kind(viewer, settings), entries, skip_segmented).start()
    if return_viewer:
        return viewer
    napari.run()
    return None


def image_folder_annotator(
    input_folder: str | Path,
    output_folder: str | Path,
    pattern: str | None = "*",
    initial_segmentation_folder: str | Path | None = None,
    initial_segmentation_pattern: str = "*",
    **kwargs: Any,
) -> napari.Viewer | None:
    """Annotate all images of a folder one after the other.

    Parameters
    ----------
    input_folder
        Holds the images.
    output_folder
        Gets one label image (tif) per image that has objects.
    pattern
        Glob inside the folder; ``"*"``: all images of a known kind.
    initial_segmentation_folder, initial_segmentation_pattern
        Labels to begin with, one for each image in the order of their names.
    **kwargs
        See :func:`image_series_annotator`.

    Raises
    ------
    InputError
        When nothing matches.
    """
    images = find_images(input_folder, None if pattern == "*" else pattern)
    if initial_segmentation_folder is not None:
        wanted = None if initial_segmentation_pattern == "*" else initial_segmentation_pattern
        kwargs["initial_segmentations"] = find_images(initial_segmentation_folder, wanted)
    return image_series_annotator(images, output_folder, **kwargs)
