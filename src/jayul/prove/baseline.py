"""Before and after: where on and off cannot be switched, a normalised baseline says what the KPI would have been.

A regression on drivers that the measure does not touch (production, grade, weather, feed) is fitted on the time before and predicts
the time after (IPMVP option C; ISO 50006). How far such a prediction misses is not taken from its formula but tried out, with
made-up changes inside the time before (placebos). Without a coin nothing is ever "proven" here: what else changed on that day is
not known. The figures are an estimate, with the reasons for and against.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import Literal

import msgspec
import numpy as np

from jayul.prove.effect import Interval, Row

CV_RMSE = (
    0.25  # largest coefficient of variation of the misses, cross-validated (ASHRAE guideline 14 asks for 0.25 or less by month)
)
BIAS = 0.05  # largest mean miss, cross-validated, as share of the KPI
BEYOND = 0.1  # how far outside the span seen before a driver may lie, as share of the span
INSIDE = 0.9  # share of the means after the change whose drivers must lie within
FOLDS = 5
PLACEBOS = 4  # stretches as long as the time after that must fit into the time before
COVERED = 0.5  # share of its rows that a mean needs


class Exclusion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A non-routine event that a named person took out: from and to (UTC ns), who, why."""

    begin: int
    end: int
    by: str
    why: str


class BaselinePlan(msgspec.Struct, frozen=True):
    """What is compared: `kpi` (lower is better) in means of `mean` (ns), before and after `change` (UTC ns)."""

    kpi: str
    unit: str
    change: int
    mean: int
    drivers: tuple[str, ...]
    exclude: tuple[Exclusion, ...] = ()
    confidence: float = 0.95

    def digest(self) -> str:
        """Return the SHA-256 of the plan, hexadecimal."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


class Baseline(msgspec.Struct, frozen=True):
    """What came of it. `saving` is (expected - actual) in the KPI's unit, `percent` of what was expected; intervals from placebos.

    `supported`: every gate is passed and no more placebos than chance allows are as large; still no proof. `r2`, `cv_rmse`, `bias`:
    cross-validated on the time before (the last two as share of its mean KPI). `inside`: share of the means after whose drivers
    lie within what was seen. `weights`: KPI per standard deviation of each driver.
    """

    conclusion: Literal["not proven", "void"]
    supported: bool
    reasons: tuple[str, ...]
    before: int  # means
    after: int
    expected: float | None
    actual: float | None
    saving: Interval | None
    percent: Interval | None
    r2: float | None
    cv_rmse: float | None
    bias: float | None
    inside: float | None
    placebos: int
    larger: int  # placebos at least as large as the saving
    weights: dict[str, float]
    plan: str  # digest


def judge_baseline(plan: BaselinePlan, rows: Iterable[Row]) -> Baseline:
    """Fit before, predict after, try placebos, draw what may be said."""
    times, table = _means(plan, rows)
    early = times < plan.change
    before, after = table[early], table[~early]
    if len(before) < 10 * (len(plan.drivers) + 1) or len(after) < 1:
        reasons = ("too little data before or after the change",)
        return Baseline(
            "void",
            False,
            reasons,
            len(before),
            len(after),
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            0,
            0,
            {},
            plan.digest(),
        )
    predict, weights = _fit(before)
    expected, actual = float(predict(after).mean()), float(after[:, 0].mean())
    misses = _held_out(before)
    mean, spread = float(before[:, 0].mean()), float(((before[:, 0] - before[:, 0].mean()) ** 2).sum())
    r2 = 1 - float((misses**2).sum()) / spread if spread > 0 else 0.0
    cv_rmse, bias = math.sqrt(float((misses**2).mean())) / abs(mean), abs(float(misses.mean())) / abs(mean)
    inside = _inside(before, after)
    tried = _placebos(before, len(after))
    value = expected - actual
    reach = float(np.quantile(np.abs(tried), plan.confidence)) if len(tried) else None
    saving: Interval = (value, None, None) if reach is None else (value, value - reach, value + reach)
    larger = int((np.abs(tried) >= abs(value)).sum())
    against = tuple(_against(cv_rmse, bias, inside, larger, len(tried), plan.confidence, value))
    share = 100 / expected if expected > 0 else None
    percent: Interval | None = None
    if share is not None:
        percent = (share * value, *((None, None) if reach is None else (share * (value - reach), share * (value + reach))))
    named = dict(zip(plan.drivers, weights.tolist(), strict=True))
    return Baseline(
        "not proven", not against, (*against, "without a coin it is not known what else changed"), len(before), len(after),
        expected, actual, saving, percent, r2, cv_rmse, bias, inside, len(tried), larger, named, plan.digest(),
    )  # fmt: skip


def _means(plan: BaselinePlan, rows: Iterable[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Return times (ns) and means [n, 1 + drivers] of KPI and drivers, without those with too many holes or in an exclusion."""
    names, sums = (plan.kpi, *plan.drivers), dict[int, list[tuple[float, ...]]]()
    counts: dict[int, int] = {}
    for row in rows:
        piece = (row.at - plan.change) // plan.mean  # counted from the change: no mean holds both sides of it
        begin = plan.change + piece * plan.mean
        if any(begin < out.end and begin + plan.mean > out.begin for out in plan.exclude):
            continue
        counts[piece] = counts.get(piece, 0) + 1
        values = tuple(row.values[name] for name in names)
        if not any(map(math.isnan, values)):
            sums.setdefault(piece, []).append(values)
    most = max(counts.values(), default=0)
    pieces = sorted(piece for piece, found in sums.items() if len(found) >= COVERED * most)
    times = np.array([plan.change + piece * plan.mean for piece in pieces], dtype=np.int64)
    return times, np.array([np.mean(sums[piece], axis=0) for piece in pieces]).reshape(len(pieces), len(names))


