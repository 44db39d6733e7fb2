"""A run's journal on a time axis, read as it grows: any tick, and the state after it, without reading all that came before."""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict, deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from jayul.core.guard import FALLBACK
from jayul.core.loop import State, decide, settle, start
from jayul.core.types import Decision, Frame, MovePlan, Outcome
from jayul.plant.journal import Tick
from jayul.project.look import Standing, standing
from jayul.project.notable import Notable
from jayul.project.problem import N_
from jayul.project.run import refuse
from jayul.project.wire import replay_line
from jayul.record.files import OsFiles
from jayul.record.follow import Follow, Place
from jayul.record.journal import Entry, Header, segment_name

EVERY = 32  # ticks between two of which the place is kept
BLOCKS = 8  # stretches of so many ticks that are kept in memory once they were read again
STATES = 512  # that are kept from the first tick on, and as many of those last asked for
NEAR = 16  # ticks between two states of those


class Moment(NamedTuple):
    """One tick: what was known and decided, the state after it, and the plans on the table by policy."""

    tick: Tick
    frame: Frame
    state: State
    plans: dict[str, MovePlan]


class _Places:
    """Where every so many ticks lie in the journal: 44 bytes each."""

    def __init__(self) -> None:
        self._segment, self._start, self._before = array("i"), array("q"), bytearray()

    def add(self, place: Place) -> None:
        """Keep the next."""
        self._segment.append(int(place.segment.partition(".")[0]))
        self._start.append(place.start)
        self._before += place.before

    def __len__(self) -> int:
        return len(self._start)

    def __getitem__(self, i: int) -> Place:
        return Place(segment_name(self._segment[i]), self._start[i], bytes(self._before[32 * i : 32 * (i + 1)]))


class _States:
    """States before ticks: some over the whole run, at twice the spacing whenever there are too many, and those used last."""

    def __init__(self, first: State) -> None:
        self._far, self._spacing, self._near = {0: first}, NEAR, OrderedDict[int, State]()
        self._lock = threading.Lock()

    def add(self, state: State) -> None:
        """Keep the state after the newest tick, if its turn has come."""
        if state.tick % self._spacing == 0:
            with self._lock:
                self._far[state.tick] = state
                if len(self._far) > STATES:
                    self._spacing *= 2
                    self._far = {tick: kept for tick, kept in self._far.items() if tick % self._spacing == 0}

    def used(self, state: State) -> None:
        """Keep a state that was asked for, or one on the way to it."""
        with self._lock:
            self._near[state.tick] = state
            self._near.move_to_end(state.tick)
            if len(self._near) > STATES:
                self._near.popitem(last=False)

    def nearest(self, tick: int) -> State:
        """Return the last state that is kept of those before this tick or an earlier one."""
        with self._lock:
            far = self._far[max(n for n in self._far if n <= tick)]
            near = max((n for n in self._near if n <= tick), default=-1)
            return self._near[near] if near > far.tick else far

    def __len__(self) -> int:
        return len(self._far) + len(self._near)


