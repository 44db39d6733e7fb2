"""The writing side of a history: hot segments, and Parquet made of them in the background.

    append -> group (at most 200 ms) -> one record, one fsync -> acknowledged
    a segment is full -> the next one; enough segments -> Parquet, durable, in place -> the segments are taken away

`known_at` of all samples of one `append` is one instant, rounded up to a whole millisecond and never earlier than one before: what
is asked as known at t never holds a sample that was not there at t.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa

from jayul.core.clock import monotonic
from jayul.core.types import SECOND
from jayul.record.batch import Batch, Count, join
from jayul.record.chain import Broken, pack
from jayul.record.files import Files, Handle, OsFiles
from jayul.record.history import hot
from jayul.record.history.seal import newest_of, read_segment, seal, tidy

GROUP_SECONDS = 0.2
GROUP_VALUES = 500_000
SEGMENT_BYTES = 16 << 20
VALUES = 1_000_000  # a Parquet file holds about so many, and at least SPAN
MOST_VALUES = 8_000_000  # more than so many are not kept in hot segments, however short the time
SPAN = 3600 * SECOND
MS = 1_000_000


class _Hot(msgspec.Struct):
    """What the segments that are not in Parquet yet hold."""

    numbers: list[int] = []
    values: int = 0
    first: int = 0  # known_at, ns
    last: int = 0


class History:
    """Takes samples in. One process writes a folder (the run's lock sees to that); any number read it.

    `names`: what the positions in batches stand for. `acknowledge(cursor)` is called when everything up to a cursor is on disk.
    `aside` seals in the background; without it `commit` does. `cursor`, `known_at`, `newest` (a table) say where an earlier start
    stopped; `trouble` is the last error in words, empty when all is well. Raises Broken if a segment is not what was written.
    """

    def __init__(
        self,
        files: Files | Path,
        names: Sequence[str],
        *,
        acknowledge: Callable[[int], None] = lambda cursor: None,
        aside: Executor | None = None,
        now: Callable[[], float] = monotonic,
        segment_bytes: int = SEGMENT_BYTES,
        values: int = VALUES,
        span: int = SPAN,
    ) -> None:
        self.files: Files = OsFiles(files) if isinstance(files, Path) else files
        self.names, self.trouble = tuple(names), ""
        self._acknowledge, self._aside, self._now = acknowledge, aside, now
        self._segment_bytes, self._values, self._span = segment_bytes, values, span
        self._pending: list[Batch] = []
        self._counts: list[Count] = []
        self._waiting = -1  # the cursor of what is pending
        self._file: Handle | None = None
        self._size, self._committed_at = 0, now() - GROUP_SECONDS
        self._dirty = False
        self._full, self._open, self._sealing = _Hot([]), _Hot([]), _Hot([])  # segments that are over, in work, being sealed
        self._job: Future[pa.Table] | None = None
        self._recover()

    def _recover(self) -> None:
        """Clear away what a crash left half done, and read the segments that are not sealed."""
        found = tidy(self.files)
        self.cursor, self.known_at, self._digest, self._next = found.cursor, found.known_at, found.digest, found.segment + 1
        segments, names = [], sorted(name for name in self.files.names() if name.endswith(".hot"))
        for name in names:
            data = self.files.read(name)
            segment = read_segment(name, data)
            if segment is None and name == names[-1]:  # its first record was being written when the power went
                self.files.remove(name)
                break
            if segment is None or (segment.end < len(data) and name != names[-1]):
                raise Broken(segment.end if segment else 0, f"{name} ends inside a record")
            if hot.number_of(name) != self._next or segment.before != self._digest:
                raise Broken(0, f"{name} does not follow what is there before it")
            if segment.end < len(data):
                handle = self.files.append(name)
                handle.truncate(segment.end)
                handle.close()
            segments.append(segment)
            self.cursor, self._digest = max(self.cursor, segment.cursor), segment.digest
            self._note(self._full, segment.batch)
            self._full.numbers.append(self._next)
            self._next += 1
        self.known_at = max(self.known_at, self._full.last)
        self._sealed_newest = found.newest
        self.newest = newest_of(segments, found.newest)

    @staticmethod
    def _note(where: _Hot, batch: Batch) -> None:
        if len(batch.tag):
            where.values += len(batch.tag)
            where.first, where.last = where.first or int(batch.known_at[0]), int(batch.known_at[-1])

    def append(self, batch: Batch, counts: Sequence[Count] = (), *, known_at: int, cursor: int = -1) -> None:
        """Take samples in, known at `known_at` (ns UTC), with what the ledger counted; `cursor`: how far the writer has come.

        They are on disk when the cursor is acknowledged: at once if the last group is 200 ms old, else with the next one. Raises
        OSError (a full disk, for one): then they stay in memory, nothing is acknowledged, and the next `commit` tries again.
        """
        self.known_at = max(-(-known_at // MS) * MS, self.known_at)
        if len(batch.tag):
            self._pending.append(batch._replace(known_at=np.full(len(batch.tag), self.known_at, dtype=np.int64)))
        self._counts.extend(counts)
        self._waiting = max(cursor, self._waiting)
        if self._now() - self._committed_at >= GROUP_SECONDS or self.pending >= GROUP_VALUES:
            self.commit()

    @property
    def pending(self) -> int:
        """How many samples are not on disk yet."""
        return sum(len(batch.tag) for batch in self._pending)

    def commit(self) -> None:
        """Return when everything taken in is on disk, and acknowledge it. Raises OSError."""
        self._committed_at = self._now()
        if self._pending or self._counts or self._waiting > self.cursor:
            try:
                self._write(join(self._pending))
            except OSError as error:
                self.trouble = str(error)
                raise
            self._pending, self._counts = [], []
            self.cursor, self.trouble = max(self.cursor, self._waiting), ""
            self._acknowledge(self.cursor)
        if self._size >= self._segment_bytes:
            self._rotate()
        if self._due():
            self.seal()

    def _write(self, batch: Batch) -> None:
        """Write one group as one record. After a failure the file is cut back to what was synced."""
        data, digest, fresh = b"", self._digest, self._file is None
        if self._file is None:
            self._file, self._size = self.files.append(hot.name_of(self._next)), 0
            data, digest = pack(digest, hot.encode(hot.Opening(self._next, self.names, digest)))
        record, digest = pack(digest, hot.encode(hot.group(batch, self._counts, max(self.cursor, self._waiting))))
        data += record
        if self._dirty:  # what a failed write or sync left behind is unknown
            self._file.truncate(self._size)
        self._dirty = True
        try:
            self._file.write(data)
            self._file.sync()
            if fresh:
                self.files.sync_folder()
        except OSError:
            if fresh:
                self._file.close()
                self._file = None
            raise
        self._dirty = False
        if fresh:
            self._open = _Hot([self._next])
            self._next += 1
        self._digest, self._size = digest, self._size + len(data)
        self._note(self._open, batch)

    def _rotate(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file, self._size = None, 0
            self._full, self._open = _added(self._full, self._open), _Hot([])

    def _due(self) -> bool:
        here = _added(self._full, self._open)
        return here.values >= MOST_VALUES or (here.values >= self._values and here.last - here.first >= self._span)

    def seal(self) -> None:
        """Turn the hot segments into Parquet, in the background if there is one and it is free. Trouble leaves them as they are."""
        if self._job is not None and not self._job.done():
            return
        self._settle()
        self._rotate()
        if not self._full.numbers:
            return
        self._sealing, self._full = self._full, _Hot([])
        if self._aside:
            self._job = self._aside.submit(seal, self.files, self._sealing.numbers, self._sealed_newest)
            return
        self._job = Future()
        try:
            self._job.set_result(seal(self.files, self._sealing.numbers, self._sealed_newest))
        except (OSError, Broken) as error:
            self._job.set_exception(error)
        self._settle()

    def _settle(self) -> None:
        """Take in what came of the last sealing, waiting for it; what could not be sealed is tried again with what came since."""
        if self._job is None:
            return
        try:
            self._sealed_newest = self._job.result()
        except (OSError, Broken) as error:
            self.trouble = str(error)
            self._full = _added(self._sealing, self._full)
        self._job = None

    def close(self) -> None:
        """Commit, seal everything, and let go. Raises OSError if the last samples could not be written; they are then lost."""
        try:
            self.commit()
        finally:
            self._settle()
            self.seal()
            self._settle()
            self._rotate()


def _added(first: _Hot, then: _Hot) -> _Hot:
    return _Hot(first.numbers + then.numbers, first.values + then.values, first.first or then.first, then.last or first.last)
