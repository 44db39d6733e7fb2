"""A brain in a process of its own: it raises TIC1.SP by a degree a period, through the gateway, and says what came of it.

python gated_brain.py ENVELOPE TAGS GATEWAY_SOCKET KEY_NAME TARGET
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import typing
from importlib.metadata import entry_points
from pathlib import Path

import msgspec

from jayul.core.clock import Wall
from jayul.core.types import Proposal, Verdict
from jayul.gateway.envelope import read
from jayul.plant.gated import Gated
from jayul.record.sign import Signer


async def main(envelope_path: str, tags: str, socket: str, key: str, target: float) -> None:
    envelope = read(Path(envelope_path))
    make = {point.name: point for point in entry_points(group="jayul.plants")}[envelope.plant].load()
    of = typing.get_type_hints(make)[next(iter(inspect.signature(make).parameters))]
    config = msgspec.convert({**envelope.options, "tags": tags, "speed": envelope.speed}, of)
    probe = make(config, Wall())
    declared = await probe.declared()
    await probe.close()
    assert declared
    clock = declared.clock(0)
    plant = Gated(make(config, clock), Path(socket), Signer.open(key), envelope.digest(), clock)
    at, asked = clock.now(), 0.0
    while True:
        frame = await plant.read()
        receipts = []
        if frame.fresh("TIC1.SP") and frame["TIC1.SP"] < target:
            asked = min(target, frame["TIC1.SP"] + 1.0)
            receipts = await plant.write([Verdict(Proposal("TIC1.SP", asked, "up", "p"), asked, "")])
        states = [[r.tag, r.applied, r.state] for r in receipts]
        said = {
            "sp": frame["TIC1.SP"],
            "asked": asked,
            "receipts": states,
            "trouble": plant.trouble,
            "head": plant.gateway_head,
        }
        print(json.dumps(said).replace("NaN", "null"), flush=True)
        at += envelope.period
        await clock.until(at)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5], float(sys.argv[5])))
