"""How often is the proof wrong, how wide is it, and how many plant hours does it take? On heated tanks whose truth is known.

    python benchmarks/proof.py --json --seed 0 [--quick]

Blocks of 4 h, 2 h wash-out, order of each pair by coin; heavy, switching disturbances (see `tank_bank`). In the same run, on the
same data: Student's t on single values as if they were independent, HAC t, an asymptotic confidence sequence, group-sequential t.

false_verdicts: proven or worse in so many replays without any effect, a look every hour. coverage_fixed: smallest and largest
coverage of the fixed-horizon interval at effects 0, 1, 2, 5 %. ever_excluded: largest share of replays in which the anytime
interval ever excludes the truth. hours_naive: plant hours to show 1 % with power 0.8 by the best raw design of a declared grid.
hours_ours: by the e-process on pairs less the estimated twin. ratio: of the two; ratio_wrong_twin: with drivers 15 % wrong.
confounded: wrongly proven, by confounder. carry_over: what short strictly alternating blocks say, over the truth.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable

import numpy as np
from scipy import stats

from jayul.prove.effect import Row, blocks_of, judge
from jayul.prove.plan import Plan
from jayul.prove.sequential import e_values, threshold
from tank_bank import PER_HOUR, coins, differences, drive

BLOCK, WASH = 4, 2  # h
HEAVY = 2.0
EFFECTS = (0.0, 0.01, 0.02, 0.05)
NAIVE = [(2, 1), (4, 2), (6, 2), (12, 2), (12, 4), (24, 2), (24, 6), (48, 4)]  # block and wash-out, h
BOUND = threshold(0.95)
OBF = [2.0401 * math.sqrt(5 / k) for k in range(1, 6)]  # O'Brien and Fleming 1979, five looks, two-sided 5 %


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="an eighth of the replays")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    args = parser.parse_args()
    share, begun = 8 if args.quick else 1, time.perf_counter()
    rng = np.random.default_rng(args.seed)
    truth = {effect: long_run(rng, effect, 400 // share) for effect in EFFECTS}
    found: dict[str, object] = {"replays": 2000 // share}
    for part in (nothing_done, intervals, hours, carry_over, confounders):
        found |= part(rng, truth, share)
        print(f"   ({time.perf_counter() - begun:.0f} s)\n")
    found |= {"seconds": round(time.perf_counter() - begun), "seed": args.seed}
    if args.json:
        print(json.dumps(found))


def long_run(rng: np.random.Generator, effect: float, plants: int) -> float:
    """Return what the policy saves in the long run under these disturbances, USD/h: always on against always off, less the twin."""
    means = []
    for on in (False, True):
        bank = drive(rng, np.full((plants, 1), on), 24, effect, heavy=HEAVY, twins=("estimated",))
        means.append(float((bank.cost - bank.twins["estimated"])[:, 6 * PER_HOUR :].mean()))
    return means[0] - means[1]


def nothing_done(rng: np.random.Generator, _: dict[float, float], share: int) -> dict[str, object]:
    """A/A: the coin names blocks on and off, but nothing is moved. Every method looks every hour from the 24th on."""
    plants, pairs = 2000 // share, 18
    arms = coins(rng, plants, pairs)
    bank = drive(rng, np.zeros_like(arms), BLOCK, 0.0, heavy=HEAVY, twins=("wrong",))
    raw = differences(bank.cost, arms, WASH)
    less = differences(bank.cost - bank.twins["wrong"], arms, WASH)
    shown = {
        "e-process": ever(e_values(raw), e_values(-raw)),
        "e-process, structurally wrong twin": ever(e_values(less), e_values(-less)),
        "asymptotic confidence sequence": asymptotic(raw),
        "group-sequential t, five looks": group_sequential(raw),
        **looked_hourly(bank.cost, arms),
    }
    print(f"Nothing done, {plants} replays of {2 * pairs * BLOCK} h: proven or worse at some look")
    for name, yes in shown.items():
        rate = yes.mean()
        print(f"  {name:44}{yes.sum():>6}  {100 * rate:5.1f} % +- {100 * math.sqrt(max(rate * (1 - rate), 1e-9) / plants):.1f}")
    wrong_twin = int(shown["e-process, structurally wrong twin"].sum())
    return {"false_verdicts": int(shown["e-process"].sum()), "false_verdicts_wrong_twin": wrong_twin,
            "false_verdicts_peers": {name: int(yes.sum()) for name, yes in list(shown.items())[2:]}}  # fmt: skip


def ever(*values: np.ndarray) -> np.ndarray:
    """Return, by replay, whether any of the e-values ever reaches the bound."""
    return np.any([(v >= BOUND).any(axis=1) for v in values], axis=0)


def asymptotic(d: np.ndarray) -> np.ndarray:
    """Waudby-Smith and others 2024: normal-mixture boundary with the running standard deviation, from the ninth pair on."""
    n = np.arange(1, d.shape[1] + 1)
    mean = np.cumsum(d, axis=1) / n
    sd = np.sqrt(np.maximum(np.cumsum(d * d, axis=1) / n - mean**2, 1e-12) * n / np.maximum(n - 1, 1))
    rho = 1 / 3
    reach = sd * np.sqrt(2 * (n * rho**2 + 1) / (n**2 * rho**2) * np.log(np.sqrt(n * rho**2 + 1) / 0.05))
    return (np.abs(mean) > reach)[:, 8:].any(axis=1)


def group_sequential(d: np.ndarray) -> np.ndarray:
    """Five looks, O'Brien and Fleming, the t statistic turned into z by its p-value."""
    shown = np.zeros(len(d), dtype=bool)
    for k, bound in enumerate(OBF, 1):
        n = round(d.shape[1] * k / 5)
        t = d[:, :n].mean(axis=1) / (d[:, :n].std(axis=1, ddof=1) / math.sqrt(n))
        shown |= stats.norm.isf(stats.t.sf(np.abs(t), n - 1)) > bound
    return shown


