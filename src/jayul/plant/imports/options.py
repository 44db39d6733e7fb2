"""What a person may say about a file, where the file does not say it itself."""

from __future__ import annotations

import csv
import datetime as dt
import re
from collections.abc import Mapping
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from jayul.plant.errors import Refused

QUALITY = ("", "opcua", "opcda", "aveva", "validity")
REPEATED = ("", "first", "second", "order")


class Mapped(msgspec.Struct, frozen=True):
    """What a tag map says of one column: the tag's name (empty: leave the column out), its unit, its states (word -> code)."""

    name: str
    unit: str = ""
    states: dict[str, float] = {}


class Known(msgspec.Struct, frozen=True):
    """What a run knows of a tag: unit, and states (word -> code)."""

    unit: str = ""
    states: dict[str, float] = {}


class Options(msgspec.Struct, frozen=True):
    """The options of an import; empty: the file must say it.

    `timezone`: an IANA name or an offset like `+09:00`, for times without zone. `time_format` as strptime. `day_first`: how
    03/04/2026 is read. `decimal`: `.` or `,`. `quality`: what numbers in a status column mean. `repeated`: which of the two a local
    time is in the hour that daylight saving repeats (`order`: by the order of the rows). `whole`: the last line counts though it
    has no line end. `known`: tags of the run.
    """

    timezone: str = ""
    time: str = ""
    time_format: str = ""
    day_first: bool | None = None
    sheet: str = ""
    encoding: str = ""
    delimiter: str = ""
    decimal: str = ""
    quality: str = ""
    repeated: str = ""
    whole: bool = False
    tag_map: dict[str, Mapped] = {}
    known: dict[str, Known] = {}

    def __post_init__(self) -> None:
        if self.delimiter and (len(self.delimiter) != 1 or self.delimiter in '"\r\n'):
            raise ValueError("'delimiter' must be one character")
        if self.decimal not in ("", ".", ","):
            raise ValueError("'decimal' must be . or ,")
        if self.quality not in QUALITY:
            raise ValueError("'quality' must be opcua, opcda, aveva or validity")
        if self.repeated not in REPEATED:
            raise ValueError("'repeated-hour' must be first, second or order")
        if self.encoding:
            try:
                "".encode(self.encoding)
            except LookupError:
                raise ValueError(f"encoding '{self.encoding}' is unknown; write it like utf-8, cp949 or cp1252") from None
        zone_of(self.timezone or "UTC")


def zone_of(name: str) -> dt.tzinfo:
    """Return a time zone by its IANA name, or by an offset like +09:00. Raises ValueError."""
    if found := re.fullmatch(r"([+-])(\d{2}):?(\d{2})", name):
        offset = dt.timedelta(hours=int(found[2]), minutes=int(found[3]))
        if offset < dt.timedelta(hours=24):
            return dt.timezone(-offset if found[1] == "-" else offset)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"timezone '{name}' is unknown; write it like 'Asia/Seoul'") from None


def read_tag_map(path: Path) -> dict[str, Mapped]:
    """Read a tag map: CSV (UTF-8) with the columns from, to, and if need be unit and states (`0=MAN;1=AUTO`). Raises Refused."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Refused(f"{path}: no tag map can be read here: {error}") from None
    found = dict[str, Mapped]()
    for number, cells in enumerate(rows, 2):
        if not {"from", "to"} <= set(cells) <= {"from", "to", "unit", "states"}:
            raise Refused(f"{path}: a tag map has the columns from, to, and if need be unit and states")
        row = {key: value or "" for key, value in cells.items()}  # a row may end early
        name = row["from"].strip()
        if not name or name in found:
            raise Refused(f"{path}, line {number}: 'from' is empty or stands there twice")
        found[name] = Mapped(row["to"].strip(), row.get("unit", "").strip(), _states(path, number, row.get("states", "")))
    if not found:
        raise Refused(f"{path}: a tag map has the columns from, to, and if need be unit and states")
    return found


def _states(path: Path, number: int, text: str) -> dict[str, float]:
    states = dict[str, float]()
    for part in filter(None, (part.strip() for part in text.split(";"))):
        code, _, word = part.partition("=")
        try:
            states[word.strip().casefold()] = float(code)
        except ValueError:
            raise Refused(f"{path}, line {number}: states are '{text}'; write codes such as 0=MAN;1=AUTO") from None
    return states


def states_of(states: Mapping[int, str]) -> dict[str, float]:
    """Return a tag's states as words -> codes."""
    return {word.casefold(): float(code) for code, word in states.items()}
