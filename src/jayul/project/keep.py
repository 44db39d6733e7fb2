"""Keep every sample that a run sees, and account for it: from the plant's link where it has one, else what changed between frames.

After a restart ticks that are there already are passed over. The time for which Jayul itself was not running counts as a link
that was down: the samples were due, and nobody took them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
import pyarrow as pa

from jayul.core.guard import HOUR
from jayul.core.types import BAD_NO_DATA, Decision, Event, Frame, Outcome, TagTable
from jayul.plant.link import Linked
from jayul.plant.newest import Losses
from jayul.project.problem import N_, ManifestError, Problem
from jayul.project.summary import Kept
from jayul.record.batch import Batch, Count, join
from jayul.record.chain import Broken
from jayul.record.contract import Contract
from jayul.record.coverage import MISSING, Shortfall, coverage, shortfalls, summary, table_of
from jayul.record.history import History, Policy, Reader
from jayul.record.history.store import GROUP_SECONDS
from jayul.record.ledger import Ledger
from jayul.record.sign import Signer

NAME = "ledger"
ID = "mon-ledger"
TICKS = 64  # of a plant without a link are judged together: its samples cannot be lost on the way
TOLD = 20  # shortfalls that one event names; it says how many there are
PATIENCE = 0.02  # s for which a tick of a live plant waits for a sealing that lags
MOST_WAITING = 2_000_000  # samples in memory while the disk takes none; what comes beyond is shed, and counted


class Keeper:
    """Judges samples tick by tick and hands them to the history. An inbox, too: it says which hours fell short of the contract.

    `table`: the tags of the run's frames. A full disk does not stop the run: nothing is acknowledged, `history.trouble` says why,
    and what came is kept in memory and tried again with every tick; beyond `most` samples it is shed, which the ledger counts.
    What waits is written after 200 ms even if no further tick comes. Raises ManifestError if the history is damaged.
    """

    def __init__(
        self, folder: Path, table: TagTable, plant: object, contract: Contract, aside: Executor | None = None,
        policy: Policy | None = None, most: int = MOST_WAITING,
    ) -> None:  # fmt: skip
        try:
            patience = PATIENCE if isinstance(plant, Linked) else None
            self.history = History(folder, table.names, aside=aside, policy=policy, patience=patience)
            self.reader = Reader(folder)
        except Broken as error:
            message = N_("the history is damaged: {what}; look with 'jayul verify', or move the folder away to begin a new one")
            raise ManifestError(Problem(str(folder), "", 0, message, {"what": error.what})) from None
        self._most, self._lost = most, ""
        self._timer: asyncio.TimerHandle | None = None
        self._table, self._link = table, plant if isinstance(plant, Linked) else None
        raw = self._link.tags.names if self._link else ()
        self._place = np.array([table.index[name] for name in raw], dtype=np.int32)
        self._derived = np.array([name not in raw for name in table.names], dtype=np.bool_)
        self.ledger = Ledger(contract, newest=self.history.newest, counts=self.reader.counts(), lookup=self._lookup)
        self._contract, self._before = contract, None  # type: tuple[Contract, Frame | None]
        self._last, self._told, self._live = 0, 0, False
        self._waiting: list[Batch] = []
        self._short: list[Shortfall] = []
        self._hours = self.reader.counts()  # of hours that are not over

    def _lookup(self, tag: int, at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find stored samples of a tag at these times: known (bool), value, status."""
        return self.reader.lookup(self._contract.names[tag], at)

    def add(self, frame: Frame, decision: Decision, outcome: Outcome) -> None:  # noqa: ARG002 - the shape of `run`'s watcher
        """Take in one finished tick."""
        batch = self._changed(frame)
        if decision.tick <= self.history.cursor:
            self._last = decision.at
            if self._judges(decision.tick):
                self._told = decision.at
            return
        if not self._live:
            self._begin(decision.at)
        self._waiting.append(batch)
        losses, up = Losses({}, {}), True
        if self._link and frame.table is self._table:  # else it is played back from the journal
            came, lost = self._link.samples(), self._link.losses()
            known = np.full(len(came.tag), decision.at, dtype=np.int64)
            self._waiting.append(came._replace(tag=self._place[came.tag], known_at=known))
            losses = Losses(*({int(self._place[i]): n for i, n in kind.items()} for kind in lost))
            up = self._link.health().connected
        self._last = decision.at
        if self._judges(decision.tick):
            self._flush(decision.at, decision.tick, losses, up=up)
            self._tell(decision.at)

    def _judges(self, tick: int) -> bool:
        return self._link is not None or tick % TICKS == TICKS - 1

    def _flush(self, at: int, tick: int, losses: Losses, *, up: bool) -> None:
        """Judge what waits, close the hours that are over, and hand all of it on."""
        batch, self._waiting, shed = join(self._waiting), [], dict(losses.shed)
        if self.history.pending + len(batch.tag) > self._most:
            tags, n = np.unique(batch.tag, return_counts=True)
            shed |= {int(tag): shed.get(int(tag), 0) + int(k) for tag, k in zip(tags, n, strict=True)}
            batch = Batch.empty()
        kept, counts = self.ledger.take(batch, now=at, shed=shed, overflowed=losses.overflowed, link_up=up)
        if over := self.ledger.close_hours(at):
            self._hours = pa.concat_tables([self._hours, table_of(over, self._contract.names).cast(self._hours.schema)])
        self._keep(kept, counts + over, tick)

    def _tell(self, at: int) -> None:
        """Note the hours that fell short and were over since this was last asked: the same, however often a run is interrupted."""
        over = _over(self._hours, self._contract)
        new = (over > self._told) & (over <= at)
        if new.any():
            self._short += shortfalls(self._hours.filter(pa.array(new)), self._contract)
            self._hours = self._hours.filter(pa.array(over > at))
        self._told = at

    def _begin(self, at: int) -> None:
        """Take in what an earlier start left, before the first tick that is new."""
        self._live = True
        if self._last:
            self.ledger.recall(self.reader.samples(start=self.ledger.reach(at)))
            self.ledger.watch(self._last)
            if self._link:
                self.ledger.lost_link(self._last, at)
        self.ledger.watch(at)

    def _keep(self, batch: Batch, counts: Sequence[Count], tick: int) -> None:
        with contextlib.suppress(OSError):  # `trouble` says so, and the next tick tries again
            self.history.append(batch.take(np.argsort(batch.known_at, kind="stable")), counts, cursor=tick)
        if self.history.waits and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GROUP_SECONDS, self._commit)

    def _commit(self) -> None:
        """Write what still waits, as no further tick has come."""
        self._timer = None
        with contextlib.suppress(OSError):
            self.history.commit()

    def _changed(self, frame: Frame) -> Batch:
        """Return what is new in a frame; of a link, whose samples come by themselves, only what was derived."""
        new = (frame.status != BAD_NO_DATA) | (frame.source_at != 0)
        if (before := self._before) is not None and before.table is frame.table:
            same = before.value.view(np.int64) == frame.value.view(np.int64)
            new = ~(same & (before.source_at == frame.source_at) & (before.status == frame.status))
        place = np.arange(len(self._table.names), dtype=np.int32)
        if frame.table is not self._table:
            place = np.array([self._table.index[name] for name in frame.table.names], dtype=np.int32)
        elif self._link:
            new = new & self._derived
        self._before = frame
        known = np.full(int(new.sum()), frame.at, dtype=np.int64)
        return Batch(place[new], frame.source_at[new], frame.value[new], frame.status[new], known)

    def drain(self, at: int, last: Decision | None) -> Sequence[Event]:
        """Return the alarm for hours that fell short since the last call."""
        if not self._short:
            return ()
        short, self._short = self._short, []
        body = {
            "what": "shortfall", "count": len(short),
            "worst": [
                {"tag": one.tag, "hour": one.hour, "coverage": one.coverage, "owner": one.owner}
                for one in sorted(short, key=lambda one: one.coverage)[:TOLD]
            ],
        }  # fmt: skip
        return [Event("note", NAME, at, body, f"{ID}-{last.tick if last else 0}")]

    def kept(self) -> Kept:
        """Return what became of all samples, also those of earlier starts."""
        counts = self.reader.counts()
        whole = summary(counts)[1]
        missing = {what.removeprefix(MISSING): n for what, n in whole.counts.items() if what.startswith(MISSING)}
        received, stored, again, due = (whole.counts.get(name, 0) for name in ("received", "stored", "duplicate", "expected"))
        short = len(shortfalls(counts, self._contract))
        return Kept(received, stored, again, due, missing, coverage(counts), short, whole.unexplained, self.trouble)

    def close(self, at: int, tick: int, signer: Signer | None = None) -> None:
        """Count what is still open, make everything durable, turn it into Parquet, and have the run's key vouch for it.

        `at` (ns) and `tick`: of the last tick. `trouble` says what went wrong.
        """
        if self._live:
            self._flush(at, tick, Losses({}, {}), up=True)
            self._keep(Batch.empty(), self.ledger.close(at), tick)
        if self._timer is not None:
            self._timer.cancel()
        try:
            self.history.close(signer)
        except OSError as error:
            self._lost = str(error.strerror or error)

    @property
    def trouble(self) -> str:
        """What went wrong with the history last and has not gone well since; empty when all is well."""
        return self._lost or self.history.trouble


def _over(counts: pa.Table, contract: Contract) -> np.ndarray:
    """Return when the hour of each row is over, nothing late being awaited any more; ns."""
    grace = dict(zip(contract.names, contract.grace.tolist(), strict=True))
    late = np.array([grace.get(name, 0) for name in counts["tag"].to_pylist()], dtype=np.int64)
    hours: np.ndarray = counts["hour"].cast(pa.int64()).to_numpy()
    return hours + HOUR + late
