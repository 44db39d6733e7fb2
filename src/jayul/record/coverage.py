"""What the ledger's counts say: coverage, a summary by tag, and where an hour fell short.

Counts are a table as `Reader.counts` returns it: tag (string), hour (timestamp ns UTC, or int64), what (string), n (int64).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec
import numpy as np
import pyarrow as pa

from jayul.record.batch import Count
from jayul.record.contract import Contract, TagContract

Tally: TypeAlias = dict[str, int]
MISSING, DISCARDED, CLOSED = "missing:", "discarded:", "closed"  # the last is a time, and the ledger's own business


class Sum(msgspec.Struct, frozen=True):
    """What was counted of a tag, or of all. `coverage`: share of expected slots with a good sample; None: nothing was expected."""

    counts: Tally
    coverage: float | None
    unexplained_samples: int
    unexplained_slots: int

    @property
    def unexplained(self) -> int:
        """Samples and slots that are not accounted for: 0, or something is wrong with the ledger."""
        return abs(self.unexplained_samples) + abs(self.unexplained_slots)


class Shortfall(msgspec.Struct, frozen=True):
    """An hour (ns UTC) in which a tag had less than its contract allows, and who owns most of what lacks (or bad: not good)."""

    tag: str
    hour: int
    coverage: float
    owner: str


def table_of(counts: Sequence[Count], names: Sequence[str]) -> pa.Table:
    """Return counts as a table; rows of one tag, hour and kind are not added up."""
    hours = pa.array([count.hour for count in counts], pa.int64()).cast(pa.timestamp("ns", "UTC"))
    columns = [pa.array([names[count.tag] for count in counts], pa.string()), hours]
    columns += [pa.array([count.what for count in counts], pa.string()), pa.array([count.n for count in counts], pa.int64())]
    return pa.Table.from_arrays(columns, names=["tag", "hour", "what", "n"])


def _hours(counts: pa.Table) -> np.ndarray:
    found: np.ndarray = counts["hour"].cast(pa.int64()).to_numpy()
    return found


def _by_tag(counts: pa.Table) -> dict[str, Tally]:
    grouped = counts.group_by(["tag", "what"]).aggregate([("n", "sum")])
    found: dict[str, Tally] = {}
    for tag, what, n in zip(*(grouped[name].to_pylist() for name in ("tag", "what", "n_sum")), strict=True):
        if what != CLOSED:
            found.setdefault(tag, {})[what] = n
    return found


def _share(tally: Mapping[str, int]) -> float | None:
    expected = tally.get("expected", 0)
    return tally.get("good", 0) / expected if expected else None


def coverage(
    counts: pa.Table, tags: Sequence[str] | None = None, start: int | None = None, end: int | None = None
) -> float | None:
    """Return the share of expected slots with a good sample, of the tag that has least; hours from `start`, before `end` (ns).

    None: unknown, because nothing was expected of any of these tags. A tag of which nothing is expected (on change) says
    nothing.
    """
    hour = _hours(counts)
    keep = (hour >= (hour if start is None else start)) & (hour < (hour + 1 if end is None else end))
    found = _by_tag(counts.filter(pa.array(keep)))
    shares = [share for tag, tally in found.items() if (tags is None or tag in tags) and (share := _share(tally)) is not None]
    return min(shares, default=None)


def coverage_by_hour(counts: pa.Table) -> list[tuple[float, int]]:
    """Return the share of expected slots with a good sample, and how many were expected, of each tag and hour."""
    tallies = _by_hour(counts).values()
    return [(share, tally["expected"]) for tally in tallies if (share := _share(tally)) is not None]


def _by_hour(counts: pa.Table) -> dict[tuple[int, str], Tally]:
    """Return the counts of slots by hour and tag."""
    hours: dict[tuple[int, str], Tally] = {}
    rows = zip(_hours(counts).tolist(), *(counts[name].to_pylist() for name in ("tag", "what", "n")), strict=True)
    for hour, tag, what, n in rows:
        if what in ("expected", "present", "good") or what.startswith(MISSING):
            tally = hours.setdefault((hour, tag), {})
            tally[what] = tally.get(what, 0) + n
    return dict(sorted(hours.items()))


def _sum(tally: Tally) -> Sum:
    discarded = sum(n for what, n in tally.items() if what.startswith(DISCARDED))
    missing = sum(n for what, n in tally.items() if what.startswith(MISSING))
    samples = tally.get("received", 0) - tally.get("stored", 0) - tally.get("duplicate", 0) - discarded
    slots = tally.get("expected", 0) - tally.get("present", 0) - missing
    return Sum(dict(sorted(tally.items())), _share(tally), samples, slots)


def summary(counts: pa.Table) -> tuple[dict[str, Sum], Sum]:
    """Return what was counted by tag, and in all."""
    tags = _by_tag(counts)
    whole: Tally = {}
    for tally in tags.values():
        for what, n in tally.items():
            whole[what] = whole.get(what, 0) + n
    found = {tag: _sum(tally) for tag, tally in sorted(tags.items())}
    every = _sum(whole)
    apart = [
        sum(abs(one.unexplained_samples) for one in found.values()),
        sum(abs(one.unexplained_slots) for one in found.values()),
    ]
    return found, msgspec.structs.replace(every, unexplained_samples=apart[0], unexplained_slots=apart[1])


def shortfalls(counts: pa.Table, contract: Contract) -> list[Shortfall]:
    """Return the hours in which more than the `missing` of a tag's contract lacked, by time."""
    found = []
    for (hour, tag), tally in _by_hour(counts).items():
        share = _share(tally)
        allowed = contract.tags.get(tag, TagContract()).missing
        if share is not None and tally["expected"] - tally.get("good", 0) > allowed * tally["expected"]:
            owners = {what.removeprefix(MISSING): n for what, n in tally.items() if what.startswith(MISSING)}
            owners["bad"] = tally.get("present", 0) - tally.get("good", 0)
            found.append(Shortfall(tag, hour, share, max(sorted(owners), key=owners.__getitem__)))
    return found
