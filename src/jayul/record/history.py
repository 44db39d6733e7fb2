"""The history: every sample of every tag in Parquet, readable as it is by DuckDB, polars, pandas.

For now it is written from frames, one row a tag and tick: tag, source_at, seen_at (UTC ns), value, status (OPC UA code), tick.
Files are put in place whole; the one in work is lost with the process and filled again from the journal at the next start.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jayul.core.types import Decision, Frame, Outcome
from jayul.record.files import sync_folder

TICKS_A_FILE = 4096


class History:
    """Collects frames and writes a file every 4096 ticks. Ticks that are already in a file are passed over."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for part in folder.glob("*.tmp"):
            part.unlink()
        names = sorted(path.stem for path in folder.glob("*.parquet"))
        self._next = int(names[-1].split("-")[1]) + 1 if names else 0
        self._ticks: list[int] = []
        self._frames: list[Frame] = []

    def add(self, frame: Frame, decision: Decision, outcome: Outcome) -> None:  # noqa: ARG002 - the shape of `run`'s watcher
        """Take one finished tick."""
        if decision.tick < self._next:
            return
        if self._frames and frame.table is not self._frames[0].table:
            self.flush()  # after a restart a real plant's past comes from the journal, with the named tags alone
        self._ticks.append(decision.tick)
        self._frames.append(frame)
        if len(self._frames) >= TICKS_A_FILE:
            self.flush()

    def flush(self) -> None:
        """Write what was collected as one file."""
        if not self._frames:
            return
        names = self._frames[0].table.names
        ticks, first, last = len(self._frames), self._ticks[0], self._ticks[-1]
        codes = pa.array(np.tile(np.arange(len(names), dtype=np.int32), ticks))
        table = pa.table(
            {
                "tag": pa.DictionaryArray.from_arrays(codes, pa.array(names)),
                "source_at": pa.array(np.concatenate([f.source_at for f in self._frames])).cast(pa.timestamp("ns", "UTC")),
                "seen_at": pa.array(np.concatenate([f.seen_at for f in self._frames])).cast(pa.timestamp("ns", "UTC")),
                "value": pa.array(np.concatenate([f.value for f in self._frames])),
                "status": pa.array(np.concatenate([f.status for f in self._frames])),
                "tick": pa.array(np.repeat(np.array(self._ticks, dtype=np.int64), len(names))),
            }
        )
        path = self._folder / f"{first:010d}-{last:010d}.parquet"
        part = path.with_suffix(".tmp")
        with part.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_folder(self._folder)
        self._next = last + 1
        self._ticks, self._frames = [], []
