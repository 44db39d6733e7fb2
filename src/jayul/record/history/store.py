"""The writing side of a history: hot segments, and Parquet made of them in the background.

    append -> group (at most 200 ms) -> one record, one fsync -> acknowledged
    a segment is full -> the next one; enough segments -> Parquet, durable, in place -> the segments are taken away

`known_at` of all samples of one `append` is one instant, rounded up to a whole millisecond and never earlier than one before: what
is asked as known at t never holds a sample that was not there at t.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, wait
from pathlib import Path

import msgspec
import numpy as np

from jayul.core.clock import monotonic
from jayul.core.types import SECOND
from jayul.record.batch import Batch, Count, join
from jayul.record.chain import Broken, pack
from jayul.record.files import Files, Handle, OsFiles
from jayul.record.history import hot
from jayul.record.history.catalogue import Catalogue
from jayul.record.history.seal import in_order, newest_of, read_segment, tidy
from jayul.record.history.upkeep import Done, Policy, newest_sealed, words, work
from jayul.record.sign import Signer

GROUP_SECONDS = 0.2
GROUP_VALUES = 500_000
SEGMENT_BYTES = 16 << 20
VALUES = 1_000_000  # a Parquet file holds about so many, and at least SPAN
MOST_VALUES = 8_000_000  # when there are so many in hot segments they are sealed, however short the time; so many at once
WAITING = 2 * MOST_VALUES  # when so many wait to be sealed, what comes waits for the sealing, as long as it has patience
SPAN = 3600 * SECOND
AGAIN_SECONDS = 30.0  # after a sealing that failed the next one waits so long
MS = 1_000_000


class _Hot(msgspec.Struct):
    """A segment that is not in Parquet yet: its number, and what it holds."""

    number: int
    values: int = 0
    first: int = 0  # known_at, ns
    last: int = 0

    def note(self, batch: Batch) -> None:
        if len(batch.tag):
            self.values += len(batch.tag)
            self.first, self.last = self.first or int(batch.known_at[0]), int(batch.known_at[-1])


class History:
    """Takes samples in. One process writes a folder (the run's lock sees to that); any number read it.

    `names`: what the positions in batches stand for. `acknowledge(cursor)` is called when everything up to a cursor is on disk.
    `aside` seals in the background; without it `commit` does. `cursor`, `known_at`, `newest` (a table) say where an earlier start
    stopped; `trouble` is what went wrong last, in words, empty when all is well. `policy`: what is merged and how long it is kept.
    `patience`: s that a commit waits at most for a sealing that lags far behind (None: until it is done).
    Raises Broken if a segment is not what was written.
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
        policy: Policy | None = None,
        patience: float | None = None,
    ) -> None:
        self.files: Files = OsFiles(files) if isinstance(files, Path) else files
        self.names, self.policy = tuple(names), policy or Policy()
        self._acknowledge, self._aside, self._now = acknowledge, aside, now
        self._segment_bytes, self._values, self._span, self._patience = segment_bytes, values, span, patience
        self._pending: list[Batch] = []
        self._counts: dict[tuple[int, int, str], int] = {}
        self._waiting = -1  # the cursor of what is pending
        self._file: Handle | None = None
        self._size, self._committed_at, self._seal_after = 0, now() - GROUP_SECONDS, float("-inf")
        self._dirty = False
        self._not_written = self._not_sealed = ""
        self._full, self._sealing = list[_Hot](), list[_Hot]()  # segments that are over, and those being sealed
        self._open: _Hot | None = None
        self._job: Future[Done] | None = None
        self._catalogue = Catalogue(self.files)
        self._recover()

    def _recover(self) -> None:
        """Clear away what a crash left half done, and read the segments that are not sealed."""
        found = tidy(self.files, self._catalogue)
        self.cursor, self.known_at, self._digest, self._next = found.cursor, found.known_at, found.digest, found.segment + 1
        segments, names = [], sorted(name for name in self.files.names() if hot.OWN.fullmatch(name))
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
            self._full.append(_Hot(self._next))
            self._full[-1].note(segment.batch)
            self.known_at = max(self.known_at, self._full[-1].last)
            self._next += 1
        self._sealed_newest = newest_sealed(self.files)
        self.newest = newest_of([in_order(segment) for segment in segments], self._sealed_newest)

    def append(self, batch: Batch, counts: Sequence[Count] = (), *, known_at: int | None = None, cursor: int = -1) -> None:
        """Take samples in, with what the ledger counted; `cursor`: how far the writer has come.

        All are known at `known_at` (ns UTC); without it each at its own time, which must not fall from one to the next.

        They are on disk when the cursor is acknowledged: at once if the last group is 200 ms old, else with the next one. Raises
        OSError (a full disk, for one): then they stay in memory, nothing is acknowledged, and the next `commit` tries again.
        """
        known = batch.known_at if known_at is None else np.full(len(batch.tag), known_at, dtype=np.int64)
        known = np.maximum.accumulate(np.maximum(-(-known // MS) * MS, self.known_at))
        if len(batch.tag):
            self._pending.append(batch._replace(known_at=known))
            self.known_at = int(known[-1])
        for tag, hour, what, n in counts:
            self._counts[tag, hour, what] = self._counts.get((tag, hour, what), 0) + n
        self._waiting = max(cursor, self._waiting)
        full = self.pending >= GROUP_VALUES and not self._not_written
        if full or self._now() - self._committed_at >= GROUP_SECONDS:
            self.commit()

    @property
    def pending(self) -> int:
        """How many samples are not on disk yet."""
        return sum(len(batch.tag) for batch in self._pending)

    @property
    def waits(self) -> bool:
        """Whether anything that was taken in is not acknowledged yet."""
        return bool(self._pending or self._counts or self._waiting > self.cursor)

    @property
    def trouble(self) -> str:
        """What went wrong last and has not gone well since; empty when all is well."""
        return self._not_written or self._not_sealed

    def commit(self) -> None:
        """Return when everything taken in is on disk, and acknowledge it. Raises OSError."""
        self._committed_at = self._now()
        if self.waits:
            try:
                self._write(join(self._pending))
            except OSError as error:
                self._not_written = f"{self.pending} samples wait to be written: {error}"
                raise
            self._pending, self._counts = [], {}
            self.cursor, self._not_written = max(self.cursor, self._waiting), ""
            self._acknowledge(self.cursor)
        if self._size >= self._segment_bytes:
            self._rotate()
        job, behind = self._job, sum(each.values for each in self._full)
        if job is not None and behind >= WAITING and wait([job], self._patience).done:
            self._settle()  # where a loop must tick nobody waits longer: segments pile up on disk until it is done
        if self._due() and self._now() >= self._seal_after:
            self.seal()

    def _write(self, batch: Batch) -> None:
        """Write one group as one record. After a failure the file is cut back to what was synced."""
        data, digest, fresh = b"", self._digest, self._file is None
        if fresh:
            data, digest = pack(digest, hot.encode(hot.Opening(self._next, self.names, digest)))
        counts = [Count(*key, n) for key, n in self._counts.items()]
        record, digest = pack(digest, hot.encode(hot.group(batch, counts, max(self.cursor, self._waiting))))
        data += record
        file = self._file or self.files.append(hot.name_of(self._next))
        try:
            if file.size() if fresh else self._dirty:  # what a failed write or sync left behind is unknown
                file.truncate(0 if fresh else self._size)
            self._dirty = True
            file.write(data)
            file.sync()
            if fresh:
                self.files.sync_folder()
        except OSError:
            if fresh:
                file.close()
            raise
        self._dirty = False
        if fresh:
            self._file, self._size, self._open = file, 0, _Hot(self._next)
            self._next += 1
        self._digest, self._size = digest, self._size + len(data)
        if self._open is not None:
            self._open.note(batch)

    def _rotate(self) -> None:
        if self._file is not None and self._open is not None:
            self._file.close()
            self._full.append(self._open)
            self._file, self._size, self._open = None, 0, None

    def _due(self) -> bool:
        here = [each for each in (*self._full, *([self._open] if self._open else [])) if each.values]
        values = sum(each.values for each in here)
        return values >= MOST_VALUES or (values >= self._values and here[-1].last - here[0].first >= self._span)

    def seal(self) -> None:
        """Turn hot segments into Parquet, in the background if there is one and it is free. Trouble leaves them as they are."""
        if self._job is not None and not self._job.done():
            return
        self._settle()
        self._rotate()
        if not self._full:
            return
        total = itertools.accumulate(each.values for each in self._full)
        n = next((i for i, values in enumerate(total, 1) if values >= MOST_VALUES), len(self._full))
        self._sealing, self._full = self._full[:n], self._full[n:]
        job = (
            self.files,
            self._catalogue,
            [each.number for each in self._sealing],
            self._sealed_newest,
            self.policy,
            self.known_at,
        )
        self._job = Future()
        try:
            if self._aside:
                self._job = self._aside.submit(work, *job)
                return
            self._job.set_result(work(*job))
        except Exception as error:  # noqa: BLE001 - whatever it is: the segments are kept, and it is told when the job is settled
            self._job.set_exception(error)
        self._settle()

    def _settle(self) -> None:
        """Take in what came of the last sealing, waiting for it; what could not be sealed is tried again with what came since."""
        job, self._job = self._job, None
        if job is None:
            return
        try:
            self._sealed_newest, self._not_sealed = job.result()
        except Exception as error:  # noqa: BLE001 - out of memory, say: sealing must not stop for good because it failed once
            self._not_sealed, self._seal_after = words(error), self._now() + AGAIN_SECONDS
            self._full = [*self._sealing, *self._full]

    def close(self, signer: Signer | None = None) -> None:
        """Commit, seal everything, have the run's key vouch for it, and let go.

        Raises OSError if the last samples could not be written; they are then lost, and the message says how many.
        """
        try:
            self.commit()
        except OSError as error:
            raise OSError(
                error.errno, f"{self.pending} samples could not be written and are lost: {error.strerror or error}"
            ) from error
        finally:
            self._settle()
            self._rotate()
            while self._full and (left := len(self._full)):
                self.seal()
                self._settle()
                if len(self._full) == left:  # in vain
                    break
            if signer is not None:
                self._sign(signer)

    def _sign(self, signer: Signer) -> None:
        try:
            self._catalogue.sign(signer, self._next - 1, self._digest)
        except OSError as error:
            self._not_sealed = self._not_sealed or str(error)
