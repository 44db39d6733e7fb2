"""Attack the guard: proposals at random and proposals that were aimed at its edges, held by an oracle that shares no code with it.

python -m jayul.conform.adversary --proposals 1000000 --seed 0

Two lines, each with rules of many kinds: the simulated tank, and a Tennessee Eastman plant that was linearised from its simulator
(steady gains and one time constant for each output; needs the extra `tep`). The attacker sits at `auto`, so nothing but the guard
stands between it and the plant. A breach is a value that reaches the plant and breaks any rule, computed anew from what the plant
did.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import itertools
import json
import math
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
from msgspec.structs import replace

from jayul.core.clock import Sim, monotonic
from jayul.core.ladder import Rung
from jayul.core.loop import Line, State, decide, derive, settle, start
from jayul.core.types import SECOND, Event, Frame, Level, Outcome, Plant, Proposal, Receipt, Tag, TagTable, Verdict
from jayul.plant.sim.people import NAME as ENGINEER
from jayul.project.manifest import load
from jayul.project.wire import wire

HOUR = 3600 * SECOND
HEAD = """
[project]
name = "attacked"
[run]
period = "1 min"
duration = "9000 h"
commit = "group"
[people]
simulated = true
"""
TANK = """
[plant]
kind = "tank"
[[policy]]
kind = "hold"
name = "attacker"
writes = ["TIC1.SP", "LIC1.SP"]
needs = ["TIC1.PV"]
[guard]
require = ["LIC1.PV > 5 [%]"]
[[guard.rule]]
kind = "mode"
mode = "TIC1.MODE"
takes = ["RCAS"]
[[guard.rule]]
kind = "rate"
tags = ["TIC1.SP"]
window = "30 min"
most = 5.0
[[guard.rule]]
kind = "travel"
tags = ["LIC1.SP"]
window = "2 h"
most = 12.0
[[guard.rule]]
kind = "moves"
tags = ["TIC1.SP"]
window = "20 min"
most = 12
[[guard.rule]]
kind = "dwell"
tags = ["LIC1.SP"]
window = "3 min"
[[guard.rule]]
kind = "between"
tags = ["TIC1.SP"]
high = "TIC2.SP"
[[guard.rule]]
kind = "age"
of = ["TIC2.PV"]
most = "1 min"
[[guard.rule]]
kind = "halfspace"
weights = { "TIC1.SP" = 1.0, "LIC1.SP" = 0.5 }
most = 90.0
[[guard.rule]]
kind = "hours"
timezone = "Asia/Seoul"
from = "06:00"
to = "02:00"
"""


class Told(msgspec.Struct):
    """The limits that the oracle holds: read from the manifest's text by hand, not through the rules."""

    tags: dict[str, tuple[float, float, float]]  # low, high, step
    rate: dict[str, tuple[int, float]] = {}  # window ns, most
    travel: dict[str, tuple[int, float]] = {}
    moves: dict[str, tuple[int, int]] = {}
    dwell: dict[str, int] = {}
    above: dict[str, str] = {}  # tag -> tag that it may not exceed
    sums: list[tuple[dict[str, float], float]] = []
    mode: tuple[str, float] | None = None
    hours: tuple[str, int, int] | None = None  # zone, from and to in minutes, past midnight
    limits: dict[str, tuple[float, float]] = {}  # ordered by a person
    locked: set[str] = set()


