"""How many plant hours prove 1 % on the Tennessee Eastman plant under IDV 12 + 13? Called by `proof.py --tep`.

The policy moves the set-point of the reactor pressure by `MOVE`. Blocks of 48 h, 12 h wash-out, order of each pair by coin, a look
after every pair, after 24 h of run-in (counted as plant hours). From each treated run the disturbances (temperature of the
separator's cooling water, kinetics of two reactions) are estimated from measured tags alone, by a ridge regression that was fitted
once on other runs with randomly moved set-points. The twin is the same simulator, policy off, driven by these estimates; the
e-process gets the pair differences of (cost - twin). Cost is the measured operating cost, USD/h.

power: share of the seeds proven within 900 h. hours: plant hours after which 80 % are proven. hours_naive: what a t-test with
one look needs on raw cost for power 0.8, by formula, best of a declared grid of blocks, on runs where nothing was moved (kind
to the naive method: no switching transients). truth: always on against always off, same disturbances, other seeds.
driver_shift_sd: how far the policy moves the estimated drivers. Design and estimator come from other seeds than those judged.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from jayul.prove.sequential import e_values, pairs_needed, threshold
from tank_bank import coins
from tep_plant import BASE, COST, DRIVERS, PER_HOUR, TAGS, Eastman, Tripped

MOVE = 6.2  # kPa; just under 1 % by the slope measured on training seeds
BLOCK, WASH, RUN_IN, MOST = 48, 12, 24, 900  # h
PAIRS = (MOST - RUN_IN) // (2 * BLOCK)
SEEDS = 30
NAIVE = [(12, 6), (24, 12), (48, 12), (48, 24), (96, 24)]  # block and wash-out, h
TRAIN = (24, 240)  # pairs of runs, h
TRUTH = (20, 400 + RUN_IN)  # pairs of runs, h
LAGS = (0, -2, 2, -4, 4, -8, 8, -12, 12)  # samples: up to 0.6 h either way
RIDGE = 1e-4  # share of the number of rows
BOUND = threshold(0.95)
WRONG, KEEP = (
    0.15,
    math.exp(-1 / (2 * PER_HOUR)),
)  # a worse twin: further error of its drivers in their sd, with a memory of 2 h
INERT, WEAK = 0.1, 0.9  # a structurally wrong twin: a tenth more inert in the feed, kinetics that act a tenth too weakly


class Estimator(NamedTuple):
    """Ridge regression of the drivers on tags, standardised, at lags, and their squares; clipped to the range of training."""

    centre: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def __call__(self, out: np.ndarray) -> np.ndarray:
        """Return estimates [n, 3] from measured tags only."""
        tags = (out[:, TAGS] - self.centre) / self.scale
        at, width, first_square = np.arange(len(tags)), tags.shape[1], 1 + len(LAGS) * tags.shape[1]
        said = np.tile(self.weights[0], (len(tags), 1))
        for i, lag in enumerate(LAGS):
            part = (self.weights[begin + i * width : begin + (i + 1) * width] for begin in (1, first_square))
            said += (tags @ next(part) + tags**2 @ next(part))[np.clip(at + lag, 0, len(tags) - 1)]
        return np.clip(said, self.low, self.high)


class Trial(NamedTuple):
    """One treated run: pair differences raw, less the twin, less two wrong twins; what the estimates are worth."""

    raw: np.ndarray
    less: np.ndarray
    wrong: np.ndarray  # drivers
    other: np.ndarray  # structure
    estimator: np.ndarray  # mean squares of error and of true drivers about their mean
    twin: np.ndarray  # of cost less twin and of cost, about their means in settled off blocks
    cost: np.ndarray  # by sample


def features(out: np.ndarray, centre: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the regression's columns [n, 1 + 2 x 9 x 61]."""
    tags = (out[:, TAGS] - centre) / scale
    at = np.arange(len(tags))
    lagged = np.hstack([tags[np.clip(at + lag, 0, len(tags) - 1)] for lag in LAGS])
    return np.hstack([np.ones((len(tags), 1)), lagged, lagged**2])


