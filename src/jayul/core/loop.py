"""The one flow: `step()` is pure, `run()` is the one driver of simulation, replay and live plant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

import msgspec
import numpy as np
from msgspec.structs import replace

from jayul.core import ladder
from jayul.core.clock import Clock
from jayul.core.guard import FALLBACK, HOUR, Applied, Context, Rule, Writer, judge
from jayul.core.ladder import Rung, Terms

from jayul.core.types import (  # isort: skip
    Change, Decision, Event, Frame, Heard, Inbox, Journal, Level, MovePlan, Outcome, Plant, Proposal, Reading, Tag, TagTable, same,
)  # fmt: skip


class Model(Protocol):
    """Derives readings from frames; never acts. Both methods are pure; states are frozen."""

    tags: tuple[Tag, ...]  # what it derives
    needs: tuple[str, ...]  # what it reads

    def learn(self, frames: Sequence[Frame]) -> Any: ...
    def infer(self, state: Any, frame: Frame) -> tuple[Any, Sequence[Reading]]: ...


Wish: TypeAlias = Proposal | MovePlan
_WISHES, _ENCODE = msgspec.msgpack.Decoder(list[Wish]), msgspec.msgpack.Encoder().encode
Held: TypeAlias = dict[str, Applied]  # by tag
Memories: TypeAlias = dict[str, Any]  # by model or policy
Rungs: TypeAlias = dict[str, Rung]  # by policy
Orders: TypeAlias = dict[tuple[str, str], Event]  # by tag and person


class Policy(Protocol):
    """Turns a frame into wishes. `plan` is standing data (a target, a schedule) made outside the tick. Pure."""

    def __call__(self, state: Any, frame: Frame, plan: Any) -> tuple[Any, Sequence[Wish]]: ...


class Fallback(msgspec.Struct, frozen=True):
    """Where a tag goes when its policy is demoted: it stays, ramps to its value before our first move, or is let go."""

    action: Literal["hold", "ramp", "release"] = "hold"
    per_hour: float = 0.0  # of a ramp, in the tag's unit


class Seat(msgspec.Struct, frozen=True):
    """A policy in its place: its standing data, its allow-list, the inputs whose freshness it lives by, its terms."""

    name: str
    policy: Policy
    plan: Any
    tags: frozenset[str]
    needs: tuple[str, ...]
    terms: Terms


class Line(msgspec.Struct, frozen=True):
    """A wired project: everything `step` needs besides state, frame and events.

    `take` and `put` lay a plant's frame on `table`; `named` are the positions in `table` that the journal keeps; `period` in
    ns; `admit` gives the reason code for refusing an event (at a time, ns) whose sender, signature or body is not good, or nothing.
    """

    table: TagTable
    take: np.ndarray
    put: np.ndarray
    named: np.ndarray
    period: int
    models: Mapping[str, tuple[Model, Any]] = {}  # with the state before the first frame
    seats: tuple[Seat, ...] = ()
    fallback: Mapping[str, Fallback] = {}
    rules: tuple[Rule, ...] = ()  # none: nothing may be written
    admit: Callable[[Event, int], str] = lambda event, at: "not-authorised"


class State(msgspec.Struct, frozen=True):
    """All that goes from one tick to the next; a restart folds it from the journal.

    `last`: what we hold; `origin`: what stood there before our first move; `signals`: asked, vetoed, trouble of the last tick;
    `orders`: by tag and person, what people ordered about tags.
    """

    tick: int
    models: Memories
    policies: Memories
    rungs: Rungs
    last: Held = {}
    origin: dict[str, float] = {}
    signals: dict[str, tuple[int, int, str]] = {}
    orders: Orders = {}


def start(line: Line) -> State:
    """Return the state before the first tick: every policy at record."""
    models, names = {name: memory for name, (_, memory) in line.models.items()}, [s.name for s in line.seats]
    return State(0, models, dict.fromkeys(names), {name: Rung() for name in names})


def step(line: Line, state: State, frame: Frame, events: Sequence[Event]) -> tuple[State, Decision, Frame]:
    """Derive, propose, climb and judge: one tick, without touching the world.

    `frame` is on the plant's table; returned is the one on the line's table, derived tags filled in.
    """
    frame = frame if frame.table is line.table else frame.spread(line.table, line.take, line.put)
    models, frame, ill = derive(line, state.models, frame)
    policies, wishes, failed = propose(line, state.policies, state.rungs, frame)
    state, decision = decide(line, state, frame, events, wishes, ill + failed)
    for event in [heard.event for heard in decision.events if heard.event.kind == "configuration" and not heard.refused]:
        models |= affected(line, event.body["names"])[0]
    return replace(state, models=models, policies=policies), decision, frame


def derive(line: Line, memories: Memories, frame: Frame) -> tuple[Memories, Frame, tuple[str, ...]]:
    """Join each model's readings. One that fails leaves its tags Bad_NoData, which the guard refuses, and starts afresh."""
    memories, failed = dict(memories), []
    for name, (model, fresh) in line.models.items():
        try:
            memories[name], readings = model.infer(memories[name], frame)
            if not {reading.tag for reading in readings} <= {tag.name for tag in model.tags}:
                raise ValueError("a model derives its own tags, and no others")
            frame = frame.join(readings)
        except Exception:  # noqa: BLE001 - an extension's bug must not stop the line; it is journalled by name
            memories[name] = fresh
            failed.append(name)
    return memories, frame, tuple(failed)


