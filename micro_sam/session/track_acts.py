"""Acts on committed tracks: load, split, merge, relink, divide, and what commits and corrections do to lineages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from micro_sam.errors import InputError
from micro_sam.session import committed, objects, tracks
from micro_sam.session.base import SessionBase
from micro_sam.session.commands import Changes, Draft
from micro_sam.session.committing import CommitRules
from micro_sam.session.lineage import Lineage
from micro_sam.session.prompts import PromptSet
from micro_sam.session.track_prompts import CurrentTrack
from micro_sam.session.values import CommitReport, count


class TrackActs(SessionBase):
    """Committed tracks of a session. Mixed into :class:`~micro_sam.session.tracking.TrackingSession`."""

    def __init__(self, shape: Sequence[int], **options: Any) -> None:
        super().__init__(shape, **options)
        self._centres: dict[int, dict[int, tuple[float, float]]] = {}

    @property
    def lineage(self) -> Lineage:
        """The committed tracks and their relations."""
        return Lineage(self._state.tracks.values())

    def track_points(self) -> np.ndarray:
        """Centres of the committed tracks as rows (id, t, y, x), float64, sorted: the data of napari's tracks layer."""
        rows = []
        for t in sorted({t for track in self._state.tracks.values() for t in track.frames}):
            if t not in self._centres:
                self._centres[t] = tracks.centres(self._state, t)
            rows += [(i, t, y, x) for i, (y, x) in self._centres[t].items()]
        return np.array(sorted(rows), dtype=np.float64).reshape(-1, 4)

    def set_auto(
        self,
        labels: np.ndarray,
        z: int | None = None,
        lineage: Mapping[int, Iterable[int]] | None = None,
        in_pieces: bool = False,
        **details: Any,
    ) -> None:
        """Show automatic tracks in `auto`; `lineage` is mother -> daughters. See :meth:`Session.set_auto`."""
        labels = committed.check_labels(labels, self.shape if z is None else self.shape[-2:])
        checked = Lineage.from_dict(tracks.extents(labels), lineage) if z is None else Lineage()
        self._show_auto(labels, z, in_pieces, details, lambda draft: _set_auto_parents(draft, checked))

    def relate_auto(self, lineage: Lineage) -> None:
        """Say how the tracks in `auto` are related, after :meth:`set_auto` has shown them frame by frame.

        One step of undo together with that.
        """
        last = self._history.last
        join = last is not None and last.kind == "auto" and self._history.next is None
        with self._act("Link objects", kind="auto", join=join) as draft:
            _set_auto_parents(draft, lineage)

    def load_tracks(self, labels: np.ndarray, lineage: Lineage | Mapping[int, Iterable[int]] | None = None) -> None:
        """Replace the committed tracks by a label series, keeping its ids.

        Parameters
        ----------
        labels
            (T, H, W) integers; the same label in all frames of a track.
        lineage
            A :class:`~micro_sam.session.lineage.Lineage`, or mother -> daughters. Tracks with gaps are cut there.

        Raises
        ------
        InputError
            For another shape, or a lineage that names tracks that are not in the labels, or cannot be.
        """
        labels = committed.check_labels(labels, self.shape)
        relation = lineage.to_dict() if isinstance(lineage, Lineage) else lineage
        checked = Lineage.from_dict(tracks.extents(labels), relation)
        with self._act("Load tracks") as draft:
            objects.load(draft, labels, "loaded")
            messages = tracks.synchronise(draft, draft.state.objects)
            cut = {t.parent: t.id for t in draft.state.tracks.values() if t.parent is not None}
            parents = {}
            for track in checked.tracks:
                mother = track.parent
                while mother in cut:
                    mother = cut[mother]
                if mother is not None:
                    parents[track.id] = mother
            messages += tracks.relate(draft, parents)
        lineage_now = self.lineage
        text = f"{count(len(lineage_now), 'track')} loaded, {count(len(lineage_now.divisions), 'division')}."
        self._say(" ".join([text, *messages[:2]]))

    def load_committed(self, labels: np.ndarray, source: str = "loaded") -> None:
        """Replace the committed tracks by a label series without relations."""
        self.load_tracks(labels)

    def split_track(self, track_id: int, frame: int, link: bool = False) -> int:
        """Cut a committed track before `frame`; the later part keeps the daughters and gets the id that is returned."""
        with self._act(f"Split track {track_id}", ids=[track_id], frame=frame, link=link) as draft:
            new_id = tracks.split(draft, track_id, int(frame), link)
        self._say(f"Track {track_id} ends in frame {frame - 1}; from frame {frame} on it is track {new_id}.")
        return new_id

    def relink(self, track_id: int, mother: int | None) -> None:
        """Give a committed track another mother, or none."""
        lineage = self.lineage.relink(track_id, mother)
        with self._act(f"Relink track {track_id}", ids=[track_id], mother=mother) as draft:
            tracks.replace_lineage(draft, lineage)
        link = f"a daughter of track {mother}" if mother is not None else "a founder"
        self._say(f"Track {track_id} is {link} now.")

    def divide(self, mother: int, daughter: int) -> tuple[int, int]:
        """Let a committed track divide where another one begins.

        The mother ends in the frame before `daughter` begins; what follows of her becomes the other daughter.

        Returns
        -------
        daughters
            Ids of both daughters; the first is the rest of the mother's track.
        """
        lineage = self.lineage
        track, other = lineage.track(mother), lineage.track(daughter)
        if mother == daughter or not track.start < other.start <= track.end:
            raise InputError(
                f"Track {daughter} begins in frame {other.start}, but track {mother} goes from frame {track.start} to "
                f"{track.end}: a track can only divide where the daughter begins inside it."
            )
        lineage.divide(mother, other.start - 1, (self._state.last_id + 1, daughter))
        with self._act(f"Divide track {mother}", ids=[mother, daughter]) as draft:
            rest = tracks.split(draft, mother, other.start, link=True)
            tracks.relate(draft, {daughter: mother})
        self._say(f"Track {mother} divides in frame {other.start - 1} into tracks {rest} and {daughter}.")
        return rest, daughter

    # ------------------------------------------------------------------ inside

    can_write_later = False  # the lineage follows the pixels

    def _emit(self, changes: Changes) -> None:
        if "committed" in changes.regions:
            t0, t1, _ = changes.regions["committed"]
            for t in range(t0, t1):
                self._centres.pop(t, None)
        super()._emit(changes)

    def _commit(self, draft: Draft, source: str, rules: CommitRules) -> CommitReport:
        state = draft.state
        relations = {label: track.parent for label, track in state.current_tracks.items()}
        if source == "auto":
            relations = dict(state.auto_parents)
        reopened = state.reopened
        report = super()._commit(draft, source, replace(rules, families=_families(state.current_tracks)))
        messages = tracks.synchronise(draft, tracks.edited_ids(draft.edits, "committed"))
        ids = dict(zip(report.labels, report.ids, strict=True))
        last_part = self._last_parts(report.ids)
        parents = {i: last_part.get(ids.get(relations.get(label))) for label, i in ids.items()}
        if source == "current" and reopened is not None and reopened.id in ids.values():
            parents[reopened.id] = reopened.parent
            parents.update({i: last_part[reopened.id] for i in reopened.daughters if i in state.tracks})
        messages += tracks.relate(draft, {i: mother for i, mother in parents.items() if mother is not None})
        if source == "auto":
            draft.drop_all("auto_parents")
        return replace(report, message=" ".join([report.message, *messages[:2]]))

    def _last_parts(self, ids: Iterable[int]) -> dict[int, int]:
        """Id -> id of its last part, for tracks that were cut at gaps."""
        follows = {t.parent: t.id for t in self._state.tracks.values() if t.parent is not None}
        last = {}
        for i in ids:
            last[i] = i
            while last[i] in follows and follows[last[i]] > max(ids):
                last[i] = follows[last[i]]
        return last

    def _merge(self, draft: Draft, ids: Sequence[int]) -> int:
        return tracks.merge(draft, ids)

    def _reopen(self, draft: Draft, object_id: int) -> None:
        track = self._state.tracks[object_id]
        lineage = self.lineage
        daughters = lineage.daughters(object_id)
        objects.reopen(draft, object_id)
        begin = lineage[track.parent].end + 1 if track.parent is not None else 0
        limit = min((lineage[i].start for i in daughters), default=None)
        draft.put("current_tracks", 1, CurrentTrack(1, None, begin, None, None if limit is None else limit - 1))
        mine = [replace(prompt, track_id=1, state="track") for prompt in self.prompts]
        draft.set("prompts", PromptSet().add(*mine))
        draft.set("anchors", replace(self._state.anchors, prompts=self.prompts))
        draft.set("reopened", replace(self._state.reopened, parent=track.parent, daughters=daughters))

    def _clear_all(self, draft: Draft) -> None:
        reopened = draft.state.reopened
        super()._clear_all(draft)
        if reopened is not None:
            tracks.synchronise(draft, [reopened.id])
            back = {i: reopened.id for i in reopened.daughters}
            tracks.relate(draft, {**back, reopened.id: reopened.parent})

    def _complete(self, draft: Draft) -> None:
        ids = tracks.edited_ids(draft.edits, "committed")
        if ids:
            for message in tracks.synchronise(draft, ids):
                self._say(message)
        for label in tracks.edited_ids(draft.edits, "current", gained=True):
            if label not in draft.state.current_tracks and draft.state.regions:
                draft.put("current_tracks", label, CurrentTrack(label))


def _families(tracks_at_work: Mapping[int, CurrentTrack]) -> dict[int, int]:
    """Track at work -> the founder of its lineage: mothers and daughters are committed together."""
    founders = {}
    for label in tracks_at_work:
        founder = label
        while founder in tracks_at_work and tracks_at_work[founder].parent is not None:
            founder = tracks_at_work[founder].parent
        founders[label] = founder
    return founders


def _set_auto_parents(draft: Draft, lineage: Lineage) -> None:
    draft.drop_all("auto_parents")
    for track in lineage.tracks:
        if track.parent is not None:
            draft.put("auto_parents", track.id, track.parent)