class Bench:
    """The plant, seeds by purpose, and how far the work has got."""

    def __init__(self, seed: int, threads: int) -> None:
        self.plant, self.seed, self._pool = Eastman(), seed, ThreadPoolExecutor(threads)
        self._given: set[int] = set()

    def seeds(self, purpose: int, number: int) -> list[int]:
        """Return fresh odd seeds for the kernel; none is ever given twice."""
        rng, found = np.random.default_rng([self.seed, purpose]), list[int]()
        while len(found) < number:
            seed = 2 * int(rng.integers(1, 2**30)) + 1
            if seed not in self._given:
                self._given.add(seed)
                found.append(seed)
        return found

    def each(self, name: str, work: Callable, items: Iterable) -> list:
        """Run `work` on each item; None where the plant tripped."""

        def guarded(item: object) -> object:
            try:
                return work(item)
            except Tripped as tripped:
                print(f"\n  {tripped}", flush=True)
                return None

        todo, found, begun = list(items), [], time.perf_counter()
        for result in self._pool.map(guarded, todo):
            found.append(result)
            print(f"\r  {name}: {len(found)} of {len(todo)}, {time.perf_counter() - begun:.0f} s ", end="", flush=True)
        print()
        return found


def train(bench: Bench) -> tuple[Estimator, np.ndarray]:
    """Fit the estimator on runs with randomly moved set-points; return it with its R2 on further such runs.

    Each disturbance is met twice, with mirrored set-points, so that what the set-point does to the tags is told from chance.
    """
    runs, hours = TRAIN

    def moved(seed: int) -> list[np.ndarray]:
        steps = np.repeat(np.random.default_rng(seed).uniform(-13.0, 13.0, hours // 12), 12 * PER_HOUR)
        return [bench.plant.run(seed, BASE + MOVE / 2 + side * steps)[6 * PER_HOUR :] for side in (1, -1)]

    done = [pair for pair in bench.each("training, pairs of runs", moved, bench.seeds(1, runs + runs // 4)) if pair is not None]
    used, held = ([out for pair in part for out in pair] for part in (done[:runs], done[runs:]))
    tags = np.vstack([out[:, TAGS] for out in used])
    centre, scale = tags.mean(axis=0), np.maximum(tags.std(axis=0), 1e-9)
    left, right, rows = 0.0, 0.0, len(tags)
    for out in used:
        x = features(out, centre, scale)
        left, right = left + x.T @ x, right + x.T @ out[:, DRIVERS]
    penalty = np.full(len(left), RIDGE * rows)
    penalty[0] = 0.0
    weights = cho_solve(cho_factor(left + np.diag(penalty)), right)
    drivers = np.vstack([out[:, DRIVERS] for out in used])
    fitted = Estimator(centre, scale, weights, drivers.min(axis=0), drivers.max(axis=0))
    errors = np.vstack([fitted(out) - out[:, DRIVERS] for out in held])
    return fitted, 1 - (errors**2).mean(axis=0) / np.vstack([out[:, DRIVERS] for out in held]).var(axis=0)


class Truth(NamedTuple):
    """Long run, always on against always off under the same disturbances; each saving or shift with its standard error."""

    cost: float  # off, USD/h
    saving: tuple[float, float]  # USD/h
    shift: tuple[float, float]  # of the estimated driver that moves most, in its sd


def truth(bench: Bench, estimator: Estimator) -> Truth:
    """Measure what the policy does to cost and to the estimated drivers."""
    runs, hours = TRUTH

    def both(seed: int) -> np.ndarray:
        off, on = (bench.plant.run(seed, np.full(hours * PER_HOUR, BASE + m))[RUN_IN * PER_HOUR :] for m in (0.0, MOVE))
        shift = (estimator(on) - estimator(off)).mean(axis=0) / off[:, DRIVERS].std(axis=0)
        return np.array([off[:, COST].mean(), off[:, COST].mean() - on[:, COST].mean(), *shift])

    found = np.array([row for row in bench.each("truth, pairs of runs", both, bench.seeds(2, runs)) if row is not None])
    mean, error = found.mean(axis=0).tolist(), (found.std(axis=0, ddof=1) / math.sqrt(len(found))).tolist()
    most = max(range(2, 5), key=lambda i: abs(mean[i]))
    return Truth(mean[0], (mean[1], error[1]), (mean[most], error[most]))


def trial(bench: Bench, estimator: Estimator, move: float) -> Callable[[int], Trial]:
    """Return the work on one seed: run the plant with arms by coin, estimate its drivers, run the twins."""

    def work(seed: int) -> Trial:
        rng = np.random.default_rng(seed)
        arms = coins(rng, 1, PAIRS)[0]
        on = np.concatenate([np.zeros(RUN_IN * PER_HOUR, bool), np.repeat(arms, BLOCK * PER_HOUR)])
        out = bench.plant.run(seed, np.where(on, BASE + move, BASE))
        said, true = estimator(out), out[:, DRIVERS]
        off, sd = np.full(len(out), BASE), said.std(axis=0)
        shock = rng.standard_normal(said.shape) * math.sqrt(1 - KEEP**2)
        noise = np.zeros_like(shock)
        for i in range(1, len(noise)):
            noise[i] = KEEP * noise[i - 1] + shock[i]
        weak = np.column_stack([said[:, 0], 1.0 + WEAK * (said[:, 1:] - 1.0)])
        twins = [
            bench.plant.run(1, off, given=given, inert=inert, quiet=True)[:, COST]
            for given, inert in ((said, 0.0), (said + WRONG * sd * noise, 0.0), (weak, INERT))
        ]
        cost, begin = out[:, COST], RUN_IN * PER_HOUR
        settled = (np.arange(len(on)) - begin) % (BLOCK * PER_HOUR) >= WASH * PER_HOUR
        settled[:begin] = False
        error, rest = said - true, settled & ~on
        residual = cost - twins[0]
        return Trial(
            *(pairs(y[begin:], arms, BLOCK, WASH) for y in (cost, *(cost - twin for twin in twins))),
            estimator=np.array([(error**2).mean(axis=0), true.var(axis=0)]),
            twin=np.array([residual[rest].var(), cost[rest].var()]), cost=cost[begin:],
        )  # fmt: skip

    return work


def pairs(cost: np.ndarray, arms: np.ndarray, block: int, wash: int) -> np.ndarray:
    """Return off - on by pair of means over blocks after the wash-out; `cost` by sample."""
    means = cost[: len(arms) * block * PER_HOUR].reshape(len(arms), -1)[:, wash * PER_HOUR :].mean(axis=1)
    return np.where(arms, -means, means).reshape(-1, 2).sum(axis=1)


def first(d: np.ndarray) -> np.ndarray:
    """Return by run the pair at which a benefit is shown, infinite if never; `d` [runs, pairs]."""
    shown = e_values(d) >= BOUND
    return np.where(shown.any(axis=1), shown.argmax(axis=1) + 1.0, math.inf)


def formula(variance: float, block: int, saving: float) -> float:
    """Return the plant hours of a t-test on pairs with one look, power 0.8, 5 % two-sided."""
    return 2 * block * variance * 7.849 / saving**2


def naive(costs: list[np.ndarray], saving: float) -> dict[tuple[int, int], float]:
    """Return the plant hours by block and wash-out of the declared grid, on runs where nothing was moved."""
    found = {}
    for block, wash in NAIVE:
        blocks = len(costs[0]) // (block * PER_HOUR) // 2 * 2
        d = np.concatenate([pairs(cost, np.arange(blocks) % 2 == 1, block, wash) for cost in costs])
        found[block, wash] = formula(float((d**2).mean()), block, saving)
    return found


def main(seed: int, as_json: bool, threads: int = 2) -> None:
    """Run and print."""
    begun, bench = time.perf_counter(), Bench(seed, threads)
    print(
        "Cost, largest difference from tep-studio's Python loop: {:.0e} calm, {:.0e} USD/h IDV 12+13".format(
            *bench.plant.check()
        )
    )
    estimator, r2 = train(bench)
    print("Estimator, R2 on further training runs: cooling water {:.5f}, kinetics {:.4f} {:.4f}".format(*r2))
    true = truth(bench, estimator)
    percent = 100 * true.saving[0] / true.cost
    print("Truth: {:.3f} +- {:.3f} USD/h".format(*true.saving), f"of {true.cost:.1f} ({percent:.2f} %) for {MOVE:+} kPa")
    print("Estimated drivers, always on less always off: {:+.5f} +- {:.5f} sd (the one that moves most)".format(*true.shift))
    moved = bench.each("effect of 1 %", trial(bench, estimator, MOVE), bench.seeds(3, SEEDS))
    still = bench.each("nothing done", trial(bench, estimator, 0.0), bench.seeds(4, SEEDS))
    found = report([t for t in moved if t is not None], [t for t in still if t is not None], true)
    found |= {"percent": round(percent, 3), "seconds": round(time.perf_counter() - begun), "seed": seed}
    if as_json:
        print(json.dumps({"tep": found}))


def report(moved: list[Trial], still: list[Trial], true: Truth) -> dict[str, object]:
    """Print the table and return its figures."""
    saving, names = true.saving[0], ("less", "wrong", "other", "raw")
    effect, nothing = ({name: np.array([getattr(t, name) for t in trials]) for name in names} for trials in (moved, still))
    verdicts = {name: int(((first(d) < math.inf) | (first(-d) < math.inf)).sum()) for name, d in nothing.items()}
    sd = {name: math.sqrt(d.var(axis=1, ddof=1).mean()) for name, d in effect.items()}
    titles = ("cost less the twin", "twin's drivers 15 % wrong", "twin's structure wrong", "raw cost")
    print(f"\nWithin {MOST} h {'':18}{'proven':>8}{'worse':>8}{'A/A verdicts':>14}{'sd of a pair':>14}{'estimate':>10}")
    for title, name in zip(titles, names, strict=True):
        d = effect[name]
        yes, no, false = (
            f"{n}/{SEEDS}" for n in (int((first(d) < math.inf).sum()), int((first(-d) < math.inf).sum()), verdicts[name])
        )
        print(f"{title:30}{yes:>8}{no:>8}{false:>14}{sd[name]:>14.2f}{d.mean():>10.2f}")
    lost = np.full(SEEDS - len(moved), math.inf)  # a plant that tripped has proven nothing
    at = {name: np.sort(np.concatenate([RUN_IN + 2 * BLOCK * first(effect[name]), lost])) for name in names}
    hours, median, power = (float(at["less"][math.ceil(0.8 * SEEDS) - 1]), float(np.median(at["less"])), at["less"] <= MOST)
    long = {name: pairs_needed(saving / sd[name]) for name in ("wrong", "other")}
    worse = {name: RUN_IN + 2 * BLOCK * n if n else None for name, n in long.items()}
    grid = naive([t.cost for t in still], saving)
    best = min(grid, key=grid.__getitem__)
    estimate = effect["less"].mean(axis=1)
    spread = float(estimate.std(ddof=1) / math.sqrt(len(estimate)))
    squares, twin = (np.mean([getattr(t, name) for t in moved], axis=0) for name in ("estimator", "twin"))
    r2 = 1 - squares[0] / squares[1]
    print(f"Proven within {MOST} h: {power.mean():.0%}; 80 % after {hours:.0f} h, half after {median:.0f} h")
    print("Naive hours by formula, by (block, wash-out):", ", ".join(f"({b}, {w}) {h:,.0f}" for (b, w), h in grid.items()))
    print(f"Worse twins, hours extrapolated from sd of a pair: drivers 15 % wrong {worse['wrong']}, structure {worse['other']}")
    print(f"Estimate {estimate.mean():.3f} +- {spread:.3f}; truth {saving:.3f} +- {true.saving[1]:.3f} USD/h")
    print("R2 on treated runs: cooling water {:.5f}, kinetics {:.4f} {:.4f};".format(*r2), f"twin {1 - twin[0] / twin[1]:.4f}")
    finite = {"hours": hours, "hours_median": median, "ratio": round(hours / grid[best], 4)}
    return {
        "power": round(float(power.mean()), 3), **{k: v if math.isfinite(v) and v else None for k, v in finite.items()},
        "hours_naive": round(grid[best]), "verdicts_aa": verdicts["less"], "verdicts_aa_raw": verdicts["raw"],
        "verdicts_aa_wrong_drivers": verdicts["wrong"], "verdicts_aa_wrong_structure": verdicts["other"],
        "proven_raw": int((first(effect["raw"]) < math.inf).sum()), "hours_wrong_drivers": worse["wrong"],
        "hours_wrong_structure": worse["other"], "estimate": round(float(estimate.mean()), 3), "estimate_se": round(spread, 3),
        "truth": round(saving, 3), "truth_se": round(true.saving[1], 3), "driver_shift_sd": round(true.shift[0], 5),
        "r2_drivers": [round(float(x), 5) for x in r2], "r2_twin": round(1 - float(twin[0] / twin[1]), 4),
        "tripped": 2 * SEEDS - len(moved) - len(still),
    }  # fmt: skip
