"""JSON payloads by a template: where value, time and status stand. What cannot be read is a bad reading, never an error."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from jayul.core.types import BAD, SECOND
from jayul.plant.newest import TYPE_MISMATCH

UNDECODED = 0x8007_0000  # OPC UA Bad_DecodingError
UNCERTAIN = 0x4000_0000
LAST_USABLE = 0x4090_0000  # OPC UA Uncertain_LastUsableValue
LARGEST = 1024 * 1024  # bytes of one JSON payload
NOTHING: Any = object()  # a place of a document where nothing stands
Path: TypeAlias = tuple[str, ...]
_UNITS = {"s": SECOND, "ms": SECOND // 1000, "ns": 1}
_ISO = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9})\d*)?(Z|z|[+-]\d\d:\d\d)?", re.ASCII)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_JUNK = (msgspec.MsgspecError, ValueError, OverflowError, RecursionError, MemoryError)


class PayloadConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where things stand: dotted names, `[0]` or `.0` for a place in a list; an empty `value` is a payload that is the bare number.

    An empty `time` or `status` is not sent. `time_unit`: ISO 8601 text (UTC if it names no offset), or a count since 1970.
    A status is an OPC UA code, or Good, Uncertain, Bad, or true and false; without one a value is good.
    """

    value: str = "value"
    time: str = "time"
    status: str = "status"
    time_unit: Literal["iso", "s", "ms", "ns"] = "iso"

    def __post_init__(self) -> None:
        for text in (self.value, self.time, self.status):
            path(text)


class Sample(NamedTuple):
    """One value as a payload gives it; `source_at` (ns) is None where it names no time."""

    value: float
    status: int
    source_at: int | None


@lru_cache(maxsize=1024)
def path(text: str) -> Path:
    """Read a place such as `pv.values[0]`. Raises ValueError."""
    parts = tuple(text.replace("[", ".").replace("]", "").split(".")) if text else ()
    if not all(parts):
        raise ValueError(f"'{text}' is no place in a payload; write it as 'pv.value' or 'values[0]'")
    return parts


def document(payload: bytes) -> Any:
    """Decode a payload; NOTHING if it is not JSON."""
    if len(payload) > LARGEST:
        return NOTHING
    try:
        return msgspec.json.decode(payload)
    except _JUNK:
        return NOTHING


def find(document: Any, place: Path) -> Any:
    """Return what stands at a place of a document, or NOTHING."""
    for part in place:
        if isinstance(document, dict):
            document = document.get(part, NOTHING)
        elif isinstance(document, list) and part.isascii() and part.isdecimal() and len(part) < 9 and int(part) < len(document):
            document = document[int(part)]
        else:
            return NOTHING
    return document


def sample(config: PayloadConfig, document: Any, value: Path | None = None, states: Mapping[int, str] | None = None) -> Sample:
    """Read one value out of a document. `value`: the tag's own place for it; `states`: texts that stand for codes."""
    place = path(config.value) if value is None else value
    said = find(document, place)
    status, source_at = _status(find(document, path(config.status))) if config.status else 0, None
    if config.time:
        stamp = find(document, path(config.time))
        if stamp is not NOTHING and stamp is not None and (source_at := instant(stamp, config.time_unit)) is None:
            status = max(status, UNDECODED)
    if said is NOTHING:
        return Sample(math.nan, max(status, UNDECODED), source_at)
    return Sample(*number(said, status, states or {}), source_at)


def number(said: Any, status: int, states: Mapping[int, str]) -> tuple[float, int]:
    """Return a value and its status: NaN and bad where it is not a finite number, nor the text of a state."""
    if isinstance(said, str):
        said = next((code for code, text in states.items() if text == said), None)
    try:
        value = float(said) if isinstance(said, int | float) else math.nan
    except OverflowError:
        value = math.nan
    if math.isfinite(value):
        return value, status
    return math.nan, status if status >= BAD else TYPE_MISMATCH


def instant(stamp: Any, unit: str) -> int | None:
    """Return a time in ns since 1970; None if it is none."""
    try:
        if unit == "iso":
            if not isinstance(stamp, str) or (match := _ISO.fullmatch(stamp)) is None:
                return None
            day, hour, fraction, offset = match.groups()
            offset = "+00:00" if offset in (None, "Z", "z") else offset
            whole = dt.datetime.fromisoformat(f"{day}T{hour}{offset}") - _EPOCH
            found = (whole.days * 86_400 + whole.seconds) * SECOND + int((fraction or "0").ljust(9, "0"))
        elif isinstance(stamp, bool) or not isinstance(stamp, int | float):
            return None
        else:
            found = stamp * _UNITS[unit] if isinstance(stamp, int) else round(stamp * _UNITS[unit])
    except (ValueError, OverflowError):
        return None
    return found if 0 < found < 1 << 62 else None


def text_of(at: int, unit: str) -> str | int | float:
    """Return a time (ns) the way a payload names it: ISO 8601 to the nanosecond, or a count."""
    if unit == "iso":
        whole = _EPOCH + dt.timedelta(seconds=at // SECOND)
        return f"{whole:%Y-%m-%dT%H:%M:%S}.{at % SECOND:09d}Z"
    return at / SECOND if unit == "s" else at // _UNITS[unit]


def encode(
    config: PayloadConfig, value: float, at: int, status: int | None = None, *, place: Path | None = None, **more: Any
) -> bytes:
    """Write a payload: `value` at its place, `at` (ns) and `status` where the template has them, and `more` at the top.

    Raises ValueError where the template stands in its own way (`a` and `a.b`).
    """
    place = path(config.value) if place is None else place
    if not place:
        return msgspec.json.encode(value)
    whole: dict[str, Any] = dict(more)
    _put(whole, place, value)
    if config.time:
        _put(whole, path(config.time), text_of(at, config.time_unit))
    if config.status and status is not None:
        _put(whole, path(config.status), status)
    return msgspec.json.encode(whole)


def _put(whole: dict[str, Any], place: Path, what: Any) -> None:
    for part in place[:-1]:
        whole = whole.setdefault(part, {})
        if not isinstance(whole, dict):
            raise ValueError(f"'{'.'.join(place)}' stands within another place of the template")
    whole[place[-1]] = what


def _status(said: Any) -> int:
    if said is NOTHING or said is None or said is True:
        return 0
    if said is False:
        return BAD
    if isinstance(said, int):
        return said if 0 <= said < 1 << 32 else BAD
    words = {"good": 0, "ok": 0, "uncertain": UNCERTAIN, "bad": BAD}
    found = re.match("[a-z]+", said.lower()) if isinstance(said, str) else None
    return words.get(found.group(), UNCERTAIN) if found else UNCERTAIN
