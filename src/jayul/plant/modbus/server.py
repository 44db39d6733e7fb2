"""A Modbus TCP server that plays a simulated plant: the controller's frame in registers, writes handed to the controller.

A refused write is answered with a Modbus exception and changes nothing: 2 nobody may write there, 3 the value is out of range,
4 the controller does not take it now. A tag that is bad reads NaN where it lies in a float; an integer or a bit has no way to
say so and keeps its last value.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace
from pymodbus.constants import ExcCodes
from pymodbus.exceptions import NoSuchIdException
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
from pymodbus.simulator.simcore import SimCore

from jayul.core.clock import Wall
from jayul.core.types import Tag, TagTable, same
from jayul.plant.errors import Refused
from jayul.plant.link import Simulated, pause
from jayul.plant.modbus.address import Address, Area, blank, decode, encode, parse
from jayul.plant.modbus.declare import START, UNIT, pack
from jayul.plant.sim.plc import GOOD, NOT_WRITABLE, OUT_OF_RANGE, WRONG_TYPE, Plc

_AREA: dict[int, Area] = {1: "coil", 5: "coil", 15: "coil", 2: "discrete", 4: "input"}  # by function; all others: holding
_EXCEPTION = {
    NOT_WRITABLE: ExcCodes.ILLEGAL_ADDRESS, OUT_OF_RANGE: ExcCodes.ILLEGAL_VALUE, WRONG_TYPE: ExcCodes.ILLEGAL_VALUE,
}  # fmt: skip
logging.getLogger("pymodbus.logging").addHandler(logging.NullHandler())


def addresses(tags: TagTable) -> dict[str, str]:
    """Return where each tag lies unless something else is said: float32 in holding registers from 0, in the order of the tags."""
    return {name: f"holding {2 * i} float32" for i, name in enumerate(tags.names)}


async def serve(
    plc: Plc, clock: Wall, declared: Simulated, host: str, port: int, *,  # noqa: ARG001 - servers of all protocols have one shape
    table: Mapping[str, str] | None = None, scan: float = 0.02, ready: Callable[[int], None],
) -> None:  # fmt: skip
    """Play a plant until cancelled. `table`: address by tag; `scan`: s between looks at the plant; `ready` gets the port.

    Raises Refused for an address that is none, OSError if the port cannot be had.
    """
    store = _Store(plc, _places(plc.tags, addresses(plc.tags) if table is None else table), declared)
    await store.refresh()
    nothing = SimDevice(UNIT, SimData(0, datatype=DataType.REGISTERS))
    server = ModbusTcpServer(nothing, address=(host, port))
    server.context = store
    try:
        if not await server.listen():
            raise OSError(f"no Modbus server can listen at {host}:{port}")
        ready(server.transport.sockets[0].getsockname()[1])  # type: ignore[attr-defined]
        never = asyncio.Event()
        while True:
            await pause(never, scan)
            await store.refresh()
    finally:
        server.close()


def _places(tags: TagTable, table: Mapping[str, str]) -> dict[int, Address]:
    found = dict[int, Address]()
    for name, text in table.items():
        if name not in tags.index:
            raise Refused(f"'{name}' is no tag of this plant; there is: {', '.join(tags.names)}")
        try:
            place = parse(text)
        except ValueError as error:
            raise Refused(f"the address of '{name}': {error}") from None
        found[tags.index[name]] = place if place.unit >= 0 else replace(place, unit=UNIT)
    return found


class _Store(SimCore):
    """What stands in the registers, and who is asked when somebody writes there. It takes the place of pymodbus's own store."""

    def __init__(self, plc: Plc, places: dict[int, Address], declared: Simulated) -> None:
        self._plc, self._places = plc, places
        self._image = {(UNIT, "holding", START + k): word for k, word in enumerate(pack(declared))}
        self._owners = dict[tuple[int, Area, int], list[int]]()
        for i, place in places.items():
            for key in _keys(place):
                if key in self._image:
                    raise Refused(
                        f"the address of '{plc.tags.names[i]}' lies where a simulated plant declares itself, from {START}"
                    )
                self._owners.setdefault(key, []).append(i)
        self._image |= dict.fromkeys(self._owners, 0)

    async def refresh(self) -> None:
        """Take over what the controller shows now."""
        frame = await self._plc.frame()
        for i, place in self._places.items():
            try:
                good = frame.status[i] < 0x4000_0000
                raw = encode(place, frame.value.item(i), [self._image[key] for key in _keys(place)]) if good else blank(place)
            except ValueError:  # NaN, or more than the type holds
                raw = blank(place)
            if raw is not None:
                self._image.update(zip(_keys(place), raw, strict=True))

    def device_ids(self) -> list[int]:
        return sorted({unit for unit, _, _ in self._image})

    def _asked(self, unit: int, function: int, address: int, count: int) -> list[tuple[int, Area, int]] | None:
        if unit not in self.device_ids():
            raise NoSuchIdException(f"no unit {unit}")
        keys = [(unit, _AREA.get(function, "holding"), address + k) for k in range(count)]
        return keys if all(key in self._image for key in keys) else None

    async def async_getValues(  # noqa: N802
        self, device_id: int, func_code: int, address: int, count: int = 1
    ) -> list[int] | list[bool] | ExcCodes:
        """Return registers or bits."""
        keys = self._asked(device_id, func_code, address, count)
        if keys is None:
            return ExcCodes.ILLEGAL_ADDRESS
        words = [self._image[key] for key in keys]
        return [bool(word) for word in words] if keys[0][1] in ("coil", "discrete") else words

    async def async_setValues(  # noqa: N802
        self, device_id: int, func_code: int, address: int, values: list[int] | list[bool]
    ) -> ExcCodes | None:
        """Hand a write to the controller, tag by tag; if one is refused, those before it get back what they had."""
        keys = self._asked(device_id, func_code, address, len(values))
        if keys is None or any(key not in self._owners for key in keys):
            return ExcCodes.ILLEGAL_ADDRESS
        written = dict(zip(keys, map(int, values), strict=True))
        done = list[tuple[str, float]]()
        for i in dict.fromkeys(i for key in keys for i in self._owners[key]):
            place, tag = self._places[i], self._plc.tags.tags[i]
            before = [self._image[key] for key in _keys(place)]
            if not all(key in written for key in _keys(place)):
                status = OUT_OF_RANGE  # half a value
            elif place.bit >= 0 and decode(place, before) == decode(place, [written[key] for key in _keys(place)]):
                continue  # another bit of this register is meant
            else:
                status = await self._plc.set(tag.name, _exact(tag, decode(place, [written[key] for key in _keys(place)])))
            if status != GOOD:
                for name, value in reversed(done):
                    await self._plc.set(name, value)
                await self.refresh()
                return _EXCEPTION.get(status, ExcCodes.DEVICE_FAILURE)
            done.append((tag.name, decode(place, before)))
        await self.refresh()
        return None


def _keys(place: Address) -> list[tuple[int, Area, int]]:
    return [(place.unit, place.area, at) for at in range(place.at, place.end)]


def _exact(tag: Tag, value: float) -> float:
    """Return the limit that is meant by the nearest float32 to it."""
    near: Sequence[float] = [limit for limit in (tag.low, tag.high) if limit is not None and same(value, limit)]
    return near[0] if near else value
