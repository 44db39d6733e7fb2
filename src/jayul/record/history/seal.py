"""From hot segments to Parquet, and what a start finds: each step leaves a folder that can be read.

Order of a seal: `_a-b.ledger` and `_a-b.newest`, then `a-b.parquet` (written beside, synced, renamed: from here on it counts),
then the segments go. What a crash leaves half done is cleared away at the next start (`tidy`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jayul.record.batch import Batch, join
from jayul.record.chain import ZERO, Broken
from jayul.record.files import Files
from jayul.record.history import cold, hot

COUNTS = pa.schema([("tag", pa.string()), ("hour", pa.timestamp("ns", "UTC")), ("what", pa.string()), ("n", pa.int64())])
NEWEST = pa.schema(
    [("tag", pa.string()), ("source_at", pa.timestamp("ns", "UTC")), ("value", pa.float64()), ("status", pa.uint32())]
)


class Found(msgspec.Struct, frozen=True):
    """Where the Parquet files end: the last segment in them, digest of the chain, cursor, known-at, the newest of each tag."""

    segment: int
    digest: bytes
    cursor: int
    known_at: int
    newest: Any  # pa.Table of NEWEST


class Segment(msgspec.Struct, frozen=True):
    """A segment as it was read: its samples in the order in which they came, its ledger rows, and where the chain stood."""

    names: tuple[str, ...]
    batch: Batch
    counts: tuple[tuple[int, int, str, int], ...]
    cursor: int
    before: bytes
    digest: bytes
    end: int  # bytes up to the last whole record


def put(files: Files, name: str, data: bytes) -> None:
    """Put a file in place all at once and durably."""
    part = f"_{name.lstrip('_')}.tmp"
    handle = files.append(part)
    try:
        handle.truncate(0)
        handle.write(data)
        handle.sync()
    finally:
        handle.close()
    files.rename(part, name)
    files.sync_folder()


def parquet(table: pa.Table) -> bytes:
    """Return a small table as a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    found: bytes = sink.getvalue().to_pybytes()
    return found


def load(files: Files, name: str) -> pa.Table:
    """Read a file that `put` and `parquet` made."""
    return pq.ParquetFile(pa.BufferReader(files.read(name))).read()


def read_segment(name: str, data: bytes) -> Segment | None:
    """Read a hot segment up to its last whole record; None if not even its first is there. Raises Broken."""
    opening: hot.Opening | None = None
    parts, counts, cursor, end, digest = list[Batch](), list[tuple[int, int, str, int]](), -1, 0, ZERO
    for end, entry, digest in hot.scan(name, data):  # noqa: B007 - the last ones count
        if isinstance(entry, hot.Group):
            parts.append(hot.samples_of(entry))
            counts.extend(entry.counts)
            cursor = entry.cursor
        elif opening is None:
            opening = entry
        else:
            raise Broken(end, f"{name} has a second beginning")
    if opening is None:
        return None
    return Segment(opening.names, join(parts), tuple(counts), cursor, opening.before, digest, end)


def counts_of(segment: Segment) -> pa.Table:
    """Return a segment's ledger rows with the names of their tags."""
    columns: list[Any] = list(zip(*segment.counts, strict=True)) if segment.counts else [(), (), (), ()]
    names = [segment.names[i] for i in columns[0]]
    hours = pa.array(columns[1], pa.int64()).cast(COUNTS.field("hour").type)
    return pa.Table.from_arrays(
        [pa.array(names, pa.string()), hours, pa.array(columns[2], pa.string()), pa.array(columns[3], pa.int64())],
        schema=COUNTS,
    )


def summed(tables: Sequence[pa.Table]) -> pa.Table:
    """Add up ledger rows by tag, hour and kind, sorted."""
    table = pa.concat_tables([COUNTS.empty_table(), *tables])
    keys = ["tag", "hour", "what"]
    found = table.group_by(keys).aggregate([("n", "sum")]).rename_columns({"n_sum": "n"}).select(COUNTS.names)
    return found.sort_by([(key, "ascending") for key in keys]).cast(COUNTS)


