"""Run, resume, replay and look at a run folder: what `jayul run|replay|status|verify` do, as functions that return structs.

The run folder: summary.json, journal/, history/, state.db (inbox), keys/run.pub, lock.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from jayul.core.clock import Sim, monotonic, today
from jayul.core.ladder import missing
from jayul.core.loop import Seat, State, run, settle, step
from jayul.core.types import Decision, Event, Frame, MovePlan, Outcome, Proposal
from jayul.plant.journal import Compare, Diverged, JournalInbox, JournalPlant, Rejoin, Rewindable, Tape, Tick, read_back
from jayul.plant.sim.people import SimulatedPeople
from jayul.project.manifest import load
from jayul.project.problem import N_, ManifestError, Problem
from jayul.project.summary import Summary, Tally
from jayul.project.wire import Wired, replay_line, wire
from jayul.record.files import Files, OsFiles, write_whole
from jayul.record.history import History
from jayul.record.inbox import Several, SqliteInbox
from jayul.record.journal import Head, Header, Scan, Writer, segments
from jayul.record.sign import Signer, new_id, signed
from jayul.record.verify import Checked, Report, parse_head, verify

RUN_KEY = "run"
Watch = Callable[[int, int], None]  # ticks done, ticks in all


class Options(msgspec.Struct, frozen=True):
    """How to run. `acknowledge` gets each tick whose Decision is on disk; `progress` gets ticks done and ticks in all."""

    seed: int = 0
    ticks: int | None = None
    history: bool = True
    stop: Callable[[], bool] = lambda: False
    acknowledge: Callable[[int], None] = lambda tick: None
    progress: Watch = lambda done, total: None


class Result(msgspec.Struct, frozen=True):
    """What `execute` did: the summary, and how it began (fresh, resumed, complete), with open Decisions that were closed."""

    summary: Summary
    out: Path
    began: str
    closed: tuple[Outcome, ...] = ()
    torn_bytes: int = 0


def refuse(where: object, message: str, **params: object) -> ManifestError:
    """Return the error for a mistake that is not in a manifest."""
    return ManifestError(Problem(str(where), "", 0, message, {name: str(value) for name, value in params.items()}))


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the run folder for this process alone."""
    fd = os.open(out / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o640)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise refuse(out, N_("another process is running here; wait for it, or use another --out")) from None
        yield
    finally:
        os.close(fd)


def ticks_of(files: Files) -> Iterator[Tick]:
    """Read the ticks of a journal one after another. Raises Corrupt."""
    waiting: Decision | None = None
    for _, entry in Scan(files):
        if isinstance(entry, Decision):
            waiting = entry
        elif isinstance(entry, Outcome) and waiting is not None:
            yield Tick(waiting, entry)
            waiting = None
    if waiting is not None:
        yield Tick(waiting, None)


def read_header(files: Files) -> Header | None:
    """Return the header of a journal, or None if there is none yet. Raises Corrupt."""
    for _, entry in Scan(files):
        return entry if isinstance(entry, Header) else None
    return None


def execute(project: Path, out: Path, options: Options) -> Result:
    """Run a project into a run folder, or go on with the run that is there. Raises ManifestError, Corrupt, Diverged, OSError."""
    wired = wire(load(project), project if project.is_dir() else project.parent, options.seed)
    if out.exists() and not out.is_dir():
        raise refuse(out, N_("is a file; use another --out"))
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        files = OsFiles(out / "journal")
        header = read_header(files)
        if header is None and any(path.name not in ("journal", "lock", "keys", "state.db") for path in out.iterdir()):
            raise refuse(out, N_("is not a run folder and not empty; use another --out"))
        if header is not None and (header.seed != options.seed or header.manifest != wired.header.manifest):
            what = N_("holds a run of seed {seed} and another manifest; use another --out")
            if header.manifest == wired.header.manifest:
                what = N_("holds a run of seed {seed}; use another --out, or --seed {seed}")
            raise refuse(out, what, seed=header.seed)
        if header is not None and (done := read_summary(out)) and done.complete and options.ticks is None:
            return Result(done, out, "complete")
        return asyncio.run(_drive(wired, out, files, header, options))


