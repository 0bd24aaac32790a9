"""The three tools, as data."""

from __future__ import annotations

from micro_sam.sam_annotator.state.options import TrackingOptions, VolumeOptions
from micro_sam.sam_annotator.state.tool import LayerNames, Tool
from micro_sam.session.rules import ImageRules, MovieRules, VolumeRules
from micro_sam.session.session import Session, TrackingSession, VolumeSession

IMAGE = Tool("2d", "micro_sam 2D", Session, ImageRules)
"""Segments the objects of one image."""

VOLUME = Tool(
    "3d",
    "micro_sam 3D",
    VolumeSession,
    VolumeRules,
    ndim=3,
    part="Slice",
    image_noun="volume",
    axis_labels=("z", "y", "x"),
    options=VolumeOptions(),
    work="volume",
    after_correction="then press V: only what lies between your corrections is done again",
    too_few="The 3D annotator needs several slices, but this volume has one: its shape is {shape}. Open it with "
    "annotator_2d.",
)
"""Segments the objects of a stack of slices."""

TRACKING = Tool(
    "tracking",
    "micro_sam tracking",
    TrackingSession,
    MovieRules,
    ndim=3,
    names=LayerNames(current="current_tracks", committed="committed_tracks", tracks="tracks"),
    part="Frame",
    image_noun="movie",
    axis_labels=("t", "y", "x"),
    options=TrackingOptions(),
    work="tracks",
    has_batches=False,
    has_hover=False,
    after_correction="then press V: only what follows is done again",
    too_few="The tracking annotator needs several frames, but this movie has one: its shape is {shape}. Open it with "
    "annotator_2d, or give all frames of the movie.",
)
"""Follows the objects of a movie."""
