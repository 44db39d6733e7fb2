"""A device that speaks Modbus TCP, as a plant: polled for ever over one connection, one request at a time.

Modbus carries no source time: what a reply says is as old as the reply (`source_at` = `seen_at`). With `alive` configured, all
readings are as old as the last change of that tag, so that a device which answers but no longer works grows old; its first value
counts as a change. Readings go bad as soon as a request fails, and a new connection is tried for ever.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec.structs import replace

from jayul.core.clock import Clock, monotonic
from jayul.core.types import Frame, Receipt, TagTable, Verdict
from jayul.plant.errors import Refused, Unreachable
from jayul.plant.link import RETRY, Health, LinkConfig, Simulated, pause, table_of
from jayul.plant.modbus.address import GAP, WRITABLE, Address, Block, decode, encode, parse
from jayul.plant.modbus.declare import COUNT, START, UNIT, unpack
from jayul.plant.modbus.scan import Scan
from jayul.plant.newest import NO_COMMUNICATION, Losses, Newest, Samples
from jayul.record.batch import Batch

if TYPE_CHECKING:
    from jayul.plant.modbus.wire import Wire

FIRST = 2.0  # s: so long the first read waits for values
UNKNOWN_ADDRESS = 0x8034_0000  # OPC UA Bad_NodeIdUnknown
DECODING = 0x8007_0000  # OPC UA Bad_DecodingError
PORT = 502


class ModbusConfig(LinkConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`url`: `modbus://host:port`. `poll`: s between polls; `timeout`: s for one answer; `unit`: identifier of the device, where
    an address names none; `blocks`: read neighbours with one request.
    """

    poll: float = 0.1
    timeout: float = 1.0
    unit: int = 1
    blocks: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 < self.poll <= 3600 and 0 < self.timeout <= 60):
            raise ValueError("'poll' must lie above 0 and at most at 3600 s, 'timeout' at most at 60 s")
        if not 0 <= self.unit <= 255:
            raise ValueError("'unit' must lie from 0 to 255")


def modbus(config: ModbusConfig, clock: Clock) -> Modbus:
    """Make the plant; it connects at the first read. Raises Refused."""
    try:
        import jayul.plant.modbus.wire  # noqa: F401 - the extra is looked for now, not at the first read
    except ImportError:
        raise Refused("a Modbus plant needs the extra 'modbus': pip install 'jayul[modbus]'") from None
    return Modbus(config, clock)


def places(tags: TagTable, where: str, unit: int) -> dict[int, Address]:
    """Return the address of each tag, by position; `unit`: of those that name none. Raises Refused."""
    found = {}
    for i, tag in enumerate(tags.tags):
        try:
            place = parse(tag.address)
        except ValueError as error:
            raise Refused(f"{where}, tag '{tag.name}': 'address': {error}") from None
        found[i] = place if place.unit >= 0 else replace(place, unit=unit)
    return found


