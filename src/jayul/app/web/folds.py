"""What a run's journal amounts to, kept up tick by tick for the pages of the record: alarms, moves, levels, effort, inputs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from jayul.app.web.desk import Screen
from jayul.core.guard import HOUR
from jayul.core.types import Frame
from jayul.project.alarms import Alarms
from jayul.project.manifest import parse_canonical
from jayul.project.moves import Moves
from jayul.project.summary import Effort, Tally
from jayul.project.timeline import Timeline


class Fold:
    """Takes the finished ticks of a timeline in order. `fresh` is (tag, hour in ns) -> [fresh ticks, ticks] of policies' inputs."""

    def __init__(self, timeline: Timeline) -> None:
        header, line = timeline.header, timeline.line
        self.timeline, self.ticks = timeline, 0
        self.manifest = parse_canonical(header.manifest)
        self.needs = tuple(sorted({name for seat in line.seats for name in seat.needs}))
        self.alarms = Alarms(self.manifest, timeline.table, line.seats, header.policies)
        self.moves = Moves()
        self.tally = Tally(timeline.table, header.policies, self.needs, line.period)
        self.fresh: dict[tuple[str, int], list[int]] = {}

    def upto(self, end: int) -> None:
        """Take the ticks before number `end` that are finished and were not taken yet."""
        while self.ticks < end:
            tick = self.timeline[self.ticks]
            if tick.outcome is None:
                return
            frame = Frame.from_columns(tick.decision.at, self.timeline.table, tick.decision.columns)
            self.alarms.add(tick, frame)
            self.moves.add(tick)
            self.tally.add(frame, tick.decision, tick.outcome)
            self._hour(frame)
            self.ticks += 1

    def _hour(self, frame: Frame) -> None:
        hour = frame.at // HOUR * HOUR
        for tag in self.needs:
            cell = self.fresh.setdefault((tag, hour), [0, 0])
            cell[0] += frame.fresh(tag)
            cell[1] += 1

    def effort(self) -> Effort:
        """Return what the run cost its people so far."""
        found = self.tally.effort
        found.alarms = sum(alarm.kind == "finding" for alarm in self.alarms.episodes)
        return found


class _Pair:
    """The fold that goes with the journal, and one that a replay drives."""

    def __init__(self, screen: Screen) -> None:
        self.lock, self.live = threading.RLock(), Fold(screen.timeline)
        self.replay: Fold | None = None


_pairs: WeakKeyDictionary[Screen, _Pair] = WeakKeyDictionary()
_making = threading.Lock()


LAG = 500  # ticks that a page can wait for


def at_hand(screen: Screen) -> Fold | None:
    """Return the fold of a run if it is up to date within moments; else begin to make it, and return nothing yet."""
    with _making:
        pair = _pairs.get(screen)
    if pair is not None and len(screen.timeline) - pair.live.ticks < LAG:
        with folded(screen) as fold:
            return fold
    if pair is None or pair.lock.acquire(blocking=False):
        if pair is not None:
            pair.lock.release()
        threading.Thread(target=_fold, args=(screen,), daemon=True).start()
    return None


def _fold(screen: Screen) -> None:
    with folded(screen):
        pass


@contextmanager
def folded(screen: Screen, number: int | None = None) -> Iterator[Fold]:
    """Hold the fold of a run up to its newest finished tick, or up to tick `number`. Slow the first time: use it in a thread."""
    with _making:
        if (pair := _pairs.get(screen)) is None:
            pair = _pairs[screen] = _Pair(screen)
    with pair.lock:
        fold = pair.live
        if number is not None and number + 1 < len(screen.timeline):
            if pair.replay is None or pair.replay.ticks > number + 1:
                pair.replay = Fold(screen.timeline)
            fold = pair.replay
            fold.upto(number + 1)
        else:
            fold.upto(len(screen.timeline))
        yield fold
