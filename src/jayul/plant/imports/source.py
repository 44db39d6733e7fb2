"""A file -> its rows or columns in pieces, and its layout. What kind of file it is, its bytes say, not its name."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from jayul.plant.errors import Refused
from jayul.plant.imports import grid, text, units
from jayul.plant.imports.cells import Words
from jayul.plant.imports.columns import Columns
from jayul.plant.imports.grid import Layout
from jayul.plant.imports.layout import lay_out
from jayul.plant.imports.options import Options
from jayul.plant.imports.sheet import Sheet, sheets
from jayul.plant.imports.text import Text

CELLS = 1 << 18  # of a piece


class Chunk(NamedTuple):
    """Rows in columns: `lines` (numbers in the file), one array a column of the layout."""

    lines: np.ndarray[Any, Any]
    columns: list[pa.Array]


class Source(NamedTuple):
    """An open file: its rows, its layout, how its times are counted (if they are numbers), its encoding and why that."""

    rows: Text | Sheet | Columns
    layout: Layout
    counted: str
    encoding: str
    why: str
    sheet: str = ""

    def chunks(self) -> Iterator[Chunk]:
        """Yield the data, piece by piece. Raises Refused."""
        if isinstance(self.rows, Columns):
            line = 1
            for columns in self.rows.batches():
                yield Chunk(np.arange(line, line + len(columns[0])), columns)
                line += len(columns[0])
            return
        width, waiting, lines = self.layout.width, list[list[str]](), list[int]()
        for row in islice(self.rows.rows(), self.layout.first, None):
            if not any(row.cells):
                continue
            cells = row.cells
            if len(cells) > width and any(cell.strip() for cell in cells[width:]):
                raise Refused(
                    f"{self.rows.path}, line {row.line}: more cells than the header has columns; is the decimal sign the delimiter?"
                )
            waiting.append(cells[:width] + [""] * (width - len(cells)))
            lines.append(row.line)
            if len(waiting) * width >= CELLS:
                yield _chunk(lines, waiting)
                waiting, lines = [], []
        if waiting:
            yield _chunk(lines, waiting)


def _chunk(lines: list[int], rows: list[list[str]]) -> Chunk:
    return Chunk(np.array(lines), [pa.array(column, pa.string()) for column in zip(*rows, strict=True)])


def kind_of(path: Path) -> str:
    """Return text, sheet, parquet, arrow or stream. Raises Refused, OSError."""
    with path.open("rb") as file:
        head = file.read(8)
    if head[:4] == b"PAR1":
        return "parquet"
    if head[:6] == b"ARROW1":
        return "arrow"
    if head[:4] == b"\xff\xff\xff\xff":
        return "stream"
    if head[:8] == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        return "sheet"
    if head[:4] == b"PK\x03\x04":
        try:
            with zipfile.ZipFile(path) as packed:
                names = set(packed.namelist())
        except zipfile.BadZipFile as error:
            raise Refused(f"{path}: cannot be unpacked: {error}") from None
        return "sheet" if names & {"xl/workbook.xml", "xl/workbook.bin", "content.xml"} else "text"
    return "text"


def open_source(path: Path, options: Options) -> Source:
    """Find out how a file is laid out, from its beginning. Raises Refused, OSError."""
    kind = kind_of(path)
    if kind == "text":
        return _open_text(path, options)
    if kind == "sheet":
        return _open_sheets(path, options)
    columns = Columns(path, kind)
    first = next(columns.batches(), [])
    shown = [[str(cell.as_py() if cell.as_py() is not None else "") for cell in column[: grid.LOOKED_AT]] for column in first]
    rows = [columns.names, *(list(row) for row in zip(*shown, strict=True))]
    if len(rows) == 1:
        raise Refused(f"{path}: no rows")
    layout, count = _layout(path, rows, options, header=[0])
    layout = _with_units(layout, columns.units)
    return Source(columns, layout, count, kind, "")


def _with_units(layout: Layout, told: Sequence[str]) -> Layout:
    return replace(layout, columns=tuple(replace(c, unit=c.unit or units.unit_of(told[c.index])) for c in layout.columns))


def _layout(path: Path, rows: list[list[str]], options: Options, header: list[int] | None = None) -> tuple[Layout, str]:
    """Return the layout, and how times are counted if they are numbers. Raises Refused."""
    width, count = max(map(len, rows), default=0), ""
    first, times = grid.time_columns(rows, width, options.time_format)
    named = options.time and first >= 0 and not any(options.time in map(units.tidy, row) for row in rows[:first])
    if first < 0 or named or not _holds(rows, first, times, options.time):
        first, times, count = grid.number_times(rows, width, options.time)
    if first < 0:
        raise grid.refuse_no_time(path, max(rows[:20], key=lambda row: sum(map(bool, row)), default=[]))
    if header is None:
        first = grid.earlier(rows, first, times[0][0])
    headers = header if header is not None else grid.header_rows(rows, first, width)
    return lay_out(path, rows, first, times, headers, options), count


def _holds(rows: list[list[str]], first: int, times: list[tuple[int, ...]], said: str) -> bool:
    """Say whether the column that is named to hold the times is among those that were found."""
    if not said:
        return True
    return any(
        said == f"#{pair[0] + 1}" or any(pair[0] < len(r) and units.tidy(r[pair[0]]) == said for r in rows[:first])
        for pair in times
    )


def _open_text(path: Path, options: Options) -> Source:
    encoding, why = text.encoding_of(path, options.encoding)
    found, refusals = list[tuple[float, int, Source]](), list[Refused]()
    for delimiter in options.delimiter or text.DELIMITERS:
        rows = Text(path, encoding, delimiter, whole=options.whole)
        try:
            sample = [row.cells for row in islice(rows.rows(), grid.LOOKED_AT)]
            layout, count = _layout(path, sample, options)
        except Refused as error:
            refusals.append(error)
            continue
        readable, columns = _readable(sample, layout)
        found.append((readable, columns, Source(rows, layout, count, encoding, why)))
    if not found:
        raise next((r for r in refusals if "no column of time" not in str(r)), refusals[0])
    found.sort(key=lambda each: each[:2], reverse=True)
    if len(found) > 1 and found[0][:2] == found[1][:2]:
        raise Refused(
            f"{path}: '{_delimiter(found[0])}' and '{_delimiter(found[1])}' may both be the delimiter; say --delimiter"
        )
    return found[0][2]


def _delimiter(found: tuple[float, int, Source]) -> str:
    return getattr(found[2].rows, "delimiter", "")


def _readable(rows: list[list[str]], layout: Layout) -> tuple[float, int]:
    """Return the share of cells of values that can be read, and how many columns of values there are."""
    places = [column.index for column in layout.columns] or [layout.value]
    good = total = 0
    either = {sign: Words(sign) for sign in ".,"}
    for row in rows[layout.first :]:
        for place in places:
            cell = row[place].strip() if place < len(row) else ""
            if cell:
                total += 1
                good += any(not (word := words.read(cell)[2]) or not re.search(r"\d", word) for words in either.values())
    return (good / total if total else 0.5), len(places)


def _open_sheets(path: Path, options: Options) -> Source:
    found, refusals = list[Source](), list[Refused]()
    for sheet in sheets(path, options.sheet):
        sample = [row.cells for row in islice(sheet.rows(), grid.LOOKED_AT)]
        try:
            layout, count = _layout(path, sample, options)
        except Refused as error:
            refusals.append(error)
            continue
        found.append(Source(sheet, layout, count, "Excel", "", sheet.name))
    if not found:
        raise next((r for r in refusals if "no column of time" not in str(r)), refusals[0])
    if len(found) > 1:
        raise Refused(f"{path}: records stand on more than one sheet ({', '.join(s.sheet for s in found)}); say --sheet")
    return found[0]
