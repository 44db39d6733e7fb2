"""A simulated plant on real protocols, in a process of its own: what `jayul simulate` plays until it is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from jayul.core.clock import Wall
from jayul.core.types import SECOND, Tag
from jayul.plant.link import Simulated
from jayul.plant.sim.plc import Plc
from jayul.plant.table import Table, write_table
from jayul.project import links
from jayul.project.manifest import Manifest

LATE = 3 * SECOND  # of the wall clock until somebody is told that a broker is not there
STALE = 60.0  # s; a plant that is on a wire is never allowed less
PATIENCE = 3 * SECOND  # of the wall clock: links and processes are not sped up, so no watchdog is quicker, where speed is not 1


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """What to play: a project's plant, how fast, and on which protocols. `mqtt` is HOST:PORT of a broker; port 0: any."""

    manifest: Manifest
    seed: int = 0
    speed: float = 1.0
    watchdog: int  # ns of plant time
    operator: int = 0  # ns of plant time after which a simulated operator puts loops to remote again; 0: nobody does
    opcua: int | None = None
    modbus: int | None = None
    mqtt: str = ""
    host: str = "127.0.0.1"
    clock: Path | None = None  # file that keeps the clock from one play to the next


def tables(plc: Plc, prefix: str) -> dict[str, Table]:
    """Return the tag tables of a plant that is played, by kind of plant."""
    from jayul.plant.modbus import server as modbus
    from jayul.plant.mqtt import server as mqtt
    from jayul.plant.opcua import server as opcua

    found = {"opcua": opcua.addresses(plc.tags), "modbus": modbus.addresses(plc.tags), "mqtt": mqtt.addresses(plc.tags, prefix)}
    return {kind: Table(tuple(_listed(plc.tags.tags, where)), plc.loops) for kind, where in found.items()}


def _listed(tags: Iterable[Tag], where: dict[str, str]) -> Iterable[Tag]:
    for tag in tags:
        yield replace(tag, address=where[tag.name], stale_after=max(tag.stale_after, STALE))


def write_tables(manifest: Manifest, folder: Path) -> list[Path]:
    """Write the tag tables of a simulated plant into a folder, one for each protocol."""
    plant, clock, _ = links.on_show(manifest, 0, 1.0)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for kind, table in tables(Plc(plant, clock, 0), manifest.project.name).items():
        write_table(path := folder / f"tags.{kind}.csv", table)
        paths.append(path)
    return paths


async def play(
    stage: Stage,
    ready: Callable[[str], None],
    stopped: Callable[[], bool],
    *,
    waiting: Callable[[str], None] = lambda what: None,
) -> None:
    """Play until `stopped` says so; `ready` gets the URL of each protocol as it begins to answer. Raises ManifestError, OSError.

    `waiting` gets the broker that is still not there after a while; it is tried for ever.
    """
    plant, clock, declared = links.on_show(stage.manifest, stage.seed, stage.speed, stage.clock)
    patience = stage.watchdog if stage.speed == 1 else max(stage.watchdog, int(stage.speed * PATIENCE))
    plc, there, quiet = Plc(plant, clock, patience, stage.operator), list[str](), Wall(stopped=stopped)

    def answers(url: str) -> None:
        there.append(url)
        ready(url)

    async def watch() -> None:
        await quiet.until(quiet.now() + LATE)
        if stage.mqtt and not any(url.startswith("mqtt") for url in there) and not stopped():
            waiting(stage.mqtt)
        await quiet.until(quiet.now() + 10 * 365 * 86400 * SECOND)

    tasks = [asyncio.ensure_future(job) for job in (*_servers(stage, plc, clock, declared, answers), watch())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _servers(
    stage: Stage, plc: Plc, clock: Wall, declared: Simulated, ready: Callable[[str], None]
) -> Iterator[Coroutine[Any, Any, None]]:
    """Yield one server for each protocol that is asked for; its library is imported only then."""

    def told(scheme: str) -> Callable[[int], None]:
        return lambda port: ready(f"{scheme}://{stage.host}:{port}")

    if stage.opcua is not None:
        from jayul.plant.opcua import server as opcua

        yield opcua.serve(plc, clock, declared, stage.host, stage.opcua, ready=told("opcua"))
    if stage.modbus is not None:
        from jayul.plant.modbus import server as modbus

        yield modbus.serve(plc, clock, declared, stage.host, stage.modbus, ready=told("modbus"))
    if stage.mqtt:
        from jayul.plant.mqtt import server as mqtt

        host, _, port = stage.mqtt.partition(":")
        prefix, url = stage.manifest.project.name, f"mqtt://{host}:{port or 1883}"
        yield mqtt.serve(plc, clock, declared, host, int(port or 1883), prefix=prefix, ready=lambda: ready(url))
