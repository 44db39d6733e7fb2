"""Look at a run folder: where it stands, whether it replays, whether it is what was written. Nothing is changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
from msgspec.structs import replace

from jayul.core.clock import Sim
from jayul.core.guard import HOUR
from jayul.core.ladder import Rung, missing
from jayul.core.loop import Line, Model, Seat, State, run
from jayul.core.types import Ask, Event, Frame, Level, MovePlan, Proposal, Reading, Tag, TagTable
from jayul.plant.journal import Compare, Diverged, JournalInbox, JournalPlant, Tape, Tick
from jayul.project.problem import N_
from jayul.project.run import Watch, read_header, read_summary, refuse, ticks_of
from jayul.project.wire import replay_line
from jayul.record.files import OsFiles
from jayul.record.journal import Header, segments
from jayul.record.verify import Report, parse_head, verify


class Status(msgspec.Struct, frozen=True):
    """Where a run stands, read from its journal alone. `tick` is -1 before the first."""

    header: Header
    tick: int
    at: int
    levels: dict[str, str]
    asks: list[Ask]
    plans: list[MovePlan]
    verdicts: list[Row]
    open_decision: bool
    complete: bool


class Row(msgspec.Struct, frozen=True):
    """What was asked, allowed and applied for one tag at the last tick."""

    tag: str
    by: str
    asked: float
    allowed: float | None
    applied: float | None
    rule: str


def status(out: Path) -> Status:
    """Read where a run stands. Raises ManifestError, Corrupt."""
    files = OsFiles(out / "journal", create=False)
    header, last, plans = header_of(out, files), None, dict[str, MovePlan]()
    for tick in ticks_of(files):
        last = tick
        plans |= {plan.by: plan for plan in tick.decision.plans}
    done = read_summary(out)
    complete = bool(done and done.complete)
    if last is None:
        return Status(header, -1, 0, {}, [], [], [], open_decision=False, complete=complete)
    decision, outcome = last
    levels = {name: level.name.lower() for name, level in zip(header.policies, decision.levels, strict=True)}
    return Status(
        header, decision.tick, decision.at, levels, list(decision.asks), list(plans.values()), rows(last),
        open_decision=outcome is None, complete=complete,
    )  # fmt: skip


def rows(tick: Tick) -> list[Row]:
    """Return what was asked, allowed and applied at a tick."""
    decision, outcome = tick
    applied = {receipt.tag: receipt.applied for receipt in outcome.receipts} if outcome else {}
    return [
        Row(
            v.proposal.tag, v.proposal.by, v.proposal.value, v.allowed,
            applied.get(v.proposal.tag) if i in decision.writes else None, v.rule,
        )
        for i, v in enumerate(decision.verdicts)
    ]  # fmt: skip


def header_of(out: Path, files: OsFiles) -> Header:
    """Return the header of a run folder. Raises ManifestError if it holds no run."""
    if (header := read_header(files)) is None:
        raise refuse(out, N_("holds no run; make one with: jayul run PROJECT --out {out}"), out=out)
    return header


class Replayed(msgspec.Struct, frozen=True):
    """What a replay found. `first` says what differed at the first tick that did."""

    ticks: int
    differing: int
    full: bool
    first: str = ""


def replay(out: Path, *, full: bool = False, progress: Watch = lambda done, total: None) -> Replayed:
    """Run guard and ladder (`full`: models and policies too) again on what a journal holds. Raises ManifestError, Corrupt."""
    found = list[tuple[int, str]]()
    count, _, _ = _play(out, lambda tick, what: found.append((tick, what)), full=full, progress=progress)
    first = f"tick {found[0][0]}: {found[0][1]}" if found else ""
    return Replayed(count, len({tick for tick, _ in found}), full, first)


def _play(out: Path, differ: Callable[[int, str], None], *, full: bool, progress: Watch) -> tuple[int, Line, State]:
    """Drive the line over its journal. Return ticks, line and the state at the end."""
    files = OsFiles(out / "journal", create=False)
    header = header_of(out, files)
    count = sum(tick.outcome is not None for tick in ticks_of(files))
    tape = Tape(ticks_of(files))
    line, kept = replay_line(header, full=full) if full else played_back(header, tape)
    state = asyncio.run(
        run(
            line, JournalPlant(kept, tape), Sim(0, header.seed), Compare(tape, differ, whole_frame=False), JournalInbox(tape),
            ticks=count, watch=lambda frame, decision, outcome: progress(decision.tick + 1, count),
        )
    )  # fmt: skip
    return count, line, state


class Playing(Protocol):
    """What plays ticks: `tick` is the one that is being played."""

    @property
    def tick(self) -> Tick | None: ...


def played_back(header: Header, tape: Playing) -> tuple[Line, TagTable]:
    """Return a line whose models and policies say what the journal says they said, and the tags that it kept."""
    line, kept = replay_line(header, full=False)
    models = {name: (_Silent(name, model, tape), None) for name, (model, _) in line.models.items()}
    return replace(line, models=models, seats=tuple(replace(seat, policy=_playback(seat, tape)) for seat in line.seats)), kept


class Standing(msgspec.Struct, frozen=True):
    """Where a policy stands on the ladder, and what the next level asks for.

    `since` is a tick, `hours` how long ago that was; `lacks` is name -> (have, need). `earliest`: hours until the gate could be
    passed if nothing but ticks is missing and none goes bad; 0: now, it waits for a signature; null: it is not a matter of time.
    """

    policy: str
    level: str
    next: str
    since: int
    hours: float
    reason: str
    counts: dict[str, int]
    evidence: dict[str, bool]
    lacks: dict[str, tuple[float, float]]
    earliest: float | None


class Ladder(msgspec.Struct, frozen=True):
    """The ladder of a run, and the orders of people that are in force."""

    tick: int
    standings: list[Standing]
    orders: list[Event]


def ladder(out: Path) -> Ladder:
    """Fold the journal into where each policy stands. Raises ManifestError, Corrupt, Diverged."""

    def differ(tick: int, what: str) -> None:
        raise Diverged(tick, f"does not come out as recorded ({what}); was Jayul changed since?")

    _, line, state = _play(out, differ, full=False, progress=lambda done, total: None)
    orders = [event for event in state.orders.values() if event.body.get("clear") is not True]
    return Ladder(state.tick - 1, [standing(seat, state.rungs[seat.name], line.period) for seat in line.seats], orders)


def standing(seat: Seat, rung: Rung, period: int) -> Standing:
    """Return where a policy stands. `period` in ns."""
    lacks = missing(rung, seat.terms)
    further = Level(rung.level + 1).name.lower() if rung.level < Level.AUTO else ""
    ticks = lacks["ticks"][1] - lacks["ticks"][0] if "ticks" in lacks else 0
    earliest = None if lacks.keys() - {"ticks"} else ticks * period / HOUR
    counts = {"ticks": rung.ticks, "fresh": rung.fresh, "asked": rung.asked, "vetoed": rung.vetoed}
    level, hours = rung.level.name.lower(), rung.ticks * period / HOUR
    return Standing(seat.name, level, further, rung.since, hours, rung.reason, counts, rung.evidence, lacks, earliest)


class _Silent:
    """A model whose readings stand in the recorded frame already; it fails where it failed then."""

    def __init__(self, name: str, model: Model, tape: Playing) -> None:
        self.tags: tuple[Tag, ...] = model.tags
        self.needs: tuple[str, ...] = model.needs  # who relies on a tag by way of a model falls when that tag is changed
        self._name, self._tape = name, tape

    def learn(self, frames: Sequence[Frame]) -> None:
        """Learn nothing."""

    def infer(self, state: None, frame: Frame) -> tuple[None, Sequence[Reading]]:  # noqa: ARG002 - the shape of a model
        """Derive nothing."""
        if self._tape.tick is not None and self._name in self._tape.tick.decision.failed:
            raise RuntimeError("it failed then, too")
        return None, ()


def _playback(seat: Seat, tape: Playing) -> Any:
    """Make a policy that says what the journal says it said."""

    def policy(state: None, frame: Frame, plan: Any) -> tuple[None, Sequence[Proposal | MovePlan]]:  # noqa: ARG001 - a policy
        assert tape.tick is not None
        decision = tape.tick.decision
        if seat.name in decision.failed:
            raise RuntimeError("it failed then, too")
        plans = [plan for plan in decision.plans if plan.by == seat.name]
        return None, [*plans, *(v.proposal for v in decision.verdicts if v.proposal.by == seat.name)]

    return policy


def check(out: Path, heads: Sequence[str], key: Path | None) -> Report:
    """Verify the journal of a run folder. Raises ManifestError for wrong input."""
    files = OsFiles(out / "journal", create=False)
    if not segments(files):
        raise refuse(out, N_("holds no run; make one with: jayul run PROJECT --out {out}"), out=out)
    path = key or out / "keys" / "run.pub"
    try:
        public = path.read_text(encoding="ascii").strip()
        if len(bytes.fromhex(public)) != 32:
            raise OSError("not a key")
    except (OSError, ValueError):
        raise refuse(path, N_("is not a public key; give --key FILE")) from None
    try:
        known = [parse_head(text) for text in heads]
    except (ValueError, msgspec.MsgspecError) as error:
        raise refuse("--head", "{text}", text=error) from None
    if (done := read_summary(out)) is not None:
        known.append(parse_head(done.head))
    return verify(files, public, pinned=key is not None, known=known)


def as_dict(report: Report) -> dict[str, Any]:
    """Return a report as plain values, its head written shortly."""
    return {**msgspec.structs.asdict(report), "head": str(report.head)}
