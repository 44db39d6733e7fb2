"""Parquet and Arrow -> columns in pieces, by their types."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jayul.plant.errors import Refused

ROWS = 65_536


class Columns:
    """A file of typed columns. `names`, `units` (from a field's metadata `unit`), `rows` in all (-1: not known before the end)."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path, self.kind = path, kind
        try:
            schema = pq.read_schema(path) if kind == "parquet" else next(self._opened(schema_only=True))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise Refused(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
        self.names: list[str] = list(schema.names)
        self.types = [schema.field(i).type for i in range(len(self.names))]
        self.units = [
            (schema.field(i).metadata or {}).get(b"unit", b"").decode("utf-8", "replace") for i in range(len(self.names))
        ]

    def _opened(self, *, schema_only: bool = False) -> Iterator[pa.Schema | pa.RecordBatch]:
        """Yield the schema alone, or the batches."""
        if self.kind == "parquet":
            with pq.ParquetFile(self.path) as file:
                yield from file.iter_batches(ROWS)
        elif self.kind == "arrow":
            with pa.OSFile(str(self.path)) as raw, pa.ipc.open_file(raw) as opened:
                if schema_only:
                    yield opened.schema
                    return
                for i in range(opened.num_record_batches):
                    yield opened.get_batch(i)
        else:
            with pa.OSFile(str(self.path)) as raw, pa.ipc.open_stream(raw) as stream:
                if schema_only:
                    yield stream.schema
                    return
                yield from stream

    def batches(self) -> Iterator[list[pa.Array]]:
        """Yield pieces of the file, column by column. Raises Refused."""
        try:
            for batch in self._opened():
                for start in range(0, batch.num_rows, ROWS):
                    yield [_plain(column) for column in batch.slice(start, ROWS).columns]
        except (pa.ArrowException, OSError, ValueError) as error:
            raise Refused(f"{self.path}: cannot be read: {str(error).splitlines()[0]}") from None


def _plain(column: pa.Array) -> pa.Array:
    """Return a column without dictionary, large text as text, decimals as text."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_large_string(kind) or pa.types.is_decimal(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.string())
    if pa.types.is_null(kind):
        return column.cast(pa.string())
    return column
