"""The other side of Sparkplug B: a simulated plant as one edge node with one device."""

from __future__ import annotations

import asyncio
import math
from collections import deque

from jayul.core.clock import Wall
from jayul.core.types import BAD
from jayul.plant.errors import Unreachable
from jayul.plant.link import Simulated, pause
from jayul.plant.mqtt.broker import Broker
from jayul.plant.mqtt.dialect import split
from jayul.plant.mqtt.edge import MS, REBIRTH, SPACE
from jayul.plant.mqtt.sparkplug import BOOLEAN, DOUBLE, UINT64, Metric, Payload, decode, encode
from jayul.plant.sim.plc import GOOD, Plc


class Speaker:
    """Births, data by alias, commands, and a death certificate as the last will. bdSeq grows with every connection."""

    def __init__(self, plc: Plc, clock: Wall, declared: Simulated, prefix: str, known: dict[str, str]) -> None:
        self._plc, self._clock, self._declared, self._group = plc, clock, declared, prefix
        places = {name: split(address, name) for name, address in known.items()}
        _, self._edge, self._device = next(iter(places.values()))[0].split("/")
        self._metrics = {name: metric for name, (_, metric) in places.items()}
        self._alias = {name: k for k, name in enumerate(self._metrics)}
        self._by_name = {metric: name for name, metric in self._metrics.items()}
        self._sent: dict[str, tuple[float, int, int]] = {}
        self._wrote: dict[str, int] = {}
        self._asked: deque[Payload] = deque(maxlen=1000)
        self._stir, self._seq, self._bd_seq = asyncio.Event(), 0, 0

    def _topic(self, kind: str) -> str:
        return f"{SPACE}/{self._group}/{kind}/{self._edge}" + (f"/{self._device}" if kind[0] == "D" else "")

    @property
    def will(self) -> tuple[str, bytes, bool]:
        """Return the death certificate of the connection that is about to be made."""
        self._bd_seq = (self._bd_seq + 1) % 256
        return self._topic("NDEATH"), self._death(), False

    def _death(self) -> bytes:
        return encode(Payload((Metric(name="bdSeq", kind=UINT64, value=self._bd_seq),), self._clock.now() // MS))

    def wake(self) -> None:
        """The link is gone: wait no longer."""
        self._stir.set()

    def hear(self, topic: str, payload: bytes, retained: bool) -> None:
        """Take a command in."""
        if topic in (self._topic("NCMD"), self._topic("DCMD")) and not retained and (said := decode(payload)) is not None:
            self._asked.append(said)
            self._stir.set()

    async def greet(self, broker: Broker) -> None:
        """Publish the births. Raises Unreachable."""
        self._asked.clear()
        await broker.subscribe([self._topic("NCMD"), self._topic("DCMD")])
        taken = await broker.deliver(f"{self._group}/$simulated", self._declared.encode().encode(), retain=True)
        if taken is None:
            raise Unreachable("the broker does not answer")
        await self._birth(broker)

    async def run(self, broker: Broker, scan: float) -> None:
        """Publish and answer until the link is gone."""
        while not broker.ended.is_set():
            self._stir.clear()
            while self._asked:
                await self._answer(broker, self._asked.popleft())
            if metrics := await self._changed(birth=False):
                self._send(broker, "DDATA", metrics)
            if not self._asked:
                await pause(self._stir, scan)

    async def part(self, broker: Broker) -> None:
        """Say that we go."""
        broker.send(self._topic("NDEATH"), self._death(), qos=0)

    async def _birth(self, broker: Broker) -> None:
        self._seq, at = 0, self._clock.now() // MS
        control = Metric(name=REBIRTH, at=at, kind=BOOLEAN, value=False)
        self._send(broker, "NBIRTH", [Metric(name="bdSeq", at=at, kind=UINT64, value=self._bd_seq), control])
        self._send(broker, "DBIRTH", await self._changed(birth=True))

    def _send(self, broker: Broker, kind: str, metrics: list[Metric]) -> None:
        payload = encode(Payload(tuple(metrics), self._clock.now() // MS, self._seq))
        self._seq = (self._seq + 1) % 256
        broker.send(self._topic(kind), payload, qos=0)

    async def _changed(self, *, birth: bool) -> list[Metric]:
        frame = await self._plc.frame()
        found = []
        for name, metric in self._metrics.items():
            i = self._plc.tags.index[name]
            value, status = float(frame.value[i]), int(frame.status[i])
            at = max(int(frame.source_at[i]), self._wrote.get(name, 0))
            value, status = (value, status) if math.isfinite(value) else (0.0, max(status, BAD))
            if birth or self._sent.get(name) != (value, at, status):
                self._sent[name] = (value, at, status)
                found.append(Metric(
                    name=metric if birth else "", alias=self._alias[name], at=at // MS, kind=DOUBLE, value=value, status=status
                ))  # fmt: skip
        return found

    async def _answer(self, broker: Broker, said: Payload) -> None:
        if any(metric.name == REBIRTH and metric.value for metric in said.metrics):
            await self._birth(broker)
            return
        before, done = await self._plc.frame(), list[str]()
        for metric in said.metrics:
            name = self._by_name.get(metric.name, "")
            value = float(metric.value) if isinstance(metric.value, int | float) else metric.value
            if await self._set(name, value) != GOOD:
                for back in reversed(done):
                    await self._set(back, before[back])
                return
            done.append(name)

    async def _set(self, name: str, value: object) -> int:
        status = await self._plc.set(name, value)
        if status == GOOD:
            self._wrote[name] = self._clock.now()
        return status
