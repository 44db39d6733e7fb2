"""A history's folder as a reader sees it: which files count, what they hold, and what is read of them once and kept."""

from __future__ import annotations

import bisect
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jayul.record.batch import Batch, falls
from jayul.record.chain import Broken
from jayul.record.files import Files, OsFiles
from jayul.record.history import catalogue, cold, hot, pyramid, seal

MS = 1_000_000
ALWAYS = (-(2**63), 2**63 - 1)
KEPT_FILES = 128  # Parquet files that are held open
FEW = 4  # row groups that are read one by one
KEPT_ROWS = 2_000_000  # rows of summaries that are held


class Part(NamedTuple):
    """Rows in the order in which they came, from one file or segment: positions in `names`, and the columns."""

    names: Sequence[str]
    batch: Batch


class Group(NamedTuple):
    """A row group of a file, from its footer: tags and times between which all its rows lie."""

    first: str
    last: str
    begin: int
    end: int
    known: int  # ms, of the first that was known
    decimals: int  # of all its values, which are whole numbers then; -1 if not all have the same
    status: int  # of all its rows; -1 if they differ


class Opened(msgspec.Struct):
    """An open Parquet file and its row groups."""

    file: Any
    groups: list[Group]
    firsts: list[str]
    lasts: list[str]

    def of(self, tags: frozenset[str] | None) -> Sequence[int]:
        """Return the row groups in which these tags may lie. They are sorted by tag."""
        if tags is None or len(tags) > len(self.groups):
            return range(len(self.groups))
        spans = (range(bisect.bisect_left(self.lasts, tag), bisect.bisect_right(self.firsts, tag)) for tag in tags)
        return sorted({i for span in spans for i in span})

    def names(self) -> frozenset[str]:
        """Return the tags that have rows."""
        return frozenset(tag.as_py() for tag in self.file.read(columns=["tag"])["tag"].unique()) if self.groups else frozenset()


class Extent(NamedTuple):
    """Between which source times (ns) a file lies, and when its rows were known."""

    begin: int
    end: int
    known_first: int
    known_last: int


class Wanted(NamedTuple):
    """What is asked for: tags (None: all), low <= source time < high, known at `known` (all ns)."""

    tags: frozenset[str] | None
    low: int
    high: int
    known: int

    def meets(self, extent: Extent) -> bool:
        """Say whether a file may hold some of it."""
        return extent.begin < self.high and extent.end >= self.low and extent.known_first <= self.known

    def of(self, part: Part) -> Part:
        """Keep the rows that were asked for."""
        batch = part.batch
        keep = (batch.source_at >= self.low) & (batch.source_at < self.high) & (batch.known_at <= self.known)
        if self.tags is not None and not self.tags.issuperset(part.names):
            place = np.array([name in self.tags for name in part.names], dtype=bool)
            keep &= place[batch.tag]
        return part if keep.all() else Part(part.names, batch.take(keep))


