"""Excel -> rows of text cells; merged cells filled. Numbers as they are kept, times as ISO 8601, rounded to the millisecond."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path

from jayul.plant.errors import Refused
from jayul.plant.imports.text import Row

ZERO = dt.datetime(1899, 12, 30)  # noqa: DTZ001 - where spreadsheets begin to count


class Sheet:
    """The rows of one sheet. `texts`: cells that were text and begin like a number, which say what the decimal sign is."""

    kind = "sheet"
    nul, cut = 0, False

    def __init__(
        self, path: Path, name: str, rows: Sequence[Sequence[object]], merged: Sequence[tuple[tuple[int, int], tuple[int, int]]]
    ) -> None:
        self.path, self.name = path, name
        self.texts = [cell for row in rows for cell in row if isinstance(cell, str) and set(cell) & {".", ","}]
        self._cells = [[text_of(cell) for cell in row] for row in rows]
        for (top, left), (bottom, right) in merged:
            for row in range(top, min(bottom, len(rows) - 1) + 1):
                for column in range(left, min(right, len(rows[row]) - 1) + 1):
                    self._cells[row][column] = self._cells[top][left]
        self.merged = {row for (top, _), (bottom, _) in merged for row in range(top, bottom + 1)}

    def rows(self) -> Iterator[Row]:
        """Yield the rows, blank ones too."""
        yield from (Row(number, cells) for number, cells in enumerate(self._cells, 1))


def sheets(path: Path, name: str = "") -> list[Sheet]:
    """Open a workbook: all its sheets that hold anything, or the one that is named. Raises Refused."""
    try:
        import python_calamine
    except ImportError as error:
        raise Refused(f"{path}: Excel needs the extra: pip install 'jayul[excel]'") from error
    try:
        with path.open("rb") as file:
            book = python_calamine.CalamineWorkbook.from_filelike(file)
            if name and name not in book.sheet_names:
                raise Refused(f"{path}: no sheet '{name}'; there are {', '.join(book.sheet_names)}")
            found = []
            for each in [name] if name else book.sheet_names:
                sheet = book.get_sheet_by_name(each)
                rows = sheet.to_python(skip_empty_area=False)
                found.append(Sheet(path, each, rows, list(sheet.merged_cell_ranges or ())))
    except (python_calamine.CalamineError, ValueError, OSError) as error:
        raise Refused(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    filled = [sheet for sheet in found if any(any(row.cells) for row in sheet.rows())]
    if not filled:
        raise Refused(f"{path}: is empty")
    return filled


def text_of(cell: object) -> str:
    """Return a cell as text that reads back exactly."""
    match cell:
        case bool():
            return "TRUE" if cell else "FALSE"
        case float():
            return str(int(cell)) if cell.is_integer() and abs(cell) < 2**53 else repr(cell)
        case dt.datetime():
            stamp = _rounded(cell)
            return _clock(stamp.time()) if stamp.year < 1900 else f"{stamp.date().isoformat()} {_clock(stamp.time())}"
        case dt.date():
            return cell.isoformat()
        case dt.time():
            return _clock(_rounded(dt.datetime.combine(ZERO, cell)).time())
        case dt.timedelta():
            return f"{cell // dt.timedelta(hours=1):02d}:" + _clock((ZERO + cell % dt.timedelta(hours=1)).time())[3:]
        case None:
            return ""
    return str(cell)


def _rounded(stamp: dt.datetime) -> dt.datetime:
    """Round to the millisecond: days in floating point are good for no more."""
    stamp += dt.timedelta(microseconds=500)
    return stamp.replace(microsecond=stamp.microsecond // 1000 * 1000)


def _clock(time: dt.time) -> str:
    return time.isoformat(timespec="milliseconds" if time.microsecond else "seconds")
