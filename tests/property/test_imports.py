"""Any table of values, written as CSV in any of many ways, comes back exactly or is refused: never wrong."""

from __future__ import annotations

import csv
import datetime as dt
import io
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jayul.plant.errors import Refused
from jayul.plant.imports.options import Options
from jayul.plant.imports.read import batches, understand

KST = dt.timezone(dt.timedelta(hours=9))
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MS = dt.timedelta(milliseconds=1)


def korean(t: dt.datetime) -> str:
    return f"{t.year}. {t.month}. {t.day}. {'오전' if t.hour < 12 else '오후'} {t.hour % 12 or 12}:{t:%M:%S}"


def serial(t: dt.datetime) -> str:
    return f"{(t.replace(tzinfo=dt.UTC) - EPOCH) / dt.timedelta(days=1) + 25_569:.10f}"


Form = tuple[Callable[[dt.datetime], str], dt.timedelta]
FORMS: dict[str, Form] = {
    "iso": (lambda t: t.isoformat(sep=" ", timespec="milliseconds"), MS),
    "iso zone": (lambda t: t.isoformat(timespec="seconds"), 1000 * MS),
    "slashes": (lambda t: f"{t:%Y/%m/%d %H:%M}", 60_000 * MS),
    "loose": (lambda t: f"{t.year}-{t.month}-{t.day} {t.hour}:{t:%M:%S}", 1000 * MS),
    "day first": (lambda t: f"{t:%d/%m/%Y %H:%M:%S}", 1000 * MS),
    "month first": (lambda t: f"{t:%m/%d/%Y %I:%M:%S %p}", 1000 * MS),
    "dots": (lambda t: f"{t:%d.%m.%Y %H:%M:%S}", 1000 * MS),
    "dots, comma": (lambda t: f"{t:%d.%m.%Y %H:%M:%S},{t.microsecond // 1000:03}", MS),
    "two digits, day": (lambda t: f"{t:%d-%m-%y %H:%M}", 60_000 * MS),
    "two digits, year": (lambda t: f"{t:%y.%m.%d %H:%M:%S}", 1000 * MS),
    "pi": (lambda t: f"{t:%d-%b-%y %H:%M:%S}.{t.microsecond // 1000:03}", MS),
    "korean": (korean, 1000 * MS),
    "compact": (lambda t: f"{t:%Y%m%d%H%M%S}", 1000 * MS),
    "two columns": (lambda t: f"{t:%Y-%m-%d}\0{t:%H:%M:%S}", 1000 * MS),
    "two columns, day first": (lambda t: f"{t:%d/%m/%Y}\0{t:%H:%M:%S}", 1000 * MS),
    "unix s": (lambda t: str((t - EPOCH) // (1000 * MS)), 1000 * MS),
    "unix ms": (lambda t: str((t - EPOCH) // MS), MS),
    "excel": (serial, 1000 * MS),
}
NAMES = ["A", "TIC101.PV", "온도", "탑저 온도 2", "Füllstand", "x,y;z", 'q"q', "Flow_1", "압력.현재값", "T"]
UNITS = ["", "", "degC", "m3/h", "%", "℃"]
WORDS = {"No Data": 0x809B0000, "Bad": 0x80000000, "통신불량": 0x80050000, "-": 0x809B0000, "I/O Timeout": 0x800A0000}

figures = st.one_of(
    st.integers(-10_000_000, 10_000_000).map(str),
    st.decimals(-100_000, 100_000, places=1).map(str),
    st.decimals(-100_000, 100_000, places=3).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["0", "0.5", "1.234", "12.345", "1234", "1234567", "999.999", "-1.500"]),
)
cells = st.one_of(figures, figures, figures, st.just(""), st.sampled_from(sorted(WORDS)))
moments = st.datetimes(dt.datetime(1995, 1, 1), dt.datetime(2037, 12, 31), timezones=st.just(KST))  # noqa: DTZ001 - the strategy gives the zone


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[dt.datetime], list[list[str]]]:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    start, step = draw(moments), draw(st.sampled_from([1, 60, 3600, 86_400, 86_400 * 31]))
    count = draw(st.integers(1, 15))
    times = draw(
        st.just([start + i * dt.timedelta(seconds=step) for i in range(count)]) | st.lists(moments, min_size=1, max_size=8)
    )
    return names, times, [[draw(cells) for _ in names] for _ in times]


def number(text: str, decimal: str, *, thousands: bool) -> str:
    """Write a figure with a decimal sign, and its thousands apart if asked for."""
    if text in WORDS or not text:
        return text
    head, e, power = text.partition("e")
    whole, dot, part = head.partition(".")
    if thousands and not e and len(whole.lstrip("-")) > 3:
        whole = f"{int(whole):,}".replace(",", "." if decimal == "," else ",")
    return whole + (decimal if dot else "") + part + e + power


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    tables(), st.sampled_from(sorted(FORMS)), st.sampled_from([",", ";", "\t", "|"]), st.sampled_from([".", ","]), st.booleans(),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp949", "cp1252"]), st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), st.booleans(), st.sampled_from(["time", "일시", "Timestamp"]), st.data(),
)  # fmt: skip
def test_a_table_comes_back_exactly_or_is_refused(
    table, form, delimiter, decimal, thousands, encoding, end, quoting, whole, head, data
) -> None:  # type: ignore[no-untyped-def]
    names, times, figures = table
    units = [data.draw(st.sampled_from(UNITS)) for _ in names]
    write, step = FORMS[form]
    times = [t - ((t - EPOCH) % step) for t in times]
    out = io.StringIO()
    lines = csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=quoting)
    two = form.startswith("two columns")
    shown = [f"{name} [{unit}]" if unit else name for name, unit in zip(names, units, strict=True)]
    lines.writerow([*(["Date", "Time"] if two else [head]), *shown])
    for t, row in zip(times, figures, strict=True):
        at = (
            (t if form == "iso zone" or form.startswith("unix") else t.replace(tzinfo=None))
            if form != "excel"
            else t.replace(tzinfo=None)
        )
        lines.writerow([*write(at).split("\0"), *(number(cell, decimal, thousands=thousands) for cell in row)])
    text = out.getvalue() if whole else out.getvalue().removesuffix(end)
    try:
        raw = text.encode(encoding)
    except UnicodeEncodeError:
        return
    wanted = expected(names, times if whole else times[:-1], figures)
    got = read(raw)
    assert got is None or got == wanted or (not whole and got == expected(names, times, figures))


def expected(names: list[str], times: list[dt.datetime], figures: list[list[str]]) -> Counter[tuple[str, int, str, int]]:
    found = Counter[tuple[str, int, str, int]]()
    for t, row in zip(times, figures, strict=False):
        for name, cell in zip(names, row, strict=True):
            if cell:
                value = math.nan if cell in WORDS else float(cell)
                found[name, (t - EPOCH) // MS * 1_000_000, repr(value + 0.0), WORDS.get(cell, 0)] += 1
    return found


def read(raw: bytes) -> Counter[tuple[str, int, str, int]] | None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_bytes(raw)
        try:
            imported = understand(path, Options(timezone="Asia/Seoul"))
            found = Counter[tuple[str, int, str, int]]()
            for batch in batches(imported, 0):
                for tag, at, value, status in zip(*(column.tolist() for column in batch[:4]), strict=True):
                    found[imported.names[tag], at, repr(value + 0.0), status] += 1
        except Refused:
            return None
    return found
