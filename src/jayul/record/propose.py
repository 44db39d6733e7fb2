"""A first contract from what was recorded. A person reads it before it holds.

Each figure is taken so wide that the records it was made from raise no more counts than they show: `rate` only where nine of
ten intervals are alike, rounded up to a round figure; `low` and `high` half a span beyond the range of all but one value in a
thousand, and beyond whatever lies near it, but none for counters; `frozen` ten times as long as the value ordinarily stood
still; `late` twice the delay of all but one sample in a thousand, and not from samples that were imported (all known at about
one time); `missing` what lacked in the worst hour.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pyarrow as pa

from jayul.core.guard import HOUR
from jayul.core.types import SECOND
from jayul.record.batch import Batch
from jayul.record.contract import Contract, TagContract
from jayul.record.coverage import coverage_by_hour, table_of
from jayul.record.ledger import Ledger, batch_of

LEAST = 20  # samples; of fewer nothing is said
ROUND = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 14_400, 28_800, 43_200, 86_400)  # s


class Seen(msgspec.Struct, frozen=True):
    """What the records show of a tag: samples, share of good ones, median interval (ns), extremes of good values, share of
    changes, median delay (ns).
    """

    samples: int
    good: float
    interval: int
    least: float
    most: float
    changes: float
    delay: int


def propose(samples: pa.Table, units: dict[str, str] | None = None) -> dict[str, tuple[TagContract, Seen]]:
    """Return a contract, and what it rests on, for each tag of a table (tag, source_at, value, status, known_at)."""
    names = tuple(sorted(samples["tag"].cast(pa.string()).unique().to_pylist()))
    batch = batch_of(samples, names)
    batch = batch.take(np.lexsort((batch.source_at, batch.tag)))
    edges = np.searchsorted(batch.tag, np.arange(len(names) + 1))
    found = {}
    for i, name in enumerate(names):
        contract, seen = _tag(batch.take(slice(int(edges[i]), int(edges[i + 1]))))
        found[name] = (msgspec.structs.replace(contract, unit=(units or {}).get(name, "")), seen)
    return found


def _tag(batch: Batch) -> tuple[TagContract, Seen]:
    steps = np.diff(batch.source_at)
    steps = steps[steps > 0]
    usable = (batch.status < 0x4000_0000) & np.isfinite(batch.value)
    value, at = batch.value[usable], batch.source_at[usable]
    delay = batch.known_at - batch.source_at
    changes = float((np.diff(value) != 0).mean()) if len(value) > 1 else 0.0
    interval = int(np.median(steps)) if len(steps) else 0
    least, most = (float(value.min()), float(value.max())) if len(value) else (math.nan, math.nan)
    seen = Seen(len(batch.tag), float(usable.mean()), interval, least, most, changes, int(np.median(delay)))
    if len(value) < LEAST or not len(steps):
        return TagContract(), seen
    rate, rises = _rate(steps, interval), _rises(value)
    low, high = (None, None) if rises else _range(value)
    contract = TagContract(
        rate=rate, low=low, high=high, frozen=_frozen(at, value, interval), monotone="rising" if rises else "",
        late=_late(batch, delay),
    )  # fmt: skip
    return msgspec.structs.replace(contract, missing=_missing(batch, contract)) if rate else contract, seen


def _text(ns: float) -> str:
    """Write a duration."""
    for name, size in (("h", HOUR), ("min", 60 * SECOND), ("s", SECOND)):
        if ns >= size and ns % size == 0:
            return f"{ns / size:.15g} {name}"
    return f"{ns / SECOND:.15g} s" if ns >= SECOND else f"{ns / 1e6:.6g} ms"


def _up(ns: float) -> str:
    """Write a duration rounded up to a round figure."""
    found = next((s for s in ROUND if s * SECOND >= ns), None)
    return _text(found * SECOND if found else math.ceil(ns / (24 * HOUR)) * 24 * HOUR)


def _rate(steps: np.ndarray, interval: int) -> str:
    """Return the rate of a series whose intervals are alike; gaps do not count against it."""
    alike = np.abs(steps - interval) <= 0.25 * interval
    if alike.mean() < 0.9 or interval < SECOND // 1000:
        return ""
    rate = float(steps[alike].mean())
    whole = [s * SECOND for s in ROUND] + [ms * SECOND // 1000 for ms in (1, 2, 5, 10, 20, 50, 100, 200, 500)]
    near = min(whole, key=lambda ns: abs(ns - rate))
    if abs(near - rate) <= 0.01 * rate:
        return _text(near)
    unit = 10 ** max(0, math.floor(math.log10(rate)) - 2)
    return _text(math.ceil(rate / unit) * unit)


def _range(value: np.ndarray) -> tuple[float | None, float | None]:
    """Return plausible limits, None where the value never changes."""
    low, high = (float(q) for q in np.quantile(value, [0.001, 0.999]))
    span = high - low
    if not span > 0:
        return None, None
    near = value[(value >= low - span) & (value <= high + span)]
    low, high = min(low - span / 2, float(near.min()) - span / 4), max(high + span / 2, float(near.max()) + span / 4)
    return _outward(low, math.floor), _outward(high, math.ceil)


def _outward(value: float, towards: object) -> float:
    """Round to three significant digits, away from the middle."""
    if not value:
        return 0.0
    power = 10.0 ** (math.floor(math.log10(abs(value))) - 2)
    whole = math.floor(value / power) if towards is math.floor else math.ceil(value / power)
    return float(f"{whole * power:.6g}")


def _frozen(at: np.ndarray, value: np.ndarray, interval: int) -> str:
    """Return ten times the ordinary standstill; empty for what stands still most of the time, as set-points do."""
    turns = np.flatnonzero(np.diff(value) != 0)
    if len(turns) < LEAST or len(turns) < 0.2 * len(value):
        return ""
    begins = at[np.concatenate(([0], turns + 1))]
    stood = np.diff(np.append(begins, at[-1]))
    return _up(max(10.0 * float(np.quantile(stood, 0.99)), 20.0 * interval))


def _rises(value: np.ndarray) -> bool:
    """Say whether this is a counter: it rises a hundred times, and falls only back to near nothing."""
    change = np.diff(value)
    falls = np.flatnonzero(change < 0)
    back = value[falls + 1] <= 0.1 * value[falls]
    return bool((change > 0).sum() >= 100 and len(falls) <= 0.01 * len(change) and back.all())


def _late(batch: Batch, delay: np.ndarray) -> str:
    known, source = np.ptp(batch.known_at), np.ptp(batch.source_at)
    usual = float(np.quantile(delay, 0.999))
    if known < 0.5 * source or usual <= 0 or usual > 12 * HOUR:
        return ""  # imported, or replayed with no delay at all
    return _up(max(2.0 * usual, SECOND))


def _missing(batch: Batch, contract: TagContract) -> float:
    """Return the share that lacked in the worst whole hour, rounded up to 5 %; at least 5 %."""
    judge = Ledger(Contract({"tag": contract}, ["tag"]))
    begin, end = int(batch.source_at.min()), int(batch.source_at.max())
    judge.watch(begin)
    batch = batch._replace(tag=np.zeros(len(batch.tag), dtype=np.int32), known_at=batch.source_at)
    _, counts = judge.take(batch, now=end)
    counts += judge.close(end + 1)
    lacks = max(
        (1 - share for share, expected in coverage_by_hour(table_of(counts, ["tag"])) if expected >= LEAST), default=0.0
    )
    return min(1.0, max(0.05, math.ceil(round(lacks * 20, 9)) / 20))


def toml(contracts: dict[str, TagContract], least: float = 0.9) -> str:
    """Write a contract as the section of a manifest."""
    lines = ["[contract]", f"least = {least:g}", ""]
    for name, contract in contracts.items():
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'[contract.tag."{quoted}"]')
        for key, value in msgspec.structs.asdict(contract).items():
            if value not in ("", None, ()):
                text = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' if isinstance(value, str) else f"{value!r}"
                lines.append(f"{key} = {text}")
        lines.append("")
    return "\n".join(lines)
