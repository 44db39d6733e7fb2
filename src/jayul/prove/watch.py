"""After the proof: off blocks go on at auto, so that a benefit which fades, or turns into harm, is noticed.

Pairs of blocks, again in coin order, stand between long stretches on. Two detectors add up evidence and forget what spoke
against it (CUSUM of e-values: Shin, Ramdas and Rinaldo 2024): one for harm, one for less than half of what was proven. Without a
change either rings once in `RINGS` pairs on average, at most.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import msgspec
import numpy as np
from msgspec.structs import replace

from jayul.prove.effect import Row, blocks_of, compared, in_pairs
from jayul.prove.plan import Plan
from jayul.prove.sequential import RATES, WEIGHTS

RINGS = 200.0
KEPT = 0.5  # share of the proven benefit that has to be left

Standing = Literal["holds", "decayed", "worse", "unknown"]


class Watched(msgspec.Struct, frozen=True):
    """How a proven benefit stands: pairs since, their mean difference (off - on, KPI's unit), both detectors, and what they say."""

    standing: Standing
    pairs: int
    mean: float | None
    harm: float
    decay: float


def watch(plan: Plan, rows: Iterable[Row], period: int, proven: float, wash_out: int) -> Watched:
    """Judge the pairs after the proof. `proven`: the benefit that was claimed (KPI's unit); `period`, `wash_out` in ns."""
    arms = {"starts": plan.watch_starts, "arms": plan.watch_arms, "end": plan.watch_end}
    later = replace(plan, **arms, commissioning=0, wash_out=max(wash_out, 1))
    found = [block for block in blocks_of(later, rows, period) if block.ticks]
    couples = [(off, on) for off, on in in_pairs(found) if not off.left_out and not on.left_out]
    differences = np.array([compared(plan, off) - compared(plan, on) for off, on in couples])
    if not len(differences):
        return Watched("unknown", 0, None, 0.0, 0.0)
    harm, decay = detector(-differences), detector(KEPT * proven - differences)
    standing: Standing = "worse" if harm >= RINGS else "decayed" if decay >= RINGS else "holds"
    return Watched(standing, len(differences), float(differences.mean()), harm, decay)


def detector(x: np.ndarray) -> float:
    """Return the largest value so far of the CUSUM of e-values for a positive mean; `x` float64 [n], in order of time."""
    sums, squares, largest = np.ones(len(RATES)), 0.0, 0.0
    for n, value in enumerate(x.tolist(), 1):
        squares += value * value
        scaled = value / math.sqrt(squares / n) if squares > 0 else 0.0
        sums = np.maximum(sums, 1.0) * np.exp(RATES * scaled - np.logaddexp(RATES * scaled, -RATES * scaled) + math.log(2.0))
        largest = max(largest, float(WEIGHTS @ sums))
    return largest
