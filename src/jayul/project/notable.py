"""What happened in a run, by tick: where a level changed, an alarm began, a move was laid on the table."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from typing import Literal

from jayul.core.types import Decision, Frame, TagTable
from jayul.project.summary import rings

What = Literal["level", "alarm", "move"]
KINDS: tuple[What, ...] = ("level", "alarm", "move")


class Notable:
    """Ticks at which something happened, in order, by kind."""

    def __init__(self, table: TagTable) -> None:
        self._alarms = [i for i, tag in enumerate(table.tags) if tag.kind == "derived" and rings(tag)]
        self._ringing: set[int] = set()
        self.by_kind: dict[What, array[int]] = {kind: array("q") for kind in KINDS}
        self._all = array("q")

    def add(self, decision: Decision, frame: Frame) -> None:
        """Take the next tick with its frame."""
        found: list[What] = []
        if decision.changes:
            found.append("level")
        now = {i for i in self._alarms if frame.value[i] == 1}
        if now - self._ringing:
            found.append("alarm")
        self._ringing = now
        if decision.plans:
            found.append("move")
        for kind in found:
            self.by_kind[kind].append(decision.tick)
        if found:
            self._all.append(decision.tick)

    def after(self, tick: int) -> int | None:
        """Return the next tick at which something happened."""
        i = bisect_right(self._all, tick)
        return self._all[i] if i < len(self._all) else None

    def before(self, tick: int) -> int | None:
        """Return the last tick before one at which something happened."""
        i = bisect_left(self._all, tick)
        return self._all[i - 1] if i else None

    def rail(self, kind: What, last: int, places: int) -> tuple[int, ...]:
        """Return which of the places 0 to `places` of an axis from tick 0 to `last` have something of a kind."""
        ticks, found, i = self.by_kind[kind], list[int](), 0
        while i < len(ticks) and ticks[i] <= last:
            place = ticks[i] * places // max(last, 1)
            found.append(place)
            i = bisect_left(ticks, -(-(place + 1) * last // places), i + 1)  # the first tick of the next place
        return tuple(found)