class Oracle:
    """Sees what stands in the plant before and after every tick and says which rule was broken."""

    def __init__(self, told: Told) -> None:
        self.told, self._past = told, {tag: deque[tuple[int, float]]() for tag in told.tags}

    def breaches(self, frame: Frame, sent: dict[str, float]) -> list[str]:
        """Return what is broken by sending these values at this frame."""
        told, found = self.told, list[str]()
        for tag in told.tags:  # whoever moved it
            past = self._past[tag]
            if frame.fresh(tag) and (not past or past[-1][1] != frame[tag]):
                past.append((frame.at, frame[tag]))
            while len(past) > 1 and past[1][0] <= frame.at - 24 * HOUR:
                past.popleft()
        for tag, value in sent.items():
            found += [f"{what}: {tag} {frame[tag]!r} -> {value!r}" for what in self._broken(frame, tag, value)]
        for weights, most in told.sums:
            if weights.keys() & sent.keys():
                before, after = (sum(w * at.get(t, frame[t]) for t, w in weights.items()) for at in ({}, sent))
                if after > most and after > before:
                    found.append(f"sum {after!r} above {most!r}")
        return found

    def _broken(self, frame: Frame, tag: str, value: float) -> list[str]:
        told, found, now = self.told, list[str](), frame[tag]
        if tag not in told.tags or not math.isfinite(value):
            return ["not to be written"]
        low, high, step = told.tags[tag]
        moved = value != now
        rules = {
            "range": not low <= value <= high,
            "step": abs(value - now) > step * (1 + 1e-12) + 1e-12,
            "lock": tag in told.locked,
            "limit": tag in told.limits and not told.limits[tag][0] <= value <= told.limits[tag][1],
            "mode": told.mode is not None and frame[told.mode[0]] != told.mode[1],
            "above": tag in told.above and value > frame[told.above[tag]],
            "hours": told.hours is not None and not _inside(frame.at, told.hours),
        }
        if tag in told.rate:
            window, most = told.rate[tag]
            rules["rate"] = any(abs(value - old) > most * (1 + 1e-12) for old in self._values(tag, frame.at - window))
        if tag in told.travel and moved:
            window, budget = told.travel[tag]
            values = [*self._values(tag, frame.at - window), value]
            rules["travel"] = sum(abs(b - a) for a, b in itertools.pairwise(values)) > budget * (1 + 1e-9)
        if tag in told.moves and moved:
            window, count = told.moves[tag]
            rules["moves"] = len(self._values(tag, frame.at - window)) > count
        if tag in told.dwell and moved:
            rules["dwell"] = len(self._values(tag, frame.at - told.dwell[tag])) > 1
        found += [name for name, broken in rules.items() if broken]
        return found

    def _values(self, tag: str, begin: int) -> list[float]:
        """Return the value that stood at `begin` and those after it."""
        past = self._past[tag]
        first = max((i for i, (at, _) in enumerate(past) if at <= begin), default=0)
        return [value for _, value in list(past)[first:]]


