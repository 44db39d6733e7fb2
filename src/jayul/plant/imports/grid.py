"""Which rows of a table are headers, units, data; which column is what; one tag a column (wide) or one sample a row (long)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
import pyarrow as pa

from jayul.plant.errors import Refused
from jayul.plant.imports import times
from jayul.plant.imports.cells import QUALITIES, whole
from jayul.plant.imports.units import is_unit, tidy, unit_of

TIME = (
    "time|timestamp|time stamp|datetime|date time|date/time|date|source_at|ts|t_stamp|timestring|time string|"
    "epoch|unix time|unixtime|"
    "시간|시각|일시|일자|날짜|측정시간|측정일시|측정시각|수집일시|수집시간|기록시간|타임스탬프|zeit|datum|"
    "zeitstempel|datum/zeit|sample time|_time"
)
TAG = (
    "tag|tagname|tag name|tag_name|tag id|tagid|tag_id|point|pointname|point name|point id|varname|variable|"
    "itemid|item|item name|태그|태그명|태그이름|포인트|포인트명|변수명|변수|항목|signal|name|series"
)
VALUE = "value|val|pv|varvalue|data value|itemcurrentvalue|측정값|값|데이터|측정치|현재값|wert|_value|vvalue"
STATUS = (
    "status|quality|qual|state of value|opcquality|validity|varvalid|statuscode|status code|품질|상태|신뢰도|"
    "데이터상태|q|quality code"
)
UNIT = "unit|units|engunits|eng units|engineering units|uom|eu|단위|einheit"
SKIP = "no|no.|번호|순번|index|row|#|idx|known_at|seen_at|tick"
LABELS = {
    "unit": UNIT, "name": "tag|tagname|tag name|tag id|name|point name|태그|태그명|태그이름|포인트명",
    "about": "description|descriptor|desc|comment|설명|태그설명|명칭|descr",
}  # fmt: skip
WORDS = {
    role: frozenset(words.split("|"))
    for role, words in {
        "time": TIME,
        "tag": TAG,
        "value": VALUE,
        "status": STATUS,
        "unit": UNIT,
        "skip": SKIP,
        **LABELS,
    }.items()
} | {"tag": frozenset(TAG.split("|")), "unit": frozenset(UNIT.split("|"))}
_IN_NAME = re.compile(r"^(?P<name>.*\S)\s*(?:\[(?P<a>[^\]]*)\]|[(（](?P<b>[^()（）]*)[)）])$", re.DOTALL)
_STATUS_OF = re.compile(
    r"^(?P<name>.+?)[\s._\-:/(]+(?P<word>status|quality|qual|품질|상태|validity|opcquality)\)?$", re.I | re.S
)
_FIGURE = re.compile(r"[+-]?\d+(?:[.,]\d+)*(?:[eE][+-]?\d+)?")
LOOKED_AT = 400  # rows


class Column(msgspec.Struct, frozen=True):
    """A tag's column: position, name, unit; position of its status column, or -1; positions of its column(s) of time."""

    index: int
    name: str
    unit: str
    status: int
    times: tuple[int, ...]
    about: str = ""


class Layout(msgspec.Struct, frozen=True):
    """How a table is laid out. Rows and columns from 0. Wide: `columns`. Long: `tag`, `value`, `unit`, `status`, `times`."""

    kind: str
    first: int  # row of the first data
    width: int
    names: tuple[str, ...]  # as the header has them
    headers: tuple[int, ...]
    columns: tuple[Column, ...] = ()
    tag: int = -1
    value: int = -1
    unit: int = -1
    status: int = -1
    times: tuple[int, ...] = ()
    exact: bool = False  # an export of our own: status and value as they stand
    left_out: tuple[str, ...] = ()


def is_word(text: str, role: str) -> bool:
    """Say whether a header is one of the usual words for this role."""
    plain = tidy(re.sub(r"[(\[].*?[)\]]\s*$", "", text)).casefold().strip(" :*#")
    return plain in WORDS[role] or plain.replace("_", " ") in WORDS[role]


def split_unit(header: str) -> tuple[str, str]:
    """Return name and unit of a header such as `Flow [m3/h]` or `온도(℃)`."""
    if found := _IN_NAME.match(header):
        unit = found["a"] if found["a"] is not None else found["b"]
        if is_unit(unit):
            return found["name"].strip(), unit_of(unit)
    return header, ""


def _look(rows: Sequence[Sequence[str]], width: int, form: str) -> tuple[list[list[bool]], list[list[bool]]]:
    """Return for each column and row whether the cell is a date (with or without a time of day), and a time of day alone."""
    dated, clocks = [], []
    hint = list(times.SHAPES)
    for column in range(width):
        cells = pa.array([row[column].strip() if column < len(row) else "" for row in rows], pa.string())
        clocks.append(list(times.parse_clock(cells)))
        if form:
            dated.append(list(times.parse_format(cells, form).ok))
            continue
        found = [
            times.parse(cells, {"abc": "dmy", "abcc": order}, hint).ok
            | times.parse(cells, {"abc": "mdy", "abcc": "dmy"}, hint).ok
            for order in ("ymd", "mdy")
        ]
        dated.append(list(found[0] | found[1]))
    return dated, clocks


