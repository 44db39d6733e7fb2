"""Which requests a poll consists of: blocks, without the addresses that do not exist and the units that do not answer.

A request that the device refuses is split until only those addresses are left out that it does not have; they are tried again
every AGAIN s. So is a unit behind a gateway that gives no answer while others do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jayul.plant.modbus.address import Address, Block, halves, plan

AGAIN = 10.0  # s between attempts
ILLEGAL = (1, 2, 3)  # exception codes: function, address or value does not exist here; all others say "not now"


class Scan:
    """State of the polls of one link. Times are monotonic seconds. `first`: position of the tag that is read first."""

    def __init__(self, places: Mapping[int, Address], gap: int | None, first: int) -> None:
        self._places, self._gap, self._first = places, gap, first
        self._blocks = dict[Block, None]()  # in the order in which they were found
        self._missing, self._silent = dict[int, float](), dict[int, float]()  # tag, or unit -> when it is tried again
        self._suspects, self._answered = list[int](), set[int]()  # units: silent lately, and heard on this connection

    @property
    def missing(self) -> list[int]:
        """Positions of the tags whose addresses do not exist."""
        return sorted(self._missing)

    def begin(self) -> None:
        """Start over on a new connection."""
        self._blocks, self._missing, self._answered = dict.fromkeys(plan(self._places, self._gap)), {}, set()

    def due(self, now: float) -> list[Block]:
        """Return the requests of the next poll; units that were silent lately come last."""
        again = [i for i, at in self._missing.items() if at <= now]
        blocks = [*self._blocks, *(block for i in again for block in plan({i: self._places[i]}))]
        return sorted(
            (block for block in blocks if self._silent.get(block.unit, now) <= now),
            key=lambda block: (
                self._suspects.index(block.unit) if block.unit in self._suspects else -1,
                self._first not in block.members,
            ),
        )

    def found(self, block: Block) -> None:
        """Note that a request was answered."""
        self._heard(block.unit)
        self._blocks[block] = None
        for i in block.members:
            self._missing.pop(i, None)

    def _heard(self, unit: int) -> None:
        self._answered.add(unit)
        self._silent.pop(unit, None)
        if unit in self._suspects:
            self._suspects.remove(unit)

    def refused(self, block: Block, code: int, now: float) -> Sequence[Block]:
        """Note that a request was answered with an exception. Return what to ask instead: nothing if the address is missing,
        the block itself if it exists but cannot be read now.
        """
        self._heard(block.unit)
        if code not in ILLEGAL:
            return [block]
        self._blocks.pop(block, None)
        if len(block.members) > 1:
            return halves(block, self._places)
        self._missing[block.members[0]] = now + AGAIN
        return []

    def silence(self, unit: int, now: float) -> list[int] | None:
        """Note that a unit gave no answer. Return its tags if it alone is silent, None if all of the device may be."""
        if unit not in self._suspects:
            self._suspects.append(unit)
        if not self._answered - {unit}:
            return None
        self._silent[unit] = now + AGAIN
        return [i for i, place in self._places.items() if place.unit == unit]
