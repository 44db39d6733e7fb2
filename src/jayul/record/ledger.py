"""The ledger: every sample and every expected slot is accounted for, by tag and hour of source time.

Each sample that is taken ends in exactly one place, and each expected slot (record/slots.py) in exactly one:

    received = stored + duplicate + sum(discarded:RULE)
    expected = present + sum(missing:OWNER)             OWNER: link, shed, overflowed, silent

What a reader finds beyond that is unexplained, and must be 0. Counts add up; those of one `take` belong to its samples.

    duplicate     the same tag, source time, value and status as the version that is stored
    corrected     of those stored: the same tag and source time, another value or status
    late          of those stored: known more than `late` (and `delay`) after its source time
    bad           of those stored: the status is not good, or the value no number
    out_of_range  of those stored: good, outside `low` to `high`
    frozen        of those stored: good, and the value has not changed for `frozen`
    monotone      of those stored: good, and below the one before, of a counter
    clock_jump    of those stored: more than 5 s ahead of the time at which it was known, or behind the newest by more than
                  `late` (5 s where there is none) without being a correction
    good          of those present: slots with a good sample
    closed        so many ns of the hour, from its beginning, have been counted
    shed          lost by our own queue before they came here; overflowed: gaps that the server owned up to (hour of the clock)
    compressed    samples of a series that a historian seems to have compressed; counted by whoever imports it

Frozen and monotone are judged in the order of source time, so on samples that are newer than all before. By default nothing but
exact duplicates is discarded; `discard` of a contract names RULE bad, out_of_range, late or ahead (more than 5 s, as above).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from jayul.core.guard import HOUR
from jayul.core.types import SKEW
from jayul.record.batch import Batch, Count
from jayul.record.compressed import compressed_at_source
from jayul.record.contract import Contract
from jayul.record.coverage import coverage, shortfalls, summary
from jayul.record.recent import Lookup, Recent, unknown
from jayul.record.slots import EVER, Slots

__all__ = ["Ledger", "compressed_at_source", "coverage", "shortfalls", "summary"]

NOT_GOOD = 0x4000_0000  # uncertain or bad
OVERFLOW = 0x0000_0480  # OPC UA info bits: a queue in the server ran over before this sample
WHOLE = 1 << 20  # tags times hours that are counted in one table
NOBODY: Mapping[int, int] = {}


class _Judged(NamedTuple):
    """What was found of each row, bool."""

    bad: np.ndarray
    out_of_range: np.ndarray
    late: np.ndarray
    ahead: np.ndarray


class Ledger:
    """Judges batches against a contract and against what is stored. Times are ns UTC; `tag` is a position in the contract's
    names.

    `newest`: the newest stored sample of each tag (a table with tag, source_at, value, status; as `History.newest`), if there
    are any; `counts`: what was counted so far (as `Reader.counts`); `lookup` finds stored samples that are older than this
    start or than the `recent` last ones. After a start: `recall`, `watch` and `pause` and `lost_link` for what was before,
    `watch` for now.
    """

    def __init__(
        self, contract: Contract, *, newest: pa.Table | None = None, counts: pa.Table | None = None, lookup: Lookup = unknown,
        recent: int = 200_000,
    ) -> None:  # fmt: skip
        n = len(contract.names)
        self.contract, self._lookup, self._recent, self._slots = contract, lookup, Recent(recent), Slots(contract)
        self._behind = np.where(contract.late > 0, contract.late, SKEW)
        self._newest = np.full(n, EVER, dtype=np.int64)  # source time, of those that were not ahead
        self._value, self._since = (
            np.full(n, np.nan),
            np.full(n, EVER, dtype=np.int64),
        )  # last good one, and since when it stands
        self._ahead = np.full(n, 2**62, dtype=np.int64), np.full(n, EVER, dtype=np.int64)  # first and last that were ahead
        self._before = np.full(n, EVER, dtype=np.int64)  # up to here the store may hold samples of an earlier start
        self._looked: int | None = None
        self._up = True
        if newest is not None:
            batch = batch_of(newest.append_column("known_at", newest["source_at"]), contract.names)
            batch = batch.take(np.argsort(batch.tag, kind="stable"))
            np.maximum.at(self._before, batch.tag, batch.source_at)
            self._follow(batch, np.zeros(len(batch.tag), dtype=np.bool_), _good(batch))
        if counts is not None:
            self._slots.resume(counts, contract.names)

    def reach(self, now: int) -> int:
        """Return from which source time on `recall` needs what is stored."""
        return now // HOUR * HOUR - max(int(self.contract.grace.max(initial=0)), int(self.contract.frozen.max(initial=0)), HOUR)

    def recall(self, samples: pa.Table) -> None:
        """Take in what is stored since `reach` (tag, source_at, value, status, known_at), after a start; nothing is counted."""
        batch = batch_of(samples, self.contract.names)
        batch = batch.take(np.lexsort((batch.source_at, batch.known_at, batch.tag)))
        ahead, good = batch.source_at - batch.known_at > SKEW, _good(batch)
        np.maximum.at(self._before, batch.tag, batch.source_at)
        here = np.unique(batch.tag)
        self._newest[here], self._value[here] = EVER, np.nan
        self._gaps(batch)
        self._follow(batch, ahead, good)
        self._slots.fill(batch.tag[~ahead], batch.source_at[~ahead], good[~ahead], watched=False)

    def watch(self, at: int) -> None:
        """Expect samples from now on."""
        self._slots.watch(at)
        self._looked = at if self._looked is None else max(at, self._looked)

    def pause(self, at: int) -> None:
        """Expect no more samples; what was expected is counted when its hour is over, or by `close`."""
        self._slots.pause(at)

    def lost_link(self, begin: int, end: int) -> None:
        """Note that the link was down after `begin`, up to `end`: of before a restart; else `take` does."""
        self._slots.down(begin, end)

    def close_hours(self, now: int) -> list[Count]:
        """Return expected and missing of the hours that are over, each tag's when nothing late is awaited any more."""
        return list(self._slots.close(now))

    def close(self, now: int) -> list[Count]:
        """Return expected and missing of everything up to now, at a stop."""
        return list(self._slots.close(now, final=True))

    def take(
        self, batch: Batch, *, now: int, shed: Mapping[int, int] = NOBODY, overflowed: Mapping[int, int] = NOBODY,
        link_up: bool = True,
    ) -> tuple[Batch, list[Count]]:  # fmt: skip
        """Judge samples, in the order in which they came. Return those to store (by tag, then as they came), and the counts.

        `shed`, `overflowed`: losses since the last call by tag; `link_up`: whether the link is up now.
        """
        counts = self._losses(now, shed, overflowed, batch, link_up=link_up)
        if not len(batch.tag):
            return batch, counts
        order = batch.tag.astype(np.uint16) if len(self.contract.names) < 1 << 16 else batch.tag
        if (np.diff(order.astype(np.int64)) < 0).any():
            batch = batch.take(np.argsort(order, kind="stable"))
        tally = _Tally(batch, len(self.contract.names))
        counts += tally.of("received", None)
        judged = self._judge(batch)
        stays = np.ones(len(batch.tag), dtype=np.bool_)
        for kind in (kind for kind, tags in self.contract.discard.items() if tags.any()):
            thrown = stays & getattr(judged, kind) & self.contract.discard[kind][batch.tag]
            counts += tally.of(f"discarded:{kind}", thrown)
            stays &= ~thrown
        duplicate, corrected = self._known(batch, stays)
        counts += tally.of("duplicate", duplicate)
        stays &= ~duplicate
        counts += tally.of("stored", None if stays.all() else stays)
        for what, rows in (("corrected", corrected), *zip(judged._fields, judged, strict=True)):
            counts += tally.of(what, rows & stays) if what != "ahead" else []
        return self._store(batch, stays, judged, corrected, tally, counts), counts

    def _store(
        self, batch: Batch, stays: np.ndarray, judged: _Judged, corrected: np.ndarray, tally: _Tally, counts: list[Count]
    ) -> Batch:
        """Follow the samples that are stored: newest, frozen, counters, jumps, slots. Return them."""
        rows = slice(None) if stays.all() else np.flatnonzero(stays)
        kept, ahead, good = batch.take(rows), judged.ahead[rows], ~judged.bad[rows]
        self._gaps(kept)
        found = self._follow(kept, ahead, good)
        for what, mask in (("frozen", found[0]), ("monotone", found[1]), ("clock_jump", ahead | (found[2] & ~corrected[rows]))):
            whole = np.zeros(len(batch.tag), dtype=np.bool_)
            whole[rows] = mask
            counts += tally.of(what, whole)
        fills = slice(None) if not ahead.any() else ~ahead
        self._slots.fill(kept.tag[fills], kept.source_at[fills], good[fills])
        self._recent.add(_keyed(kept))
        return kept

    def _losses(
        self, now: int, shed: Mapping[int, int], overflowed: Mapping[int, int], batch: Batch, *, link_up: bool
    ) -> list[Count]:
        """Note what was lost since the last call, and count it."""
        last = now if self._looked is None else self._looked
        if not (link_up and self._up) and last < now:
            self._slots.down(last, now)
        for tag, n in shed.items():
            slack = max(int(self.contract.late[tag]), int(self.contract.rate[tag]))
            self._slots.shed(tag, last - slack, now, n)
        for tag in set(overflowed) - set(batch.tag[batch.status & OVERFLOW == OVERFLOW].tolist()):  # `_gaps` knows better
            begin = min(int(self._newest[tag]), last) if self._newest[tag] > EVER else last
            self._slots.overflowed(tag, begin, now, exact=False)
        self._looked, self._up = max(now, last), link_up
        hour = now // HOUR * HOUR
        losses = (("shed", shed), ("overflowed", overflowed))
        return [Count(tag, hour, what, n) for what, lost in losses for tag, n in lost.items() if n]

    def _gaps(self, kept: Batch) -> None:
        """Note the gaps before samples that a server marked: its queue ran over before them."""
        for row in np.flatnonzero(kept.status & OVERFLOW == OVERFLOW).tolist():
            tag = int(kept.tag[row])
            before = int(kept.source_at[row - 1]) if row and kept.tag[row - 1] == tag else int(self._newest[tag])
            if before > EVER:
                self._slots.overflowed(tag, before, int(kept.source_at[row]), exact=True)

    def _judge(self, batch: Batch) -> _Judged:
        """Judge each row by itself."""
        contract, tag = self.contract, batch.tag
        bad, delay = ~_good(batch), batch.known_at - batch.source_at
        out = ((batch.value < contract.low[tag]) | (batch.value > contract.high[tag])) & ~bad
        late = contract.late[tag]
        return _Judged(bad, out, (late > 0) & (delay > late), -delay > SKEW)

    def _known(self, batch: Batch, stays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which rows are duplicates, and which are corrections, of what is stored or came before in the batch."""
        tag, at = batch.tag, batch.source_at
        duplicate, corrected = np.zeros(len(tag), dtype=np.bool_), np.zeros(len(tag), dtype=np.bool_)
        before = np.where(_first(tag), self._newest[tag], np.roll(at, 1))
        suspect = (at <= before) | ((at >= self._ahead[0][tag]) & (at <= self._ahead[1][tag]))
        if not suspect.any():
            return duplicate, corrected
        tags = np.zeros(len(self.contract.names), dtype=np.bool_)
        tags[tag[suspect]] = True
        rows = np.flatnonzero(tags[tag] & stays)
        rows = rows[np.lexsort((at[rows], tag[rows]))]  # versions of one sample stay in the order in which they came
        some = batch.take(rows)
        again = ~_first(some.tag) & (some.source_at == np.roll(some.source_at, 1))
        known, value, status = again.copy(), np.roll(some.value, 1), np.roll(some.status, 1)
        heads = np.flatnonzero(~again)
        known[heads], value[heads], status[heads] = self._stored(some.tag[heads], some.source_at[heads])
        same = ((value == some.value) | (np.isnan(value) & np.isnan(some.value))) & (status == some.status)
        duplicate[rows], corrected[rows] = known & same, known & ~same
        return duplicate, corrected

    def _stored(self, tag: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find the stored version of samples: among the recent ones, else in the store."""
        known, value, status = self._recent.find(tag, at)
        rows = np.flatnonzero(~known & ((at <= self._before[tag]) | (at < self._recent.since)))
        for one in np.unique(tag[rows]).tolist():
            here = rows[tag[rows] == one]
            known[here], value[here], status[here] = self._lookup(one, at[here])
        return known, value, status

    def _follow(self, kept: Batch, ahead: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Move the state on. Return which rows (by tag, as they came) are frozen, which fell, and which jumped back."""
        tag, at, n = kept.tag, kept.source_at, len(kept.tag)
        frozen, fell = np.zeros(n, dtype=np.bool_), np.zeros(n, dtype=np.bool_)
        newer, newest = _newer(tag, at, self._newest, ~ahead)
        back = (newest > EVER) & (newest - at > self._behind[tag]) & ~ahead
        if ahead.any():
            np.minimum.at(self._ahead[0], tag[ahead], at[ahead])
            np.maximum.at(self._ahead[1], tag[ahead], at[ahead])
        whole = bool(newer.all())
        moved = tag if whole else tag[newer]
        last = np.flatnonzero(_last(moved))
        self._newest[moved[last]] = (at if whole else at[newer])[last]
        rows = newer & good
        take = slice(None) if rows.all() else np.flatnonzero(rows)
        tag, at, value = tag[take], at[take], kept.value[take]
        if not len(tag):
            return frozen, fell, back
        first = _first(tag)
        before = np.where(first, self._value[tag], np.roll(value, 1))
        start = np.maximum.accumulate(np.where(first | (value != before), np.arange(len(tag)), 0))
        since = np.where(value[start] == before[start], self._since[tag], at[start])  # a run may have begun in an earlier batch
        limit = self.contract.frozen[tag]
        frozen[take] = (limit > 0) & (at - since >= limit)
        fell[take] = self.contract.rising[tag] & (value < before)
        last = np.flatnonzero(_last(tag))
        self._value[tag[last]], self._since[tag[last]] = value[last], since[last]
        return frozen, fell, back


class _Tally:
    """Counts rows of a batch by tag and hour."""

    def __init__(self, batch: Batch, tags: int) -> None:
        hour = batch.source_at // HOUR
        if hour[0] == hour[-1] and (hour == hour[0]).all():
            self._hours, at = hour[:1], np.zeros(len(hour), dtype=np.int64)
        else:
            self._hours, at = np.unique(hour, return_inverse=True)
        self._cell = batch.tag.astype(np.int64) * len(self._hours) + at
        self._whole = tags * len(self._hours) <= WHOLE

    def of(self, what: str, rows: np.ndarray | None) -> list[Count]:
        """Count these rows (None: all)."""
        if rows is not None and not rows.any():
            return []
        cells = self._cell if rows is None else self._cell[rows]
        if self._whole:
            every = np.bincount(cells)
            found = np.flatnonzero(every)
            n = every[found]
        else:
            found, n = np.unique(cells, return_counts=True)
        tags, hours = (found // len(self._hours)).tolist(), (self._hours[found % len(self._hours)] * HOUR).tolist()
        return [Count(tag, hour, what, k) for tag, hour, k in zip(tags, hours, n.tolist(), strict=True)]


def _good(batch: Batch) -> np.ndarray:
    found: np.ndarray = (batch.status < NOT_GOOD) & np.isfinite(batch.value)
    return found


def _first(tag: np.ndarray) -> np.ndarray:
    """Say which rows are the first of their tag, where rows stand by tag."""
    found: np.ndarray = np.diff(tag, prepend=-1) != 0
    return found


def _last(tag: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.diff(tag, append=-1) != 0
    return found


def _newer(tag: np.ndarray, at: np.ndarray, newest: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Say which rows (by tag, as they came) are newer than all before that count, and return the newest before each."""
    first = _first(tag)
    before = np.where(first, newest[tag], np.roll(at, 1))
    if counts.all() and (at > before).all():
        return counts, before
    times = np.unique(np.concatenate((at, newest[tag])))  # as ranks, so that one running maximum serves all tags
    rank = np.where(counts, np.searchsorted(times, at), 0)
    here = np.where(first, np.searchsorted(times, newest[tag]), np.roll(rank, 1))
    base = tag.astype(np.int64) * len(times)
    run = times[np.maximum.accumulate(base + here) - base]
    return counts & (at > run), run


def _keyed(kept: Batch) -> Batch:
    """Return stored samples by tag and source time, the last version of each."""
    if ((np.diff(kept.source_at) <= 0) & (np.diff(kept.tag) == 0)).any():
        kept = kept.take(np.lexsort((kept.source_at, kept.tag)))
        kept = kept.take((np.diff(kept.tag, append=-1) != 0) | (np.diff(kept.source_at, append=0) != 0))
    return kept


def batch_of(samples: pa.Table, names: tuple[str, ...]) -> Batch:
    """Return rows of a table (tag, source_at, value, status, known_at) as a batch, without tags that are not among `names`."""
    column = samples["tag"].combine_chunks().dictionary_encode() if samples.num_rows else None
    if column is None:
        return Batch.empty()
    column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    index = {name: i for i, name in enumerate(names)}
    move = np.array([index.get(name, -1) for name in column.dictionary.to_pylist()], dtype=np.int32)
    tag = move[column.indices.to_numpy()]
    known_at = samples["known_at"].cast(pa.timestamp("ns", "UTC")).cast(pa.int64()).to_numpy()
    batch = Batch.of(
        tag,
        samples["source_at"].cast(pa.int64()).to_numpy(),
        samples["value"].to_numpy(),
        samples["status"].to_numpy(),
        known_at,
    )
    return batch.take(tag >= 0)
