"""The 3D annotator."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari
import numpy as np

from micro_sam.errors import InputError
from micro_sam.sam_annotator.controller.acts import act
from micro_sam.sam_annotator.controller.annotator import Annotator
from micro_sam.sam_annotator.controller.automatic_volume import AutomaticVolume
from micro_sam.sam_annotator.controller.corrections import CorrectionActs
from micro_sam.sam_annotator.controller.session_run import SessionRun
from micro_sam.sam_annotator.controller.slices import SliceActs
from micro_sam.sam_annotator.controller.volume_maps import MapsWork
from micro_sam.sam_annotator.controller.whole_object import WholeObject
from micro_sam.sam_annotator.launch import check_result, choose_session, one_image, start_tool
from micro_sam.sam_annotator.runtime.jobs import MAPS, WORK
from micro_sam.sam_annotator.runtime.memory import take_memory
from micro_sam.sam_annotator.state.images import OpenImage, open_any
from micro_sam.sam_annotator.state.settings import Settings
from micro_sam.sam_annotator.view.keys import Key
from micro_sam.session.propagation.volume import Method
from micro_sam.session.session import VolumeSession

if TYPE_CHECKING:
    from micro_sam.embeddings.store import Item
    from micro_sam.session.values import CommitReport


@dataclass(frozen=True)
class VolumeOptions:
    """How objects are extended through the volume; see :meth:`.VolumePropagation.plan`.

    Attributes
    ----------
    method
        ``"auto"``, ``"maps"`` or ``"propagation"``.
    iou_threshold
        Overlap of two slices below which a run stops outward.
    projection
        How the mask of one slice prompts the next.
    box_extension
        Pixels (>= 1) or fraction (< 1) by which box prompts grow.
    interpolation
        In gaps between prompted slices: ``"never"``, ``"lost"`` or ``"always"``.
    """

    method: Method = "auto"
    iou_threshold: float = 0.8
    projection: str = "default"
    box_extension: float = 0.0
    interpolation: str = "lost"


class Annotator3D(SliceActs, CorrectionActs, Annotator):
    """Segments the objects of a stack of slices.

    Attributes
    ----------
    volume_options
        What the next run does.
    maps
        The work on the maps of the volume.
    whole
        The whole object, live.
    """

    title = "micro_sam 3D"
    tool = "3d"
    ndim = 3
    segments = "Slice"
    session: VolumeSession | None

    def __init__(self, viewer: napari.Viewer, settings: Settings) -> None:
        self.volume_options = VolumeOptions()
        super().__init__(viewer, settings)
        self.maps = MapsWork(self)
        self.whole = WholeObject(self)

    # ------------------------------------------------------------------ what the core asks

    @functools.cached_property
    def volume(self) -> SessionRun:
        """The run that extends the current objects through the volume."""
        return SessionRun(
            self,
            "Segmenting the volume",
        )

    @functools.cached_property
    def automatic_volume(self) -> AutomaticVolume:
        """The automatic segmentation of all slices."""
        return AutomaticVolume(self)

    def make_session(self, shape: tuple[int, ...]) -> VolumeSession:
        """The session for a stack (Z, H, W)."""
        check_slices(shape)
        session = VolumeSession(shape)
        take_memory([session.current, session.committed, session.auto])
        return session

    def open(
        self, image: OpenImage, committed: np.ndarray | None = None, *, session: VolumeSession | None = None
    ) -> None:
        """Show a volume; see the core."""
        super().open(image, committed, session=session)
        self._corrects = False
        if self.viewer.dims.ndim == 3:
            self.viewer.dims.axis_labels = ("z", "y", "x")

    def extra_keys(self) -> list[Key]:
        """Keys that 2D does not have."""
        return [
            Key(("v", "V"), "whole object: the current object in all slices", self.segment_volume),
            Key(("o",), "open the object under the mouse again", self.reopen_under_mouse),
        ]

    def extra_menus(self) -> Sequence[Any]:
        """The volume menu."""
        from micro_sam.sam_annotator.view.panels.volume import VolumeMenu

        return [VolumeMenu(self)]

    def wanted(self) -> tuple[Item, ...]:
        """What a run waits for comes before what a preview waits for."""
        return (*self.volume.wanted, *super().wanted())

    # ------------------------------------------------------------------ acts

    @act
    def segment_volume(self) -> None:
        """The whole object(s): by the maps where they are ready, else from the prompted slices to all others."""
        self.volume.start(**asdict(self.volume_options), batched=self.preview.batched)
        if self.jobs.running(WORK) is not None and self.volume.is_stepwise:
            self.status.say("The object grows from slice to slice. Cancel stops it and keeps what is there.")

    @act
    def commit(self, wait: bool = False) -> CommitReport | None:
        """See the core; what is on its way to the other slices belongs to the object."""
        if self.source == "current" and self.whole.busy and self.jobs.running(WORK) is None:
            self.whole.then(self.commit)
            return None
        return super().commit(wait)

    @property
    def _then(self) -> str:
        if not self.session.propagation.whole_object_possible or self.volume_options.method == "propagation":
            return super()._then
        return "and the whole object follows" if self.preview.live else "then press V: the whole object is done again"

    def close(self) -> None:
        """See the core."""
        self.whole.close()
        self.automatic_volume.close()
        super().close()

    @act
    def segment_all_slices(self) -> None:
        """Find the objects of the whole volume."""
        self.automatic_volume.run()

    @act
    def cancel(self) -> None:
        """Stop what is running; a run that only waits for its first slice is forgotten."""
        self.volume.forget()
        running = self.jobs.running()
        if running is not None and running.lane == MAPS:
            self.maps.cancel()
        else:
            super().cancel()

    @act
    def set_volume_option(self, name: str, value: Any) -> None:
        """Change one of the options of the next run."""
        self.volume_options = replace(self.volume_options, **{name: value})
        if name == "method":
            if value == "propagation":
                self.maps.cancel()
            else:
                self.maps.begin()


def check_slices(shape: tuple[int, ...]) -> None:
    """Whether there is more than one slice.

    Raises
    ------
    InputError
        For a volume of one slice.
    """
    if shape[0] < 2:
        raise InputError(
            f"The 3D annotator needs several slices, but this volume has one: its shape is {shape}. Open it with "
            "annotator_2d."
        )


def annotator_3d(
    raw: np.ndarray | str | Path | napari.layers.Image | None = None,
    embedding_path: str | Path | None = None,
    show_embeddings: bool = False,
    segmentation_result: np.ndarray | str | Path | None = None,
    model_type: str | None = "vit_h",
    tile_shape: tuple[int, int] | None = None,
    halo: tuple[int, int] | None = None,
    return_viewer: bool = False,
    viewer: napari.Viewer | None = None,
    precompute_amg_state: bool = False,
    checkpoint_path: str | Path | None = None,
    device: str | None = None,
    *,
    key: str | None = None,
    segmentation_key: str | None = None,
    axes: str | None = None,
    image: np.ndarray | str | Path | napari.layers.Image | None = None,
    decoder_path: str | Path | None = None,
    prefer_decoder: bool = True,
    session: str | Path | None = None,
    resume: bool | str | None = None,
) -> napari.Viewer | None:
    """Segment objects of a volume interactively.

    Parameters
    ----------
    raw
        The volume: an array (Z, H, W) or (Z, H, W, 3), a path, ``"sample:NAME"``, or an image layer of `viewer`.
        None: the window opens empty and takes a dropped file, a layer, or a sample.
    embedding_path
        Zarr folder that keeps the embeddings for the next start; None: they are kept in memory.
    show_embeddings
        Whether the embeddings are shown as an image layer (their first principal components).
    segmentation_result
        Labels to go on with: any integer array of the shape of the volume, or its path.
    model_type
        Name of the model in the registry; None: found in `checkpoint_path`.
    tile_shape, halo
        (y, x) in pixels, for large slices; None: chosen by itself.
    return_viewer
        Return the viewer at once instead of starting the event loop.
    viewer
        Dock the tool into this viewer instead of opening a window.
    precompute_amg_state
        Whether the automatic segmentation of the slice in view is prepared at the start.
    checkpoint_path
        Weights of one's own.
    device
        ``"cpu"``, ``"cuda:1"``, ``"mps"``, ...; None: the best there is.
    key, segmentation_key
        Datasets inside container files.
    axes
        What the axes of `raw` are, where the file does not say or is wrong: one letter each, T time, Z slices, C
        channels, Y, X, for instance ``"CZYX"``.
    image
        Another name of `raw`.
    decoder_path
        A decoder for automatic segmentation in a file of its own.
    prefer_decoder
        Whether the automatic segmentation begins with the model's decoder, where it has one.
    session
        Folder of a session: where all that is done is kept, and what to go on with if it is there. None: beside the
        result once that is saved, before that in the program's own folder.
    resume
        True: go on with the last session on this image; ``"ask"``: offer that in the window; None: begin a new one and
        keep the old one. Results that are given count more.

    Returns
    -------
    viewer
        With `return_viewer`, else None when the window is closed.

    Raises
    ------
    InputError
        When the volume or the labels cannot be used. No window is opened then.
    """
    settings = Settings(
        *(model_type, checkpoint_path, device, embedding_path, tile_shape, halo),
        *(precompute_amg_state, show_embeddings, decoder_path, prefer_decoder),
    )
    choice = choose_session(session, resume)
    settings.check()
    raw = one_image(raw, image)
    opened = None if raw is None else open_any(raw, "3d", key, axes)
    if opened is not None:
        check_slices(opened.shape)
    committed = check_result(segmentation_result, segmentation_key, opened)
    return start_tool(
        Annotator3D,
        settings,
        opened,
        committed,
        choice,
        earlier=segmentation_result,
        viewer=viewer,
        return_viewer=return_viewer,
    )


def __getattr__(name: str) -> Any:
    """The widget, which lay here in micro-sam 1.x; imported on first use, because it is made of what is here."""
    if name == "Annotator3d":
        return getattr(import_module("micro_sam.compat.widgets"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
