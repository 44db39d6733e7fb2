"""Curves to be drawn: samples where they are few, else the least and the greatest of each pixel column. Nothing is interpolated."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import pyarrow as pa

from jayul.core.types import SECOND, Tag
from jayul.record.history import Reader
from jayul.record.history.read import SAMPLES

DAY = 86_400 * SECOND
ROUND = (
    *(n * 10**power for power in range(6, 9) for n in (1, 2, 5)),
    *(n * SECOND for n in (1, 2, 5, 10, 15, 30, 60, 120, 240, 600, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400)),
)  # ns: what a column may span, so that one lies within the other and the history's summaries fit
NEAR = 120.0  # s before the range in which the last sample of a tag that holds its value is read with the others
FOR_EVER = 2**63 - 1  # ns
NOT_GOOD = 0x4000_0000
Spans = list[tuple[int, int]]


class Curve(msgspec.Struct, omit_defaults=True):
    """One tag between two times (ns UTC). Samples (`step` 0): `at` and `value`; null where it is not good or not finite.

    Columns (`step` ns): `at` where each begins, `min` and `max` of its good samples; null where it has none. `bad`: where samples
    are bad or uncertain. `gaps`: where nothing came for longer than `stale_after`. `holds`: a value stands until the next; it
    may begin with the newest from before.
    """

    tag: str
    at: list[int]
    value: list[float | None] = []
    min: list[float | None] = []
    max: list[float | None] = []
    step: int = 0
    bad: Spans = []
    gaps: Spans = []
    holds: bool = False


def holds(tag: Tag) -> bool:
    """Say whether a tag may stand still for long, so that its last value counts until the next comes (as links see it)."""
    return tag.kind in ("set-point", "mode", "manipulated", "laboratory") or tag.writable


def draw(
    reader: Reader,
    tags: Sequence[Tag],
    low: int,
    high: int,
    width: int,
    silences: Spans | None = None,
    known_at: int | None = None,
) -> list[Curve]:
    """Return the curves of tags (low <= time < high) for so many pixel columns, as they were known at `known_at` (ns).

    At most 2 x `width` points each, and one beyond either end; a tag that holds its value begins with the newest sample before
    `low`, however old. `silences`: when the run did not tick; only there such a tag has a gap. Raises Broken, OSError, ValueError.
    """
    names, step = [tag.name for tag in tags], round_step(high - low, width)
    found = reader.downsample(names, low // step * step, -(-high // step) * step, step=step, known_at=known_at)
    codes, total = _codes(found, names), found["count"].to_numpy() + found["bad"].to_numpy()
    few = [i for i in range(len(names)) if total[codes == i].sum() <= 2 * width]
    margin = max((int(min(tags[i].stale_after, NEAR if holds(tags[i]) else math.inf) * SECOND) for i in few), default=0)
    rows = reader.samples([names[i] for i in few], low - margin, high + margin, known_at) if few else found.slice(0, 0)
    of = _codes(rows, names)
    curves = [
        _samples(tag, rows.filter(pa.array(of == i)), low, high) if i in few
        else _columns(tag, found.filter(pa.array(codes == i)), step)
        for i, tag in enumerate(tags)
    ]  # fmt: skip
    late = [tag.name for tag, curve in zip(tags, curves, strict=True) if holds(tag) and _begins_after(curve, low)]
    before = _last(reader, late, low, known_at)
    for tag, curve in zip(tags, curves, strict=True):
        if tag.name in before:
            _begin_with(curve, *before[tag.name], low, high)
        if holds(tag):
            gaps = [(a, b) for a, b in silences or () if b > low and a < high and b - a > tag.stale_after * SECOND]
            curve.holds, curve.gaps = True, gaps
    return curves


def open_ends(tag: Tag, curve: Curve, low: int, high: int) -> Curve:
    """Return a curve with the gaps at both ends: nothing from `low` (ns) to its first sample, from its last one to `high`.

    Between `low` and `high` the run ticked. A tag that holds its value has none.
    """
    longer = tag.stale_after * SECOND
    if curve.holds or high <= low:
        return curve
    first, last = (curve.at[0], curve.at[-1] + curve.step) if curve.at else (high, high)
    before = [(low, min(first, high))] if min(first, high) - low > longer else []
    after = [(last, high)] if high - last > longer else []
    return msgspec.structs.replace(curve, gaps=[*before, *curve.gaps, *after])


def _begins_after(curve: Curve, low: int) -> bool:
    """Say whether a curve says nothing of the left edge."""
    return not curve.at or curve.at[0] > low


def _last(reader: Reader, names: Sequence[str], low: int, known_at: int | None) -> dict[str, tuple[int, float | None]]:
    """Return time and value (None: not good) of the newest sample of each tag before a time."""
    rows = reader.last_before(names, low, known_at) if names else SAMPLES.empty_table()
    value = rows["value"].to_numpy()
    good = (rows["status"].to_numpy() < NOT_GOOD) & np.isfinite(value)
    at = rows["source_at"].cast(pa.int64()).to_pylist()
    return dict(zip(rows["tag"].to_pylist(), zip(at, _plain(value, good), strict=True), strict=True))


def _begin_with(curve: Curve, at: int, value: float | None, low: int, high: int) -> None:
    """Put the sample before the left edge first; among columns, as what stood in the first one."""
    until = curve.at[0] if curve.at else high
    if curve.step:
        at = low // curve.step * curve.step
        curve.min, curve.max = [value, *curve.min], [value, *curve.max]
    else:
        curve.value = [value, *curve.value]
    curve.at = [at, *curve.at]
    if value is None:
        curve.bad = [(at, until), *curve.bad]


def _codes(table: pa.Table, names: Sequence[str]) -> np.ndarray:
    """Return, for each row, the position of its tag in `names`."""
    column = table["tag"].unify_dictionaries().combine_chunks()
    column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    place = {name: i for i, name in enumerate(names)}
    move = np.array([place.get(name, -1) for name in column.dictionary.to_pylist()], dtype=np.int64)
    found: np.ndarray = move[column.indices.to_numpy(zero_copy_only=False)] if len(column) else np.empty(0, np.int64)
    return found


def _samples(tag: Tag, rows: pa.Table, low: int, high: int) -> Curve:
    at = rows["source_at"].cast(pa.int64()).to_numpy()
    first, last = max(np.searchsorted(at, low) - 1, 0), np.searchsorted(at, high) + 1  # the line runs on beyond both edges
    at = at[first:last]
    value = rows["value"].to_numpy()[first:last]
    good = (rows["status"].to_numpy()[first:last] < NOT_GOOD) & np.isfinite(value)
    limit = int(tag.stale_after * SECOND)
    wide = np.flatnonzero(np.diff(at) > limit)
    gaps = [(int(at[i]), int(at[i + 1])) for i in wide]
    bad = _stretches(at, ~good, FOR_EVER if holds(tag) else limit)
    if holds(tag) and len(at) and not good[-1]:
        bad[-1] = bad[-1][0], max(bad[-1][1], high)
    return Curve(tag.name, at.tolist(), _plain(value, good), bad=bad, gaps=gaps)


def _columns(tag: Tag, rows: pa.Table, step: int) -> Curve:
    at, count = rows["start"].cast(pa.int64()).to_numpy(), rows["count"].to_numpy()
    limit = int(tag.stale_after * SECOND)
    empty = np.flatnonzero(np.diff(at) - step > limit)
    gaps = [(int(at[i]) + step, int(at[i + 1])) for i in empty]
    low, high = (_plain(rows[name].to_numpy(), count > 0) for name in ("min", "max"))
    return Curve(
        tag.name,
        at.tolist(),
        min=low,
        max=high,
        step=step,
        bad=_stretches(at, rows["bad"].to_numpy() > 0, step, step),
        gaps=gaps,
    )


def _plain(value: np.ndarray, good: np.ndarray) -> list[float | None]:
    return [x if ok else None for x, ok in zip(value.tolist(), good.tolist(), strict=True)]


def _stretches(at: np.ndarray, hit: np.ndarray, near: int, length: int = 0) -> Spans:
    """Put what was hit together where it follows each other: from the first to the next that is not, or `length` after the last."""
    spans: Spans = []
    for i in np.flatnonzero(hit).tolist():
        after = int(at[i + 1]) if i + 1 < len(at) and at[i + 1] - at[i] <= near else int(at[i]) + length
        if spans and spans[-1][1] >= at[i]:
            spans[-1] = spans[-1][0], max(after, spans[-1][1])
        else:
            spans.append((int(at[i]), after))
    return spans


def extent(reader: Reader, tags: Sequence[str], run: tuple[int, int]) -> tuple[int, int]:
    """Return the range (ns) of all samples of tags: that of the run, and whole days before and after it that hold some."""
    starts = reader.downsample(tags, step=DAY)["start"].cast(pa.int64()).to_numpy()
    low, high = run
    if len(starts):
        low = min(low, int(starts.min())) if not low or starts.min() + DAY <= low else low
        high = max(high, int(starts.max()) + DAY) if starts.max() > high else high
    return low or int(starts.min(initial=0)), high


def round_step(span: int, width: int) -> int:
    """Return the shortest round step (ns) of which at most `width` cover a span: one more may be cut at both ends."""
    least = -(-max(span, 1) // max(width - 1, 1))
    return next((step for step in ROUND if step >= least), -(-least // DAY) * DAY)
