"""Processes that play OPC UA servers, and plants that talk to them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jayul.core.clock import Clock, Wall, monotonic
from jayul.core.types import Frame, Proposal, Tag, Verdict
from jayul.plant.opcua.client import Opcua, OpcuaConfig, opcua
from jayul.plant.table import Table, write_table

HERE = Path(__file__).parent
URI = "urn:test:nodes"


class Process:
    """A server in another process: it prints its port, then answers commands line by line."""

    def __init__(self, command: list[str], env: Mapping[str, str] | None = None) -> None:
        self._command, self._env = command, {**os.environ, **(env or {})}
        self.port = 0
        self.start()

    def start(self) -> None:
        """Start it (again)."""
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self._env)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.strip().isdigit():
            self.kill()
            raise AssertionError(f"the server did not start: {line!r}")
        self.port = int(line)

    def ask(self, **command: Any) -> Any:
        """Send a command; return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline().strip()
        return None if line == "done" else json.loads(line)

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def stop(self) -> None:
        """Freeze it: its sockets stay open and say nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)


class Nodes(Process):
    """The asyncua server of `peers/nodes.py`; it comes back on the same port."""

    def __init__(self, nodes: Mapping[str, str], **more: Any) -> None:
        self._told = {"nodes": nodes, **more}
        super().__init__([])

    def start(self, **more: Any) -> None:
        """Start it, on the port it had."""
        self._told |= {"port": self.port, **more}
        self._command = [sys.executable, str(HERE / "peers/nodes.py"), json.dumps(self._told)]
        super().start()


@contextlib.contextmanager
def running(process: Process) -> Iterator[Process]:
    """Kill it in the end."""
    try:
        yield process
    finally:
        process.kill()


def table(path: Path, tags: Mapping[str, Mapping[str, Any]], uri: str = URI) -> str:
    """Write a tag table of these names; the keys of a tag count, and its address may be given."""
    made = tuple(Tag(**({"name": name, "address": f"nsu={uri};s={name}"} | dict(keys))) for name, keys in tags.items())
    write_table(path, Table(made))
    return str(path)


@contextlib.asynccontextmanager
async def plant(config: OpcuaConfig, clock: Clock | None = None) -> AsyncIterator[Opcua]:
    """A plant that is closed in the end, leaving no task behind."""
    before = len(asyncio.all_tasks())
    made = opcua(config, clock or Wall())
    try:
        yield made
    finally:
        await made.close()
    assert len(asyncio.all_tasks()) <= before, "a task is left behind"


def config(port: int, tags: str, **more: Any) -> OpcuaConfig:
    """Make a configuration."""
    return OpcuaConfig(url=f"opcua://127.0.0.1:{port}", tags=tags, **({"verify": 0.5} | more))


async def until(made: Opcua, true: Callable[[Frame], bool], seconds: float = 5.0) -> Frame:
    """Read until it is true; fail after so many seconds (a limit that an acceptance line names, or a generous one)."""
    end = monotonic() + seconds
    while True:
        frame = await made.read()
        if true(frame):
            return frame
        assert monotonic() < end, (
            f"not within {seconds} s: {made.health()} {dict(zip(frame.table.names, frame.value, strict=True))}"
        )
        await asyncio.sleep(0.02)


def verdict(tag: str, value: float) -> Verdict:
    """Allow a value."""
    return Verdict(Proposal(tag, value, "test", "test"), value, "")
