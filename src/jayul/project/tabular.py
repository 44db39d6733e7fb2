"""Arrow tables as files: Parquet, Arrow, CSV. A value is the same bit for bit when it is read back.

CSV: UTF-8 with a mark (spreadsheets then read Korean), RFC 4180 quotes, times in ISO 8601 UTC to the nanosecond, numbers by the
shortest text that reads back as the same double, NaN, INF and -INF as in Frictionless Table Schema. A text that a spreadsheet would
take for a formula (it begins with = + - @, tab or return), or that begins with an apostrophe, gets an apostrophe in front; take it
away when reading. Numbers never get one. Empty: not known.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jayul.plant.imports.units import guarded
from jayul.project.problem import N_
from jayul.project.run import refuse

ROWS = 65_536  # at a time
MARK = b"\xef\xbb\xbf"
KINDS = {".parquet": "parquet", ".csv": "csv", ".arrow": "arrow"}


def kind_of(path: Path) -> str:
    """Return the kind of a file by its ending. Raises ManifestError for an ending that is not known."""
    if path.suffix not in KINDS:
        raise refuse(path, N_("unknown kind of file; let it end in {known}"), known=", ".join(KINDS))
    return KINDS[path.suffix]


def write(table: pa.Table, path: Path) -> None:
    """Write a table into a new file, of the kind that its ending says. Raises ManifestError, OSError."""
    kind = kind_of(path)
    if path.exists():
        raise refuse(path, N_("exists already; choose another file"))
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "parquet":
        pq.write_table(table, part, compression="zstd", row_group_size=1 << 20)
    elif kind == "arrow":
        with pa.OSFile(str(part), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
            file.write_table(table)
    else:
        with part.open("wb") as sink:
            sink.writelines((MARK, *csv(table)))
    part.replace(path)


def csv(table: pa.Table) -> Iterator[bytes]:
    """Yield the lines of a table as CSV, many at a time."""
    names = pa.array([guarded(name) for name in table.column_names], pa.string())
    yield ",".join(_quoted(names).to_pylist()).encode() + b"\n"
    if not table.num_columns:
        return
    for batch in table.to_batches(max_chunksize=ROWS):
        columns = [_texts(column).fill_null("") for column in batch.columns]
        lines = columns[0] if len(columns) == 1 else pc.binary_join_element_wise(*columns, ",")
        if len(lines):
            yield "\n".join([*lines.to_pylist(), ""]).encode()


def cells(table: pa.Table) -> Iterator[tuple[str, ...]]:
    """Yield the rows of a table as text for a screen."""
    for batch in table.to_batches():
        columns = [_texts(column, quoted=False).fill_null("").to_pylist() for column in batch.columns]
        yield from zip(*columns, strict=True)


def rows(table: pa.Table) -> list[list[Any]]:
    """Return the rows of a table as JSON has them: times and what JSON does not know as text, NaN and infinities as null."""
    columns = []
    for column in table.columns:
        kind: Any = column.type
        if pa.types.is_timestamp(kind):
            columns.append(pc.strftime(column, "%Y-%m-%dT%H:%M:%S" + ("Z" if kind.tz else "")).to_pylist())
        elif pa.types.is_floating(kind):
            columns.append(pc.if_else(pc.is_finite(column), column, None).to_pylist())
        else:
            columns.append([v if v is None or isinstance(v, bool | int | str) else str(v) for v in column.to_pylist()])
    return [list(row) for row in zip(*columns, strict=True)]


def _texts(column: pa.Array, *, quoted: bool = True) -> pa.Array:
    """Return the cells of a column."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _texts(column.dictionary, quoted=quoted).take(column.indices)
    if pa.types.is_timestamp(kind):
        return pc.strftime(column, "%Y-%m-%dT%H:%M:%S" + ("Z" if kind.tz else ""))
    if pa.types.is_floating(kind):
        text = pc.if_else(pc.is_nan(column), "NaN", column.cast(pa.string()))
        return pc.if_else(pc.is_inf(column), pc.if_else(pc.greater(column, 0.0), "INF", "-INF"), text)
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return column.cast(pa.string())
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        column = pa.array([None if cell is None else str(cell) for cell in column.to_pylist()], pa.string())
    if not quoted:
        return column
    formula = pc.match_substring_regex(column, r"\A[=+\-@\t\r']")
    return _quoted(pc.if_else(formula, pc.binary_join_element_wise("'", column, ""), column))


def _quoted(column: pa.Array) -> pa.Array:
    special = pc.match_substring_regex(column, '[",\r\n]|^$')
    double = pc.replace_substring(column, '"', '""')
    return pc.if_else(special, pc.binary_join_element_wise('"', double, '"', ""), column)