def time_columns(rows: Sequence[Sequence[str]], width: int, form: str = "") -> tuple[int, list[tuple[int, ...]]]:
    """Return the first row of data and the columns of time, each alone or with the time of day beside it. (-1, []) if none."""
    dated, clocks = _look(rows, width, form)
    blank = [not any(cell.strip() for cell in row) for row in rows]
    best, first, last = 0, -1, -1
    for column in range(width):
        marks = dated[column]
        starts = [r for r in range(len(rows)) if marks[r] and _goes_on(marks, blank, r)]
        count = sum(marks[starts[0] :]) if starts else 0
        if count > best:
            best, first = count, starts[0]
            last = max(r for r in range(len(rows)) if marks[r])
    if first < 0:
        return -1, []
    inside = [r for r in range(first, last + 1) if not blank[r]]
    filled = [[r for r in inside if column < len(rows[r]) and rows[r][column].strip()] for column in range(width)]

    def share(marks: list[bool], column: int) -> float:
        return sum(marks[r] for r in filled[column]) / len(filled[column]) if filled[column] else 0.0

    full = [column for column in range(width) if share(dated[column], column) >= 0.5]
    written = [column for column in full if not all(rows[r][column].strip().isdecimal() for r in filled[column])]
    if not full:
        return -1, []
    full = written or full[:1]  # figures such as 20260103 may be anything beside a column of times
    found: list[tuple[int, ...]] = []
    for column in full:
        beside = column + 1
        if beside < width and share(clocks[beside], beside) >= 0.5 and not any(":" in rows[r][column] for r in filled[column]):
            found.append((column, beside))
        else:
            found.append((column,))
    return first, found


def _goes_on(marks: list[bool], blank: list[bool], row: int) -> bool:
    """Say whether the next row that is not blank holds a time, too (or nothing follows)."""
    later = [r for r in range(row + 1, len(marks)) if not blank[r]]
    return not later or marks[later[0]] or (len(later) <= 3 and row > 0)


def earlier(rows: Sequence[Sequence[str]], first: int, at: int) -> int:
    """Return the first row of data, counting rows above whose time cannot be read: they are data to be refused, no header."""
    row = first - 1
    while row >= 0 and any(cell.strip() for cell in rows[row]):
        cells = [cell.strip() for cell in rows[row]]
        time = cells[at] if at < len(cells) else ""
        if not any(_FIGURE.fullmatch(cell) for c, cell in enumerate(cells) if c != at) or (time and not time[0].isdigit()):
            break
        first, row = row, row - 1
    return first


def number_times(rows: Sequence[Sequence[str]], width: int, said: str) -> tuple[int, list[tuple[int, ...]], str]:
    """Find a column that counts time and is named so (or named by `said`): first row of data, columns, kind of count."""
    for row in range(min(len(rows), 40)):
        for column in range(min(width, len(rows[row]))):
            header = rows[row][column]
            if not (tidy(header) == said if said else is_word(header, "time")):
                continue
            below = [(r, rows[r][column].strip()) for r in range(row + 1, len(rows)) if column < len(rows[r])]
            cells = [(r, cell) for r, cell in below if re.fullmatch(r"\d+([.,]\d+)?", cell)]
            kind = times.number_kind(pa.array([cell for _, cell in cells], pa.string()))
            if kind and len(cells) >= 0.5 * sum(bool(cell) for _, cell in below):
                return cells[0][0], [(column,)], kind
    return -1, [], ""


def header_rows(rows: Sequence[Sequence[str]], first: int, width: int) -> list[int]:
    """Return the rows above the data that name the columns: those next to it with cells enough, no titles or comments."""
    found: list[int] = []
    least = max(2, (sum(bool(cell.strip()) for cell in rows[first]) + 1) // 2)
    for row in range(first - 1, max(first - 9, -1), -1):
        cells = [cell.strip() for cell in rows[row]]
        count = sum(bool(cell) for cell in cells)
        if not count and not found:
            continue
        distinct = len({cell for cell in cells if cell})
        labelled = cells and is_any_label(cells[0])
        united = bool(count) and all(is_unit(cell) for cell in cells if cell)
        if united:
            found.insert(0, row)
            continue
        if count < (2 if labelled or found else least) or (distinct < 2 and width > 2 and not labelled):
            if count and not found and width > 2:
                continue
            break
        if any(_FIGURE.fullmatch(cell) for cell in cells) and not labelled:
            if found:
                break
            continue
        found.insert(0, row)
    return found


def is_any_label(text: str) -> bool:
    """Say whether the first cell of a header row says what the row holds."""
    return any(is_word(text, role) for role in ("unit", "name", "about", "time"))


def looks_like_status(cells: Sequence[str]) -> bool:
    """Say whether all cells are words or numbers of quality."""
    filled = [cell.strip().casefold() for cell in cells if cell.strip()]
    return bool(filled) and all(cell in QUALITIES or whole(cell) is not None for cell in filled)


def status_base(header: str) -> str:
    """Return the name of the tag whose status a column called this would hold, or nothing."""
    found = _STATUS_OF.match(header)
    return tidy(found["name"]) if found else ""


def refuse_no_time(path: object, names: Sequence[str]) -> Refused:
    """Return the error for a table without time."""
    if known := ", ".join(name for name in names if name)[:200]:
        return Refused(f"{path}: no column of time is found among {known}; name it with --time, its form with --time-format")
    return Refused(f"{path}: no column of time is found; is it a table of records?")
