"""What the kit has to know of each protocol: how to start its controllable server, where the tags lie, and which checks mean
nothing there.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from jayul.core.clock import Clock
from jayul.core.types import Tag
from jayul.plant.errors import Refused
from jayul.plant.link import Linked
from jayul.project import kinds

COUNT = 8  # measured tags of a controllable server
STALE = 2.0  # s: `stale_after` of all tags
SETPOINT_STALE = 5.0  # s: of the set-points
HOME = {  # of the kinds that come with Jayul, should they not be registered
    "opcua": "jayul.plant.opcua.client:opcua", "modbus": "jayul.plant.modbus.client:modbus", "mqtt": "jayul.plant.mqtt.client:mqtt",
}  # fmt: skip
Make = Callable[[Mapping[str, Any], Clock], Linked]


class Bench(msgspec.Struct, frozen=True):
    """A protocol. `source_time`: readings carry the source's own time; `absent`: check -> why it means nothing here; `wrong`: the
    kinds of junk that its server can show.
    """

    kind: str
    library: str
    scheme: str
    address: Callable[[str], str]
    source_time: bool = True
    options: dict[str, Any] = {}
    absent: dict[str, str] = {}
    wrong: tuple[str, ...] = ()
    broker: bool = False

    @property
    def tags(self) -> list[Tag]:
        """The tags of the controllable server."""
        found = [Tag(name=f"T{i}", stale_after=STALE, address=self.address(f"T{i}")) for i in range(COUNT)]
        return found + [
            Tag(
                name=name,
                kind="set-point",
                low=0.0,
                high=100.0,
                stale_after=SETPOINT_STALE,
                writable=True,
                address=self.address(name),
            )
            for name in ("SP1", "SP2")
        ]


def _modbus_address(name: str) -> str:
    at = {"SP1": 4000, "SP2": 4020}.get(name)
    return f"holding {at if at is not None else 4 * int(name[1:])} float64"


BENCHES = {
    "opcua": Bench(
        "opcua", "asyncua", "opcua", lambda name: f"nsu=urn:jayul:conform;s={name}",
        wrong=("text", "nan", "infinite", "nothing", "list"),
        absent={"publisher": "the server is the source itself"},
    ),
    "modbus": Bench(
        "modbus", "pymodbus", "modbus", _modbus_address, source_time=False, options={"alive": "T0"}, wrong=("nan", "infinite"),
        absent={
            "source time": "Modbus carries neither source time nor status",
            "status": "Modbus carries no status",
            "namespace": "Modbus knows no namespaces",
            "clock": "Modbus carries no source time",
            "flood": "polled: there is nothing that could run over; what changes between two polls is not sampled",
            "publisher": "the server is the source itself",
        },
    ),
    "mqtt": Bench(
        "mqtt", "paho-mqtt", "mqtt", lambda name: f"conform/{name}", options={"online": "conform/$online"}, broker=True,
        wrong=("text", "nan", "nothing", "garbage", "list"),
        absent={"namespace": "topics are names, not indexes"},
    ),
}  # fmt: skip


def maker(kind: str) -> Make:
    """Return a function that makes a plant of a kind from configuration keys. Raises Refused for an unknown kind."""
    known = kinds.known("plants")
    if kind in known:
        factory = kinds.load(known[kind])
    elif kind in HOME:
        from importlib.metadata import EntryPoint

        factory = kinds.load(EntryPoint(kind, HOME[kind], "jayul.plants"))
    else:
        raise Refused(f"'{kind}' is no kind of plant; there is: {', '.join(sorted(known | HOME))}")

    def make(keys: Mapping[str, Any], clock: Clock) -> Any:
        return factory.make(msgspec.convert(dict(keys), factory.config), clock)

    return make


def library(kind: str) -> str:
    """Return the package whose version a run of that kind reports."""
    return BENCHES[kind].library if kind in BENCHES else ""


def installed(kind: str) -> bool:
    """Say whether the protocol's library is there."""
    module = {"opcua": "asyncua", "modbus": "pymodbus", "mqtt": "paho"}.get(kind, "")
    try:
        importlib.import_module(module or "jayul")
    except ImportError:
        return False
    return True
