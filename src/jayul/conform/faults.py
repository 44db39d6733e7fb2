"""Ten thousand faults in simulated time: what comes from the policy stops, and the way back begins, within one period.

python -m jayul.conform.faults --faults 10000 --seed 0

Each fault starts from the same moment: a tank line at `confirm`, an approved plan under way, two set-points moving. It is
drawn: kind, tag, how long after that moment, how long it lasts. The tick at which it can first be seen is computed from the
fault, not from the answer. From then on nothing from the policy may be sent (one period later where it shows in what the plant
did), the level must be what the reason leaves, and the fallback must ask for the way back wherever its tags can be read. Faults
that do no harm (a frame twice, an old one once, an event that is refused) must leave everything as it was.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import msgspec
import numpy as np

from jayul.core.clock import Sim, monotonic
from jayul.core.guard import FALLBACK
from jayul.core.loop import Line, State, settle, start, step
from jayul.core.types import BAD, SECOND, Decision, Event, Frame, Level, Outcome, Receipt, Verdict
from jayul.plant.sim.people import NAME, SimulatedPeople
from jayul.plant.sim.tank import Tank
from jayul.project.manifest import load
from jayul.project.wire import wire

MANIFEST = """
[project]
name = "faults"
[run]
period = "30 s"
duration = "24 h"
commit = "group"
[plant]
kind = "tank"
[people]
simulated = true
[[model]]
kind = "frozen"
name = "frozen"
tags = ["TIC1.PV", "TIC2.PV", "LIC1.PV", "FI2.PV"]
after = "3 min"
[guard]
require = [
  "frozen.alarm == 0", "TIC1.PV > 10 [degC] and TIC1.PV < 90 [degC]", "TIC2.PV > 10 [degC] and TIC2.PV < 90 [degC]",
  "LIC1.PV > 20 [%] and LIC1.PV < 80 [%]", "FI2.PV > 3 [m3/h] and FI2.PV < 10 [m3/h]",
]
[[policy]]
kind = "setpoint"
name = "warmer"
writes = ["TIC1.SP", "LIC1.SP"]
needs = ["TIC1.PV", "TIC2.PV", "LIC1.PV", "FI2.PV"]
target = { "TIC1.SP" = 62.0, "LIC1.SP" = 60.0 }
per_hour = { "TIC1.SP" = 6.0, "LIC1.SP" = 8.0 }
[fallback."TIC1.SP"]
action = "ramp"
per_hour = 30.0
[fallback."LIC1.SP"]
action = "ramp"
per_hour = 60.0
[ladder]
stale_ticks = 1
veto_ticks = 1
[ladder.shadow]
ticks = 3
[ladder.advise]
ticks = 3
[ladder.confirm]
ticks = 3
"""
Kind = Literal[
    "stale", "frozen", "NaN", "infinite", "bad status", "late", "from the future", "swapped unit", "clock forward", "clock back",
    "second writer", "operator takes the mode", "partial write", "no answer to a write", "duplicate frame", "old frame",
    "replayed approval", "forged signature", "forged evidence",
]  # fmt: skip
KINDS: tuple[Kind, ...] = Kind.__args__  # type: ignore[attr-defined]
HARMLESS = ("duplicate frame", "old frame", "replayed approval", "forged signature", "forged evidence")
SHOWS_IN_OUTCOME = ("partial write", "no answer to a write", "operator takes the mode")
PERIOD = 30 * SECOND
WATCHED = ("TIC1.PV", "TIC2.PV", "LIC1.PV", "FI2.PV")
WRITTEN = ("TIC1.SP", "LIC1.SP")
WARM = 40  # ticks until the moment from which every fault starts


class Drawn(msgspec.Struct, frozen=True):
    """One fault: `at` ticks after the moment, for `lasts` ticks, on `tag`."""

    kind: Kind
    tag: str
    at: int
    lasts: int


class Faulty:
    """The tank, seen through the fault."""

    def __init__(self, plant: Tank, fault: Drawn) -> None:
        self.tags, self._plant, self._fault, self.tick = plant.tags, plant, fault, 0
        self._before: Frame | None = None
        self._held: tuple[float, int] | None = None

    @property
    def inside(self) -> bool:
        """Say whether the fault is on at this tick."""
        return self._fault.at <= self.tick < self._fault.at + self._fault.lasts

    async def read(self) -> Frame:
        """Return the frame, befallen."""
        frame, before = await self._plant.read(), self._before
        self._before = frame
        if self._held is None:
            self._held = (frame[self._fault.tag], int(frame.source_at[frame.table.index[self._fault.tag]]))
        if not self.inside:
            self._held = (frame[self._fault.tag], int(frame.source_at[frame.table.index[self._fault.tag]]))
            return frame
        return self._befall(frame, before or frame)

    def _befall(self, frame: Frame, before: Frame) -> Frame:
        i, (value, at) = frame.table.index[self._fault.tag], self._held or (0.0, 0)
        v, source, seen, status = (column.copy() for column in (frame.value, frame.source_at, frame.seen_at, frame.status))
        now = frame.at
        match self._fault.kind:
            case "stale":
                v[i], source[i] = value, at - 61 * SECOND
            case "frozen":
                v[i] = value
            case "NaN" | "infinite":
                v[i] = np.nan if self._fault.kind == "NaN" else np.inf
            case "bad status":
                status[i] = BAD
            case "late":
                source[i] -= 90 * SECOND
            case "from the future":
                source[i] += 3600 * SECOND
            case "swapped unit":
                v[i] = v[i] * 9 / 5 + 32 if frame.table.tags[i].unit == "degC" else v[i] * (4.4 if i else 1.0)
            case "clock forward":
                now += 3600 * SECOND
            case "clock back":
                now -= 3600 * SECOND
            case "duplicate frame":
                return _again(frame.at, before)
            case "old frame" if self.tick == self._fault.at:
                return _again(frame.at, before)
        return Frame(now, frame.table, v, source, seen, status)

    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]:
        """Write, befallen."""
        if self.inside and self._fault.kind == "partial write" and len(verdicts) > 1:
            return list(await self._plant.write(verdicts[:1]))
        if self.inside and self._fault.kind == "no answer to a write":
            return []
        if self.inside and self._fault.kind == "operator takes the mode":
            self._plant._mode = 0
        return await self._plant.write(verdicts)

    def meddle(self) -> None:
        """Let another hand move the set-point."""
        if self.inside and self._fault.kind == "second writer" and self.tick == self._fault.at:
            self._plant._sp1 += 0.7


def _again(at: int, frame: Frame) -> Frame:
    return Frame(at, frame.table, *(c.copy() for c in (frame.value, frame.source_at, frame.seen_at, frame.status)))


class Told(msgspec.Struct):
    """What came of many faults, by kind."""

    faults: Counter[str] = msgspec.field(default_factory=Counter)
    stopped: Counter[str] = msgspec.field(default_factory=Counter)
    reasons: dict[str, Counter[str]] = {}
    failures: list[str] = []


class Moment(msgspec.Struct):
    """The moment from which every fault starts."""

    line: Line
    plant: Tank
    clock: Sim
    state: State
    last: Decision
    approval: Event


def moment() -> Moment:
    """Run a line until its plan is under way."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "jayul.toml").write_text(MANIFEST, encoding="utf-8")
        wired = wire(load(Path(folder)), Path(folder), 0)
    plant: Any = wired.plant
    assert isinstance(wired.clock, Sim)

    async def drive() -> tuple[State, Decision, Event]:
        state, last, people, approval = start(wired.line), None, SimulatedPeople(), None
        for _ in range(WARM):
            frame = await plant.read()
            events = people.drain(frame.at, last)
            approval = next((event for event in events if event.kind == "approval"), approval)
            state, decision, _ = step(wired.line, state, frame, events)
            sent = [decision.verdicts[i] for i in decision.writes]
            state = settle(state, decision, Outcome(decision.tick, tuple(await plant.write(sent)) if sent else ()))
            last = decision
            await wired.clock.until(frame.at + PERIOD)
        assert last is not None
        assert approval is not None
        return state, last, approval

    state, last, approval = asyncio.run(drive())
    if last.levels != (Level.CONFIRM,) or len(last.writes) != len(WRITTEN):
        raise RuntimeError("the line does not move at the moment from which the faults start")
    return Moment(wired.line, plant, wired.clock, state, last, approval)


