"""A series of images, one after the other, in any of the tools.

Results are saved when the person goes on, goes back or closes the window. An image without objects is not written, and
so comes again at the next start. While one image is annotated, the next one is loaded and embedded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari
import numpy as np
from psygnal import Signal

from micro_sam.errors import InputError, MicroSamError
from micro_sam.io.images import find_images
from micro_sam.io.inputs import is_path
from micro_sam.io.labels import load_labels
from micro_sam.io.results import recover
from micro_sam.sam_annotator.annotator_2d import Annotator2D
from micro_sam.sam_annotator.controller.closing import may_leave_uncommitted
from micro_sam.sam_annotator.controller.ending import ends_in_order
from micro_sam.sam_annotator.controller.series_entries import SeriesEntry, plan_series, with_initial
from micro_sam.sam_annotator.launch import choose_session
from micro_sam.sam_annotator.state.settings import Settings
from micro_sam.sam_annotator.view.keys import Key
from micro_sam.sam_annotator.view.panels.series import SeriesMenu
from micro_sam.session.journal import series
from micro_sam.session.journal.continuing import Continued, go_on
from micro_sam.session.journal.places import summarise

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator
    from micro_sam.sam_annotator.state.images import OpenImage

CLOCKS = 2.0  # seconds by which the clocks of two discs may differ


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
        first = self._last_open()
        if first is None:
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

    def _last_open(self) -> int | None:
        """Where a series that goes on was left, also with a result: that may be half of it. None when all is done."""
        if self.annotator.recording.choice.resume is not True or self._find(range(len(self.entries))) is None:
            return None
        index = series.read(self.entries[0].output.parent)
        names = [entry.name for entry in self.entries]
        return names.index(index.last) if index is not None and index.last in names else None

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
        if is_path(earlier):
            image = replace(image, earlier=Path(earlier))
        before = annotator.settings
        annotator.use_settings(before.changed(embedding_path=entry.embedding_path))
        try:
            continued = self._earlier_session(image, entry)
            if continued is not None:
                annotator.recording.show(image, continued)
            else:
                annotator.open(image, committed)
        except Exception:  # the image before stays, with its own result and cache
            annotator.use_settings(before)
            raise
        self.index = index
        images = [series.SeriesImage(one.name, _path_of(one.raw), one.output) for one in self.entries]
        series.write(entry.output.parent, annotator.tool, images, entry.name)
        annotator.viewer.title = f"{entry.name} ({index + 1} of {len(self.entries)}) - {annotator.title}"
        self.changed.emit()

    def _earlier_session(self, image: OpenImage, entry: SeriesEntry) -> Continued | None:
        """The session of an image that goes on, unless somebody has changed the result since, or it cannot be read."""
        recording = self.annotator.recording
        try:
            folder = recording.earlier(image)
            if folder is None:
                return None
            last = summarise(folder).time
            if entry.output.exists() and entry.output.stat().st_mtime > last + CLOCKS:
                return None
            return go_on(folder, self.annotator.make_session)
        except MicroSamError as error:
            self.annotator.status.report(error)
            return None

    def _prepare_next(self, *_) -> None:
        following = self._find(range(self.index + 1, len(self.entries)))
        if following is None:
            return
        annotator, entry = self.annotator, self.entries[following]
        if annotator.ndim == 3 and entry.embedding_path is None:
            return  # two stacks of features in memory at once may be too much
        settings = annotator.settings.changed(embedding_path=entry.embedding_path)
        annotator.engine.prepare_ahead(lambda: entry.open(annotator.tool), annotator.ndim, settings)


def _path_of(raw: Any) -> Path | None:
    return Path(raw) if isinstance(raw, (str, Path)) and not str(raw).startswith("sample:") else None


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
    key: str | None = None,
    resume: bool | str | None = None,
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
    key
        Which image of each file: dataset of a container, or number or name of an image. None: the only one.
    resume
        True: each image goes on with its last session, which lies beside its result; ``"ask"``: that is offered in the
        window; None: each image begins a new session, and the old one is kept.

    Returns
    -------
    viewer
        With `return_viewer`, else None when the window is closed.

    Raises
    ------
    InputError, OutputError
        When the series cannot be started. No window is opened then.
    """
    entries = with_initial(plan_series(images, output_folder, embedding_path, key), initial_segmentations)
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
    choice = choose_session(None, resume)
    kind: type[Annotator] = Annotator2D
    if is_volumetric:
        from micro_sam.sam_annotator.annotator_3d import Annotator3D

        kind = Annotator3D
    entries[0].open(kind.tool)  # a series of the wrong kind is told before a window opens
    viewer = napari.Viewer(title=kind.title) if viewer is None else viewer
    annotator = kind(viewer, settings)
    annotator.recording.choice = choice
    Series(annotator, entries, skip_segmented).start()
    if return_viewer:
        return viewer
    with ends_in_order(annotator):
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
