"""The newest of each tag as a link brought it, and every sample on its way to the history: what all plants on a wire share."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jayul.core.types import BAD_NO_DATA, SECOND, Frame, TagTable
from jayul.record.batch import Batch

NO_COMMUNICATION = 0x8031_0000  # OPC UA Bad_NoCommunication
TYPE_MISMATCH = 0x8074_0000  # OPC UA Bad_TypeMismatch
OVERFLOW = 0x0000_0480  # OPC UA info bits: a queue in the server ran over before this sample
SETTLE = 5 * SECOND  # so long after a write an older sample that was still on its way does not count


class Losses(NamedTuple):
    """Samples by position of their tag: `shed` by our own queue, `overflowed` at the source, which owned up to it."""

    shed: dict[int, int]
    overflowed: dict[int, int]


class Samples:
    """Every sample until somebody takes them away. Beyond `capacity` the oldest of the lowest priority is shed, and counted.

    `first`: positions of the tags that are shed last. `received`, `shed`, `overflowed` count by tag; `overflowed` are gaps that the
    server owned up to.
    """

    def __init__(self, count: int, capacity: int = 1_000_000, first: Sequence[int] = ()) -> None:
        self.received, self.shed, self.overflowed = [0] * count, [0] * count, [0] * count
        self._capacity, self._first = capacity, frozenset(first)
        self._told = [0] * count, [0] * count
        self._low: deque[tuple[int, int, float, int, int]] = deque()
        self._high: deque[tuple[int, int, float, int, int]] = deque()

    def add(self, i: int, source_at: int, value: float, status: int, known_at: int) -> None:
        """Keep one sample."""
        self.received[i] += 1
        if status & OVERFLOW == OVERFLOW:
            self.overflowed[i] += 1
        (self._high if i in self._first else self._low).append((i, source_at, value, status, known_at))
        if len(self._low) + len(self._high) > self._capacity:
            gone = (self._low or self._high).popleft()
            self.shed[gone[0]] += 1

    def losses(self) -> Losses:
        """Return what was lost since the last call, by tag."""
        now = [*self.shed], [*self.overflowed]
        found = [{i: n - m for i, (n, m) in enumerate(zip(here, before, strict=True)) if n > m}
                 for here, before in zip(now, self._told, strict=True)]  # fmt: skip
        self._told = now
        return Losses(*found)

    def drain(self) -> Batch:
        """Return what came since the last call."""
        rows = [*self._high, *self._low]
        self._high.clear()
        self._low.clear()
        return Batch.of(*zip(*rows, strict=True)) if rows else Batch.empty()


class Newest:
    """The newest of each tag: Bad_NoData before its first sample, NaN and Bad_TypeMismatch where it is not a number."""

    def __init__(self, tags: TagTable, now: Callable[[], int]) -> None:
        n = len(tags.tags)
        self.tags, self._now = tags, now
        self.value, self.status = [math.nan] * n, [BAD_NO_DATA] * n
        self.source_at, self.seen_at = [0] * n, [0] * n
        self._wrote: dict[int, tuple[int, int]] = {}  # position -> source time of what was read back, when

    def take(self, i: int, value: object, status: int, source_at: int, seen_at: int) -> bool:
        """Take a sample in; say whether it counted (an older one that a write has overtaken does not)."""
        if i in self._wrote:
            source, at = self._wrote[i]
            if source_at < source and seen_at - at < SETTLE:
                return False
            del self._wrote[i]
        if type(value) is not float:
            if not isinstance(value, int | float | np.number | np.bool_):
                value, status = math.nan, status if status >= 0x8000_0000 else TYPE_MISMATCH
            value = float(value)
        self.value[i], self.status[i], self.source_at[i], self.seen_at[i] = value, status, source_at, seen_at
        return True

    def confirm(self, i: int, source_at: int, seen_at: int) -> None:
        """Note that a value still stands: the source vouched for it at `source_at`."""
        self.source_at[i], self.seen_at[i] = max(source_at, self.source_at[i]), seen_at

    def wrote(self, i: int, value: float, source_at: int, seen_at: int) -> None:
        """Take in what was read back after a write; samples from before it that are still on their way no longer count."""
        self.value[i], self.status[i], self.source_at[i], self.seen_at[i] = value, 0, source_at, seen_at
        self._wrote[i] = (source_at, seen_at)

    def lost(self, status: int = NO_COMMUNICATION, only: Sequence[int] | None = None) -> None:
        """Mark readings bad: the link is gone, or these tags are. Value and times stay as they were."""
        for i in range(len(self.status)) if only is None else only:
            if self.status[i] != BAD_NO_DATA or only is not None:
                self.status[i] = status

    def frame(self) -> Frame:
        """Return all that is known now."""
        return Frame(
            self._now(), self.tags, np.array(self.value), np.array(self.source_at, dtype=np.int64),
            np.array(self.seen_at, dtype=np.int64), np.array(self.status, dtype=np.uint32),
        )  # fmt: skip
