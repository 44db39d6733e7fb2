"""Local times -> UTC. The hour that daylight saving repeats is read as somebody says, and refused otherwise."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jayul.core.types import SECOND
from jayul.plant.errors import Refused
from jayul.plant.imports.options import zone_of
from jayul.plant.imports.times import NONE, Parsed

Array = np.ndarray[Any, Any]


class Zone:
    """Turns parsed times into UTC ns. `zone`: what holds for times without one; `repeated`: first, second, order."""

    def __init__(self, path: object, zone: str, repeated: str) -> None:
        self._path, self._name, self._repeated = path, zone, repeated
        self._passes: dict[int, tuple[int, int]] = {}  # key -> the last naive time in a repeated hour, which pass
        self.used = False

    def utc(self, parsed: Parsed, key: Array) -> Array:
        """Return UTC ns. `key`: rows of one key are one sequence. Raises Refused."""
        local = parsed.ok & (parsed.offset == NONE)
        at = parsed.naive - np.where(parsed.offset == NONE, 0, parsed.offset)
        if not local.any():
            return at
        if not self._name:
            raise Refused(f"{self._path}: its times have no zone; say --timezone, as in Asia/Seoul or +09:00")
        self.used = True
        zone = zone_of(self._name)
        if not isinstance(zone, ZoneInfo):
            at[local] -= int((zone.utcoffset(None) or dt.timedelta()) / dt.timedelta(seconds=1)) * SECOND
            return at
        at[local] = self._local(parsed.naive[local], key[local])
        return at

    def _local(self, naive: Array, key: Array) -> Array:
        stamps = pa.array(naive, pa.timestamp("ns"))
        early, late = (_assume(stamps, self._name, which) for which in ("earliest", "latest"))
        twice = np.flatnonzero(early != late)
        if not len(twice):
            return early
        back = pc.local_timestamp(pa.array(early[twice], pa.timestamp("ns", self._name)))
        if (gone := back.cast(pa.int64()).to_numpy(zero_copy_only=False) != naive[twice]).any():
            text = shown(int(naive[twice[np.flatnonzero(gone)[0]]]))
            raise Refused(
                f"{self._path}: {text} does not exist in {self._name} (clocks go forward); "
                "a recorder without daylight saving has a fixed --timezone, as in +01:00"
            )
        if not self._repeated:
            text = shown(int(naive[twice[0]]))
            raise Refused(
                f"{self._path}: {text} comes twice in {self._name} (clocks go back); "
                "say --repeated-hour first, second or order (that of the rows)"
            )
        if self._repeated == "second":
            return late
        if self._repeated == "order":
            for i in twice.tolist():
                if self._second(int(key[i]), int(naive[i])):
                    early[i] = late[i]
        return early

    def _second(self, key: int, naive: int) -> bool:
        """Say whether this is the second pass of the hour: the times of this sequence fell back in it."""
        last, which = self._passes.get(key, (NONE, 0))
        if last == NONE or naive - last > 86_400 * SECOND or last - naive > 86_400 * SECOND:
            which = 0
        elif naive <= last:
            if which:
                raise Refused(
                    f"{self._path}: the times of the repeated hour fall back more than once near {shown(naive)}; "
                    "say --repeated-hour first or second, or have it exported in UTC"
                )
            which = 1
        self._passes[key] = (naive, which)
        return which == 1


def _assume(stamps: pa.Array, zone: str, which: str) -> Array:
    """Return UTC ns with the earlier or the later reading."""
    found = pc.assume_timezone(stamps, zone, ambiguous=which, nonexistent=which)
    return np.array(found.cast(pa.int64()).to_numpy(zero_copy_only=False))


def shown(naive: int) -> str:
    """Return a naive time as text."""
    return str(dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=naive // 1000))  # noqa: DTZ001 - naive on purpose
