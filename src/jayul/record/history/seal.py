"""From hot segments to Parquet, and what a start finds: each step leaves a folder that can be read.

Order of a seal: `_a-b.ledger`, `_a-b.pyramid` and `_a-b.newest`, the entry in the catalogue, then `a-b.parquet` (written beside,
synced, renamed: from here on it counts), then the segments go. What a crash leaves half done is cleared away at the next start.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jayul.record.batch import Batch, ends, join
from jayul.record.chain import ZERO, Broken
from jayul.record.files import Files
from jayul.record.history import cold, hot, pyramid
from jayul.record.history.catalogue import Catalogue, Mark, Sealed

COUNTS = pa.schema([("tag", pa.string()), ("hour", pa.timestamp("ns", "UTC")), ("what", pa.string()), ("n", pa.int64())])
NEWEST = pa.schema(
    [("tag", pa.string()), ("source_at", pa.timestamp("ns", "UTC")), ("value", pa.float64()), ("status", pa.uint32())]
)


class Found(msgspec.Struct, frozen=True):
    """Where the Parquet files end: the last segment in them, digest of the chain, cursor, known-at."""

    segment: int
    digest: bytes
    cursor: int
    known_at: int


class Segment(msgspec.Struct, frozen=True):
    """A segment as it was read: its samples in the order in which they came, its ledger rows, and where the chain stood."""

    names: tuple[str, ...]
    batch: Batch
    counts: tuple[tuple[int, int, str, int], ...]
    cursor: int
    before: bytes
    digest: bytes
    end: int  # bytes up to the last whole record


def part_of(name: str) -> str:
    """Return what a file is called until it is whole."""
    return f"_{name.lstrip('_')}.tmp"


def write_part(files: Files, name: str, data: bytes) -> None:
    """Write a file durably under the name that it has until it is whole."""
    handle = files.append(part_of(name))
    try:
        handle.truncate(0)
        handle.write(data)
        handle.sync()
    finally:
        handle.close()


def parquet(table: pa.Table) -> bytes:
    """Return a small table as a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    found: bytes = sink.getvalue().to_pybytes()
    return found


def load(files: Files, name: str) -> pa.Table:
    """Read a file that `parquet` made. Raises Broken if it cannot be read, OSError."""
    data = files.read(name)
    try:
        return pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read()
    except (pa.ArrowException, OSError) as error:
        raise Broken(0, f"{name} cannot be read: {error}") from error


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


class Sorted(NamedTuple):
    """Samples in order (cold.order), and the names that their tags stand for."""

    batch: Batch
    names: list[str]


def in_order(segment: Segment) -> Sorted:
    """Return the samples of a segment in order."""
    return Sorted(*cold.order(segment.batch, segment.names))


def newest_of(parts: Sequence[Sorted], before: pa.Table) -> pa.Table:
    """Return the newest sample of each tag: by source time, then as it came."""
    tables = [before]
    for batch, names in parts:
        taken = batch.take(np.flatnonzero(ends(batch.tag)))
        columns = [
            pa.array([names[i] for i in taken.tag], pa.string()),
            pa.array(taken.source_at).cast(NEWEST.field("source_at").type),
            pa.array(taken.value),
            pa.array(taken.status),
        ]
        tables.append(pa.Table.from_arrays(columns, schema=NEWEST))
    table = pa.concat_tables(tables)
    table = table.append_column("i", pa.array(np.arange(table.num_rows)))
    table = table.sort_by([("tag", "ascending"), ("source_at", "ascending"), ("i", "ascending")]).combine_chunks()
    if not table.num_rows:
        return NEWEST.empty_table()
    codes = pc.dictionary_encode(table["tag"]).combine_chunks().indices.to_numpy()
    return table.take(np.flatnonzero(np.diff(codes, append=-1))).select(NEWEST.names)


def times_of(newest: pa.Table) -> dict[str, int]:
    """Return the source time (ns) of the newest sample of each tag."""
    return dict(zip(newest["tag"].to_pylist(), newest["source_at"].cast(pa.int64()).to_pylist(), strict=True))


class Made(msgspec.Struct, frozen=True):
    """What a file is made of: samples in order, ledger rows, late hours, where the chain of segments and the writer stood."""

    span: tuple[int, int]
    samples: Sorted
    counts: Any  # pa.Table of COUNTS
    late: pyramid.Late
    before: bytes
    after: bytes
    cursor: int
    newest: Any = None  # pa.Table of NEWEST, if it is the last file
    replaces: tuple[str, ...] = ()


def place(files: Files, catalogue: Catalogue, made: Made) -> None:
    """Put a file and what stands beside it in place: all of it durable before it counts. Raises OSError; then it does not count."""
    stem, (batch, names) = cold.named(*made.span), made.samples
    wholes = cold.whole(batch.tag, batch.value)
    known = (int(batch.known_at.min()), int(batch.known_at.max())) if len(batch.tag) else (0, 0)
    source = (int(batch.source_at.min()), int(batch.source_at.max())) if len(batch.tag) else (0, 0)
    latest = max([known[1], *(entry.known_last for entry in catalogue.listed.sealed.values())])
    about = {"before": made.before.hex(), "after": made.after.hex(), "cursor": str(made.cursor), "known_at": str(latest)}
    again = (batch.tag[1:] == batch.tag[:-1]) & (batch.source_at[1:] == batch.source_at[:-1])
    about["late"] = str(len(made.late.tag) + int(again.sum()))  # 0: no row stands twice, here or in an earlier file
    contents = {
        f"_{stem}.ledger": parquet(made.counts),
        f"_{stem}.pyramid": pyramid.write(pyramid.tables(batch, names, made.late, wholes)),
        f"{stem}.parquet": cold.write(cold.packed(batch, names, wholes), about),
    }
    if made.newest is not None:
        contents = {f"_{stem}.newest": parquet(made.newest)} | contents
    marks = tuple(Mark.of(name, data) for name, data in contents.items())
    entry = Sealed(
        stem, *made.span, marks, len(batch.tag), *source, *known, made.before, made.after, made.replaces
    )  # fmt: skip
    try:
        for name, data in contents.items():
            write_part(files, name, data)
        *beside, last = contents
        for name in beside:
            files.rename(part_of(name), name)
        files.sync_folder()
        catalogue.add(entry)
        files.rename(part_of(last), last)
        files.sync_folder()
    except Exception:
        _clear(files, list(contents))
        raise


