"""Tables out: csv, and Parquet where pyarrow is installed."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

from micro_sam.errors import OutputError
from micro_sam.io.marks import KEY, csv_header, mark
from micro_sam.io.results import check_result, write_result

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".parquet")


def check_table_path(path: str | os.PathLike[str], *, replace_unmarked: bool = False) -> None:
    """Whether a table may be written at a path; nothing is written.

    Raises
    ------
    OutputError
        When the name has another ending, a package is missing, or something else is there, see `check_result`.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise OutputError(f"A table cannot be saved as {Path(path).name!r}: the name must end in .csv or .parquet.")
    if suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise OutputError(
            'A .parquet table needs pyarrow, which is not installed: pip install "micro_sam[parquet]", or save as .csv.'
        )
    check_result(path, "table", replace_unmarked=replace_unmarked)


def save_table(path: str | os.PathLike[str], table: pd.DataFrame, *, replace_unmarked: bool = False) -> None:
    """Write a table with the mark of this program; what is at the path stays whole until the new one is complete.

    Parameters
    ----------
    path : path
        ``NAME.csv`` or ``NAME.parquet``; another ending is written as csv.
    table : DataFrame
        Its index is left out.
    replace_unmarked : bool
        Replace what exists even if it is not known to be an earlier table; it is kept as ``NAME.bak``.

    Raises
    ------
    NotOurs
        When what exists is not known to be an earlier table of this program.
    OutputError
        When it cannot be written; what was there before is intact.
    """
    with write_result(path, "table", replace_unmarked=replace_unmarked) as (place,):
        if Path(path).suffix.lower() == ".parquet":
            _write_parquet(place, table)
        else:
            lines = table.to_csv(index=False, header=False, lineterminator="\n")
            place.write_text(f"{csv_header(list(table.columns), 'table')}\n{lines}", newline="", encoding="utf-8")


def _write_parquet(place: Path, table: pd.DataFrame) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrow = pa.Table.from_pandas(table, preserve_index=False)
    pq.write_table(arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), KEY: mark("table")}), place)
