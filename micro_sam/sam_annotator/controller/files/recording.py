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
from typing import Any, Literal

from psygnal import Signal
from qtpy.QtCore import QObject
from qtpy.QtCore import Signal as QtSignal

from micro_sam.errors import CacheError
from micro_sam.sam_annotator.runtime.jobs import Jobs, Progress
from micro_sam.sam_annotator.state.images import OpenImage
from micro_sam.sam_annotator.state.window import WindowState, image_of
from micro_sam.session.journal import places, store
from micro_sam.session.journal.places import Summary
from micro_sam.session.journal.recorder import Journal
from micro_sam.session.session import Session

log = logging.getLogger(__name__)

JOURNAL = "journal"
WRITING = "writing the session"
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

    def __init__(self, state: WindowState, jobs: Jobs) -> None:
        self.choice = SessionChoice()
        self.offer: Summary | None = None
        self._state, self._jobs = state, jobs
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
            journal.change_header(image={**journal.header["image"], "channel": channel_of(image)})

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

    def take_offer(self) -> Summary | None:
        """The session that is offered; it is offered no more."""
        offer = self.offer
        self._offer(None)
        return offer

    def start_new(self) -> None:
        """Leave the earlier session alone; it stays on disc."""
        if self.offer is not None:
            folder = self.offer.folder
            self.take_offer()
            self._state.status.say(f"A new session begins; the earlier one is kept in {folder}.")

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
            places.check_image(store.read(choice.folder).header, signature, self._state.tool.name, choice.folder)
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
                image = image_of(self._state)
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
            "axes": {"2d": "YX", "3d": "ZYX", "tracking": "TYX"}[self._state.tool.name] + ("C" if image.rgb else ""),
            "scale": None if image.scale is None else list(image.scale),
            "channel": channel_of(image),
            "key": image.key,
        }
        settings = asdict(self._state.settings)
        for name in ("embedding_path", "checkpoint_path", "decoder_path"):  # a session holds no paths of a machine
            if settings.get(name) is not None:
                settings[name] = Path(settings[name]).name
        return places.make_header(self._state.tool.name, facts, image.path, folder, settings)

    def _look_for_earlier(self, image: OpenImage, journal: Journal, has_result: bool) -> None:
        session = self._session

        def steps(_job: Any) -> Generator[Any, None, tuple[str, Summary | None]]:
            yield Progress("Looking for an earlier session")
            signature = _signature(image)
            for folder in self._found(image, signature, journal.folder):
                with contextlib.suppress(CacheError):
                    summary = places.summarise(folder)
                    if not summary.is_empty:
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
        self._jobs.start("Looking for an earlier session", steps, lane=lane, on_done=done, on_error=failed)

    def _found(self, image: OpenImage, signature: str, own: Path | None) -> list[Path]:
        results = [image.result] if image.result is not None else []
        if image.path is not None:
            results += [image.path.with_name(f"{image.path.stem}{end}") for end in ("_objects.tif", "_RES")]
            results += image.path.parent.glob(f"*{places.SUFFIX}")  # beside results with names of the user's own
        tool = self._state.tool.name
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
            self._state.status.say(
                f"The session cannot be written to {journal.folder}: {journal.trouble}. Make room there, or save your "
                "objects elsewhere; it is tried again all the time.",
                "error",
                WRITING,
            )
        elif self._says_trouble and not journal.trouble:
            self._says_trouble = False
            self._state.status.say("The session is written to the disc again; nothing is lost.", "good", WRITING)


def _signature(image: OpenImage) -> str:
    """Hash of samples of all channels: a session is found again whichever of them is shown."""
    from micro_sam.embeddings.signature import hash_samples
    from micro_sam.io.inputs import as_array

    whole = image.source is not None and image.n_channels > 1
    return hash_samples(as_array(image.source.data if image.source is not None and whole else image.pixels))


def channel_of(image: OpenImage) -> int | str | None:
    """Which channel is shown, as `with_channel` takes it; None: the only one."""
    if image.n_channels < 2:
        return None
    return image.channel if image.channel is not None else "colours" if image.rgb else "mix"
