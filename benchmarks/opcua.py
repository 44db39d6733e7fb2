"""How many samples a second from an OPC UA server, beside a bare asyncua subscription, and whether any is lost unexplained.

    python benchmarks/opcua.py --json --seed 0

A server in another process (asyncua's, with a fast path for data) counts all its nodes upward at each tick, so that every gap
shows. Its queues are those of the standard: when one is full, the oldest goes and the next bears the Overflow bit. Loads are
tags x Hz; `beyond` is far beyond what one core can take, in `shed` nobody takes the samples away, so that we have to shed.

ratio_asyncua: our samples/s over those of a bare subscription with a handler that counts; the worst of all loads, medians of
rounds. values_per_s: ours, at the highest load. p99_age_ms: from source time to when it was ours, at the load `steady`.
unexplained_loss: sent - received - shed - gaps that the Overflow bit owns up to; over all loads and rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from asyncua import Client, Server, ua
from asyncua.server.internal_subscription import InternalSubscription

from jayul.core.clock import Wall
from jayul.core.types import Tag
from jayul.plant.newest import OVERFLOW, Samples
from jayul.plant.opcua.client import Opcua, OpcuaConfig, opcua
from jayul.plant.opcua.decode import EPOCH
from jayul.plant.table import Table, write_table

URI = "urn:bench"
LOADS = {"light": (500, 10), "steady": (2_500, 20), "heavy": (5_000, 40), "beyond": (5_000, 200), "shed": (1_000, 20)}
ROW = np.dtype(
    [
        ("handle", "<u4"),
        ("mask", "u1"),
        ("type", "u1"),
        ("value", "<f8"),
        ("status", "<u4"),
        ("source", "<i8"),
        ("server", "<i8"),
    ]
)
QUEUE, INTERVAL = 100, 0.05


# the server ------------------------------------------------------------------------------------------------------------


class Ring:
    """The queues of all items of a subscription: they fill and run over together, since all nodes tick at once."""

    def __init__(self) -> None:
        self.ticks: list[tuple[int, int, int]] = []  # count, source time (100 ns since 1601), status
        self.handles, self.size = np.empty(0, np.uint32), QUEUE

    def add(self, count: int, at: int) -> None:
        self.ticks.append((count, at, 0))
        if len(self.ticks) > self.size:
            del self.ticks[0]
            self.ticks[0] = (*self.ticks[0][:2], OVERFLOW if self.size > 1 else 0)

    def pop(self) -> bytes:
        """Return the body of a DataChangeNotification."""
        ticks, self.ticks = self.ticks, []
        rows = np.empty((len(self.handles), len(ticks)), ROW)
        count, at, status = (np.array(column) for column in zip(*ticks, strict=True))
        rows["handle"], rows["mask"], rows["type"] = self.handles[:, None], 0x0F, 11
        rows["value"], rows["status"], rows["source"], rows["server"] = count, status, at, at
        return rows.size.to_bytes(4, "little") + rows.tobytes() + (0).to_bytes(4, "little")


async def serve(nodes: int) -> None:
    """Serve until stdin ends: `{"start": hz}`, `{"stop": true}` (prints the count)."""
    rings: dict[InternalSubscription, Ring] = {}

    def published(self: InternalSubscription) -> bool:
        ring = rings.setdefault(self, Ring())
        if len(items := self.monitored_item_srv._monitored_items) != len(ring.handles):
            ring.handles = np.array([item.client_handle for item in items.values()], np.uint32)
            ring.size = max(1, next(iter(items.values())).queue_size) if items else QUEUE
            ring.ticks.clear()
        self._keep_alive_count += 1
        return self._startup or bool(ring.ticks and len(ring.handles)) or self._keep_alive_count > 100

    def pop(self: InternalSubscription, result: ua.PublishResult) -> None:
        ring = rings[self]
        if ring.ticks and len(ring.handles):
            body = ua.ExtensionObject(TypeId=ua.NodeId(811), Body=ring.pop())
            result.NotificationMessage.NotificationData.append(body)

    async def ignore(self: InternalSubscription, *args: Any) -> None:
        """First values come with the next tick."""

    InternalSubscription.has_published_results = published
    InternalSubscription._pop_triggered_datachanges = pop
    InternalSubscription.enqueue_datachange_event = ignore
    server, count, hz = Server(), 0, 0.0
    await server.init()
    server.set_endpoint("opc.tcp://127.0.0.1:0/")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace(URI)
    now = ua.DataValue(ua.Variant(0.0), SourceTimestamp=datetime.now(UTC))
    for i in range(nodes):
        node = await server.nodes.objects.add_variable(ua.NodeId(f"N{i}", index), f"{index}:N{i}", 0.0)
        server.iserver.aspace.set_attribute_value_callback(node.nodeid, ua.AttributeIds.Value, lambda node, attribute: now)
    await server.start()
    print(server.bserver._server.sockets[0].getsockname()[1], flush=True)

    async def tick() -> None:
        nonlocal count, now
        due = time.monotonic()
        while True:
            if not hz:
                await asyncio.sleep(0.02)
                due = time.monotonic()
                continue
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            while due <= time.monotonic() and hz:
                due += 1 / hz
                count += 1
                at = time.time_ns() // 100 + EPOCH
                live = server.iserver.subscription_service.subscriptions.values()
                for sub in [sub for sub in rings if sub not in live]:
                    del rings[sub]
                for ring in rings.values():
                    ring.add(count, at)
            now = ua.DataValue(ua.Variant(float(count)), SourceTimestamp=datetime.now(UTC))

    ticking = asyncio.create_task(tick())
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        told = json.loads(line)
        hz = float(told.get("start", 0))
        if not hz:
            print(count, flush=True)
    ticking.cancel()
    await server.stop()


# the clients -----------------------------------------------------------------------------------------------------------


class Peer:
    """The server process, on a core of its own."""

    def __init__(self, nodes: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve", str(nodes)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.port = int(self._process.stdout.readline())

    def start(self, hz: float) -> None:
        self._process.stdin.write(json.dumps({"start": hz}) + "\n")
        self._process.stdin.flush()

    def stop(self) -> int:
        """Stop the counting; return the last count."""
        self._process.stdin.write(json.dumps({"stop": True}) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


@contextlib.contextmanager
def peer(nodes: int) -> Iterator[Peer]:
    """Start a server; stop it in the end."""
    made = Peer(nodes)
    try:
        yield made
    finally:
        made.close()


class Round:
    """What one round with our client found."""

    def __init__(self, tags: int) -> None:
        self.first, self.last, self.kept, self.owned = (np.zeros(tags, np.int64) for _ in range(4))
        self.ages: list[np.ndarray] = []

    def take(self, plant: Opcua) -> None:
        """Take samples away, as a history does, and look for gaps."""
        batch = plant.samples()
        order = np.argsort(batch.tag, kind="stable")
        tag, value, status = batch.tag[order], batch.value[order].astype(np.int64), batch.status[order]
        self.ages.append((batch.known_at - batch.source_at) / 1e6)
        begins = np.flatnonzero(np.diff(tag, prepend=-1))
        before = np.empty_like(value)
        before[1:] = value[:-1]
        before[begins] = np.where(self.kept[tag[begins]] > 0, self.last[tag[begins]], value[begins] - 1)
        self.first[tag[begins]] = np.where(self.kept[tag[begins]] > 0, self.first[tag[begins]], value[begins])
        flagged = status & OVERFLOW == OVERFLOW
        flagged[begins] &= self.kept[tag[begins]] > 0
        np.add.at(self.owned, tag[flagged], (value - before - 1)[flagged])
        np.add.at(self.kept, tag, 1)
        ends = np.append(begins[1:], len(tag)) - 1 if len(tag) else begins
        self.last[tag[ends]] = value[ends]


async def ours(port: int, path: str, server: Peer, tags: int, hz: float, seconds: float, *, shed: bool) -> dict[str, float]:
    """One round with our client."""
    plant = opcua(OpcuaConfig(url=f"opcua://127.0.0.1:{port}", tags=path, interval=INTERVAL), Wall())
    if shed:
        plant._samples = Samples(tags, capacity=tags * 10)
    found = Round(tags)
    try:
        await plant.read()
        server.start(hz)
        await asyncio.sleep(0.3)
        found.take(plant)  # the first sample of each tag is known before anything can be shed
        await asyncio.sleep(0.7)
        begun, received = time.perf_counter(), plant.health().received
        while time.perf_counter() - begun < seconds:
            await asyncio.sleep(0.2)
            if not shed:
                found.take(plant)
        rate = (plant.health().received - received) / (time.perf_counter() - begun)
        end = server.stop()
        for _ in range(100):
            await asyncio.sleep(0.1)
            if not shed:
                found.take(plant)
            if (await plant.read()).value.min() == end and not plant._task.done():
                break
        await asyncio.sleep(4 * INTERVAL)
        found.take(plant)
        health = plant.health()
    finally:
        await plant.close()
    if health.connections != 1:
        print(f"  the link broke: {health.trouble}")
    sent = int((end - found.first + 1).sum())
    return {
        "rate": rate, "sent": sent, "received": int(found.kept.sum()), "shed": health.shed, "owned": int(found.owned.sum()),
        "p99": float(np.percentile(np.concatenate(found.ages), 99)), "connections": health.connections,
        "loss": sent - int(found.kept.sum()) - health.shed - int(found.owned.sum()),
    }  # fmt: skip


class Counting:
    """The handler of the bare subscription."""

    count = 0

    def datachange_notification(self, *_: object) -> None:
        self.count += 1


async def bare(port: int, server: Peer, tags: int, hz: float, seconds: float) -> float:
    """One round with a bare asyncua subscription: samples a second. Its queues are short where it cannot keep up anyway."""
    client, handler = Client(f"opc.tcp://127.0.0.1:{port}/", timeout=60), Counting()
    await client.connect()
    try:
        index = await client.get_namespace_index(URI)
        nodes = [client.get_node(ua.NodeId(f"N{i}", index)) for i in range(tags)]
        for k in range(0, tags, 2500):
            sub = await client.create_subscription(INTERVAL * 1000, handler)
            await sub.subscribe_data_change(nodes[k : k + 2500], queuesize=QUEUE if tags * hz < 60_000 else 4)
        server.start(hz)
        await asyncio.sleep(1.0)
        begun, before = time.perf_counter(), handler.count
        await asyncio.sleep(seconds)
        rate = (handler.count - before) / (time.perf_counter() - begun)
        server.stop()
    finally:
        await client.disconnect()
    return rate


def measure(name: str, rounds: int, seconds: float, folder: Path) -> tuple[dict[str, float], list[float], int]:
    """Measure one load: medians, ratios of the rounds, unexplained loss."""
    tags, hz = LOADS[name]
    path = folder / f"{name}.csv"
    write_table(path, Table(tuple(Tag(name=f"N{i}", address=f"nsu={URI};s=N{i}") for i in range(tags))))
    rows, ratios = [], []
    with peer(tags) as server:
        for _ in range(rounds):
            row = asyncio.run(ours(server.port, str(path), server, tags, hz, seconds, shed=name == "shed"))
            other = asyncio.run(bare(server.port, server, tags, hz, seconds))
            rows.append(row | {"bare": other})
            ratios.append(row["rate"] / other if other else float("nan"))
    middle = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
    loss = sum(abs(int(row["loss"])) for row in rows)
    print(
        f"{name:8s} {tags} x {hz} Hz = {tags * hz}/s: ours {middle['rate']:.0f}/s, bare {middle['bare']:.0f}/s, "
        f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), p99 age {middle['p99']:.0f} ms, "
        f"sent {middle['sent']:.0f}, received {middle['received']:.0f}, shed {middle['shed']:.0f}, owned up {middle['owned']:.0f}, "
        f"unexplained {loss}"
    )
    return middle, ratios, loss


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seed", type=int, default=0, help="is noted; nothing here is drawn by chance")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--loads", default=",".join(LOADS))
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    if len(cores) > 1:
        os.sched_setaffinity(0, {cores[0] if arguments.serve else cores[-1]})
    if arguments.serve:
        asyncio.run(serve(arguments.serve))
        return
    with tempfile.TemporaryDirectory() as name:
        found = {load: measure(load, arguments.rounds, arguments.seconds, Path(name)) for load in arguments.loads.split(",")}
    result: dict[str, Any] = {
        "ratio_asyncua": round(min(statistics.median(ratios) for _, ratios, _ in found.values()), 2),
        "values_per_s": round(max(middle["rate"] for middle, _, _ in found.values())),
        "bare_values_per_s": round(max(middle["bare"] for middle, _, _ in found.values())),
        "p99_age_ms": round(found.get("steady", next(iter(found.values())))[0]["p99"], 1),
        "unexplained_loss": sum(loss for _, _, loss in found.values()),
        "loads": {
            load: {
                "asked_per_s": LOADS[load][0] * LOADS[load][1],
                "values_per_s": round(middle["rate"]),
                "ratio_asyncua": round(statistics.median(ratios), 2),
                "p99_age_ms": round(middle["p99"], 1),
                "shed": round(middle["shed"]),
                "owned_up": round(middle["owned"]),
                "unexplained_loss": loss,
                "connections": round(middle["connections"]),
            }
            for load, (middle, ratios, loss) in found.items()
        },
        "rounds": arguments.rounds,
        "seed": arguments.seed,
    }  # fmt: skip
    for key in ("ratio_asyncua", "values_per_s", "bare_values_per_s", "p99_age_ms", "unexplained_loss"):
        print(f"{key:18s} {result[key]}")
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
