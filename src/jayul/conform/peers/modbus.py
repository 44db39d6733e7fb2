"""A controllable Modbus TCP server, straight on the socket.

    python -m jayul.conform.peers.modbus --port 1502 --tags 8

Holding registers, big-endian 64-bit floats: tag `T3` at 12, `SP1` at 4000, `SP2` at 4020. Values are those of the moment at which
a request is answered. A request that touches a register which is gone, or never was, gets exception 2.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import struct

from jayul.conform.peers.world import Order, World, answer, orders
from jayul.plant.link import pause

SETPOINTS_AT = {"SP1": 4000, "SP2": 4020}
WRONG = {"nan": math.nan, "infinite": math.inf}


class Peer:
    """The server; see `world` for what it can be told."""

    def __init__(self, count: int) -> None:
        self.world = World(count)
        self.at = {number * 4: tag for tag, number in self.world.numbers.items()} | {v: k for k, v in SETPOINTS_AT.items()}
        self.links: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection until it ends."""
        self.links.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, struct.error):
            while True:
                number, protocol, length, unit = struct.unpack(">HHHB", await reader.readexactly(7))
                body = await reader.readexactly(length - 1)
                if protocol != 0:
                    break
                said = self.reply(body)
                if body[0] == 16 and self.world.hold:
                    await pause(asyncio.Event(), self.world.hold)
                writer.write(struct.pack(">HHHB", number, 0, len(said) + 1, unit) + said)
                await writer.drain()
        self.links.discard(writer)
        writer.close()

    def reply(self, body: bytes) -> bytes:
        """Return the answer to one request."""
        function = body[0]
        if function == 3:
            start, count = struct.unpack_from(">HH", body, 1)
            data = self._registers(start, count)
            return bytes([3, 2 * count]) + data if data is not None else b"\x83\x02"
        if function == 16:
            start, count, size = struct.unpack_from(">HHB", body, 1)
            return self._write(start, count, body[6 : 6 + size])
        return bytes([function | 0x80, 1])

    def _registers(self, start: int, count: int) -> bytes | None:
        now, data = self.world.now(), b""
        for at in range(start, start + count):
            tag = self.at.get(at // 4 * 4)
            if tag is None or tag in self.world.gone:
                return None
            value, _, _ = self.world.look(tag, now)
            value = WRONG.get(self.world.wrong.get(tag, ""), value)
            data += struct.pack(">d", value)[at % 4 * 2 : at % 4 * 2 + 2]
            if tag in self.world.sent and at % 4 == 0:
                self.world.sent[tag] += 1
        return data

    def _write(self, start: int, count: int, data: bytes) -> bytes:
        if start % 4 or count % 4 or len(data) != 2 * count:
            return b"\x90\x03"
        tags = [self.at.get(at, "") for at in range(start, start + count, 4)]
        if any(tag not in SETPOINTS_AT or tag in self.world.gone for tag in tags):
            return b"\x90\x02"
        taken = [self.world.write(tag, *struct.unpack_from(">d", data, 8 * k)) for k, tag in enumerate(tags)]
        return b"\x10" + struct.pack(">HH", start, count) if all(taken) else b"\x90\x03"


async def main(port: int, count: int) -> None:
    """Serve until standard input ends."""
    peer = Peer(count)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", port)
    answer({"port": server.sockets[0].getsockname()[1]})

    async def then(order: Order) -> None:
        del order

    await orders(peer.world, then)
    server.close()
    for writer in peer.links:
        writer.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tags", type=int, default=8)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.port, arguments.tags))
