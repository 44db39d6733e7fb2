"""The effect of a policy from randomised on/off blocks, and the conclusion that may be drawn from it.

Unit of analysis is the pair of blocks. The conclusion stands on the e-process of the coin that ordered each pair (`sequential`): it
holds whatever the distribution and the autocorrelation, and however often one looked. "Proven" also needs every constraint held, no
driver and no coverage that differs between the arms, and a difference that no longer changes within the blocks (carry-over). Beside
it, for readers who know them: Student's t on the pair differences at the end, the exact randomisation test (Fisher 1935), HAC.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np

from jayul.prove.plan import SLOWER, Arm, Held, Limit, Plan
from jayul.prove.sequential import Look, looks, pairs_needed, threshold

Conclusion = Literal["proven", "not proven", "worse", "confounded", "void"]
EXACT = 14  # pairs up to which every order of the coins is tried; beyond, the sign test
DRIVER_LEVEL = 0.01
CARRIED_LEVEL = 0.001
CARRIED = 0.25  # share of the difference that may change between the halves of the blocks


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
    hourly: tuple[float, ...] = ()  # means of the KPI over each hour that counts
    stood: float = math.nan  # share of the ticks that count in which the targets stood
    halves: tuple[float, float] = (math.nan, math.nan)  # means of what is compared over the first and second half that counts
    known: int = 0  # ticks in which every tag of the plan was good
    due: float = 0.0  # ticks that there were to be, up to the last one of the run


Couple: TypeAlias = tuple[Block, Block]  # off, on
Interval: TypeAlias = tuple[float, float | None, float | None]  # value, low, high


class Effect(msgspec.Struct, frozen=True):
    """What came of a plan. `benefit` is (off - on) in percent of off, with its interval; `absolute` the same in the KPI's unit.

    The interval is that of the e-process: good at every look; an end is None where it is not bounded. `looks`: what could be
    said after each pair. `beside`: other estimates (value, low, high) by method; `p_exact`: the two-sided randomisation test.
    `more_hours`: plant hours until this effect would be shown, if it goes on like this (None: unknown, or not in reach).
    `wash_out` in h, as it was used. `followed`: by arm, the share of ticks in which the policy's targets stood. `smallest_hours`:
    plant hours that it takes to show the smallest effect of interest, with power 0.8, at the spread of these pairs (None: none was
    named, or not in reach). `reasons` say why the conclusion is not "proven".
    """

    conclusion: Conclusion
    reasons: tuple[str, ...]
    kpi_on: float
    kpi_off: float
    benefit: Interval | None
    absolute: Interval | None
    p_exact: float | None
    pairs: int
    pairs_planned: int
    held: dict[str, dict[str, float]]
    limit_minutes: dict[str, float]
    blocks: tuple[Block, ...]
    plan: str  # digest
    looks: tuple[Look, ...] = ()
    beside: dict[str, Interval] = {}
    more_hours: float | None = None
    wash_out: float = 0.0
    followed: dict[str, float] = {}
    smallest_hours: float | None = None


def blocks_of(plan: Plan, rows: Iterable[Row], period: int) -> list[Block]:
    """Cut rows into the plan's blocks and apply the plan's rules. `period` in ns. A block without a row has no tick."""
    ends, held, last = (*plan.starts[1:], plan.end), [list[Row]() for _ in plan.starts], 0
    for row in rows:
        number = int(np.searchsorted(plan.starts, row.at, side="right")) - 1
        if number >= 0 and row.at < plan.end:
            held[number].append(row)
            last = row.at
    settled = [_settling(plan, block) for block in held[: plan.commissioning]]
    wash_out = wash_out_of(plan, settled)
    quiet_from, found = 0, list[Block]()
    for i, (arm, block) in enumerate(zip(plan.arms, held, strict=True)):
        used = []
        for row in block:
            if row.at < plan.starts[i] + wash_out:
                continue
            if plan.alarm and row.values[plan.alarm] == 1.0:
                quiet_from = row.at + plan.recover
            if row.at >= quiet_from and not math.isnan(_compared(plan, row)):
                used.append(row)
        planned = (ends[i] - plan.starts[i] - wash_out) / period
        means = {tag: _mean([row.values[tag] for row in used]) for tag in sorted(_tags(plan))}
        outside = {limit.tag: _outside(limit, block) * period / 60e9 for limit in plan.limits}
        left_out = _why_not(plan, i, arm, used, planned)
        found.append(
            Block(i, arm, plan.starts[i], ends[i], len(block), len(used), means, outside, left_out,
                  settled[i] if i < plan.commissioning else None, _hourly(plan.kpi, used), _stands(plan, used), _halves(plan, used),
                  _known(block), (min(ends[i], last + period) - plan.starts[i]) / period if block else 0.0)
        )  # fmt: skip
    return found


def _known(rows: list[Row]) -> int:
    return sum(not any(map(math.isnan, row.values.values())) for row in rows)


def _tags(plan: Plan) -> set[str]:
    return {plan.kpi, *(held.tag for held in plan.held), *plan.drivers, *([plan.twin] if plan.twin else [])}


def _halves(plan: Plan, rows: list[Row]) -> tuple[float, float]:
    values = [_compared(plan, row) for row in rows]
    return _mean(values[: len(values) // 2]), _mean(values[len(values) // 2 :])


def wash_out_of(plan: Plan, settled: Sequence[float | None]) -> int:
    """Return the wash-out in ns: the plan's, or what commissioning found (h); without anything found half a block."""
    if plan.wash_out or not plan.starts:
        return plan.wash_out
    known, block = [hours for hours in settled if hours is not None], (plan.end - plan.starts[0]) // len(plan.starts)
    return int(SLOWER * max(known) * 3.6e12) if known else block // 2


