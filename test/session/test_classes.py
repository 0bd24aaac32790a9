"""Classes of objects: set, undone, kept through corrections, and written into the journal."""

from __future__ import annotations

import sqlite3

import pytest

from micro_sam.errors import InputError
from micro_sam.session.journal import store
from micro_sam.session.journal.continuing import go_on
from micro_sam.session.journal.recorder import Journal
from micro_sam.session.session import Session

from .conftest import check_invariants, commit_disc, snapshot


def test_a_class_is_one_step_of_undo_and_is_made_when_it_is_first_used(session):
    commit_disc(session, 20, 20)
    commit_disc(session, 20, 50)
    before = snapshot(session)
    session.classes.set(2, [1, 2])
    assert (
        session.classes.names() == {1: "class 2", 2: "class 2"} and session.heard[-1] == "Objects 1 and 2: 'class 2'."
    )
    session.undo()
    assert snapshot(session) == before and session.classes.known == ()
    session.redo()
    session.classes.define(2, "  dividing  cell ", "#ff0000")
    assert session.classes.of(1).name == "dividing cell" and session.classes.of(1).colour == "#ff0000"
    session.classes.set(0, [1])
    assert session.classes.of(1) is None and session.classes.names() == {2: "dividing cell"}
    session.classes.remove(2)
    assert session.classes.names() == {} and session.classes.known == ()
    session.undo()
    assert session.classes.names() == {2: "dividing cell"}
    check_invariants(session)


def test_the_current_object_keeps_its_class_through_commit_and_correction(session):
    session.prompts.add_point((20, 20))
    session.segment.slice()
    session.classes.set(3)
    assert session.classes.current == 3
    session.objects.commit()
    assert session.classes.of(1).number == 3 and session.classes.current == 0
    session.objects.reopen(1)
    assert session.classes.current == 3
    session.prompts.add_point((20, 24))
    session.segment.slice()
    session.objects.commit()
    assert session.classes.of(1).number == 3
    session.objects.reopen(1)
    session.classes.set(1)
    session.prompts.clear()
    assert session.classes.of(1).number == 3 and session.classes.current == 0
    commit_disc(session, 40, 60)
    assert session.classes.of(2) is None
    session.objects.merge([1, 2])
    assert session.classes.of(1).number == 3


def test_what_cannot_be_is_said_and_changes_nothing(session):
    commit_disc(session, 20, 20)
    session.classes.define(1, "round")
    before = snapshot(session)
    for action in (
        lambda: session.classes.set(10, [1]),
        lambda: session.classes.set(1, [7]),
        lambda: session.classes.define(2, "round"),
        lambda: session.classes.define(2, "  "),
        lambda: session.classes.define(0, "none"),
    ):
        with pytest.raises(InputError):
            action()
    assert snapshot(session) == before


def test_classes_are_in_the_journal_and_old_journals_go_on(session, tmp_path):
    folder = tmp_path / "a.session"
    session.keeper.journal = Journal(folder, {"image": {"shape": list(session.shape)}})
    commit_disc(session, 20, 20)
    session.classes.define(4, "rund", "#00ff00")
    session.classes.set(4, [1])
    session.prompts.add_point((40, 60))
    session.segment.slice()
    session.classes.set(2)
    assert session.keeper.flush(10)
    session.keeper.journal.close()
    continued = go_on(folder, Session)
    assert snapshot(continued.session)["objects"] == snapshot(session)["objects"]
    assert continued.session.classes.known == session.classes.known and continued.session.classes.current == 2
    assert continued.session.undo() == "Set class" and continued.session.classes.current == 0
    continued.session.keeper.journal.close()
    with sqlite3.connect(folder / store.FILE) as file:  # as an earlier version wrote it
        file.execute("PRAGMA user_version=1")
    file.close()
    assert go_on(folder, Session).session.classes.known[-1].name == "rund"
