"""Going on with an earlier session, in the window."""

from __future__ import annotations

import logging
from collections.abc import Generator
from pathlib import Path
from typing import Any

from micro_sam.errors import CacheError
from micro_sam.sam_annotator.controller.opening import Opening
from micro_sam.sam_annotator.controller.pictures import Overview
from micro_sam.sam_annotator.controller.recording import JOURNAL, Recording, channel_of
from micro_sam.sam_annotator.controller.saving import Saving
from micro_sam.sam_annotator.runtime.jobs import Jobs, Progress
from micro_sam.sam_annotator.state.images import OpenImage, with_channel
from micro_sam.sam_annotator.state.window import WindowState
from micro_sam.session.journal.continuing import Continued, go_on
from micro_sam.session.values import count

log = logging.getLogger(__name__)


class Continuing:
    """Opens sessions that go on.

    Parameters
    ----------
    state, jobs
        Of the window.
    opening, overview
        Show the image.
    recording, saving
        Know of earlier sessions, and where their objects were saved.
    """

    def __init__(
        self,
        state: WindowState,
        jobs: Jobs,
        opening: Opening,
        overview: Overview,
        recording: Recording,
        saving: Saving,
    ) -> None:
        self._state, self._jobs, self._opening, self._overview = state, jobs, opening, overview
        self._recording, self._saving = recording, saving

    def go_on_with_offer(self) -> None:
        """Go on with the session that is offered."""
        offer, state = self._recording.take_offer(), self._state
        if offer is None:
            return
        image, session = state.open_image(), state.needed()

        def steps(_job: Any) -> Generator[Any, None, Continued]:
            yield Progress("Reading the session")
            return self.read(offer.folder)

        def done(continued: Continued) -> None:
            if not state.shows(session):
                _close(continued)
                return
            journal = session.keeper.journal
            self.show(image, continued)
            if journal is not None and journal.is_on_disc:
                text = f"What you did before in this window is kept in the session {journal.folder}."
                state.status.add(text)

        self._jobs.start("Reading the session", steps, lane=JOURNAL, on_done=done)

    def earlier(self, image: OpenImage) -> Continued | None:
        """The session that an image goes on with before its window opens, read; None: there is none.

        Raises
        ------
        CacheError
            When it cannot be read, or is of another image or tool.
        """
        folder = self._recording.earlier(image)
        return None if folder is None else self.read(folder)

    def read(self, folder: Path) -> Continued:
        """Do again what is in a session; CacheError when it cannot be read."""
        return go_on(folder, self._state.tool.make_session)

    def show(self, image: OpenImage, continued: Continued) -> None:
        """Show a session that goes on.

        Raises
        ------
        CacheError
            When it was made for an image of another shape.
        """
        session, state = continued.session, self._state
        if tuple(session.shape) != tuple(image.shape):
            _close(continued)
            raise CacheError("This session was made for an image of another shape. It stays as it is.")
        journal = session.keeper.journal
        channel = journal.header.get("image", {}).get("channel") if journal is not None else None
        if channel is not None and image.source is not None and channel != channel_of(image):
            image = self._overview.of(with_channel(image, state.tool.name, channel))
        self._opening.open(image, session=session)
        self._saving.take_up(continued.saved, continued.unsaved)
        numbers = f"{len(session.objects)} committed, {count(len(session.prompts.drawn), 'prompt')}"
        text = f"The session goes on ({numbers}). {continued.note}".strip()
        state.status.say(text, "warning" if continued.note else "good")
        log.info("%s", text)


def _close(continued: Continued) -> None:
    journal = continued.session.keeper.journal
    if journal is not None:
        journal.close()
