"""Run, resume, replay and look at a run folder: what `jayul run|replay|status|verify` do, as functions that return structs.

The run folder: summary.json, journal/, history/, state.db (inbox), keys/run.pub, lock.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import fcntl
import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec.structs import replace

from jayul.core.clock import Sim, Wall, monotonic
from jayul.core.ladder import missing
from jayul.core.loop import State, run, settle, step
from jayul.core.types import Decision, Frame, Outcome, TagTable
from jayul.learn import Card, Carded
from jayul.plant.gated import Gated
from jayul.plant.journal import Compare, Diverged, JournalInbox, JournalPlant, Rejoin, Rewindable, Tape, Tick, read_back
from jayul.plant.link import Linked
from jayul.plant.sim.people import SimulatedPeople
from jayul.project import gates, hold, invariance, links
from jayul.project import histories as kept
from jayul.project.contracts import contract_of
from jayul.project.keep import Keeper
from jayul.project.manifest import load
from jayul.project.monitor import ProofMonitor
from jayul.project.problem import N_, ManifestError, Problem
from jayul.project.said import template_of
from jayul.project.summary import Summary, Tally
from jayul.project.tags import write_tags
from jayul.project.wire import Recorded, Wired, replay_line, wire
from jayul.prove.plan import Plan
from jayul.record.files import Files, OsFiles, write_whole
from jayul.record.inbox import Several, SqliteInbox, by_inbox
from jayul.record.journal import Head, Header, Scan, Writer
from jayul.record.sign import Signer
from jayul.record.verify import Checked

RUN_KEY = "run"
BEHIND = 10  # periods for which a clock that is behind the last tick is waited for
# may stand in a run folder before its journal
OWN = ("project", ".jayul-demo", "lock", "keys", "gateway", "state.db", "state.db-wal", "state.db-shm")
Watch = Callable[[int, int], None]  # ticks done, ticks in all


class Options(msgspec.Struct, frozen=True):
    """How to run. `acknowledge` gets each tick whose Decision is on disk; `progress` gets ticks done and ticks in all.

    `link`: another plant in the place of the manifest's.
    """

    seed: int = 0
    ticks: int | None = None
    history: bool = True
    stop: Callable[[], bool] = lambda: False
    acknowledge: Callable[[int], None] = lambda tick: None
    progress: Watch = lambda done, total: None
    link: links.Link | None = None


class Result(msgspec.Struct, frozen=True):
    """What `execute` did: the summary, and how it began (fresh, resumed, complete), with open Decisions that were closed.

    `trouble`: what went wrong with the history and has not gone well since; empty when all is well.
    """

    summary: Summary
    out: Path
    began: str
    closed: tuple[Outcome, ...] = ()
    torn_bytes: int = 0
    trouble: str = ""


def refuse(where: object, message: str, **params: object) -> ManifestError:
    """Return the error for a mistake that is not in a manifest. `{text}` is what a room below says: it is looked up."""
    if message == "{text}":
        message, params = template_of(str(params["text"]))  # type: ignore[assignment]
    return ManifestError(Problem(str(where), "", 0, message, {name: str(value) for name, value in params.items()}))


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the run folder for this process alone."""
    fd = os.open(out / hold.LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o640)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise refuse(out, N_("another process is running here; wait for it, or use another --out")) from None
        hold.write_self(fd)
        try:
            yield
        finally:
            os.ftruncate(fd, 0)
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
    folder = project if project.is_dir() else project.parent
    manifest = load(project)
    if options.link is not None:
        manifest = links.with_plant(manifest, folder, options.link)
    start = None
    if links.on_wire(manifest) and (header := read_header(OsFiles(out / "journal", create=False))) is not None:
        start = header.start
        done, own = read_summary(out), (header.seed, header.manifest) == (options.seed, manifest.canonical)
        if done and done.complete and own and options.ticks is None:
            return Result(done, out, "complete")  # what is over needs no peer
    wired = wire(manifest, folder, options.seed, start=start, stopped=options.stop)
    if out.exists() and not out.is_dir():
        raise refuse(out, N_("is a file; use another --out"))
    if out.is_dir() and not (out / "journal").is_dir() and any(path.name not in OWN for path in out.iterdir()):
        raise refuse(out, N_("is not a run folder and not empty; use another --out"))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise refuse(out, N_("cannot be made: a file stands in its way; use another --out")) from None
    with locked(out):
        files = OsFiles(out / "journal")
        header = read_header(files)
        if header is not None and (header.seed != options.seed or header.manifest != wired.header.manifest):
            what = N_("holds a run of seed {seed} and another manifest; keep it, and use --out {free}")
            if header.manifest == wired.header.manifest:
                what = N_("holds a run of seed {seed}; use another --out, or --seed {seed}")
            raise refuse(out, what, seed=header.seed, free=free(out))
        if header is not None and header.tags != wired.header.tags:
            message = N_("holds a run over other tags (the tag table was changed since); keep it, and use --out {free}")
            raise refuse(out, message, free=free(out))
        if header is not None and (done := read_summary(out)) and done.complete and options.ticks is None:
            return Result(done, out, "complete")
        if header is None:
            invariance.check(wired, options.seed)
        signer = Signer.open(RUN_KEY)
        with gates.gated(wired, folder, out, signer) as plant:
            return asyncio.run(_drive(replace(wired, plant=plant), out, files, header, options, signer))


