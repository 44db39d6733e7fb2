"""Hold a link for a long time: does memory stay flat, is every sample there, is every reading fresh?

    python benchmarks/soak.py --json --seed 0 --minutes 5 --tags 2000 --cuts 3

An OPC UA server in another process changes every tag once a second. The plant reads through a proxy that resets the connection
`--cuts` times at moments drawn from the seed. Reported: the slope of resident memory over the run without its first fifth (MB/h,
with its standard error), coverage (share of tag-seconds with a fresh reading), reconnects, and losses: a sample is explained if it
was due while the connection was down, else unexplained. The last line of output is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jayul.conform.benches import BENCHES, maker
from jayul.conform.peer import Peer
from jayul.conform.proxy import Proxy
from jayul.core.clock import Wall, monotonic, today
from jayul.core.types import SECOND, Tag
from jayul.plant.link import Linked, pause
from jayul.plant.table import Table, write_table

EVERY = 1.0  # s between readings
STALE = 3.0  # s
PAGE = os.sysconf("SC_PAGE_SIZE")


def rss() -> float:
    """Return resident memory, MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 1e6


class Tally:
    """What came: samples by source time, each counted once; fresh readings; memory; when the link was down.

    It keeps 24 bytes a second itself, so that what grows is the link's.
    """

    def __init__(self, plant: Linked, n: int) -> None:
        self.plant, self.n = plant, n
        self.by_step: dict[int, int] = {}  # steps of which some samples are missing yet
        self.whole = array("q")
        self.newest = np.zeros(n, dtype=np.int64)
        self.fresh = self.asked = self.samples = 0
        self.at, self.memory = array("d"), array("d")
        self.down: list[list[int]] = []  # from, to (ns)
        self.connections, self.looked = plant.health().connections, today()  # at the last look

    async def look(self, begun: float) -> None:
        frame = await self.plant.read()
        fresh = sum(frame.fresh(name) for name in frame.table.names)
        self.fresh, self.asked = self.fresh + fresh, self.asked + self.n
        self.watch(fresh == self.n)
        self.take()
        self.at.append(monotonic() - begun)
        self.memory.append(rss())

    def watch(self, whole: bool) -> None:
        """Note when the link is lost, and when all is fresh again."""
        health, now = self.plant.health(), today()
        lost, ill = health.connections != self.connections or not health.connected, bool(self.down) and not self.down[-1][1]
        if lost and not ill:
            self.down.append([self.looked, 0])
        elif ill and whole and not lost:
            self.down[-1][1] = now
        self.connections, self.looked = health.connections, now

    def take(self) -> None:
        batch = self.plant.samples()
        order = np.argsort(batch.source_at, kind="stable")
        for i, at in zip(batch.tag[order].tolist(), batch.source_at[order].tolist(), strict=True):
            if at > self.newest[i]:
                self.newest[i] = at
                self.samples += 1
                self.by_step[at] = count = self.by_step.get(at, 0) + 1
                if count == self.n:
                    del self.by_step[at]
                    self.whole.append(at)

    def losses(self, steps: list[int]) -> tuple[int, int]:
        """Return samples that are missing: explained and unexplained."""
        explained = unexplained = 0
        whole = set(self.whole)
        for at in steps:
            missing = 0 if at in whole else self.n - self.by_step.get(at, 0)
            down = any(begin - 2 * SECOND <= at <= (end or today()) for begin, end in self.down)
            explained, unexplained = explained + missing * down, unexplained + missing * (not down)
        return explained, unexplained


def slope(at: Sequence[float], memory: Sequence[float]) -> tuple[float, float]:
    """Return the slope of memory in MB/h and its standard error, leaving out the first fifth."""
    first = len(memory) // 5
    t, m = np.array(at[first:]) / 3600, np.array(memory[first:])
    design = np.column_stack([t - t.mean(), np.ones(len(t))])
    fit, *_ = np.linalg.lstsq(design, m, rcond=None)
    rest = m - design @ fit
    error = np.sqrt(rest @ rest / max(1, len(t) - 2) / ((t - t.mean()) ** 2).sum())
    return float(fit[0]), float(error)


async def soak(minutes: float, tags: int, cuts: int, seed: int, say: bool) -> dict[str, object]:
    """Run it and return the figures."""
    bench, clock = BENCHES["opcua"], Wall(seed)
    peer = Peer("opcua", "--tags", str(tags), "--step", "1.0")
    await peer.start()
    proxy = Proxy("127.0.0.1", peer.port)
    await proxy.accept()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tags.csv"
        write_table(
            file, Table(tuple(Tag(name=f"T{i}", stale_after=STALE, address=bench.address(f"T{i}")) for i in range(tags)))
        )
        plant = maker("opcua")({"url": f"opcua://127.0.0.1:{proxy.port}", "tags": str(file)}, clock)
    first = await plant.read()
    while not all(first.fresh(name) for name in first.table.names):
        await pause(asyncio.Event(), 0.2)
        first = await plant.read()
    tally = Tally(plant, tags)
    since, begun, never = today() + SECOND, monotonic(), asyncio.Event()
    at = sorted(clock.rng("soak/cuts").uniform(0.1, 0.9, cuts) * minutes * 60)
    while (now := monotonic() - begun) < minutes * 60:
        if at and now >= at[0]:
            at.pop(0)
            proxy.cut()
        await tally.look(begun)
        if say and len(tally.memory) % 30 == 0:
            print(f"{now:6.0f} s  {tally.memory[-1]:7.1f} MB  {tally.samples} samples", file=sys.stderr)
        await pause(never, max(0.0, EVERY - (monotonic() - begun - now)))
    until = today() - 2 * SECOND
    steps = [step for step in (await peer.tell("steps"))["steps"] if since <= step <= until]
    tally.take()
    explained, unexplained = tally.losses(steps)
    health = plant.health()
    await plant.close()
    await proxy.close()
    await peer.close()
    grows, error = slope(tally.at, tally.memory)
    return {
        "minutes": minutes, "tags": tags, "seed": seed, "cuts": cuts, "samples": tally.samples, "steps": len(steps),
        "coverage": round(tally.fresh / tally.asked, 6), "reconnects": health.connections - 1,
        "lost_explained": explained, "lost_unexplained": unexplained, "overflowed": health.overflowed, "shed": health.shed,
        "rss_mb": round(tally.memory[-1], 1), "rss_slope_mb_per_h": round(grows, 2), "rss_slope_error": round(error, 2),
        "flat": abs(grows) <= max(2 * error, 1.0), "down_s": [round((e - b) / SECOND, 2) for b, e in tally.down if e],
    }  # fmt: skip


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print nothing but the figures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--tags", type=int, default=2000)
    parser.add_argument("--cuts", type=int, default=3)
    arguments = parser.parse_args()
    figures = asyncio.run(soak(arguments.minutes, arguments.tags, arguments.cuts, arguments.seed, not arguments.json))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
