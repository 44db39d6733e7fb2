"""A TCP proxy that does to a connection what networks do: cut, half-open, late, slow, refused.

    python -m jayul.conform.proxy 127.0.0.1:4840

It prints the port that it listens on, and takes orders on standard input, one a line: `cut`, `mute`, `mute up`, `mute down`,
`delay 3`, `rate 10000`, `refuse`, `accept`, `heal`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import struct
import sys
from typing import Literal

from jayul.core.clock import monotonic
from jayul.plant.link import pause

Way = Literal["up", "down"]  # from the client to the server, and back
CHUNK = 65536


class _Link:
    """One connection through the proxy. What is muted stays muted for its life: bytes that were swallowed cannot come back."""

    def __init__(self, proxy: Proxy, writer: asyncio.StreamWriter) -> None:
        self.proxy, self.client, self.server = proxy, writer, None if proxy.muted else writer
        self.muted: set[Way] = set(proxy.muted)
        self.task: asyncio.Task[None] | None = None

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Forward until either side ends, or for ever if it is mute."""
        if len(self.muted) == 2:  # nobody behind it
            while await reader.read(CHUNK):
                pass
            return
        try:
            back, self.server = await asyncio.open_connection(*self.proxy.target)
        except OSError:
            return
        try:
            pumps = [asyncio.ensure_future(self._pump(reader, self.server, "up"))]
            pumps.append(asyncio.ensure_future(self._pump(back, self.client, "down")))
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            _reset(self.server)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        """Forward one way: read at once, send when it is due."""
        due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(1000)
        sender = asyncio.ensure_future(self._send(due, writer, way))
        try:
            while data := await reader.read(CHUNK):
                self.proxy.count[way] += len(data)
                if sender.done():
                    break
                await due.put((monotonic() + (self.proxy.delay if way == "down" else 0.0), data))
            if self.muted:  # one end is gone, and the other must not hear of it
                await asyncio.Event().wait()
        except ConnectionError:
            pass
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    async def _send(self, due: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, way: Way) -> None:
        never = asyncio.Event()
        with contextlib.suppress(ConnectionError):
            while True:
                at, data = await due.get()
                while (left := at - monotonic()) > 0 and self.proxy.delay:
                    await pause(never, min(left, 0.1))
                if way in self.muted:
                    continue
                if self.proxy.rate:
                    await pause(never, len(data) / self.proxy.rate)
                writer.write(data)
                await writer.drain()


class Proxy:
    """The proxy. `target` may be changed at any time; `delay` (s) holds back each answer, `rate` (bytes/s, 0: none) throttles both
    ways; `muted`: ways that new connections are mute in, too.
    """

    def __init__(self, host: str, port: int) -> None:
        self.target, self.port = (host, port), 0
        self.delay = self.rate = 0.0
        self.muted: set[Way] = set()
        self.count: dict[Way, int] = {"up": 0, "down": 0}
        self.accepted = 0
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None

    async def accept(self) -> None:
        """Listen, always on the same port."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Listen no longer: new connections are refused. Those that stand go on."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def cut(self) -> None:
        """Reset every connection."""
        for link in list(self._links):
            for writer in (link.client, link.server):
                if writer is not None:
                    _reset(writer)
            if link.task is not None:
                link.task.cancel()

    def mute(self, *ways: Way) -> None:
        """Keep all connections, also new ones, but forward nothing any more (in these ways; none named: both)."""
        self.muted = set(ways or ("up", "down"))
        for link in self._links:
            link.muted |= self.muted

    async def heal(self) -> None:
        """Be a plain proxy again for new connections. Those that were mute stay so."""
        self.muted, self.delay, self.rate = set(), 0.0, 0.0
        await self.accept()

    @property
    def open(self) -> int:
        """Connections that stand."""
        return len(self._links)

    async def close(self) -> None:
        """Stop, and reset every connection."""
        self.refuse()
        tasks = [link.task for link in self._links if link.task is not None]
        self.cut()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        link = _Link(self, writer)
        link.task = asyncio.current_task()
        self._links.add(link)
        try:
            await link.run(reader)
        except (ConnectionError, asyncio.CancelledError):  # asyncio's server would report it
            pass
        finally:
            self._links.discard(link)
            _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a socket with RST."""
    sock = writer.get_extra_info("socket")
    if sock is not None and not writer.is_closing():
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def obey(proxy: Proxy, words: list[str]) -> bool:
    """Carry out one order; say whether it was one."""
    match words:
        case ["cut"]:
            proxy.cut()
        case ["mute"]:
            proxy.mute()
        case ["mute", "up" | "down" as way]:
            proxy.mute("up" if way == "up" else "down")
        case ["delay", seconds]:
            proxy.delay = float(seconds)
        case ["rate", bytes_per_second]:
            proxy.rate = float(bytes_per_second)
        case ["refuse"]:
            proxy.refuse()
        case ["accept"]:
            await proxy.accept()
        case ["heal"]:
            await proxy.heal()
        case _:
            return False
    return True


async def _main(target: str) -> None:
    host, _, port = target.rpartition(":")
    proxy = Proxy(host, int(port))
    await proxy.accept()
    print(json.dumps({"port": proxy.port}), flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        try:
            done = await obey(proxy, line.decode().split())
        except ValueError:
            done = False
        print(json.dumps({"ok": done}), flush=True)
    await proxy.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", help="host:port")
    asyncio.run(_main(parser.parse_args().target))