def draw(rng: Any) -> Drawn:
    """Draw one fault."""
    kind = KINDS[int(rng.integers(len(KINDS)))]
    tag = WATCHED[int(rng.integers(len(WATCHED)))]
    if kind == "swapped unit":
        tag = WATCHED[int(rng.integers(2))]
    lasts = int(rng.integers(10, 14)) if kind == "frozen" else int(rng.integers(1, 8))
    return Drawn(kind, tag, int(rng.integers(0, 8)), 1 if kind == "duplicate frame" else lasts)


def visible(fault: Drawn) -> int:
    """Return the tick at which a fault can first be seen."""
    if fault.kind == "frozen":
        return fault.at + 6  # the value has stood for 3 minutes: 6 periods after the last change
    if fault.kind == "second writer":
        return fault.at + 1  # he moves it after the tick has been read
    return fault.at


async def suffer(now: Moment, fault: Drawn) -> tuple[list[str], str]:
    """Go on from the moment with one fault. Return what went wrong, and the reason of the first demotion."""
    memo: dict[int, Any] = {}
    clock = copy.deepcopy(now.clock, memo)
    plant = Faulty(copy.deepcopy(now.plant, memo), fault)
    state, wrong, reason = now.state, list[str](), ""
    seen = visible(fault)
    since = seen + (fault.kind in SHOWS_IN_OUTCOME)
    harmless = fault.kind in HARMLESS
    for tick in range(fault.at + fault.lasts + 3):
        plant.tick = tick
        frame = await plant.read()
        state, decision, known = step(now.line, state, frame, _events(fault, tick, frame.at, now))
        sent = [decision.verdicts[i] for i in decision.writes]
        by_policy = [verdict for verdict in sent if verdict.proposal.by != FALLBACK]
        reason = reason or next((change.reason for change in decision.changes if change.after < change.before), "")
        if not harmless and tick >= since and by_policy:
            wrong.append(f"tick {tick}: {by_policy[0].proposal.tag} was sent though the fault shows since tick {seen}")
        if not harmless and tick > since and decision.levels[0] >= Level.CONFIRM:
            wrong.append(f"tick {tick}: still at {decision.levels[0].name.lower()}")
        if not harmless and tick > since:
            wrong += _way_back(tick, decision, state, known)
        if harmless and (decision.levels[0] < Level.CONFIRM or not by_policy):
            wrong.append(f"tick {tick}: a harmless fault stopped the line ({reason})")
        if fault.kind in ("replayed approval", "forged signature", "forged evidence") and tick == fault.at:
            wrong += [] if all(heard.refused for heard in decision.events) and decision.events else ["an event was taken"]
        receipts = await plant.write(sent) if sent or state.last else ()
        state = settle(state, decision, Outcome(decision.tick, tuple(receipts)))
        plant.meddle()
        await clock.until(clock.now() + PERIOD)
    return wrong, reason


