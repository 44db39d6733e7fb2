"""The end of a history as it grows: what became known since the last look, once for all who follow it."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from jayul.record.files import OsFiles
from jayul.record.history import Reader

MS = 1_000_000
MOST = 2_000_000  # samples that are kept for those who come back


class News(NamedTuple):
    """Samples that became known after `since` and not later than `known` (ms), sorted by tag and time."""

    since: int
    known: int
    tags: list[str]
    code: np.ndarray
    at: np.ndarray
    value: np.ndarray
    status: np.ndarray
    known_at: np.ndarray

    def of(self, tags: Collection[str], since: int) -> dict[str, tuple[list[int], list[float], list[int]]]:
        """Return times (ns), values and statuses by tag, of what became known after `since` (ms)."""
        late, found = self.known_at > since, {}
        for i, name in enumerate(self.tags):
            if name in tags and (rows := late & (self.code == i)).any():
                found[name] = self.at[rows].tolist(), self.value[rows].tolist(), self.status[rows].tolist()
        return found


class Tail:
    """Follows a history folder from `begin` (ns, as known) on. `known` (ms) says how far it has come. Threads may share it."""

    def __init__(self, folder: Path, begin: int) -> None:
        self._files = OsFiles(folder, create=False)
        self._reader, self._lock = Reader(self._files), threading.Lock()
        self._signature: list[tuple[str, int]] = []
        self.known = self.oldest = begin // MS
        self._news: deque[News] = deque()

    def read(self) -> bool:
        """Look for more, and say whether there was. Raises Broken, OSError."""
        with self._lock:
            signature = self._look()
            if signature == self._signature:
                return False
            rows = self._reader.news(self.known * MS)
            self._signature = signature
            if not rows.num_rows:
                return False
            self._add(rows)
            return True

    def _look(self) -> list[tuple[str, int]]:
        """Return what would differ if there was more."""
        found = []
        for name in self._files.names():
            if name.endswith((".parquet", ".hot")):
                with contextlib.suppress(FileNotFoundError):  # sealed in this moment
                    found.append((name, (self._files.folder / name).stat().st_size))
        return found

    def _add(self, rows: pa.Table) -> None:
        column = rows["tag"].unify_dictionaries().combine_chunks()
        column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
        known_at = rows["known_at"].cast(pa.int64()).to_numpy()
        at, value, status = (rows[name] for name in ("source_at", "value", "status"))
        self._news.append(
            News(
                self.known, int(known_at.max()), column.dictionary.to_pylist(), column.indices.to_numpy(),
                at.cast(pa.int64()).to_numpy(), value.to_numpy(), status.to_numpy(), known_at,
            )
        )  # fmt: skip
        self.known = int(known_at.max())
        while len(self._news) > 1 and sum(len(news.at) for news in self._news) > MOST:
            self.oldest = self._news.popleft().known

    def since(self, known: int) -> list[News] | None:
        """Return what became known after a time (ms), oldest first; None if that is no longer kept."""
        with self._lock:
            return None if known < self.oldest else [news for news in self._news if news.known > known]