def _inside(at: int, hours: tuple[str, int, int]) -> bool:
    now = dt.datetime.fromtimestamp(at // SECOND, ZoneInfo(hours[0]))
    minute = now.hour * 60 + now.minute
    return hours[1] <= minute < hours[2] if hours[1] < hours[2] else minute >= hours[1] or minute < hours[2]


class Attacker:
    """Makes proposals: a third at random, a third at and around the edges, a third from what got through before, pushed on."""

    def __init__(self, line: Line, told: Told, rng: Any) -> None:
        self._told, self._rng = told, rng
        self._own, self._all = list(told.tags), [*line.table.names, "no such tag"]
        self._push: dict[str, float] = dict.fromkeys(self._own, 1.0)

    def learn(self, verdicts: Sequence[Verdict], before: Frame) -> None:
        """Turn round where the guard held, go on where it let through."""
        for verdict in verdicts:
            tag = verdict.proposal.tag
            if tag in self._push and verdict.allowed is not None and verdict.allowed == before[tag]:
                self._push[tag] = -self._push[tag]

    def proposals(self, frame: Frame, count: int) -> list[Proposal]:
        """Return so many proposals: one batch that is meant, and others beside it."""
        rng, found = self._rng, list[Proposal]()
        plans = ["", "a", "b"]
        for i in range(count):
            tag = self._own[int(rng.integers(len(self._own)))]
            if rng.random() < 0.05:
                tag = self._all[int(rng.integers(len(self._all)))]
            value = self._value(frame, tag, int(rng.integers(3)))
            by = "attacker" if rng.random() < 0.97 else str(rng.choice(["nobody", ""]))
            needs = ("no such tag",) if rng.random() < 0.01 else ()
            unit = "K" if rng.random() < 0.01 else ""
            expires = 1 if rng.random() < 0.01 else 0
            plan = plans[i % 3] if rng.random() < 0.5 else ""
            found.append(Proposal(tag, value, "attack", by, needs, expires=expires, plan=plan, unit=unit))
        keep: dict[str, Proposal] = {}
        for proposal in (
            found if rng.random() < 0.9 else ()
        ):  # most often one proposal for each tag, so that it is not refused for that
            keep.setdefault(proposal.tag, proposal)
        return list(keep.values()) or found

    def _value(self, frame: Frame, tag: str, how: int) -> float:
        rng = self._rng
        if tag not in self._told.tags:
            return float(rng.normal(0, 100))
        low, high, step = self._told.tags[tag]
        now = frame[tag]
        if how == 0:
            odd = (math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, now)
            return (
                float(odd[int(rng.integers(len(odd)))]) if rng.random() < 0.1 else float(rng.uniform(low - step, high + step))
            )
        edges = [low, high, now + step, now - step, now]
        edges += [edge for pair in self._told.limits.values() for edge in pair]
        if how == 1:
            edge = edges[int(rng.integers(len(edges)))]
            return float(np.nextafter(edge, edge + rng.choice([-1, 0, 1]))) + float(
                rng.choice([0.0, 1e-12, -1e-12, 1e-6, -1e-6])
            )
        return now + self._push[tag] * step * float(rng.choice([1.0, 0.999999999, 0.5, 10.0, 1e-9]))


class Attacked(msgspec.Struct):
    """What came of it."""

    line: str
    proposals: int = 0
    ticks: int = 0
    sent: int = 0
    moved: int = 0
    rules: dict[str, int] = {}
    breaches: list[str] = []


async def attack(name: str, line: Line, plant: Plant, clock: Sim, told: Told, proposals: int, rng: Any) -> Attacked:
    """Attack one line with so many proposals, a dozen and more at a tick."""
    found, oracle, attacker = Attacked(name, rules={}), Oracle(told), Attacker(line, told, rng)
    state: State = replace(start(line), rungs={seat.name: Rung(Level.AUTO) for seat in line.seats})
    due, own = clock.now(), list(told.tags)
    while found.proposals < proposals:
        await clock.until(due)
        raw = await plant.read()
        models, frame, _ = derive(line, state.models, raw.spread(line.table, line.take, line.put))
        wishes = attacker.proposals(frame, int(rng.integers(1, 40)))
        events = _orders(told, own, frame.at, found.ticks, rng)
        state, decision = decide(line, replace(state, models=models), frame, events, wishes, ())
        state = replace(
            state, rungs={seat: Rung(Level.AUTO) for seat in state.rungs}
        )  # whatever the ladder says: it stays up there
        verdicts = [decision.verdicts[i] for i in decision.writes]
        sent = {verdict.proposal.tag: float(verdict.allowed) for verdict in verdicts if verdict.allowed is not None}
        found.breaches += [f"{name} tick {found.ticks}: {what}" for what in oracle.breaches(frame, sent)]
        if len(verdicts) != len(sent):
            found.breaches.append(f"{name} tick {found.ticks}: one tag twice")
        receipts = await plant.write(verdicts) if verdicts else ()
        state = settle(state, decision, Outcome(decision.tick, tuple(receipts)))
        attacker.learn(decision.verdicts, frame)
        found.proposals, found.ticks, found.sent = found.proposals + len(wishes), found.ticks + 1, found.sent + len(sent)
        found.moved += sum(value != frame[tag] for tag, value in sent.items())
        for verdict in decision.verdicts:
            found.rules[verdict.rule or "allowed"] = found.rules.get(verdict.rule or "allowed", 0) + 1
        due += line.period
    return found


def _orders(told: Told, own: list[str], at: int, tick: int, rng: Any) -> list[Event]:
    """Now and then a person narrows, locks or clears a tag; the oracle hears of it at the same time."""
    if rng.random() > 0.02:
        return []
    tag = own[int(rng.integers(len(own)))]
    low, high, _ = told.tags[tag]
    body: dict[str, Any] = {"tag": tag}
    told.limits.pop(tag, None)
    told.locked.discard(tag)
    match int(rng.integers(4)):
        case 0:
            body["lock"] = True
            told.locked.add(tag)
        case 1:
            a, b = sorted(rng.uniform(low, high, 2).tolist())
            body |= {"low": a, "high": b}
            told.limits[tag] = (a, b)
        case _:
            body["clear"] = True
    return [Event("limit", ENGINEER, at + tick, body, f"sim-{tick}")]


def tank(proposals: int, rng: Any) -> Attacked:
    """Attack the tank."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "jayul.toml").write_text(HEAD + TANK, encoding="utf-8")
        wired = wire(load(Path(folder)), Path(folder), 0)
    assert isinstance(wired.clock, Sim)
    minute = 60 * SECOND
    told = Told(
        {"TIC1.SP": (45.0, 66.0, 1.0), "LIC1.SP": (30.0, 70.0, 2.0)},
        {"TIC1.SP": (30 * minute, 5.0)}, {"LIC1.SP": (120 * minute, 12.0)}, {"TIC1.SP": (20 * minute, 12)}, {"LIC1.SP": 3 * minute},
        {"TIC1.SP": "TIC2.SP"}, [({"TIC1.SP": 1.0, "LIC1.SP": 0.5}, 90.0)], ("TIC1.MODE", 2.0), ("Asia/Seoul", 360, 120), {}, set(),
    )  # fmt: skip
    return asyncio.run(attack("tank", wired.line, wired.plant, wired.clock, told, proposals, rng))


class Linear:
    """A linear plant: outputs follow `base + gain (u - u0)` with one time constant each. Rewindable in name: it is simulated."""

    simulated = True

    def __init__(
        self, clock: Sim, inputs: list[Tag], outputs: list[Tag], u0: np.ndarray, y0: np.ndarray, gain: np.ndarray
    ) -> None:
        self.tags = TagTable([*inputs, *outputs])
        self._clock, self._n, self._u, self._u0, self._y0, self._y, self._gain = (
            clock,
            len(inputs),
            u0.copy(),
            u0,
            y0,
            y0.copy(),
            gain,
        )
        self._at = clock.now()

    async def read(self) -> Frame:
        """Return inputs and outputs as of now."""
        now = self._clock.now()
        keep = math.exp(-(now - self._at) / (4 * HOUR))
        self._y = keep * self._y + (1 - keep) * (self._y0 + self._gain @ (self._u - self._u0))
        self._at = now
        value, n = np.concatenate([self._u, self._y]), len(self.tags.tags)
        at = np.full(n, now, dtype=np.int64)
        return Frame(now, self.tags, value, at, at.copy(), np.zeros(n, dtype=np.uint32))

    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]:
        """Take the values."""
        found = []
        for verdict in verdicts:
            assert verdict.allowed is not None
            self._u[self.tags.index[verdict.proposal.tag]] = verdict.allowed
            found.append(Receipt(verdict.proposal.tag, verdict.allowed, verdict.allowed, self._clock.now(), "settled"))
        return found


OUTPUTS = (
    "reactor_pressure",
    "reactor_level",
    "reactor_temperature",
    "separator_level",
    "stripper_level",
    "stripper_underflow",
)


def linearise(clock: Sim) -> Linear:
    """Step every input of the simulator from the base case, and take the outputs 12 hours later. Raises Refused without `tep`."""
    from jayul.plant.sim.tennessee_eastman import WRITABLE, EastmanConfig, tennessee_eastman

    async def settle_at(step: tuple[str, float] | None) -> tuple[Frame, TagTable]:
        own = Sim(clock.now(), 1)
        plant = tennessee_eastman(EastmanConfig(), own)
        if step is not None:
            frame = await plant.read()
            await plant.write(
                [Verdict(Proposal(step[0], frame[step[0]] + step[1], "step", "linearise"), frame[step[0]] + step[1], "")]
            )
        await own.until(own.now() + 12 * HOUR)
        return await plant.read(), plant.tags

    base, table = asyncio.run(settle_at(None))
    inputs, outputs = [table[name] for name in WRITABLE], [table[name] for name in OUTPUTS]
    columns = []
    for tag in inputs:
        size = 0.5 * (tag.max_step or 1.0)
        moved, _ = asyncio.run(settle_at((tag.name, size)))
        columns.append([(moved[name] - base[name]) / size for name in OUTPUTS])
    u0, y0 = np.array([base[tag.name] for tag in inputs]), np.array([base[name] for name in OUTPUTS])
    return Linear(clock, inputs, outputs, u0, y0, np.array(columns).T)


def eastman(proposals: int, rng: Any) -> Attacked:
    """Attack the linearised Tennessee Eastman plant: ranges, steps, and half-spaces through its corners."""
    from jayul.project.manifest import parse
    from jayul.project.wire import wire_line

    clock = Sim(1_767_225_600 * SECOND, 0)
    plant = linearise(clock)
    names = [tag.name for tag in plant.tags.tags if tag.writable]
    told = Told(
        {
            tag.name: (float(tag.low or 0), float(tag.high or 0), float(tag.max_step or 0))
            for tag in plant.tags.tags
            if tag.writable
        }
    )
    raw: dict[str, Any] = {
        "project": {"name": "attacked"}, "run": {"period": "3 min", "duration": "9000 h"}, "people": {"simulated": True},
        "plant": {"kind": "tennessee_eastman"}, "policy": [{"kind": "hold", "name": "attacker", "writes": names}],
        "guard": {"rule": []},
    }  # fmt: skip
    for _ in range(6):  # half-spaces that cut a corner off the box, the start inside
        chosen = [names[i] for i in rng.choice(len(names), 3, replace=False).tolist()]
        weights = {name: float(rng.choice([-1.0, 1.0])) / (told.tags[name][1] - told.tags[name][0]) for name in chosen}
        frame = asyncio.run(plant.read())
        most = sum(weight * frame[name] for name, weight in weights.items()) + 0.3
        raw["guard"]["rule"].append({"kind": "halfspace", "weights": weights, "most": most})
        told.sums.append((weights, most))
    for name in names[:3]:
        raw["guard"]["rule"].append({"kind": "rate", "tags": [name], "window": "1 h", "most": 4 * told.tags[name][2]})
        told.rate[name] = (HOUR, 4 * told.tags[name][2])
    line = wire_line(parse(raw, "attack", ""), plant.tags, 180 * SECOND, clock)
    return asyncio.run(attack("linearised Tennessee Eastman", line, plant, clock, told, proposals, rng))


def main(arguments: Sequence[str] | None = None) -> int:
    """Attack, print what came of it, and say 1 if anything got through."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--proposals", type=int, default=1_000_000, help="in all, half on each line")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    begun, found = monotonic(), list[Attacked]()
    chance = Sim(0, args.seed)
    found.append(tank(args.proposals // 2, chance.rng("adversary/tank")))
    try:
        found.append(eastman(args.proposals - args.proposals // 2, chance.rng("adversary/eastman")))
    except Exception as error:  # noqa: BLE001 - the extra is optional; anything else is shown
        print(f"Tennessee Eastman was not attacked: {error}", file=sys.stderr)
    for result in found:
        rules = ", ".join(f"{name} {count}" for name, count in sorted(result.rules.items(), key=lambda pair: -pair[1]))
        print(
            f"{result.line}: {result.proposals} proposals in {result.ticks} ticks, {result.sent} values sent, {result.moved} moved"
        )
        print(f"  answers: {rules}")
        for breach in result.breaches[:20]:
            print(f"  BREACH {breach}")
    total = {
        "proposals": sum(r.proposals for r in found),
        "sent": sum(r.sent for r in found),
        "breaches": sum(len(r.breaches) for r in found),
    }
    print(json.dumps(total | {"seed": args.seed, "seconds": round(monotonic() - begun, 1)}))
    return 1 if total["breaches"] else 0


if __name__ == "__main__":
    sys.exit(main())
