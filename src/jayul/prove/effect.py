"""The effect of a policy from randomised on/off blocks, and the conclusion that may be drawn from it.

Unit of analysis is the pair of blocks, so the interval is honest about autocorrelation within a block: Student's t on the pair
differences (off - on), and beside it the exact randomisation test of the coin that ordered each pair (Fisher 1935), which holds
whatever the distribution. "Proven" needs both, every constraint held, and no driver that differs between the arms.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np

from jayul.prove.plan import Arm, Held, Limit, Plan

Conclusion = Literal["proven", "not proven", "worse", "confounded", "void"]
EXACT = 14  # pairs up to which every order of the coins is tried; beyond, the sign test
DRIVER_LEVEL = 0.01


class Row(NamedTuple):
    """One tick as the proof sees it: time (ns) and values by tag; NaN where a value was not good."""

    at: int
    values: dict[str, float]


class Block(msgspec.Struct, frozen=True):
    """One block: means over the ticks that count, and why it does not count (empty: it does)."""

    number: int
    arm: Arm
    start: int
    end: int
    ticks: int
    used: int
    means: dict[str, float]
    outside: dict[str, float]  # minutes outside each limit, wash-out included
    left_out: str = ""
    settled: float | None = None  # h from the switch until the KPI had settled; of commissioning blocks, if it did


Couple: TypeAlias = tuple[Block, Block]  # off, on


class Effect(msgspec.Struct, frozen=True):
    """What came of a plan. `benefit` is (off - on) in percent of off, with its interval; `absolute` the same in the KPI's unit.

    `p_exact` is the two-sided randomisation test. `reasons` say why the conclusion is not "proven".
    """

    conclusion: Conclusion
    reasons: tuple[str, ...]
    kpi_on: float
    kpi_off: float
    benefit: tuple[float, float, float] | None
    absolute: tuple[float, float, float] | None
    p_exact: float | None
    pairs: int
    pairs_planned: int
    held: dict[str, dict[str, float]]
    limit_minutes: dict[str, float]
    blocks: tuple[Block, ...]
    plan: str  # digest


def blocks_of(plan: Plan, rows: Iterable[Row], period: int) -> list[Block]:
    """Cut rows into the plan's blocks and apply the plan's rules. `period` in ns."""
    tags = {plan.kpi, *(h.tag for h in plan.held), *plan.drivers}
    ends = (*plan.starts[1:], plan.end)
    held: list[list[Row]] = [[] for _ in plan.starts]
    quiet_from = 0
    usable: set[int] = set()
    for row in rows:
        number = int(np.searchsorted(plan.starts, row.at, side="right")) - 1
        if number < 0 or row.at >= plan.end:
            continue
        held[number].append(row)
        settled = row.at >= plan.starts[number] + plan.wash_out
        if plan.alarm and row.values[plan.alarm] == 1.0 and settled:
            quiet_from = row.at + plan.recover
        if settled and row.at >= quiet_from and not math.isnan(row.values[plan.kpi]):
            usable.add(row.at)
    found = []
    for i, (arm, block) in enumerate(zip(plan.arms, held, strict=True)):
        after = [row for row in block if row.at >= plan.starts[i] + plan.wash_out]
        used = [row for row in after if row.at in usable]
        planned = (ends[i] - plan.starts[i] - plan.wash_out) / period
        means = {tag: _mean([row.values[tag] for row in used]) for tag in sorted(tags)}
        outside = {limit.tag: _outside(limit, block) * period / 60e9 for limit in plan.limits}
        took = _settling(plan.kpi, block) if i < plan.commissioning else None
        found.append(
            Block(
                i,
                arm,
                plan.starts[i],
                ends[i],
                len(block),
                len(used),
                means,
                outside,
                _why_not(plan, i, arm, used, planned),
                took,
            )
        )
    return found


def _settling(kpi: str, rows: list[Row]) -> float | None:
    """Return after how many hours the smoothed KPI stays as close to its last value as it is in the last quarter of the block.

    Close: within three standard deviations of the last quarter; None if it is not that close before the last quarter begins.
    """
    width = max(len(rows) // 20, 1)
    values = np.array([row.values[kpi] for row in rows])
    if len(values) < 40 or np.isnan(values).any():
        return None
    smooth = np.convolve(values, np.full(width, 1 / width), mode="valid")
    last = smooth[-len(values) // 4 :]
    off = np.flatnonzero(np.abs(smooth - last.mean()) > 3 * last.std())
    number = int(off[-1]) + width if len(off) else 0
    return (rows[number].at - rows[0].at) / 3.6e12 if number < len(values) * 3 // 4 else None


def _why_not(plan: Plan, i: int, arm: Arm, used: list[Row], planned: float) -> str:
    if i < plan.commissioning:
        return "commissioning"
    if not used or len(used) < plan.least * planned:
        return "too few ticks"
    stands = sum(all(math.isclose(row.values[tag], v, rel_tol=1e-6) for tag, v in plan.targets.items()) for row in used) / len(
        used
    )
    return "" if (stands >= 0.9 if arm == "on" else stands <= 0.1) else "not in its arm"


def _outside(limit: Limit, rows: list[Row]) -> int:
    low, high = -math.inf if limit.low is None else limit.low, math.inf if limit.high is None else limit.high
    return sum(not low <= row.values[limit.tag] <= high for row in rows if not math.isnan(row.values[limit.tag]))


def _mean(values: list[float]) -> float:
    good = [value for value in values if not math.isnan(value)]
    return math.fsum(good) / len(good) if good else math.nan


def judge(plan: Plan, blocks: list[Block]) -> Effect:
    """Draw the conclusion that the plan allows."""
    after = blocks[plan.commissioning :]
    couples = _pairs(after)
    good = [(off, on) for off, on in couples if not off.left_out and not on.left_out]
    differences = np.array([off.means[plan.kpi] - on.means[plan.kpi] for off, on in good])
    off_mean = _mean([off.means[plan.kpi] for off, _ in good])
    on_mean = _mean([on.means[plan.kpi] for _, on in good])
    held = {
        h.tag: {arm: _mean([pair[k].means[h.tag] for pair in good]) for k, arm in enumerate(("off", "on"))} for h in plan.held
    }
    minutes = {arm: sum(sum(b.outside.values()) for b in after if b.arm == arm) for arm in ("off", "on")}
    absolute = _interval(differences, plan.confidence)
    percent = [100 * part / off_mean for part in absolute] if absolute and off_mean else None
    benefit = (percent[0], percent[1], percent[2]) if percent else None
    exact = _exact(differences)
    conclusion, reasons = _conclude(plan, good, absolute, exact, held, minutes)
    return Effect(
        conclusion,
        reasons,
        on_mean,
        off_mean,
        benefit,
        absolute,
        exact,
        len(good),
        len(couples),
        held,
        minutes,
        tuple(blocks),
        plan.digest(),
    )


def _pairs(blocks: list[Block]) -> list[Couple]:
    couples = [sorted(blocks[i : i + 2], key=lambda block: block.arm) for i in range(0, len(blocks) - 1, 2)]
    return [(off, on) for off, on in couples]


def _interval(differences: np.ndarray, confidence: float) -> tuple[float, float, float] | None:
    if len(differences) < 2:
        return None
    from scipy import stats  # here and below: it takes long to load, and few commands need it

    mean, error = float(differences.mean()), float(differences.std(ddof=1)) / math.sqrt(len(differences))
    reach = float(stats.t.ppf(0.5 + confidence / 2, len(differences) - 1)) * error
    return mean, mean - reach, mean + reach


def _exact(differences: np.ndarray) -> float | None:
    """Return the two-sided p-value of the sharp null: flipping any coin would only have flipped the sign of its pair."""
    n = len(differences)
    if not n:
        return None
    if n > EXACT:
        from scipy import stats

        return float(stats.binomtest(int((differences > 0).sum()), n).pvalue)
    sums = [abs(float(np.dot(signs, differences))) for signs in itertools.product((1.0, -1.0), repeat=n)]
    return sum(s >= abs(float(differences.sum())) * (1 - 1e-12) for s in sums) / len(sums)


def _conclude(
    plan: Plan, good: list[Couple], absolute: tuple[float, float, float] | None, exact: float | None,
    held: dict[str, dict[str, float]], minutes: dict[str, float],
) -> tuple[Conclusion, tuple[str, ...]]:  # fmt: skip
    if absolute is None or exact is None:
        return "void", ("fewer than two pairs count",)
    reasons = [f"differs between the arms: {tag}" for tag in plan.drivers if _differs(tag, good)]
    if reasons:
        return "confounded", tuple(reasons)
    sure = exact <= 1 - plan.confidence
    if absolute[2] < 0 and sure:
        return "worse", ("the interval lies below zero",)
    reasons = [f"not held: {h.tag}" for h in plan.held if not _is_held(h, held[h.tag])]
    if minutes["on"] > minutes["off"]:
        reasons.append("more minutes outside a limit than off")
    if absolute[1] <= 0:
        reasons.append("the interval reaches zero")
    if not sure:
        reasons.append("the coin alone could have done it")
    return ("not proven" if reasons else "proven"), tuple(reasons)


def _is_held(held: Held, means: dict[str, float]) -> bool:
    ratio = held.ratio is None or means["on"] >= held.ratio * means["off"]
    return ratio and (held.within is None or abs(means["on"] - means["off"]) <= held.within)


def _differs(tag: str, good: list[Couple]) -> bool:
    differences = np.array([off.means[tag] - on.means[tag] for off, on in good])
    if np.ptp(differences) == 0:
        return bool(differences[0] != 0)
    from scipy import stats

    return float(stats.ttest_1samp(differences, 0.0).pvalue) < DRIVER_LEVEL
