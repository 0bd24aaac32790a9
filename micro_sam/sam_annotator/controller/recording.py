"""The journal of a window: every image that is open has a session on disc, and an earlier one can go on.

Nothing here holds the window up: earlier sessions are looked for, read and done again in a thread, and the journal is
written in another one.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from psygnal import Signal
from qtpy.QtCore import QObject
from qtpy.QtCore import Signal as QtSignal

from micro_sam.errors import CacheError
from micro_sam.sam_annotator.runtime.jobs import Progress
from micro_sam.sam_annotator.state.images import with_channel
from micro_sam.session.journal import places, store
from micro_sam.session.journal.continuing import Continued, go_on
from micro_sam.session.journal.places import Summary
from micro_sam.session.journal.recorder import Journal
from micro_sam.session.values import count

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator
    from micro_sam.sam_annotator.state.images import OpenImage
    from micro_sam.session.session import Session

log = logging.getLogger(__name__)

JOURNAL = "journal"
"""Lane for looking for sessions and reading them."""
Resume = Literal["ask"] | bool | None


@dataclass(frozen=True)
class SessionChoice:
    """Which session a window begins with.

    Attributes
    ----------
    folder
        A session of this name; None: where sessions lie.
    resume
        ``True``: go on with the last one. ``"ask"``: offer that. ``None`` or ``False``: begin a new one, and keep the
        old one.
    """

    folder: Path | None = None
    resume: Resume = None


class _Bridge(QObject):
    written = QtSignal()


class Recording:
    """Sessions on disc, for one window.

    Attributes
    ----------
    choice
        Which session the next image begins with.
    offer
        The session that can go on; None: nothing to choose.

    Signals
    -------
    offer_changed
        There is another session to go on with, or none any more.
    """

    offer_changed = Signal(object)

    def __init__(self, annotator: Annotator) -> None:
        self.choice = SessionChoice()
        self.offer: Summary | None = None
        self._annotator = annotator
        self._session: Session | None = None
        self._says_trouble = False
        self._bridge = _Bridge()
        self._bridge.written.connect(self._written)

    @property
    def journal(self) -> Journal | None:
        """The journal of the image that is open."""
        return None if self._session is None else self._session.keeper.journal

    # ------------------------------------------------------------------ images come and go

    def begin(self, image: OpenImage, session: Session) -> None:
        """Write down what is done in a new session, from now on. Nothing is on disc before something is done."""
        folder = self._place(image)
        journal = Journal(folder, self._header(image, folder))
        journal.hold(True)
        session.keeper.journal = journal

    def follow(self, image: OpenImage, session: Session, has_result: bool, continued: bool) -> None:
        """This is the session that the window shows now."""
        self.leave()
        self._session, self._says_trouble = session, False
        journal = session.keeper.journal
        if journal is None:
            return
        journal.hold(False)
        journal.on_written = self._tell_written
        self._offer(None)
        if not continued:
            self._look_for_earlier(image, journal, has_result)

    def channel_changed(self, image: OpenImage) -> None:
        """Another channel of the image is shown."""
        journal = self.journal
        if journal is not None:
            journal.change_header(image={**journal.header["image"], "channel": _channel_of(image)})

    def leave(self) -> None:
        """The image is left: bring its journal to the disc, in the background."""
        journal, self._session = self.journal, None
        if journal is not None:
            journal.on_written = lambda: None
            journal.end()

    def close(self) -> None:
        """The window is closing: wait until all is on disc."""
        journal, self._session = self.journal, None
        if journal is not None:
            journal.on_written = lambda: None
            if not journal.close():
                log.warning("The session could not be written to %s: %s", journal.folder, journal.trouble or "too slow")

    # ------------------------------------------------------------------ going on

    def continue_offered(self) -> None:
        """Go on with the session that is offered."""
        if self.offer is None:
            return
        offer, annotator = self.offer, self._annotator
        self._offer(None)
        image, session = annotator.image, annotator.session

        def steps(_job: Any) -> Generator[Any, None, Continued]:
            yield Progress("Reading the session")
            return go_on(offer.folder, annotator.make_session)

        def done(continued: Continued) -> None:
            if annotator.session is not session:
                continued.session.keeper.journal.close()
                return
            journal = session.keeper.journal
            self.show(image, continued)
            if journal is not None and journal.is_on_disc:
                text = f"What you did before in this window is kept in the session {journal.folder}."
                annotator.status.say(f"{annotator.status.text} {text}")

        annotator.jobs.start("Reading the session", steps, lane=JOURNAL, on_done=done)

    def show(self, image: OpenImage, continued: Continued) -> None:
        """Show a session that goes on."""
        annotator = self._annotator
        if tuple(continued.session.shape) != tuple(image.shape):
            continued.session.keeper.journal.close()
            raise CacheError("This session was made for an image of another shape. It stays as it is.")
        channel = continued.session.keeper.journal.header.get("image", {}).get("channel")
        if channel is not None and image.source is not None and channel != _channel_of(image):
            image = annotator.overview.of(with_channel(image, annotator.tool, channel))
        annotator.open(image, session=continued.session)
        annotator.saving.take_up(continued.saved, continued.unsaved)
        session = continued.session
        numbers = f"{len(session.objects)} committed, {count(len(session.prompts.drawn), 'prompt')}"
        text = f"The session goes on ({numbers}). {continued.note}".strip()
        annotator.status.say(text, "warning" if continued.note else "good")
        log.info("%s", text)

    def start_new(self) -> None:
        """Leave the earlier session alone; it stays on disc."""
        if self.offer is not None:
            folder = self.offer.folder
            self._offer(None)
            self._annotator.status.say(f"A new session begins; the earlier one is kept in {folder}.")

    def earlier(self, image: OpenImage) -> Path | None:
        """The session that an image goes on with before its window opens; None: there is none, or a new one begins.

        Raises
        ------
        CacheError
            When a session of another image or tool was named.
        """
        choice, signature = self.choice, _signature(image)
        if choice.folder is not None:
            if not (choice.folder / store.FILE).exists() or choice.resume is False:
                return None
            places.check_image(store.read(choice.folder).header, signature, self._annotator.tool, choice.folder)
            return choice.folder
        if choice.resume is not True:
            return None
        return next(iter(self._found(image, signature, image.result)), None)

    # ------------------------------------------------------------------ results

    def saved(self, path: Path) -> None:
        """Results were saved: the session lies beside them from now on."""
        journal = self.journal
        if journal is None or journal.is_empty:
            return
        folder = journal.folder
        if self.choice.folder is None and folder.parent == places.sessions_folder():
            folder = places.beside(path)
            with contextlib.suppress(OSError):
                places.set_aside(folder)
            if folder.exists():  # another window has it open
                folder = journal.folder
            else:
                image = self._annotator.image
                journal.move(folder)
                facts = {**journal.header["image"], "path": places.relative(image.path, folder)}
                journal.change_header(image=facts)
        journal.record("saved", parameters={"path": places.relative(path, folder)})

    # ------------------------------------------------------------------ inside

    def _place(self, image: OpenImage) -> Path:
        choice = self.choice
        if choice.folder is None:
            beside = None if image.result is None else places.beside(image.result)
            return beside if beside is not None and not beside.exists() else places.new_folder(image.name)
        try:
            kept = places.set_aside(choice.folder)
        except OSError:
            return places.new_folder(image.name)
        if kept is not None:
            log.info("A new session begins; the earlier one is kept in %s.", kept)
        return places.new_folder(image.name) if (choice.folder / store.FILE).exists() else choice.folder

    def _header(self, image: OpenImage, folder: Path) -> dict[str, Any]:
        facts = {
            "name": image.name,
            "shape": list(image.shape),
            "dtype": str(image.data.dtype),
            "axes": {"2d": "YX", "3d": "ZYX", "tracking": "TYX"}[self._annotator.tool] + ("C" if image.rgb else ""),
            "scale": None if image.scale is None else list(image.scale),
            "channel": _channel_of(image),
            "key": image.key,
        }
        settings = asdict(self._annotator.settings)
        for name in ("embedding_path", "checkpoint_path", "decoder_path"):  # a session holds no paths of a machine
            if settings.get(name) is not None:
                settings[name] = Path(settings[name]).name
        return places.make_header(self._annotator.tool, facts, image.path, folder, settings)

    def _look_for_earlier(self, image: OpenImage, journal: Journal, has_result: bool) -> None:
        session = self._session

        def steps(_job: Any) -> Generator[Any, None, tuple[str, Summary | None]]:
            yield Progress("Looking for an earlier session")
            signature = _signature(image)
            for folder in self._found(image, signature, journal.folder):
                with contextlib.suppress(CacheError):
                    summary = places.summarise(folder)
                    if summary.n_objects or summary.n_prompts:
                        return signature, summary
            return signature, None

        def done(found: tuple[str, Summary | None]) -> None:
            signature, summary = found
            journal.change_header(image={**journal.header["image"], "signature": signature})
            if summary is None or self._session is not session:
                return
            if self.choice.resume == "ask" and not has_result:
                self._offer(summary)
            else:
                log.info("%s is kept in %s; resume=True (or --resume) goes on with it.", summary, summary.folder)

        def failed(error: Exception) -> None:
            log.debug("no earlier session: %s", error)

        lane = f"{JOURNAL} {id(session)}"  # beside the one that looks for the image before
        self._annotator.jobs.start("Looking for an earlier session", steps, lane=lane, on_done=done, on_error=failed)

    def _found(self, image: OpenImage, signature: str, own: Path | None) -> list[Path]:
        results = [image.result] if image.result is not None else []
        if image.path is not None:
            results += [image.path.with_name(f"{image.path.stem}{end}") for end in ("_objects.tif", "_RES")]
            results += image.path.parent.glob(f"*{places.SUFFIX}")  # beside results with names of the user's own
        tool = self._annotator.tool
        found = [folder for folder in places.find(signature, results) if folder != own]
        return [folder for folder in found if store.read_header(folder).get("tool") == tool]

    def _offer(self, summary: Summary | None) -> None:
        if summary is not self.offer:
            self.offer = summary
            self.offer_changed.emit(summary)

    def _tell_written(self) -> None:
        with contextlib.suppress(RuntimeError):  # Qt deleted the bridge while the thread ran
            self._bridge.written.emit()

    def _written(self) -> None:
        session, journal = self._session, self.journal
        if session is None or journal is None:
            return
        session.keeper.tell_written()
        if journal.trouble and not self._says_trouble:
            self._says_trouble = True
            self._annotator.status.say(
                f"The session cannot be written to {journal.folder}: {journal.trouble}. Make room there, or save your "
                "objects elsewhere; it is tried again all the time.",
                "error",
            )
        elif self._says_trouble and not journal.trouble:
            self._says_trouble = False
            self._annotator.status.say("The session is written to the disc again; nothing is lost.", "good")


def _signature(image: OpenImage) -> str:
    """Hash of samples of all channels: a session is found again whichever of them is shown."""
    from micro_sam.embeddings.signature import hash_samples
    from micro_sam.io.inputs import as_array

    whole = image.source is not None and image.n_channels > 1
    return hash_samples(as_array(image.source.data if whole else image.pixels))


def _channel_of(image: OpenImage) -> int | str | None:
    """Which channel is shown, as `with_channel` takes it; None: the only one."""
    if image.n_channels < 2:
        return None
    return image.channel if image.channel is not None else "colours" if image.rgb else "mix"
