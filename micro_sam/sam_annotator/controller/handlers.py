"""Who does what the user asks for, in one window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from napari.layers import Image

from micro_sam.sam_annotator.controller.automatic import Automatic
from micro_sam.sam_annotator.controller.commits import CommitActions
from micro_sam.sam_annotator.controller.continuing import Continuing
from micro_sam.sam_annotator.controller.engine import Engine
from micro_sam.sam_annotator.controller.objects import ObjectActions
from micro_sam.sam_annotator.controller.opening import Opening
from micro_sam.sam_annotator.controller.preparation import Preparation
from micro_sam.sam_annotator.controller.prompts import PromptActions
from micro_sam.sam_annotator.controller.recording import Recording
from micro_sam.sam_annotator.controller.region import RegionActions
from micro_sam.sam_annotator.controller.reviewing import Reviewing
from micro_sam.sam_annotator.controller.saving import Saving
from micro_sam.sam_annotator.controller.series_opening import SeriesOpening
from micro_sam.sam_annotator.controller.similar import SimilarObjects
from micro_sam.sam_annotator.controller.stacks import StackActions
from micro_sam.sam_annotator.controller.table import ObjectTable
from micro_sam.sam_annotator.controller.tracks import LineageActions, TrackActions
from micro_sam.sam_annotator.controller.training import Training
from micro_sam.sam_annotator.controller.volume import VolumeWork


@dataclass(frozen=True)
class Handlers:
    """Who does it. Those of proposals, stacks, volumes and tracks are there in the tools that have them."""

    prompts: PromptActions
    commits: CommitActions
    objects: ObjectActions
    opening: Opening
    take_dropped: Callable[[Image], None]
    preparation: Preparation
    engine: Engine
    automatic: Automatic
    region: RegionActions
    saving: Saving
    table: ObjectTable
    review: Reviewing
    training: Training
    continuing: Continuing
    series_opening: SeriesOpening
    recording: Recording
    cancel: Callable[[], None]
    similar: SimilarObjects | None = None
    stacks: StackActions | None = None
    volume: VolumeWork | None = None
    tracks: TrackActions | None = None
    lineage: LineageActions | None = None