def looked_hourly(cost: np.ndarray, arms: np.ndarray) -> dict[str, np.ndarray]:
    """Student's t and HAC t on all ten-minute means after the wash-out, at every hour from the 24th on."""
    plants, blocks = arms.shape
    width = BLOCK * PER_HOUR
    settled = np.arange(blocks * width) % width >= WASH * PER_HOUR
    on = np.repeat(arms, width, axis=1)[:, settled].astype(float)
    value = cost[:, settled]
    plain, hac = np.zeros(plants, dtype=bool), np.zeros(plants, dtype=bool)
    for hour in range(24, blocks * BLOCK):
        n = int(settled[: hour * PER_HOUR].sum())
        x, y = on[:, :n], value[:, :n]
        share = x.mean(axis=1, keepdims=True)
        high = (x * y).sum(axis=1) / np.maximum(x.sum(axis=1), 1)
        low = ((1 - x) * y).sum(axis=1) / np.maximum((1 - x).sum(axis=1), 1)
        residual = y - np.where(x == 1, high[:, None], low[:, None])
        score, part = (x - share) * residual, ((x - share) ** 2).sum(axis=1)
        usable = part > 0
        variance = (score**2).sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            plain |= usable & (np.abs(high - low) / np.sqrt(residual.var(axis=1) / part) > 1.96)
            for lag in range(1, (lags := int(4 * (n / 100) ** (2 / 9))) + 1):
                variance = variance + 2 * (1 - lag / (lags + 1)) * (score[:, lag:] * score[:, :-lag]).sum(axis=1)
            hac |= usable & (np.abs(high - low) / (np.sqrt(np.maximum(variance, 0)) / part) > 1.96)
    return {"HAC t, looked at every hour": hac, "t on single values, looked at every hour": plain}


