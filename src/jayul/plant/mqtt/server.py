"""Publish a simulated plant behind its controller on a broker, as an edge gateway would: for tests, training and try-outs.

JSON (value, time, status), retained, on `<prefix>/<tag>`. Measured tags are sent at QoS 0 whenever value, time or status has
changed at a scan; set-points, modes and what is writable at QoS 1, on a change of value or status only. `<prefix>/$online` holds
`online`, and by the last will `offline`; `<prefix>/$simulated` what the plant declares. A write comes on `<topic>/set` as the same
JSON (or a bare number), or on `<prefix>/$write` as `{tag: value, ...}` for several, all or none; with an `id` (`$id`) it is
answered on `<that topic>/ack` by `{"id", "status"}`, an OPC UA code. The new value is published right behind the answer.
"""

from __future__ import annotations

import asyncio
import math
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from jayul.core.clock import Wall
from jayul.core.types import BAD, TagTable
from jayul.plant.errors import Refused, Unreachable
from jayul.plant.link import RETRY, Simulated, pause
from jayul.plant.mqtt.broker import Broker, Where
from jayul.plant.mqtt.dialect import split
from jayul.plant.mqtt.node import Speaker
from jayul.plant.mqtt.payload import NOTHING, PayloadConfig, document, encode, find
from jayul.plant.sim.plc import BAD_STATE, GOOD, NOT_WRITABLE, WRONG_TYPE, Plc
from jayul.plant.table import Table

DEVICE = "plc/line"  # edge node and device under which Sparkplug B publishes
SET, ACK, BATCH, ONLINE, DECLARED = "/set", "/ack", "/$write", "/$online", "/$simulated"
PLAIN = PayloadConfig()


def level(text: str) -> str:
    """Return a text as one level of a topic: what may not stand there, and the blank that ends an address, become `_`."""
    return "".join("_" if c in "/+# \0" else c for c in text) or "_"


def addresses(tags: TagTable, prefix: str, *, sparkplug: bool = False) -> dict[str, str]:
    """Return the address under which each tag is published. Raises Refused if two tags come to share one."""
    if sparkplug:
        return {name: f"{level(prefix)}/{DEVICE} {name}" for name in tags.names}
    found = {name: f"{level(prefix)}/" + "/".join(map(level, name.split("/"))) for name in tags.names}
    if len(set(found.values())) != len(found):
        raise Refused("two tags would be published on one topic; rename one")
    return found


async def serve(
    plc: Plc, clock: Wall, declared: Simulated, host: str, port: int, *,
    prefix: str = "jayul", table: Table | None = None, scan: float = 0.05, sparkplug: bool = False,
    ready: Callable[[], None] = lambda: None,
) -> None:  # fmt: skip
    """Publish until cancelled; connects again for ever. `table`: the addresses to publish under, if not `addresses()`.

    `ready` is called once, when everything stands on the broker for the first time. `scan` in s.
    """
    prefix, known = level(prefix), addresses(plc.tags, prefix, sparkplug=sparkplug)
    if table is not None:
        known = {tag.name: tag.address for tag in table.tags if tag.name in plc.tags.index}
    make = Speaker if sparkplug else Publisher
    speaker: Publisher | Speaker = make(plc, clock, declared, prefix, known)
    attempt, told = 0, False
    while True:
        broker = Broker(
            Where(host, port), f"{prefix}-{uuid.uuid4().hex[:12]}", speaker.hear, will=speaker.will, over=speaker.wake
        )
        try:
            await broker.connect()
            await speaker.greet(broker)
            if not told:
                told = True
                ready()
            attempt = 0
            await speaker.run(broker, scan)
        except (Unreachable, Refused):
            attempt += 1
        except asyncio.CancelledError:
            await speaker.part(broker)
            raise
        finally:
            broker.close()
        await pause(asyncio.Event(), RETRY[min(attempt, len(RETRY) - 1)])


