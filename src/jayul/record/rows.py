"""Rows of a claim as one Parquet file: time (int64 ns UTC) and one float64 column a tag, NaN where a value was not good."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TIME = "time"


def as_parquet(at: np.ndarray, names: Sequence[str], values: np.ndarray) -> bytes:
    """Write times (int64 [n]) and values (float64 [n, tags]). The same rows give the same bytes with the same pyarrow."""
    columns = [pa.array(at, pa.timestamp("ns", "UTC")), *(pa.array(column) for column in values.T)]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays(columns, names=[TIME, *names]), sink, compression="zstd", store_schema=True)
    found: bytes = sink.getvalue().to_pybytes()
    return found


def from_parquet(data: bytes) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """Return times, names and values. Raises ValueError if the file does not hold such rows."""
    try:
        table = pq.ParquetFile(pa.BufferReader(data)).read()
        at = table.column(0).cast(pa.int64()).to_numpy()
        values = [np.asarray(column.to_numpy(), dtype=np.float64) for column in table.columns[1:]]
    except (pa.ArrowException, OSError, IndexError) as error:
        raise ValueError(f"no rows can be read: {error}") from error
    return at, tuple(table.column_names[1:]), np.column_stack(values) if values else np.empty((len(at), 0))