class _Fit:
    """Least squares of column 0 on the standardised others."""

    def __init__(self, table: np.ndarray) -> None:
        x = table[:, 1:]
        self._centre, self._scale = x.mean(axis=0), np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
        found, *_ = np.linalg.lstsq(self._columns(x), table[:, 0], rcond=None)
        self.weights: np.ndarray = found[1:]
        self._all = found

    def _columns(self, x: np.ndarray) -> np.ndarray:
        return np.column_stack([np.ones(len(x)), (x - self._centre) / self._scale])

    def __call__(self, table: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._columns(table[:, 1:]) @ self._all
        return found


def _fit(table: np.ndarray) -> tuple[_Fit, np.ndarray]:
    fit = _Fit(table)
    return fit, fit.weights


def _held_out(table: np.ndarray) -> np.ndarray:
    """Return what fits miss (KPI - predicted) on stretches that they have not seen."""
    parts = np.array_split(np.arange(len(table)), FOLDS)
    return np.concatenate([table[part, 0] - _Fit(np.delete(table, part, axis=0))(table[part]) for part in parts])


def _inside(before: np.ndarray, after: np.ndarray) -> float:
    low, high = before[:, 1:].min(axis=0), before[:, 1:].max(axis=0)
    room = BEYOND * (high - low)
    return float(((after[:, 1:] >= low - room) & (after[:, 1:] <= high + room)).all(axis=1).mean())


def _placebos(before: np.ndarray, length: int) -> np.ndarray:
    """Return expected - actual over made-up times after, each as long as the real one, fitted on the rest of the time before.

    Half-overlapping stretches; none if fewer than `PLACEBOS` of them fit side by side.
    """
    if len(before) < PLACEBOS * length:
        return np.array([])
    found = []
    for begin in range(0, len(before) - length + 1, max(1, length // 2)):
        part = np.arange(begin, begin + length)
        found.append(float((_Fit(np.delete(before, part, axis=0))(before[part]) - before[part, 0]).mean()))
    return np.array(found)


def _against(
    cv_rmse: float, bias: float, inside: float, larger: int, placebos: int, confidence: float, value: float
) -> list[str]:
    found = []
    if cv_rmse > CV_RMSE:
        found.append(f"the baseline misses by {100 * cv_rmse:.0f} % (CV RMSE), more than {100 * CV_RMSE:.0f} %")
    if bias > BIAS:
        found.append(f"the baseline is off by {100 * bias:.0f} % on average, more than {100 * BIAS:.0f} %")
    if inside < INSIDE:
        found.append(f"only {100 * inside:.0f} % of the time after lies within the drivers seen before")
    if not placebos:
        found.append("the time before is too short to try placebos")
    elif larger > (1 - confidence) * placebos:
        found.append(f"{larger} of {placebos} placebos are as large")
    if value <= 0:
        found.append("nothing was saved")
    return found
