"""The rig of a run: server, proxy, and a plant between which and the truth every reading is held.

controllable server  <-  proxy  <-  plant  <-  seat (reads, judges, counts)
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jayul.conform.benches import COUNT, Bench, Make
from jayul.conform.peer import Broker, Peer, arguments
from jayul.conform.proxy import Proxy
from jayul.conform.truth import between, true
from jayul.core.clock import Wall, monotonic
from jayul.core.types import SECOND, Frame, Proposal, Receipt, Verdict, same
from jayul.plant.link import Linked, pause
from jayul.plant.newest import OVERFLOW
from jayul.plant.table import Table, write_table

LOOK = 0.05  # s between two reads
NOT_GOOD = 0x4000_0000
ANSWERED = 1.2  # s: how old a value without a source time may be, beside its `source_at`
EXAMPLES = 5
SETPOINTS = ("SP1", "SP2")


class Failed(Exception):
    """A check failed: what was seen, in one line."""


class NotTried(Exception):
    """A check could not be run: why."""


class Books:
    """What was true, and what was read that was not. `log`: what the server said of its set-points, over all its lives."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.log: list[tuple[int, str, float]] = []
        self.judged = self.false = 0
        self.examples: list[str] = []
        self._setpoints: dict[tuple[str, float, int], int] = {}  # tag, value, source time -> when it was last seen so

    def judge(self, name: str, value: float, status: int, source_at: int, seen_at: int) -> None:
        """Hold one reading against the truth. One that claims nothing (bad, uncertain, no number) is not judged."""
        if status >= NOT_GOOD or not math.isfinite(value):
            return
        if name in SETPOINTS:
            self._setpoints[name, value, source_at] = seen_at
            return
        self.judged += 1
        number = int(name[1:])
        if self._bench.source_time:
            good = true(number, value, source_at)
        else:
            first = min(source_at, seen_at) - int(ANSWERED * SECOND)
            good = between(number, value, first, seen_at + SECOND // 20)
        if not good:
            self._wrong(f"{name} was {value:.6f} at source time {source_at / SECOND:.6f}, seen at {seen_at / SECOND:.6f}")

    def settle(self, log: Sequence[Any]) -> None:
        """Take in the server's own log, and hold what was read of the set-points against it."""
        self.log = sorted({*self.log, *((int(at), str(tag), float(value)) for at, tag, value in log)})
        for (name, value, source_at), seen_at in self._setpoints.items():
            self.judged += 1
            rows = [(at, said) for at, tag, said in self.log if tag == name]
            ends = [at for at, _ in rows[1:]] + [1 << 62]
            first, last = min(source_at, seen_at) - SECOND // 2, seen_at + SECOND // 10
            if not any(same(said, value) and at <= last and end >= first for (at, said), end in zip(rows, ends, strict=True)):
                self._wrong(f"{name} was {value:g} at source time {source_at / SECOND:.6f}, which it never was then")
        self._setpoints.clear()

    def _wrong(self, text: str) -> None:
        self.false += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(text)


class Seat:
    """One plant, read the way a loop reads it: one call at a time."""

    def __init__(self, plant: Linked, books: Books | None) -> None:
        self.plant, self._books = plant, books
        self.frames, self.slowest = 0, 0.0
        self.samples, self.owned_up = [0] * len(plant.tags.tags), [0] * len(plant.tags.tags)  # by tag; with the overflow bits
        self.names = tuple(name for name in plant.tags.names if name not in SETPOINTS) if books else plant.tags.names

    async def look(self) -> Frame:
        """Read once, and judge what came. Raises Failed if the plant raises anything."""
        begun = monotonic()
        try:
            frame = await self.plant.read()
        except Exception as error:
            raise Failed(f"read() raised {type(error).__name__}: {error}") from error
        if self.frames:  # the first may wait for values
            self.slowest = max(self.slowest, monotonic() - begun)
        self.frames += 1
        if self._books is not None:
            columns = (frame.value.tolist(), frame.status.tolist(), frame.source_at.tolist(), frame.seen_at.tolist())
            for name, *row in zip(frame.table.names, *columns, strict=True):
                self._books.judge(name, *row)
        self.drain()
        return frame

    def drain(self) -> None:
        """Take the samples away, count and judge them."""
        batch = self.plant.samples()
        names = self.plant.tags.names
        columns = (batch.tag.tolist(), batch.value.tolist(), batch.status.tolist(), batch.source_at.tolist())
        for tag, value, status, source_at, known_at in zip(*columns, batch.known_at.tolist(), strict=True):
            self.samples[tag] += 1
            self.owned_up[tag] += status & OVERFLOW == OVERFLOW
            if self._books is not None and names[tag] not in SETPOINTS:
                self._books.judge(names[tag], value, status, source_at, known_at)

    async def until(self, good: Callable[[Frame], bool], within: float) -> float | None:
        """Read until it is so; return after how many seconds, None if it was not within that time."""
        begun, never = monotonic(), asyncio.Event()
        while True:
            if good(await self.look()):
                return monotonic() - begun
            if monotonic() - begun > within:
                return None
            await pause(never, LOOK)

    async def must(self, what: str, good: Callable[[Frame], bool], within: float) -> float:
        """As `until`; raise Failed with what did not happen."""
        found = await self.until(good, within)
        if found is None:
            trouble, frame = self.plant.health().trouble, await self.look()
            told = [name for name in frame.table.names if not frame.fresh(name)]
            ill = f"not fresh: {', '.join(told[:3])}{', ...' if len(told) > 3 else ''}" if told else "all are fresh"
            raise Failed(f"{what} within {within:g} s ({'; '.join(filter(None, (ill, trouble)))})")
        return found

    async def always(self, what: str, good: Callable[[Frame], bool], seconds: float) -> None:
        """Read for so long; raise Failed if it is not so even once."""
        if (found := await self.until(lambda frame: not good(frame), seconds)) is not None:
            raise Failed(f"{what} (after {found:.1f} s)")

    def all_fresh(self, *but: str) -> Callable[[Frame], bool]:
        """Return a test that all measured tags are fresh, but these."""
        names = [name for name in self.names if name not in but]
        return lambda frame: all(frame.fresh(name) for name in names)

    def none_measured(self) -> Callable[[Frame], bool]:
        """Return a test that no measured tag is fresh."""
        return lambda frame: not any(frame.fresh(name) for name in self.names)

    def none_fresh(self) -> Callable[[Frame], bool]:
        """Return a test that no tag is fresh."""
        return lambda frame: not any(frame.fresh(name) for name in frame.table.names)

    async def ready(self, within: float = 10.0) -> float:
        """Wait until all measured tags are fresh."""
        return await self.must("not all tags came", self.all_fresh(), within)

    async def write(self, values: Mapping[str, float]) -> list[Receipt]:
        """Write, as the gateway does. Raises Failed if the plant raises anything, or answers for other tags than these."""
        verdicts = [Verdict(Proposal(tag, value, "conform", "conform"), value, "") for tag, value in values.items()]
        try:
            receipts = list(await self.plant.write(verdicts))
        except Exception as error:
            raise Failed(f"write() raised {type(error).__name__}: {error}") from error
        if sorted(receipt.tag for receipt in receipts) != sorted(values):
            raise Failed(f"a write of {', '.join(values)} has receipts for {[receipt.tag for receipt in receipts]}")
        return receipts


class Left(tuple[int, int, int]):
    """What the process holds: asyncio tasks, open files and sockets, threads but for the loop's own pool."""

    __slots__ = ()

    @staticmethod
    def now() -> Left:
        """Count."""
        threads = sum(not thread.name.startswith("asyncio_") for thread in threading.enumerate())
        return Left((len(asyncio.all_tasks()), sum(1 for _ in Path("/proc/self/fd").iterdir()), threads))


class Rig:
    """Server, proxy and plants of one run. Without a bench of its own (`url`) the server is a foreign one: it is not controlled."""

    def __init__(self, bench: Bench, make: Make, folder: Path, *, long: float = 20.0, url: str = "", tags: str = "") -> None:
        self.bench, self.long, self._make, self._folder = bench, long, make, folder
        self.books: Books | None = None if url else Books(bench)
        self.peer: Peer | None = None
        self.broker: Broker | None = None
        self._url, self._tags = url, tags
        self._seats: list[Seat] = []
        self._proxies: list[Proxy] = []
        self.slowest = 0.0
        self.frames = 0

    @property
    def control(self) -> Peer:
        """The controllable server. Raises NotTried if there is none."""
        if self.peer is None:
            raise NotTried("needs a server that can be told to misbehave")
        return self.peer

    @property
    def proxy(self) -> Proxy:
        """The proxy before the server."""
        return self._proxies[0]

    async def start(self) -> None:
        """Start server and proxy. Raises Unreachable."""
        parts = urlsplit(self._url)
        host, port = parts.hostname or "127.0.0.1", parts.port or {"modbus": 502, "mqtt": 1883}.get(self.bench.kind, 4840)
        if not self._url:
            if self.bench.broker:
                self.broker = Broker(self._folder)
                await self.broker.start()
            more, own = arguments(self.bench.kind, COUNT, self.broker.port if self.broker else 0)
            self.peer = Peer(self.bench.kind, *more, port=own)
            await self.peer.start()
            port = self.broker.port if self.broker else self.peer.port
            self._tags = str(self._folder / "tags.csv")
            write_table(Path(self._tags), Table(tuple(self.bench.tags)))
        self._proxies = [Proxy(host, port), Proxy(host, port)]
        for proxy in self._proxies:
            await proxy.accept()

    async def open(self, *, write: Sequence[str] = SETPOINTS, through: int = 0, **more: Any) -> Seat:
        """Make a plant behind the proxy; nothing is read yet."""
        keys = {"url": f"{self.bench.scheme}://127.0.0.1:{self._proxies[through].port}", "tags": self._tags, **more}
        if self.books is not None:
            keys |= self.bench.options | {"write": list(write)}
        seat = Seat(self._make(keys, Wall()), self.books)
        self._seats.append(seat)
        return seat

    async def ready(self, **more: Any) -> Seat:
        """Make a plant, and wait until all measured tags are fresh."""
        seat = await self.open(**more)
        await seat.ready()
        return seat

    async def shut(self, seat: Seat) -> None:
        """Close one plant. Raises Failed if it does not close."""
        self._seats.remove(seat)
        seat.drain()
        self.frames += seat.frames
        try:
            await asyncio.wait_for(seat.plant.close(), 10.0)
        except TimeoutError:
            raise Failed("close() did not return within 10 s") from None

    async def reset(self) -> None:
        """Close all plants, heal server and network, and settle the books: what every check begins with."""
        for seat in list(self._seats):
            await self.shut(seat)
        for proxy in self._proxies:
            await proxy.heal()
            proxy.cut()
        if self.peer is None or self.books is None:
            return
        if not self.peer.alive:
            await self.back()
        await self.peer.tell("heal")
        await self.told()

    async def told(self) -> Any:
        """Ask the server what was written and sent, and settle the books."""
        said = await self.control.tell("told")
        if self.books is not None:
            self.books.settle(said["log"])
        return said

    async def kill(self) -> None:
        """Kill what the plant is connected to with SIGKILL."""
        await self.told()
        if self.broker is not None:
            await self.broker.kill()
        else:
            await self.control.kill()
        self.proxy.refuse()
        self.proxy.cut()

    async def back(self, *extra: str) -> None:
        """Let what was killed come back."""
        if self.broker is not None:
            await self.broker.start()
        if self.peer is not None and not self.peer.alive:
            await self.peer.start(*extra)
        await self.proxy.heal()

    async def clean(self, before: Left, what: str) -> dict[str, float]:
        """Raise Failed if the process holds more than before, also after 2 s."""
        begun, never = monotonic(), asyncio.Event()
        while True:
            now = Left.now()
            more = [have - had for have, had in zip(now, before, strict=True)]
            if all(extra <= 0 for extra in more):
                return {}
            if monotonic() - begun > 2.0:
                words = ("tasks", "open files", "threads")
                raise Failed(f"{what}: " + ", ".join(f"{n} {word} more" for n, word in zip(more, words, strict=True) if n > 0))
            await pause(never, 0.05)

    async def close(self) -> None:
        """End everything."""
        for seat in list(self._seats):
            await self.shut(seat)
        for proxy in self._proxies:
            await proxy.close()
        if self.peer is not None:
            await self.peer.close()
        if self.broker is not None:
            await self.broker.kill()
