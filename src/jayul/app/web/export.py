"""Samples as a file that is sent while it is made: CSV and Parquet, every value to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

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


def csv(tables: Iterable[pa.Table]) -> Generator[bytes]:
    """Yield CSV of tables with rows: tag, source_at, value, status, known_at, unit.

    A text that begins like a formula gets a `'` before it.
    """
    sink = Sink()
    with pc_csv.CSVWriter(pa.PythonFile(sink, mode="w"), SCHEMA) as writer:
        for table in tables:
            for i, name in enumerate(table.column_names):
                table = table.set_column(i, name, _harmless(table[name])) if name in ("tag", "unit") else table
            writer.write_table(table.cast(SCHEMA))
            yield sink.take()
    yield sink.take()


def _harmless(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    found = texts.cast(pa.string()).dictionary_encode().unify_dictionaries()
    names = [f"'{text}" if text.startswith(FORMULA) else text for text in found.chunk(0).dictionary.to_pylist()]
    chunks = [pa.DictionaryArray.from_arrays(chunk.indices, pa.array(names, pa.string())) for chunk in found.chunks]
    return pa.chunked_array(chunks).cast(pa.string())


def parquet(tables: Iterable[pa.Table]) -> Generator[bytes]:
    """Yield Parquet of the same columns."""
    sink = Sink()
    with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), SCHEMA, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table.cast(SCHEMA))
            yield sink.take()
    yield sink.take()


WRITERS: dict[str, Callable[[Iterable[pa.Table]], Generator[bytes]]] = {"csv": csv, "parquet": parquet}


class Sent(StreamingResponse):
    """A file that is sent while it is made. If the client goes away, the making ends, and what was open for it is let go."""

    def __init__(self, parts: Generator[bytes], media_type: str, headers: Mapping[str, str]) -> None:
        super().__init__(parts, media_type=media_type, headers=headers)
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._parts.close()
