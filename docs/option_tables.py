"""Write docs/tools/options.md and docs/keys.md: options of commands and windows, and keys, from where they are made.

python docs/option_tables.py
"""

from __future__ import annotations

import argparse
import importlib
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "tools" / "options.md"
KEYS = ROOT / "docs" / "keys.md"
START = """# Options of all commands

Made from the commands themselves by `docs/option_tables.py`; `-h` prints the same. `--version` prints the version.
"""


def commands() -> dict[str, argparse.ArgumentParser]:
    """The parser of each console script, by its name."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    modules = {name: importlib.import_module(target.split(":")[0]) for name, target in scripts.items()}
    return {name: module.build_parser() for name, module in modules.items()}


def table(parser: argparse.ArgumentParser) -> str:
    """The options of a command as a table, in the order of its help."""
    formatter = parser._get_formatter()
    rows = ["| option | meaning |", "|---|---|"]
    for action in parser._actions:
        if action.help == argparse.SUPPRESS or isinstance(action, (argparse._HelpAction, argparse._VersionAction)):
            continue
        value = (
            ""
            if action.nargs == 0
            else f" {formatter._format_args(action, formatter._get_default_metavar_for_optional(action))}"
        )
        names = ", ".join(action.option_strings)
        option = f"{names}{value}" if names else value.strip()
        meaning = " ".join(formatter._expand_help(action).split()) if action.help else ""
        rows.append(f"| `{_in_cell(option)}` | {_in_cell(meaning)} |")
    return "\n".join(rows)


def _in_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def page() -> str:
    """The page of options."""
    parts = [f"## {name}\n\n{parser.description}\n\n{table(parser)}\n" for name, parser in sorted(commands().items())]
    return "\n".join([START, *parts, window_options()])


def window_options() -> str:
    """What the forms of the windows hold."""
    from micro_sam.sam_annotator.state import options

    forms = {
        "Segment All Objects, object maps of the model": options.DenseThresholds,
        "Segment All Objects, grid of points": options.GridThresholds,
        "Segment All Objects, how closely": options.LookOptions,
        "Segment All in Volume": options.VolumeThresholds,
        "Whole object": options.VolumeOptions,
        "Track Object": options.TrackingOptions,
        "Train a model": options.TrainingOptions,
    }
    parts = ["## In the windows\n"]
    for title, kind in forms.items():
        rows = ["| option | begins with | meaning |", "|---|---|---|"]
        for field in kind.model_fields.values():
            default = "" if isinstance(field.default, Path) else f"`{_shown(field)}`"
            rows.append(f"| {field.title} | {default} | {_in_cell(field.description or '')} |")
        parts.append(f"### {title}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _shown(field: Any) -> Any:
    """What a form shows to begin with."""
    choices = field.json_schema_extra["choices"] or {}
    return next((text for text, value in choices.items() if value == field.default), field.default)


def keys_page() -> str:
    """The page of keys."""
    from micro_sam.sam_annotator.actions import key_shown
    from micro_sam.sam_annotator.controller import action_table as rows

    sections = {
        "All tools": (*rows.ROWS_BEFORE, *rows.ROWS),
        "2D and 3D annotator": (*rows.ROWS_OF_HOVER, *rows.ROWS_OF_PROPOSALS),
        "3D annotator": rows.ROWS_OF_VOLUMES,
        "Tracking annotator": rows.ROWS_OF_TRACKS,
        "Series of images": rows.ROWS_OF_SERIES,
    }
    parts = [KEYS_START]
    for title, those in sections.items():
        lines = [f"| `{_key(key_shown(row.keys))}` | {row.text} |" for row in those if row.keys]
        parts.append("\n".join([f"## {title}\n", "| key | does |", "|---|---|", *lines]) + "\n")
    return "\n".join(parts)


def _key(shown: str) -> str:
    return shown.lower() if len(shown) == 1 else shown


KEYS_START = """# Keys

`F1` lists the keys of a tool in its dock. All others are napari's: `Ctrl-Y` shows a volume in 3D.
While a tool is open, its keys replace those that napari has for a layer, on every layer of the viewer.

- `s` segments, in a stack or movie, the slice or frame in view.
- `t` and `d` change the points that were selected with the selection tool, if there are any.
- `w` goes, while an object of a stack or movie is open, to its least certain slice or frame.
- `Shift-1` to `Shift-9` give the selected objects, or the current one, a class.
- `n` and `Shift-N` save before they leave an image of a series.
- `Tab` and `Shift-Tab` go through buttons and menus, and `Space` presses one; the keys of the tool work meanwhile.
  `Escape` goes back to the image.
"""


if __name__ == "__main__":
    PAGE.write_text(page())
    KEYS.write_text(keys_page())
