"""What all controllable servers share: the tags that they show, what is wrong with them just now, and the orders that say so.

Tags are `T0` ... (measured, see `truth`) and `SP1`, `SP2` (set-points: what was last written). An order is one JSON object a line:

    {"do": "freeze", "tags": ["T1"]}      value and source time stand still (`"on": false` ends it, here and below)
    {"do": "silence", "tags": ["T1"]}     nothing is sent of them at all
    {"do": "status", "tags": ["T1"], "code": 2147483648}
    {"do": "remove", "tags": ["T1"]}      node, register or topic is gone
    {"do": "wrong", "tags": ["T1"], "how": "text"}      text, nan, infinite, nothing
    {"do": "jump", "seconds": 3600}       of the source clock
    {"do": "writes", "how": "take"}       take, refuse, late (shown after `seconds`), part (only of SP1), drop (say yes, do not),
                                          slow (taken at once, answered after `seconds`)
    {"do": "flood", "seconds": 2}         as many changes as it can; answers at once, ends by itself
    {"do": "told"}                        what was sent and written so far
    {"do": "steps"}                       source times at which all tags changed (OPC UA)
    {"do": "heal"}                        all is well again

The process ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from jayul.conform.truth import truth
from jayul.core.clock import today
from jayul.core.types import SECOND

SETPOINTS = {"SP1": 50.0, "SP2": 40.0}
STEP = 0.1  # s between changes
LOW, HIGH = 0.0, 100.0  # of the set-points


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of standard input."""

    do: str
    tags: tuple[str, ...] = ()
    on: bool = True
    code: int = 0
    seconds: float = 0.0
    how: str = ""


class World:
    """The tags and their faults. `sent`: values shown, by tag; `log`: (time ns, tag, value) of every change of a set-point."""

    def __init__(self, count: int) -> None:
        self.numbers = {f"T{i}": i for i in range(count)}
        self.setpoints, self.shown = dict(SETPOINTS), dict(SETPOINTS)
        self.shown_at = dict.fromkeys(SETPOINTS, today())
        self.log: list[tuple[int, str, float]] = [(self.shown_at[tag], tag, value) for tag, value in SETPOINTS.items()]
        self.sent = dict.fromkeys(self.numbers, 0)
        self.steps: deque[int] = deque(maxlen=200_000)  # source times at which all tags changed
        self.asked = 0  # writes that came in, of one tag each
        self.heal()

    def heal(self) -> None:
        """Take every fault away. Set-points stay as they are."""
        self.frozen: dict[str, int] = {}  # tag -> source time that it stopped at
        self.silent: set[str] = set()
        self.status: dict[str, int] = {}
        self.gone: set[str] = set()
        self.wrong: dict[str, str] = {}
        self.jump, self.writes, self.late = 0, "take", 0.0

    @property
    def hold(self) -> float:
        """Seconds for which the answer to a write is held back."""
        return self.late if self.writes == "slow" else 0.0

    def now(self) -> int:
        """Return the source clock: ns, whole microseconds."""
        return (today() + self.jump) // 1000 * 1000

    def look(self, tag: str, at: int) -> tuple[float, int, int]:
        """Return value, status and source time (ns) of a tag, shown at a time of the source clock."""
        if tag in self.numbers:
            at = self.frozen.get(tag, at)
            return truth(self.numbers[tag], at), self.status.get(tag, 0), at
        return self.shown[tag], self.status.get(tag, 0), (self.shown_at[tag] + self.jump) // 1000 * 1000

    def write(self, tag: str, value: float) -> bool:
        """Take a write of a set-point; say whether it was taken."""
        self.asked += 1
        if self.writes == "refuse" or (self.writes == "part" and tag != "SP1") or not LOW <= value <= HIGH:
            return False
        if self.writes == "drop":
            return True
        self.setpoints[tag] = value
        if self.writes == "late":
            asyncio.get_running_loop().call_later(self.late, self._show, tag, value)
        else:
            self._show(tag, value)
        return True

    def _show(self, tag: str, value: float) -> None:
        self.shown[tag], self.shown_at[tag] = value, today()
        self.log.append((self.shown_at[tag], tag, value))

    def obey(self, order: Order) -> dict[str, Any]:
        """Carry out what concerns the tags. Raises ValueError for an order that is none."""
        match order.do:
            case "freeze":
                at = self.now()
                self._mark(order, lambda tag: self.frozen.setdefault(tag, at), self.frozen)
            case "silence":
                self._mark(order, self.silent.add, self.silent)
            case "status":
                self._mark(order, lambda tag: self.status.update({tag: order.code}), self.status)
            case "remove":
                self._mark(order, self.gone.add, self.gone)
            case "wrong":
                self._mark(order, lambda tag: self.wrong.update({tag: order.how}), self.wrong)
            case "jump":
                self.jump = int(order.seconds * SECOND)
            case "writes":
                self.writes, self.late = order.how, order.seconds
            case "heal":
                self.heal()
            case "told" | "flood":
                return {"sent": self.sent, "log": self.log, "asked": self.asked, "shown": self.shown}
            case "steps":
                return {"steps": list(self.steps)}
            case _:
                raise ValueError(f"no order: {order.do}")
        return {}

    def _mark(self, order: Order, put: Callable[[str], Any], where: set[str] | dict[str, Any]) -> None:
        for tag in order.tags:
            if order.on:
                put(tag)
            elif isinstance(where, set):
                where.discard(tag)
            else:
                where.pop(tag, None)


def answer(said: dict[str, Any]) -> None:
    """Write one line to standard output."""
    sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
    sys.stdout.buffer.flush()


async def orders(world: World, then: Callable[[Order], Awaitable[None]]) -> None:
    """Obey standard input until it ends. `then` is awaited after the world has taken an order in."""
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        try:
            order = msgspec.json.decode(line, type=Order)
            said = world.obey(order)
            await then(order)
        except (msgspec.MsgspecError, ValueError) as error:
            answer({"error": str(error)})
            continue
        answer(said)
