"""The whole object, live: with the maps of the volume, what changes in one slice is answered in all of them.

It follows the preview: when the slice in view is answered (or painted, or ended by a negative point), the maps
are asked in a thread, and their answer joins the act that asked, so that both are one step of undo.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

from micro_sam.sam_annotator.runtime.jobs import WORK
from micro_sam.sam_annotator.runtime.latest import LatestWins

if TYPE_CHECKING:
    from micro_sam.sam_annotator.annotator_3d import Annotator3D
    from micro_sam.session.propagation.shared import PropagationStep
    from micro_sam.session.propagation.volume import VolumeRequest
    from micro_sam.session.session import VolumeSession


class WholeObject:
    """Keeps the current objects of a volume in line with their prompts, as long as that is wished and can be done.

    Parameters
    ----------
    annotator
        The tool.
    """

    def __init__(self, annotator: Annotator3D) -> None:
        self._annotator = annotator
        self._session: VolumeSession | None = None
        self._asked: Any = None
        self._shows = False
        self._waits = False
        self._then: Callable[[], object] | None = None
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)  # after the act that has changed the history
        self._timer.timeout.connect(self._consider)
        self._latest = LatestWins("whole object")
        self._latest.done.connect(self._show)
        self._latest.failed.connect(self._failed)
        annotator.session_changed.connect(self._follow)

    @property
    def busy(self) -> bool:
        """Whether an answer is on its way."""
        return self._asked is not None or self._timer.isActive()

    def then(self, act: Callable[[], object]) -> None:
        """Do something as soon as the answer that is on its way is shown."""
        self._then = act

    def maps_grew(self) -> None:
        """More of the maps is known: what waits for it may be asked."""
        if self._waits and self._session.propagation.whole_object_asked:
            self._timer.start()

    def close(self) -> None:
        """End the thread."""
        self._timer.stop()
        self._session = None
        self._latest.close()

    def _follow(self, session: VolumeSession) -> None:
        self._session, self._asked, self._then, self._waits = session, None, None, False
        session.events.history_changed.connect(self._changed)

    def _changed(self) -> None:
        if not self._shows and self._session is self._annotator.session:
            self._timer.start()

    def _consider(self) -> None:
        """The history has changed: ask, when the last step has changed what the object is."""
        self._waits = False
        try:
            if self._wants() and not self._session.propagation.whole_object_possible:
                self._wait()
            elif self._wants():
                batched = self._annotator.preview.batched
                request = self._session.propagation.plan(method="auto", batched=batched)
                self._asked = request
                self._latest.ask(request, lambda: list(self._session.propagation.run(request)))
                return
        except Exception as error:
            self._annotator.status.report(error)
        self._asked = None
        self._go_on()

    def _wants(self) -> bool:
        annotator, session = self._annotator, self._session
        if session is None or session is not annotator.session or annotator.closed or not annotator.preview.live:
            return False
        if annotator.volume_options.method == "propagation" or annotator.jobs.running(WORK) is not None:
            return False
        if annotator.preview.busy or annotator.preview.waits or annotator.volume.busy:
            return False  # their answers come here, too
        return session.propagation.whole_object_due

    def _wait(self) -> None:
        """The maps do not know the place yet: say when the object comes."""
        self._waits, status, promise = True, self._annotator.status, self._annotator.maps.promise()
        if promise and status.kind != "error" and self._session.has_current:
            status.say(f"{status.text} {promise}", status.kind)

    def _show(self, request: VolumeRequest, steps: list[PropagationStep]) -> None:
        if request is not self._asked:
            return
        self._asked, self._shows = None, True
        try:
            if self._session is self._annotator.session:
                self._session.propagation.apply_whole(request, steps)
        except Exception as error:
            self._annotator.status.report(error)
        finally:
            self._shows = False
        self._go_on()

    def _failed(self, request: VolumeRequest, error: Exception) -> None:
        if request is self._asked:
            self._asked = None
            self._annotator.status.report(error)
            self._go_on()

    def _go_on(self) -> None:
        act, self._then = self._then, None
        if act is not None:
            act()
