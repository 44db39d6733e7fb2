"""Reading times, whole columns at once: text in the forms that exports use, numbers (Unix, Excel), typed columns.

Naive times are int64 ns as if they were UTC; `offset` is what the cell says of its zone (ns), `NONE` where it says nothing.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jayul.core.types import SECOND
from jayul.plant.files import western

NONE = np.iinfo(np.int64).min
DAY = 86_400 * SECOND
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
ZONES = {"z": 0, "utc": 0, "gmt": 0, "kst": 9 * 3600, "jst": 9 * 3600}
Array = np.ndarray[Any, Any]

_WEEKDAY = r"(?: ?\(?[월화수목금토일](?:요일)?\)?)?"
_DATES = {  # a, b, c: an order that the cell alone does not tell
    "ymd": r"(?P<y>\d{4})[-/.] ?(?P<m>\d{1,2})[-/.] ?(?P<d>\d{1,2})\.?" + _WEEKDAY,
    "ymd8": r"(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})",
    "korean": r"(?P<y>\d{4})년 ?(?P<m>\d{1,2})월 ?(?P<d>\d{1,2})일" + _WEEKDAY,
    "dots": r"(?P<d>\d{1,2})\. ?(?P<m>\d{1,2})\. ?(?P<y>\d{4})",
    "dmon": r"(?P<d>\d{1,2})[- /.]?(?P<mon>[A-Za-z]{3,9})[- /.]?(?P<y>\d{4}|\d{2})",
    "mond": r"(?P<mon>[A-Za-z]{3,9})\.? (?P<d>\d{1,2}),? (?P<y>\d{4})",
    "abc": r"(?P<a>\d{1,2})[-/] ?(?P<b>\d{1,2})[-/] ?(?P<c>\d{4})",
    "abcc": r"(?P<a>\d{2})[-/.] ?(?P<b>\d{2})[-/.] ?(?P<c>\d{2})\.?",
}
_HALF = "오전|오후|[AaPp]\\.?[Mm]\\.?"
_ZONE = r"(?: ?(?P<z>[Zz]|UTC|GMT|KST|JST|[+-]\d{2}:?\d{2}|[+-]\d{2}))?"
_CLOCK = rf"(?P<p>{_HALF})? ?(?P<H>\d{{1,2}}):(?P<M>\d{{2}})" + (
    rf"(?::(?P<S>\d{{2}})(?:[.,](?P<f>\d{{1,9}})|:(?P<ms>\d{{3}}))?)? ?(?P<q>{_HALF})?"
)
_CLOCKS = {
    "clock": rf"(?: ?T| +|, ?){_CLOCK}{_ZONE}",
    "none": "",
    "korean": rf" ?(?P<p>{_HALF})? ?(?P<H>\d{{1,2}})시(?: ?(?P<M>\d{{1,2}})분(?: ?(?P<S>\d{{1,2}})초)?)?",
    "compact": rf"[T ]?(?P<H>\d{{2}})(?P<M>\d{{2}})(?P<S>\d{{2}})(?:\.(?P<f>\d{{1,9}}))?{_ZONE}",
}
SHAPES = {
    f"{date} {clock}": rf"^{_DATES[date]}{_CLOCKS[clock]}$"
    for clock in _CLOCKS
    for date in _DATES
    if clock != "compact" or date == "ymd8"
}
ONLY_CLOCK = rf"^{_CLOCK}$"
_NUMBER = r"^(?P<i>\d+)(?:[.,](?P<f>\d{1,12}))?$"
NUMBERS = {  # unit in ns, least and highest plausible figure: 1990 to 2100
    "Excel serial": (0, 32_874, 73_051),
    "Unix s": (SECOND, 631_152_000, 4_102_444_800),
    "Unix ms": (SECOND // 1000, 631_152_000_000, 4_102_444_800_000),
    "Unix us": (1000, 631_152_000_000_000, 4_102_444_800_000_000),
    "Unix ns": (1, 631_152_000_000_000_000, 4_102_444_800_000_000_000),
}
ORDERS = {"abc": ("dmy", "mdy"), "abcc": ("ymd", "dmy", "mdy")}


class Parsed(NamedTuple):
    """Columns: `naive` and `offset` int64 ns, `ok` bool; `shapes`: which forms were met."""

    naive: Array
    offset: Array
    ok: Array
    shapes: frozenset[str]


class Orders:
    """What the cells of a column leave of the orders of day and month."""

    def __init__(self) -> None:
        self.left = {kind: list(orders) for kind, orders in ORDERS.items()}
        self.example: dict[str, str] = {}
        self.differ: set[tuple[str, str, str]] = set()

    def add(self, cells: pa.Array) -> None:
        """Look at more cells."""
        cells = cells.filter(pc.match_substring_regex(cells, r"^\d{1,2}[-/.]"))
        if not len(cells):
            return
        for kind in ORDERS:
            for clock in _CLOCKS:
                if (pattern := SHAPES.get(f"{kind} {clock}")) is None:
                    continue
                if (found := _extract(cells, pattern)) is not None:
                    self._judge(kind, found, cells)

    def _judge(self, kind: str, found: dict[str, pa.Array], cells: pa.Array) -> None:
        there = pc.is_valid(found["a"]).to_numpy(zero_copy_only=False)
        a, b, c = (_ints(found[name])[there] for name in "abc")
        days = {order: _days(*_ordered(order, a, b, c)) for order in ORDERS[kind]}
        self.left[kind] = [order for order in self.left[kind] if (days[order] != NONE).all()]
        for one in ORDERS[kind]:
            for other in ORDERS[kind]:
                if one < other and (days[one] != days[other]).any():
                    self.differ.add((kind, one, other))
        self.example.setdefault(kind, str(cells.filter(pa.array(there))[0].as_py()))

    def settle(self) -> dict[str, str]:
        """Return the order of each form that was met. `''`: several are possible; `'none'`: none fits all cells."""
        settled = dict[str, str]()
        for kind in self.example:
            left = self.left[kind]
            same = all((kind, *sorted((left[0], other))) not in self.differ for other in left[1:]) if left else True
            settled[kind] = "none" if not left else left[0] if same else ""
        return settled


def parse(cells: pa.Array, orders: dict[str, str], hint: list[str]) -> Parsed:
    """Read text cells; `hint` holds the forms, those that were met first."""
    n = len(cells)
    naive, offset, ok, met = np.zeros(n, np.int64), np.full(n, NONE, np.int64), np.zeros(n, bool), set[str]()
    todo = pc.is_valid(cells).to_numpy(zero_copy_only=False).copy()
    for shape in list(hint):
        if not todo.any():
            break
        index = np.flatnonzero(todo)
        found = _extract(cells.take(pa.array(index)) if len(index) < n else cells, SHAPES[shape])
        if found is None:
            continue
        first = next(iter(found.values()))
        there = pc.is_valid(first).to_numpy(zero_copy_only=False)
        order = orders.get(shape.split()[0], "")
        at, zone, good = _stamp(found, order if "a" in found else "ymd")
        index, at, zone, good = index[there], at[there], zone[there], good[there]
        naive[index], offset[index], ok[index], todo[index] = at, zone, good, False
        met.add(shape)
        hint.remove(shape)
        hint.insert(0, shape)
    return Parsed(naive, offset, ok, frozenset(met))


def parse_clock(cells: pa.Array) -> Array:
    """Return which cells are a time of day without a date."""
    return np.asarray(pc.match_substring_regex(cells, ONLY_CLOCK).fill_null(False).to_numpy(zero_copy_only=False))


def parse_numbers(cells: pa.Array, kind: str) -> Parsed:
    """Read cells that count seconds (Unix, UTC) or days (Excel, local)."""
    n, (unit, low, high) = len(cells), NUMBERS[kind]
    naive, offset, ok = np.zeros(n, np.int64), np.full(n, NONE, np.int64), np.zeros(n, bool)
    found = _extract(cells, _NUMBER)
    if found is not None:
        there = pc.is_valid(found["i"]).to_numpy(zero_copy_only=False)
        whole = _ints(found["i"], longest=19)
        digits = pc.utf8_rpad(pc.fill_null(found["f"], ""), 12, "0")
        part = _ints(digits, longest=12)
        ok = there & (whole >= low) & (whole < high)
        if unit:
            per = unit if unit > 1 else 1
            naive = np.where(ok, whole, 0) * per + (part // (10**12 // per) if per > 1 else 0)
            offset[:] = 0
        else:  # days since 1899-12-30; spreadsheets keep them in floating point, good for a millisecond
            ms = np.rint(part * (86_400_000 / 10**12)).astype(np.int64)
            naive = (np.where(ok, whole, 0) - 25_569) * DAY + ms * (SECOND // 1000)
    return Parsed(np.where(ok, naive, 0), offset, ok, frozenset({kind}))


def number_kind(cells: pa.Array) -> str:
    """Return which count of time all the cells may be, or nothing: the ranges do not overlap."""
    for kind in NUMBERS:
        if len(cells) and parse_numbers(cells, kind).ok.all():
            return kind
    return ""


def parse_format(cells: pa.Array, form: str) -> Parsed:
    """Read cells by a format as strptime has it; 24:00:00 is the next midnight."""
    memo = dict[str | None, tuple[int, int, bool]]()
    rows = []
    for cell in cells.to_pylist():
        if cell not in memo:
            memo = memo if len(memo) < 100_000 else {}
            memo[cell] = _strptime(cell, form)
        rows.append(memo[cell])
    naive, offset, ok = (np.array(column) for column in zip(*rows, strict=True)) if rows else (np.zeros(0),) * 3
    return Parsed(naive.astype(np.int64), offset.astype(np.int64), ok.astype(bool), frozenset({form}))


def _strptime(cell: str | None, form: str) -> tuple[int, int, bool]:
    text, late = western(cell or ""), 0
    if re.search(r"(?<!\d)24:00(?::00)?(?![\d:])", text):
        text, late = re.sub(r"(?<!\d)24:00", "00:00", text), DAY
    try:
        stamp = dt.datetime.strptime(text, form)  # noqa: DTZ007 - its zone is taken apart below
    except ValueError:
        return 0, NONE, False
    zone = stamp.utcoffset()
    since = stamp.replace(tzinfo=None) - dt.datetime(1970, 1, 1)  # noqa: DTZ001 - naive on purpose
    naive = since // dt.timedelta(microseconds=1) * 1000 + late
    return naive, NONE if zone is None else zone // dt.timedelta(seconds=1) * SECOND, True


def parse_typed(cells: pa.Array) -> Parsed:
    """Read a column of dates or timestamps, which say their zone by their type."""
    kind = cells.type
    zoned = pa.types.is_timestamp(kind) and kind.tz is not None
    at = cells.cast(pa.timestamp("ns", kind.tz) if zoned else pa.timestamp("ns")).cast(pa.int64())
    ok = pc.is_valid(at).to_numpy(zero_copy_only=False)
    naive = at.fill_null(0).to_numpy(zero_copy_only=False)
    return Parsed(naive, np.full(len(naive), 0 if zoned else NONE, np.int64), ok, frozenset({str(kind)}))


def _extract(cells: pa.Array, pattern: str) -> dict[str, pa.Array] | None:
    """Return the named groups, null where a cell does not match; None if no cell does."""
    found = pc.extract_regex(cells, pattern)
    if found.null_count == len(found):
        return None
    return {field.name: part for field, part in zip(found.type, found.flatten(), strict=True)}


def _ints(part: pa.Array, longest: int = 9) -> Array:
    """Return digits as int64; what is empty or absent is 0."""
    digits = pc.if_else(pc.match_substring_regex(part, rf"^\d{{1,{longest}}}$"), part, "0")
    try:
        return np.asarray(digits.fill_null("0").cast(pa.int64()).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid:  # nineteen digits may be too much
        return np.array([min(int(text), 2**62) for text in digits.fill_null("0").to_pylist()], np.int64)


def _ordered(order: str, a: Array, b: Array, c: Array) -> tuple[Array, Array, Array]:
    """Return year, month, day."""
    return {"ymd": (a, b, c), "dmy": (c, b, a), "mdy": (c, a, b)}.get(order, (a * 0 - 1, b, c))


def _days(year: Array, month: Array, day: Array) -> Array:
    """Return days since 1970, NONE where there is no such day."""
    year = np.where((year >= 0) & (year < 70), year + 2000, np.where((year >= 70) & (year < 100), year + 1900, year))
    ok = (year >= 1900) & (year <= 2200) & (month >= 1) & (month <= 12)
    first = np.where(ok, (year - 1970) * 12 + month - 1, 0).astype("datetime64[M]")
    start = first.astype("datetime64[D]").astype(np.int64)
    length = (first + 1).astype("datetime64[D]").astype(np.int64) - start
    ok &= (day >= 1) & (day <= length)
    return np.where(ok, start + day - 1, NONE)


def _stamp(found: dict[str, pa.Array], order: str) -> tuple[Array, Array, Array]:
    """Return naive ns, offset ns and whether it is a time."""
    n = len(next(iter(found.values())))
    zero = np.zeros(n, np.int64)
    if "a" in found:
        year, month, day = _ordered(order, *(_ints(found[name]) for name in "abc"))
    else:
        year, day = _ints(found["y"]), _ints(found["d"])
        month = _ints(found["m"]) if "m" in found else _month(found["mon"])
    days = _days(year, month, day)
    hour, minute, second = (_ints(found[name]) if name in found else zero for name in "HMS")
    part = zero
    for name in ("f", "ms"):
        if name in found:
            part = part + _ints(pc.utf8_rpad(pc.fill_null(found[name], ""), 9, "0"))
    good = (days != NONE) & (minute < 60) & (second < 60)
    half = np.zeros(n, np.int8)
    for name in ("p", "q"):
        if name in found:
            text = pc.utf8_lower(pc.fill_null(found[name], ""))
            late = pc.or_(pc.starts_with(text, "p"), pc.equal(text, "오후"))
            early = pc.or_(pc.starts_with(text, "a"), pc.equal(text, "오전"))
            half = half + 2 * late.to_numpy(zero_copy_only=False) + early.to_numpy(zero_copy_only=False)
    midnight = (hour == 24) & (minute == 0) & (second == 0) & (part == 0)
    good &= np.where(half == 0, (hour < 24) | midnight, (hour <= 12) & (half <= 2))
    hour = np.where(half == 0, hour, hour % 12 + np.where(half == 2, 12, 0))
    at = np.where(good, days, 0) * DAY + ((hour * 60 + minute) * 60 + second) * SECOND + part
    return at, _offset(found["z"], n) if "z" in found else np.full(n, NONE, np.int64), good


def _month(part: pa.Array) -> Array:
    """Return months by their English names."""
    short = pc.utf8_lower(pc.utf8_slice_codeunits(pc.fill_null(part, ""), 0, 3))
    place = pc.index_in(short, pa.array(MONTHS))
    return np.asarray(pc.fill_null(place, -1).to_numpy(zero_copy_only=False)).astype(np.int64) + 1


def _offset(part: pa.Array, n: int) -> Array:
    """Return offsets from UTC (ns), NONE where there is none; few differ, so they are read one by one."""
    offset = np.full(n, NONE, np.int64)
    coded = pc.dictionary_encode(pc.fill_null(part, ""))
    for code, text in enumerate(coded.dictionary.to_pylist()):
        if not text:
            continue
        if text.lower() in ZONES:
            seconds = ZONES[text.lower()]
        else:
            digits = text[1:].replace(":", "").ljust(4, "0")
            seconds = (int(digits[:2]) * 3600 + int(digits[2:]) * 60) * (-1 if text[0] == "-" else 1)
        offset[coded.indices.to_numpy() == code] = seconds * SECOND
    return offset
