"""Tracks and lineages in the formats of the field."""

from micro_sam.io.tracks.formats import FORMATS, load_tracks, save_tracks, write_tracks
from micro_sam.io.tracks.rows import TrackRow, daughters, parents
from micro_sam.io.tracks.tracks import Tracks, check_rows, tracks_from_labels, tracks_from_positions

__all__ = [
    "FORMATS",
    "TrackRow",
    "Tracks",
    "check_rows",
    "daughters",
    "load_tracks",
    "parents",
    "save_tracks",
    "tracks_from_labels",
    "tracks_from_positions",
    "write_tracks",
]
