"""A controller in another process, over a plain Unix socket, and the link to it: the plant of the gateway's tests.

    python plc_plant.py SOCKET SPEED WATCHDOG_SECONDS

Besides what a wire can do, the process tells what was written when, and lets a test play the operator at the panel.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import Any

import msgspec

from jayul.core.clock import Clock, Wall, today
from jayul.core.types import SECOND, Frame, Proposal, Receipt, Verdict
from jayul.plant.errors import Unreachable
from jayul.plant.link import Health, LinkConfig, Simulated, table_of
from jayul.plant.newest import Newest, Samples
from jayul.plant.sim.plc import Plc
from jayul.plant.sim.tank import TankConfig, tank
from jayul.testing import START


def _pack(message: Any) -> bytes:
    data = msgspec.msgpack.encode(message)
    return len(data).to_bytes(4, "big") + data


async def _unpack(reader: asyncio.StreamReader) -> Any:
    return msgspec.msgpack.decode(await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big")))


class PlcLink:
    """The link: nothing is kept, every read asks."""

    def __init__(self, config: LinkConfig, clock: Clock) -> None:
        self._config, self._clock = config, clock
        self.tags, table = table_of(config)
        self.loops = table.loops
        self._newest, self._samples = Newest(self.tags, clock.now), Samples(len(self.tags.tags))
        self._link: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def _ask(self, *message: Any) -> Any:
        try:
            async with asyncio.timeout(1.0):
                if self._link is None:
                    self._link = await asyncio.open_unix_connection(self._config.url)
                self._link[1].write(_pack(message))
                return await _unpack(self._link[0])
        except (OSError, EOFError) as error:
            await self.close()
            raise Unreachable(f"{self._config.url}: {error}") from error

    async def declared(self) -> Simulated | None:
        return Simulated.decode(await self._ask("declared"))

    async def read(self) -> Frame:
        try:
            for i, (value, source_at) in enumerate(await self._ask("read", [tag.address for tag in self.tags.tags])):
                self._newest.take(i, value, 0, source_at, self._clock.now())
        except Unreachable:
            self._newest.lost()
        return self._newest.frame()

    async def write(self, verdicts: list[Verdict]) -> list[Receipt]:
        wanted = [(v.proposal.tag, v.allowed) for v in verdicts if v.allowed is not None]
        if not all(tag in self._config.write for tag, _ in wanted):
            return [Receipt(tag, value, None, self._clock.now(), "rejected") for tag, value in wanted]
        try:
            codes = await self._ask("set", [(self.tags[tag].address, value) for tag, value in wanted]) if wanted else []
        except Unreachable:
            return [Receipt(tag, value, None, self._clock.now(), "unknown") for tag, value in wanted]
        now = self._clock.now()
        return [
            Receipt(tag, value, value, now, "settled") if code == 0 else Receipt(tag, value, None, now, "rejected")
            for (tag, value), code in zip(wanted, codes, strict=True)
        ]

    def took(self, receipts: Any) -> None:
        pass

    def samples(self) -> Any:
        return self._samples.drain()

    def losses(self) -> Any:
        return self._samples.losses()

    def health(self) -> Health:
        return Health(self._link is not None, 1, 0, 0, 0)

    async def close(self) -> None:
        link, self._link = self._link, None
        if link:
            link[1].close()
            with contextlib.suppress(OSError):
                await link[1].wait_closed()


def plc_plant(config: LinkConfig, clock: Clock) -> PlcLink:
    """The entry point."""
    return PlcLink(config, clock)


class Room:
    """The controller, its panel, and a list of everything that was written: (plant time, tag, value, status code)."""

    def __init__(self, speed: float, watchdog: float) -> None:
        self.clock = Wall(speed=speed, anchor=(START, today()))
        self.speed, self.log = speed, []
        self._tank = tank(TankConfig(watchdog="10 h"), self.clock)
        self.plc = Plc(self._tank, self.clock, int(watchdog * SECOND))
        self.deaf = False

    async def answer(self, kind: str, *rest: Any) -> Any:
        if kind == "declared":
            return Simulated(self.speed, self.clock.now(), today()).encode()
        if kind == "read":
            frame = await self.plc.frame()
            at = {name: i for i, name in enumerate(frame.table.names)}
            return [(frame[name], int(frame.seen_at[at[name]])) for name in rest[0]]
        if kind == "set":
            return [await self._set(tag, value) for tag, value in rest[0]]
        if kind == "panel":  # an operator at the panel: not a sign of life of the supervisor
            return await self._panel(*rest)
        if kind == "deaf":
            self.deaf = rest[0]
            return None
        frame = await self.plc.frame()
        return [self.clock.now(), {name: frame[name] for name in frame.table.names}, self.log, self.plc.shed]

    async def _set(self, tag: str, value: float) -> int:
        code = await self.plc.set(tag, value)
        self.log.append((self.clock.now(), tag, value, code))
        return code

    async def _panel(self, tag: str, value: float) -> None:
        if tag.endswith(".MODE"):
            self._tank.switch(tag, int(value))
        else:
            await self._tank.write([Verdict(Proposal(tag, value, "", "operator"), value, "")])


async def main(path: Path, speed: float, watchdog: float) -> None:
    room = Room(speed, watchdog)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                message = await _unpack(reader)
                if room.deaf and message[0] in ("read", "set"):
                    continue
                writer.write(_pack(await room.answer(*message)))
        writer.close()

    server = await asyncio.start_unix_server(talk, path=str(path))
    print("ready", flush=True)
    async with server:
        while True:
            await asyncio.sleep(0.05)
            await room.plc.frame()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