def free(out: Path) -> Path:
    """Return a folder beside this one that is not there yet."""
    return next(path for n in itertools.count(2) if not (path := out.with_name(f"{out.name}-{n}")).exists())


def read_summary(out: Path) -> Summary | None:
    """Return the summary of a run folder, or None if there is none that can be read."""
    try:
        return msgspec.json.decode((out / "summary.json").read_bytes(), type=Summary)
    except (OSError, msgspec.MsgspecError):
        return None


def write_summary(out: Path, summary: Summary) -> None:
    """Put the summary in place."""
    write_whole(out / "summary.json", msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")


class _Past(msgspec.Struct, frozen=True):
    """What a journal holds already: how many events came by the inbox, and the scan that a writer goes on from."""

    scan: Scan
    ticks: int
    from_inbox: int
    open: bool
    at: int  # plant time of the last tick


def _look(files: Files, public: str) -> _Past:
    checked, ticks, inbox, open_, at = Checked(files, public), 0, 0, False, 0
    for _, entry in checked:
        if isinstance(entry, Decision):
            ticks, open_, at = ticks + 1, True, entry.at
            inbox += sum(by_inbox(heard.event) for heard in entry.events)
        elif isinstance(entry, Outcome):
            open_ = False
    return _Past(checked.scan, ticks, inbox, open_, at)


def _own_key(out: Path, signer: Signer) -> str:
    """Return the public key of a run folder, written there at the first start. Raises ManifestError if it is another's."""
    (out / "keys").mkdir(exist_ok=True)
    public = out / "keys" / "run.pub"
    if not public.exists():
        write_whole(public, signer.public.encode() + b"\n")
    if (known := public.read_text().strip()) != signer.public:
        raise refuse(
            public, N_("this run is signed with another key; bring that key into the key folder, or use another --out")
        )
    return known


def _check_time(wired: Wired, out: Path, past: _Past) -> None:
    """Refuse to go on where the clock is behind the last tick: the run would wait for that time to come again."""
    if isinstance(wired.clock, Wall) and past.at - wired.clock.now() > BEHIND * wired.line.period:
        message = N_("its time is {span} before the last tick here: set the clock, play on with --clock, or use --out {free}")
        span = dt.timedelta(microseconds=(past.at - wired.clock.now()) // 1000)
        raise refuse(out, message, span=span, free=free(out))


async def _drive(wired: Wired, out: Path, files: Files, header: Header | None, options: Options, signer: Signer) -> Result:
    began = monotonic()
    past = _look(files, _own_key(out, signer))
    _check_time(wired, out, past)
    total = wired.ticks if options.ticks is None else min(options.ticks, wired.ticks)
    tally = Tally(
        wired.line.table,
        wired.header.policies,
        tuple({name for seat in wired.line.seats for name in seat.needs}),
        wired.line.period,
    )
    sealing = ThreadPoolExecutor(1)
    if options.history:
        write_tags(out, wired.line.table.tags)
    contract, policy = contract_of(wired.manifest, wired.line.table.names), kept.policy(wired.manifest)
    keeper = Keeper(out / "history", wired.line.table, wired.plant, contract, sealing, policy) if options.history else None
    aside = ThreadPoolExecutor(1) if isinstance(wired.plant, Linked) else None
    monitor = _monitor(wired, aside)

    def watch(frame: Frame, decision: Decision, outcome: Outcome) -> None:
        tally.add(frame, decision, outcome)
        if monitor is not None:
            monitor.add(decision)
        if keeper is not None:
            keeper.add(frame, decision, outcome)
        if isinstance(wired.clock, Wall):
            writer.flush()  # who follows the journal sees the Outcome now, not with the next tick
        options.progress(decision.tick + 1, total)

    sqlite = SqliteInbox(out / "state.db", past.from_inbox, wired.header.policies)
    people = [SimulatedPeople()] if wired.manifest.people.simulated else []
    inbox = Several([sqlite, *people, *([monitor] if monitor else []), *([keeper] if keeper else [])])
    writer = Writer(
        files, wired.header, signer, commit=wired.manifest.run.commit, scan=past.scan, acknowledge=options.acknowledge
    )  # fmt: skip
    journal = gates.Told(writer, wired.plant) if isinstance(wired.plant, Gated) else writer
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
                wired.line, wired.plant, wired.clock, journal, inbox,
                ticks=total, state=before, last=last, stop=options.stop, watch=watch,
            )  # fmt: skip
    finally:
        head = writer.close()
        sqlite.close()
        if aside:
            aside.shutdown()
        if close := getattr(wired.plant, "close", None):
            await close()
        if keeper is not None:
            keeper.close(tally.last_at, tally.ticks - 1, signer)
        sealing.shutdown()
    summary = _summary(wired, tally, state, head, total, monotonic() - began, keeper)
    write_summary(out, summary)
    torn, trouble = past.scan.torn[2] if past.scan.torn else 0, keeper.trouble if keeper else ""
    return Result(summary, out, "resumed" if header else "fresh", tuple(closed), torn, trouble)


def _monitor(wired: Wired, aside: Executor | None) -> ProofMonitor | None:
    if not wired.header.proof:
        return None
    plan = msgspec.json.decode(wired.header.proof, type=Plan)
    return ProofMonitor(plan, TagTable(wired.header.tags), wired.line.period, aside)


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
    at, period = last[0].at, wired.line.period
    await wired.clock.until(at + period * max(0, -((at - wired.clock.now()) // period)))  # ticks stay on their beat
    return state, last[0]


def cards(wired: Wired, state: State) -> dict[str, Card]:
    """Return the card of every model that learns."""
    models = {name: model for name, (model, _) in wired.line.models.items()}
    return {name: model.card(state.models[name]) for name, model in models.items() if isinstance(model, Carded)}


def _summary(
    wired: Wired, tally: Tally, state: State, head: Head, total: int, seconds: float, keeper: Keeper | None
) -> Summary:
    kpi, least = wired.manifest.kpi, wired.manifest.contract.least if wired.manifest.contract else 0.0
    figures = {"mean": tally.kpi_mean(least), "coverage": tally.kpi_coverage(), "baseline": None, "active": None}
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
        kpi={"name": kpi.name, "unit": kpi.unit, **figures} if kpi else None,
        production=None,
        quality=None,
        limit_minutes=None,
        blocks=None,
        benefit=None,
        proof=None,
        fault=None,
        findings=tally.findings(),
        effort=tally.effort,
        models=cards(wired, state),
        signatures_simulated=wired.manifest.people.simulated,
        recorded=isinstance(wired.plant, Recorded),
        timezone=str(wired.manifest.plant.options.get("timezone", "UTC")),
        head=str(head),
        signed_head=msgspec.json.encode(head).decode(),
        asks=[f"{ask.policy}:{ask.subject}" for ask in tally.last.asks] if tally.last else [],
        link=gates.link_of(wired.plant),
        kept=keeper.kept() if keeper else None,
    )