class Timeline:
    """Follows the journal of a run folder. `refresh` reads on; all else answers from what was read. Threads may share it.

    Raises ManifestError if the folder holds no run, Corrupt if the journal is damaged.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self._follow = Follow(OsFiles(out / "journal", create=False))
        self._lock, self._waiting = threading.Lock(), deque[tuple[Entry, Place]]()  # read, and not taken yet
        first = next(iter(self._follow.new(1)), None)
        if first is None or not isinstance(first[0], Header):
            raise refuse(out, N_("holds no run; make one with: jayul run PROJECT --out {out}"), out=out)
        self.header = first[0]
        self.line, self.table = replay_line(self.header, full=False)
        self.marks = Notable(self.table)
        models = {name: (model, None) for name, (model, _) in self.line.models.items()}
        self._folded = replace(self.line, models=models, rules=())  # what the guard said stands in the journal
        self._state = start(self._folded)  # after the newest tick that is over
        self._states, self._places = _States(self._state), _Places()
        self._newest: Tick | None = None
        self._frame: Frame | None = None  # of the newest
        self._begin = 0
        self._blocks: OrderedDict[int, list[Tick]] = OrderedDict()

    def __len__(self) -> int:
        """How many ticks were read; the outcome of the last may still be missing."""
        newest = self._newest
        return newest.decision.tick + 1 if newest else 0

    @property
    def head(self) -> str:
        """The journal's chain as far as it was read."""
        return self._follow.head

    def about(self) -> int:
        """Return about how many ticks there are, read or not."""
        read, there = self._follow.done
        return max(len(self), round(len(self) * there / read)) if read else 0

    def refresh(self, most: int = 4_000) -> int:
        """Read on; return how many ticks there are now. What fails is tried again by the next call. Raises Corrupt, OSError."""
        with self._lock:
            self._take_waiting()
            self._waiting.extend(self._follow.new(most))
            self._take_waiting()
            return len(self)

    def replaced(self) -> bool:
        """Say whether another journal lies there now. Raises OSError."""
        return self._follow.replaced()

    def _take_waiting(self) -> None:
        while self._waiting:
            self._take(*self._waiting[0])
            self._waiting.popleft()

    def _take(self, entry: Entry, place: Place) -> None:
        """Take the next entry. One that raises can be taken again."""
        if isinstance(entry, Decision):
            if entry.tick == len(self._places) * EVERY:
                self._places.add(place)
            frame = Frame.from_columns(entry.at, self.table, entry.columns)
            self.marks.add(entry, frame)
            self._frame, self._begin = frame, self._begin or entry.at
            self._newest = Tick(entry, None)
        elif isinstance(entry, Outcome) and self._newest is not None and self._frame is not None:
            tick = Tick(self._newest.decision, entry)
            state = self._after(self._state, tick, self._frame)
            self._states.add(state)
            self._state = state
            self._newest = tick

    def _after(self, state: State, tick: Tick, frame: Frame) -> State:
        """Return the state after a tick, as the loop had it, from what the journal says was proposed, judged and done."""
        decision, outcome = tick
        asked = [v.proposal for v in decision.verdicts if v.proposal.by != FALLBACK]
        events = [heard.event for heard in decision.events]
        state, _ = decide(self._folded, state, frame, events, [*decision.plans, *asked], decision.failed)
        if decision.writes:
            written = (decision.verdicts[i].proposal.tag for i in decision.writes)
            state = replace(state, origin={tag: frame[tag] for tag in written} | state.origin)
        return settle(state, decision, outcome) if outcome else state

    def ticks(self, first: int, end: int) -> Iterator[Tick]:
        """Yield the ticks first <= number < end in order, as far as they were read. Raises Corrupt."""
        if not 0 <= first < min(end, len(self)):
            return
        waiting: Decision | None = None
        for entry in self._follow.again(self._places[first // EVERY]):
            if isinstance(entry, Decision):
                if entry.tick >= end:
                    return
                waiting = entry if entry.tick >= first else None
            elif isinstance(entry, Outcome) and waiting is not None:
                yield Tick(waiting, entry)
                waiting = None
        if waiting is not None:
            yield Tick(waiting, None)

    def __getitem__(self, number: int) -> Tick:
        """Return a tick. Raises IndexError, Corrupt."""
        newest = self._newest
        if newest is None or not 0 <= number <= newest.decision.tick:
            raise IndexError(number)
        if number == newest.decision.tick:
            return newest
        block = number // EVERY
        ticks = self._blocks.get(block)
        if ticks is None:
            ticks = list(self.ticks(block * EVERY, (block + 1) * EVERY))
            if len(ticks) == EVERY and ticks[-1].outcome:  # it stays as it is
                self._blocks[block] = ticks
                while len(self._blocks) > BLOCKS:
                    self._blocks.popitem(last=False)
        return ticks[number % EVERY]

    def moment(self, number: int) -> Moment:
        """Return a tick with the state after it. Raises IndexError, Corrupt."""
        tick, state = self[number], self._state
        frame = Frame.from_columns(tick.decision.at, self.table, tick.decision.columns)
        if state.tick == number and tick.outcome is None:  # of a live run the outcome is on disk with the Decision that follows
            state = self._after(state, tick, frame)
        elif state.tick != number + 1:
            state = self._state_after(number)
        plans = {name: rung.offer.plan for name, rung in state.rungs.items() if rung.offer and not rung.offer.closed}
        return Moment(tick, frame, state, plans)

    def _state_after(self, number: int) -> State:
        state = self._states.nearest(number + 1)
        for tick in self.ticks(state.tick, number + 1):
            decision = tick.decision
            state = self._after(state, tick, Frame.from_columns(decision.at, self.table, decision.columns))
            if state.tick % NEAR == 0 or decision.tick == number:
                self._states.used(state)
        return state

    def standings(self, state: State) -> list[Standing]:
        """Return where each policy stands in a state, and what the next level asks for."""
        return [standing(seat, state.rungs[seat.name], self.line.period) for seat in self.line.seats]

    def time_of(self, number: int) -> int:
        """Return the time of a tick (ns UTC). Raises IndexError, Corrupt."""
        return self[number].decision.at

    def span(self) -> tuple[int, int]:
        """Return the times of the first and last tick (ns UTC); zeros before the first."""
        newest = self._newest
        return (self._begin, newest.decision.at) if newest else (0, 0)