def read_summary(out: Path) -> Summary | None:
    """Return the summary of a run folder, or None if there is none that can be read."""
    try:
        return msgspec.json.decode((out / "summary.json").read_bytes(), type=Summary)
    except (OSError, msgspec.MsgspecError):
        return None


class _Past(msgspec.Struct, frozen=True):
    """What a journal holds already: how many events came by the inbox, and the scan that a writer goes on from."""

    scan: Scan
    ticks: int
    from_inbox: int
    open: bool


def _look(files: Files, public: str) -> _Past:
    checked, ticks, inbox, open_ = Checked(files, public), 0, 0, False
    for _, entry in checked:
        if isinstance(entry, Decision):
            ticks, open_ = ticks + 1, True
            inbox += sum(not heard.event.id.startswith("sim-") for heard in entry.events)
        elif isinstance(entry, Outcome):
            open_ = False
    return _Past(checked.scan, ticks, inbox, open_)


async def _drive(wired: Wired, out: Path, files: Files, header: Header | None, options: Options) -> Result:
    began, signer = monotonic(), Signer.open(RUN_KEY)
    (out / "keys").mkdir(exist_ok=True)
    public = out / "keys" / "run.pub"
    if not public.exists():
        write_whole(public, signer.public.encode() + b"\n")
    past = _look(files, public.read_text().strip())
    total = wired.ticks if options.ticks is None else min(options.ticks, wired.ticks)
    tally = Tally(wired.line.table, wired.header.policies, tuple({name for seat in wired.line.seats for name in seat.needs}))
    history = History(out / "history") if options.history else None

    def watch(frame: Frame, decision: Decision, outcome: Outcome) -> None:
        tally.add(frame, decision, outcome)
        if history is not None:
            history.add(frame, decision, outcome)
        options.progress(decision.tick + 1, total)

    sqlite = SqliteInbox(out / "state.db", past.from_inbox)
    inbox = Several([sqlite, SimulatedPeople()] if wired.manifest.people.simulated else [sqlite])
    writer = Writer(
        files, wired.header, signer, commit=wired.manifest.run.commit, scan=past.scan, acknowledge=options.acknowledge
    )  # fmt: skip
    closed: list[Outcome] = []
    try:
        if isinstance(wired.plant, Rewindable):
            tape = Tape(ticks_of(files))
            state = await run(
                wired.line, wired.plant, wired.clock, Rejoin(tape, writer), JournalInbox(tape, inbox),
                ticks=max(total, past.ticks), stop=lambda: tape.tick is None and options.stop(), watch=watch,
            )  # fmt: skip
        else:
            before, last = await _recover(wired, files, past, writer, watch, closed)
            state = await run(
                wired.line, wired.plant, wired.clock, writer, inbox,
                ticks=total, state=before, last=last, stop=options.stop, watch=watch,
            )  # fmt: skip
    finally:
        head = writer.close()
        sqlite.close()
        if close := getattr(wired.plant, "close", None):
            await close()
    if history is not None:
        history.flush()
    summary = _summary(wired, tally, state, head, total, monotonic() - began)
    write_whole(out / "summary.json", msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
    return Result(summary, out, "resumed" if header else "fresh", tuple(closed), past.scan.torn[2] if past.scan.torn else 0)


async def _recover(
    wired: Wired,
    files: Files,
    past: _Past,
    writer: Writer,
    watch: Callable[[Frame, Decision, Outcome], None],
    closed: list[Outcome],
) -> tuple[State | None, Decision | None]:
    """Fold the journal into a state, for a plant that went on without us; close the Decision that was left open, if any."""
    if not past.ticks:
        return None, None
    line, kept = replay_line(wired.header, full=True)
    tape = Tape(ticks_of(files))

    def differ(tick: int, what: str) -> None:
        raise Diverged(tick, f"does not come out as recorded ({what}); was Jayul changed since?")

    count = past.ticks - past.open
    plant, journal, events = JournalPlant(kept, tape), Compare(tape, differ, whole_frame=False), JournalInbox(tape)
    last: list[Decision] = []

    def note(frame: Frame, decision: Decision, outcome: Outcome) -> None:
        last[:] = [decision]
        watch(frame, decision, outcome)

    clock = Sim(wired.clock.now(), wired.header.seed)
    state = await run(line, plant, clock, journal, events, ticks=count, watch=note)
    if past.open:
        assert tape.tick is not None
        decision = tape.tick.decision
        state, _, frame = step(line, state, await plant.read(), events.drain(decision.at, None))
        await wired.clock.until(decision.at)
        outcome = await read_back(wired.plant, state, decision)
        writer.append(outcome)
        closed.append(outcome)
        state = settle(state, decision, outcome)
        note(frame, decision, outcome)
    await wired.clock.until(last[0].at)
    return state, last[0]


def _summary(wired: Wired, tally: Tally, state: State, head: Head, total: int, seconds: float) -> Summary:
    kpi = wired.manifest.kpi
    return Summary(
        project=wired.manifest.project.name,
        plant=wired.manifest.plant.kind,
        seed=wired.header.seed,
        complete=tally.ticks >= wired.ticks and total == wired.ticks,
        ticks=tally.ticks,
        plant_hours=tally.plant_hours,
        wall_seconds=round(seconds, 3),
        coverage=tally.coverage(),
        levels=tally.steps,
        level_now=tally.level_now(),
        missing={seat.name: missing(state.rungs[seat.name], seat.terms) for seat in wired.line.seats},
        verdicts=tally.verdicts(),
        tags=tally.tags,
        breaches=tally.breaches,
        events_refused=tally.events_refused,
        kpi={"name": kpi.name, "unit": kpi.unit, "benefit": None} if kpi else None,
        signatures_simulated=wired.manifest.people.simulated,
        head=str(head),
        signed_head=msgspec.json.encode(head).decode(),
        asks=[f"{ask.policy}:{ask.subject}" for ask in tally.last.asks] if tally.last else [],
    )


class Replayed(msgspec.Struct, frozen=True):
    """What a replay found. `first` says what differed at the first tick that did."""

    ticks: int
    differing: int
    full: bool
    first: str = ""


def replay(out: Path, *, full: bool = False, progress: Watch = lambda done, total: None) -> Replayed:
    """Run guard and ladder (`full`: models and policies too) again on what a journal holds. Raises ManifestError, Corrupt."""
    files = OsFiles(out / "journal", create=False)
    header = read_header(files)
    if header is None:
        raise refuse(out, N_("holds no run; make one with: jayul run PROJECT --out {out}"), out=out)
    count = sum(tick.outcome is not None for tick in ticks_of(files))
    line, kept = replay_line(header, full=full)
    tape, found = Tape(ticks_of(files)), list[tuple[int, str]]()
    if not full:
        line = replace(line, seats=tuple(replace(seat, policy=_playback(seat, tape)) for seat in line.seats))
    journal = Compare(tape, lambda tick, what: found.append((tick, what)), whole_frame=False)
    clock = Sim(0, header.seed)
    asyncio.run(
        run(
            line, JournalPlant(kept, tape), clock, journal, JournalInbox(tape),
            ticks=count, watch=lambda frame, decision, outcome: progress(decision.tick + 1, count),
        )
    )  # fmt: skip
    first = f"tick {found[0][0]}: {found[0][1]}" if found else ""
    return Replayed(count, len({tick for tick, _ in found}), full, first)


def _playback(seat: Seat, tape: Tape) -> Any:
    """Make a policy that says what the journal says it said."""

    def policy(state: None, frame: Frame, plan: Any) -> tuple[None, Sequence[Proposal | MovePlan]]:  # noqa: ARG001 - a policy
        assert tape.tick is not None
        decision = tape.tick.decision
        if seat.name in decision.failed:
            raise RuntimeError("it failed then, too")
        plans = [plan for plan in decision.plans if plan.by == seat.name]
        return None, [*plans, *(v.proposal for v in decision.verdicts if v.proposal.by == seat.name)]

    return policy


class Status(msgspec.Struct, frozen=True):
    """Where a run stands, read from its journal alone."""

    header: Header
    tick: int
    at: int
    levels: dict[str, str]
    asks: list[dict[str, Any]]
    plans: list[dict[str, Any]]
    open_decision: bool
    complete: bool
    table: list[dict[str, Any]]


def status(out: Path) -> Status:
    """Read where a run stands. Raises ManifestError, Corrupt."""
    files = OsFiles(out / "journal", create=False)
    header, last, plans = read_header(files), None, dict[str, MovePlan]()
    if header is None:
        raise refuse(out, N_("holds no run; make one with: jayul run PROJECT --out {out}"), out=out)
    for tick in ticks_of(files):
        last = tick
        plans |= {plan.by: plan for plan in tick.decision.plans}
    done = read_summary(out)
    decision = last.decision if last else None
    levels = decision.levels if decision else ()
    rows = [
        {"tag": v.proposal.tag, "by": v.proposal.by, "asked": v.proposal.value, "allowed": v.allowed, "rule": v.rule}
        for v in (decision.verdicts if decision else ())
    ]
    applied = {r.tag: r.applied for r in last.outcome.receipts} if last and last.outcome else {}
    return Status(
        header,
        decision.tick if decision else -1,
        decision.at if decision else 0,
        {name: level.name.lower() for name, level in zip(header.policies, levels, strict=False)},
        [msgspec.structs.asdict(ask) for ask in (decision.asks if decision else ())],
        [msgspec.structs.asdict(plan) for plan in plans.values()],
        bool(last and last.outcome is None),
        bool(done and done.complete),
        [
            row | {"applied": applied.get(row["tag"]) if row["tag"] in (decision.writes if decision else ()) else None}
            for row in rows
        ],
    )


def check(out: Path, heads: Sequence[str], key: Path | None) -> Report:
    """Verify the journal of a run folder. Raises ManifestError for wrong input."""
    files = OsFiles(out / "journal", create=False)
    if not segments(files):
        raise refuse(out, N_("holds no run; make one with: jayul run PROJECT --out {out}"), out=out)
    path = key or out / "keys" / "run.pub"
    try:
        public = path.read_text(encoding="ascii").strip()
        known = [parse_head(text) for text in heads]
    except (OSError, UnicodeDecodeError):
        raise refuse(path, N_("is not a public key; give --key FILE")) from None
    except (ValueError, msgspec.MsgspecError) as error:
        raise refuse("--head", "{text}", text=error) from None
    if (done := read_summary(out)) is not None:
        known.append(parse_head(done.head))
    return verify(files, public, pinned=key is not None, known=known)


def as_dict(report: Report) -> dict[str, Any]:
    """Return a report as plain values, its head written shortly."""
    return {**msgspec.structs.asdict(report), "head": str(report.head)}


def new_key(name: str) -> str:
    """Make (or find) the key of a person and return its public half. Raises ManifestError."""
    if not name.replace("-", "").replace("_", "").replace(" ", "").isalnum():
        raise refuse("--new-key", N_("a name has letters, digits, spaces, '-' and '_'"))
    try:
        return Signer.open(f"person-{name}").public
    except ValueError as error:
        raise refuse("--new-key", "{text}", text=error) from None


def hand_in(out: Path, ask: str | None, *, by: str, reject: bool = False, demote: str | None = None, reason: str = "") -> Event:
    """Put a person's signed act into a run's inbox. Raises ManifestError for what could never be accepted."""
    now = status(out)
    if not by:
        raise refuse("--by", N_("say who you are, as in [people]"))
    body: dict[str, Any] = {"reason": reason} if reason else {}
    if demote is not None:
        if demote not in now.header.policies:
            raise refuse(
                "--demote", N_("unknown policy '{name}'; there are {known}"), name=demote, known=", ".join(now.header.policies)
            )
        kind: Any = "demotion"
        body["policy"] = demote
    else:
        waiting = {f"{a['policy']}:{a['subject']}": a for a in now.asks}
        if ask not in waiting:
            known = ", ".join(waiting) or "-"
            raise refuse(out, N_("'{ask}' does not wait for a person now; there waits: {known}"), ask=ask or "", known=known)
        found = waiting[ask]
        kind = "rejection" if reject else found["kind"]
        body |= {"policy": found["policy"]}
        body |= {"level": found["subject"], "since": found["since"]} if kind == "signature" else {"plan": found["subject"]}
    event = Event(kind, by, today(), body, new_id())
    if kind != "demotion":
        event = signed(event, Signer.open(f"person-{by}"))
    inbox = SqliteInbox(out / "state.db")
    inbox.put(event)
    inbox.close()
    return event
