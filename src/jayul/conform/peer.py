"""A controllable server, or a broker, as the kit sees it: a process that is started, told things, killed and started again."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from jayul.core.clock import monotonic
from jayul.plant.errors import Unreachable
from jayul.plant.link import pause

ANSWER = 20.0  # s: for a process to start, or to answer an order


class Peer:
    """A process of `jayul.conform.peers`. `more`: arguments besides the port."""

    def __init__(self, module: str, *more: str, port: bool = True) -> None:
        self._module, self._more, self._named = module, more, port
        self.port = 0
        self._process: asyncio.subprocess.Process | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`

    @property
    def alive(self) -> bool:
        """Say whether it runs."""
        return self._process is not None and self._process.returncode is None

    async def start(self, *extra: str) -> None:
        """Start it, on the port that it had. Raises Unreachable if it does not come up."""
        command = [sys.executable, "-m", f"jayul.conform.peers.{self._module}", *self._more, *extra]
        command += ["--port", str(self.port)] if self._named else []
        self._process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=self._errors, limit=1 << 24
        )
        said = await self._line()
        self.port = int(said.get("port", 0))

    async def _line(self) -> Any:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), ANSWER)
            return msgspec.json.decode(line)
        except (TimeoutError, msgspec.DecodeError):
            self._errors.seek(0)
            told = self._errors.read().decode(errors="replace").strip().splitlines()[-1:]
            await self.kill()
            raise Unreachable(f"the controllable server {self._module} does not answer: {' '.join(told)}") from None

    async def tell(self, do: str, *tags: str, **more: Any) -> Any:
        """Give an order and return the answer. Raises Unreachable."""
        if self._process is None or self._process.stdin is None:
            raise Unreachable(f"the controllable server {self._module} does not run")
        self._process.stdin.write(msgspec.json.encode({"do": do, "tags": tags, **more}) + b"\n")
        said = await self._line()
        if "error" in said:
            raise ValueError(said["error"])
        return said

    async def kill(self) -> None:
        """Kill it with SIGKILL."""
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()
        while self._process.stdout is not None and await self._process.stdout.read(1 << 16):
            pass
        self._process._transport.close()  # type: ignore[attr-defined]  # the pipes too
        self._process = None

    async def close(self) -> None:
        """Kill it for good."""
        await self.kill()
        self._errors.close()


def mosquitto() -> str:
    """Return the path of the broker's program; empty if it is not installed."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin") or ""


class Broker:
    """A mosquitto of our own, which keeps every message that it is given."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port = int(taken.getsockname()[1])
        self._file = folder / "mosquitto.conf"
        self._file.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nuser root\nmax_queued_messages 0\n"
            "max_inflight_messages 0\nlog_type none\n"
        )
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it on its port. Raises Unreachable."""
        self._process = await asyncio.create_subprocess_exec(
            mosquitto(), "-c", str(self._file), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        await listening(self.port)

    async def kill(self) -> None:
        """Kill it with SIGKILL."""
        if self._process is not None:
            if self._process.returncode is None:
                self._process.kill()
            await self._process.wait()
            self._process = None


async def listening(port: int) -> None:
    """Wait until somebody listens there. Raises Unreachable."""
    begun, never = monotonic(), asyncio.Event()
    while monotonic() - begun < ANSWER:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await pause(never, 0.02)
            continue
        writer.transport.abort()
        await pause(never, 0.001)
        return
    raise Unreachable(f"nobody listens on port {port}")


def arguments(kind: str, count: int, broker: int) -> tuple[Sequence[str], bool]:
    """Return the arguments of a controllable server, and whether it listens on a port of its own."""
    if kind == "mqtt":
        return ("--tags", str(count), "--broker", str(broker)), False
    return ("--tags", str(count)), True
