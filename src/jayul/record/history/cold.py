"""Samples in Parquet: sorted by tag and source time, one row a sample.

    tag        string, dictionary
    source_at  timestamp ns UTC, delta-packed
    value      double; null where the value is a decimal number and stands in the two columns that follow
    mantissa   int64, delta-packed; the value is mantissa / 10^decimals, to the last bit
    decimals   int8
    status     uint32, OPC UA status code
    known_at   timestamp ms UTC

What instruments send has few decimals: as whole numbers, delta-packed (DELTA_BINARY_PACKED of Parquet) and compressed with zstd,
it takes about a byte, as doubles three or more. A value is stored so if the division gives back the same bits.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jayul.record.batch import Batch, begins, falls

MOST_DECIMALS = 9
LOOKED_AT = 256  # values of a tag, to find its decimals
ROWS, MOST_ROWS = 4096, 65_536  # of a row group: whole tags, at least ROWS; parts of one that has MOST_ROWS
MS = 1_000_000
OWN = re.compile(r"\d{6,}-\d{6,}\.parquet")
BESIDE = re.compile(r"_\d{6,}-\d{6,}\.(ledger|pyramid|newest)")
POWERS = 10.0 ** np.arange(MOST_DECIMALS + 1)
SCHEMA = pa.schema(
    [
        ("tag", pa.dictionary(pa.int32(), pa.string())),
        ("source_at", pa.timestamp("ns", "UTC")),
        ("value", pa.float64()),
        ("mantissa", pa.int64()),
        ("decimals", pa.int8()),
        ("status", pa.uint32()),
        ("known_at", pa.timestamp("ms", "UTC")),
    ]
)
BOUNDED = ["tag", "source_at", "decimals", "status", "known_at"]  # whose least and largest a row group has
PACKED = dict.fromkeys(("source_at", "mantissa", "known_at"), "DELTA_BINARY_PACKED") | {"value": "BYTE_STREAM_SPLIT"}


def order(batch: Batch, names: Sequence[str]) -> tuple[Batch, list[str]]:
    """Sort by name and source time; samples of one time stay in the order in which they came. Returns positions in sorted names."""
    ranked = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), dtype=np.int32)
    rank[ranked] = np.arange(len(names), dtype=np.int32)
    tag = rank[batch.tag]
    batch = batch._replace(tag=tag).take(np.argsort(tag.astype(np.uint16) if len(names) < 65_536 else tag, kind="stable"))
    if falls(batch.tag, batch.source_at):  # some tag is out of order: then all are sorted
        batch = batch.take(np.lexsort((batch.source_at, batch.tag)))
    return batch, [names[i] for i in ranked]


def table_of(batch: Batch, names: Sequence[str]) -> pa.Table:
    """Return the rows of a file."""
    batch, sorted_names = order(batch, names)
    return packed(batch, sorted_names, whole(batch.tag, batch.value))


def packed(batch: Batch, sorted_names: Sequence[str], wholes: Whole) -> pa.Table:
    """Return the rows of a file from samples that are in order."""
    mantissa, decimals, exact = wholes
    ms = -(-batch.known_at // 1_000_000)
    arrays = [
        pa.DictionaryArray.from_arrays(pa.array(batch.tag), pa.array(sorted_names, pa.string())),
        pa.array(batch.source_at).cast(SCHEMA.field("source_at").type),
        pa.array(batch.value, mask=exact),
        pa.array(mantissa, mask=~exact),
        pa.array(decimals, mask=~exact),
        pa.array(batch.status),
        pa.array(ms).cast(SCHEMA.field("known_at").type),
    ]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


class Whole(NamedTuple):
    """Values as decimal numbers: mantissa int64, decimals int8, and where they give back the value bit for bit."""

    mantissa: np.ndarray
    decimals: np.ndarray
    exact: np.ndarray


def whole(tag: np.ndarray, value: np.ndarray) -> Whole:
    """Return values as decimal numbers, the decimals by tag. `tag` is sorted."""
    starts = np.flatnonzero(begins(tag))
    counts = np.diff(np.append(starts, len(tag)))
    found = np.array([_decimals(value[a : a + n]) for a, n in zip(starts, counts, strict=True)], dtype=np.int8)
    decimals = np.repeat(found, counts)
    with np.errstate(invalid="ignore", over="ignore"):
        power = POWERS[np.maximum(decimals, 0)]
        scaled = np.rint(value * power)
        exact = (scaled / power == value) & (np.abs(scaled) < 2.0**53) & (decimals >= 0)
    exact &= ~((value == 0.0) & np.signbit(value))
    return Whole(np.where(exact, scaled, 0.0).astype(np.int64), decimals, exact)


def _decimals(value: np.ndarray) -> int:
    """Return how many decimals the values of a tag have, looking at some of them; -1 if most have no such number."""
    some = value[:: max(1, len(value) // LOOKED_AT)]
    some = some[np.isfinite(some)]
    left, least = some, len(some) // 50  # a few that fit nothing do not count
    if not len(some):
        return -1
    for n in range(MOST_DECIMALS + 1):
        left = left[np.rint(left * POWERS[n]) / POWERS[n] != left]
        if len(left) <= least:
            return n
    return -1


def write(table: pa.Table, about: Mapping[str, str]) -> bytes:
    """Return a Parquet file: row groups of whole tags, page checksums, `about` beside the schema."""
    sink = pa.BufferOutputStream()
    schema = SCHEMA.with_metadata({f"jayul.{key}": text for key, text in about.items()})
    with pq.ParquetWriter(
        sink, schema, compression="zstd", use_dictionary=["tag", "decimals", "status"], column_encoding=PACKED,
        write_page_checksum=True, write_statistics=BOUNDED,
    ) as writer:  # fmt: skip
        tag = table["tag"].chunk(0) if table.num_rows else None
        for a, b in _row_groups(table):
            writer.write_table(_own_names(table.slice(a, b - a), tag, a, b).cast(schema), row_group_size=b - a)
    found: bytes = sink.getvalue().to_pybytes()
    return found


def _own_names(rows: pa.Table, tag: pa.DictionaryArray, a: int, b: int) -> pa.Table:
    """Return rows whose dictionary holds their own names alone: each row group writes it."""
    codes = tag.indices.slice(a, b - a).to_numpy()
    names = tag.dictionary.slice(codes[0], codes[-1] - codes[0] + 1)
    return rows.set_column(0, SCHEMA.field("tag"), pa.DictionaryArray.from_arrays(pa.array(codes - codes[0]), names))


def _row_groups(table: pa.Table) -> list[tuple[int, int]]:
    codes = table["tag"].combine_chunks().indices.to_numpy() if table.num_rows else np.empty(0, dtype=np.int32)
    ends = [*(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]
    cuts = [0]
    for end in ends:
        while end - cuts[-1] >= MOST_ROWS:
            cuts.append(cuts[-1] + MOST_ROWS // 2)
        if end - cuts[-1] >= ROWS:
            cuts.append(end)
    if cuts[-1] < len(codes):
        cuts.append(len(codes))
    return list(itertools.pairwise(cuts))


def values_of(table: pa.Table | pa.RecordBatch) -> np.ndarray:
    """Return the values of rows, float64."""
    mantissa: Any = table["mantissa"].fill_null(0)
    decimals: Any = table["decimals"].fill_null(0)
    plain: np.ndarray = pc.fill_null(table["value"], 0.0).to_numpy()
    exact = pc.is_valid(table["mantissa"]).to_numpy(zero_copy_only=False)
    return np.where(exact, mantissa.to_numpy() / POWERS[decimals.to_numpy()], plain)


def batch_of(table: pa.Table) -> tuple[Batch, list[str]]:
    """Return the samples of rows, and the names of their tags."""
    tag = table["tag"].unify_dictionaries().combine_chunks() if table["tag"].num_chunks != 1 else table["tag"].chunk(0)
    tag = tag.chunk(0) if isinstance(tag, pa.ChunkedArray) else tag
    known_at = table["known_at"].cast(pa.int64()).to_numpy() * MS
    source_at, status = table["source_at"].cast(pa.int64()).to_numpy(), table["status"].to_numpy()
    return Batch(tag.indices.to_numpy(), source_at, values_of(table), status, known_at), tag.dictionary.to_pylist()


def span_of(name: str) -> tuple[int, int]:
    """Return the first and last segment that a file `a-b.parquet`, `_a-b.ledger` or `_a-b.newest` covers."""
    first, last = name.lstrip("_").split(".")[0].split("-")
    return int(first), int(last)


def named(first: int, last: int) -> str:
    """Return the name of the Parquet file of these segments, without its ending."""
    return f"{first:06d}-{last:06d}"
