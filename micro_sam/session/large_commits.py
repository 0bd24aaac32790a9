"""Commit of a large automatic segmentation: computed in any thread, done in the thread of the actions.

As for a slice: :func:`plan_commit` takes down what is asked, :func:`run_commit` finds all edits and touches nothing,
and :func:`apply_commit` makes them one step of the session, unless the objects have changed meanwhile. The pixels of
so large a step are written a few rows at a time (:meth:`Session.write_some`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from micro_sam.session import committing
from micro_sam.session.commands import Command, Plan
from micro_sam.session.committing import CommitRules
from micro_sam.session.labels import BOX_PIXELS
from micro_sam.session.session import Session
from micro_sam.session.values import MIN_SIZE, CommitReport, PreserveMode

__all__ = ["CommitRequest", "PlannedCommit", "apply_commit", "is_large", "plan_commit", "run_commit"]


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


def is_large(session: Session, source: str) -> bool:
    """Whether a commit is better done in a thread: that of an automatic segmentation of many pixels."""
    return source == "auto" and session.writes_later and session.auto.size > BOX_PIXELS


def plan_commit(
    session: Session, preserve: PreserveMode = "pixels", min_size: int = MIN_SIZE, **details: Any
) -> CommitRequest:
    """Take down a commit of the automatic segmentation; parameters as :meth:`Session.commit`."""
    rules = CommitRules(preserve, int(min_size))
    draft = Plan(session._state, {**rules.record("auto"), **details})
    return CommitRequest(session, rules, session._model_facts(), draft, session._revision)


def run_commit(request: CommitRequest) -> PlannedCommit:
    """Find what is committed. Changes nothing, so any thread may do it.

    Raises
    ------
    InputError
        When there is nothing to commit, or nothing of it is free.
    """
    draft = request.draft
    report = committing.commit(draft, "auto", request.rules, dict(request.model))
    draft.details.update(ids=list(report.ids))
    return PlannedCommit(request, Command("Commit", draft.edits, draft.details), report)


def apply_commit(planned: PlannedCommit) -> CommitReport | None:
    """Do a commit as one step; None when committed or automatic objects changed since it was planned."""
    session = planned.request.session
    if planned.request.revision != session._revision:
        return None
    session._perform(planned.command)
    session._keeper.say_when_written(planned.report.message)
    return planned.report
