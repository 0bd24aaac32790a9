"""Files and folders change whole or not at all, and what was interrupted is finished or cleared later."""

import json
import os
import subprocess
import sys

import pytest

from micro_sam.errors import OutputError
from micro_sam.io import atomic
from micro_sam.io.atomic import recover, remove, replacing, write_bytes


@pytest.fixture
def pair(tmp_path):
    """Two parts of one result, written once."""
    paths = tmp_path / "a.xml", tmp_path / "a_labels.tif"
    save(paths, "old")
    return paths


def save(paths, text):
    with replacing(*paths) as places:
        for place in places:
            place.write_text(text)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def killed(code: str, *arguments: object) -> None:
    """Run a program that is killed in the middle."""
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 9, done.stderr


KILLED_AT_RENAME = """
import os, sys
from pathlib import Path
from micro_sam.io.atomic import replacing
number, left = 0, int(sys.argv[1])
def hook(event, arguments):
    global number
    if event == "os.rename":
        number += 1
        if number > left:
            os._exit(9)
sys.addaudithook(hook)
paths = [Path(path) for path in sys.argv[2:]]
with replacing(*paths) as places:
    for place in places:
        place.write_text("new") if place.suffix else (place.mkdir(), (place / "inside").write_text("new"))
"""


@pytest.mark.parametrize("renames", range(5))
def test_both_parts_are_old_or_both_are_new_wherever_the_process_is_killed(pair, tmp_path, renames):
    (tmp_path / "notes.txt").write_text("mine")
    killed(KILLED_AT_RENAME, renames, *pair)
    recover(pair[0])
    assert [path.read_text() for path in pair] == ["old" if renames == 0 else "new"] * 2
    assert names(tmp_path) == ["a.xml", "a_labels.tif", "notes.txt"]


@pytest.mark.parametrize("renames", range(3))
def test_a_folder_is_found_again_when_the_process_is_killed_between_two_renames(tmp_path, renames):
    folder = tmp_path / "result"
    folder.mkdir()
    (folder / "inside").write_text("old")
    killed(KILLED_AT_RENAME, renames, folder)
    recover(folder)
    assert (folder / "inside").read_text() == ("old" if renames == 0 else "new")
    assert names(tmp_path) == ["result"]


def test_what_came_after_the_kill_is_never_lost(pair, tmp_path):
    killed(KILLED_AT_RENAME, 2, *pair)  # the first part was moved aside
    pair[0].write_text("somebody else's")
    recover(tmp_path / "any other name")
    assert pair[0].read_text() == "new" and (tmp_path / "a.xml.bak").read_text() == "somebody else's"


def test_recovery_that_is_killed_as_well_is_finished_by_the_next(pair):
    killed(KILLED_AT_RENAME, 1, *pair)
    code = KILLED_AT_RENAME.replace(
        "with replacing", "from micro_sam.io.atomic import recover\nrecover(paths[0])\nwith"
    )
    for left in (1, 1, 2):
        subprocess.run([sys.executable, "-c", code, str(left), *map(str, pair)], capture_output=True)
    recover(pair[0])
    assert [path.read_text() for path in pair] == ["new"] * 2


def test_a_failure_in_the_middle_puts_the_old_parts_back(pair, tmp_path, monkeypatch):
    rename, calls = os.rename, []

    def failing(source, target):
        calls.append(target)
        if len(calls) == 4:  # the second part
            raise PermissionError(13, "Permission denied")
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OutputError, match="Permission denied.*Nothing was lost"):
        save(pair, "new")
    assert [path.read_text() for path in pair] == ["old"] * 2 and names(tmp_path) == ["a.xml", "a_labels.tif"]


def test_an_error_of_the_writer_or_of_the_last_check_changes_nothing(pair, tmp_path):
    def no():
        raise OutputError("no")

    with pytest.raises(ZeroDivisionError), replacing(*pair) as places:
        places[0].write_text("new")
        raise ZeroDivisionError
    with pytest.raises(OutputError, match="no"), replacing(*pair, check=no) as places:
        places[0].write_text("new")
    assert [path.read_text() for path in pair] == ["old"] * 2 and names(tmp_path) == ["a.xml", "a_labels.tif"]


