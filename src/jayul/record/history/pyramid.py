"""Summaries of samples by two minutes, hour and day, beside each Parquet file: a cache that is made again from samples.

    level             int32, s; 0: no summary, but a time in which samples came late (below)
    tag, at           whose, and where the bucket begins
    count, bad        good samples; samples whose status is not good or whose value is not finite
    min .. last       of the good samples: double, or a whole number where `decimals` says so (as in the samples)
    first_at, last_at when the first and the last good sample were, ns after `at`

A sample is late if its tag had one as new or newer in an earlier file: only such a sample can correct one of another file. Where
that happened (whole hours, `at` to `at + last_at`) the summaries of single files do not add up, and the samples are read instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jayul.core.types import SECOND
from jayul.record.batch import Batch, begins, ends
from jayul.record.history.cold import POWERS, Whole

LEVELS = (120, 3600, 86_400)  # s
SPARSE = 50  # a finer level than days is kept where it has this many times fewer rows than the samples: it costs 10 bytes a row
HOUR = 3600 * SECOND
BAD = np.uint32(0xC0000000)
VALUES = ("min", "max", "sum", "first", "last")
SCHEMA = pa.schema(
    [
        ("level", pa.int32()),
        ("tag", pa.dictionary(pa.int32(), pa.string())),
        ("at", pa.timestamp("ns", "UTC")),
        ("count", pa.int64()),
        ("bad", pa.int64()),
        *((name, pa.float64()) for name in VALUES),
        *((f"{name}_whole", pa.int64()) for name in VALUES),
        ("decimals", pa.int8()),
        ("first_at", pa.int64()),
        ("last_at", pa.int64()),
    ]
)
_PACKED = dict.fromkeys(("at", *(f"{name}_whole" for name in VALUES), "first_at", "last_at"), "DELTA_BINARY_PACKED")


class Buckets(NamedTuple):
    """Summaries in columns, one row for a tag and bucket. Of a bucket without a good sample the values are NaN, the sum 0."""

    tag: np.ndarray
    at: np.ndarray
    n: np.ndarray  # good samples
    bad: np.ndarray
    min: np.ndarray
    max: np.ndarray
    sum: np.ndarray
    first: np.ndarray
    last: np.ndarray
    first_at: np.ndarray
    last_at: np.ndarray

    def take(self, rows: np.ndarray) -> Buckets:
        """Return these rows."""
        return Buckets(*(np.take(column, rows) if rows.dtype != np.bool_ else column[rows] for column in self))


_KINDS = (np.int32, *([np.int64] * 3), *([np.float64] * 5), *([np.int64] * 2))


def none() -> Buckets:
    """Return no buckets."""
    return Buckets(*(np.empty(0, dtype=kind) for kind in _KINDS))


def good(batch: Batch) -> np.ndarray:
    """Say which samples count: status good, value finite."""
    found: np.ndarray = ((batch.status & BAD) == 0) & np.isfinite(batch.value)
    return found


def newest_versions(batch: Batch) -> Batch:
    """Keep, of sorted samples of one tag and time, the last."""
    keep = ends(batch.tag, batch.source_at)
    return batch if keep.all() else batch.take(keep)


def of_samples(batch: Batch, step: int) -> Buckets:
    """Summarise samples sorted by tag and time, one version of each. `step`: ns."""
    if not len(batch.tag):
        return none()
    starts, at = _starts(batch, step)
    counts = good(batch)
    n = np.diff(np.append(starts, len(batch.tag)))
    count = np.add.reduceat(counts, starts, dtype=np.int64)
    low = high = total = batch.value
    first, last = starts, starts + n - 1
    if not counts.all():
        low, high, total = (np.where(counts, batch.value, other) for other in (np.inf, -np.inf, 0.0))
        row = np.arange(len(batch.tag))
        first = np.minimum.reduceat(np.where(counts, row, len(row) - 1), starts)
        last = np.maximum.reduceat(np.where(counts, row, 0), starts)
    with np.errstate(over="ignore"):
        low, high, total = (f.reduceat(v, starts) for f, v in ((np.minimum, low), (np.maximum, high), (np.add, total)))
    found = Buckets(
        batch.tag[starts], at, count, n - count, low, high, total, batch.value[first], batch.value[last],
        batch.source_at[first], batch.source_at[last],
    )  # fmt: skip
    return _blank(found)


def _starts(batch: Batch, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows at which buckets of sorted samples begin, and the times at which these begin."""
    at = batch.source_at
    first = int(at[0]) // step * step
    count = (int(at[-1]) - first) // step + 1
    if batch.tag[0] == batch.tag[-1] and 8 * count < len(at):  # few buckets of one tag are looked for
        edges = first + step * np.arange(count)
        starts = np.searchsorted(at, edges)
        some = np.append(starts[1:], len(at)) > starts
        return starts[some], edges[some]
    at = at - at % step
    starts = np.flatnonzero(begins(batch.tag, at))
    return starts, at[starts]