def _way_back(tick: int, decision: Decision, state: State, known: Frame) -> list[str]:
    """Say which tag that we still hold, away from where it stood, nobody brings back though it can be read."""
    asked = {verdict.proposal.tag for verdict in decision.verdicts if verdict.proposal.by == FALLBACK}
    return [
        f"tick {tick}: {tag} is not brought back"
        for tag in state.last
        if known.fresh(tag)
        and known[tag] != state.origin[tag]
        and state.last[tag].value != state.origin[tag]
        and tag not in asked
    ]


def _events(fault: Drawn, tick: int, at: int, now: Moment) -> list[Event]:
    if tick != fault.at:
        return []
    match fault.kind:
        case "replayed approval":
            return [now.approval]
        case "forged signature":
            body = {"policy": "warmer", "level": "auto", "since": now.state.rungs["warmer"].since}
            return [
                Event("signature", "Kim", at, body, "forged", b"x" * 64),
                Event("signature", NAME + " ", at, body, "forged too"),
            ]
        case "forged evidence":
            return [
                Event(
                    "evidence", "proof monitor", at, {"policy": "warmer", "name": "proven", "passed": True}, "inbox-mon-proof"
                )
            ]
    return []


def run(faults: int, seed: int, progress: Callable[[int], None] = lambda done: None) -> Told:
    """Let so many faults befall the line."""
    now, rng, told = moment(), Sim(0, seed).rng("faults"), Told(reasons={}, failures=[])

    async def all_of_them() -> None:
        for i in range(faults):
            fault = draw(rng)
            wrong, reason = await suffer(now, fault)
            told.faults[fault.kind] += 1
            told.stopped[fault.kind] += not wrong
            told.reasons.setdefault(fault.kind, Counter())[reason or "-"] += 1
            told.failures += [f"{fault}: {what}" for what in wrong[:1]]
            progress(i + 1)

    asyncio.run(all_of_them())
    return told


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the table, and say 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--faults", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    begun = monotonic()
    told = run(args.faults, args.seed)
    print(f"{'fault':26}{'injected':>10}{'as it must':>12}   demoted because")
    for kind in KINDS:
        reasons = ", ".join(f"{reason} {count}" for reason, count in told.reasons.get(kind, Counter()).most_common())
        print(f"{kind:26}{told.faults[kind]:>10}{told.stopped[kind]:>12}   {reasons}")
    for failure in told.failures[:20]:
        print(f"FAILED {failure}")
    print(
        json.dumps(
            {"faults": args.faults, "failures": len(told.failures), "seed": args.seed, "seconds": round(monotonic() - begun, 1)}
        )
    )
    return 1 if told.failures else 0


if __name__ == "__main__":
    sys.exit(main())
