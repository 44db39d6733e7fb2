"""The end of a history as it grows: what became known since the last look, once for all who follow it."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from jayul.record.files import OsFiles
from jayul.record.history import Reader
from jayul.record.sign import new_id

MS = 1_000_000
KEY = [("tag", np.int64), ("at", np.int64), ("value", np.int64), ("status", np.int64)]
MOST = 2_000_000  # samples that are kept for those who come back


class Cursor(NamedTuple):
    """How far somebody who follows has come: up to batch `number` of the tail `token`, to what was known at `known` (ms)."""

    known: int
    number: int
    token: str

    def __str__(self) -> str:
        return f"{self.known}.{self.number}.{self.token}"

    @staticmethod
    def of(text: str) -> Cursor:
        """Read what `str` wrote; a time alone (ms) is that of nobody's tail. Raises ValueError."""
        known, number, token = (*text.split(".", 2), "0", "")[:3]
        return Cursor(int(known), int(number), token)


class News(NamedTuple):
    """One batch: samples that became known from `since` to `known` (ms), sorted by tag and time; none is in an earlier one."""

    number: int
    since: int
    known: int
    tags: list[str]
    code: np.ndarray
    at: np.ndarray
    value: np.ndarray
    status: np.ndarray
    known_at: np.ndarray

    def of(self, tags: Collection[str], since: int | None = None) -> dict[str, tuple[list[int], list[float], list[int]]]:
        """Return times (ns), values and statuses by tag, of what became known at `since` (ms) or later."""
        late, found = self.known_at >= (self.since if since is None else since), {}
        for i, name in enumerate(self.tags):
            if name in tags and (rows := late & (self.code == i)).any():
                found[name] = self.at[rows].tolist(), self.value[rows].tolist(), self.status[rows].tolist()
        return found


class Tail:
    """Follows a history folder from `begin` (ns, as known) on, in numbered batches. Threads may share it.

    Several commits may have become known within one millisecond: each look reads the newest one again, and leaves out what is
    in a batch already.
    """

    def __init__(self, folder: Path, begin: int) -> None:
        self._files = OsFiles(folder, create=False)
        self._reader, self._lock = Reader(self._files), threading.Lock()
        self._signature: list[tuple[str, int]] = []
        self._token, self._number, self._known = new_id(), 0, begin // MS
        self._first, self._oldest = 1, begin // MS  # number of the first batch that is kept; all known from then on is kept
        self._news: deque[News] = deque()
        self._places: dict[str, int] = {}
        self._given = np.empty(0, dtype=KEY)  # what is in a batch of the newest millisecond

    @property
    def cursor(self) -> Cursor:
        """How far it has come."""
        with self._lock:
            return self._cursor(self._known, self._number)

    def _cursor(self, known: int, number: int) -> Cursor:
        return Cursor(known, number, self._token)

    def after(self, news: News) -> Cursor:
        """Return the cursor of who has a batch, and all before it."""
        return self._cursor(news.known, news.number)

    def read(self) -> bool:
        """Look for more, and say whether there was. Raises Broken, OSError."""
        with self._lock:
            signature = self._look()
            if signature == self._signature:
                return False
            rows = self._reader.news(self._known * MS - 1)
            self._signature = signature
            return bool(rows.num_rows) and self._add(rows)

    def _look(self) -> list[tuple[str, int]]:
        """Return what would differ if there was more."""
        found = []
        for name in self._files.names():
            if name.endswith((".parquet", ".hot")):
                with contextlib.suppress(FileNotFoundError):  # sealed in this moment
                    found.append((name, (self._files.folder / name).stat().st_size))
        return found

    def _add(self, rows: pa.Table) -> bool:
        column = rows["tag"].unify_dictionaries().combine_chunks()
        column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
        tags, code = column.dictionary.to_pylist(), column.indices.to_numpy()
        known_at = rows["known_at"].cast(pa.int64()).to_numpy()
        at, value, status = rows["source_at"].cast(pa.int64()).to_numpy(), rows["value"].to_numpy(), rows["status"].to_numpy()
        keys, last = self._keys(tags, code, at, value, status), int(known_at.max())
        fresh = (known_at > self._known) | ~np.isin(keys, self._given)
        self._given = keys[known_at == last]
        if not fresh.any():
            return False
        self._number += 1
        columns = (column[fresh] for column in (code, at, value, status, known_at))
        self._news.append(News(self._number, self._known, last, tags, *columns))
        self._known = last
        while len(self._news) > 1 and sum(len(news.at) for news in self._news) > MOST:
            gone = self._news.popleft()
            self._first, self._oldest = gone.number + 1, gone.known + 1
        return True

    def since(self, cursor: Cursor) -> list[tuple[News, int | None]] | None:
        """Return the batches after a cursor, oldest first, each with the time (ms) from which on it is asked for (None: whole).

        Of a cursor of another tail (that of a server before this one) the time counts, and what was known at it is told again.
        None if something that is asked for is no longer kept.
        """
        with self._lock:
            if cursor.token == self._token:
                kept = self._first <= cursor.number + 1 <= self._number + 1
                return [(news, None) for news in self._news if news.number > cursor.number] if kept else None
            if cursor.known < self._oldest:
                return None
            return [(news, cursor.known) for news in self._news if news.known >= cursor.known]

    def _keys(self, tags: Sequence[str], *columns: np.ndarray) -> np.ndarray:
        """Return one comparable key for each sample: tag, time, the bits of its value, status."""
        code, at, value, status = columns
        found = np.empty(len(at), dtype=KEY)
        places = np.array([self._places.setdefault(name, len(self._places)) for name in tags], dtype=np.int64)
        found["tag"], found["at"], found["value"], found["status"] = places[code], at, value.view(np.int64), status
        return found