def _host(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        (host or "").encode("idna")
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme != "modbus" or not host or parts.path not in ("", "/") or port == 0:
        raise Refused(f"'url' is '{url}'; write modbus://HOST:PORT")
    return host, port or PORT


class Modbus:
    """The plant; it implements `plant.link.Linked`."""

    def __init__(self, config: ModbusConfig, clock: Clock) -> None:
        self._config, self._clock = config, clock
        self._host, self._port = _host(config.url)
        self.tags, table = table_of(config)
        self.loops = dict(table.loops)
        self._places = places(self.tags, config.tags, config.unit)
        self._check_names()
        self._newest = Newest(self.tags, clock.now)
        first = [i for i, tag in enumerate(self.tags.tags) if tag.writable or tag.kind == "mode"]
        self._samples = Samples(len(self.tags.tags), first=first)
        self._alive = self.tags.index.get(config.alive, -1)
        self._alive_value, self._alive_at = math.nan, 0
        self._scan = Scan(self._places, GAP if config.blocks else None, self._alive)
        self._asked = -1  # unit that was asked last
        self._overtaken = dict[int, int]()  # position -> what was asked for before this time no longer counts
        self._wire: Wire | None = None
        self._lock, self._first, self._over = asyncio.Lock(), asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._connections, self._trouble = 0, ""

    def _check_names(self) -> None:
        config = self._config
        keys: Mapping[str, Sequence[str]] = {
            "write": config.write, "constant": config.constant,
            "alive": [config.alive][: bool(config.alive)], "watchdog": [config.watchdog][: bool(config.watchdog)],
        }  # fmt: skip
        for key, names in keys.items():
            for name in names:
                if name not in self.tags.index:
                    raise Refused(f"'{key}' names '{name}', which is no tag of {config.tags}; add it there")
        for name in config.write:
            if (area := self._places[self.tags.index[name]].area) not in WRITABLE:
                raise Refused(f"'write' names '{name}', whose address is {area}: nobody can write there; use holding or coil")

    # ---------------------------------------------------------------- reading

    async def read(self) -> Frame:
        """Return the newest of each tag, at once; the first call connects and waits a little for values."""
        await self._begin()
        return self._newest.frame()

    async def _begin(self) -> None:
        if self._task is None and not self._over.is_set():
            self._task = asyncio.create_task(self._live(), name="modbus")
            await pause(self._first, FIRST)
        elif self._task is not None and self._task.done() and not self._over.is_set():
            self._task.result()  # it never ends by itself: this raises what broke it

    async def _open(self) -> Wire:
        from jayul.plant.modbus.wire import Wire

        return await Wire.open(self._host, self._port, self._config.timeout)

    async def _live(self) -> None:
        """Connect, poll for ever; on trouble mark the readings, and connect again."""
        tries = 0
        while not self._over.is_set():
            try:
                self._wire = await self._open()
                self._connections += 1
                self._scan.begin()
                while not self._over.is_set():
                    await self._poll(self._wire)
                    tries, self._trouble = 0, ""
                    self._first.set()
                    await pause(self._over, self._config.poll)
            except OSError as error:
                if self._lose(error):
                    continue
            finally:
                self._drop()
            await pause(self._over, RETRY[min(tries, len(RETRY) - 1)])
            tries += 1

    def _drop(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def _lose(self, error: OSError) -> bool:
        """Mark readings bad. Say whether only one unit of several is silent, so that the others can be asked at once."""
        from jayul.plant.modbus.wire import Garbled

        self._trouble = str(error) or type(error).__name__
        alone = self._scan.silence(self._asked, monotonic()) if self._wire and isinstance(error, TimeoutError) else None
        self._newest.lost(DECODING if isinstance(error, Garbled) else NO_COMMUNICATION, only=alone)
        return alone is not None

    async def _poll(self, wire: Wire) -> None:
        """Make every request that is due; one that is refused is split, so that only what does not exist is missing."""
        from jayul.plant.modbus.wire import Objection

        todo = deque(self._scan.due(monotonic()))
        while todo:
            block = todo.popleft()
            try:
                async with self._lock:
                    sent, self._asked = self._clock.now(), block.unit
                    raw = await wire.read(block.unit, block.area, block.start, block.count)
                    self._take(block, raw, sent)
            except Objection as objection:
                parts = self._scan.refused(block, objection.code, monotonic())
                if parts == [block]:
                    self._newest.lost(NO_COMMUNICATION, only=block.members)
                    continue
                if not parts:
                    self._newest.lost(UNKNOWN_ADDRESS, only=block.members)
                todo.extendleft(reversed(parts))
            else:
                self._scan.found(block)

    def _take(self, block: Block, raw: Sequence[int], sent: int) -> None:
        """Take in a reply to what was asked for at `sent`."""
        now = self._clock.now()
        for i in sorted(block.members, key=lambda i: i != self._alive):
            place = self._places[i]
            value = value_of(place, raw[place.at - block.start : place.end - block.start])
            if i == self._alive and not math.isnan(value) and value != self._alive_value:
                self._alive_value, self._alive_at = value, now
            if sent >= self._overtaken.get(i, 0):
                self._keep(i, value, now)

    def _keep(self, i: int, value: float, now: int) -> None:
        source_at = self._alive_at if self._alive >= 0 else now
        status = DECODING if math.isnan(value) else 0
        self._newest.take(i, value, status, source_at, now)
        self._samples.add(i, source_at, value, status, now)

    # ---------------------------------------------------------------- writing

    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]:
        """Write the allowed values, all or none, and read them back; see `write.transact` for what the states mean."""
        from jayul.plant.modbus.write import transact

        asked = [(v.proposal.tag, v.allowed) for v in verdicts if v.allowed is not None]
        if not asked:
            return []
        if not self._may([tag for tag, _ in asked]) or not self._fits(asked):
            return [Receipt(tag, value, None, self._clock.now(), "rejected") for tag, value in asked]
        await self._begin()
        wanted = {i: (self._places[i], value) for i, value in ((self.tags.index[tag], value) for tag, value in asked)}
        signs = frozenset(i for name, i in self.tags.index.items() if name == self._config.watchdog)
        async with self._lock:
            done = await transact(self._wire, wanted, self._open, signs)
        now = self._clock.now()
        receipts = [Receipt(tag, value, (end := done[self.tags.index[tag]])[1], now, end[0]) for tag, value in asked]
        self.took(receipts)
        return receipts

    def _may(self, names: Sequence[str]) -> bool:
        """Say whether all of these may be written here, each once."""
        tags = [self.tags.get(name) for name in names if name in self._config.write]
        return len({tag.name for tag in tags if tag and not tag.safety}) == len(names)

    def _fits(self, asked: Sequence[tuple[str, float]]) -> bool:
        try:
            for tag, value in asked:
                encode(self._places[self.tags.index[tag]], value)
        except ValueError:
            return False
        return True

    def took(self, receipts: Sequence[Receipt]) -> None:
        """Take in what was written, here or over another connection, and read back; polls that were under way do not count."""
        now = self._clock.now()
        for receipt in receipts:
            if receipt.applied is None or receipt.tag not in self.tags.index or not math.isfinite(receipt.applied):
                continue
            i, source_at = self.tags.index[receipt.tag], self._alive_at if self._alive >= 0 else now
            self._overtaken[i] = now
            self._newest.wrote(i, receipt.applied, source_at, now)
            self._samples.add(i, source_at, receipt.applied, 0, now)

    # ---------------------------------------------------------------- the rest

    async def declared(self) -> Simulated | None:
        """Ask the peer, over a connection of its own, whether it is simulated. Raises Unreachable."""
        from jayul.plant.modbus.wire import Objection

        try:
            wire = await self._open()
            try:
                return unpack(await wire.read(UNIT, "holding", START, COUNT))
            finally:
                wire.close()
        except Objection:
            return None
        except OSError as error:
            what = str(error) or type(error).__name__
            raise Unreachable(f"no Modbus device answers at {self._config.url}: {what}") from error

    def samples(self) -> Batch:
        """Return every sample since the last call."""
        return self._samples.drain()

    def losses(self) -> Losses:
        """Return what was lost since the last call, by tag."""
        return self._samples.losses()

    def health(self) -> Health:
        """Say how the link fares."""
        counts = self._samples
        return Health(
            self._wire is not None, self._connections, sum(counts.received), sum(counts.shed), sum(counts.overflowed),
            tuple(self.tags.names[i] for i in self._scan.missing), trouble=self._trouble,
        )  # fmt: skip

    async def close(self) -> None:
        """Stop polling and let go of the connection, for good."""
        self._over.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._drop()
        self._newest.lost()


def value_of(place: Address, raw: Sequence[int]) -> float:
    """Return what registers say; NaN for what is no finite number."""
    value = decode(place, raw)
    return value if math.isfinite(value) else math.nan
