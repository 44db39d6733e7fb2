"""The reading side of a history: samples as they were known at a time, and what the ledger counted, also beside the writer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jayul.record.batch import Batch
from jayul.record.files import Files, OsFiles
from jayul.record.history import cold, hot, seal

MS = 1_000_000
ALWAYS = (-(2**63), 2**63 - 1)
SAMPLES = pa.schema(
    [
        ("tag", pa.dictionary(pa.int32(), pa.string())),
        ("source_at", pa.timestamp("ns", "UTC")),
        ("value", pa.float64()),
        ("status", pa.uint32()),
        ("known_at", pa.timestamp("ms", "UTC")),
    ]
)
T = TypeVar("T")


class _Group(NamedTuple):
    """A row group of a file, from its footer: tags and times between which all its rows lie."""

    first: str
    last: str
    begin: int
    end: int
    known: int  # ms, of the first that was known


class _File(msgspec.Struct):
    """An open Parquet file and its row groups."""

    file: Any
    groups: list[_Group]

    def names(self) -> frozenset[str]:
        """Return the tags that have rows."""
        return frozenset(tag.as_py() for tag in self.file.read(columns=["tag"])["tag"].unique()) if self.groups else frozenset()


class _Part(NamedTuple):
    """Rows in the order in which they came, from one file or segment: positions in `names`, and the columns."""

    names: tuple[str, ...]
    batch: Batch


class Reader:
    """Reads a history, closed or being written. Files are opened once and kept. Raises Broken, OSError."""

    def __init__(self, files: Files | Path) -> None:
        self.files: Files = OsFiles(files, create=False) if isinstance(files, Path) else files
        self._open: dict[str, _File] = {}
        self._hot: dict[str, tuple[int, seal.Segment]] = {}

    def samples(
        self,
        tags: Sequence[str] | None = None,
        start: int | None = None,
        end: int | None = None,
        known_at: int | None = None,
        *,
        versions: bool = False,
    ) -> pa.Table:
        """Return samples with start <= source time < end (ns UTC), sorted by tag and time, as they were known at `known_at`.

        Of samples of one tag and time the one known last is returned, or with `versions` all of them. Columns: SAMPLES.
        """
        low, high = ALWAYS[0] if start is None else start, ALWAYS[1] if end is None else end
        known = ALWAYS[1] if known_at is None else known_at
        wanted = None if tags is None else frozenset(tags)
        return _table(self._settled(lambda: list(self._parts(wanted, low, high, known))), versions=versions)

    def tags(self) -> list[str]:
        """Return the names of all tags that have a sample, sorted."""
        found = self._settled(lambda: [*(self._file(name).names() for name in self._sealed()), *self._hot_names()])
        return sorted(frozenset().union(*found))

    def counts(self) -> pa.Table:
        """Return what the ledger counted: tag, hour (of source time), what, n."""

        def read() -> list[pa.Table]:
            stems = [cold.named(*span) for span in seal.sealed(self.files)]
            tables = [seal.load(self.files, f"_{stem}.ledger") for stem in stems]
            return [*tables, *(seal.counts_of(segment) for segment in self._segments())]

        return seal.summed(self._settled(read))

    def _settled(self, read: Callable[[], T]) -> T:
        """Read again if the writer sealed or compacted in the middle of it."""
        for _ in range(20):
            before = self._listing()
            try:
                found = read()
            except FileNotFoundError:
                continue
            if self._listing() == before:
                return found
        raise OSError("the history changes faster than it can be read")

    def _listing(self) -> list[str]:
        return [name for name in self.files.names() if name.endswith((".parquet", ".hot"))]

    def _sealed(self) -> list[str]:
        return [f"{cold.named(*span)}.parquet" for span in seal.sealed(self.files)]

    def _parts(self, tags: frozenset[str] | None, low: int, high: int, known: int) -> Iterator[_Part]:
        for name in self._sealed():
            yield from self._from_file(self._file(name), tags, low, high, known)
        for segment in self._segments():
            part = _Part(segment.names, segment.batch)
            yield _kept(part, tags, low, high, known)

    def _segments(self) -> Iterator[seal.Segment]:
        """Yield the segments that are not in Parquet. A tail that is being written, or was torn, is left out."""
        spans = seal.sealed(self.files)
        last = spans[-1][1] if spans else 0
        for name in self.files.names():
            if name.endswith(".hot") and hot.number_of(name) > last:
                data = self.files.read(name)
                if name not in self._hot or self._hot[name][0] != len(data):
                    segment = seal.read_segment(name, data)
                    if segment is None:
                        continue
                    self._hot[name] = (len(data), segment)
                yield self._hot[name][1]
        self._hot = {name: kept for name, kept in self._hot.items() if hot.number_of(name) > last}

    def _hot_names(self) -> Iterator[frozenset[str]]:
        for segment in self._segments():
            yield frozenset(segment.names[i] for i in np.unique(segment.batch.tag))

    def _file(self, name: str) -> _File:
        if name not in self._open:
            source = self.files.folder / name if isinstance(self.files, OsFiles) else pa.BufferReader(self.files.read(name))
            file = pq.ParquetFile(source, page_checksum_verification=True)
            groups = [_group(file.metadata.row_group(i)) for i in range(file.metadata.num_row_groups)]
            self._open[name] = _File(file, groups)
        return self._open[name]

    def _from_file(self, opened: _File, tags: frozenset[str] | None, low: int, high: int, known: int) -> Iterator[_Part]:
        wanted = [
            i for i, group in enumerate(opened.groups)
            if group.begin < high and group.end >= low and group.known * MS <= known
            and (tags is None or any(group.first <= tag <= group.last for tag in tags))
        ]  # fmt: skip
        if not wanted:
            return
        table = opened.file.read_row_groups(wanted, use_threads=len(wanted) > 8).combine_chunks().unify_dictionaries()
        column = table["tag"].combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = column.chunk(0)
        known_at = table["known_at"].cast(pa.int64()).to_numpy() * MS
        batch = Batch(
            column.indices.to_numpy(), table["source_at"].cast(pa.int64()).to_numpy(), cold.values_of(table),
            table["status"].to_numpy(), known_at,
        )  # fmt: skip
        yield _kept(_Part(tuple(column.dictionary.to_pylist()), batch), tags, low, high, known)


def _group(meta: Any) -> _Group:
    columns = {meta.column(i).path_in_schema: meta.column(i).statistics for i in range(meta.num_columns)}
    tag, source, known = columns["tag"], columns["source_at"], columns["known_at"]
    return _Group(tag.min, tag.max, source.min_raw, source.max_raw, known.min_raw)


def _kept(part: _Part, tags: frozenset[str] | None, low: int, high: int, known: int) -> _Part:
    """Keep the rows that were asked for."""
    batch = part.batch
    keep = (batch.source_at >= low) & (batch.source_at < high) & (batch.known_at <= known)
    if tags is not None:
        keep &= np.isin(batch.tag, [i for i, name in enumerate(part.names) if name in tags])
    return part if keep.all() else _Part(part.names, batch.take(keep))


def _table(parts: Sequence[_Part], *, versions: bool) -> pa.Table:
    """Put parts, in the order in which they came, into one table."""
    names = sorted({part.names[i] for part in parts for i in np.unique(part.batch.tag)})
    index = {name: i for i, name in enumerate(names)}
    columns = []
    for part in parts:
        move = np.array([index.get(name, -1) for name in part.names], dtype=np.int32)
        columns.append(part.batch._replace(tag=move[part.batch.tag] if len(part.batch.tag) else part.batch.tag))
    batch = Batch(*(np.concatenate(column) for column in zip(*columns, strict=True))) if columns else Batch.empty()
    if len(parts) > 1 or (np.diff(batch.tag) < 0).any():
        batch = batch.take(np.lexsort((batch.source_at, batch.tag)))
    if not versions and len(batch.tag):
        batch = batch.take((np.diff(batch.tag, append=-1) != 0) | (np.diff(batch.source_at, append=0) != 0))
    arrays = [
        pa.DictionaryArray.from_arrays(pa.array(batch.tag, pa.int32()), pa.array(names, pa.string())),
        pa.array(batch.source_at).cast(SAMPLES.field("source_at").type),
        pa.array(batch.value),
        pa.array(batch.status),
        pa.array(batch.known_at // MS).cast(SAMPLES.field("known_at").type),
    ]
    return pa.Table.from_arrays(arrays, schema=SAMPLES)
