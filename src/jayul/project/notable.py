"""What happened in a run, by tick: where a level changed, an alarm began, a move was laid on the table."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Literal

from jayul.core.types import Decision, Frame, TagTable
from jayul.project.summary import rings

What = Literal["level", "alarm", "move"]
KINDS: tuple[What, ...] = ("level", "alarm", "move")


class Notable:
    """Ticks at which something happened, in order, by kind."""

    def __init__(self, table: TagTable) -> None:
        self._table = table
        self._alarms = [tag.name for tag in table.tags if tag.kind == "derived" and rings(tag)]
        self._ringing: set[str] = set()
        self.by_kind: dict[What, list[int]] = {kind: [] for kind in KINDS}
        self._all: list[int] = []

    def add(self, decision: Decision) -> None:
        """Take the next tick."""
        found: list[What] = []
        if decision.changes:
            found.append("level")
        if self._began(decision):
            found.append("alarm")
        if decision.plans:
            found.append("move")
        for kind in found:
            self.by_kind[kind].append(decision.tick)
        if found:
            self._all.append(decision.tick)

    def _began(self, decision: Decision) -> bool:
        if not self._alarms:
            return False
        frame = Frame.from_columns(decision.at, self._table, decision.columns)
        now = {name for name in self._alarms if frame[name] == 1}
        began, self._ringing = now - self._ringing, now
        return bool(began)

    def after(self, tick: int) -> int | None:
        """Return the next tick at which something happened."""
        i = bisect_right(self._all, tick)
        return self._all[i] if i < len(self._all) else None

    def before(self, tick: int) -> int | None:
        """Return the last tick before one at which something happened."""
        i = bisect_left(self._all, tick)
        return self._all[i - 1] if i else None
