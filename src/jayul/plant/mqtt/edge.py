"""Sparkplug B as a host sees it: births give names to aliases, deaths end them, and a gap in the sequence is asked about.

Data before a birth, after a gap, or by an unknown alias is not trusted: the edge node is asked for a rebirth, and until it comes
what it sends is uncertain. A death counts only with the bdSeq of the birth that it ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jayul.core.clock import monotonic
from jayul.core.types import TagTable
from jayul.plant.errors import Refused
from jayul.plant.mqtt.dialect import Command, Got, Heard, split
from jayul.plant.mqtt.payload import UNCERTAIN, number
from jayul.plant.mqtt.sparkplug import BOOLEAN, DOUBLE, STRING, TEXT, Metric, Payload, decode, encode, signed
from jayul.plant.newest import NO_COMMUNICATION

SPACE = "spBv1.0"
REBIRTH = "Node Control/Rebirth"
AGAIN = 2.0  # s between two requests for a rebirth
MS = 1_000_000  # ns


class Node:
    """What is known of one edge node since its birth. `trusted`: no message was missed since."""

    def __init__(self) -> None:
        self.alive = self.trusted = False
        self.bd_seq: object = None
        self.seq = 0
        self.devices: set[str] = set()  # that are alive; "" is the node itself
        self.names: dict[tuple[str, int], int] = {}  # device and alias -> position of the tag
        self.born: set[int] = set()
        self.kinds: dict[int, int] = {}  # position -> datatype
        self.asked = -AGAIN


class Edge:
    """The dialect. The address is `group/edge/device metric`, or `group/edge metric` for a metric of the node itself."""

    def __init__(self, tags: TagTable) -> None:
        self._tags = tags
        self._at: list[tuple[tuple[str, str], str, str]] = []  # node, device, metric
        self._known: dict[tuple[str, str], dict[tuple[str, str], int]] = {}
        for i, tag in enumerate(tags.tags):
            topic, metric = split(tag.address, tag.name)
            parts = topic.split("/")
            if len(parts) not in (2, 3) or not all(parts) or not metric:
                raise Refused(f"tag '{tag.name}': the address '{tag.address}' is not 'group/edge/device metric'")
            node, device = (parts[0], parts[1]), parts[2] if len(parts) == 3 else ""
            self._at.append((node, device, metric))
            if self._known.setdefault(node, {}).setdefault((device, metric), i) != i:
                raise Refused(f"tag '{tag.name}': its address stands there twice")
        self._nodes = {node: Node() for node in self._known}
        self.topics = tuple(f"{SPACE}/{group}/+/{edge}/#" for group, edge in self._known)
        self.acks: tuple[str, ...] = ()

    def greeting(self) -> Sequence[tuple[str, bytes]]:
        """Ask every node for its birth: it is not retained."""
        return [ask for node in self._nodes for ask in self._ask(node)]

    def gone(self) -> None:
        """Forget all births: the link is lost."""
        self._nodes = {node: Node() for node in self._known}

    def online(self, tag: int) -> bool:
        node, device, _ = self._at[tag]
        known = self._nodes[node]
        return known.alive and known.trusted and device in known.devices

    def missing(self) -> Sequence[int]:
        """Return the tags that a node or device, now alive, did not name in its birth."""
        return [i for i in range(len(self._at)) if self.online(i) and i not in self._nodes[self._at[i][0]].born]

    def hear(self, topic: str, payload: bytes) -> Heard:
        parts = topic.split("/")
        if len(parts) not in (4, 5) or parts[0] != SPACE or (key := (parts[1], parts[3])) not in self._nodes:
            return Heard()
        kind, device, node = parts[2], parts[4] if len(parts) == 5 else "", self._nodes[key]
        if kind not in ("NBIRTH", "DBIRTH", "NDATA", "DDATA", "NDEATH", "DDEATH") or (kind[0] == "D") != bool(device):
            return Heard()
        if (said := decode(payload)) is None:
            return self._distrust(key, node)
        if kind == "NDEATH":
            return self._death(key, node, said)
        if kind == "NBIRTH":
            return self._node_birth(key, node, said)
        follows = node.alive and (said.seq or 0) == (node.seq + 1) % 256
        node.seq = said.seq or 0
        if not follows:
            heard = self._distrust(key, node)
        elif kind == "DBIRTH":
            return self._birth(key, node, device, said)
        elif kind == "DDEATH":
            node.devices.discard(device)
            return Heard(lost=self._of(key, device), status=NO_COMMUNICATION)
        else:
            heard = Heard() if device in node.devices else self._distrust(key, node)
        return heard._replace(samples=self._read(key, node, device, said))

    def _of(self, key: tuple[str, str], device: str | None) -> list[int]:
        return [i for (of, _), i in self._known[key].items() if device is None or of == device]

    def _ask(self, key: tuple[str, str]) -> list[tuple[str, bytes]]:
        node, now = self._nodes[key], monotonic()
        if now - node.asked < AGAIN:
            return []
        node.asked = now
        wish = Payload((Metric(name=REBIRTH, kind=BOOLEAN, value=True),))
        return [(f"{SPACE}/{key[0]}/NCMD/{key[1]}", encode(wish))]

    def _distrust(self, key: tuple[str, str], node: Node) -> Heard:
        first, node.trusted = node.trusted, False
        return Heard(lost=self._of(key, None) if first else (), status=UNCERTAIN, send=self._ask(key))

    def _death(self, key: tuple[str, str], node: Node, said: Payload) -> Heard:
        if node.bd_seq is not None and next((m.value for m in said.metrics if m.name == "bdSeq"), None) != node.bd_seq:
            return Heard()  # the will of an earlier session
        self._nodes[key] = Node()
        return Heard(lost=self._of(key, None), status=NO_COMMUNICATION)

    def _node_birth(self, key: tuple[str, str], before: Node, said: Payload) -> Heard:
        self._nodes[key] = node = Node()
        node.alive, node.trusted, node.seq = True, True, said.seq or 0
        node.bd_seq = next((m.value for m in said.metrics if m.name == "bdSeq"), None)
        heard = self._birth(key, node, "", said)
        if before.alive and before.bd_seq == node.bd_seq is not None:  # asked for: its devices follow, their readings grow old
            return heard
        return heard._replace(lost=[*heard.lost, *(i for i in self._of(key, None) if self._at[i][1])])

    def _birth(self, key: tuple[str, str], node: Node, device: str, said: Payload) -> Heard:
        node.devices.add(device)
        known = self._known[key]
        for metric in said.metrics:
            if (i := known.get((device, metric.name))) is not None:
                node.born.add(i)
                node.kinds[i] = metric.kind
                if metric.alias is not None:
                    node.names[device, metric.alias] = i
        absent = [i for i in self._of(key, device) if i not in node.born]
        return Heard(self._read(key, node, device, said), absent, NO_COMMUNICATION)

    def _read(self, key: tuple[str, str], node: Node, device: str, said: Payload) -> list[Got]:
        found, known = list[Got](), self._known[key]
        for metric in said.metrics:
            if metric.name:
                i = known.get((device, metric.name))
            else:
                i = node.names.get((device, metric.alias)) if metric.alias is not None else None
            if i is None:
                continue
            value, status = number(self._typed(node, i, metric), metric.status, self._tags.tags[i].states)
            if not node.trusted or i not in node.born:
                status = max(status, UNCERTAIN)
            at = metric.at if metric.at is not None else said.at
            stamp = at * MS if at is not None and 0 < at < 1 << 42 else None
            if at is not None and stamp is None:
                status = max(status, UNCERTAIN)  # it names a time that is none
            found.append(Got(i, value, status, stamp, metric.historical))
        return found

    @staticmethod
    def _typed(node: Node, i: int, metric: Metric) -> object:
        """Return the value by its datatype, which data may leave to the birth."""
        if metric.kind or type(metric.value) is not int:
            return metric.value
        return signed(metric.value, node.kinds.get(i, 0))

    def commands(self, values: Mapping[int, float], token: str, at: int) -> list[Command]:  # noqa: ARG002
        """Return one message for each device."""
        by_device: dict[tuple[tuple[str, str], str], dict[int, float]] = {}
        for i, value in values.items():
            node, device, _ = self._at[i]
            by_device.setdefault((node, device), {})[i] = value
        found = []
        for ((group, edge), device), part in by_device.items():
            metrics = tuple(self._wish((group, edge), i, value, at // MS) for i, value in part.items())
            topic = f"{SPACE}/{group}/{'DCMD' if device else 'NCMD'}/{edge}" + (f"/{device}" if device else "")
            found.append(Command(topic, encode(Payload(metrics, at // MS)), part))
        return found

    def _wish(self, key: tuple[str, str], i: int, value: float, at: int) -> Metric:
        kind = self._nodes[key].kinds.get(i, DOUBLE)
        if kind in (STRING, TEXT):
            return Metric(name=self._at[i][2], at=at, kind=kind, value=self._tags.tags[i].states.get(int(value), str(value)))
        return Metric(name=self._at[i][2], at=at, kind=kind, value=value)
