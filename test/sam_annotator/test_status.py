"""A warning in the status line stays until the user acts, or until it is not true any more."""

from __future__ import annotations

import pytest

from micro_sam.errors import InputError
from micro_sam.sam_annotator.actions import Action, Actions
from micro_sam.sam_annotator.state.status import MOST, Status


@pytest.fixture
def status() -> Status:
    return Status()


def test_a_notice_takes_the_place_of_a_notice(status):
    heard = []
    status.changed.connect(lambda text, kind: heard.append((text, kind)))
    status.say("Getting ready.")
    status.say("Ready.", "good")
    assert heard == [("Getting ready.", "info"), ("Ready.", "good")]


@pytest.mark.parametrize("kind", ["warning", "error"])
def test_what_is_said_after_a_warning_stands_below_it(status, kind):
    status.say("The file is damaged.", kind)
    status.say("Getting ready.")
    status.say("nano_lm is ready.", "good")
    assert status.text == "The file is damaged.\nnano_lm is ready." and status.kind == kind


def test_the_next_sentence_after_an_action_of_the_user_is_alone(status):
    status.say("The file is damaged.", "error")
    status.say("nano_lm is ready.", "good")
    status.acted()
    assert "damaged" in status.text and status.kind == "error", "it stays until there is something else to say"
    status.say("Undone: Add point.")
    assert (status.text, status.kind) == ("Undone: Add point.", "info")


def test_several_warnings_are_shown_each_once_the_newest_of_many(status):
    status.say("No room on the disc.", "warning")
    status.report(InputError("No such file."))
    status.say("No room on the disc.", "warning")
    assert status.text == "No such file.\nNo room on the disc." and status.kind == "error"
    for number in range(MOST + 2):
        status.say(f"Warning {number}.", "warning")
    assert status.text.splitlines() == [f"Warning {number}." for number in range(2, MOST + 2)]


def test_news_of_the_same_matter_take_the_place_of_its_warning(status):
    status.say("The session cannot be written.", "error", "session")
    status.say("No such file.", "warning")
    status.say("The session is written again.", "good", "session")
    assert status.text == "No such file.\nThe session is written again." and status.kind == "warning"


def test_a_sentence_is_added_behind_what_is_shown(status):
    status.say("2 objects found.", "good")
    status.add("Whole objects are prepared.")
    assert (status.text, status.kind) == ("2 objects found. Whole objects are prepared.", "good")
    status.say("The file is damaged.", "error")
    status.add("Whole objects are prepared.")
    assert (status.text, status.kind) == ("The file is damaged.\nWhole objects are prepared.", "error")
    status.acted()
    status.add("More.")
    assert status.text.endswith("More.") and "damaged" in status.text and status.kind == "error"


def test_every_action_counts_as_seen(status):
    actions = Actions(status.report, status.acted)

    def fail() -> None:
        raise InputError("There is nothing to commit.")

    actions.add([Action("commit", fail), Action("undo", lambda: status.say("Undone."))])
    status.say("The file is damaged.", "error")
    actions.commit()
    assert status.text == "There is nothing to commit." and status.kind == "error"
    status.say("nano_lm is ready.", "good")
    assert status.kind == "error"
    actions.undo()
    assert (status.text, status.kind) == ("Undone.", "info")
