"""A mosquitto broker and our publisher, each in a process of its own, and small helpers for the tests of MQTT."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec.structs import replace
from peers import program

from jayul.core.clock import Wall
from jayul.core.types import Frame, Proposal, Receipt, Tag, TagTable, Verdict
from jayul.plant.mqtt.client import Mqtt, MqttConfig, mqtt
from jayul.plant.mqtt.server import addresses
from jayul.plant.sim.plc import Plc
from jayul.plant.sim.tank import TankConfig, tank
from jayul.plant.table import Table, write_table

PUBLISHER = """
import asyncio, sys
from jayul.core.clock import Wall
from jayul.core.types import SECOND
from jayul.plant.link import Simulated
from jayul.plant.mqtt.server import serve
from jayul.plant.sim.plc import Plc
from jayul.plant.sim.tank import TankConfig, tank
port, speed, sparkplug = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "sparkplug"
clock = Wall(7, speed=speed)
declared = Simulated(speed, clock.now(), Wall().now())
plc = Plc(tank(TankConfig(), clock), clock, 600 * SECOND)
asyncio.run(serve(plc, clock, declared, "127.0.0.1", port, sparkplug=sparkplug, ready=lambda: print("ready", flush=True)))
"""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Process:
    """A process that is sent signals and always ends."""

    def __init__(self, command: Sequence[str]) -> None:
        self.command, self.process = list(command), subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().rstrip()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


class Mosquitto:
    """The broker. `more`: lines of its configuration besides the listener."""

    def __init__(self, folder: Path, more: str = "allow_anonymous true\n") -> None:
        self.port, self.folder = free_port(), folder
        (folder / "mosquitto.conf").write_text(f"listener {self.port} 127.0.0.1\nuser root\n{more}")
        self.start()

    def start(self) -> None:
        sbin = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])
        os.environ["PATH"] = sbin if "/usr/sbin" not in os.environ["PATH"] else os.environ["PATH"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [program("mosquitto"), "-c", str(self.folder / "mosquitto.conf")], stdout=log, stderr=log
            )
        for _ in range(400):
            assert self.process.poll() is None, (self.folder / "log").read_text()
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError("mosquitto does not listen")

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()

    def pub(self, topic: str, message: str, *more: str) -> None:
        command = [program("mosquitto_pub"), "-V", "5", "-h", "127.0.0.1", "-p", str(self.port), "-t", topic, "-m", message]
        subprocess.run([*command, *more], check=True, timeout=10, capture_output=True)

    def sub(self, topic: str, *more: str, count: int = 1) -> list[str]:
        command = [program("mosquitto_sub"), "-V", "5", "-h", "127.0.0.1", "-p", str(self.port), "-t", topic]
        done = subprocess.run(
            [*command, "-C", str(count), "-W", "5", *more], check=False, timeout=10, capture_output=True, text=True
        )
        return done.stdout.splitlines()


def publisher(port: int, speed: float = 1.0, kind: str = "json") -> Process:
    """Start our publisher of a tank; it has published everything when this returns."""
    found = Process([sys.executable, "-c", PUBLISHER, str(port), str(speed), kind])
    if (said := found.line()) != "ready":
        found.kill()
        raise AssertionError(said)
    return found


def tank_table(path: Path, sparkplug: bool = False) -> Path:
    """Write the tag table of the tank as our publisher shows it."""
    clock = Wall()
    plc = Plc(tank(TankConfig(), clock), clock, 1)
    at = addresses(plc.tags, "jayul", sparkplug=sparkplug)
    write_table(path, Table(tuple(replace(tag, address=at[tag.name]) for tag in plc.tags.tags), plc.loops))
    return path


def plant(table: Path, port: int, *, clock: Wall | None = None, **more: object) -> Mqtt:
    config = {"url": f"mqtt://127.0.0.1:{port}", "tags": str(table)} | more
    return mqtt(MqttConfig(**config), clock or Wall())  # type: ignore[arg-type]


async def until(found: Mqtt, good: Callable[[Frame], bool], seconds: float) -> float:
    """Read until it is good; return how long it took, s."""
    begun = time.monotonic()
    while not good(frame := await found.read()):
        assert time.monotonic() - begun < seconds, f"{frame.status} {frame.value} {found.health()}"
        await asyncio.sleep(0.02)
    return time.monotonic() - begun


async def set_to(found: Mqtt, values: dict[str, float]) -> list[Receipt]:
    return list(await found.write([Verdict(Proposal(tag, value, "test", "test"), value, "") for tag, value in values.items()]))


def no_more(frame: Frame, table: TagTable) -> bool:
    return not any(frame.fresh(name) for name in table.names)


def bare(path: Path, *tags: Tag) -> Path:
    write_table(path, Table(tags))
    return path


class Forward:
    """A wire that can be cut: it passes bytes on to a port of this machine."""

    def __init__(self, to: int) -> None:
        self._to, self.port = to, free_port()
        self._server: asyncio.Server | None = None
        self._jobs: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Forward:
        await self.open()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.cut()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self.port)

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
        for job in list(self._jobs):
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        job = asyncio.current_task()
        assert job is not None
        self._jobs.add(job)
        there: asyncio.StreamWriter | None = None
        try:
            back, there = await asyncio.open_connection("127.0.0.1", self._to)

            async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()

            both = {asyncio.ensure_future(copy(reader, there)), asyncio.ensure_future(copy(back, writer))}
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for half in both:
                    half.cancel()
                await asyncio.gather(*both, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            if there is not None:
                there.close()
            self._jobs.discard(job)
