"""A plant in another process, over a Unix socket: length-prefixed MessagePack, one request at a time.

The plant lives on when the loop dies, as a real one does. `serve` is the other side; it plays any plant object.
A lost link marks every reading bad and every write unknown; the next call connects again.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from jayul.core.clock import Clock, Sim
from jayul.core.types import BAD, SECOND, Columns, Frame, Plant, Receipt, Tag, TagTable, Verdict
from jayul.plant.errors import Unreachable

TIMEOUT = 10.0  # s, for one request
JUNK = (msgspec.MsgspecError, ValueError, OverflowError, RecursionError, MemoryError)  # what is not said by a plant
OnWrite = Literal["answer", "apply", "drop"]


class RemoteConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`socket`: path of the Unix socket on which the plant listens."""

    socket: str


def remote(config: RemoteConfig, clock: Clock) -> Remote:
    """Connect to a plant in another process and ask for its tags. Raises Unreachable."""
    return Remote(config, clock)


def _pack(message: Any) -> bytes:
    data = msgspec.msgpack.encode(message)
    return len(data).to_bytes(4, "little") + data


async def _unpack(reader: asyncio.StreamReader) -> Any:
    length = int.from_bytes(await reader.readexactly(4), "little")
    return msgspec.msgpack.decode(await reader.readexactly(length))


class Remote:
    """The client side; it implements Plant."""

    simulated = True  # this wire is ours: only simulated plants speak it

    def __init__(self, config: RemoteConfig, clock: Clock) -> None:
        self._path, self._clock = config.socket, clock
        self._link: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as plain:
                plain.settimeout(TIMEOUT)
                plain.connect(self._path)
                plain.sendall(_pack(["tags"]))
                data = b""
                while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "little"):
                    if not (part := plain.recv(65536)):
                        raise ConnectionError("closed")
                    data += part
        except OSError as error:
            raise Unreachable(f"no plant answers at {self._path}: {error.strerror or error}") from error
        try:
            self.tags = TagTable(msgspec.msgpack.decode(data[4:], type=list[Tag]))
        except JUNK as error:
            raise Unreachable(f"what answers at {self._path} is not a plant: {error}") from error

    async def _ask(self, message: Any) -> Any:
        if self._link is None:
            self._link = await asyncio.open_unix_connection(self._path)
        reader, writer = self._link
        writer.write(_pack(message))
        await writer.drain()
        return await _unpack(reader)

    async def _call(self, message: Any) -> Any:
        """Return the answer, or None if the link is lost."""
        try:
            return await asyncio.wait_for(self._ask(message), TIMEOUT)
        except (OSError, asyncio.IncompleteReadError, TimeoutError, *JUNK):
            await self.close()
            return None

    async def read(self) -> Frame:
        """Return the newest of each tag; all bad if the plant does not answer."""
        now = self._clock.now()
        answer = await self._call(["read", now])
        if answer is None:
            return self._nothing(now)
        try:
            at, columns = msgspec.convert(answer, tuple[int, Columns])
            frame = Frame.from_columns(at, self.tags, columns)
            if abs(at - now) > 3600 * SECOND:
                return self._nothing(now)
        except JUNK:  # as good as no answer
            return self._nothing(now)
        return frame

    def _nothing(self, now: int) -> Frame:
        n = len(self.tags.tags)
        stamps = np.zeros(n, dtype=np.int64)
        return Frame(now, self.tags, np.full(n, np.nan), stamps, stamps.copy(), np.full(n, BAD, dtype=np.uint32))

    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]:
        """Send allowed values; unknown if no answer came."""
        now = self._clock.now()
        answer = await self._call(["write", now, verdicts])
        if answer is None:
            return [Receipt(v.proposal.tag, v.allowed, None, now, "unknown") for v in verdicts if v.allowed is not None]
        unknown = [Receipt(v.proposal.tag, v.allowed, None, now, "unknown") for v in verdicts if v.allowed is not None]
        try:
            receipts = msgspec.convert(answer, list[Receipt])
        except JUNK:
            return unknown
        return receipts if {r.tag for r in receipts} <= {r.tag for r in unknown} else unknown

    async def close(self) -> None:
        """Let go of the link."""
        if self._link is not None:
            self._link[1].close()
            with contextlib.suppress(OSError):
                await self._link[1].wait_closed()
            self._link = None


async def serve(
    plant: Plant,
    clock: Sim,
    path: Path,
    *,
    ready: Callable[[], None] = lambda: None,
    on_write: Callable[[Sequence[Verdict]], OnWrite] = lambda verdicts: "answer",
) -> None:
    """Play a plant on a Unix socket until cancelled. Its clock follows the times that the client names, never backwards.

    `on_write`, for fault injection, is asked before each write: answer it, apply it in silence, or drop it in silence.
    """
    path.unlink(missing_ok=True)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                kind, *rest = await _unpack(reader)
                if kind == "tags":
                    answer: Any = plant.tags.tags
                else:
                    await clock.until(rest[0])
                    if kind == "read":
                        frame = await plant.read()
                        answer = (frame.at, frame.columns())
                    else:
                        verdicts = msgspec.convert(rest[1], list[Verdict])
                        how = on_write(verdicts)
                        answer = await plant.write(verdicts) if how != "drop" else ()
                        if how != "answer":
                            continue
                writer.write(_pack(answer))
                await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(talk, path=str(path))
    async with server:
        ready()
        await server.serve_forever()