def _blank(found: Buckets) -> Buckets:
    """Write NaN where nothing was good."""
    if (lacks := found.n == 0).any():
        for column in (found.min, found.max, found.first, found.last):
            column[lacks] = np.nan
        found.sum[lacks] = 0.0
        found.first_at[lacks] = found.at[lacks]
        found.last_at[lacks] = found.at[lacks]
    return found


def merged(buckets: Buckets, step: int) -> Buckets:
    """Put summaries together into buckets of `step` ns, sorted by tag and time; several rows may be of one bucket."""
    if not len(buckets.tag):
        return buckets
    at = buckets.at - buckets.at % step
    order = np.lexsort((buckets.first_at, at, buckets.tag))
    b, at = buckets.take(order), at[order]
    starts = np.flatnonzero(begins(b.tag, at))
    has = b.n > 0
    row = np.arange(len(at))
    first = np.minimum.reduceat(np.where(has, row, len(at) - 1), starts)
    group = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(at))))
    by_end = np.lexsort((np.where(has, b.last_at, -(2**63)), group))  # within each group the one that ends last comes last
    last = by_end[np.append(starts[1:], len(at)) - 1]
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.add.reduceat(b.sum, starts)
    found = Buckets(
        b.tag[starts], at[starts], np.add.reduceat(b.n, starts), np.add.reduceat(b.bad, starts),
        np.fmin.reduceat(b.min, starts), np.fmax.reduceat(b.max, starts), total, b.first[first], b.last[last],
        b.first_at[first], b.last_at[last],
    )  # fmt: skip
    return _blank(found)


class Late(NamedTuple):
    """Times in which samples came late: tag, first hour, end (ns)."""

    tag: np.ndarray
    begin: np.ndarray
    end: np.ndarray


def late_in(batch: Batch, names: Sequence[str], newest: Mapping[str, int]) -> Late:
    """Find the hours of sorted samples in which some came late. `newest`: source time of the newest of each tag before."""
    bound = np.array([newest.get(name, -(2**63)) for name in names], dtype=np.int64)
    known = np.array([name in newest for name in names], dtype=bool)
    late = (batch.source_at <= bound[batch.tag]) & known[batch.tag] if len(batch.tag) else np.empty(0, dtype=bool)
    return spans(batch.tag[late], batch.source_at[late] // HOUR * HOUR)


def spans(tag: np.ndarray, hours: np.ndarray) -> Late:
    """Join hours (sorted by tag and time, or not) that follow one another."""
    if not len(tag):
        return Late(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int64))
    order = np.lexsort((hours, tag))
    tag, hours = tag[order], hours[order]
    begins = np.flatnonzero((np.diff(tag, prepend=-1) != 0) | (np.diff(hours, prepend=hours[0]) > HOUR))
    ends = np.append(begins[1:], len(tag)) - 1
    return Late(tag[begins].astype(np.int32), hours[begins], hours[ends] + HOUR)


def tables(batch: Batch, names: Sequence[str], late: Late, wholes: Whole) -> list[pa.Table]:
    """Return what stands beside a file of sorted samples: a table for each level, then one for the late ones."""
    used = np.flatnonzero(np.bincount(batch.tag, minlength=len(names)))  # what is made of the file itself knows no other names
    place = np.zeros(len(names), dtype=np.int32)
    place[used] = np.arange(len(used), dtype=np.int32)
    batch, late = batch._replace(tag=place[batch.tag]), late._replace(tag=place[late.tag])
    names = [names[i] for i in used.tolist()]
    kept = newest_versions(batch)
    decimals = np.full(len(names), -1, dtype=np.int8)
    decimals[batch.tag] = wholes.decimals
    decimals[batch.tag[~wholes.exact & good(batch)]] = -1  # a tag counts in whole numbers if all its samples do
    found, finer = list[pa.Table](), None
    for level in LEVELS:
        buckets = of_samples(kept, level * SECOND) if finer is None else merged(finer, level * SECOND)
        if level == LEVELS[-1] or SPARSE * len(buckets.tag) <= len(batch.tag):
            found.append(_rows(buckets, names, level, decimals))
        finer = buckets
    n, zero = len(late.tag), np.zeros(len(late.tag), dtype=np.int64)
    blank = np.full(n, np.nan)
    spans = Buckets(late.tag, late.begin, zero, zero, blank, blank, zero + 0.0, blank, blank, late.begin, late.end)
    return [*found, _rows(spans, names, 0, np.full(len(names), -1, dtype=np.int8))]


