"""A run's journal on a time axis, read as it grows: any tick, and the state after it, without reading all that came before."""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_right
from pathlib import Path
from typing import NamedTuple

from jayul.core.loop import State, settle, start, step
from jayul.core.types import Decision, Frame, MovePlan, Outcome
from jayul.plant.journal import Tick
from jayul.project.look import Standing, played_back, standing
from jayul.project.notable import Notable
from jayul.project.problem import N_
from jayul.project.run import refuse
from jayul.record.files import OsFiles
from jayul.record.follow import Follow, Place
from jayul.record.journal import Header

EVERY = 512  # ticks between two states that are kept


class Moment(NamedTuple):
    """One tick: what was known and decided, the state after it, and the plans on the table by policy."""

    tick: Tick
    frame: Frame
    state: State
    plans: dict[str, MovePlan]


class Timeline:
    """Follows the journal of a run folder. `refresh` reads on; all else answers from what was read. Threads may share it.

    Raises ManifestError if the folder holds no run, Corrupt if the journal is damaged.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self._follow = Follow(OsFiles(out / "journal", create=False))
        self._lock = threading.RLock()
        self.tick: Tick | None = None  # being played: what the line's models and policies look at
        self._places: list[tuple[Place, Place | None]] = []
        self._at, self._states = array("q"), list[State]()
        first = next(iter(self._follow.new(1)), None)
        if first is None or not isinstance(first[0], Header):
            raise refuse(out, N_("holds no run; make one with: jayul run PROJECT --out {out}"), out=out)
        self.header = first[0]
        self.line, self.table = played_back(self.header, self)
        self.marks = Notable(self.table)
        self._state, self._waiting = start(self.line), None  # type: tuple[State, Decision | None]

    def __len__(self) -> int:
        """How many ticks were read; the outcome of the last may still be missing."""
        return len(self._places)

    @property
    def head(self) -> str:
        """The journal's chain as far as it was read."""
        return self._follow.head

    def refresh(self, most: int = 4_000) -> int:
        """Read on; return how many ticks there are now. Raises Corrupt."""
        with self._lock:
            for entry, place in self._follow.new(most):
                if isinstance(entry, Decision):
                    self._places.append((place, None))
                    self._at.append(entry.at)
                    self.marks.add(entry)
                    if entry.tick % EVERY == 0:
                        self._states.append(self._state)
                    self._waiting = entry
                elif isinstance(entry, Outcome) and self._waiting is not None:
                    self._places[-1] = (self._places[-1][0], place)
                    self._state = self._after(self._state, Tick(self._waiting, entry))
                    self._waiting = None
            return len(self._places)

    def _after(self, state: State, tick: Tick) -> State:
        """Return the state after a tick that is over."""
        self.tick = tick
        frame = Frame.from_columns(tick.decision.at, self.table, tick.decision.columns)
        state, _, _ = step(self.line, state, frame, [heard.event for heard in tick.decision.events])
        return settle(state, tick.decision, tick.outcome) if tick.outcome else state

    def __getitem__(self, number: int) -> Tick:
        """Return a tick. Raises IndexError."""
        with self._lock:
            decision, outcome = self._places[number]
            first, then = self._follow.read(decision), self._follow.read(outcome) if outcome else None
        assert isinstance(first, Decision)
        assert then is None or isinstance(then, Outcome)
        return Tick(first, then)

    def moment(self, number: int) -> Moment:
        """Return a tick with the state after it. Raises IndexError."""
        with self._lock:
            tick = self[number]
            if number == len(self) - 1:  # of a live run the outcome is on disk with the Decision that follows
                state = self._state if tick.outcome is not None else self._after(self._state, tick)
            else:
                state = self._states[number // EVERY]
                for n in range(number // EVERY * EVERY, number + 1):
                    state = self._after(state, self[n])
        frame = Frame.from_columns(tick.decision.at, self.table, tick.decision.columns)
        plans = {name: rung.offer.plan for name, rung in state.rungs.items() if rung.offer and not rung.offer.closed}
        return Moment(tick, frame, state, plans)

    def standings(self, state: State) -> list[Standing]:
        """Return where each policy stands in a state, and what the next level asks for."""
        return [standing(seat, state.rungs[seat.name], self.line.period) for seat in self.line.seats]

    def number_at(self, at: int) -> int:
        """Return the last tick that is not later than a time (ns UTC); -1 before the first."""
        return bisect_right(self._at, at) - 1

    def time_of(self, number: int) -> int:
        """Return the time of a tick (ns UTC). Raises IndexError."""
        return self._at[number]

    def span(self) -> tuple[int, int]:
        """Return the times of the first and last tick (ns UTC); zeros before the first."""
        return (self._at[0], self._at[-1]) if self._at else (0, 0)
