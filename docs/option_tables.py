"""Write docs/tools/options.md: the options of all commands, from their parsers.

python docs/option_tables.py
"""

from __future__ import annotations

import argparse
import importlib
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "tools" / "options.md"
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
    """The whole page."""
    parts = [f"## {name}\n\n{parser.description}\n\n{table(parser)}\n" for name, parser in sorted(commands().items())]
    return "\n".join([START, *parts])


if __name__ == "__main__":
    PAGE.write_text(page())