def intervals(rng: np.random.Generator, truth: dict[float, float], share: int) -> dict[str, object]:
    """Coverage of the fixed-horizon interval (t on 12 pairs) and of the anytime interval at every look."""
    plants, pairs, covered, excluded = 2000 // share, 12, {}, {}
    print(f"Intervals, {plants} replays of {pairs} pairs: fixed-horizon t covers; the anytime interval ever excludes")
    for effect in EFFECTS:
        arms = coins(rng, plants, pairs)
        d = differences(drive(rng, arms, BLOCK, effect, heavy=HEAVY).cost, arms, WASH)
        reach = stats.t.ppf(0.975, pairs - 1) * d.std(axis=1, ddof=1) / math.sqrt(pairs)
        covered[effect] = float((np.abs(d.mean(axis=1) - truth[effect]) <= reach).mean())
        excluded[effect] = float(ever(e_values(d - truth[effect]), e_values(truth[effect] - d)).mean())
        rates = f"{100 * covered[effect]:.1f} %, {100 * excluded[effect]:.1f} %"
        print(f"  effect {100 * effect:.0f} % (truth {truth[effect]:+.4f} USD/h): {rates}")
    ends = [round(min(covered.values()), 4), round(max(covered.values()), 4)]
    return {"coverage_fixed": ends, "ever_excluded": round(max(excluded.values()), 4)}


