"""Large automatic segmentations, shown and committed: computed in any thread, done in the thread of the actions.

As for a slice: :func:`plan_commit` takes down what is asked, :func:`run_commit` finds all edits and touches nothing,
and :func:`apply_commit` makes them one step of the session, unless the objects have changed meanwhile. The pixels of
so large a step are written a few rows at a time (:meth:`.Steps.write_some`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from micro_sam.session.commands import Command, Plan
from micro_sam.session.edits.commit import commit
from micro_sam.session.edits.committed import check_labels
from micro_sam.session.label_edits import BOX_PIXELS, present
from micro_sam.session.session import Session
from micro_sam.session.values import MIN_SIZE, CommitReport, CommitRules, PreserveMode

__all__ = [
    "AutoRequest",
    "CommitRequest",
    "PlannedAuto",
    "PlannedCommit",
    "apply_auto",
    "apply_commit",
    "is_large",
    "plan_auto",
    "plan_commit",
    "run_auto",
    "run_commit",
]


@dataclass(frozen=True, eq=False)
class CommitRequest:
    """A commit that is asked for.

    Attributes
    ----------
    session
    rules
    model
        Name and hash of the model in use.
    draft
        On a copy of the values of the session.
    revision
        Of the objects that it holds for.
    """

    session: Session
    rules: CommitRules
    model: Mapping[str, str]
    draft: Plan
    revision: int


@dataclass(frozen=True, eq=False)
class PlannedCommit:
    """The edits of a commit as one step, and what it reports."""

    request: CommitRequest
    command: Command
    report: CommitReport


@dataclass(frozen=True, eq=False)
class AutoRequest:
    """An automatic segmentation that is to be shown; see :class:`CommitRequest`."""

    session: Session
    draft: Plan
    revision: int


@dataclass(frozen=True, eq=False)
class PlannedAuto:
    """The edits that show an automatic segmentation as one step, and its number of objects."""

    request: AutoRequest
    command: Command
    objects: int


def is_large(session: Session, source: str) -> bool:
    """Whether a commit is better done in a thread: that of an automatic segmentation of many pixels."""
    return source == "auto" and session.steps.writes_later and prod(session.shape) > BOX_PIXELS


def plan_auto(session: Session, **details: Any) -> AutoRequest:
    """Take down that an automatic segmentation of a 2D image is to be shown; see :meth:`.AutomaticActions.show`."""
    draft = Plan(session.state, {**details, "model": session.model.facts})
    return AutoRequest(session, draft, session.steps.revision)


def run_auto(request: AutoRequest, labels: np.ndarray) -> PlannedAuto:
    """Find what changes. Changes nothing, so any thread may do it.

    Raises
    ------
    InputError
        When the labels do not fit.
    """
    draft = request.draft
    labels = check_labels(labels, request.session.shape)
    draft.paint("auto", 0, (0, 0, *labels.shape), labels)
    draft.set("auto_in_pieces", False)
    command = Command("Segment all objects", draft.edits, draft.details, "auto")
    return PlannedAuto(request, command, int((present(labels) > 0).sum()))


def apply_auto(planned: PlannedAuto) -> bool:
    """Show it, as one step with the one before if that was of the same kind; False when objects changed meanwhile."""
    session = planned.request.session
    if planned.request.revision != session.steps.revision:
        return False
    if planned.command.edits:
        session.steps.perform(planned.command, join=session.automatic.can_join)
    session.automatic.say_found(planned.objects)
    return True


def plan_commit(
    session: Session, preserve: PreserveMode = "pixels", min_size: int = MIN_SIZE, **details: Any
) -> CommitRequest:
    """Take down a commit of the automatic segmentation; parameters as :meth:`.ObjectActions.commit`."""
    rules = CommitRules(preserve, int(min_size))
    draft = Plan(session.state, {**rules.record("auto"), **details})
    return CommitRequest(session, rules, session.model.facts, draft, session.steps.revision)


def run_commit(request: CommitRequest) -> PlannedCommit:
    """Find what is committed. Changes nothing, so any thread may do it.

    Raises
    ------
    InputError
        When there is nothing to commit, or nothing of it is free.
    """
    draft = request.draft
    report = commit(draft, "auto", request.rules, dict(request.model))
    draft.details.update(ids=list(report.ids))
    return PlannedCommit(request, Command("Commit", draft.edits, draft.details), report)


def apply_commit(planned: PlannedCommit) -> CommitReport | None:
    """Do a commit as one step; None when committed or automatic objects changed since it was planned."""
    session = planned.request.session
    if planned.request.revision != session.steps.revision:
        return None
    session.steps.perform(planned.command)
    session.keeper.say_when_written(planned.report.message)
    return planned.report
