"""Writes over MQTT, which has no transaction: one message for all where there is one, else in order, and back on refusal.

A message that sets something expires within the time in which it may show, so that no broker delivers it later.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from itertools import count
from typing import Literal, NamedTuple

import msgspec

from jayul.core.clock import Clock, monotonic
from jayul.core.types import BAD, TagTable, same
from jayul.plant.link import READ_BACK, LinkConfig, pause
from jayul.plant.mqtt.broker import Broker
from jayul.plant.mqtt.dialect import Command, Dialect


class Said(NamedTuple):
    """What became of one tag: the state of its receipt, what stands there now if it is known, and since when (source time)."""

    state: Literal["settled", "overridden", "rejected", "unknown"]
    value: float | None = None
    source_at: int = 0


class _Ack(msgspec.Struct):
    id: str
    status: int


REJECTED, UNKNOWN = Said("rejected"), Said("unknown")


class Writer:
    """One write at a time; `seen`, `acknowledged` and `wake` are told what comes meanwhile."""

    def __init__(self, config: LinkConfig, tags: TagTable, dialect: Dialect, clock: Clock, own: str) -> None:
        self._tags, self._dialect, self._clock, self._own = tags, dialect, clock, own
        self._sign = tags.index.get(config.watchdog, -1)
        self._may = {name for name in config.write if not tags[name].safety}
        self._lock, self._stir, self._number = asyncio.Lock(), asyncio.Event(), count(1)
        self._open: dict[int, tuple[float, int] | None] = {}  # what was seen since the message went out
        self._token, self._refused = "", False

    def seen(self, i: int, value: float, source_at: int) -> None:
        """Take note of a value that the publisher shows."""
        if i in self._open:
            self._open[i] = (value, source_at)
            self._stir.set()

    def acknowledged(self, payload: bytes) -> None:
        """Take note of the publisher's answer; only a refusal of what is under way counts."""
        try:
            ack = msgspec.json.decode(payload, type=_Ack)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return
        if self._token and ack.id == self._token and ack.status >= BAD:
            self._refused = True
            self._stir.set()

    def wake(self) -> None:
        """The link is gone: wait no longer."""
        self._stir.set()

    async def write(self, wanted: Mapping[str, float], before: Mapping[int, float], broker: Broker | None) -> dict[str, Said]:
        """Set all of these, or none. `before`: what stands there, by position."""
        if not all(name in self._may and math.isfinite(value) for name, value in wanted.items()):
            return dict.fromkeys(wanted, REJECTED)
        if broker is None or broker.ended.is_set():
            return dict.fromkeys(wanted, UNKNOWN)
        async with self._lock:
            values = {self._tags.index[name]: value for name, value in wanted.items()}
            done: dict[int, Said] = {}
            for command in self._commands(values):
                done |= await self._send(broker, command)
                if any(said.state != "settled" for said in done.values()):
                    await self._back(broker, done, before)
                    break
            return {self._tags.names[i]: done.get(i, REJECTED) for i in values}

    def _commands(self, values: Mapping[int, float]) -> list[Command]:
        self._token = f"{self._own}-{next(self._number)}"
        return self._dialect.commands(values, self._token, self._clock.now())

    async def _back(self, broker: Broker, done: dict[int, Said], before: Mapping[int, float]) -> None:
        """Undo what was settled; a tag whose value before is not known, or does not come back, is unknown."""
        for i in [i for i, said in done.items() if said.state == "settled"]:
            done[i] = UNKNOWN
            if math.isfinite(before.get(i, math.nan)):
                for command in self._commands({i: before[i]}):
                    if (await self._send(broker, command))[i].state == "settled":
                        done[i] = REJECTED

    async def _send(self, broker: Broker, command: Command) -> dict[int, Said]:
        self._open, self._refused = dict.fromkeys(command.values), False
        end = monotonic() + READ_BACK
        try:
            taken = await broker.deliver(command.topic, command.payload, expires=math.ceil(READ_BACK))
            if taken is False:
                return dict.fromkeys(command.values, REJECTED)
            if taken and [*command.values] == [self._sign]:  # a sign of life is not waited for
                return {i: Said("settled", value, self._clock.now()) for i, value in command.values.items()}
            while (
                not self._refused and not self._shown(command) and not broker.ended.is_set() and (left := end - monotonic()) > 0
            ):
                self._stir.clear()
                await pause(self._stir, left)
            if self._refused:
                return dict.fromkeys(command.values, REJECTED)
            return {i: self._say(i, value) for i, value in command.values.items()}
        finally:
            self._open = {}

    def _shown(self, command: Command) -> bool:
        return all(self._say(i, value).state == "settled" for i, value in command.values.items())

    def _say(self, i: int, value: float) -> Said:
        if (seen := self._open.get(i)) is None:
            return UNKNOWN
        return Said("settled" if same(seen[0], value) else "overridden", *seen)
