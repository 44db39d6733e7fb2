"""Hot segments: what was just taken in, one chained record (`record/chain.py`) for each group of samples made durable together.

A record holds samples, ledger counts and the cursor of one moment, so that a crash keeps or loses them together. The first record
of a segment quotes the digest of the segment before, so that none can be taken out unseen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import msgspec
import pyarrow as pa

from jayul.record.batch import KINDS, Batch, Count
from jayul.record.chain import PREFIX, Broken, unpack

_SCHEMA = pa.schema([pa.field(name, pa.from_numpy_dtype(kind)) for name, kind in zip(Batch._fields, KINDS, strict=True)])
OWN = re.compile(r"_\d{6,}\.hot")
_LZ4 = pa.ipc.IpcWriteOptions(compression="lz4")


class Opening(msgspec.Struct, frozen=True, array_like=True, tag="opening"):
    """The first record of a segment: the names that positions stand for, and where the chain stood before."""

    number: int
    names: tuple[str, ...]
    before: bytes


class Group(msgspec.Struct, frozen=True, array_like=True, tag="group"):
    """What was made durable together: samples (an Arrow stream, LZ4), ledger counts, and how far the writer had come."""

    samples: bytes
    counts: tuple[tuple[int, int, str, int], ...]
    cursor: int


Entry: TypeAlias = Opening | Group
encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode


def group(batch: Batch, counts: Sequence[Count], cursor: int) -> Group:
    """Return the record of a batch."""
    sink = pa.BufferOutputStream()
    if len(batch.tag):
        with pa.ipc.new_stream(sink, _SCHEMA, options=_LZ4) as stream:
            stream.write_batch(pa.RecordBatch.from_arrays([pa.array(column) for column in batch], schema=_SCHEMA))
    return Group(sink.getvalue().to_pybytes(), tuple((int(c.tag), int(c.hour), c.what, int(c.n)) for c in counts), cursor)


def samples_of(entry: Group) -> Batch:
    """Return the samples of a record."""
    if not entry.samples:
        return Batch.empty()
    table = pa.ipc.open_stream(entry.samples).read_next_batch()
    return Batch(*(column.to_numpy() for column in table.columns))


def name_of(number: int) -> str:
    """Return the file name of a segment."""
    return f"_{number:06d}.hot"


def number_of(name: str) -> int:
    """Return the number of a segment from its file name."""
    return int(name[1:].partition(".")[0])


def scan(name: str, data: bytes) -> Iterator[tuple[int, Entry, bytes]]:
    """Yield (end, entry, digest) of each whole record of a segment. Raises Broken."""
    first = next(_opening(name, data), None)
    if first is None:
        return
    for start, payload, digest in unpack(data, first.before):
        yield start + PREFIX.size + len(payload), _read(start, payload), digest


def _opening(name: str, data: bytes) -> Iterator[Opening]:
    """Yield the first record, if it is there to its end; the chain is checked from it on."""
    if len(data) < PREFIX.size or len(data) < PREFIX.size + PREFIX.unpack_from(data)[0]:
        return
    entry = _read(0, data[PREFIX.size : PREFIX.size + PREFIX.unpack_from(data)[0]])
    if not isinstance(entry, Opening) or entry.number != number_of(name):
        raise Broken(0, "does not begin as this segment does")
    yield entry


def _read(offset: int, payload: bytes) -> Entry:
    try:
        entry: Entry = _decode(payload)
    except msgspec.MsgspecError as error:
        raise Broken(offset, f"record cannot be read: {error}") from error
    return entry
