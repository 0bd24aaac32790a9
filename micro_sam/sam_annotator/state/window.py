"""What a window shows and what the user has set in it: values with a signal each."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from psygnal import SignalGroupDescriptor

from micro_sam.errors import AxesError, ChoiceError, InputError
from micro_sam.sam_annotator.state.images import OpenImage
from micro_sam.sam_annotator.state.options import TrackingOptions, VolumeOptions
from micro_sam.sam_annotator.state.series import SeriesState
from micro_sam.sam_annotator.state.settings import ModelOffer, Settings
from micro_sam.sam_annotator.state.status import Status
from micro_sam.sam_annotator.state.tool import Tool
from micro_sam.session.session import Session

Source = Literal["current", "auto"]
Preserve = Literal["pixels", "objects", "none"]


@dataclass(eq=False)
class WindowState:
    """One window. ``state.events.NAME`` is sent when the value of that name has changed.

    Attributes
    ----------
    tool
        Which tool it is, with the names that its layers have in this viewer.
    settings
        Model, device, embedding path, tiles.
    status
        The sentence for the user.
    image, session
        None until an image is open. The image is set first: who hears of a session finds its image.
    z
        The slice in view; 0 in 2D.
    mouse
        The tool that the mouse has; None for napari's own.
    selected
        Ids of the selected committed objects.
    source, preserve
        What the next commit takes (``"current"`` or ``"auto"``), and what it keeps of committed objects.
    live, batched, hover
        Whether edits of prompts are answered at once, whether each positive point is an object of its own, and whether
        the mask under the mouse is shown.
    corrects
        Whether the next click on a committed object opens it again.
    by_class
        Whether committed objects are shown in the colours of their classes, instead of one of their own.
    options
        How objects are extended through a volume or a movie; None in 2D.
    offer
        What can be done about missing weights.
    question
        A file was not opened because nothing says what its axes are, or which of its images is meant.
    series
        The series that the image is from, if any.
    section
        (y, x) through which the sections of a volume go; None where they are not shown.
    keys_shown
        Whether the list of keys is open.
    closed
        Whether the window is closing, or closed.
    """

    tool: Tool
    settings: Settings
    status: Status = field(default_factory=Status)
    image: OpenImage | None = None
    session: Session | None = None
    z: int = 0
    mouse: str | None = None
    selected: tuple[int, ...] = ()
    source: Source = "current"
    preserve: Preserve = "pixels"
    live: bool = True
    batched: bool = False
    hover: bool = False
    corrects: bool = False
    by_class: bool = False
    options: VolumeOptions | TrackingOptions | None = None
    offer: ModelOffer | None = None
    question: AxesError | ChoiceError | None = None
    series: SeriesState | None = None
    section: tuple[int, int] | None = None
    keys_shown: bool = False
    closed: bool = False

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor(
        equality_operators=dict.fromkeys(("tool", "image", "session", "question"), operator.is_)
    )

    def needed(self) -> Session:
        """The session that is open.

        Raises
        ------
        InputError
            When there is none.
        """
        if self.session is None:
            raise InputError("There is no image yet. Drop a file onto the window, or open one with the menu above.")
        return self.session

    def shows(self, session: Session | None) -> bool:
        """Whether this is the session of the window; answers to others come too late."""
        return session is not None and session is self.session and not self.closed


def image_of(state: WindowState) -> OpenImage:
    """The image that is open in a window; InputError when there is none."""
    state.needed()
    assert state.image is not None
    return state.image
