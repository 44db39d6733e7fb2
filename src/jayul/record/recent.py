"""The samples that were stored of late, in memory: what a sample is held against to find duplicates and corrections."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from jayul.record.batch import Batch, join

Known: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]  # known (bool), value, status
Lookup: TypeAlias = Callable[[int, np.ndarray], Known]  # of a tag's position and source times (int64 ns)

PARTS = 32


def unknown(tag: int, source_at: np.ndarray) -> Known:  # noqa: ARG001 - the shape of a lookup
    """Know nothing: the lookup of a history that holds nothing."""
    n = len(source_at)
    return np.zeros(n, dtype=np.bool_), np.zeros(n), np.zeros(n, dtype=np.uint32)


class Recent:
    """The last stored version of about `most` samples; before `since` (ns, source time) it may lack some."""

    def __init__(self, most: int = 200_000) -> None:
        self._most, self._parts = most, list[Batch]()
        self.since = -(2**63)

    def add(self, batch: Batch) -> None:
        """Take in stored samples, sorted by tag and source time, each key once."""
        if len(batch.tag):
            self._parts.append(batch)
        if len(self._parts) > PARTS:
            self._merge()

    def _merge(self) -> None:
        """Put the parts into one, the last version of each sample, without the oldest."""
        whole = join(self._parts)
        order = np.lexsort((whole.source_at, whole.tag))  # stable: of one sample the last version comes last
        whole = whole.take(order)
        keep = (np.diff(whole.tag, append=-1) != 0) | (np.diff(whole.source_at, append=0) != 0)
        if len(whole.tag) > self._most:
            self.since = max(self.since, int(np.partition(whole.source_at, -self._most)[-self._most]))
            keep &= whole.source_at >= self.since
        self._parts = [whole.take(keep)]

    def find(self, tag: np.ndarray, source_at: np.ndarray) -> Known:
        """Say which of these samples are known, with value and status."""
        found, value, status = unknown(0, source_at)
        for part in reversed(self._parts):
            left = np.flatnonzero(~found)
            if not len(left):
                break
            at = _position(part, tag[left], source_at[left])
            inside = np.minimum(at, len(part.tag) - 1)
            hit = (at < len(part.tag)) & (part.tag[inside] == tag[left]) & (part.source_at[inside] == source_at[left])
            rows, here = left[hit], inside[hit]
            found[rows], value[rows], status[rows] = True, part.value[here], part.status[here]
        return found, value, status


def _position(part: Batch, tag: np.ndarray, source_at: np.ndarray) -> np.ndarray:
    """Return where each key stands, or would, in a part that is sorted by tag and source time (a binary search within each tag)."""
    low = np.searchsorted(part.tag, tag, side="left")
    end = np.searchsorted(part.tag, tag, side="right")
    high = end.copy()
    while (open_ := low < high).any():
        middle = (low + high) // 2
        less = open_ & (part.source_at[np.minimum(middle, len(part.tag) - 1)] < source_at)
        low = np.where(less, middle + 1, low)
        high = np.where(open_ & ~less, middle, high)
    return np.where(low < end, low, len(part.tag))
