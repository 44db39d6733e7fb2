"""Summaries of any step: from the pyramids where they are right, from the samples where they are not.

The coarsest level that divides the step is used. Samples are read at the edges of what was asked for; in files that have no summary
of that level, or were not known as a whole yet; and, from all files, in buckets that such a file or a late sample touches: only
there can one file correct another.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from jayul.core.types import SECOND
from jayul.record.history import pyramid
from jayul.record.history.folder import ALWAYS, Folder, Part, Wanted, together
from jayul.record.history.pyramid import Buckets, Late

ROUND = (1, 2, 5, 10, 15, 30, 60, 120, 240, 600, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400)  # s
SUMMARIES = pa.schema(
    [
        ("tag", pa.dictionary(pa.int32(), pa.string())),
        ("start", pa.timestamp("ns", "UTC")),
        ("count", pa.int64()),
        ("bad", pa.int64()),
        *((name, pa.float64()) for name in ("min", "max", "mean", "first", "last")),
    ]
)


def downsample(folder: Folder, wanted: Wanted, step: int | None, buckets: int | None) -> pa.Table:
    """Return summaries by `step` ns, or by at most `buckets` buckets (jayul.record.history.Reader.downsample)."""
    wanted = _bounded(folder, wanted, step or 1)
    if step is None:
        step = _round_step(wanted.high - wanted.low, buckets or 1)
        wanted = wanted._replace(low=wanted.low // step * step, high=-(-wanted.high // step) * step)
    levels = [level * SECOND for level in pyramid.LEVELS if step % (level * SECOND) == 0]
    if not levels or wanted.high <= wanted.low:
        names, batch = together(_raw(folder, folder.stems, wanted), versions=False)
        return _table(names, pyramid.of_samples(batch, step))
    names, found = _at_level(folder, wanted, levels[-1])
    folder.relieve()
    return _table(names, pyramid.merged(found, step))


def _bounded(folder: Folder, wanted: Wanted, step: int) -> Wanted:
    """Give a range that has no bound the one that the samples have, in whole steps."""
    if wanted.low > ALWAYS[0] and wanted.high < ALWAYS[1]:
        return wanted
    extents = [folder.extent(stem) for stem in [*folder.retired, *folder.stems]]
    bounds = [(extent.begin, extent.end) for extent in extents if extent.begin <= extent.end]
    bounds += [(int(s.batch.source_at.min()), int(s.batch.source_at.max())) for s in folder.segments() if len(s.batch.tag)]
    low = min((begin for begin, _ in bounds), default=0) // step * step
    high = -(-(max((end for _, end in bounds), default=-1) + 1) // step) * step
    return wanted._replace(
        low=low if wanted.low == ALWAYS[0] else wanted.low, high=high if wanted.high == ALWAYS[1] else wanted.high
    )


def _round_step(span: int, buckets: int) -> int:
    """Return the shortest round step that needs at most so many buckets: one more may be cut at both ends."""
    least = -(-max(span, 1) // max(buckets - 1, 1))
    for seconds in ROUND:
        if seconds * SECOND >= least:
            return seconds * SECOND if least > SECOND // 10 else _fine(least)
    return -(-least // (86_400 * SECOND)) * 86_400 * SECOND


def _fine(least: int) -> int:
    """Return a step below a tenth of a second: 1, 2 or 5 times a power of ten (ns)."""
    power = 1
    while True:
        for n in (1, 2, 5):
            if n * power >= least:
                return n * power
        power *= 10


def _raw(folder: Folder, stems: Sequence[str], wanted: Wanted) -> list[Part]:
    """Return samples of these files and of the segments that are not in Parquet."""
    parts = folder.all_rows(stems, wanted, known=False)
    return [*parts, *(wanted.of(Part(segment.names, segment.batch)) for segment in folder.segments())]


class _Sources(NamedTuple):
    """Files by how they are read: by their summaries; by their samples; of which only summaries are left."""

    summed: list[str]
    plain: list[str]
    gone: list[str]


def _sources(folder: Folder, wanted: Wanted, level: int) -> _Sources:
    found = _Sources([], [], [])
    for stem in folder.stems:
        if wanted.meets(folder.extent(stem)):
            (found.summed if _has(folder, stem, wanted, level) else found.plain).append(stem)
    found.gone.extend(s for s in folder.retired if wanted.meets(folder.extent(s)) and _has(folder, s, wanted, level))
    return found


def _has(folder: Folder, stem: str, wanted: Wanted, level: int) -> bool:
    """Say whether a file has summaries of a level, and all of it was known then."""
    opened = folder.summary(stem) if folder.extent(stem).known_last <= wanted.known else None
    return opened is not None and level // SECOND in opened.levels


def _at_level(folder: Folder, wanted: Wanted, level: int) -> tuple[list[str], Buckets]:
    """Return buckets of a level; several may be of one tag and time, from several files."""
    sources = _sources(folder, wanted, level)
    plain = folder.all_rows(sources.plain, wanted, known=False)
    parts = {stem: [part] for stem, part in zip(sources.plain, plain, strict=True)}
    fresh = [wanted.of(Part(segment.names, segment.batch)) for segment in folder.segments()]
    names = _names(folder, sources, [*(part for some in parts.values() for part in some), *fresh], wanted, level)
    index = {name: i for i, name in enumerate(names)}
    late = [_late(folder, stem, wanted, index) for stem in sources.summed]
    marks = _Marks([*(_touched(part, index) for some in [*parts.values(), fresh] for part in some), *late], level)
    low, high = -(-wanted.low // level) * level, wanted.high // level * level
    inner = wanted._replace(low=low, high=high) if low < high else wanted._replace(high=wanted.low)  # whole buckets
    for stem in sources.summed:
        parts[stem] = _samples(folder, stem, wanted, inner, marks, names, index)
    kept, batch = together([*(part for stem in folder.stems for part in parts.get(stem, [])), *fresh], versions=False)
    found = [pyramid.of_samples(batch._replace(tag=_moved(kept, index)[batch.tag]) if kept else batch, level)]
    for stem in [*sources.gone, *sources.summed]:
        buckets = _buckets(folder, stem, level, index, wanted if stem in sources.gone else inner)
        right = np.ones(len(buckets.tag), dtype=bool) if stem in sources.gone else ~marks.hold(buckets.tag, buckets.at)
        found.append(buckets if right.all() else buckets.take(right))
    return names, Buckets(*(np.concatenate(columns) for columns in zip(*found, strict=True)))


def _names(folder: Folder, sources: _Sources, parts: Sequence[Part], wanted: Wanted, level: int) -> list[str]:
    if wanted.tags is not None:
        return sorted(wanted.tags)
    opened = [folder.summary(stem) for stem in (*sources.gone, *sources.summed)]
    return sorted(
        {name for o in opened if o for name in o.level(level // SECOND)[1]} | {name for part in parts for name in part.names}
    )


def _moved(names: Sequence[str], index: dict[str, int]) -> np.ndarray:
    return np.array([index.get(name, -1) for name in names], dtype=np.int32)


def _buckets(folder: Folder, stem: str, level: int, index: dict[str, int], bound: Wanted) -> Buckets:
    """Return the buckets of a file's level, of the tags and within the time that are asked for."""
    opened = folder.summary(stem)
    assert opened is not None
    buckets, names = opened.level(level // SECOND)
    found = [pyramid.none()]
    for name, place in index.items():
        if (code := names.get(name)) is not None:  # rows lie by tag and time
            a, b = np.searchsorted(buckets.tag, (code, code + 1)).tolist()
            low, high = np.searchsorted(buckets.at[a:b], (bound.low, bound.high)).tolist()
            mine = Buckets(*(column[a + low : a + high] for column in buckets))
            found.append(mine._replace(tag=np.full(high - low, place, dtype=np.int32)))
    return Buckets(*(np.concatenate(columns) for columns in zip(*found, strict=True))) if len(found) > 2 else found[-1]


def _late(folder: Folder, stem: str, wanted: Wanted, index: dict[str, int]) -> Late:
    """Return when samples of a file came late, of the tags and within the time that are asked for."""
    opened = folder.summary(stem)
    assert opened is not None
    late, names = opened.late()
    if not len(late.tag):
        return late
    late = late._replace(tag=_moved(list(names), index)[late.tag])
    keep = (late.tag >= 0) & (late.begin < wanted.high) & (late.end > wanted.low)
    return Late(*(column[keep] for column in late))


def _touched(part: Part, index: dict[str, int]) -> Late:
    """Return the times of samples as spans of no length."""
    tag = _moved(part.names, index)[part.batch.tag] if len(part.batch.tag) else part.batch.tag
    return Late(tag, part.batch.source_at, part.batch.source_at + 1)


class _Marks:
    """Buckets, by tag, in which summaries of single files do not add up."""

    def __init__(self, spans: Sequence[Late], level: int) -> None:
        tag, begin, end = (np.concatenate(columns) for columns in zip(*spans, strict=True)) if spans else _NONE
        begin, end = begin // level * level, -(-end // level) * level
        order = np.lexsort((begin, tag))
        tag, begin, end = tag[order], begin[order], end[order]
        cuts = np.flatnonzero(np.diff(tag, prepend=-1, append=-1)).tolist()
        self.by_tag: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for a, b in itertools.pairwise(cuts):
            reach = np.maximum.accumulate(end[a:b])
            first = np.flatnonzero(np.append(True, begin[a + 1 : b] > reach[:-1]))
            self.by_tag[int(tag[a])] = (begin[a:b][first], reach[np.append(first[1:] - 1, b - a - 1)])

    def hold(self, tag: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Say which times lie in such a bucket. `tag` is sorted."""
        found = np.zeros(len(tag), dtype=bool)
        for one, (begin, end) in self.by_tag.items():
            rows = slice(*np.searchsorted(tag, [one, one + 1]))
            place = np.searchsorted(begin, at[rows], side="right") - 1
            found[rows] = (place >= 0) & (at[rows] < end[np.maximum(place, 0)])
        return found

    def meet(self, tag: int, begin: int, end: int) -> bool:
        """Say whether a tag has such a bucket between two times (both included)."""
        if tag not in self.by_tag:
            return False
        begins, ends = self.by_tag[tag]
        place = int(np.searchsorted(begins, end, side="right")) - 1
        return place >= 0 and int(ends[place]) > begin


_NONE = (np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int64))


def _samples(
    folder: Folder, stem: str, wanted: Wanted, inner: Wanted, marks: _Marks, names: Sequence[str], index: dict[str, int]
) -> list[Part]:
    """Return the samples of a file with summaries that are needed still: at the edges, and in marked buckets."""
    if inner.low >= inner.high:
        return [folder.rows(stem, wanted, known=False)]
    edges = [wanted._replace(high=inner.low), wanted._replace(low=inner.high)]
    found = [folder.rows(stem, edge, known=False) for edge in edges if edge.low < edge.high]
    groups = []
    for i, group in enumerate(folder.parquet(stem).groups if marks.by_tag else ()):
        tags = range(bisect.bisect_left(names, group.first), bisect.bisect_right(names, group.last))
        if any(marks.meet(tag, group.begin, group.end) for tag in tags):
            groups.append(i)
    if not groups:
        return found
    part = folder.rows(stem, inner, groups, known=False)
    if len(part.batch.tag):
        tag = _moved(part.names, index)[part.batch.tag]
        found.append(Part(part.names, part.batch.take(marks.hold(tag, part.batch.source_at))))
    return found


def _table(names: Sequence[str], b: Buckets) -> pa.Table:
    with np.errstate(invalid="ignore"):
        mean = b.sum / np.where(b.n, b.n, np.nan)
    arrays = [
        pa.DictionaryArray.from_arrays(pa.array(b.tag, pa.int32()), pa.array(list(names), pa.string())),
        pa.array(b.at).view(SUMMARIES.field("start").type),
        *(pa.array(column) for column in (b.n, b.bad, b.min, b.max, mean, b.first, b.last)),
    ]
    return pa.Table.from_arrays(arrays, schema=SUMMARIES)
