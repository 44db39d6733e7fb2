"""Plays the tank behind an OPC UA server in a process of its own; prints its port. Arguments: speed, seed, port."""

from __future__ import annotations

import asyncio
import sys

from jayul.core.clock import today
from jayul.core.expr import duration
from jayul.core.types import SECOND
from jayul.plant.link import Simulated
from jayul.plant.opcua.server import serve
from jayul.plant.sim.plc import Plc
from jayul.plant.sim.tank import TankConfig, tank

START = 1_767_225_600 * SECOND


def main() -> None:
    speed, seed, port = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    declared = Simulated(speed, START, today())
    clock = declared.clock(seed)
    plc = Plc(tank(TankConfig(), clock), clock, duration("10 min"))
    asyncio.run(serve(plc, clock, declared, "127.0.0.1", port, ready=lambda at: print(at, flush=True)))


if __name__ == "__main__":
    main()
