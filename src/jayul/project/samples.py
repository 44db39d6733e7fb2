"""Samples that lie somewhere: in a run's history, in a file, or in the recording of a project; as one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jayul.core.types import BAD_NO_DATA, TagTable
from jayul.project.problem import N_
from jayul.project.run import refuse
from jayul.record.chain import Broken
from jayul.record.history import Reader

COLUMNS = ("tag", "source_at", "value", "status", "known_at")
TAG, TIME, VALUE, STATUS, KNOWN = COLUMNS


@runtime_checkable
class Recording(Protocol):
    """A plant that can hand out all its rows: times int64 ns [n], values float64 [n, tags]."""

    @property
    def tags(self) -> TagTable: ...
    def rows(self) -> tuple[np.ndarray, np.ndarray]: ...


def recorded(path: Path) -> pa.Table:
    """Read samples (COLUMNS) of a run folder, or of a Parquet or Arrow file. Raises ManifestError."""
    try:
        if path.is_dir():
            return _history(path)
        table = pq.read_table(path) if path.suffix == ".parquet" else pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except FileNotFoundError:
        raise refuse(path, N_("there is no such file or folder")) from None
    except (pa.ArrowException, OSError, Broken) as error:
        raise refuse(path, N_("no samples can be read here: {error}"), error=str(error).splitlines()[0]) from None
    return _columns(path, table)


def _history(path: Path) -> pa.Table:
    folder = path / "history" if (path / "history").is_dir() else path
    table = Reader(folder).samples()
    if not table.num_rows:
        raise refuse(path, N_("holds no samples; name a run folder with a history, or a file"))
    return _columns(path, table)


def _columns(path: Path, table: pa.Table) -> pa.Table:
    for name in (TAG, TIME, VALUE):
        if name not in table.column_names:
            message = N_("has no column '{name}'; there must be tag, source_at, value; there is: {known}")
            raise refuse(path, message, name=name, known=", ".join(table.column_names))
    stamp = pa.timestamp("ns", "UTC")
    status = table[STATUS].cast(pa.uint32()) if STATUS in table.column_names else pa.array(np.zeros(table.num_rows, np.uint32))
    try:
        source = table[TIME].cast(stamp)
        known = table[KNOWN].cast(stamp) if KNOWN in table.column_names else source
        value = table[VALUE].cast(pa.float64()).fill_null(float("nan"))
        return pa.Table.from_arrays([table[TAG].cast(pa.string()), source, value, status, known], names=list(COLUMNS))
    except pa.ArrowException as error:
        raise refuse(path, N_("no samples can be read here: {error}"), error=str(error).splitlines()[0]) from None


def of_recording(recording: Recording) -> pa.Table:
    """Return a recording as samples; what is no number is a bad one, known at its source time."""
    tags, (at, values) = recording.tags, recording.rows()
    n, stamp = len(at), pa.timestamp("ns", "UTC")
    flat = values.T.reshape(-1)
    times = pa.array(np.tile(at, len(tags.names))).cast(stamp)
    status = np.where(np.isfinite(flat), 0, BAD_NO_DATA).astype(np.uint32)
    names = pa.DictionaryArray.from_arrays(np.repeat(np.arange(len(tags.names), dtype=np.int32), n), pa.array(tags.names))
    return pa.Table.from_arrays([names.cast(pa.string()), times, pa.array(flat), pa.array(status), times], names=list(COLUMNS))


def joined(paths: Sequence[Path]) -> pa.Table:
    """Put the samples of several places together. Raises ManifestError."""
    return pa.concat_tables([recorded(path) for path in paths])
