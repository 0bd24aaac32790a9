"""Options of commands from the fields of models, and back."""

import argparse
import importlib
from typing import Literal

import pytest
from pydantic import Field, model_validator

from micro_sam.cli import _fields
from micro_sam.cli._fields import Options, add_options, option, read_options
from micro_sam.errors import InputError


def number(text):
    if text != "one":
        raise InputError(f"{text!r} is not one")
    return 1


class Extras(Options):
    level: int | None = option(None, "how much", metavar="N", low=1)
    name: str = option("x", "its name")


class Example(Options):
    place: str = option(..., "where", "place", metavar="PLACE")
    out: str = option(..., "to", "-o", "--out", "--output")
    kind: Literal[2, 3] | None = option(None, "which", "-n")
    shape: tuple[int, int] | None = option(None, "how large", metavar=("Y", "X"), reads=number)
    files: tuple[str, ...] = option((), "all of them")
    pairs: tuple[tuple[str, str], ...] = option((), "two by two", several="repeated")
    quick: bool = option(False, "in a hurry")
    shown: bool = option(True, "to be seen")
    closer: bool | None = option(None, "or not")
    resume: bool | Literal["ask"] = option("ask", "", switches={"--go_on": (True, "do"), "--anew": (False, "do not")})
    hidden: float | None = option(None, "")
    extras: Extras | None = Field(None, title="more", description="what else there is")

    @model_validator(mode="after")
    def _check(self):
        if self.quick and self.kind == 3:
            raise InputError("Three take time.")
        return self


def read(*arguments):
    parser = argparse.ArgumentParser(prog="example")
    add_options(parser, Example)
    return read_options(parser, Example, ["there", "-o", "out", *arguments])


def test_what_is_not_given_has_the_default_of_its_field():
    options = read()
    assert options == Example(place="there", out="out") and options.extras is None and options.resume == "ask"


def test_the_type_of_a_field_says_what_is_typed():
    options = read(
        *("-n", "3", "--shape", "one", "one", "--files", "a", "b", "--pairs", "a", "1", "--pairs", "b", "2"),
        *("--no-shown", "--closer", "--anew", "--hidden", "0.5", "--level", "2"),
    )
    assert options.model_dump() == {
        "place": "there",
        "out": "out",
        "kind": 3,
        "shape": (1, 1),
        "files": ("a", "b"),
        "pairs": (("a", "1"), ("b", "2")),
        "quick": False,
        "shown": False,
        "closer": True,
        "resume": False,
        "hidden": 0.5,
        "extras": {"level": 2, "name": "x"},
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--level", "0"], "--level must be 1 or more, not 0."), (["--quick", "-n", "3"], "Three take time.")],
)
def test_a_value_that_cannot_be_is_one_sentence(arguments, message):
    with pytest.raises(InputError) as caught:
        read(*arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-n", "4"], "argument -n/--kind: invalid choice: 4"),
        (["--shape", "two", "one"], "argument --shape: 'two' is not one"),
        (["--go_on", "--anew"], "not allowed with argument --go_on"),
        (["--level", "much"], "argument --level: invalid int value: 'much'"),
    ],
)
def test_what_cannot_be_read_ends_with_the_name_of_the_option(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        read(*arguments)
    assert end.value.code == 2 and message in capsys.readouterr().err


def test_help_has_descriptions_and_headlines_and_leaves_out_what_has_none():
    parser = argparse.ArgumentParser(prog="example")
    add_options(parser, Example)
    text = parser.format_help()
    assert "-o OUT, --out OUT, --output OUT" in text and "more:\n  what else there is" in text and "--level N" in text
    assert "--hidden" not in text


@pytest.mark.parametrize("name", ["annotator_2d", "annotator_tracking", "automatic_segmentation", "info", "measure"])
def test_options_of_a_command_are_the_fields_of_its_model(name, monkeypatch):
    """Every option stands in a field; none is made by hand."""
    made = []
    monkeypatch.setattr(_fields, "_add_option", lambda parser, *field: made.append(field))
    options = importlib.import_module(f"micro_sam.cli.{name}").build_parser()._actions
    assert made and {action.dest for action in options} == {"help", "version"}