def propose(line: Line, memories: Memories, rungs: Rungs, frame: Frame) -> tuple[Memories, list[Wish], tuple[str, ...]]:
    """Ask every policy above record. One that fails, or does not speak in its own name, proposes nothing and starts afresh."""
    memories, failed, wishes = dict(memories), [], list[Wish]()
    for seat in line.seats:
        if rungs[seat.name].level == Level.RECORD:
            continue
        try:
            memories[seat.name], wished = seat.policy(memories[seat.name], frame, seat.plan)
            wished = _WISHES.decode(_ENCODE(wished))  # as it will be read from the journal: every field of its type
            if not all(w.by == seat.name and (isinstance(w, Proposal) or w.sealed() == w) for w in wished):
                raise ValueError("a policy proposes, and lays sealed plans, in its own name")
            wishes.extend(wished)
        except Exception:  # noqa: BLE001 - as above; the ladder hears of it
            memories[seat.name] = None
            failed.append(seat.name)
    return memories, wishes, tuple(failed)


def decide(
    line: Line, state: State, frame: Frame, events: Sequence[Event], wishes: Sequence[Wish], failed: tuple[str, ...]
) -> tuple[State, Decision]:
    """Fold tick and events into the ladder, then judge what was proposed. `frame` is complete, on the line's table."""
    last, lost = _overrides(state, frame)
    trouble = lost | {name: "policy-failed" for name in failed if name in state.rungs}
    rungs, changes = _climb(line, state, frame, trouble)
    orders = dict(state.orders)
    heard = tuple([Heard(event, _hear(line, rungs, changes, orders, event, frame, state.tick)) for event in events])
    plans = tuple([wish for wish in wishes if isinstance(wish, MovePlan)])
    for plan in plans:
        rungs[plan.by] = replace(rungs[plan.by], offer=ladder.Offer(plan, state.tick))
    last, back = _fall_back(line, rungs, last, state.origin, frame)
    offers = {name: rung.offer.plan if rung.offer else None for name, rung in rungs.items()}
    writers = {s.name: Writer(s.tags, ladder.may_write(rungs[s.name]), offers[s.name]) for s in line.seats}
    writers[FALLBACK] = Writer(line.fallback, may_write=True)
    asked = [wish for wish in wishes if isinstance(wish, Proposal)] + back
    verdicts = judge(Context(frame, writers, last, line.period, orders=orders), asked, line.rules)
    may = {name for name, writer in writers.items() if writer.may_write}
    writes = tuple([i for i, v in enumerate(verdicts) if v.allowed is not None and v.proposal.by in may])
    asks = tuple(ask for s in line.seats for ask in ladder.asks(rungs[s.name], s.terms, s.name))
    seen, levels = (state.tick, frame.at, frame.digest(), frame.columns(line.named)), [rung.level for rung in rungs.values()]
    decision = Decision(*seen, heard, plans, verdicts, tuple(levels), tuple(changes), asks, writes, failed)
    origin = {(tag := verdicts[i].proposal.tag): frame[tag] for i in writes} | state.origin if writes else state.origin
    return replace(state, rungs=rungs, last=last, origin=origin, orders=orders), decision


def _overrides(state: State, frame: Frame) -> tuple[Held, dict[str, str]]:
    """Let go of every tag in which another hand shows since our write, and say whose policy it was."""
    seen = {tag: int(frame.seen_at[frame.table.index[tag]]) for tag in state.last}
    lost = {t: a.by for t, a in state.last.items() if frame.fresh(t) and seen[t] > a.at and not same(frame[t], a.value)}
    return {tag: a for tag, a in state.last.items() if tag not in lost}, dict.fromkeys(lost.values(), "override")


def _climb(line: Line, state: State, frame: Frame, trouble: Mapping[str, str]) -> tuple[Rungs, list[Change]]:
    rungs, changes = Rungs(), list[Change]()
    for seat in line.seats:
        rung, aborted = ladder.watch(state.rungs[seat.name], frame)
        asked, vetoed, before = state.signals.get(seat.name, (0, 0, ""))
        fresh = all(map(frame.fresh, seat.needs))
        rung, reason = ladder.fold(rung, seat.terms, fresh, asked, vetoed)
        reason = min(filter(None, (before, trouble.get(seat.name), aborted, reason)), key=ladder.FALLS.__getitem__, default="")
        if reason:
            rung, fallen = ladder.fall(rung, state.tick, reason, seat.name)
            changes += fallen
        rungs[seat.name] = rung
    return rungs, changes


