"""The table of a window, measured off the window's thread, and only while somebody looks at it.

It holds measured values of every committed object, and what else is known of it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pandas as pd
from psygnal import Signal

from micro_sam.io.checks import Tool, check_image
from micro_sam.io.tracks import Tracks
from micro_sam.measure.objects import channels_of, measure_some, object_columns
from micro_sam.measure.review import tile_cuts
from micro_sam.measure.tracks import measure_tracks, track_columns
from micro_sam.sam_annotator.runtime.jobs import MEASURE, Job, Jobs
from micro_sam.sam_annotator.runtime.timers import once
from micro_sam.sam_annotator.state.images import OpenImage
from micro_sam.session.session import Session, TrackingSession
from micro_sam.session.values import ObjectRecord

PAUSE_MS = 150  # several actions in a row are measured together
Rows = list[dict[str, Any]]


class Measuring:
    """Measures what has changed in a session, in the background.

    Parameters
    ----------
    jobs
        Of the window.

    Signals
    -------
    changed
        The table, when it is complete again.
    """

    changed = Signal(pd.DataFrame)

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._contents: Contents | None = None
        self._wanted_by: set[str] = set()
        self._timer = once(self._begin, PAUSE_MS)

    @property
    def is_complete(self) -> bool:
        """Whether nothing has changed since the table was told."""
        work = self._contents.plan() if self._contents is not None else Work({})
        return not (work.changed or work.gone or self._timer.isActive())

    def follows(self, session: Session) -> bool:
        """Whether this session is measured."""
        return self._contents is not None and self._contents.session is session

    def follow(self, session: Session, image: OpenImage) -> None:
        """Measure this session from now on."""
        if not self.follows(session):
            self._unfollow()
            session.events.objects_changed.connect(self._soon)
            session.events.lineage_changed.connect(self._soon)
        self._jobs.cancel(MEASURE)
        self._contents = Contents(session, image)
        self._soon()

    def want(self, who: str, is_wanted: bool) -> None:
        """Whether a part of the window needs the table; nothing is measured while none does."""
        if is_wanted and who not in self._wanted_by:
            self._wanted_by.add(who)
            self._soon()
        elif not is_wanted:
            self._wanted_by.discard(who)

    def table(self) -> pd.DataFrame | None:
        """The table as it is known now; None before an image is open."""
        return None if self._contents is None else self._contents.table()

    def cut_by_tiles(self) -> dict[int, int]:
        """Objects that a border between tiles of the embeddings cuts, as `tile_cuts` finds them."""
        return {} if self._contents is None else self._contents.cut_by_tiles()

    def close(self) -> None:
        """Hear of nothing any more."""
        self._timer.stop()
        self._wanted_by.clear()
        if self._contents is not None:
            self._unfollow()

    def _unfollow(self) -> None:
        if self._contents is None:
            return
        events = self._contents.session.events
        events.objects_changed.disconnect(self._soon)
        events.lineage_changed.disconnect(self._soon)
        self._contents = None

    def _soon(self) -> None:
        if self._wanted_by and self._contents is not None:
            self._timer.start()

    def _begin(self) -> None:
        if not self._wanted_by or self._contents is None or self._jobs.running(MEASURE) is not None:
            return  # a run that ends looks again
        contents = self._contents
        work = contents.plan()

        def steps(_job: Job) -> Generator[dict[int, Rows], Any, None]:
            yield from contents.measure(work)

        def done(_result: object) -> None:
            contents.take(work, {})
            if contents is not self._contents:
                self._begin()
                return
            again = contents.plan()
            if again.changed or again.gone:
                self._soon()
            else:
                self.changed.emit(contents.table())

        self._jobs.start(
            "Measure objects",
            steps,
            lane=MEASURE,
            on_item=lambda rows: contents.take(work, rows),
            on_done=done,
            on_cancel=self._begin,
        )


@dataclass(frozen=True)
class Work:
    """Objects to measure, taken down in the window's thread.

    Attributes
    ----------
    changed
        Id -> record of what must be measured.
    gone
        Ids that are there no more.
    """

    changed: Mapping[int, ObjectRecord]
    gone: tuple[int, ...] = ()


@dataclass
class Contents:
    """The measured values of a session's committed objects. Objects whose record is the same are not measured again.

    Attributes
    ----------
    session, image
        What is measured.
    """

    session: Session
    image: OpenImage
    _rows: dict[int, Rows] = field(default_factory=dict)
    _records: dict[int, ObjectRecord] = field(default_factory=dict)

    @property
    def is_movie(self) -> bool:
        """Whether there is a row per track, not per object."""
        return isinstance(self.session, TrackingSession)

    def plan(self) -> Work:
        """What has changed since the last time."""
        records = self.session.objects
        changed = {}
        for i, record in records.items():
            known = self._records.get(i)
            if known is not None and known is not record and _same_pixels(known, record):
                self._records[i] = record
            elif known is not record:
                changed[i] = record
        return Work(changed, tuple(i for i in self._records if i not in records))

    def measure(self, work: Work) -> Iterator[dict[int, Rows]]:
        """Measure, in any thread; yields the rows of some objects."""
        boxes = {i: self._box(record) for i, record in work.changed.items()}
        for part in measure_some(self.session.committed, boxes, self._channels(), self.image.scale, self.is_movie):
            yield {i: table.to_dict("records") for i, table in part.items()}

    def take(self, work: Work, rows: Mapping[int, Rows]) -> None:
        """Keep what was measured."""
        for i in work.gone:
            self._rows.pop(i, None)
            self._records.pop(i, None)
        for i, found in rows.items():
            self._rows[i], self._records[i] = found, work.changed[i]

    def table(self) -> pd.DataFrame:
        """The table as it is known now: objects as in `measure_objects`, tracks as in `measure_tracks`."""
        records = self.session.objects
        known = [i for i in sorted(self._rows) if i in records and self._rows[i]]
        table = self._tracks(known) if self.is_movie else self._objects(known)
        table.insert(1, "certainty", [_certainty(records[int(i)]) for i in table["id"]])
        if self.session.classes.known:
            names = self.session.classes.names()
            table.insert(1, "class", [names.get(int(i), "") for i in table["id"]])
        return table

    def cut_by_tiles(self) -> dict[int, int]:
        """See `tile_cuts`; none where the image is not tiled."""
        embeddings = self.session.model.embeddings
        if embeddings is None or embeddings.grid.tile_shape is None:
            return {}
        places = pd.DataFrame([row for i, rows in self._rows.items() if i in self.session.objects for row in rows])
        return tile_cuts(places, self.session.committed, embeddings.grid.tile_shape)

    def _objects(self, ids: list[int]) -> pd.DataFrame:
        columns = object_columns(self.session.ndim, self.image.scale, n_channels=self._n_channels)
        return pd.DataFrame([self._rows[i][0] for i in ids], columns=columns)

    def _tracks(self, ids: list[int]) -> pd.DataFrame:
        """Tracks, with means over their frames."""
        session = self.session
        assert isinstance(session, TrackingSession)
        scale = self.image.scale
        frames = pd.DataFrame([row for i in ids for row in self._rows[i]])
        wanted = set(ids)
        tracks = [row for row in session.tracks.lineage.to_rows() if row.track_id in wanted]
        if not len(frames):
            has_time = scale is not None and scale[0] != 1
            columns = [*track_columns(scale is not None, has_time), "mean_pixels", "largest_size_step", "pieces"]
            return pd.DataFrame(columns=columns)
        positions = frames[["id", "frame", "y", "x"]].to_numpy(float)
        table = measure_tracks(Tracks(tuple(tracks), None, positions, cast(Any, scale)))
        groups = frames.groupby("id")
        size = "area_um2" if "area_um2" in frames else "pixels"
        table[f"mean_{size}"] = groups[size].mean().reindex(table["id"]).to_numpy()
        table["largest_size_step"] = groups["pixels"].agg(_largest_step).reindex(table["id"]).to_numpy()
        table["pieces"] = groups["pieces"].max().reindex(table["id"]).to_numpy()
        for name in frames.columns:
            if name.startswith("mean_intensity"):
                table[name] = groups[name].mean().reindex(table["id"]).to_numpy()
        return table

    def _box(self, record: ObjectRecord) -> tuple[int, ...]:
        y0, x0, y1, x1 = record.box
        return record.box if self.session.ndim == 2 else (record.slices[0], y0, x0, record.slices[1], y1, x1)

    @property
    def _n_channels(self) -> int:
        image = self.image
        if image.source is not None and image.n_channels > 1 and not image.rgb:
            return image.n_channels
        return int(image.data.shape[-1]) if image.rgb else 1

    def _channels(self) -> list[Any]:
        """All channels of the file, also those that are not shown."""
        image = self.image
        if image.source is not None and image.n_channels > 1 and not image.rgb:
            tool: Tool = "2d" if self.session.ndim == 2 else "tracking" if self.is_movie else "3d"
            return [check_image(image.source, tool, channel=k).data for k in range(image.n_channels)]
        return channels_of(image.data, image.rgb)


def _largest_step(pixels: pd.Series) -> float:
    """The largest factor by which a track grows or shrinks from one frame to the next; NaN for one frame."""
    values = pixels.to_numpy(float)
    return float(np.exp(np.abs(np.diff(np.log(values)))).max()) if len(values) > 1 else float("nan")


def _same_pixels(one: ObjectRecord, other: ObjectRecord) -> bool:
    """Whether two records of an object differ in its class only."""
    return one.changed(object_class=other.object_class) == other


def _certainty(record: ObjectRecord) -> float:
    """The value of the least certain slice; NaN where no model was asked."""
    return min((float(one.value) for one in record.confidence.values()), default=np.nan)
