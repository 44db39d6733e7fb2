"""Plants that are each wrong in one way: a right one behind a thin wrapper. Run as a program: the evidence of one, as JSON.

python wrong_plants.py Doomed opcua vanished reads
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec
import numpy as np
from msgspec.structs import replace

from jayul.conform.benches import maker
from jayul.conform.plants import conform
from jayul.core.clock import Clock, monotonic
from jayul.core.types import Frame, Receipt, Verdict
from jayul.plant.link import Health, Linked, pause
from jayul.plant.newest import Losses
from jayul.record.batch import Batch

SECOND = 1_000_000_000
LOST = 0x8031_0000


class Right:
    """Hands everything on."""

    def __init__(self, right: Linked) -> None:
        self.right, self.tags, self.loops = right, right.tags, right.loops

    async def declared(self) -> Any:
        return await self.right.declared()

    async def read(self) -> Frame:
        return await self.right.read()

    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]:
        return await self.right.write(verdicts)

    def took(self, receipts: Sequence[Receipt]) -> None:
        self.right.took(receipts)

    def samples(self) -> Batch:
        return self.right.samples()

    def losses(self) -> Losses:
        return self.right.losses()

    def health(self) -> Health:
        return self.right.health()

    async def close(self) -> None:
        await self.right.close()


def changed(frame: Frame, **columns: np.ndarray) -> Frame:
    old = {name: getattr(frame, name).copy() for name in ("value", "source_at", "seen_at", "status")} | columns
    return Frame(frame.at, frame.table, old["value"], old["source_at"], old["seen_at"], old["status"])


def all_bad(frame: Frame) -> Frame:
    return changed(frame, status=np.full(len(frame.status), LOST, dtype=np.uint32))


class Cheerful(Right):
    """What is lost is shown as if it had just come."""

    last: Frame | None = None

    async def read(self) -> Frame:
        frame = await self.right.read()
        if frame.status.min() < LOST:
            self.last = frame
            return frame
        now = np.full(len(frame.status), frame.at, dtype=np.int64)
        value = frame.value.copy() if self.last is None else self.last.value.copy()
        return changed(frame, value=value, status=np.zeros(len(now), dtype=np.uint32), source_at=now, seen_at=now.copy())


class Doomed(Right):
    """One vanished node takes all others along."""

    async def read(self) -> Frame:
        frame = await self.right.read()
        return all_bad(frame) if self.right.health().missing else frame


class Sticky(Right):
    """What has not changed is taken to be as young as the last look."""

    async def read(self) -> Frame:
        frame = await self.right.read()
        old = frame.at - frame.source_at > SECOND
        return changed(frame, source_at=np.where(old, frame.at, frame.source_at), seen_at=np.full(len(old), frame.at))


class Hasty(Right):
    """What the server acknowledged is called settled, whatever is read back."""

    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]:
        done = await self.right.write(verdicts)
        return [replace(r, state="settled", applied=r.allowed) if r.state == "overridden" else r for r in done]


class Leaky(Right):
    """Every reconnect leaves a task behind, until it is closed."""

    def __init__(self, right: Linked) -> None:
        super().__init__(right)
        self.left: list[asyncio.Task[bool]] = []

    async def read(self) -> Frame:
        while len(self.left) < self.right.health().connections:
            self.left.append(asyncio.ensure_future(asyncio.Event().wait()))
        return await self.right.read()

    async def close(self) -> None:
        for task in self.left:
            task.cancel()
        await asyncio.gather(*self.left, return_exceptions=True)
        await self.right.close()


class Littering(Right):
    """Something goes on after close()."""

    async def close(self) -> None:
        await self.right.close()
        self.left = asyncio.ensure_future(asyncio.Event().wait())


class Gulping(Right):
    """Every third sample is lost, and nobody is told."""

    def samples(self) -> Batch:
        batch = self.right.samples()
        keep = np.arange(len(batch.tag)) % 3 != 0
        return Batch(*(column[keep] for column in batch))

    def health(self) -> Health:
        return replace(self.right.health(), shed=0, overflowed=0)


class Blocking(Right):
    """A read waits for the network."""

    async def read(self) -> Frame:
        frame = await self.right.read()
        begun = monotonic()
        while frame.at - int(frame.seen_at.max()) > SECOND // 2 and monotonic() - begun < 2.0:
            await pause(asyncio.Event(), 0.05)
            frame = await self.right.read()
        return frame


class Optimist(Right):
    """No answer is taken for a yes."""

    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]:
        done = await self.right.write(verdicts)
        return [replace(r, state="settled", applied=r.allowed) if r.state == "unknown" else r for r in done]


class Partial(Right):
    """Several writes go out one by one, and what was taken stays."""

    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]:
        return [receipt for verdict in verdicts for receipt in await self.right.write([verdict])]


class Whitewash(Right):
    """A bad status is shown as uncertain."""

    async def read(self) -> Frame:
        frame = await self.right.read()
        return changed(frame, status=np.where(frame.status == 0x8005_0000, 0x4000_0000, frame.status).astype(np.uint32))


class Typist(Right):
    """What is no number is a good zero."""

    async def read(self) -> Frame:
        frame = await self.right.read()
        junk = ~np.isfinite(frame.value) & np.isin(frame.status, [0, 0x8074_0000])
        return changed(frame, value=np.where(junk, 0.0, frame.value), status=np.where(junk, 0, frame.status).astype(np.uint32))


class Stubborn(Right):
    """A source time that goes back is never taken."""

    best: Frame | None = None

    async def read(self) -> Frame:
        frame = await self.right.read()
        if self.best is not None:
            newer = frame.source_at >= self.best.source_at
            frame = changed(
                frame, source_at=np.where(newer, frame.source_at, self.best.source_at),
                value=np.where(newer, frame.value, self.best.value),
            )  # fmt: skip
        self.best = frame
        return frame


class Swapped(Right):
    """Two tags have each other's values."""

    async def read(self) -> Frame:
        frame = await self.right.read()
        value = frame.value.copy()
        value[[0, 1]] = value[[1, 0]]
        return changed(frame, value=value)


