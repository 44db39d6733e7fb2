"""What happened in a run, to be marked on its time axis: alarms, moves, steps on the ladder, on/off blocks, what people did."""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from msgspec.structs import replace

from jayul.core.types import Decision, Level, Outcome, Receipt, TagTable
from jayul.decide.switchback import Schedule
from jayul.project.timeline import Timeline
from jayul.record.files import OsFiles
from jayul.record.follow import Follow

MarkKind = Literal["alarm", "move", "level", "block", "person"]
ALARM = ".alarm"  # what findings of models end in
NOT_GOOD = 0x4000_0000
FOR_EVER = 2**63 - 1  # ns
WORST = ("settled", "pending", "unknown", "missed", "overridden", "rejected")
REFUSED = ("missed", "rejected")  # receipts of what did not reach the plant


class Mark(msgspec.Struct, frozen=True):
    """One thing that happened between two times (ns UTC; equal: at an instant; `open`: it goes on).

    `what`: of a level its reason; of a block off, on (the policy drove) or planned (on by plan, but it did not); of a person's
    act its kind; of a move its worst receipt. `before` and `after`: levels, or the first and last applied values. `who`: policy
    or person.
    """

    kind: MarkKind
    at: int
    until: int
    what: str = ""
    tag: str = ""
    who: str = ""
    before: str | float | None = None
    after: str | float | None = None
    count: int = 1
    open: bool = False