def _hourly(kpi: str, rows: list[Row]) -> tuple[float, ...]:
    hours: dict[int, list[float]] = {}
    for row in rows:
        hours.setdefault(row.at // 3_600_000_000_000, []).append(row.values[kpi])
    return tuple(_mean(values) for values in hours.values())


def _compared(plan: Plan, row: Row) -> float:
    return row.values[plan.kpi] - (row.values[plan.twin] if plan.twin else 0.0)


def _settling(plan: Plan, rows: list[Row]) -> float | None:
    """Return after how many hours the smoothed KPI (less its twin) stays as close to its last value as in the last quarter.

    Close: within three standard deviations of the last quarter; None if it is not that close before the last quarter begins.
    """
    width = max(len(rows) // 20, 1)
    values = np.array([_compared(plan, row) for row in rows])
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
    stands = _stands(plan, used)
    return "" if plan.assigned or (stands >= 0.9 if arm == "on" else stands <= 0.1) else "not in its arm"


def _stands(plan: Plan, rows: list[Row]) -> float:
    """Return the share of rows in which every target of the policy stood."""
    there = [all(math.isclose(row.values[tag], v, rel_tol=1e-6) for tag, v in plan.targets.items()) for row in rows]
    return sum(there) / len(there) if there else math.nan


def _outside(limit: Limit, rows: list[Row]) -> int:
    low, high = -math.inf if limit.low is None else limit.low, math.inf if limit.high is None else limit.high
    return sum(not low <= row.values[limit.tag] <= high for row in rows if not math.isnan(row.values[limit.tag]))


def _mean(values: list[float]) -> float:
    good = [value for value in values if not math.isnan(value)]
    return math.fsum(good) / len(good) if good else math.nan


def judge(plan: Plan, blocks: list[Block]) -> Effect:
    """Draw the conclusion that the plan allows; blocks that have not been (no tick) are not judged."""
    after = [block for block in blocks[plan.commissioning :] if block.ticks]
    couples = in_pairs(after)
    good = [(off, on) for off, on in couples if not off.left_out and not on.left_out]
    differences = np.array([compared(plan, off) - compared(plan, on) for off, on in good])
    off_mean = _mean([off.means[plan.kpi] for off, _ in good])
    on_mean = _mean([on.means[plan.kpi] for _, on in good])
    held = {
        h.tag: {arm: _mean([pair[k].means[h.tag] for pair in good]) for k, arm in enumerate(("off", "on"))} for h in plan.held
    }
    minutes = {arm: sum(sum(b.outside.values()) for b in after if b.arm == arm) for arm in ("off", "on")}
    seen = looks(differences, plan.confidence, plan.no_worse)
    absolute: Interval | None = (seen[-1].mean, seen[-1].low, seen[-1].high) if len(seen) > 1 else None
    benefit = _percent(absolute, off_mean)
    conclusion, reasons = _conclude(plan, blocks, couples, good, seen, held, minutes)
    settled = [block.settled for block in blocks[: plan.commissioning]]
    return Effect(
        conclusion, reasons, on_mean, off_mean, benefit, absolute, _exact(differences), len(good), len(couples), held, minutes,
        tuple(blocks), plan.digest(), seen, _beside(plan, good, differences),
        _more_hours(plan, differences, conclusion), wash_out_of(plan, settled) / 3.6e12,
        {arm: _mean([pair[k].stood for pair in good]) for k, arm in enumerate(("off", "on"))} if good else {},
        _smallest_hours(plan, differences, off_mean),
    )  # fmt: skip


def compared(plan: Plan, block: Block) -> float:
    """Return what a block contributes: the mean KPI, less its twin's if there is one."""
    return block.means[plan.kpi] - (block.means[plan.twin] if plan.twin else 0.0)


def _percent(absolute: Interval | None, off: float) -> Interval | None:
    if absolute is None or not off > 0:
        return None
    value, low, high = absolute
    return 100 * value / off, None if low is None else 100 * low / off, None if high is None else 100 * high / off


def _more_hours(plan: Plan, differences: np.ndarray, conclusion: str) -> float | None:
    """Return in how many plant hours an effect like this one would be shown, with power 0.8."""
    if conclusion != "not proven" or len(differences) < 2 or not differences.mean() > 0:
        return None
    spread = float(differences.std(ddof=1))
    needed = pairs_needed(round(float(differences.mean()) / spread, 2) if spread else 100.0, 0.8, plan.confidence)
    return None if needed is None or needed <= len(differences) else (needed - len(differences)) * _pair_hours(plan)


def _smallest_hours(plan: Plan, differences: np.ndarray, off: float) -> float | None:
    if not plan.smallest or len(differences) < 3 or not off > 0 or not (spread := float(differences.std(ddof=1))):
        return None
    needed = pairs_needed(round(plan.smallest / 100 * off / spread, 2), 0.8, plan.confidence)
    return None if needed is None else needed * _pair_hours(plan)


def _pair_hours(plan: Plan) -> float:
    return 2 * (plan.end - plan.starts[0]) / len(plan.starts) / 3.6e12


def _beside(plan: Plan, good: list[Couple], differences: np.ndarray) -> dict[str, Interval]:
    """Return what other methods say: Student's t on pairs, and HAC (Newey and West 1987) on hourly means as if arms were given."""
    found = {"t": interval} if (interval := _interval(differences, plan.confidence)) else {}
    if plan.twin or not good:
        return found
    hours = [(block.start, block.arm == "on", value) for pair in good for block in pair for value in block.hourly]
    hours.sort(key=lambda hour: hour[0])
    on, value = np.array([h[1] for h in hours], dtype=float), np.array([h[2] for h in hours])
    if len(value) < 10 or not 0 < on.mean() < 1:
        return found
    part, residual = on - on.mean(), value - np.where(on == 1.0, value[on == 1.0].mean(), value[on == 0.0].mean())
    score, lags = part * residual, int(4 * (len(value) / 100) ** (2 / 9))  # the usual rule
    variance = float(score @ score)
    for lag in range(1, lags + 1):
        variance += 2.0 * (1 - lag / (lags + 1)) * float(score[lag:] @ score[:-lag])
    from scipy import stats

    estimate = float(value[on == 0.0].mean() - value[on == 1.0].mean())
    error = math.sqrt(max(variance, 0.0)) / float(part @ part)
    reach = float(stats.norm.ppf(0.5 + plan.confidence / 2)) * error
    return found | {"HAC": (estimate, estimate - reach, estimate + reach)}


def in_pairs(blocks: list[Block]) -> list[Couple]:
    """Return neighbours, two by two, that hold one arm each, as (off, on)."""
    couples = [sorted(blocks[i : i + 2], key=lambda block: block.arm) for i in range(0, len(blocks) - 1, 2)]
    return [(off, on) for off, on in couples if (off.arm, on.arm) == ("off", "on")]


def _interval(differences: np.ndarray, confidence: float) -> Interval | None:
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
    plan: Plan, blocks: list[Block], couples: list[Couple], good: list[Couple], seen: tuple[Look, ...],
    held: dict[str, dict[str, float]], minutes: dict[str, float],
) -> tuple[Conclusion, tuple[str, ...]]:  # fmt: skip
    settled, bound = [block.settled for block in blocks[: plan.commissioning]], threshold(plan.confidence)
    if (share := coverage(blocks[plan.commissioning :])) is not None and share < plan.least_coverage:
        return "void", (f"coverage {100 * share:.1f} %, at least {100 * plan.least_coverage:g} % is asked for",)
    if len(seen) < 2:
        return "void", ("fewer than two pairs count",)
    if plan.wash_out == 0 and all(hours is None for hours in settled):
        return "void", ("the KPI did not settle within a commissioning block: the wash-out is unknown",)
    if _carries_over(good):
        return "void", ("carry-over: the difference still changes within the blocks; use longer blocks and a longer wash-out",)
    reasons = [f"differs between the arms: {tag}" for tag in plan.drivers if _differs(tag, good)]
    if (gap := _coverage_gap(couples)) > plan.coverage_gap:
        reasons.append(f"the share of ticks that count differs between the arms by {100 * gap:.0f} points")
    if reasons:
        return "confounded", tuple(reasons)
    if seen[-1].e_harm >= bound:
        return "worse", ("it costs more than it saves" if not plan.no_worse else "it is worse by more than the margin",)
    reasons = [f"not held: {h.tag}" for h in plan.held if not _is_held(h, held[h.tag])]
    if minutes["on"] > minutes["off"]:
        reasons.append("more minutes outside a limit than off")
    if seen[-1].e_benefit < bound:
        reasons.append(f"the coin alone could have done it: e-value {seen[-1].e_benefit:.1f}, needed {bound:.0f}")
    return ("not proven" if reasons else "proven"), tuple(reasons)


def coverage(blocks: Sequence[Block]) -> float | None:
    """Return the share of the ticks due so far in which every tag of the plan was good; None before the first block."""
    been = [block for block in blocks if block.ticks]
    return sum(block.known for block in been) / sum(block.due for block in been) if been else None


def _carries_over(good: list[Couple]) -> bool:
    """Say whether the difference in the first half of the blocks is clearly another one than in the second half."""
    halves = np.array([[off.halves[k] - on.halves[k] for k in (0, 1)] for off, on in good])
    if len(halves) < 4 or not np.isfinite(halves).all():
        return False
    change = halves[:, 0] - halves[:, 1]
    if abs(change.mean()) <= CARRIED * abs(halves.mean()):
        return False
    if np.ptp(change) == 0:
        return True
    from scipy import stats

    return float(stats.ttest_1samp(change, 0.0).pvalue) < CARRIED_LEVEL


def _coverage_gap(couples: list[Couple]) -> float:
    """Return how far the arms differ in the share of ticks that count, over all pairs, those left out included."""
    share = [sum(pair[k].used for pair in couples) / max(sum(pair[k].ticks for pair in couples), 1) for k in (0, 1)]
    return abs(share[0] - share[1])


def _is_held(held: Held, means: dict[str, float]) -> bool:
    ratio = held.ratio is None or means["on"] >= held.ratio * means["off"]
    return ratio and (held.within is None or abs(means["on"] - means["off"]) <= held.within)


def _differs(tag: str, good: list[Couple]) -> bool:
    differences = np.array([off.means[tag] - on.means[tag] for off, on in good])
    if np.ptp(differences) == 0:
        return bool(differences[0] != 0)
    from scipy import stats

    return float(stats.ttest_1samp(differences, 0.0).pvalue) < DRIVER_LEVEL