def newest_of(segments: Sequence[Segment], before: pa.Table) -> pa.Table:
    """Return the newest sample of each tag: by source time, then as it came."""
    tables = [before]
    for segment in segments:
        batch, names = cold.order(segment.batch, segment.names)
        last = np.flatnonzero(np.diff(batch.tag, append=-1))
        taken = batch.take(last)
        tables.append(
            pa.Table.from_arrays(
                [
                    pa.array([names[i] for i in taken.tag], pa.string()),
                    pa.array(taken.source_at).cast(NEWEST.field("source_at").type),
                    pa.array(taken.value),
                    pa.array(taken.status),
                ],
                schema=NEWEST,
            )
        )
    table = pa.concat_tables(tables)
    table = table.append_column("i", pa.array(np.arange(table.num_rows)))
    table = table.sort_by([("tag", "ascending"), ("source_at", "ascending"), ("i", "ascending")]).combine_chunks()
    if not table.num_rows:
        return NEWEST.empty_table()
    codes = pc.dictionary_encode(table["tag"]).combine_chunks().indices.to_numpy()
    return table.take(np.flatnonzero(np.diff(codes, append=-1))).select(NEWEST.names)


def seal(files: Files, numbers: Sequence[int], newest: pa.Table) -> pa.Table:
    """Turn hot segments into one Parquet file; return the newest of each tag. Raises Broken, OSError; then they are kept."""
    segments = [_read(files, number) for number in numbers]
    names = tuple(dict.fromkeys(name for segment in segments for name in segment.names))
    index = {name: i for i, name in enumerate(names)}
    batches = []
    for segment in segments:
        move = np.array([index[name] for name in segment.names], dtype=np.int32)
        batches.append(segment.batch if segment.names == names else segment.batch._replace(tag=move[segment.batch.tag]))
    batch, first, last = join(batches), segments[0], segments[-1]
    newest = newest_of(segments, newest)
    stem = cold.named(numbers[0], numbers[-1])
    put(files, f"_{stem}.ledger", parquet(summed([counts_of(segment) for segment in segments])))
    put(files, f"_{stem}.newest", parquet(newest))
    known = int(batch.known_at.max(initial=0))
    about = {"before": first.before.hex(), "after": last.digest.hex(), "cursor": str(last.cursor), "known_at": str(known)}
    put(files, f"{stem}.parquet", cold.write(cold.table_of(batch, names), about))
    for number in numbers:
        files.remove(hot.name_of(number))
    for name in files.names():
        if name.endswith(".newest") and name != f"_{stem}.newest":
            files.remove(name)
    return newest


def _read(files: Files, number: int) -> Segment:
    name = hot.name_of(number)
    data = files.read(name)
    segment = read_segment(name, data)
    if segment is None or segment.end < len(data):
        raise Broken(segment.end if segment else 0, f"{name} ends inside a record")
    return segment


def tidy(files: Files) -> Found:
    """Clear away what a crash left half done; say where the Parquet files end. Raises Broken."""
    for name in files.names():
        if name.endswith(".tmp"):
            files.remove(name)
    spans = sealed(files)
    keep = {cold.named(*span) for span in spans}
    last = spans[-1][1] if spans else 0
    for name in files.names():
        covered = name.endswith(".hot") and hot.number_of(name) <= last
        beside = name.endswith((".ledger", ".newest", ".parquet")) and name.lstrip("_").split(".")[0] not in keep
        if covered or beside:
            files.remove(name)
    if not spans:
        return Found(0, ZERO, -1, 0, NEWEST.empty_table())
    stem = cold.named(*spans[-1])
    about = pq.ParquetFile(pa.BufferReader(files.read(f"{stem}.parquet"))).schema_arrow.metadata
    newest = load(files, f"_{stem}.newest").cast(NEWEST)
    after, cursor, known = (about[f"jayul.{key}".encode()].decode() for key in ("after", "cursor", "known_at"))
    return Found(last, bytes.fromhex(after), int(cursor), int(known), newest)


def sealed(files: Files) -> list[tuple[int, int]]:
    """Return the spans of the Parquet files that count, in order: one that lies within another was compacted. Raises Broken."""
    spans = sorted((cold.span_of(name) for name in files.names() if name.endswith(".parquet")), key=lambda s: (s[0], -s[1]))
    kept: list[tuple[int, int]] = []
    for span in spans:
        if kept and span[1] <= kept[-1][1]:
            continue
        if kept and span[0] <= kept[-1][1]:
            raise Broken(0, f"{cold.named(*span)}.parquet overlaps {cold.named(*kept[-1])}.parquet")
        kept.append(span)
    return kept
