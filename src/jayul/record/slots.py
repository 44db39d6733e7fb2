"""Which expected samples were there, and who owns those that were not.

The slots of a tag are [origin + k rate, origin + (k + 1) rate), with the origin half a rate before its first sample: samples
that come at the rate fill one slot each, as long as they and that first one differ from the beat by less than half a rate in
all. A slot belongs to the hour of its centre, and is expected if its centre lies in a stretch that was watched. It is present
if a sample lies in it (good, if one with a good status and a number does); else it is missing, and is owned by

    link        its centre lies where the link was down
    shed        one of so many samples that our own queue lost at about that time
    overflowed  it lies in a gap that the server owned up to
    silent      none of these: nothing came, and nobody said why

Samples from the future fill no slot, and what comes after its hour was closed changes nothing any more. A source whose clock
drifts against ours passes from one slot to the next now and then: it then fills one twice or none, once in rate / drift.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from jayul.core.guard import HOUR
from jayul.record.batch import Count
from jayul.record.contract import Contract

EVER, MANY = -(2**62), 2**62
OWNERS = ("link", "shed", "overflowed", "silent")


class Claim(NamedTuple):
    """A tag (position among those with a rate) may have lost `n` samples after `begin`, up to `end`; lower ranks come first."""

    rank: int
    owner: str
    tag: int
    begin: int
    end: int
    n: int


class _Hour(msgspec.Struct):
    """What came in one hour, a row of slots for each tag: `seen` if a sample did, `good` if a good one did."""

    seen: np.ndarray
    good: np.ndarray


class Slots:
    """The slots of all tags that have a rate. Times are ns UTC; `tag` is the position in the contract's names."""

    def __init__(self, contract: Contract) -> None:
        self._names = np.flatnonzero(contract.rate)
        self._at = np.full(len(contract.rate), -1, dtype=np.int64)
        self._at[self._names] = np.arange(len(self._names))
        self._rate, self._grace = contract.rate[self._names], contract.grace[self._names]
        self._origin, self._anchored = -(self._rate // 2), np.zeros(len(self._names), dtype=np.bool_)
        self._offset = np.concatenate(([0], np.cumsum(HOUR // self._rate + 1))).astype(np.int64)
        self._closed = np.full(len(self._names), EVER, dtype=np.int64)  # centres before this have been counted
        self._hours: dict[int, _Hour] = {}
        self._watched: list[tuple[int, int]] = []
        self._since: int | None = None
        self._down: list[tuple[int, int]] = []  # (begin, end], in order
        self._claims: list[Claim] = []

    def resume(self, counts: pa.Table, names: Sequence[str]) -> None:
        """Go on from what was counted before a restart: how far each tag is closed, and samples that our own queue lost."""
        index, told = {name: i for i, name in enumerate(names)}, dict[tuple[int, int], dict[str, int]]()
        hours = counts["hour"].cast(pa.int64()).to_pylist()
        for hour, name, what, n in zip(hours, *(counts[key].to_pylist() for key in ("tag", "what", "n")), strict=True):
            if what in ("closed", "shed", "missing:shed") and (at := int(self._at[index[name]]) if name in index else -1) >= 0:
                here = told.setdefault((at, hour), {})
                here[what] = here.get(what, 0) + n
        for (tag, hour), here in told.items():
            self._closed[tag] = max(int(self._closed[tag]), hour + here["closed"] if "closed" in here else EVER)
        for (tag, hour), here in told.items():
            if (lost := here.get("shed", 0)) and hour + HOUR > self._closed[tag]:
                before = told.get((tag, hour - HOUR), {})  # a loss is counted when it is known, perhaps an hour after its slot
                owned = before.get("missing:shed", 0) + here.get("missing:shed", 0) - before.get("shed", 0)
                self._claims.append(
                    Claim(1, "shed", tag, hour - int(self._rate[tag]), hour + HOUR, min(lost, max(lost - owned, 0)))
                )

    def watch(self, at: int) -> None:
        """Expect samples from now on."""
        if self._since is None:
            self._since = max(at, self._watched[-1][1]) if self._watched else at

    def pause(self, at: int) -> None:
        """Expect no more samples."""
        if self._since is not None and at > self._since:
            self._watched.append((self._since, at))
        self._since = None

    def down(self, begin: int, end: int) -> None:
        """Note that the link was down after `begin`, up to `end`."""
        if self._down and self._down[-1][1] >= begin:
            begin = self._down.pop()[0]
        self._down.append((begin, end))

    def shed(self, tag: int, begin: int, end: int, n: int) -> None:
        """Note that our own queue lost `n` samples after `begin`, up to `end`."""
        if (at := int(self._at[tag])) >= 0:
            self._claims.append(Claim(1, "shed", at, begin, end + int(self._rate[at]) // 2, n))

    def overflowed(self, tag: int, begin: int, end: int, *, exact: bool) -> None:
        """Note that a server lost samples after `begin`, before `end`. `exact`: those are the samples on either side of the gap."""
        if (at := int(self._at[tag])) >= 0:
            half = int(self._rate[at]) // 2
            self._claims.append(Claim(0 if exact else 2, "overflowed", at, begin + half, end - half, MANY))

    def _first(self, tag: np.ndarray | slice, at: np.ndarray | int) -> np.ndarray:
        """Return the number of the first slot whose centre is not before `at`."""
        rate = self._rate[tag]
        found: np.ndarray = -((self._origin[tag] + rate // 2 - at) // rate)
        return found

    def fill(self, tag: np.ndarray, source_at: np.ndarray, good: np.ndarray, *, watched: bool = True) -> None:
        """Take in samples, in the order in which they came. `watched`: only of hours that are known to be watched by now."""
        at = self._at[tag]
        if (at < 0).any():
            rated = at >= 0
            at, source_at, good = at[rated], source_at[rated], good[rated]
        if not self._anchored.all() and len(fresh := np.flatnonzero(~self._anchored[at])):
            tags, first = np.unique(at[fresh], return_index=True)
            self._origin[tags] = source_at[fresh[first]] - self._rate[tags] // 2
            self._anchored[tags] = True
        rate, origin = self._rate[at], self._origin[at]
        slot = (source_at - origin) // rate
        centre = origin + slot * rate + rate // 2
        hour = centre // HOUR
        open_ = centre >= self._closed[at]
        for number in np.unique(hour[open_]).tolist():
            if (begin := number * HOUR) in self._hours or not watched or self._is_watched(begin):
                rows = open_ & (hour == number)
                if begin not in self._hours:
                    self._hours[begin] = self._empty()
                here = self._hours[begin]
                tags = at[rows]
                index = self._offset[tags] + slot[rows] - self._first(tags, begin)
                here.seen[index] = True
                here.good[index[good[rows]]] = True

    def _empty(self) -> _Hour:
        return _Hour(np.zeros(self._offset[-1], dtype=np.bool_), np.zeros(self._offset[-1], dtype=np.bool_))

    def _is_watched(self, hour: int) -> bool:
        open_ = self._since is not None and self._since < hour + HOUR
        return open_ or any(begin < hour + HOUR and end > hour for begin, end in self._watched)

    def close(self, now: int, *, final: bool = False) -> Iterator[Count]:
        """Count the hours that are over, each tag's as soon as nothing late is awaited; `final`: everything up to now."""
        until = np.full(len(self._rate), now) if final else (now - self._grace) // HOUR * HOUR
        watched = [*self._watched, *([(self._since, now)] if self._since is not None and now > self._since else [])]
        done, last = int(self._closed.min(initial=now)), int(until.max(initial=EVER))
        hours = {hour for begin, end in watched for hour in range(max(begin, done) // HOUR * HOUR, min(end, last), HOUR)}
        for hour in sorted(hours):
            yield from self._close_hour(hour, until, watched)
        self._closed = np.maximum(self._closed, until)
        self._forget()

    def _forget(self) -> None:
        """Let go of what no slot can need any more."""
        done = int(self._closed.min(initial=2**62))
        self._hours = {hour: here for hour, here in self._hours.items() if hour + HOUR > done}
        self._watched = [(begin, end) for begin, end in self._watched if end > done]
        self._down = [(begin, end) for begin, end in self._down if end >= done]
        self._claims = [claim for claim in self._claims if claim.end >= done and claim.n]

    def _close_hour(self, hour: int, until: np.ndarray, watched: list[tuple[int, int]]) -> Iterator[Count]:
        everything = slice(None)
        low, high = np.maximum(self._closed, hour), np.minimum(until, hour + HOUR)
        start = self._first(everything, hour)
        edges = np.zeros(self._offset[-1] + 1, dtype=np.int8)
        for begin, end in watched:
            a = self._first(everything, np.maximum(low, begin)) - start
            b = self._first(everything, np.minimum(high, end)) - start
            some = np.flatnonzero(b > a)
            np.add.at(edges, self._offset[some] + a[some], 1)
            np.add.at(edges, self._offset[some] + b[some], -1)
        expected = np.cumsum(edges[:-1], dtype=np.int8).astype(np.bool_)
        here = self._hours.get(hour)
        seen = expected & here.seen if here else np.zeros_like(expected)
        good = expected & here.good if here else seen
        yield from self._counts(hour, "closed", np.maximum(high - low, 0))
        for what, slots in (("expected", expected), ("present", seen), ("good", good)):
            yield from self._counts(hour, what, self._sum(slots))
        yield from self._missing(hour, np.flatnonzero(expected & ~seen), start)

    def _sum(self, slots: np.ndarray) -> np.ndarray:
        """Return how many of the slots of each tag are set."""
        found: np.ndarray = np.add.reduceat(slots, self._offset[:-1], dtype=np.int64) if len(slots) else np.empty(0, np.int64)
        return found

    def _counts(self, hour: int, what: str, n: np.ndarray) -> Iterator[Count]:
        for tag in np.flatnonzero(n).tolist():
            yield Count(int(self._names[tag]), hour, what, int(n[tag]))

    def _missing(self, hour: int, empty: np.ndarray, start: np.ndarray) -> Iterator[Count]:
        """Count the empty slots (positions in the hour, by tag and time) by owner."""
        if not len(empty):
            return
        tag = np.searchsorted(self._offset, empty, side="right") - 1
        slot = start[tag] + empty - self._offset[tag]
        centre = self._origin[tag] + slot * self._rate[tag] + self._rate[tag] // 2
        owner = np.full(len(empty), OWNERS.index("silent"), dtype=np.int8)
        if self._down:
            begin, end = np.array(self._down, dtype=np.int64).T
            at = np.searchsorted(begin, centre, side="left") - 1  # the last that began before
            owner[(at >= 0) & (centre <= end[at])] = OWNERS.index("link")
        for i, claim in sorted(enumerate(self._claims), key=lambda one: one[1].rank):
            rows = slice(*np.searchsorted(tag, [claim.tag, claim.tag + 1]))
            may = (owner[rows] == OWNERS.index("silent")) & (centre[rows] > claim.begin) & (centre[rows] <= claim.end)
            taken = np.flatnonzero(may)[: claim.n]
            owner[rows.start + taken] = OWNERS.index(claim.owner)
            self._claims[i] = claim._replace(n=claim.n - len(taken))
        for i, name in enumerate(OWNERS):
            yield from self._counts(hour, f"missing:{name}", np.bincount(tag[owner == i], minlength=len(self._rate)))
