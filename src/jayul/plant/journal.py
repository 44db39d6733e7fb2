"""A journal as a plant, so that the one driver replays it; and what a restart needs: fold, rejoin, read back.

Replay runs `core.loop.run` with `JournalPlant` (frames and receipts as recorded), `JournalInbox` (events as recorded) and
`Compare` (records held against those in the journal).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from msgspec.structs import replace

from jayul.core.loop import State
from jayul.core.types import Decision, Event, Frame, Inbox, Journal, Outcome, Plant, Receipt, TagTable, Verdict, same


@runtime_checkable
class Rewindable(Protocol):
    """A simulated plant that can go back to its first instant and be brought forward by applying a journal again."""

    def rewind(self) -> None:
        """Go back to the first instant."""
        ...


class Tick(NamedTuple):
    """The two lines of a tick; the outcome is None if the process ended between them."""

    decision: Decision
    outcome: Outcome | None


class Tape:
    """Ticks that are played back one after another. `tick` is the one that is being played, None after the last."""

    def __init__(self, ticks: Iterator[Tick]) -> None:
        self._ticks = ticks
        self.tick: Tick | None = None
        self.advance()

    def advance(self) -> None:
        """Go to the next tick."""
        self.tick = next(self._ticks, None)


class JournalPlant:
    """Frames and receipts as recorded. Readings are those that the journal kept; nothing is written anywhere."""

    def __init__(self, tags: TagTable, tape: Tape) -> None:
        self.tags, self._tape = tags, tape

    async def read(self) -> Frame:
        """Return the recorded frame of this tick."""
        assert self._tape.tick is not None
        return Frame.from_columns(self._tape.tick.decision.at, self.tags, self._tape.tick.decision.columns)

    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]:  # noqa: ARG002 - the shape of a plant
        """Return what the plant said then."""
        assert self._tape.tick is not None
        return self._tape.tick.outcome.receipts if self._tape.tick.outcome else ()


class JournalInbox:
    """Events as recorded; after the last recorded tick, those of the inbox that follows."""

    def __init__(self, tape: Tape, then: Inbox | None = None) -> None:
        self._tape, self._then = tape, then

    def drain(self, at: int, last: Decision | None) -> Sequence[Event]:
        """Return the events of this tick."""
        if self._tape.tick is not None:
            return [heard.event for heard in self._tape.tick.decision.events]
        return self._then.drain(at, last) if self._then else ()


class Diverged(Exception):
    """The run does not go the way its journal says."""

    def __init__(self, tick: int, what: str) -> None:
        super().__init__(f"tick {tick}: {what}")
        self.tick, self.what = tick, what


class Compare:
    """A journal that keeps nothing: it holds each record against the recorded one and calls `differ` with what is not equal.

    `whole_frame=False` leaves out the hash of the whole frame, where only the named tags were replayed.
    """

    def __init__(self, tape: Tape, differ: Callable[[int, str], None], *, whole_frame: bool) -> None:
        self._tape, self._differ, self._whole = tape, differ, whole_frame

    def append(self, record: Decision | Outcome) -> None:
        """Compare; the Outcome ends the tick."""
        tick = self._tape.tick
        assert tick is not None
        if isinstance(record, Outcome):
            self._tape.advance()
            return
        if not self._whole:
            record = replace(record, frame=tick.decision.frame)
        if record != tick.decision:
            names = [name for name in record.__struct_fields__ if getattr(record, name) != getattr(tick.decision, name)]
            self._differ(tick.decision.tick, ", ".join(names))


class Rejoin:
    """A journal that first holds what is done again against what it already has, then goes on writing.

    For simulated plants, which a restart brings back by doing the recorded ticks again. An Outcome that is missing is written.
    Raises Diverged if the past does not come out as recorded.
    """

    def __init__(self, tape: Tape, journal: Journal) -> None:
        self._tape, self._journal = tape, journal

    def append(self, record: Decision | Outcome) -> None:
        """Compare while the recorded ticks last, then keep."""
        tick = self._tape.tick
        if tick is None:
            self._journal.append(record)
        elif isinstance(record, Decision):
            if record != tick.decision:
                raise Diverged(
                    record.tick, "the plant did not come back as it was recorded; was the manifest or the version changed?"
                )
        else:
            if tick.outcome is None:
                self._journal.append(record)
            elif record.receipts != tick.outcome.receipts:
                raise Diverged(record.tick, "the plant answered otherwise than recorded")
            self._tape.advance()


async def read_back(plant: Plant, state: State, decision: Decision) -> Outcome:
    """Close a Decision that an earlier process left open: look at the plant and say what became of each write.

    settled: applied; missed: not applied, the value from before stands; overridden: another value stands; unknown: no good reading.
    """
    frame = await plant.read()
    receipts: list[Receipt] = []
    for verdict in (decision.verdicts[i] for i in decision.writes):
        tag, allowed = verdict.proposal.tag, verdict.allowed
        assert allowed is not None
        if not frame.fresh(tag):
            receipts.append(Receipt(tag, allowed, None, frame.at, "unknown"))
            continue
        before = state.last[tag].value if tag in state.last else state.origin[tag]
        settled, missed = same(frame[tag], allowed), same(frame[tag], before)
        receipts.append(
            Receipt(tag, allowed, frame[tag], frame.at, "settled" if settled else "missed" if missed else "overridden")
        )
    return Outcome(decision.tick, tuple(receipts), "read-back")
