"""A history's folder as a reader sees it: which files count, what they hold, and what is read of them once and kept."""

from __future__ import annotations

import bisect
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jayul.record.batch import Batch, falls, join, rises
from jayul.record.chain import Broken
from jayul.record.files import Files, OsFiles
from jayul.record.history import catalogue, cold, hot, pyramid, seal

MS = 1_000_000
ALWAYS = (-(2**63), 2**63 - 1)
KEPT_FILES = 128  # Parquet files that are held open
FEW = 4  # row groups, or files, that are read one by one
KEPT_ROWS = 4_000_000  # rows of summaries that are held


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
    known_last: int  # ms, of the last
    decimals: int  # of all its values, which are whole numbers then; -1 if not all have the same
    status: int  # of all its rows; -1 if they differ


class Groups(Sequence[Group]):
    """The row groups of a file, from its footer, which is looked at no further than it is asked for."""

    def __init__(self, meta: Any) -> None:
        self._meta, self._found = meta, dict[int, Group]()

    def __len__(self) -> int:
        n: int = self._meta.num_row_groups
        return n

    def __getitem__(self, i: Any) -> Any:
        if i not in self._found:
            self._found[i] = _group(self._meta.row_group(range(len(self))[i]))
        return self._found[i]


class Opened(msgspec.Struct):
    """An open Parquet file and its row groups."""

    file: Any
    groups: Groups

    def of(self, tags: frozenset[str] | None) -> Sequence[int]:
        """Return the row groups in which these tags may lie. They are sorted by tag."""
        groups = self.groups
        if tags is None or len(tags) > len(groups):
            return range(len(groups))
        found = set[int]()
        for tag in tags:
            first = bisect.bisect_left(groups, tag, key=lambda group: group.last)
            found.update(range(first, bisect.bisect_right(groups, tag, first, key=lambda group: group.first)))
        return sorted(found)

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
    """What is asked for: tags (None: all), low <= source time < high, known at `known` and not yet at `after` (all ns)."""

    tags: frozenset[str] | None
    low: int
    high: int
    known: int
    after: int = ALWAYS[0]

    def meets(self, extent: Extent) -> bool:
        """Say whether a file may hold some of it."""
        inside = extent.begin < self.high and extent.end >= self.low
        return inside and extent.known_first <= self.known and extent.known_last > self.after

    def of(self, part: Part) -> Part:
        """Keep the rows that were asked for."""
        batch = part.batch
        keep = np.ones(len(batch.tag), dtype=bool)
        if self.low > ALWAYS[0]:
            keep &= batch.source_at >= self.low
        if self.high < ALWAYS[1]:
            keep &= batch.source_at < self.high
        if self.known < ALWAYS[1]:
            keep &= batch.known_at <= self.known
        if self.after > ALWAYS[0]:
            keep &= batch.known_at > self.after
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
        self._pyramids: OrderedDict[str, pyramid.Opened | None] = OrderedDict()

    def look(self) -> list[str]:
        """Look at the folder again, and return what it lists: while that stays the same, so does what is sealed."""
        names = self.files.names()
        if names != self.names:
            self.names, self.stems = names, [cold.named(*span) for span in seal.sealed(names)]
            try:
                self._listed = catalogue.listed(self.files)
            except Broken:  # a reader reads what can be read; `verify` says what is wrong
                self._listed = catalogue.Listed({}, {}, [])
            self.retired = [stem for stem in seal.retired(names, ".pyramid") if stem in self._listed.sealed]
            for stem in self._open.keys() - set(self.stems):  # merged or retired; held open, it would keep its room on disk
                self._open.pop(stem).file.close()
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
            self._keep(stem, self._opened(stem))
        self._open.move_to_end(stem)
        return self._open[stem]

    def _keep(self, stem: str, opened: Opened) -> None:
        self._open[stem] = opened
        while len(self._open) > KEPT_FILES:
            self._open.popitem(last=False)[1].file.close()

    def _opened(self, stem: str) -> Opened:
        name = f"{stem}.parquet"
        source = self.files.folder / name if isinstance(self.files, OsFiles) else pa.BufferReader(self.files.read(name))
        try:
            file = pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=False)
        except pa.ArrowException as error:
            raise Broken(0, f"{name} cannot be read: {error}") from error
        return Opened(file, Groups(file.metadata))

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
        self._pyramids.move_to_end(stem)
        return self._pyramids[stem]

    def relieve(self) -> None:
        """Let go of summaries of files that count no longer, and of those not used for longest when there are too many."""
        there = {*self.stems, *self.retired}
        self._pyramids = OrderedDict((stem, opened) for stem, opened in self._pyramids.items() if stem in there)
        rows = sum(opened.rows for opened in self._pyramids.values() if opened)
        for opened in self._pyramids.values():
            if rows <= KEPT_ROWS:
                return
            if opened:
                rows -= opened.rows
                opened.forget()

    def rows(self, stem: str, wanted: Wanted, among: Sequence[int] | None = None, *, known: bool = True) -> Part:
        """Return the rows of a file that were asked for, `among` these row groups.

        Without `known` their `known_at` may be 0, if all of the file was known.
        """
        return self._reading(stem, wanted, among, known)()

    def all_rows(self, stems: Sequence[str], wanted: Wanted, *, known: bool = True) -> list[Part]:
        """Return the rows of these files that were asked for, file by file; several files are read at a time."""
        stems, found = [stem for stem in stems if wanted.meets(self.extent(stem))], list[Part]()
        if len(stems) <= FEW:
            return [self._reading(stem, wanted, None, known)() for stem in stems]
        for a in range(0, len(stems), KEPT_FILES // 2):
            some = stems[a : a + KEPT_FILES // 2]
            fresh = [stem for stem in some if stem not in self._open]
            for stem in set(some) & self._open.keys():
                self._open.move_to_end(stem)  # what is asked for now is not let go for what is opened now
            for stem, opened in zip(fresh, _pool().map(self._opened, fresh), strict=True):
                self._keep(stem, opened)
            found += _pool().map(_called, [self._reading(stem, wanted, None, known) for stem in some])
        return found

    def _reading(self, stem: str, wanted: Wanted, among: Sequence[int] | None, known: bool) -> Callable[[], Part]:
        known = known or wanted.after > ALWAYS[0] or self.extent(stem).known_last > wanted.known
        return partial(_rows, stem, self.parquet(stem), wanted, among, known)

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


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(4, os.cpu_count() or 1), "history")


def _called(read: Callable[[], Part]) -> Part:
    return read()


def _rows(stem: str, opened: Opened, wanted: Wanted, among: Sequence[int] | None, known: bool) -> Part:
    groups = opened.groups
    chosen = [
        i for i in (opened.of(wanted.tags) if among is None else among)
        if (group := groups[i]).begin < wanted.high and group.end >= wanted.low
        and group.known * MS <= wanted.known and group.known_last * MS > wanted.after
    ]  # fmt: skip
    if not chosen:
        return Part((), Batch.empty())
    try:
        if len(chosen) <= FEW and all((group := groups[i]).decimals >= 0 and group.status >= 0 for i in chosen):
            parts = [wanted.of(_uniform(opened, i, wanted.tags, known)) for i in chosen]
            return parts[0] if len(parts) == 1 else together(parts, versions=True)
        table = opened.file.read_row_groups(chosen, use_threads=len(chosen) > 8)
    except (pa.ArrowException, OSError) as error:
        raise Broken(0, f"{stem}.parquet cannot be read: {error}") from error
    batch, names = cold.batch_of(table)
    return wanted.of(Part(names, batch))


_BOUNDED = [cold.SCHEMA.names.index(name) for name in cold.BOUNDED]


def _group(meta: Any) -> Group:
    tag, source, decimals, status, known = (meta.column(i).statistics for i in _BOUNDED)
    same = not decimals.null_count and decimals.min == decimals.max
    return Group(
        tag.min, tag.max, source.min_raw, source.max_raw, known.min_raw, known.max_raw, decimals.min if same else -1,
        status.min if status.min == status.max else -1,
    )  # fmt: skip


def _uniform(opened: Opened, i: int, tags: frozenset[str] | None, known: bool) -> Part:
    """Read a row group of whole numbers with the same decimals and one status: only the columns that differ."""
    group = opened.groups[i]
    columns = ["source_at", "mantissa", *(["known_at"] if known else []), *(["tag"] if group.first != group.last else [])]
    table = opened.file.read_row_group(i, columns=columns, use_threads=False)
    names, tag, rows = [group.first], np.zeros(table.num_rows, dtype=np.int32), slice(None)
    if group.first != group.last:
        column = table["tag"].chunk(0)
        names, tag = column.dictionary.to_pylist(), column.indices.to_numpy()
        if tags is not None and len(chosen := [k for k, name in enumerate(names) if name in tags]) == 1:
            rows = slice(*np.searchsorted(tag, [chosen[0], chosen[0] + 1]).tolist())
            names, tag = [names[chosen[0]]], np.zeros(rows.stop, dtype=np.int32)
    source_at = table["source_at"].chunk(0).view(pa.int64()).to_numpy()[rows]
    value = table["mantissa"].chunk(0).to_numpy()[rows] / cold.POWERS[group.decimals]
    known_at = table["known_at"].chunk(0).view(pa.int64()).to_numpy()[rows] * MS if known else np.zeros_like(source_at)
    return Part(names, Batch(tag[rows], source_at, value, np.full(len(source_at), group.status, dtype=np.uint32), known_at))


def together(parts: Sequence[Part], *, versions: bool) -> Part:
    """Put parts, in the order in which they came, together: sorted by tag and time; of one tag and time the last, or all."""
    parts = [part for part in parts if len(part.batch.tag)]
    if not parts:
        return Part([], Batch.empty())
    names, columns = _one_order(parts)
    batch = join(columns) if len(columns) > 1 else columns[0]
    if rises(batch.tag, batch.source_at):
        return Part(names, batch)
    if falls(batch.tag, batch.source_at):
        batch = batch.take(np.lexsort((batch.source_at, batch.tag)))
    return Part(names, batch if versions else pyramid.newest_versions(batch))


def _one_order(parts: Sequence[Part]) -> tuple[Sequence[str], list[Batch]]:
    """Return the sorted names of all tags that have rows, and the batches with positions in them."""
    first = parts[0].names
    if len(first) == 1 and all(part.names == first for part in parts):
        return first, [part.batch for part in parts]
    names = sorted({part.names[i] for part in parts for i in np.unique(part.batch.tag).tolist()})
    index = {name: i for i, name in enumerate(names)}
    columns = []
    for part in parts:
        move = np.array([index.get(name, -1) for name in part.names], dtype=np.int32)
        columns.append(part.batch._replace(tag=move[part.batch.tag]))
    return names, columns
