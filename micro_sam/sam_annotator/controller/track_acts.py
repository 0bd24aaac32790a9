"""What the person can do to committed tracks, beside what all committed objects know (delete, merge, re-open)."""

from __future__ import annotations

from micro_sam.errors import InputError
from micro_sam.sam_annotator.controller.acts import act


class LineageActs:
    """Acts on lineages. Mixed into the tracking annotator."""

    @act
    def show_track(self, track_id: int, frame: int | None = None) -> None:
        """Choose a committed track and go to one of its frames (None: stay where it is in view, else its first)."""
        track = self._needed().session.tracks.lineage.track(track_id)
        self.choose((track_id,))
        if frame is not None or self.z not in track.frames:
            self.go_to_slice(track.start if frame is None else frame)

    @act
    def split_picked(self) -> None:
        """Cut the chosen track before the frame in view."""
        session = self._needed().session
        (track_id,) = self._exactly(1, "Choose one track, and go to the frame in which the later part begins.")
        new_id = session.tracks.split(track_id, self.z)
        self.choose((track_id, new_id))

    @act
    def link_picked(self) -> None:
        """Make the chosen track that begins later a daughter of the other one."""
        session = self._needed().session
        chosen = self._exactly(2, "Choose two tracks: a mother and her daughter.")
        mother, daughter = sorted((session.tracks.lineage.track(i) for i in chosen), key=lambda track: track.start)
        if mother.start == daughter.start:
            raise InputError(
                f"Tracks {mother.id} and {daughter.id} both begin in frame {mother.start}, so none is the mother of "
                "the other."
            )
        if daughter.start <= mother.end:
            session.tracks.divide(mother.id, daughter.id)
        else:
            session.tracks.relink(daughter.id, mother.id)

    @act
    def unlink_picked(self) -> None:
        """Take the mother from the chosen tracks."""
        session = self._needed().session
        linked = [i for i in self._chosen() if session.tracks.lineage.track(i).parent is not None]
        if not linked:
            raise InputError("The chosen tracks have no mother.")
        for track_id in linked:
            session.tracks.relink(track_id, None)

    def _exactly(self, number: int, what: str) -> tuple[int, ...]:
        chosen = self._chosen()
        if len(chosen) != number:
            raise InputError(what)
        return chosen