def _rows(b: Buckets, names: Sequence[str], level: int, of_tag: np.ndarray) -> pa.Table:
    decimals = of_tag[b.tag] if len(b.tag) else np.empty(0, dtype=np.int8)
    power = POWERS[np.maximum(decimals, 0)]
    exact = (decimals >= 0) & (b.n > 0) & (np.abs(b.sum) * power < 2.0**53)
    wholes = [np.where(exact, np.rint(np.where(exact, column, 0.0) * power), 0.0).astype(np.int64) for column in _values(b)]
    tag = pa.DictionaryArray.from_arrays(pa.array(b.tag, pa.int32()), pa.array(list(names), pa.string()))
    arrays = [
        pa.array(np.full(len(b.tag), level, dtype=np.int32)), tag, pa.array(b.at).cast(SCHEMA.field("at").type),
        pa.array(b.n), pa.array(b.bad), *(pa.array(column, mask=exact) for column in _values(b)),
        *(pa.array(column, mask=~exact) for column in wholes), pa.array(decimals, mask=~exact),
        pa.array(b.first_at - b.at), pa.array(b.last_at - b.at),
    ]  # fmt: skip
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def _values(b: Buckets) -> tuple[np.ndarray, ...]:
    return b.min, b.max, b.sum, b.first, b.last


def write(tables: Sequence[pa.Table]) -> bytes:
    """Return the Parquet content: row groups of one level each."""
    sink = pa.BufferOutputStream()
    encoding = _PACKED | dict.fromkeys(VALUES, "BYTE_STREAM_SPLIT")
    with pq.ParquetWriter(
        sink, SCHEMA, compression="zstd", use_dictionary=["level", "tag", "count", "bad", "decimals"], column_encoding=encoding,
        write_page_checksum=True,
    ) as writer:  # fmt: skip
        for part in tables:
            if part.num_rows:
                writer.write_table(part, row_group_size=65_536)
    found: bytes = sink.getvalue().to_pybytes()
    return found


class Opened:
    """A pyramid as it is read: `levels` (s) that it has, and where they lie."""

    def __init__(self, source: Any) -> None:
        self._file = pq.ParquetFile(source, page_checksum_verification=True)
        meta, self._groups = self._file.metadata, dict[int, list[int]]()
        for i in range(meta.num_row_groups):
            self._groups.setdefault(meta.row_group(i).column(0).statistics.min, []).append(i)
        self.levels = sorted(level for level in self._groups if level)
        self._kept: dict[int, tuple[Buckets, dict[str, int]]] = {}

    def level(self, level: int) -> tuple[Buckets, dict[str, int]]:
        """Return the buckets of a level, and the names of tags with their positions; kept, as long as this is."""
        if level not in self._kept:
            self._kept[level] = self._read(level)
        return self._kept[level]

    def late(self) -> tuple[Late, dict[str, int]]:
        """Return when samples came late."""
        buckets, names = self.level(0)
        return Late(buckets.tag, buckets.at, buckets.last_at), names

    @property
    def rows(self) -> int:
        """How many rows are kept."""
        return sum(len(buckets.tag) for buckets, _ in self._kept.values())

    def forget(self) -> None:
        """Let go of the levels that are kept; they are read again when they are asked for."""
        self._kept = {}

    def _read(self, level: int) -> tuple[Buckets, dict[str, int]]:
        groups = self._groups.get(level)
        if not groups:
            return none(), {}
        found = self._file.read_row_groups(groups, use_threads=False)
        tag = found["tag"].unify_dictionaries().combine_chunks()
        tag = tag.chunk(0) if isinstance(tag, pa.ChunkedArray) else tag
        at = found["at"].cast(pa.int64()).to_numpy()
        power = POWERS[found["decimals"].fill_null(0).to_numpy()]
        exact = pc.is_valid(found["decimals"]).to_numpy(zero_copy_only=False)
        low, high, total, first, last = (
            np.where(exact, found[f"{name}_whole"].fill_null(0).to_numpy() / power, found[name].fill_null(0.0).to_numpy())
            for name in VALUES
        )
        count, bad = found["count"].to_numpy(), found["bad"].to_numpy()
        buckets = Buckets(
            tag.indices.to_numpy(), at, count, bad, low, high, total, first, last,
            at + found["first_at"].to_numpy(), at + found["last_at"].to_numpy(),
        )  # fmt: skip
        return buckets, {name: code for code, name in enumerate(tag.dictionary.to_pylist())}
