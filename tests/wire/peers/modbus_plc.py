"""Play the tank behind a controller as a Modbus server until killed. Arguments: JSON of what differs. Prints the port."""

from __future__ import annotations

import asyncio
import json
import sys

from jayul.core.clock import Wall
from jayul.core.types import SECOND
from jayul.plant.link import Simulated
from jayul.plant.modbus.server import addresses, serve
from jayul.plant.sim.plc import Plc
from jayul.plant.sim.tank import Fault, TankConfig, tank

OPTIONS = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}


async def main() -> None:
    speed = OPTIONS.get("speed", 1.0)
    clock = Wall(7, speed=speed)
    declared = Simulated(speed, clock.now(), Wall().now())
    faults = tuple(Fault(**fault) for fault in OPTIONS.get("fault", ()))
    plc = Plc(tank(TankConfig(fault=faults), clock), clock, int(OPTIONS.get("watchdog", 300) * SECOND))
    table = addresses(plc.tags) | OPTIONS.get("table", {})
    only = OPTIONS.get("only") or list(table)

    def ready(port: int) -> None:
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()

    await serve(
        plc, clock, declared, "127.0.0.1", OPTIONS.get("port", 0), table={name: table[name] for name in only}, ready=ready
    )


asyncio.run(main())
