"""What is said of a commit, or of why there was none."""

from __future__ import annotations

from collections.abc import Mapping

from micro_sam.io.label_arrays import any_label
from micro_sam.session.state import State
from micro_sam.session.values import CommitReport, CommitRules, count, listing, named

SHOWN = 4
"""Numbers of tracks in a sentence."""
NEXT = " Click the next object."
MISSED = " Click an object that was missed."


def nothing_there(state: State, source: str) -> str:
    """When there is nothing to commit."""
    if source == "auto":
        return "There is no automatic segmentation to commit. Run Segment All Objects first."
    found = any_label(state.layer("auto"))
    how = " To commit what Segment All found, choose auto_segmentation in 'Options of Commit'." if found else ""
    return f"There is no current object to commit. Click an object first.{how}"


def nothing_free(refused: Mapping[int, str], source: str, rules: CommitRules) -> str:
    """When nothing of it can be committed; `refused`: label -> why."""
    if source == "auto":
        what = "it" if len(refused) == 1 else f"all {len(refused):,}"
        how = "overlap" if rules.preserve == "objects" else "cover most of"
        why = f"committed {rules.noun}s {how} {what}"
        return f"Nothing was committed: {why}. 'Options of Commit' says which ones count more."
    return f"Nothing was committed: {_why_open(refused, rules)}"


def _why_open(refused: Mapping[int, str], rules: CommitRules) -> str:
    """Why current objects stay open, and what can be done."""
    reasons = list(dict.fromkeys(refused.values()))
    what = f"the {rules.noun}" if len(refused) == 1 else f"each of {len(refused):,} {rules.noun}s"
    it = "it" if len(refused) == 1 else "them"
    how = reasons[0] if len(reasons) == 1 else "overlaps, or has too little room beside,"
    return f"{what} {how} committed {rules.noun}s. Correct {it}, or see 'Options of Commit'."


def describe(
    report: CommitReport, source: str, rules: CommitRules, refused: Mapping[int, str], cut: Mapping[int, int]
) -> str:
    """What a commit did, and what to do next; `cut`: label -> free pixels that were not committed."""
    area, noun = sum(report.areas.values()), rules.noun
    if source == "current" and rules.per_slice and report.labels != report.ids:
        # the numbers that the user has worked with
        number = f"{noun}{'s' if len(report.ids) > 1 else ''} {listing(report.ids, SHOWN)}"
        text = f"{named(noun, report.labels, SHOWN)} committed as {number}."
    elif len(report.ids) == 1:
        text = f"{named(noun, report.ids)} committed ({count(area, 'pixel')})."
    else:
        text = f"{len(report.ids):,} {noun}s committed (ids {min(report.ids)} to {max(report.ids)})."
    if source == "auto" and (report.left_out or report.cut):
        parts = [f"{len(report.left_out):,} left out (committed {noun}s are there)"] if report.left_out else []
        parts += [f"{len(report.cut):,} cut to the largest piece"] if report.cut else []
        text += f" {', '.join(parts)}."
    elif source == "current":
        if report.kept:
            text += f" {count(report.kept, 'pixel')} stayed with the objects committed before."
        if report.cut:
            pixels = sum(cut[label] for label in report.cut)
            text += f" {count(pixels, 'pixel')} in other pieces left out."
        if refused:
            text += f" Still open: {_why_open(refused, rules)}"
    if report.lost and set(report.lost) != set(report.vanished):
        text += f" Overwritten: {count(sum(report.lost.values()), 'pixel')} of {listing(sorted(report.lost))}."
    left_over = sorted(set(report.crumbs) - set(report.vanished))
    if left_over:
        text += f" Small pieces that were left of {listing(left_over)} are removed."
    if report.vanished:
        them = "it" if len(report.vanished) == 1 else "them"
        text += f" Nothing is left of {listing(report.vanished)}; undo brings {them} back."
    if refused and source == "current":
        return text
    return text + (NEXT if source == "current" else MISSED)


def amended(message: str, news: str) -> str:
    """More of what happened, before what to do next."""
    for end in (NEXT, MISSED):
        if message.endswith(end):
            return f"{message.removesuffix(end)} {news}{end}"
    return f"{message} {news}"
