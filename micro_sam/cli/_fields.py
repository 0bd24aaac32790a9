"""Options of a command are the fields of a pydantic model: argparse's options are made from them, and back comes the
model with its values, checked.

The type of a field says what is typed: a ``bool`` is a switch, a ``Literal`` a choice, a tuple several values, a model
a group of options of its own. Its default, its description and its limits are those of the command.
"""

from __future__ import annotations

import argparse
import types
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from micro_sam.errors import MicroSamError, as_input_error

Model = TypeVar("Model", bound=BaseModel)
_Group = Any  # argparse's parsers and groups, which have no common public type


class Options(BaseModel):
    """Options of a command; built when values are read, as ``-h`` needs the fields only."""

    model_config = ConfigDict(defer_build=True)


def option(
    default: Any,
    tip: str,
    *names: str,
    metavar: str | tuple[str, ...] | None = None,
    low: float | None = None,
    reads: Callable[[str], Any] | None = None,
    several: Literal["once", "repeated"] = "once",
    switches: dict[str, tuple[Any, str]] | None = None,
) -> Any:
    """A field of options of a command.

    Parameters
    ----------
    default
        ``...``: it must be given.
    tip
        What the help says; empty: it is not listed.
    names
        As they are typed; with none that begins with ``--`` the name of the field is the last. One without a dash is
        that of a value without a name.
    metavar
        What the help shows for the value.
    low
        The lowest number.
    reads
        Makes the value of what was typed.
    several
        How the values of a tuple of any length are given: behind one another, or each with the option again.
    switches
        Switch -> value and tip; they exclude each other.
    """
    extra: Any = {"names": names, "metavar": metavar, "reads": reads, "several": several, "switches": switches}
    return Field(default, description=tip, ge=low, json_schema_extra=extra)


def add_options(parser: _Group, kind: type[BaseModel]) -> None:
    """Add an option for each field, in their order; a model with a title gets a headline of its own in the help."""
    for name, field in kind.model_fields.items():
        group = _model_of(field)
        if group is None:
            _add_option(parser, name, field)
        elif field.title:
            add_options(parser.add_argument_group(field.title, field.description), group)
        else:
            add_options(parser, group)


def read_options(parser: argparse.ArgumentParser, kind: type[Model], arguments: Sequence[str] | None) -> Model:
    """Parse and check.

    Raises
    ------
    InputError
        With a sentence, when values cannot be, or contradict each other.
    """
    values = _values(vars(parser.parse_args(arguments)), kind)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise as_input_error(error, "--") from None


def _values(typed: dict[str, Any], kind: type[BaseModel]) -> dict[str, Any]:
    """What was typed, by field; a group that may be left out is None when nothing of it was."""
    values: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        group = _model_of(field)
        if group is None:
            values[name] = typed[name]
            continue
        inner = _values(typed, group)
        is_given = any(inner[one] != _default(group.model_fields[one]) for one in inner)
        values[name] = inner if is_given or field.default is not None else None
    return values


def _default(field: FieldInfo) -> Any:
    """As argparse has it, which appends to a list."""
    return list(field.default) if isinstance(field.default, tuple) else field.default


def _add_option(parser: _Group, name: str, field: FieldInfo) -> None:
    extra: dict[str, Any] = dict(field.json_schema_extra or {})  # type: ignore[arg-type]  # never a function here
    if extra.get("switches"):
        group = parser.add_mutually_exclusive_group()
        for switch, (value, tip) in extra["switches"].items():
            arguments = {"dest": name, "action": "store_const", "const": value, "default": field.default}
            group.add_argument(switch, help=tip, **arguments)
        return
    names = list(extra.get("names", ()))
    is_positional = any(not one.startswith("-") for one in names)
    if not is_positional and not any(one.startswith("--") for one in names):
        names.append(f"--{name}")
    words = {"help": field.description or argparse.SUPPRESS, "default": field.default}
    if field.is_required():
        words = {"help": field.description} if is_positional else {"help": field.description, "required": True}
    if not is_positional:
        words["dest"] = name
    if extra.get("metavar"):
        words["metavar"] = extra["metavar"]
    words |= _typed(field, extra.get("several"))
    if extra.get("reads"):
        words["type"] = _reader(extra["reads"])
    parser.add_argument(*names, **words)


def _typed(field: FieldInfo, several: str | None) -> dict[str, Any]:
    """What argparse must know of the type."""
    kind = _without_none(field.annotation)
    if kind is bool:
        return {"action": "store_true" if field.default is False else argparse.BooleanOptionalAction}
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        return {"choices": choices, "type": type(choices[0])}
    if get_origin(kind) is not tuple:
        return {"type": kind}
    first, *others = get_args(kind)
    if others != [...]:
        return {"nargs": len(others) + 1, "type": first}
    if several == "once":
        return {"nargs": "+", "type": first}
    pair = (
        {"nargs": len(get_args(first)), "type": get_args(first)[0]} if get_origin(first) is tuple else {"type": first}
    )
    return {"action": "append", **pair, "default": _default(field)}


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not types.NoneType]
        return kinds[0] if len(kinds) == 1 else annotation
    return annotation


def _model_of(field: FieldInfo) -> type[BaseModel] | None:
    kind = _without_none(field.annotation)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _reader(function: Callable[[str], Any]) -> Callable[[str], Any]:
    """For argparse, which keeps the sentence of its own kind of error only."""

    def read(text: str) -> Any:
        try:
            return function(text)
        except MicroSamError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read