def _hear(line: Line, rungs: Rungs, changes: list[Change], orders: Orders, event: Event, frame: Frame, tick: int) -> str:
    """Take one event into rungs and changes, or orders. Return the reason code of its refusal, or nothing."""
    if refused := line.admit(event, frame.at):
        return refused
    if event.kind == "limit":
        key = event.body["tag"], event.body.get("of", event.by)
        if key in orders and orders[key].at >= event.at:
            return "order-out-of-date"
        orders[key] = event
        return ""
    if event.kind == "configuration":
        for s in line.seats:
            if affected(line, event.body["names"])[1] & {s.name, *s.tags, *s.needs}:
                rung, fallen = ladder.fall(rungs[s.name], tick, "changed", s.name, event.by)
                rungs[s.name] = replace(rung, evidence={name: good for name, good in rung.evidence.items() if not good})
                changes += fallen
    seat = next((s for s in line.seats if s.name == event.body.get("policy")), None)
    if seat is None:
        return "" if event.kind in ("note", "configuration") else "unknown-policy"
    rungs[seat.name], changed, refused = ladder.hear(rungs[seat.name], seat.terms, event, frame, tick, seat.name)
    changes += changed
    return refused


def affected(line: Line, names: Iterable[str]) -> tuple[Memories, set[str]]:
    """Return the models that start afresh when tags, models or policies of these names change, and all names that are touched."""
    afresh, names = Memories(), set(names)
    for name, (model, fresh) in line.models.items():
        if names & {name, *model.needs}:
            afresh[name] = fresh
            names |= {tag.name for tag in model.tags}
    return afresh, names


def _fall_back(line: Line, rungs: Rungs, last: Held, origin: Mapping[str, float], frame: Frame) -> tuple[Held, list[Proposal]]:
    """Return what we go on holding, and the way back for tags whose policy may no longer write."""
    held, back = Held(), list[Proposal]()
    for tag, applied in last.items():
        rule = line.fallback.get(tag, Fallback())
        if rule.action == "hold" or any(tag in s.tags and rungs[s.name].level >= Level.CONFIRM for s in line.seats):
            held[tag] = applied
        elif rule.action == "ramp" and applied.value != origin[tag]:
            held[tag] = applied
            reach = rule.per_hour * line.period / HOUR
            value = min(max(origin[tag], frame[tag] - reach), frame[tag] + reach)
            back.append(Proposal(tag, value, f"back to {origin[tag]:g}, which stood before the first move", FALLBACK, plan=tag))
    return held, back


def settle(state: State, decision: Decision, outcome: Outcome) -> State:
    """Take in what the plant did: the values we now hold, and what the next tick must know of this one."""
    signals: dict[str, tuple[int, int, str]] = {}
    for verdict in decision.verdicts:
        asked, vetoed, _ = signals.get(verdict.proposal.by, (0, 0, ""))
        signals[verdict.proposal.by] = (asked + 1, vetoed + (verdict.allowed is None and verdict.rule not in ladder.WAITS), "")
    if not decision.writes:
        return replace(state, tick=state.tick + 1, signals=signals)
    owners = {decision.verdicts[i].proposal.tag: decision.verdicts[i].proposal.by for i in decision.writes}
    last, codes = dict(state.last), {by: set[str]() for by in signals}
    receipts = {receipt.tag: receipt for receipt in outcome.receipts}
    for tag, by in owners.items():
        receipt = receipts.get(tag)
        codes[by].add(_TROUBLE.get(receipt.state, "") if receipt else "outcome-unknown")
        if receipt and receipt.applied is not None and receipt.state in ("settled", "pending"):
            last[tag] = Applied(receipt.applied, receipt.at, by)
    for by, found in codes.items():
        trouble = "write-partial" if {"", "write-rejected"} <= found else min(found - {""}, default="")
        signals[by] = (*signals[by][:2], trouble)
    return replace(state, tick=state.tick + 1, signals=signals, last=last)


_TROUBLE = {"rejected": "write-rejected", "overridden": "override", "unknown": "outcome-unknown"}  # by state of a receipt


async def run(
    line: Line, plant: Plant, clock: Clock, journal: Journal, inbox: Inbox, *,
    ticks: int, state: State | None = None, last: Decision | None = None, stop: Callable[[], bool] = lambda: False,
    watch: Callable[[Frame, Decision, Outcome], None] = lambda frame, decision, outcome: None,
) -> State:  # fmt: skip
    """Drive the line until `ticks` are done or `stop()` says so; the tick that has begun is finished.

    `state` and `last` are those of an earlier run that goes on. `watch` sees every finished tick.
    """
    state = state or start(line)
    due = last.at + line.period if last else clock.now()
    while state.tick < ticks and not stop():
        await clock.until(due)
        if stop():
            break
        frame = await plant.read()
        state, decision, frame = step(line, state, frame, inbox.drain(frame.at, last))
        journal.append(decision)
        allowed = [decision.verdicts[i] for i in decision.writes]
        receipts = await plant.write(allowed) if allowed or state.last else ()  # an empty write: we hold on (watchdog)
        outcome = Outcome(decision.tick, tuple(receipts))
        journal.append(outcome)
        state, last = settle(state, decision, outcome), decision
        watch(frame, decision, outcome)
        due += line.period * max(1, -((due - clock.now()) // line.period))  # periods that were slept through are not made up
    return state
