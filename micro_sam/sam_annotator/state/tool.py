"""What makes a kind of window: words, names of layers, session, options."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Literal

from micro_sam.errors import InputError
from micro_sam.io.checks import Tool as ToolName
from micro_sam.sam_annotator.runtime.memory import take_memory
from micro_sam.sam_annotator.state.options import TrackingOptions, VolumeOptions
from micro_sam.session.rules import ImageRules
from micro_sam.session.session import Session


@dataclass(frozen=True)
class LayerNames:
    """What the layers of a tool are called; people and scripts rely on these names."""

    raw: str = "raw"
    prompts: str = "prompts"
    box_prompts: str = "box_prompts"
    current: str = "current_object"
    committed: str = "committed_objects"
    auto: str = "auto_segmentation"
    tracks: str = ""
    region: str = "region_of_interest"

    def beside(self, present: Iterable[str]) -> LayerNames:
        """Names that no layer of a viewer has yet: with `` (2)``, `` (3)``, ... where another tool has these."""
        present, names = set(present), asdict(self)
        own = {name for key, name in names.items() if name and key != "raw"}
        number = next(n for n in itertools.count(1) if not present & {_numbered(name, n) for name in own})
        return LayerNames(**{key: _numbered(name, number) if name else "" for key, name in names.items()})


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name} ({number})"


Work = Literal["", "volume", "tracks"]


@dataclass(frozen=True)
class Tool:
    """One kind of window.

    Attributes
    ----------
    name
        As image readers, sessions on disc and samples know it.
    title
        Of the window and its dock.
    session
        What keeps the work of the user.
    rules
        Of that session; they have the nouns: object or track, slice or frame.
    ndim
        Of the image, without channels.
    names
        Of the layers; in a window, those that no other tool of its viewer has.
    part
        What the button for key S says that it segments.
    image_noun
        What messages call the image.
    axis_labels
        Beside the sliders of the viewer.
    options
        How objects are extended through slices or frames, to begin with; None in 2D.
    work
        What the tool has beyond the image: the whole object in a volume, tracks in a movie.
    has_batches
        Whether each positive point can be an object of its own.
    has_hover
        Whether the mask under the mouse can be shown.
    after_correction
        What the user does after a correction, to end a sentence.
    too_few
        Message for one slice or frame.
    """

    name: ToolName
    title: str
    session: type[Session]
    rules: type[ImageRules]
    ndim: Literal[2, 3] = 2
    names: LayerNames = LayerNames()
    part: str = "Object"
    image_noun: str = "image"
    axis_labels: tuple[str, ...] = ()
    options: VolumeOptions | TrackingOptions | None = None
    work: Work = ""
    has_batches: bool = True
    has_hover: bool = True
    after_correction: str = ""
    too_few: str = ""

    def beside(self, present: Iterable[str]) -> Tool:
        """This tool with names of layers that a viewer has not yet; see :meth:`LayerNames.beside`."""
        return replace(self, names=self.names.beside(present))

    @property
    def noun(self) -> str:
        """What is committed: object, or track."""
        return self.rules.noun

    @property
    def place(self) -> str:
        """What a plane of a stack is called: slice, or frame."""
        return self.rules.slice_noun

    def index(self, z: int) -> int | None:
        """A slice as embeddings count it; None in 2D."""
        return z if self.ndim == 3 else None

    def check(self, shape: tuple[int, ...]) -> None:
        """Whether an image of this shape is for this tool.

        Raises
        ------
        InputError
            For a stack or movie of one image.
        """
        if self.ndim == 3 and shape[0] < 2:
            raise InputError(self.too_few.format(shape=shape))

    def make_session(self, shape: tuple[int, ...]) -> Session:
        """The session for an image of this shape, (H, W) or (Z, H, W); InputError as `check`."""
        self.check(shape)
        session = self.session(shape)
        if self.ndim == 3:
            take_memory([session.current, session.committed, session.auto])
        return session
