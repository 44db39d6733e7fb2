"""A client that writes nothing and says 20 times a second what stands in the plant. Arguments: envelope, tag table."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from jayul.core.clock import Wall
from jayul.gateway.envelope import read
from jayul.plant.opcua.client import OpcuaConfig, opcua


async def main(envelope_path: str, tags: str) -> None:
    envelope = read(Path(envelope_path))
    config = OpcuaConfig(url=envelope.options["url"], tags=tags, speed=envelope.speed)
    probe = opcua(config, Wall())
    declared = await probe.declared()
    assert declared
    plant = opcua(config, declared.clock(0))
    print(f"ready\n{declared.encode()}", flush=True)
    while True:
        frame = await plant.read()
        seen = {"at": frame.at, "sp": frame["TIC1.SP"], "mode": frame["TIC1.MODE"], "watchdog": frame["WATCHDOG"]}
        print(json.dumps(seen), flush=True)
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
