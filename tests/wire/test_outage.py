"""Servers that are killed at random moments: data resumes within 5 s of their return, no reading is false, nothing is left behind.

Five kills each by default, twenty with JAYUL_LONG=1. The server is an asyncua server, the broker is mosquitto; both are killed with
SIGKILL and come back on the port that they had, after a while that is drawn too.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

import pytest
from peers import program

from jayul.conform.benches import BENCHES, COUNT, maker
from jayul.conform.peer import Broker, Peer
from jayul.conform.rig import Books, Left, Seat
from jayul.core.clock import Wall
from jayul.plant.table import Table, write_table

KILLS = 20 if os.environ.get("JAYUL_LONG") else 5
RESUMES = 5.0  # s
SEED = 7


async def seat_of(kind: str, port: int, folder: Path) -> Seat:
    bench = BENCHES[kind]
    write_table(folder / "tags.csv", Table(tuple(bench.tags)))
    keys = {"url": f"{bench.scheme}://127.0.0.1:{port}", "tags": str(folder / "tags.csv"), **bench.options}
    return Seat(maker(kind)(keys, Wall()), Books(bench))


async def drive(seat: Seat, kill: Callable[[], Awaitable[None]], back: Callable[[], Awaitable[None]], rng) -> list[float]:
    """Kill and bring back; return how long each return took to show, s."""
    await seat.ready()
    times = []
    for k in range(KILLS):
        await seat.until(lambda frame: False, float(rng.uniform(0.1, 1.5)))  # some of them while it connects or subscribes
        await kill()
        await seat.must("readings were fresh after a kill", seat.none_measured(), 2.5)
        await seat.until(lambda frame: False, float(rng.uniform(0.0, 2.0)))
        await back()
        times.append(await seat.must(f"no data after kill {k + 1}", seat.all_fresh(), RESUMES))
    return times


def report(kind: str, seat: Seat, times: list[float]) -> str:
    books = seat._books
    assert books is not None
    assert books.judged > 100
    assert not books.false, books.examples
    assert max(times) <= RESUMES
    return (
        f"{kind}: {KILLS} kills; data back after {median(times):.2f} s (median), {max(times):.2f} s (worst); "
        f"{books.judged} readings judged, {books.false} false; {seat.plant.health().connections} connections"
    )


def test_an_opcua_server_that_is_killed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    async def main() -> str:
        peer = Peer("opcua", "--tags", str(COUNT))
        await peer.start()
        before = Left.now()
        seat = await seat_of("opcua", peer.port, tmp_path)
        try:
            times = await drive(seat, peer.kill, peer.start, Wall(SEED).rng("opcua"))
            await seat.plant.close()
            assert await settled(before), f"left behind: {before} before, {Left.now()} after (tasks, files, threads)"
            return report("opcua", seat, times)
        finally:
            await seat.plant.close()
            await peer.close()

    said = asyncio.run(main())
    with capsys.disabled():
        sys.stdout.write(f"\n{said}\n")


def test_a_broker_that_is_killed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    program("mosquitto")

    async def main() -> str:
        broker = Broker(tmp_path)
        await broker.start()
        peer = Peer("mqtt", "--tags", str(COUNT), "--broker", str(broker.port), port=False)
        await peer.start()
        before = Left.now()
        seat = await seat_of("mqtt", broker.port, tmp_path)
        try:
            times = await drive(seat, broker.kill, broker.start, Wall(SEED).rng("mqtt"))
            await seat.plant.close()
            assert await settled(before), f"left behind: {before} before, {Left.now()} after (tasks, files, threads)"
            return report("mqtt", seat, times)
        finally:
            await seat.plant.close()
            await peer.close()
            await broker.kill()

    said = asyncio.run(main())
    with capsys.disabled():
        sys.stdout.write(f"\n{said}\n")


async def settled(before: Left) -> bool:
    """Say whether no more is held than before, within 2 s."""
    for _ in range(40):
        if all(now <= then for now, then in zip(Left.now(), before, strict=True)):
            return True
        await asyncio.sleep(0.05)
    return False