class OwnTime(Right):
    """The time of arrival passes for that of the source."""

    async def read(self) -> Frame:
        frame = await self.right.read()
        return changed(frame, source_at=frame.seen_at.copy())


class Chatty(Right):
    """A write of nothing has a receipt."""

    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]:
        return await self.right.write(verdicts) or [Receipt("", 0.0, 0.0, 0, "settled")]


class Vague(Right):
    """A refusal is not passed on."""

    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]:
        return [replace(r, state="pending") if r.state == "rejected" else r for r in await self.right.write(verdicts)]


class Forgetful(Right):
    """A read after a write still shows what stood there before."""

    before: ClassVar[dict[int, tuple[int, float]]] = {}

    async def read(self) -> Frame:
        frame = await self.right.read()
        value = frame.value.copy()
        for i, (until, old) in self.before.items():
            if frame.at < until:
                value[i] = old
        return changed(frame, value=value)

    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]:
        frame = await self.right.read()
        done = await self.right.write(verdicts)
        self.before = {self.tags.index[r.tag]: (frame.at + 4 * SECOND, frame[r.tag]) for r in done if r.state == "settled"}
        return done


class Entangled(Right):
    """When one source is lost, all readings are."""

    all: ClassVar[list[Entangled]] = []

    def __init__(self, right: Linked) -> None:
        super().__init__(right)
        self.all.append(self)

    async def read(self) -> Frame:
        frame = await self.right.read()
        lost = [await other.right.read() for other in self.all if other is not self]
        return all_bad(frame) if any(other.status.min() >= LOST for other in lost) else frame

    async def close(self) -> None:
        self.all.remove(self)
        await self.right.close()


class Quitter(Right):
    """It gives up what has been lost for more than two seconds."""

    since = 0.0
    gone = False

    async def read(self) -> Frame:
        frame = await self.right.read()
        self.since = (self.since or monotonic()) if frame.status.min() >= LOST else 0.0
        self.gone = self.gone or (self.since > 0 and monotonic() - self.since > 2.0)
        return all_bad(frame) if self.gone else frame


class Once(Right):
    """It knows one connection only."""

    async def read(self) -> Frame:
        frame = await self.right.read()
        return all_bad(frame) if self.right.health().connections > 1 else frame


class Raising(Right):
    """A lost link is an error, not a bad reading."""

    async def read(self) -> Frame:
        frame = await self.right.read()
        if frame.status.min() >= LOST:
            raise ConnectionError("link lost")
        return frame


class Writing(Right):
    """It may write whatever its configuration says."""


WRONG = {
    kind.__name__: kind
    for kind in (
        Right, Cheerful, Doomed, Sticky, Hasty, Leaky, Littering, Gulping, Blocking, Optimist, Partial, Whitewash, Typist, Stubborn,
        Swapped, OwnTime, Chatty, Vague, Forgetful, Entangled, Quitter, Once, Raising, Writing,
    )
}  # fmt: skip


def main(name: str, kind: str, *only: str) -> None:
    right = maker(kind)

    def make(keys: Mapping[str, Any], clock: Clock) -> Any:
        if name == "Writing":
            keys = {**keys, "write": ["SP1", "SP2"]}
        return WRONG[name](right(keys, clock))

    evidence = asyncio.run(conform(kind, only=only, long=3.0, make=make))
    sys.stdout.write(msgspec.json.encode(evidence).decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
