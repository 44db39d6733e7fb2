"""The two ways in which a publisher may speak: JSON by a template (`Plain`), or Sparkplug B (`Edge`, in edge.py).

A dialect turns messages into samples and writes into messages. It keeps no connection and reads no clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from jayul.core.types import TagTable
from jayul.plant.errors import Refused
from jayul.plant.mqtt.payload import NOTHING, PayloadConfig, document, encode, path, sample


class Got(NamedTuple):
    """One sample of one tag (its position). `source_at` None: the payload names no time; `old`: sent late, never the newest."""

    tag: int
    value: float
    status: int
    source_at: int | None
    old: bool = False


class Heard(NamedTuple):
    """What a message says: samples; tags that are lost, with their status; messages to send in return."""

    samples: Sequence[Got] = ()
    lost: Sequence[int] = ()
    status: int = 0
    send: Sequence[tuple[str, bytes]] = ()


class Command(NamedTuple):
    """One message that writes: the positions and values that it sets, and the topic on which it may be acknowledged."""

    topic: str
    payload: bytes
    values: dict[int, float]
    ack: str = ""


class Dialect(Protocol):
    """See the module. `greeting`: what is sent once subscribed; `online` says whether the publisher of a tag is known to live."""

    topics: tuple[str, ...]
    acks: tuple[str, ...]

    def greeting(self) -> Sequence[tuple[str, bytes]]: ...
    def hear(self, topic: str, payload: bytes) -> Heard: ...
    def online(self, tag: int) -> bool: ...
    def missing(self) -> Sequence[int]: ...
    def gone(self) -> None: ...
    def commands(self, values: Mapping[int, float], token: str, at: int) -> list[Command]: ...


def split(address: str, name: str) -> tuple[str, str]:
    """Return topic and place (or metric) of an address. Raises Refused."""
    topic, _, rest = address.strip().partition(" ")
    if not topic or any(c in topic for c in "+#\0"):
        raise Refused(f"tag '{name}': the address '{address}' must begin with a topic without + and #")
    return topic, rest.strip()


class Plain:
    """JSON. The address is a topic, and after a blank the place of the value in it if it is not the template's."""

    def __init__(self, tags: TagTable, config: PayloadConfig, write: Sequence[str], suffix: str, batch: str) -> None:
        self._tags, self._config, self._suffix, self._batch = tags, config, suffix, batch
        self._at: list[tuple[str, tuple[str, ...]]] = []
        self._by_topic: dict[str, list[int]] = {}
        for i, tag in enumerate(tags.tags):
            topic, place = split(tag.address, tag.name)
            try:
                self._at.append((topic, path(place or config.value)))
                if tag.name in write:
                    if any(part.isdecimal() for part in self._at[i][1]):
                        raise ValueError("a place in a list cannot be written")
                    encode(config, 0.0, 1, place=self._at[i][1])
            except ValueError as error:
                raise Refused(f"tag '{tag.name}': {error}") from None
            self._by_topic.setdefault(topic, []).append(i)
        self.topics = tuple(self._by_topic)
        single = {self._at[tags.index[name]][0] + suffix + "/ack" for name in write if name in tags.index}
        self.acks = tuple(sorted(single | ({f"{batch}/ack"} if batch and write else set())))

    def greeting(self) -> Sequence[tuple[str, bytes]]:
        return ()

    def online(self, tag: int) -> bool:  # noqa: ARG002
        return False  # the topic `online` says it, if there is one

    def missing(self) -> Sequence[int]:
        return ()

    def gone(self) -> None:
        return None

    def hear(self, topic: str, payload: bytes) -> Heard:
        found = self._by_topic.get(topic, ())
        whole = document(payload) if found else NOTHING
        samples = []
        for i in found:
            value, status, source_at = sample(self._config, whole, self._at[i][1], self._tags.tags[i].states)
            samples.append(Got(i, value, status, source_at))
        return Heard(samples)

    def commands(self, values: Mapping[int, float], token: str, at: int) -> list[Command]:
        """Return one message for all if there is a topic for that, else one for each."""
        if self._batch and len(values) > 1:
            named = {self._tags.names[i]: value for i, value in values.items()}
            payload = msgspec.json.encode(named | {"$id": token})
            return [Command(self._batch, payload, dict(values), f"{self._batch}/ack")]
        found = []
        for i, value in values.items():
            topic, place = self._at[i]
            payload = encode(self._config, value, at, place=place, id=token)
            found.append(Command(topic + self._suffix, payload, {i: value}, f"{topic}{self._suffix}/ack"))
        return found
