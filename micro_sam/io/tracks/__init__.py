"""Tracks and lineages in the formats of the field."""

from micro_sam.io.tracks.rows import TrackRow, daughters, parents

__all__ = ["TrackRow", "daughters", "parents"]
