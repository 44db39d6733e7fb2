"""What all plants on a wire have in common: their configuration, what a simulated peer declares, and how a link tells of itself.

Liveness is the age of data, never the state of a socket. A plant on a wire is read-only unless `write` names tags; the gateway
alone is given any.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import msgspec

from jayul.core.clock import Wall
from jayul.core.types import Frame, Receipt, TagTable, Verdict
from jayul.plant.newest import Losses
from jayul.plant.table import Loop, Table, at_speed, read_table
from jayul.record.batch import Batch

READ_BACK = 2.0  # s: so long a write may take to show
RETRY = (0.2, 0.5, 1.0, 2.0)  # s between attempts to connect; the last one for ever


class LinkConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys of every plant on a wire.

    `url`: where it is; `tags`: path of the tag table. `gateway`: socket of a gateway that runs already (empty: a run starts its
    own). `speed`: of a peer that declares itself simulated. `constant`: tags that may stand still for long, so that the
    source's word is enough for their age (set-points and modes always are). `alive`: a tag that must change, or all readings
    grow old. `watchdog`: a tag that the gateway counts up while it is in charge; the PLC sheds when it stops. `write`: tags that
    this connection may write.
    """

    url: str
    tags: str
    gateway: str = ""
    speed: float = 1.0
    constant: tuple[str, ...] = ()
    alive: str = ""
    watchdog: str = ""
    write: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.speed <= 100_000:
            raise ValueError("'speed' must lie above 0 and at most at 100000")


class Simulated(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a simulated peer declares: plant time was `plant_ns` at the wall time `wall_ns`, and runs `speed` times as fast."""

    speed: float
    plant_ns: int
    wall_ns: int

    def clock(self, seed: int, *, stopped: Callable[[], bool] = lambda: False) -> Wall:
        """Return a clock that shows the peer's plant time."""
        return Wall(seed, speed=self.speed, stopped=stopped, anchor=(self.plant_ns, self.wall_ns))

    def encode(self) -> str:
        """Return it as JSON, the way a peer publishes it."""
        return msgspec.json.encode(self).decode()

    @staticmethod
    def decode(text: str | bytes) -> Simulated | None:
        """Read a declaration; None if it is none."""
        try:
            return msgspec.json.decode(text, type=Simulated)
        except msgspec.MsgspecError:
            return None


class Health(msgspec.Struct, frozen=True):
    """How a link fares. `connected` says nothing about the age of data, which stands in every reading.

    `connections`: how often it was set up; `received`, `shed`, `overflowed`: samples in all; `missing`: tags that the source does
    not know; `skew`: the source's clock minus ours, s; `trouble`: the last error in words.
    """

    connected: bool
    connections: int
    received: int
    shed: int
    overflowed: int
    missing: tuple[str, ...] = ()
    skew: float = 0.0
    trouble: str = ""


@runtime_checkable
class Linked(Protocol):
    """A plant on a wire. It connects at the first read, in the background, and again whenever it has to, until it is closed."""

    tags: TagTable
    loops: dict[str, Loop]

    async def declared(self) -> Simulated | None:
        """Ask the peer, over a connection of its own, whether it is simulated. Raises Unreachable."""
        ...

    async def read(self) -> Frame: ...
    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]: ...

    def took(self, receipts: Sequence[Receipt]) -> None:
        """Take in what another connection has written and read back."""
        ...

    def samples(self) -> Batch:
        """Return every sample since the last call."""
        ...

    def losses(self) -> Losses:
        """Return what was lost since the last call, by tag."""
        ...

    def health(self) -> Health: ...
    async def close(self) -> None: ...


def table_of(config: LinkConfig) -> tuple[TagTable, Table]:
    """Read the tag table of a link: the tags as they count at its speed, and the file. Raises Refused."""
    table = read_table(Path(config.tags))
    return at_speed(table.tags, config.speed), table


def still(tags: TagTable, config: LinkConfig) -> frozenset[int]:
    """Return the positions of the tags whose age is that of the source's last word, because they may stand still for long."""
    return frozenset(
        i for i, tag in enumerate(tags.tags)
        if tag.kind in ("set-point", "mode", "manipulated", "laboratory") or tag.writable or tag.name in config.constant
    )  # fmt: skip


async def pause(over: asyncio.Event, seconds: float) -> None:
    """Wait, unless it is over."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(over.wait(), seconds)
