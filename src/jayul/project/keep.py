"""Keep every sample that a run sees: from the plant's link where it has one, else what changed from frame to frame."""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path

import numpy as np

from jayul.core.types import BAD_NO_DATA, Decision, Frame, Outcome, TagTable
from jayul.plant.link import Linked
from jayul.record.batch import Batch, join
from jayul.record.history import History


class Keeper:
    """Hands samples to the history, tick by tick. After a restart ticks that are there already are passed over.

    `table`: the tags of the run's frames. A full disk does not stop the run: nothing is acknowledged, `history.trouble` says why,
    and what came is kept in memory and tried again with every tick.
    """

    def __init__(self, folder: Path, table: TagTable, plant: object, aside: Executor | None = None) -> None:
        self.history = History(folder, table.names, aside=aside)
        self._table, self._link = table, plant if isinstance(plant, Linked) else None
        raw = self._link.tags.names if self._link else ()
        self._place = np.array([table.index[name] for name in raw], dtype=np.int32)
        self._derived = np.array([i for i, name in enumerate(table.names) if name not in raw], dtype=np.int32)
        self._before: Frame | None = None

    def add(self, frame: Frame, decision: Decision, outcome: Outcome) -> None:  # noqa: ARG002 - the shape of `run`'s watcher
        """Take in one finished tick."""
        parts = [self._changed(frame)]
        if decision.tick <= self.history.cursor:
            return
        if self._link and frame.table is self._table:  # else it is played back from the journal
            batch = self._link.samples()
            parts.append(batch._replace(tag=self._place[batch.tag]))
        try:
            self.history.append(join(parts), known_at=decision.at, cursor=decision.tick)
        except OSError:
            return  # `trouble` says so, and the next tick tries again

    def _changed(self, frame: Frame) -> Batch:
        """Return what is new in a frame; of a link, whose samples come by themselves, only what was derived."""
        place = np.array([self._table.index[name] for name in frame.table.names], dtype=np.int32)
        new = (frame.status != BAD_NO_DATA) | (frame.source_at != 0)
        if (before := self._before) is not None and before.table is frame.table:
            same = before.value.view(np.int64) == frame.value.view(np.int64)
            new = ~(same & (before.source_at == frame.source_at) & (before.status == frame.status))
        if self._link and frame.table is self._table:
            new &= np.isin(place, self._derived)
        self._before = frame
        known = np.full(int(new.sum()), frame.at, dtype=np.int64)
        return Batch(place[new], frame.source_at[new], frame.value[new], frame.status[new], known)

    def close(self) -> None:
        """Make everything durable and turn it into Parquet."""
        try:
            self.history.close()
        except OSError:
            return  # `trouble` says so