class Folder:
    """What was opened of a history. `look` says what counts now; files are opened once, and let go when there are many."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.names: list[str] = []
        self.stems: list[str] = []  # of the Parquet files that count, in order
        self.retired: list[str] = []  # stems whose samples were removed
        self._listed = catalogue.Listed({}, {}, [])
        self._open: OrderedDict[str, Opened] = OrderedDict()
        self._hot: dict[str, tuple[int, seal.Segment]] = {}
        self._pyramids: dict[str, pyramid.Opened | None] = {}

    def look(self) -> list[str]:
        """Look at the folder again, and return what it lists: while that stays the same, so does what is sealed."""
        names = self.files.names()
        if names != self.names:
            self.names, self.stems = names, [cold.named(*span) for span in seal.sealed(names)]
            self.retired = seal.retired(names, ".pyramid")
            try:
                self._listed = catalogue.listed(self.files)
            except Broken:  # a reader reads what can be read; `verify` says what is wrong
                self._listed = catalogue.Listed({}, {}, [])
        return names

    def extent(self, stem: str) -> Extent:
        """Return what a file spans: from the catalogue, else from its footer."""
        if entry := self._listed.sealed.get(stem):
            return Extent(entry.begin, entry.end, entry.known_first, entry.known_last) if entry.values else Extent(0, -1, 0, 0)
        if not (groups := self.parquet(stem).groups):
            return Extent(0, -1, 0, 0)
        return Extent(min(g.begin for g in groups), max(g.end for g in groups), min(g.known for g in groups) * MS, ALWAYS[1])

    def parquet(self, stem: str) -> Opened:
        """Return the open file of a stem."""
        if stem not in self._open:
            name = f"{stem}.parquet"
            source = self.files.folder / name if isinstance(self.files, OsFiles) else pa.BufferReader(self.files.read(name))
            try:
                file = pq.ParquetFile(source, page_checksum_verification=True)
            except pa.ArrowException as error:
                raise Broken(0, f"{name} cannot be read: {error}") from error
            groups = [_group(file.metadata.row_group(i)) for i in range(file.metadata.num_row_groups)]
            self._open[stem] = Opened(file, groups, [group.first for group in groups], [group.last for group in groups])
            while len(self._open) > KEPT_FILES:
                self._open.popitem(last=False)[1].file.close()
        self._open.move_to_end(stem)
        return self._open[stem]

    def summary(self, stem: str) -> pyramid.Opened | None:
        """Return the summaries of a stem, or None if they are lost or damaged."""
        if stem not in self._pyramids:
            name, found = f"_{stem}.pyramid", None
            try:
                data = self.files.read(name)
                mark = self._listed.marks.get(name)
                if mark is not None and mark == catalogue.Mark.of(name, data):
                    found = pyramid.Opened(pa.BufferReader(data))
            except (FileNotFoundError, pa.ArrowException):
                found = None
            self._pyramids[stem] = found
        return self._pyramids[stem]

    def relieve(self) -> None:
        """Let go of summaries when there are too many, or of files that count no longer."""
        there = {*self.stems, *self.retired}
        self._pyramids = {stem: opened for stem, opened in self._pyramids.items() if stem in there}
        if sum(opened.rows for opened in self._pyramids.values() if opened) > KEPT_ROWS:
            self._pyramids = {}

    def rows(self, stem: str, wanted: Wanted, among: Sequence[int] | None = None) -> Part:
        """Return the rows of a file that were asked for, `among` these row groups."""
        opened = self.parquet(stem)
        chosen = [
            i for i in (opened.of(wanted.tags) if among is None else among)
            if (group := opened.groups[i]).begin < wanted.high and group.end >= wanted.low and group.known * MS <= wanted.known
        ]  # fmt: skip
        if not chosen:
            return Part((), Batch.empty())
        try:
            if len(chosen) <= FEW and all((g := opened.groups[i]).decimals >= 0 and g.status >= 0 for i in chosen):
                return together([wanted.of(_uniform(opened, i)) for i in chosen], versions=True)
            table = opened.file.read_row_groups(chosen, use_threads=len(chosen) > 8)
        except (pa.ArrowException, OSError) as error:
            raise Broken(0, f"{stem}.parquet cannot be read: {error}") from error
        batch, names = cold.batch_of(table)
        return wanted.of(Part(names, batch))

    def segments(self) -> Iterator[seal.Segment]:
        """Yield the segments that are not in Parquet. A tail that is being written, or was torn, is left out."""
        last = cold.span_of(self.stems[-1])[1] if self.stems else 0
        for name in self.names:
            if hot.OWN.fullmatch(name) and hot.number_of(name) > last:
                data = self.files.read(name)
                if name not in self._hot or self._hot[name][0] != len(data):
                    segment = seal.read_segment(name, data)
                    if segment is None:
                        continue
                    self._hot[name] = (len(data), segment)
                yield self._hot[name][1]
        self._hot = {name: kept for name, kept in self._hot.items() if hot.number_of(name) > last}


def _group(meta: Any) -> Group:
    columns = [meta.column(i).statistics for i in range(len(cold.SCHEMA))]
    tag, source, value, _, decimals, status, known = columns
    same = value.null_count == meta.num_rows and not decimals.null_count and decimals.min == decimals.max
    return Group(
        tag.min, tag.max, source.min_raw, source.max_raw, known.min_raw, decimals.min if same else -1,
        status.min if status.min == status.max else -1,
    )  # fmt: skip


def _uniform(opened: Opened, i: int) -> Part:
    """Read a row group of whole numbers with the same decimals and one status: only the columns that differ."""
    group = opened.groups[i]
    one = group.first == group.last
    table = opened.file.read_row_group(
        i, columns=["source_at", "mantissa", "known_at", *([] if one else ["tag"])], use_threads=False
    )
    n = table.num_rows
    source_at = table["source_at"].chunk(0).cast(pa.int64()).to_numpy()
    known_at = table["known_at"].chunk(0).cast(pa.int64()).to_numpy() * MS
    value = table["mantissa"].chunk(0).to_numpy() / cold.POWERS[group.decimals]
    if one:
        names, tag = [group.first], np.zeros(n, dtype=np.int32)
    else:
        column = table["tag"].chunk(0)
        names, tag = column.dictionary.to_pylist(), column.indices.to_numpy()
    return Part(names, Batch(tag, source_at, value, np.full(n, group.status, dtype=np.uint32), known_at))


def together(parts: Sequence[Part], *, versions: bool) -> Part:
    """Put parts, in the order in which they came, together: sorted by tag and time; of one tag and time the last, or all."""
    parts = [part for part in parts if len(part.batch.tag)]
    if not parts:
        return Part([], Batch.empty())
    names = sorted({part.names[i] for part in parts for i in np.unique(part.batch.tag).tolist()})
    index = {name: i for i, name in enumerate(names)}
    columns = []
    for part in parts:
        move = np.array([index.get(name, -1) for name in part.names], dtype=np.int32)
        columns.append(part.batch._replace(tag=move[part.batch.tag]))
    batch = Batch(*(np.concatenate(column) for column in zip(*columns, strict=True))) if len(columns) > 1 else columns[0]
    if falls(batch.tag, batch.source_at):
        batch = batch.take(np.lexsort((batch.source_at, batch.tag)))
    return Part(names, batch if versions else pyramid.newest_versions(batch))
