"""Tables of numbers as programs and spreadsheets write them: byte order marks, separators, decimal commas."""

from __future__ import annotations

import codecs
import csv
import logging
import re
from pathlib import Path

import numpy as np

from micro_sam.errors import InputError

log = logging.getLogger(__name__)

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_NOTHING = {"", "nan", "na", "n/a", "none", "null", "-nan", "<na>"}
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")


class Table:
    """The lines of a text file with a header.

    Attributes
    ----------
    columns : list of str
        In small letters, with ``_`` instead of other signs.
    lines : list of (number of the line in the file, cells)
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        text = _text(path).lstrip("\n")
        first, _, rest = text.partition("\n")
        separator = None
        if re.fullmatch(r"sep=.\s*", first):  # Excel's word about its separator
            separator, text = first[4], rest
            first = rest.partition("\n")[0]
        outside = re.sub(r'"[^"]*"', "", first)
        self.separator = separator or next((sign for sign in "\t;, " if sign in outside.strip()), ",")
        try:
            reader = csv.reader(text.splitlines(), delimiter=self.separator, skipinitialspace=True)
            lines = [(reader.line_num, line) for line in reader if any(cell.strip() for cell in line)]
        except csv.Error as error:
            raise InputError(f"{path} is no table: {error}.") from error
        header = lines[0][1] if lines else []
        self.columns = [re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_") for name in header]
        once = {tuple(line): (number, line) for number, line in reversed(lines[1:])}
        if len(once) < len(lines) - 1:
            log.info("%s has %d lines twice; they are used once.", path, len(lines) - 1 - len(once))
        self.lines = list(reversed(once.values()))
        # TrackMate writes three more lines of names and units below the header
        while len(self.lines) > 1 and self.lines[0][0] <= 4 and not any(map(_is_number, self.lines[0][1])):
            self.lines = self.lines[1:]

    def column(self, name: str) -> np.ndarray:
        """The numbers of a column; NaN where the cell is empty."""
        k = self.columns.index(name)
        return np.array([self._number(number, line, k) for number, line in self.lines], float)

    def _number(self, number: int, line: list[str], k: int) -> float:
        cell = line[k].strip() if k < len(line) else ""
        if cell.lower() in _NOTHING:
            return np.nan
        if self.separator != "," and _DECIMAL_COMMA.fullmatch(cell):
            cell = cell.replace(",", ".")
        try:
            return float(cell)
        except ValueError:
            raise InputError(
                f"Line {number} of {self.path} has {cell[:40]!r} in the column {self.columns[k]}, which is no number."
            ) from None


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True


def _text(path: Path) -> str:
    raw = path.read_bytes()
    encoding = next((name for start, name in _MARKS if raw.startswith(start)), "utf-8")
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        text = raw.decode("latin-1")  # an old spreadsheet; numbers and names of columns are plain letters
    if "\0" in text:
        raise InputError(f"{path} is no table of text: it has zero bytes.")
    return text.replace("\r\n", "\n").replace("\r", "\n")
