"""What the Modbus tests share: a device in another process, a tag table, a link to it, a write."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from msgspec.structs import replace

from jayul.core.clock import Clock, Sim, Wall, monotonic
from jayul.core.types import Frame, Proposal, Tag, Verdict
from jayul.plant.modbus.client import Modbus, ModbusConfig, modbus
from jayul.plant.sim.plc import Plc
from jayul.plant.sim.tank import TankConfig, tank
from jayul.plant.table import Loop, Table, write_table
from jayul.testing import START

HERE = Path(__file__).parent
WRITE = ("TIC1.SP", "LIC1.SP", "TIC1.MODE", "WATCHDOG")


class Peer:
    """A device in a process of its own; `restart` gives it the port that it had."""

    def __init__(self, command: Sequence[str], options: Mapping[str, Any], env: Mapping[str, str] | None = None) -> None:
        self._command, self._options, self._env = command, dict(options), {**os.environ, **(env or {})}
        self.port = 0
        self.start()

    def start(self) -> None:
        command = [*self._command, json.dumps({**self._options, "port": self.port})]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self._env)
        assert self.process.stdout is not None
        try:
            self.port = int(self.process.stdout.readline())
        except ValueError:
            self.kill()
            raise

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def restart(self) -> None:
        self.kill()
        self.start()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()


def played(**options: Any) -> Peer:
    """Play the tank behind a controller on our own server."""
    return Peer([sys.executable, str(HERE / "peers" / "modbus_plc.py")], options)


def line() -> Plc:
    """Return the controller that is played, for its tags and loops."""
    clock = Sim(START)
    return Plc(tank(TankConfig(), clock), clock, 1)


def table(folder: Path, places: Mapping[str, str], tags: Mapping[str, Tag] | None = None) -> Path:
    """Write a tag table with these addresses; `tags`: what else is known of them (default: those of the tank)."""
    known = {tag.name: tag for tag in line().tags.tags} if tags is None else tags
    loops: dict[str, Loop] = {name: loop for name, loop in line().loops.items() if name in places and loop.mode in places}
    found = tuple(replace(known.get(name, Tag(name=name)), address=place) for name, place in places.items())
    write_table(path := folder / "tags.csv", Table(found, loops))
    return path


@asynccontextmanager
async def link(port: int, path: Path, *, clock: Clock | None = None, **config: Any) -> AsyncIterator[Modbus]:
    """Connect, and let go."""
    plant = modbus(ModbusConfig(url=f"modbus://127.0.0.1:{port}", tags=str(path), **config), clock or Wall())
    try:
        yield plant
    finally:
        await plant.close()


async def until(plant: Modbus, true: Callable[[Frame], bool], seconds: float = 5.0) -> Frame:
    """Read until something is true; fail after some seconds."""
    end = monotonic() + seconds
    while not true(frame := await plant.read()):
        assert monotonic() < end, (
            f"not within {seconds} s: {frame.value} {[hex(status) for status in frame.status]} {plant.health()}"
        )
        await asyncio.sleep(0.02)
    return frame


def good(frame: Frame) -> bool:
    return not frame.status.any()


def bad(frame: Frame) -> bool:
    return bool((frame.status >= 0x8000_0000).all())


def wish(tag: str, value: float) -> Verdict:
    return Verdict(Proposal(tag, value, "test", "test"), value, "")


def play(what: Callable[[], Awaitable[None]]) -> None:
    """Run a test, and see that it leaves no task."""

    async def whole() -> None:
        await what()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"left behind: {left}"

    asyncio.run(whole())