def hours(rng: np.random.Generator, truth: dict[float, float], share: int) -> dict[str, object]:
    """Plant hours to show 1 % with power 0.8."""
    effect, plants = 0.01, max(400 // share, 60)
    naive = {}
    for block, wash in NAIVE:
        arms = coins(rng, plants, 3)
        d = differences(drive(rng, arms, block, effect, heavy=HEAVY).cost, arms, wash)
        naive[block, wash] = 2 * block * float(d.var(axis=0, ddof=1).mean()) * 7.849 / truth[effect] ** 2
    best = min(naive, key=naive.__getitem__)
    pairs = 120
    arms = coins(rng, plants, pairs)
    names = ("estimated", "5 % wrong", "15 % wrong")
    bank = drive(rng, arms, BLOCK, effect, heavy=HEAVY, twins=names)
    ours, false = {}, {}
    for name in names:
        d = differences(bank.cost - bank.twins[name], arms, WASH)
        yes = np.maximum.accumulate(e_values(d), axis=1) >= BOUND
        power = yes.mean(axis=0)
        enough = np.flatnonzero(power >= 0.8)
        ours[name] = float((enough[0] + 1) * 2 * BLOCK) if len(enough) else math.inf
        false[name] = int((np.maximum.accumulate(e_values(-d), axis=1) >= BOUND).any(axis=1).sum())
    print(f"Plant hours to show 1 % with power 0.8 ({plants} plants)")
    for design, need in naive.items():
        print(f"  raw, blocks of {design[0]} h, wash-out {design[1]} h {need:>24,.0f}{'  best' if design == best else ''}")
    for name in names:
        times = f"1/{naive[best] / ours[name]:.0f}   called worse {false[name]}"
        print(f"  e-process less twin, drivers {name:12}{ours[name]:>20,.0f}   {times}")
    return {"hours_naive": round(naive[best]), "hours_ours": ours["estimated"], "ratio": round(ours["estimated"] / naive[best], 4),
            "ratio_wrong_twin": round(ours["15 % wrong"] / naive[best], 4)}  # fmt: skip


def carry_over(rng: np.random.Generator, truth: dict[float, float], share: int) -> dict[str, object]:
    """What short strictly alternating blocks say of 5 %, over the truth; and whether the proof calls coin-ordered ones void."""
    plants, effect, said = max(200 // share, 40), 0.05, {}
    print("Carry-over: naive estimate of strictly alternating blocks / truth; same blocks by coin: conclusions")
    for block, wash in ((0.5, 0.1667), (1.0, 0.1667), (2.0, 0.5), (4.0, 2.0)):
        pairs = 24
        arms = np.tile([True, False], (plants, pairs))
        bank = drive(rng, arms, block, effect, heavy=1.0, twins=("estimated",))
        ratio = float(differences(bank.cost - bank.twins["estimated"], arms, wash).mean() / truth[effect])
        arms = coins(rng, plants, pairs)
        bank = drive(rng, arms, block, effect, heavy=1.0, twins=("estimated",))
        counts: dict[str, int] = {}
        for i in range(min(plants, 40)):
            verdict = conclude(arms[i], bank.cost[i], bank.twins["estimated"][i], block, wash)
            counts[verdict] = counts.get(verdict, 0) + 1
        said[f"{block:g} h"] = round(ratio, 2)
        print(f"  blocks of {block:g} h, wash-out {60 * wash:.0f} min: {ratio:5.2f}   {counts}")
    return {"carry_over": said}


def conclude(
    arms: np.ndarray,
    cost: np.ndarray,
    twin: np.ndarray | None,
    block: float,
    wash: float,
    change: Callable[[int, dict], None] | None = None,
) -> str:
    """Return what the proof concludes from one plant's ten-minute means; `change` may alter a row."""
    step = 600 * 10**9
    width = round(block * PER_HOUR)
    starts = tuple(i * width * step for i in range(len(arms)))
    drivers = ("GRADE", "TIC2.SP") if change else ()
    plan = Plan("p", "kpi", "USD/h", {"sp": 1.0}, starts, tuple("on" if on else "off" for on in arms), len(arms) * width * step, 0,
                round(wash * 6) * step, drivers=drivers, twin="twin" if twin is not None else "")  # fmt: skip
    rows = []
    for i, value in enumerate(cost.tolist()):
        values = {"kpi": value, "sp": float(arms[i // width])}
        if twin is not None:
            values["twin"] = float(twin[i])
        if change is not None:
            change(i, values)
        rows.append(Row(i * step, values))
    return judge(plan, blocks_of(plan, rows, step)).conclusion


def confounders(rng: np.random.Generator, _: dict[float, float], share: int) -> dict[str, object]:
    """Things that look like a benefit where the policy does nothing: how often each is called proven, in 500 seeds."""
    seeds, pairs = 500 // share, 12
    arms = coins(rng, seeds, pairs)
    bank = drive(rng, np.zeros_like(arms), BLOCK, 0.0, heavy=1.0)
    width, blocks = BLOCK * PER_HOUR, 2 * pairs
    grade = rng.random((seeds, blocks)) < np.where(arms, 0.85, 0.15)  # the cheaper grade, planned while it is on
    careful = arms & (rng.random((seeds, blocks)) < 0.7)  # while it is on the operator also asks for a cooler product
    begins = rng.uniform(0.2, 0.8, seeds) * blocks * width
    drift = np.cumsum(rng.standard_normal((seeds, blocks * width)) * 0.02, axis=1)
    slope = rng.choice((-1.0, 1.0), seeds)

    def product_mix(s: int, i: int, v: dict) -> None:
        v["GRADE"] = float(grade[s, i // width])
        v["kpi"] *= 1 - 0.08 * v["GRADE"]

    def season(s: int, i: int, v: dict) -> None:
        v["kpi"] *= 1 + 0.2 * slope[s] * i / (blocks * width)

    def feed_drift(s: int, i: int, v: dict) -> None:
        v["kpi"] += drift[s, i]

    def maintenance(s: int, i: int, v: dict) -> None:
        v["kpi"] *= 0.93 if i > begins[s] else 1.0

    def attention(s: int, i: int, v: dict) -> None:
        v["TIC2.SP"] = 68.0 - 0.5 * careful[s, i // width]
        v["kpi"] *= 1 - 0.03 * careful[s, i // width]

    def missing(s: int, i: int, v: dict) -> None:
        if arms[s, i // width] and v["kpi"] > 18.3:
            v["kpi"] = math.nan

    wrong: dict[str, int] = {}
    print(f"Confounders, nothing done, {seeds} seeds: conclusions")
    for cause in (product_mix, season, feed_drift, maintenance, attention, missing):
        counts: dict[str, int] = {}
        for s in range(seeds):

            def change(i: int, v: dict, s: int = s, cause: Callable = cause) -> None:
                v |= {"GRADE": 0.0, "TIC2.SP": 68.0}
                cause(s, i, v)

            verdict = conclude(arms[s], bank.cost[s], None, BLOCK, WASH, change)
            counts[verdict] = counts.get(verdict, 0) + 1
        wrong[cause.__name__] = counts.get("proven", 0)
        print(f"  {cause.__name__:14}{counts}")
    return {"confounded": wrong, "seeds_confounded": seeds}


if __name__ == "__main__":
    main()
