"""The reading side of a history: samples as they were known at a time, and what the ledger counted, also beside the writer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from jayul.core.types import SECOND
from jayul.record.files import Files, OsFiles
from jayul.record.history import downsample, seal
from jayul.record.history.cold import MS
from jayul.record.history.folder import ALWAYS, Folder, Part, Wanted, together

SAMPLES = pa.schema(
    [
        ("tag", pa.dictionary(pa.int32(), pa.string())),
        ("source_at", pa.timestamp("ns", "UTC")),
        ("value", pa.float64()),
        ("status", pa.uint32()),
        ("known_at", pa.timestamp("ms", "UTC")),
    ]
)
HOUR, DAY = 3600 * SECOND, 86_400 * SECOND
T = TypeVar("T")


class Reader:
    """Reads a history, closed or being written. Files are opened once and kept; threads may share it. Raises Broken, OSError."""

    def __init__(self, files: Files | Path) -> None:
        self.files: Files = OsFiles(files, create=False) if isinstance(files, Path) else files
        self._folder, self._lock = Folder(self.files), threading.RLock()

    def samples(
        self,
        tags: Collection[str] | None = None,
        start: int | None = None,
        end: int | None = None,
        known_at: int | None = None,
        *,
        versions: bool = False,
    ) -> pa.Table:
        """Return samples with start <= source time < end (ns UTC), sorted by tag and time, as they were known at `known_at`.

        Of samples of one tag and time the one known last is returned, or with `versions` all of them. Columns: SAMPLES.
        """
        wanted = _wanted(tags, start, end, known_at)
        return _table(together(self._settled(lambda: self._parts(wanted)), versions=versions))

    def news(self, after: int) -> pa.Table:
        """Return the samples, of whatever source time, that became known after a time (ns). Columns: SAMPLES."""
        wanted = _wanted(None, None, None, None)._replace(after=after)
        return _table(together(self._settled(lambda: self._parts(wanted)), versions=False))

    def downsample(
        self,
        tags: Collection[str] | None = None,
        start: int | None = None,
        end: int | None = None,
        *,
        step: int | None = None,
        buckets: int | None = None,
        known_at: int | None = None,
    ) -> pa.Table:
        """Summarise samples by buckets of `step` ns, or by at most `buckets` buckets of a round length. Columns: SUMMARIES.

        Buckets begin at multiples of their length since 1970. With `step` exactly start <= source time < end counts, with `buckets`
        the range is widened to whole buckets. Good samples count; `bad` are those whose status is not good or whose value is not
        finite. Of a bucket without a good sample the values are NaN; one without any sample is left out. Equal to what the samples
        themselves give, but for the rounding of `mean`; where samples were retired, what they gave then. Raises ValueError.
        """
        if (step is None) == (buckets is None) or (step or buckets or 0) < 1:
            raise ValueError("give either 'step' or 'buckets', at least 1")
        wanted = _wanted(tags, start, end, known_at)
        return self._settled(lambda: downsample.downsample(self._folder, wanted, step, buckets))

    def last_before(self, tags: Collection[str], before: int, known_at: int | None = None) -> pa.Table:
        """Return of each tag its newest sample with source time < before (ns), as known at `known_at`. Columns: SAMPLES.

        A tag without any is left out. Found by summaries of hours, then of days, further and further back; of its samples one hour
        of each tag is read.
        """
        left, found = list(dict.fromkeys(tags)), [SAMPLES.empty_table()]
        begin, end = self.bounds() or (before, before)
        high, span, step = min(before, end + 1), 2 * DAY, HOUR
        while left and high > begin:
            low = max(high - span, begin) // DAY * DAY
            for tag, start in self._newest(left, low, high, step, known_at).items():
                hours = [start] if step == HOUR else self._newest([tag], start, start + DAY, HOUR, known_at).values()
                for hour in hours:  # none, or no rows: its samples were retired
                    rows = self.samples([tag], hour, min(hour + HOUR, high), known_at)
                    found += [rows.slice(rows.num_rows - 1)] if rows.num_rows else []
                left.remove(tag)
            high, span, step = low, 8 * span, DAY
        return pa.concat_tables(found).unify_dictionaries()

    def _newest(self, tags: Sequence[str], low: int, high: int, step: int, known_at: int | None) -> dict[str, int]:
        """Return where the newest bucket of each tag begins that holds a sample."""
        table = self.downsample(tags, low, high, step=step, known_at=known_at)
        return dict(zip(table["tag"].to_pylist(), table["start"].cast(pa.int64()).to_pylist(), strict=True))  # sorted by time

    def bounds(self) -> tuple[int, int] | None:
        """Return the source times (ns) between which all samples lie that are there; None if there are none."""

        def read() -> tuple[int, int] | None:
            extents = [found for stem in self._folder.stems if (found := self._folder.extent(stem)).begin <= found.end]
            times = [segment.batch.source_at for segment in self._folder.segments() if len(segment.batch.tag)]
            low = min([*(one.begin for one in extents), *(int(at.min()) for at in times)], default=None)
            high = max([*(one.end for one in extents), *(int(at.max()) for at in times)], default=None)
            return None if low is None or high is None else (low, high)

        return self._settled(read)

    def lookup(self, tag: str, source_at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Look for samples of a tag at these times (ns): which are there, their values, their statuses."""
        if not len(source_at):
            return np.zeros(0, dtype=bool), np.zeros(0), np.zeros(0, dtype=np.uint32)
        found = self.samples([tag], int(source_at.min()), int(source_at.max()) + 1)
        at = found["source_at"].cast(pa.int64()).to_numpy()
        if not len(at):
            return np.zeros(len(source_at), dtype=bool), np.full(len(source_at), np.nan), np.zeros(len(source_at), np.uint32)
        place = np.minimum(np.searchsorted(at, source_at), len(at) - 1)
        return at[place] == source_at, found["value"].to_numpy()[place], found["status"].to_numpy()[place]

    def tags(self) -> list[str]:
        """Return the names of all tags that have a sample, sorted."""

        def read() -> list[frozenset[str]]:
            folder = self._folder
            names = [folder.parquet(stem).names() for stem in folder.stems]
            return [*names, *(frozenset(s.names[i] for i in np.unique(s.batch.tag)) for s in folder.segments())]

        return sorted(frozenset().union(*self._settled(read)))

    def counts(self) -> pa.Table:
        """Return what the ledger counted: tag, hour (of source time), what, n."""

        def read() -> list[pa.Table]:
            stems = [*seal.retired(self._folder.names, ".ledger"), *self._folder.stems]
            tables = [seal.load(self.files, f"_{stem}.ledger") for stem in stems]
            return [*tables, *(seal.counts_of(segment) for segment in self._folder.segments())]

        return seal.summed(self._settled(read))

    def parts(self) -> tuple[list[str], pa.Table]:
        """Return the names of the Parquet files that count, in order, and every version that is not in one yet (SAMPLES)."""

        def read() -> tuple[list[str], pa.Table]:
            hot = [Part(segment.names, segment.batch) for segment in self._folder.segments()]
            return [f"{stem}.parquet" for stem in self._folder.stems], _table(together(hot, versions=True))

        return self._settled(read)

    def _settled(self, read: Callable[[], T]) -> T:
        """Read again if the writer sealed or compacted in the middle of it."""
        with self._lock:
            return self._read(read)

    def _read(self, read: Callable[[], T]) -> T:
        before = _lasting(self._folder.look())
        for _ in range(20):
            try:
                found = read()
            except FileNotFoundError:
                before = _lasting(self._folder.look())
                continue
            after = _lasting(self._folder.look())
            if before == after:
                return found
            before = after
        raise OSError("the history changes faster than it can be read")

    def _parts(self, wanted: Wanted) -> list[Part]:
        folder = self._folder
        parts = folder.all_rows(folder.stems, wanted)
        return [*parts, *(wanted.of(Part(segment.names, segment.batch)) for segment in folder.segments())]


def _wanted(tags: Collection[str] | None, start: int | None, end: int | None, known_at: int | None) -> Wanted:
    return Wanted(
        None if tags is None else frozenset(tags), ALWAYS[0] if start is None else start, ALWAYS[1] if end is None else end,
        ALWAYS[1] if known_at is None else known_at,
    )  # fmt: skip


def _lasting(names: Sequence[str]) -> list[str]:
    return [name for name in names if name.endswith((".parquet", ".hot"))]


def _table(part: Part) -> pa.Table:
    names, batch = part
    arrays = [
        pa.DictionaryArray.from_arrays(pa.array(batch.tag, pa.int32()), pa.array(names, pa.string())),
        pa.array(batch.source_at).view(SAMPLES.field("source_at").type),
        pa.array(batch.value),
        pa.array(batch.status),
        pa.array(batch.known_at // MS).view(SAMPLES.field("known_at").type),
    ]
    return pa.Table.from_arrays(arrays, schema=SAMPLES)
