"""How long a whole judgement takes: 12 set-points moved together, 20 half-spaces, 15 rules, beside a cvxpy projection.

    python benchmarks/guard.py --json --seed 0        (needs cvxpy: pip install cvxpy)

Both get the same situations in turn: what stands, what is asked. The guard answers with the largest share of the asked move
that every rule allows, or refuses, and says which rule spoke. The peer is what a careful user would write: one parametrised
quadratic problem (DPP, compiled once, warm-started, OSQP) that projects the asked values onto range, step and half-spaces; it
knows no other rule.

ratio_p99_cvxpy: guard's 99th percentile over the peer's. p50_us, p99_us: of the guard. per_proposal: time of 48 proposals
over that of 12 (4 if the cost is linear). breaches: allowed values outside range, step or half-space, checked here;
peer_breaches: the same for the peer.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np

from jayul.core.guard import Context, Writer, judge
from jayul.core.types import SECOND, Frame, Proposal, Tag, TagTable
from jayul.rules import Setting
from jayul.rules.basic import BASIC
from jayul.rules.halfspace import HalfspaceConfig, halfspaces
from jayul.rules.hours import HoursConfig, hours
from jayul.rules.mode import ModeConfig, mode
from jayul.rules.moves import MovesConfig, moves
from jayul.rules.orders import orders
from jayul.rules.plan import within_plan
from jayul.rules.rate import RateConfig, rate
from jayul.rules.travel import TravelConfig, travel

AT = 1_767_225_600 * SECOND
N, HALVES = 12, 20


def plant(sets: int) -> tuple[TagTable, tuple[str, ...]]:
    """Return a table with so many times 12 set-points, their histories and a mode."""
    names = tuple(f"SP{i}" for i in range(N * sets))
    tags = [Tag(name=name, unit="degC", low=0.0, high=100.0, max_step=5.0, writable=True) for name in names]
    more = [Tag(name=f"{rule}.{n}.{what}") for n in names for rule, figures in HISTORY.items() for what in figures]
    return TagTable([*tags, *more, Tag(name="MODE", states={2: "RCAS"})]), names


HISTORY = {"rate": ("low", "high"), "travel": ("travel",), "moves": ("count",)}


def rules(table: TagTable, names: tuple[str, ...], weights: np.ndarray, most: np.ndarray) -> tuple[Any, ...]:
    """Return 15 rules, the basic ones among them, and the half-spaces, which are over the first 12."""
    found = [*BASIC, within_plan, orders, mode(ModeConfig(mode="MODE", takes=("RCAS",)), Setting("mode", table))]
    found.append(hours(HoursConfig(timezone="Asia/Seoul", begin="00:00", end="24:00"), Setting("hours", table)))
    found.append(rate(RateConfig(tags=names, window="1 h", most=50.0), Setting("rate", table)))
    found.append(travel(TravelConfig(tags=names, window="1 h", most=200.0), Setting("travel", table)))
    found.append(moves(MovesConfig(tags=names, window="1 h", most=1000), Setting("moves", table)))
    configs = [
        HalfspaceConfig({name: float(w) for name, w in zip(names, row, strict=False) if w}, float(bound))
        for row, bound in zip(weights, most, strict=True)
    ]
    assert (len(found), len(configs)) == (15, HALVES)
    found.append(halfspaces(configs, Setting("half", table)))  # as the wiring does
    return tuple(found)


def frame_of(table: TagTable, names: tuple[str, ...], now: np.ndarray) -> Frame:
    """Return a frame in which the set-points stand there, quiet so far."""
    value = np.zeros(len(table.tags))
    for name, stands in zip(names, now, strict=True):
        value[table.index[name]] = stands
        value[table.index[f"rate.{name}.low"]] = value[table.index[f"rate.{name}.high"]] = stands
    value[table.index["MODE"]] = 2.0
    at = np.full(len(value), AT, dtype=np.int64)
    return Frame(AT, table, value, at, at.copy(), np.zeros(len(value), dtype=np.uint32))


def judged(
    table: TagTable, names: tuple[str, ...], given: tuple[Any, ...], now: np.ndarray, asked: np.ndarray
) -> tuple[float, list[Any]]:
    """Judge once; return seconds and verdicts."""
    context = Context(frame_of(table, names, now), {"p": Writer(frozenset(names), True)}, {}, 60 * SECOND)
    proposals = [
        Proposal(name, float(value), "bench", "p", plan=str(i // N))
        for i, (name, value) in enumerate(zip(names, asked, strict=True))
    ]
    begun = time.perf_counter()
    verdicts = judge(context, proposals, given)
    return time.perf_counter() - begun, list(verdicts)


class Peer:
    """The projection, compiled once."""

    def __init__(self, weights: np.ndarray, most: np.ndarray) -> None:
        import cvxpy

        self._x, self._now, self._asked = cvxpy.Variable(N), cvxpy.Parameter(N), cvxpy.Parameter(N)
        limits = [self._x >= 0, self._x <= 100, self._x - self._now <= 5, self._now - self._x <= 5, weights @ self._x <= most]
        self._problem = cvxpy.Problem(cvxpy.Minimize(cvxpy.sum_squares(self._x - self._asked)), limits)

    def project(self, now: np.ndarray, asked: np.ndarray) -> tuple[float, np.ndarray]:
        """Return seconds and the projection."""
        self._now.value, self._asked.value = now, asked
        begun = time.perf_counter()
        self._problem.solve(solver="OSQP", warm_start=True, eps_abs=1e-6, eps_rel=1e-6)
        return time.perf_counter() - begun, np.array(self._x.value)


def outside(now: np.ndarray, value: np.ndarray, weights: np.ndarray, most: np.ndarray) -> bool:
    """Say whether values break range, step or a half-space that held before."""
    return bool(((value < 0) | (value > 100) | (abs(value - now) > 5 + 1e-9)).any() or (weights @ value > most).any())


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--situations", type=int, default=2000)
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    weights = rng.normal(size=(HALVES, N)) * (rng.random((HALVES, N)) < 0.5)
    weights[:, 0] += 0.5
    most = weights @ np.full(N, 50.0) + rng.uniform(20, 80, HALVES)
    (table, names), (large, many) = plant(1), plant(4)
    given, more = rules(table, names, weights, most), rules(large, many, weights, most)
    peer = Peer(weights, most)
    ours, theirs, wide, breaches, peer_breaches, moved = [], [], [], 0, 0, 0
    for i in range(args.situations + 50):
        now = np.clip(50 + rng.normal(0, 4, N), 0, 100)
        while (weights @ now > most).any():
            now = 50 + 0.5 * (now - 50)
        asked = now + rng.normal(0, 6, N)
        mine, verdicts = judged(table, names, given, now, asked)
        his, value = peer.project(now, asked)
        wider, _ = judged(large, many, more, np.tile(now, 4), np.tile(asked, 4))
        if i < 50:  # to warm up
            continue
        ours.append(mine)
        theirs.append(his)
        wide.append(wider)
        allowed = np.array([stands if v.allowed is None else v.allowed for v, stands in zip(verdicts, now, strict=True)])
        breaches += outside(now, allowed, weights, most)
        peer_breaches += outside(now, value, weights, most)
        moved += bool((allowed != now).any())
    p50, p99 = (float(np.percentile(ours, q)) * 1e6 for q in (50, 99))
    his50, his99 = (float(np.percentile(theirs, q)) * 1e6 for q in (50, 99))
    found = {
        "ratio_p99_cvxpy": round(p99 / his99, 3), "p50_us": round(p50, 1), "p99_us": round(p99, 1), "peer_p50_us": round(his50, 1),
        "peer_p99_us": round(his99, 1), "per_proposal": round(float(np.percentile(wide, 50)) / p50 * 1e6, 2), "breaches": breaches,
        "peer_breaches": peer_breaches, "moved": moved, "situations": args.situations, "seed": args.seed,
    }  # fmt: skip
    for name, number in found.items():
        print(f"{name:18}{number:>12}")
    if args.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
