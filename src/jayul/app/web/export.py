"""Samples as a file that is sent while it is made: CSV and Parquet, every value to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq

from jayul.record.history.read import SAMPLES

SCHEMA = pa.schema([("tag", pa.string()), *list(SAMPLES)[1:], ("unit", pa.string())])
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would take for a formula


class Sink:
    """Takes bytes in, and gives away what came since the last time."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._told = 0

    def write(self, data: Any) -> int:
        """Take bytes."""
        self._parts.append(bytes(data))
        self._told += len(self._parts[-1])
        return len(self._parts[-1])

    def tell(self) -> int:
        """Say how many came in all."""
        return self._told

    def flush(self) -> None:
        """Nothing is kept back."""

    def close(self) -> None:
        """Nothing is held."""

    def readable(self) -> bool:
        """Say that nothing can be read."""
        return False

    def writable(self) -> bool:
        """Say that it takes bytes."""
        return True

    def seekable(self) -> bool:
        """Say that what was written stays."""
        return False

    def take(self) -> bytes:
        """Return what came since the last time."""
        data, self._parts = b"".join(self._parts), []
        return data


def csv(tables: Iterable[pa.Table]) -> Iterator[bytes]:
    """Yield CSV: tag, source_at, value, status, known_at, unit. A text that begins like a formula gets a `'` before it."""
    sink = Sink()
    with pc_csv.CSVWriter(pa.PythonFile(sink, mode="w"), SCHEMA) as writer:
        for table in tables:
            names = [_harmless(name) for name in table["tag"].to_pylist()]
            units = [_harmless(unit) for unit in table["unit"].to_pylist()]
            table = table.set_column(0, "tag", pa.array(names, pa.string())).set_column(5, "unit", pa.array(units, pa.string()))
            writer.write_table(table.cast(SCHEMA))
            yield sink.take()
    yield sink.take()


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text


def parquet(tables: Iterable[pa.Table]) -> Iterator[bytes]:
    """Yield Parquet of the same columns."""
    sink = Sink()
    with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), SCHEMA, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table.cast(SCHEMA))
            yield sink.take()
    yield sink.take()


WRITERS: dict[str, Callable[[Iterable[pa.Table]], Iterator[bytes]]] = {"csv": csv, "parquet": parquet}