class Marks:
    """Follows the journal of a run folder and keeps what happened, in order of time. Threads may share it. Raises Corrupt."""

    def __init__(self, timeline: Timeline) -> None:
        self._follow = Follow(OsFiles(Path(timeline.out) / "journal", create=False))
        self._lock = threading.Lock()
        self._table: TagTable = timeline.table
        self._policies = timeline.header.policies
        self._seats, self._period = timeline.line.seats, timeline.line.period
        self._alarms = [i for i, tag in enumerate(self._table.tags) if tag.kind == "derived" and tag.name.endswith(ALARM)]
        self._at, self._found = array("q"), list[Mark]()
        self._rings: dict[int, int] = {}  # alarm (position) -> place in `_found`
        self._moves: dict[str, tuple[int, int]] = {}  # tag -> place in `_found`, last tick
        self._waiting: Decision | None = None
        self._plans = {seat.name: seat.plan for seat in self._seats if isinstance(seat.plan, Schedule)}
        self._driven: dict[str, list[tuple[int, int]]] = {name: [] for name in self._plans}  # from its first write on (ns)

    def refresh(self) -> None:
        """Read on to the end of the journal."""
        with self._lock:
            while entries := self._follow.new():
                for entry, _ in entries:
                    if isinstance(entry, Decision):
                        self._decided(entry)
                    elif isinstance(entry, Outcome) and self._waiting is not None:
                        self._done(self._waiting, entry)

    def _decided(self, decision: Decision) -> None:
        self._at.append(decision.at)
        self._waiting = decision
        value, status = np.frombuffer(decision.columns[0], "<f8"), np.frombuffer(decision.columns[3], "<u4")
        for i in self._alarms:
            rings = bool(value[i] >= 0.5 and status[i] < NOT_GOOD)
            if i in self._rings:
                place = self._rings[i] if rings else self._rings.pop(i)
                self._found[place] = replace(self._found[place], until=decision.at, open=rings)
            elif rings:
                self._rings[i] = self._add(Mark("alarm", decision.at, decision.at, tag=self._table.names[i], open=True))
        for change in decision.changes:
            before, after = change.before.name.lower(), change.after.name.lower()
            self._add(Mark("level", decision.at, decision.at, change.reason, "", change.policy, before, after))
        self._handed_back(decision)
        for heard in decision.events:
            event = heard.event
            if event.kind != "evidence" and not heard.refused:
                tag = str(event.body.get("tag", ""))
                self._add(Mark("person", decision.at, decision.at, event.kind, tag, event.by))

    def _handed_back(self, decision: Decision) -> None:
        """End what a policy drives where its level or its plan no longer lets it."""
        for name, spans in self._driven.items():
            if spans and spans[-1][1] == FOR_EVER and not self._may_drive(name, decision):
                spans[-1] = spans[-1][0], decision.at

    def _may_drive(self, name: str, decision: Decision) -> bool:
        level = dict(zip(self._policies, decision.levels, strict=False)).get(name, Level.RECORD)
        return level >= Level.CONFIRM and self._plans[name].at(decision.at)[0] == "on"

    def _done(self, decision: Decision, outcome: Outcome) -> None:
        by = {decision.verdicts[i].proposal.tag: decision.verdicts[i].proposal.by for i in decision.writes}
        for receipt in outcome.receipts:
            name = by.get(receipt.tag, "")
            self._moved(decision, receipt, name)
            spans = self._driven.get(name)
            if spans is None or receipt.state in REFUSED or (spans and spans[-1][1] == FOR_EVER):
                continue
            if self._may_drive(name, decision):
                spans.append((decision.at, FOR_EVER))

    def _moved(self, decision: Decision, receipt: Receipt, by: str) -> None:
        """Writes of one tag in tick after tick are one move."""
        place, tick = self._moves.get(receipt.tag, (-1, -2))
        if decision.tick - tick > 1 or self._found[place].who != by:
            first = Mark("move", decision.at, decision.at, receipt.state, receipt.tag, by, receipt.applied, receipt.applied)
            place = self._add(first)
        else:
            mark = self._found[place]
            worst = max(mark.what, receipt.state, key=WORST.index)
            self._found[place] = replace(mark, until=decision.at, what=worst, after=receipt.applied, count=mark.count + 1)
        self._moves[receipt.tag] = place, decision.tick

    def _add(self, mark: Mark) -> int:
        self._found.append(mark)
        return len(self._found) - 1

    def between(self, low: int, high: int) -> list[Mark]:
        """Return what touches low <= time <= high (ns), in order of time."""
        with self._lock:
            now = self._at[-1] if self._at else 0
            blocks = [mark for name, plan in self._plans.items() for mark in self._blocks(name, plan, now)]
            found = [mark for mark in (*self._found, *blocks) if mark.at <= high and mark.until >= low]
        return sorted(found, key=lambda mark: mark.at)

    def _blocks(self, name: str, plan: Schedule, now: int) -> Iterator[Mark]:
        """Yield the blocks of a policy so far; one that is on by plan in parts: where the policy drove, and where it did not."""
        for i, (start, end, arm) in enumerate(_blocks(plan)):
            if start > now:
                return
            parts = [(start, end, arm)] if arm == "off" else self._parts(name, start, end)
            for a, b, what in parts:
                if a <= now:
                    yield Mark("block", a, min(b, now), what, who=name, count=i + 1, open=b > now)

    def _parts(self, name: str, start: int, end: int) -> list[tuple[int, int, str]]:
        """Cut a block that is on by plan; what lies between two ticks is no part of its own."""
        parts, done = list[tuple[int, int, str]](), start
        for a, b in self._driven[name]:
            if a >= end or b <= start:
                continue
            a, b = max(a, start), min(b, end)
            if bisect_left(self._at, a) > bisect_left(self._at, done):
                parts.append((done, a, "planned"))
                done = a
            parts.append((done, b, "on"))
            done = b
        return parts if done >= end else [*parts, (done, end, "planned")]

    def silences(self, longer: int) -> list[tuple[int, int]]:
        """Return the stretches (ns) longer than this in which the run did not tick."""
        with self._lock:
            at = np.array(self._at, dtype=np.int64)
        gaps = np.flatnonzero(np.diff(at) > max(longer, 2 * self._period))
        return [(int(at[i]), int(at[i + 1])) for i in gaps]

    def newest(self) -> int:
        """Return the time of the last tick (ns), 0 before the first."""
        with self._lock:
            return self._at[-1] if self._at else 0

    def ticks_between(self, low: int, high: int) -> int:
        """Count the ticks with low < time <= high."""
        with self._lock:
            return bisect_right(self._at, high) - bisect_right(self._at, low)


def _blocks(plan: Schedule) -> list[tuple[int, int, str]]:
    ends = (*plan.starts[1:], plan.end)
    return list(zip(plan.starts, ends, plan.arms, strict=True))