def _clear(files: Files, contents: list[str]) -> None:
    """Take away what was written of a file that could not be put in place, so that it takes no room."""
    with contextlib.suppress(OSError):
        there = contents[-1] in files.names()
        for name in contents:
            files.remove(part_of(name))
            if not there:
                files.remove(name)


def seal(files: Files, catalogue: Catalogue, numbers: Sequence[int], newest: pa.Table) -> pa.Table:
    """Turn hot segments into one Parquet file; return the newest of each tag. Raises Broken, OSError; then they are kept."""
    segments = [_read(files, number) for number in numbers]
    names = tuple(dict.fromkeys(name for segment in segments for name in segment.names))
    index = {name: i for i, name in enumerate(names)}
    batches = []
    for segment in segments:
        move = np.array([index[name] for name in segment.names], dtype=np.int32)
        batches.append(segment.batch if segment.names == names else segment.batch._replace(tag=move[segment.batch.tag]))
    samples = Sorted(*cold.order(join(batches), names))
    first, last = segments[0], segments[-1]
    after = newest_of([samples], newest)
    late = pyramid.late_in(samples.batch, samples.names, times_of(newest))
    counts = summed([counts_of(segment) for segment in segments])
    span = (numbers[0], numbers[-1])
    place(files, catalogue, Made(span, samples, counts, late, first.before, last.digest, last.cursor, after))
    sweep(files, catalogue)
    return after


def sweep(files: Files, catalogue: Catalogue) -> None:
    """Take away what no longer counts; what cannot be removed now is tried again later."""
    with contextlib.suppress(OSError):
        for name in dropped(files.names(), catalogue):
            files.remove(name)


def _read(files: Files, number: int) -> Segment:
    name = hot.name_of(number)
    data = files.read(name)
    segment = read_segment(name, data)
    if segment is None or segment.end < len(data):
        raise Broken(segment.end if segment else 0, f"{name} ends inside a record")
    return segment


def tidy(files: Files, catalogue: Catalogue) -> Found:
    """Clear away what a crash left half done; say where the Parquet files end. Raises Broken."""
    for name in files.names():
        if name.endswith(".tmp"):
            files.remove(name)
    for name in dropped(files.names(), catalogue):
        files.remove(name)
    spans = sealed(files.names())
    if not spans:
        return Found(0, ZERO, -1, 0)
    stem = cold.named(*spans[-1])
    data = files.read(f"{stem}.parquet")
    try:
        about = pq.ParquetFile(pa.BufferReader(data)).schema_arrow.metadata or {}
        after, cursor, known = (about[f"jayul.{key}".encode()].decode() for key in ("after", "cursor", "known_at"))
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError) as error:
        raise Broken(0, f"{stem}.parquet cannot be read: {error}") from error
    return Found(spans[-1][1], bytes.fromhex(after), int(cursor), int(known))


def dropped(names: Sequence[str], catalogue: Catalogue) -> list[str]:
    """Return the files that no longer count: sealed, compacted or retired since, or made for a file that never came."""
    stale = set(catalogue.stale(names))
    spans = sealed([name for name in names if name not in stale])
    keep = {cold.named(*span) for span in spans}
    first, last = (spans[0][0], spans[-1][1]) if spans else (0, 0)
    found = sorted(stale)
    for name in names:
        if hot.OWN.fullmatch(name):
            drop = hot.number_of(name) <= last
        elif name.endswith(".newest"):
            drop = not spans or name != f"_{cold.named(*spans[-1])}.newest"
        elif cold.OWN.fullmatch(name) or cold.BESIDE.fullmatch(name):
            drop = name.lstrip("_").split(".")[0] not in keep and not cold.span_of(name)[1] < first
        else:
            drop = False
        if drop and name not in stale:
            found.append(name)
    return found


def sealed(names: Sequence[str]) -> list[tuple[int, int]]:
    """Return the spans of the Parquet files that count, in order: one that lies within another was compacted. Raises Broken."""
    spans = sorted((cold.span_of(name) for name in names if cold.OWN.fullmatch(name)), key=lambda s: (s[0], -s[1]))
    kept: list[tuple[int, int]] = []
    for span in spans:
        if kept and span[1] <= kept[-1][1]:
            continue
        if kept and span[0] <= kept[-1][1]:
            raise Broken(0, f"{cold.named(*span)}.parquet overlaps {cold.named(*kept[-1])}.parquet")
        kept.append(span)
    return kept


def retired(names: Sequence[str], ending: str) -> list[str]:
    """Return the stems of which only summaries are there any more: those before the first Parquet file."""
    spans = sealed(names)
    first = spans[0][0] if spans else 0
    own = [name for name in names if name.endswith(ending) and cold.BESIDE.fullmatch(name)]
    found = [name.lstrip("_").split(".")[0] for name in own if cold.span_of(name)[1] < first]
    within = {a for a in found for b in found if a != b and _inside(cold.span_of(a), cold.span_of(b))}
    return [stem for stem in found if stem not in within]


def _inside(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return b[0] <= a[0] and a[1] <= b[1]
