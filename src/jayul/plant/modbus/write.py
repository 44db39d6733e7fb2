"""A write over Modbus, all or none: look, write in order, go back if a part is refused, read until it shows.

Settled: the registers that were sent are read back. Overridden: others still stand there after READ_BACK s. Rejected: nothing was
sent, or the device refused and all that was written before was written back. Unknown: no answer, or the way back failed.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from jayul.core.clock import monotonic
from jayul.plant.link import READ_BACK, pause
from jayul.plant.modbus.address import MOST, Address, Area, decode, encode, plan
from jayul.plant.modbus.wire import Objection, Wire

LOOK = 0.05  # s between looks at what was written
State: TypeAlias = Literal["settled", "overridden", "rejected", "unknown"]
End: TypeAlias = tuple[State, float | None]  # with the value that stands, if it was read back
Image: TypeAlias = dict[tuple[int, Area, int], int]  # unit, area and address -> register or bit


class Part(NamedTuple):
    """One write request; `members`: positions of the tags in it."""

    unit: int
    area: Area
    start: int
    raw: list[int]
    members: list[int]


Wanted: TypeAlias = Mapping[int, tuple[Address, float]]  # in the order in which it is written; every address names its unit


async def transact(
    wire: Wire | None, wanted: Wanted, again: Callable[[], Awaitable[Wire]], signs: frozenset[int] = frozenset()
) -> dict[int, End]:
    """Write; return how each tag ended. `wire`: None if the link is lost.

    `again` opens another connection, for the way back if this one breaks. `signs`: signs of life, which the device may count
    in its own way: settled once they are acknowledged.
    """
    places = {i: place for i, (place, _) in wanted.items()}
    if wire is None:
        return dict.fromkeys(wanted, ("unknown", None))
    try:
        before = await look(wire, places)
    except Objection:
        return dict.fromkeys(wanted, ("rejected", None))
    except OSError:
        return dict.fromkeys(wanted, ("unknown", None))
    parts, after = compose(wanted, before)
    sent = dict[int, Address]()
    for part in parts:
        here = {i: places[i] for i in part.members}
        try:
            await wire.write(part.unit, part.area, part.start, part.raw)
        except (Objection, OSError) as error:
            refused = frozenset(here if isinstance(error, Objection) else ())
            none: dict[int, End] = dict.fromkeys(wanted, ("rejected", None))
            return none | await _back(wire, again, sent | here, refused, before)
        sent |= here
    ends: dict[int, End] = {i: ("settled", decode(p, [after[key] for key in keys(p)])) for i, p in places.items() if i in signs}
    return ends | await _settle(wire, {i: place for i, place in places.items() if i not in signs}, after)


async def look(wire: Wire, places: Mapping[int, Address]) -> Image:
    """Return what stands at these addresses, and nowhere between them. Raises Objection or OSError."""
    image = Image()
    for block in plan(places, gap=0):
        raw = await wire.read(block.unit, block.area, block.start, block.count)
        image.update({(block.unit, block.area, block.start + k): word for k, word in enumerate(raw)})
    return image


def compose(wanted: Wanted, before: Image) -> tuple[list[Part], Image]:
    """Return the requests that write these values, in order, neighbours together, and how all registers stand then."""
    parts, after = list[Part](), dict(before)
    for i, (place, value) in wanted.items():
        raw = encode(place, value, [after[key] for key in keys(place)])
        after.update(zip(keys(place), raw, strict=True))
        last = parts[-1] if parts else None
        if last and (last.unit, last.area) == (place.unit, place.area) and last.start <= place.at <= last.start + len(last.raw):
            whole = max(len(last.raw), place.end - last.start)
            if whole <= MOST[place.area]:
                last.raw[place.at - last.start : place.end - last.start] = raw
                last.members.append(i)
                continue
        parts.append(Part(place.unit, place.area, place.at, raw, [i]))
    return parts, after


def keys(place: Address) -> list[tuple[int, Area, int]]:
    """Return where a tag lies in an image."""
    return [(place.unit, place.area, at) for at in range(place.at, place.end)]


async def _back(
    wire: Wire, again: Callable[[], Awaitable[Wire]], tags: Mapping[int, Address], refused: frozenset[int], before: Image
) -> dict[int, End]:
    """Write back what stood there, tag by tag, the last one first. Return the tags for which that failed: unknown.

    `refused`: the device said no to these; they are written back only if something of them was taken all the same.
    """
    failed = dict[int, End]()
    other, deadline = wire, monotonic() + READ_BACK
    try:
        for i, place in reversed(list(tags.items())):
            old = [before[key] for key in keys(place)]
            try:
                if other.closed and monotonic() < deadline:
                    other = await again()
                if i in refused and _alike(place, await other.read(place.unit, place.area, place.at, place.count), old):
                    continue
                await other.write(place.unit, place.area, place.at, old)
            except (Objection, OSError):
                failed[i] = ("unknown", None)
    finally:
        if other is not wire:
            other.close()
    return failed


async def _settle(wire: Wire, places: Mapping[int, Address], after: Image) -> dict[int, End]:
    """Read until the registers are those that were sent, or the time is over."""
    ends, left, deadline, never = dict[int, End](), dict(places), monotonic() + READ_BACK, asyncio.Event()
    while left:
        over = monotonic() >= deadline
        try:
            seen = await look(wire, left)
        except OSError:
            return ends | dict.fromkeys(left, ("unknown", None))
        except Objection:
            seen = Image()
        for i, place in list(left.items()):
            stands = [seen[key] for key in keys(place)] if seen else None
            if stands is not None and _alike(place, stands, [after[key] for key in keys(place)]):
                ends[i] = "settled", decode(place, stands)
                del left[i]
            elif over:
                value = decode(place, stands) if stands is not None else math.nan
                ends[i] = ("overridden", value) if math.isfinite(value) else ("unknown", None)
        if over:
            break
        if left:
            await pause(never, LOOK)
    return ends


def _alike(place: Address, stands: Sequence[int], sent: Sequence[int]) -> bool:
    """Say whether the registers are those that were sent; of a bit, whether the bit is."""
    return decode(place, stands) == decode(place, sent) if place.bit >= 0 else list(stands) == list(sent)
