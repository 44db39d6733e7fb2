"""A controllable publisher on an MQTT broker (paho).

    python -m jayul.conform.peers.mqtt --broker 1883 --tags 8

Topics are `conform/T0` and so on, retained JSON (value, time, status). `conform/$online` holds `online` or, by the last will,
`offline`. A write comes on `conform/SP1/set` as JSON with an `id` and is answered on `conform/SP1/set/ack`.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import math
from typing import Any

import msgspec
import paho.mqtt.client
from paho.mqtt.enums import CallbackAPIVersion

from jayul.conform.peers.world import SETPOINTS, STEP, Order, World, answer, orders
from jayul.core.clock import monotonic, today
from jayul.plant.link import pause

FLOOD = 5000.0  # messages a second in a flood: no subscriber can make a broker shed, so that more would only pile up there
BURST = 20  # changes of each tag between two breaths in a flood
PREFIX = "conform"
ONLINE = f"{PREFIX}/$online"
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
WRONG = {
    "text": b'{"value": "cold"}', "nan": b'{"value": NaN}', "nothing": b"{}", "garbage": b"\x00\xff\xfe not JSON",
    "list": b'{"value": [1.0, 2.0]}',
}  # fmt: skip


def _client() -> Any:
    return paho.mqtt.client.Client(CallbackAPIVersion.VERSION2, protocol=paho.mqtt.client.MQTTv5)


class Peer:
    """The publisher; see `world` for what it can be told."""

    def __init__(self, count: int, port: int) -> None:
        self.world, self.flooding, self.on = World(count), 0.0, False
        self.out = 0  # messages that wait to be sent or acknowledged, about
        self._loop, self._shown = asyncio.get_running_loop(), dict[str, Any]()
        self.client = _client()
        self.client.will_set(ONLINE, b"offline", qos=1, retain=True)
        self.client.reconnect_delay_set(1, 1)
        self.client.max_inflight_messages_set(2000)
        self.client.max_queued_messages_set(0)
        self.client.on_connect = lambda *said: self._loop.call_soon_threadsafe(self._connected, True)
        self.client.on_disconnect = lambda *said: self._loop.call_soon_threadsafe(self._connected, False)
        self.client.on_publish = lambda *said: self._loop.call_soon_threadsafe(self._gone_out)
        self.client.on_message = lambda c, d, message: self._loop.call_soon_threadsafe(
            self._asked, message.topic, message.payload, message.retain
        )
        self.client.connect("127.0.0.1", port, keepalive=5)
        self.client.loop_start()

    def _gone_out(self) -> None:
        self.out -= 1

    def _connected(self, on: bool) -> None:
        self.on, self._shown, self.out = on, {}, 0
        if on:
            self.client.subscribe([(f"{PREFIX}/{tag}/set", 1) for tag in SETPOINTS])
            self.client.publish(ONLINE, b"online", qos=1, retain=True)

    def _asked(self, topic: str, payload: Any, retained: bool) -> None:
        """Answer a write."""
        tag = topic.split("/")[1]
        said = msgspec.json.decode(payload)
        if retained or tag in self.world.gone:
            return
        taken = self.world.write(tag, float(said["value"]))
        status = 0 if taken else 0x803C_0000
        self._loop.call_later(self.world.hold, self._answer, topic, tag, said.get("id", ""), status)

    def _answer(self, topic: str, tag: str, token: str, status: int) -> None:
        self.client.publish(f"{topic}/ack", msgspec.json.encode({"id": token, "status": status}), qos=1)
        self.show(tag, self.world.now())

    def show(self, tag: str, at: int) -> None:
        """Publish a tag as it is at that time."""
        if not self.on:
            return
        world = self.world
        value, status, source_at = world.look(tag, at)
        stamp = (EPOCH + dt.timedelta(microseconds=source_at // 1000)).isoformat(timespec="microseconds")
        said = WRONG.get(world.wrong.get(tag, "")) or msgspec.json.encode({"value": value, "time": stamp, "status": status})
        self.client.publish(
            f"{PREFIX}/{tag}", said, qos=1 if monotonic() < self.flooding or tag in SETPOINTS else 0, retain=True
        )
        self._shown[tag] = (value, status, world.wrong.get(tag), world.jump)
        self.out += 1
        if tag in world.sent:
            world.sent[tag] += 1

    async def then(self, order: Order) -> None:
        """Carry out the rest of an order: topics that go and come, a flood."""
        for tag in self.world.gone:
            self.client.publish(f"{PREFIX}/{tag}", b"", qos=1, retain=True)
            self._shown.pop(tag, None)
        if order.do == "flood":
            self.flooding = monotonic() + order.seconds

    async def change(self) -> None:
        """Let the values follow the time, for ever: every STEP s, or without a pause; set-points when they change."""
        world, never, last = self.world, asyncio.Event(), 0
        while True:
            at = max(world.now(), last + 1000) if abs(world.now() - last) < 10**9 else world.now()
            for k in range(BURST if monotonic() < self.flooding else 1):
                last = at + 1000 * k
                for tag in world.numbers:
                    if tag not in world.silent and tag not in world.gone:
                        self.show(tag, last)
            for tag in SETPOINTS:
                value, status, _ = world.look(tag, 0)
                said = (value, status, world.wrong.get(tag), world.jump)
                if not world.hold and self._shown.get(tag) != said and tag not in world.gone and tag not in world.silent:
                    self.show(tag, world.now())
            begun = monotonic()
            while monotonic() < self.flooding and (
                self.out > BURST or monotonic() - begun < BURST * len(world.numbers) / FLOOD
            ):
                await pause(never, 0.001)  # what waits here would only grow old
            await pause(never, 0.0 if monotonic() < self.flooding else STEP - math.fmod(today() / 1e9, STEP))


async def main(port: int, count: int) -> None:
    """Publish until standard input ends."""
    peer = Peer(count, port)
    never = asyncio.Event()
    while not peer.on:
        await pause(never, 0.01)
    changing = asyncio.ensure_future(peer.change())
    answer({"port": port})
    await orders(peer.world, peer.then)
    changing.cancel()
    peer.client.disconnect()
    peer.client.loop_stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", type=int, required=True)
    parser.add_argument("--tags", type=int, default=8)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.broker, arguments.tags))