def test_what_threads_of_a_failed_writer_still_write_goes_with_the_next_load(tmp_path):
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a.zarr") as (place,):
        place.mkdir()
        raise ZeroDivisionError
    assert names(tmp_path) == []
    place.mkdir(parents=True)  # as a late thread of zarr does
    (place / "0.0").write_text("chunk")
    with replacing(tmp_path / "b.zarr") as (other,):  # what is being written stays
        other.mkdir()
        recover(tmp_path / "a.zarr")
        assert len(names(tmp_path)) == 1 and other.exists()
    assert names(tmp_path) == ["b.zarr"]


def test_leftovers_of_dead_processes_are_cleared_and_nothing_else(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    dead, alive, foreign = (
        tmp_path / f".a.tif.micro_sam-{host}-{pid}-0123abcd"
        for host, pid in ((atomic._host(), process.pid), (atomic._host(), os.getppid()), ("ffffffff", 1))
    )
    for folder in (dead, alive, foreign):
        (folder / "new").mkdir(parents=True)
    for name in (".a.tif.micro_sam", ".hidden", "a.tif.micro_sam-1-2-3", ".a.tif.micro_sam-1-2-3"):
        (tmp_path / name).write_text("mine")
    recover(tmp_path / "a.tif")
    assert not dead.exists() and alive.exists() and foreign.exists() and len(names(tmp_path)) == 6
    os.utime(foreign, (0, 0))  # of another machine, and old
    recover(tmp_path / "a.tif")
    assert alive.exists() and not foreign.exists()


def test_backups_are_kept_beside_each_other_and_never_replaced(tmp_path):
    path = tmp_path / "a.tif"
    for text in ("first", "second", "third"):
        path.write_text(text)
        with replacing(path, backup=True) as (place,):
            place.write_text("new")
    kept = [(tmp_path / name).read_text() for name in ("a.tif.bak", "a.tif.bak2", "a.tif.bak3")]
    assert kept == ["first", "second", "third"] and path.read_text() == "new"
    remove(path, backup=True)
    assert names(tmp_path) == ["a.tif.bak", "a.tif.bak2", "a.tif.bak3", "a.tif.bak4"]


def test_links_are_followed_to_the_file(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "real.tif").write_text("old")
    (tmp_path / "link.tif").symlink_to(tmp_path / "there" / "real.tif")
    write_bytes(tmp_path / "link.tif", b"new")
    assert (tmp_path / "link.tif").is_symlink() and (tmp_path / "there" / "real.tif").read_text() == "new"


def test_what_must_be_new_replaces_only_an_empty_folder(tmp_path):
    for number, prepare in enumerate((lambda p: p.mkdir(), lambda p: p.write_text("x"), lambda p: (p / "x").mkdir())):
        target = tmp_path / f"{number}"
        if number == 2:
            target.mkdir()
        prepare(target)
        if number == 0:
            with replacing(target, only_new=True) as (place,):
                place.mkdir()
                (place / "inside").write_text("new")
            assert (target / "inside").exists()
        else:
            with pytest.raises(OutputError, match="exists"), replacing(target, only_new=True) as (place,):
                place.mkdir()
    assert (tmp_path / "1").read_text() == "x" and (tmp_path / "2" / "x").is_dir()


def test_several_processes_save_the_same_parts_at_once_and_one_of_them_wins(pair, tmp_path):
    code = (
        "import sys\nfrom micro_sam.io.atomic import replacing\n"
        "for k in range(15):\n"
        "    with replacing(*sys.argv[2:]) as places:\n"
        "        for place in places: place.write_text(sys.argv[1] + str(k))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, f"{k}-", *map(str, pair)]) for k in range(3)]
    assert [writer.wait() for writer in writers] == [0] * 3
    recover(pair[0])
    assert pair[0].read_text() == pair[1].read_text() and names(tmp_path) == ["a.xml", "a_labels.tif"]


def test_notes_of_what_was_there_are_plain_json(pair, tmp_path):
    killed(KILLED_AT_RENAME, 1, *pair)
    staging = next(path for path in tmp_path.iterdir() if ".micro_sam-" in path.name)
    assert set(json.loads((staging / "before.json").read_text())) == {"a.xml", "a_labels.tif"}
