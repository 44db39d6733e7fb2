"""Samples in pieces that fit into memory: how many there are is known from summaries before any is read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from jayul.core.types import SECOND
from jayul.record.history import Reader

STEPS = (86_400 * SECOND, 3600 * SECOND, 120 * SECOND)  # ns; those of the history's summaries


class Stretch(NamedTuple):
    """A time, low <= source time < high (ns), and how many samples lie in it."""

    low: int
    high: int
    n: int


def stretches(
    reader: Reader, tags: Collection[str], low: int | None, high: int | None, most: int, known_at: int | None = None
) -> Iterator[Stretch]:
    """Yield the stretches of time in which samples lie, in order, each with `most` samples, or two minutes if these hold more.

    No longer than the history is, however wide the range that is asked for; where nothing is, nothing is looked for. Raises
    Broken, OSError.
    """
    bounds = reader.bounds()
    if bounds is None or not tags:
        return
    first, last = max(bounds[0], bounds[0] if low is None else low), min(bounds[1] + 1, bounds[1] + 1 if high is None else high)
    if first >= last:
        return
    held: Stretch | None = None
    for piece in _pieces(reader, tags, first, last, most, known_at, STEPS):
        if held is not None and held.n + piece.n <= most:
            held = Stretch(held.low, piece.high, held.n + piece.n)
            continue
        if held is not None:
            yield held
        held = piece
    if held is not None:
        yield held


def _pieces(
    reader: Reader, tags: Collection[str], low: int, high: int, most: int, known_at: int | None, steps: Sequence[int]
) -> Iterator[Stretch]:
    """Yield buckets with their counts; those that hold too much, or are cut by an end of the range, in finer ones."""
    step, *finer = steps
    outer = (low // step * step, -(-high // step) * step) if finer else (low, high)  # whole buckets: no sample is read for them
    table = reader.downsample(tags, *outer, step=step, known_at=known_at)
    starts, place = np.unique(table["start"].cast(pa.int64()).to_numpy(), return_inverse=True)
    count = np.bincount(place, (table["count"].to_numpy() + table["bad"].to_numpy()), len(starts)).astype(np.int64)
    for start, n in zip(starts.tolist(), count.tolist(), strict=True):
        a, b = max(start, low), min(start + step, high)
        if finer and (n > most or b - a < step):
            yield from _pieces(reader, tags, a, b, most, known_at, finer)
        else:
            yield Stretch(a, b, n)
