"""Samples on their way to the history: columns, never one object per value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

KINDS = (np.int32, np.int64, np.float64, np.uint32, np.int64)


class Batch(NamedTuple):
    """Samples in columns: `tag` int32 (position in a list of names), times int64 ns, `value` float64, `status` uint32."""

    tag: np.ndarray
    source_at: np.ndarray
    value: np.ndarray
    status: np.ndarray
    known_at: np.ndarray

    def take(self, rows: np.ndarray | slice) -> Batch:
        """Return these rows: positions, a mask, or a slice."""
        return Batch(*(column[rows] for column in self))

    @staticmethod
    def of(*columns: Sequence[float] | np.ndarray) -> Batch:
        """Return columns as they are kept, in the order of the fields. Raises ValueError if their lengths differ."""
        if len({len(column) for column in columns}) > 1:
            raise ValueError("columns of one batch have one length")
        return Batch(*(np.ascontiguousarray(column, dtype=kind) for column, kind in zip(columns, KINDS, strict=True)))

    @staticmethod
    def empty() -> Batch:
        """Return no samples."""
        return Batch.of((), (), (), (), ())


def join(parts: Sequence[Batch]) -> Batch:
    """Put batches one after another."""
    return Batch(*(np.concatenate(columns) for columns in zip(*parts, strict=True))) if parts else Batch.empty()


class Count(NamedTuple):
    """What the ledger adds: so many of `what` for a tag (position) in the hour of source time that begins at `hour` (ns UTC)."""

    tag: int
    hour: int
    what: str
    n: int
