"""A simulated plant in a process of its own, which can keep silent on purpose: it lives on when the loop is killed.

    python -m jayul.conform.plant --project DIR --socket PATH --seed 0 --hold 5 --how apply

It prints `ready`, and `held` when the write with that number came: the write was applied, or dropped, and is never answered.
With `--how blind` it was dropped and TIC1.SP cannot be read well for the next `--blind` reads.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path

from jayul.core.clock import Sim
from jayul.core.types import BAD, Frame, Plant, Receipt, TagTable, Verdict
from jayul.plant.remote import OnWrite, serve
from jayul.project.manifest import load
from jayul.project.wire import wire


class Blinded:
    """A plant one of whose tags reads bad while `left` is above 0."""

    def __init__(self, plant: Plant, tag: str) -> None:
        self._plant, self._tag, self.left = plant, tag, 0

    @property
    def tags(self) -> TagTable:
        return self._plant.tags

    async def read(self) -> Frame:
        """Return the plant's frame, that one tag bad for a while."""
        frame = await self._plant.read()
        if not self.left:
            return frame
        self.left -= 1
        status = frame.status.copy()
        status[frame.table.index[self._tag]] = BAD
        return Frame(frame.at, frame.table, frame.value, frame.source_at, frame.seen_at, status)

    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]:
        """Hand on."""
        return await self._plant.write(verdicts)


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hold", type=int, default=0, help="number of the write that is never answered; 0: none")
    parser.add_argument("--how", choices=["apply", "drop", "blind"], default="apply")
    parser.add_argument("--blind", type=int, default=1)
    arguments = parser.parse_args()
    wired = wire(load(arguments.project), arguments.project, arguments.seed)
    plant, count = Blinded(wired.plant, "TIC1.SP"), 0

    def on_write(verdicts: Sequence[Verdict]) -> OnWrite:
        nonlocal count
        count += bool(verdicts)
        if not verdicts or count != arguments.hold:
            return "answer"
        plant.left = arguments.blind if arguments.how == "blind" else 0
        print("held", flush=True)
        return "apply" if arguments.how == "apply" else "drop"

    clock = wired.clock
    assert isinstance(clock, Sim)
    asyncio.run(serve(plant, clock, arguments.socket, ready=lambda: print("ready", flush=True), on_write=on_write))


if __name__ == "__main__":
    main()
