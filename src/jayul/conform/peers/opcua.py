"""A controllable OPC UA server (asyncua).

    python -m jayul.conform.peers.opcua --port 4840 --tags 8 --pad 0 --step 0.1

`--pad`: so many namespaces stand before ours, whose index moves with it. `--step`: s between changes.
Nodes are `nsu=urn:jayul:conform;s=T0` and so on.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import datetime as dt
import logging
import math
from typing import Any

from asyncua import Server, ua
from asyncua.common.node import Node
from asyncua.server.internal_subscription import InternalSubscription

from jayul.conform.peers.world import SETPOINTS, STEP, Order, World, answer, orders
from jayul.core.clock import monotonic, today
from jayul.plant.link import pause

URI = "urn:jayul:conform"
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
WRONG = {
    "text": ua.Variant("cold", ua.VariantType.String),
    "nan": ua.Variant(math.nan, ua.VariantType.Double),
    "infinite": ua.Variant(math.inf, ua.VariantType.Double),
    "nothing": ua.Variant(None, ua.VariantType.Null),
    "list": ua.Variant([1.0, 2.0], ua.VariantType.Double),
}


BURST = 150  # changes of each tag between two breaths in a flood: more than a client's queue holds
BREATH = 50  # changes between two looks at the clients, else
OVERFLOW = 0x480  # OPC UA info bits: the queue ran over before this sample
_enqueue = InternalSubscription._enqueue_event


async def _owning_up(self: Any, mid: int, event: Any, size: int, queue: dict[int, list[Any]]) -> None:
    """Put a sample into a queue; mark the oldest if one was dropped before it, as OPC UA asks (Part 4; asyncua does not)."""
    full = size != 0 and len(queue.get(mid, ())) >= size
    await _enqueue(self, mid, event, size, queue)
    if full and queue.get(mid) and isinstance(queue[mid][0], ua.MonitoredItemNotification):
        oldest = queue[mid][0]
        oldest.Value = dataclasses.replace(oldest.Value, StatusCode=ua.StatusCode(oldest.Value.StatusCode.value | OVERFLOW))


InternalSubscription._enqueue_event = _owning_up


class Peer:
    """The server; see `world` for what it can be told."""

    def __init__(self, count: int, step: float) -> None:
        self.step = step
        self.world, self.server, self.nodes = World(count), Server(), dict[str, Node]()
        self.space, self.flooding = 0, 0.0

    async def start(self, port: int, pad: int) -> int:
        """Listen; return the port."""
        await self.server.init()
        self.server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
        self.server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        for k in range(pad):
            await self.server.register_namespace(f"urn:jayul:conform:pad{k}")
        self.space = await self.server.register_namespace(URI)
        for tag in [*self.world.numbers, *SETPOINTS]:
            await self._add(tag)
        service = self.server.iserver.attribute_service
        self._own, service.write = service.write, self._written
        await self.server.start()
        listening: asyncio.Server = self.server.bserver._server
        return int(listening.sockets[0].getsockname()[1])

    async def _add(self, tag: str) -> None:
        node = await self.server.nodes.objects.add_variable(ua.NodeId(tag, self.space), tag, 0.0, ua.VariantType.Double)
        if tag in SETPOINTS:
            await node.set_writable()
        self.nodes[tag] = node
        await self._show(tag, self.world.now())

    async def _show(self, tag: str, at: int) -> None:
        """Put a tag's value of that time into the address space, the way it is just now."""
        world, node = self.world, self.nodes[tag]
        value, status, source_at = world.look(tag, at)
        variant = WRONG[world.wrong[tag]] if tag in world.wrong else ua.Variant(value, ua.VariantType.Double)
        stamp = EPOCH + dt.timedelta(microseconds=source_at // 1000)
        data = ua.DataValue(variant, ua.StatusCode(status), SourceTimestamp=stamp, ServerTimestamp=self._stamp())
        attribute = self.server.iserver.aspace[node.nodeid].attributes[ua.AttributeIds.Value]
        if tag in world.wrong or (attribute.value is not None and attribute.value.Value.VariantType != variant.VariantType):
            attribute.value = None  # it would insist on its type
        await self.server.write_attribute_value(node.nodeid, data)
        if tag in world.sent:
            world.sent[tag] += 1

    def _stamp(self) -> dt.datetime:
        return EPOCH + dt.timedelta(microseconds=self.world.now() // 1000)

    async def _written(self, params: ua.WriteParameters, user: Any = None) -> list[ua.StatusCode]:
        """Answer a write request of a client."""
        tags = {node.nodeid: tag for tag, node in self.nodes.items()}
        if not any(item.NodeId in tags for item in params.NodesToWrite):
            return list(await self._own(params, user))
        found = []
        for item in params.NodesToWrite:
            tag = tags.get(item.NodeId, "")
            inner = item.Value.Value.Value if item.Value.Value is not None else None
            if tag not in SETPOINTS or tag in self.world.gone:
                found.append(ua.StatusCode(ua.StatusCodes.BadNotWritable if tag else ua.StatusCodes.BadNodeIdUnknown))
            elif isinstance(inner, bool) or not isinstance(inner, int | float):
                found.append(ua.StatusCode(ua.StatusCodes.BadTypeMismatch))
            elif not self.world.write(tag, float(inner)):
                found.append(ua.StatusCode(ua.StatusCodes.BadOutOfRange))
            else:
                await self._show(tag, self.world.now())
                found.append(ua.StatusCode())
        if self.world.hold:
            await pause(asyncio.Event(), self.world.hold)
        return found

    async def then(self, order: Order) -> None:
        """Carry out the rest of an order: nodes that go and come, a flood."""
        for tag, node in list(self.nodes.items()):
            there = node.nodeid in self.server.iserver.aspace
            if there and tag in self.world.gone:
                await self.server.delete_nodes([node])
            elif not there and tag not in self.world.gone:
                await self._add(tag)
        if order.do == "flood":
            self.flooding = monotonic() + order.seconds

    async def change(self) -> None:
        """Let the values follow the time, for ever: a change of each tag every step, or without a pause."""
        world, never, last = self.world, asyncio.Event(), 0
        while True:
            at = max(world.now(), last + 1000) if abs(world.now() - last) < 10**9 else world.now()
            rounds = BURST if monotonic() < self.flooding else 1
            for k in range(rounds):
                last = at + 1000 * k
                for number, tag in enumerate(world.numbers, 1):
                    if rounds == 1 and number % BREATH == 0:
                        await pause(never, 0.0005)
                    if tag not in world.silent and tag not in world.gone and (tag not in world.frozen or not world.sent[tag]):
                        await self._show(tag, last)
            world.steps.append(last)
            if monotonic() >= self.flooding:
                await self._set_points()
            await pause(never, 0.0 if monotonic() < self.flooding else self.step - today() / 1e9 % self.step)

    async def _set_points(self) -> None:
        """Show what changed late, and say of what did not that it still stands: the server time of a Read is that of the Read."""
        for tag in SETPOINTS:
            if tag in self.world.gone or tag in self.world.silent:
                continue
            data = await self.nodes[tag].read_data_value(raise_on_bad_status=False)
            value, status, _ = self.world.look(tag, 0)
            if data.Value.Value != value or data.StatusCode.value != status or tag in self.world.wrong:
                await self._show(tag, self.world.now())
            else:
                there = self.server.iserver.aspace[self.nodes[tag].nodeid].attributes[ua.AttributeIds.Value]
                there.value = dataclasses.replace(there.value, ServerTimestamp=self._stamp())


async def main(port: int, count: int, pad: int, step: float) -> None:
    """Serve until standard input ends."""
    peer = Peer(count, step)
    found = await peer.start(port, pad)
    changing = asyncio.ensure_future(peer.change())
    answer({"port": found})
    await orders(peer.world, peer.then)
    changing.cancel()
    await peer.server.stop()


if __name__ == "__main__":
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tags", type=int, default=8)
    parser.add_argument("--pad", type=int, default=0)
    parser.add_argument("--step", type=float, default=STEP)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.port, arguments.tags, arguments.pad, arguments.step))