class Publisher:
    """What is published as JSON, and who answers writes; see the module."""

    def __init__(self, plc: Plc, clock: Wall, declared: Simulated, prefix: str, known: dict[str, str]) -> None:
        self._plc, self._clock, self._declared, self._prefix = plc, clock, declared, prefix
        self._topics = {name: split(address, name)[0] for name, address in known.items()}
        self._sets = {topic + SET: name for name, topic in self._topics.items()}
        self._calm = {  # sent on change only
            tag.name for tag in plc.tags.tags if tag.kind in ("set-point", "mode", "manipulated") or tag.writable
        }
        self._sent: dict[str, tuple[float, int, int]] = {}
        self._wrote: dict[str, int] = {}  # plant time of the last accepted write
        self._asked: deque[tuple[str, bytes]] = deque(maxlen=1000)
        self._stir = asyncio.Event()
        self.will = (prefix + ONLINE, b"offline", True)

    def wake(self) -> None:
        """The link is gone, or somebody asks: wait no longer."""
        self._stir.set()

    def hear(self, topic: str, payload: bytes, retained: bool) -> None:
        """Take a write in; a retained one is not meant for now."""
        if not retained:
            self._asked.append((topic, payload))
            self._stir.set()

    async def greet(self, broker: Broker) -> None:
        """Publish all there is. Raises Unreachable."""
        self._asked.clear()
        self._sent.clear()
        await broker.subscribe([*self._sets, self._prefix + BATCH])
        broker.send(self._prefix + DECLARED, self._declared.encode().encode(), retain=True)
        broker.send(self._prefix + ONLINE, b"online", retain=True)
        await self._publish(broker)
        if await broker.deliver(self._prefix + ONLINE, b"online", retain=True) is None:
            raise Unreachable("the broker does not answer")

    async def run(self, broker: Broker, scan: float) -> None:
        """Publish and answer until the link is gone."""
        while not broker.ended.is_set():
            self._stir.clear()
            while self._asked:
                await self._answer(broker, *self._asked.popleft())
            await self._publish(broker)
            if not self._asked:
                await pause(self._stir, scan)

    async def part(self, broker: Broker) -> None:
        """Say that we go."""
        broker.send(self._prefix + ONLINE, b"offline", retain=True)

    async def _publish(self, broker: Broker) -> None:
        frame = await self._plc.frame()
        index = self._plc.tags.index
        for name, topic in self._topics.items():
            i = index[name]
            value, status = float(frame.value[i]), int(frame.status[i])
            at = max(int(frame.source_at[i]), self._wrote.get(name, 0))
            value, status = (value, status) if math.isfinite(value) else (0.0, max(status, BAD))
            calm, before = name in self._calm, self._sent.get(name)
            if before is None or (before[0], before[2]) != (value, status) or (not calm and before[1] != at):
                self._sent[name] = (value, at, status)
                broker.send(topic, encode(PLAIN, value, at, status), qos=int(calm), retain=True)

    async def _answer(self, broker: Broker, topic: str, payload: bytes) -> None:
        said = document(payload)
        if topic == self._prefix + BATCH:
            token = said.pop("$id", None) if isinstance(said, dict) else None
            status = await self._set_all(said) if isinstance(said, dict) and said else WRONG_TYPE
        else:
            token = find(said, ("id",)) if isinstance(said, dict) else None
            value = find(said, ("value",)) if isinstance(said, dict) else said
            status = await self._set(self._sets[topic], value)
        if isinstance(token, str):
            broker.send(topic + ACK, msgspec.json.encode({"id": token, "status": status}))

    async def _set(self, name: str, value: Any) -> int:
        if value is NOTHING:
            return WRONG_TYPE
        status = await self._plc.set(name, value)
        if status == GOOD:
            self._wrote[name] = self._clock.now()
        return status

    async def _set_all(self, values: dict[str, Any]) -> int:
        """Set all, or put back what was set before the one that was refused."""
        if not values.keys() <= self._topics.keys():
            return NOT_WRITABLE
        before, done = await self._plc.frame(), list[str]()
        for name, value in values.items():
            if (status := await self._set(name, value)) != GOOD:
                for back in reversed(done):
                    if await self._set(back, before[back]) != GOOD:
                        return BAD_STATE
                return status
            done.append(name)
        return GOOD
