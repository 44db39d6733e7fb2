"""A tank behind a Unix socket, for the kind `remote`.

    python -m jayul.conform.peers.remote --socket PATH

Only `writes` is obeyed: `take`, or `drop` (the write is applied and never answered).
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path

from jayul.conform.peers.world import Order, World, answer, orders
from jayul.core.clock import Sim
from jayul.core.types import SECOND, Verdict
from jayul.plant.remote import OnWrite, serve
from jayul.plant.sim.tank import TankConfig, tank

START = 1_767_225_600 * SECOND  # 2026-01-01 UTC


async def main(path: Path) -> None:
    """Serve until standard input ends."""
    world, clock = World(0), Sim(START, 7)

    def on_write(verdicts: Sequence[Verdict]) -> OnWrite:
        return "apply" if verdicts and world.writes == "drop" else "answer"

    async def then(order: Order) -> None:
        del order

    serving = asyncio.ensure_future(
        serve(tank(TankConfig(), clock), clock, path, ready=lambda: answer({"port": 0}), on_write=on_write)
    )
    await orders(world, then)
    serving.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--socket", type=Path, required=True)
    asyncio.run(main(parser.parse_args().socket))
