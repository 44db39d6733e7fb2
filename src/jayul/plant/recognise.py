"""Find out how a file of records is to be read: encoding, delimiter, column of time and how times are written, units in its head.

What was found is shown to a person before anything is done with it, and what the person says counts.
"""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from jayul.core.clock import Sim
from jayul.core.expr import ExprError, parse_unit
from jayul.plant.errors import Refused
from jayul.plant.files import FORMATS, LOOKED_AT, Files, FilesConfig, Survey, load, western

SAMPLE = 1 << 20  # bytes that encoding and delimiter are found from
ENCODINGS = ("utf-8", "cp949", "utf-16")
DELIMITERS = (",", ";", "\t", "|")
TEXT = (".csv", ".txt", ".dat")
ENDINGS = (*TEXT, ".parquet", ".xlsx", ".xls", ".ods")
_UNIT = re.compile(r"[\[(]([^\[\]()]+)[\])]\s*$")
_WRITTEN = {
    "℃": "degC",
    "°C": "degC",
    "deg C": "degC",
    "C": "degC",
    "℉": "degF",
    "°F": "degF",
    "m³/h": "m3/h",
    "㎥/h": "m3/h",
    "rpm": "1/min",
}
_ATOM = re.compile(r"[^\W\d]+|%|Ω", re.ASCII)
_KNOWN = frozenset((
    "degC", "degF", "K", "%", "W", "kW", "MW", "GW", "Wh", "kWh", "MWh", "h", "min", "s", "ms", "d", "a", "m", "cm",
    "mm", "km", "um", "in", "ft", "L", "l", "mL", "hL", "t", "kg", "g", "mg", "lb", "bar", "mbar", "Pa", "hPa", "kPa",
    "MPa", "psi", "atm", "Hz", "kHz", "A", "mA", "V", "mV", "kV", "Ohm", "VA", "kVA", "var", "kvar", "J", "kJ", "MJ",
    "GJ", "cal", "kcal", "N", "kN", "Nm", "mol", "ppm", "ppb", "pH", "cP", "USD", "EUR", "KRW", "deg", "rad",
))  # fmt: skip


class Column(msgspec.Struct, frozen=True):
    """A column that becomes a tag: name, unit (empty: not known), share of rows with a number, smallest and largest of them."""

    name: str
    unit: str
    share: float
    low: float | None
    high: float | None


class Recognised(msgspec.Struct, frozen=True):
    """What a file was understood to be. `times`: all columns that may be the time."""

    config: FilesConfig
    survey: Survey
    columns: tuple[Column, ...]
    times: tuple[str, ...]


def recognise(path: Path, said: FilesConfig | None = None) -> Recognised:
    """Return how to read a file. `said`: what a person has said; empty means that it is to be found. Raises Refused."""
    if path.suffix.lower() not in ENDINGS:
        raise Refused(f"{path}: unknown kind of file '{path.suffix}'; use .csv, .parquet or .xlsx")
    config = said or _text(path)
    table = load(path, config)
    if twice := [name for name in table.column_names if table.column_names.count(name) > 1]:
        raise Refused(f"{path}: more than one column is called '{twice[0]}'; give each its own name")
    times = tuple(name for name in table.column_names if _form(table.column(name)) is not None)
    time = config.time if said and config.time in table.column_names else (times[0] if times else "")
    if not time:
        raise Refused(f"{path}: no column of time is found; the first row must name the columns, and one must hold times")
    form = said.time_format if said and said.time_format else _form(table.column(time)) or ""
    config = replace(config, path=str(path), time=time, time_format=form)
    plant = Files(config, Sim(0))
    return Recognised(config, plant.survey(), tuple(_columns(plant)), times)


def _text(path: Path) -> FilesConfig:
    """Return encoding and delimiter of a text."""
    config = FilesConfig(path=str(path))
    if path.suffix.lower() not in TEXT:
        return config
    with path.open("rb") as file:
        data = file.read(SAMPLE)
    for encoding in ("utf-16", "utf-8", "cp949") if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ENCODINGS[:2]:
        try:
            head = data[: data.rfind(b"\n") + 1 or None].decode(encoding).lstrip("\ufeff").split("\n", 1)[0]
        except UnicodeDecodeError:
            continue
        return replace(config, encoding=encoding, delimiter=max(DELIMITERS, key=head.count))
    raise Refused(f"{path}: is not 'utf-8'; give 'encoding', for Korean often cp949")


def _form(column: pa.ChunkedArray) -> str | None:
    """Return how the times of a column are written (empty: ISO 8601, or times already); None if it holds none."""
    if pa.types.is_timestamp(column.type):
        return ""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return None
    cells = [cell for cell in column.slice(0, LOOKED_AT).to_pylist() if cell]
    if not cells:
        return None
    for form in ("", *FORMATS):
        try:
            for cell in cells:
                if form:
                    dt.datetime.strptime(western(cell), form)  # noqa: DTZ007 - only whether it can be read
                else:
                    dt.datetime.fromisoformat(cell)
        except ValueError:
            continue
        return form
    return None


def _columns(plant: Files) -> list[Column]:
    values, found = plant.numbers(), []
    for i, name in enumerate(plant.tags.names):
        column = values[:, i]
        good = column[np.isfinite(column)]
        ends = (float(good.min()), float(good.max())) if len(good) else (None, None)
        found.append(Column(name, unit_in(name), len(good) / max(1, len(column)), *ends))
    return found


def unit_in(name: str) -> str:
    """Return the unit that stands at the end of a column's name, as in `Flow [m3/h]`; empty if there is none that is known."""
    match = _UNIT.search(name)
    if match is None:
        return ""
    unit = _WRITTEN.get(match[1].strip(), match[1].strip())
    atoms = _ATOM.findall(unit)
    if not unit.isascii() or not atoms or not _KNOWN.issuperset(atoms):
        return ""
    try:
        parse_unit(unit)
    except ExprError:
        return ""
    return unit
