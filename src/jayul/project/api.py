"""A run folder for programs: `from jayul import Run`, then `Run("runs/demo").history()` as an Arrow table.

Times go in as datetime with a zone, ISO 8601 text with a zone, or UTC ns. Nothing is changed in the folder.
"""

from __future__ import annotations

import hashlib
import itertools
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jayul.core.expr import ExprError, duration
from jayul.core.types import SECOND, Tag
from jayul.project.problem import N_, nearest
from jayul.project.run import read_header, read_summary, refuse
from jayul.project.summary import Summary
from jayul.project.tags import read_tags
from jayul.project.times import LOW, Time, instant
from jayul.record.files import OsFiles
from jayul.record.history import Reader
from jayul.record.journal import Header

NOT_GOOD = 0x4000_0000  # a status at or above this is uncertain or bad
MS = 1_000_000
MOST = 200_000_000  # cells of a wide table


class Run:
    """A run folder, complete or not, also while it is being written. Raises ManifestError if there is none, Broken, Corrupt."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        if not ((self.folder / "journal").is_dir() or (self.folder / "history").is_dir()):
            raise refuse(self.folder, N_("holds no run; make one with: jayul run PROJECT --out {out}"), out=self.folder)
        self.reader = Reader(self.folder / "history")

    @cached_property
    def header(self) -> Header | None:
        """The first record of the journal; None for a folder of imported records."""
        return read_header(OsFiles(self.folder / "journal", create=False))

    @property
    def summary(self) -> Summary | None:
        """What `summary.json` says; None if there is none yet."""
        return read_summary(self.folder)

    @cached_property
    def tags(self) -> dict[str, Tag]:
        """What is known of the tags, by name: unit, kind, range, states."""
        kept = {tag.name: tag for tag in self.header.tags} if self.header else {}
        return dict(sorted((kept | read_tags(self.folder)).items()))

    def units(self) -> dict[str, str]:
        """Return the unit (UCUM) of each tag."""
        return {name: tag.unit for name, tag in self.tags.items()}

    def names(self, tags: Sequence[str] | None) -> list[str]:
        """Return the tags that are asked for, or all that have a sample. Raises ManifestError for one that is not there."""
        there = self.reader.tags()
        for name in tags or ():
            if name not in there and name not in self.tags:
                known = nearest(name, there)
                raise refuse(self.folder, N_("unknown tag '{tag}'; did you mean '{near}'?"), tag=name, near=known)
        return there if tags is None else list(dict.fromkeys(tags))

    def history(
        self,
        tags: Sequence[str] | None = None,
        start: Time | None = None,
        end: Time | None = None,
        known_at: Time | None = None,
        *,
        versions: bool = False,
    ) -> pa.Table:
        """Return samples: tag, source_at, value, status, known_at; start <= source time < end, as they were known at `known_at`.

        Of samples of one tag and time the one known last is returned, or with `versions` all of them. Sorted by tag and time.
        """
        wanted = None if tags is None else self.names(tags)
        low, high, known = (
            None if time is None else instant(time, where)
            for time, where in ((start, "start"), (end, "end"), (known_at, "known_at"))
        )
        return self.reader.samples(wanted, low, high, known, versions=versions)

    def ledger(self) -> pa.Table:
        """Return what the ledger counted: tag, hour (of source time), what, n."""
        return self.reader.counts()

    def downsample(
        self,
        tags: Sequence[str] | None,
        every: str | int,
        start: Time | None = None,
        end: Time | None = None,
        known_at: Time | None = None,
    ) -> pa.Table:
        """Return count, bad, min, max, mean, first, last of each tag and bucket of `every` (`Reader.downsample`)."""
        low, high, known = (
            None if time is None else instant(time, where)
            for time, where in ((start, "start"), (end, "end"), (known_at, "known_at"))
        )
        return self.reader.downsample(self.names(tags), low, high, step=_step(every), known_at=known)

    def wide(
        self,
        tags: Sequence[str] | None,
        every: str | int,
        start: Time | None = None,
        end: Time | None = None,
        known_at: Time | None = None,
        *,
        as_known: bool = False,
    ) -> pa.Table:
        """Return a column `at` and one for each tag: the last value at or before each instant of a grid; what models train on.

        The grid: start, start + every, ... before `end` (of the samples, where not given). NaN where the sample is not good, not
        finite, or older than the tag's `stale_after`. `as_known`: at each instant only what was known by then (no look-ahead).
        Raises ManifestError.
        """
        names = self.names(tags)
        step = _step(every)
        low, high = self._extent(names, start, end)
        stale = {name: self._stale(name) for name in names}
        first = max(low - max(stale.values(), default=0), LOW)
        known = None if known_at is None else instant(known_at, "known_at")
        count = max(0, -((low - high) // step))
        if count * max(1, len(names)) > MOST:
            message = N_("would have {count} rows of {tags} tags; choose a longer step, a shorter time, or fewer tags")
            raise refuse("every", message, count=count, tags=len(names))
        table = self.reader.samples(names, first, None if as_known else high, known, versions=as_known)
        grid = low + step * np.arange(count, dtype=np.int64)
        columns = _by_tag(table)
        empty = tuple(np.empty(0, dtype=kind) for kind in (np.int64, np.float64, np.uint32, np.int64))
        found = [_at(grid, stale[name], *columns.get(name, empty), as_known=as_known) for name in names]
        at = pa.array(grid).cast(pa.timestamp("ns", "UTC"))
        return pa.Table.from_arrays([at, *map(pa.array, found)], names=["at", *names])

    def _extent(self, names: Sequence[str], start: Time | None, end: Time | None) -> tuple[int, int]:
        low = None if start is None else instant(start, "start")
        high = None if end is None else instant(end, "end")
        if low is None or high is None:
            times = self.reader.samples(names, low, high)["source_at"].cast(pa.int64())
            span = pc.min_max(times).as_py() if len(times) else {"min": 0, "max": -1}
            low, high = span["min"] if low is None else low, span["max"] + 1 if high is None else high
        return low, high

    def _stale(self, name: str) -> int:
        tag = self.tags.get(name)
        return round((tag or Tag(name=name)).stale_after * SECOND)

    @staticmethod
    def digest(table: pa.Table) -> str:
        """Return the SHA-256 of a table's names, kinds and values, whatever its chunks, its dictionaries and Arrow's version."""
        return digest(table)


def _step(every: str | int) -> int:
    try:
        step = duration(every) if isinstance(every, str) else int(every)
    except ExprError as error:
        raise refuse("every", "{text}", text=error) from None
    if step <= 0:
        raise refuse("every", N_("a grid needs a step above 0"))
    return step


def _by_tag(table: pa.Table) -> dict[str, tuple[np.ndarray, ...]]:
    """Return source times, values, statuses and known-at times by tag; the table is sorted by tag."""
    tag = table["tag"].combine_chunks()
    tag = tag.chunk(0) if isinstance(tag, pa.ChunkedArray) else tag
    codes, names = tag.indices.to_numpy(), tag.dictionary.to_pylist()
    arrays = [
        table["source_at"].cast(pa.int64()).to_numpy(), table["value"].to_numpy(), table["status"].to_numpy(),
        table["known_at"].cast(pa.timestamp("ns", "UTC")).cast(pa.int64()).to_numpy(),
    ]  # fmt: skip
    cuts = [*np.flatnonzero(np.diff(codes, prepend=-1)).tolist(), len(codes)]
    return {names[codes[a]]: tuple(array[a:b] for array in arrays) for a, b in itertools.pairwise(cuts) if a < b}


def _at(
    grid: np.ndarray,
    stale: int,
    source: np.ndarray,
    value: np.ndarray,
    status: np.ndarray,
    known: np.ndarray,
    *,
    as_known: bool,
) -> np.ndarray:
    """Return the value at each instant of a grid, NaN where there is none that counts."""
    if not len(source):
        return np.full(len(grid), np.nan)
    seen, now = source, grid
    if as_known:  # in the order in which they came, those that were the newest when they came
        order = np.argsort(known, kind="stable")
        order = order[source[order] >= np.maximum.accumulate(source[order])]
        source, value, status, seen = source[order], value[order], status[order], known[order]
        now = -(-grid // MS) * MS  # the history keeps known-at in whole milliseconds, rounded up
    place = np.searchsorted(seen, now, side="right") - 1
    row = np.maximum(place, 0)
    counts = (place >= 0) & (status[row] < NOT_GOOD) & (grid - source[row] <= stale) & np.isfinite(value[row])
    return np.where(counts, value[row], np.nan)


def digest(table: pa.Table) -> str:
    """Return the SHA-256 (hexadecimal) of a table: names, kinds, which values are there, and the values, little-endian.

    Texts are UTF-8 with their lengths, times int64 ns; every NaN is the same, 0.0 and -0.0 are not.
    """
    made = hashlib.sha256()
    for name in table.column_names:
        column = table[name]
        kind, data = _canonical(column)
        there = np.asarray(column.is_valid().to_numpy(), dtype=np.uint8)
        made.update(msgspec.msgpack.encode((name, kind, table.num_rows)))
        made.update(there.tobytes())
        made.update(data)
    return made.hexdigest()


def _canonical(column: pa.ChunkedArray) -> tuple[str, bytes]:
    """Return the kind of a column and its values as bytes."""
    kind: Any = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        texts = [(text or "").encode() for text in column.to_pylist()]
        return "text", np.array([len(text) for text in texts], dtype="<i8").tobytes() + b"".join(texts)
    if pa.types.is_timestamp(kind):
        column, name = column.cast(pa.timestamp("ns", kind.tz)).cast(pa.int64()), "time" if kind.tz else "local time"
    elif pa.types.is_boolean(kind):
        column, name = column.cast(pa.uint8()), "bool"
    elif pa.types.is_floating(kind) or pa.types.is_integer(kind):
        name = str(np.dtype(kind.to_pandas_dtype()))
    else:
        raise TypeError(f"columns of {kind} have no digest")
    values = np.ascontiguousarray(column.fill_null(0).to_numpy())
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), np.nan, values)
    return name, (values.byteswap() if sys.byteorder == "big" else values).tobytes()
