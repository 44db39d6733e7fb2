"""Times as people and programs give them, to the nanosecond, as UTC ns."""

from __future__ import annotations

import datetime as dt
import re
from typing import TypeAlias

from jayul.project.problem import N_
from jayul.project.run import refuse

Time: TypeAlias = int | dt.datetime | str
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_ISO = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)")
LOW, HIGH = -(2**63), 2**63 - 1


def instant(time: Time, where: str) -> int:
    """Return UTC ns of ns, of a datetime with its zone, or of ISO 8601 text with its zone. Raises ManifestError, naming `where`."""
    found: int | None = None
    if isinstance(time, dt.datetime):
        if time.tzinfo is None:
            raise refuse(where, N_("a time without a zone is not understood; give it one, like 2026-01-01T00:00:00Z"))
        found = _ns(time)
    elif isinstance(time, str):
        if (parts := _ISO.fullmatch(time.strip().replace(" ", "T"))) is not None:
            try:
                found = _ns(dt.datetime.fromisoformat(parts[1] + parts[3])) + int((parts[2] or "0").ljust(9, "0"))
            except ValueError:
                found = None
    elif isinstance(time, int):
        found = int(time)
    if found is None or not LOW <= found <= HIGH:
        message = N_("'{text}' is no time; write it with its zone, like 2026-01-01T00:00:00Z or 2026-01-01T09:00:00+09:00")
        raise refuse(where, message, text=time)
    return found


def _ns(time: dt.datetime) -> int:
    return (time - EPOCH) // dt.timedelta(microseconds=1) * 1000
