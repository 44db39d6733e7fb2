"""A simulated plant behind a controller, as a wire meets it: clamps, loop modes, a watchdog, and shedding when it stops.

Protocol servers show `frame` and hand writes to `set`. The watchdog tag counts messages from the supervisor; if it is not
written for `watchdog` of plant time while somebody is in charge, every loop goes to local with its local set-points.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from jayul.core.clock import Clock
from jayul.core.types import Frame, Plant, Proposal, Tag, TagTable, Verdict
from jayul.plant.table import Loop

LOCAL, REMOTE = 1, 2
MODES = {0: "MAN", LOCAL: "AUTO", REMOTE: "RCAS"}
WATCHDOG, MODE = "WATCHDOG", "REMOTE"
GOOD, NOT_WRITABLE, OUT_OF_RANGE, WRONG_TYPE, BAD_STATE = 0, 0x803B_0000, 0x803C_0000, 0x8074_0000, 0x80AF_0000  # OPC UA codes


@runtime_checkable
class Switched(Protocol):
    """A simulated plant with loop modes of its own."""

    loops: dict[str, Loop]  # by set-point

    def switch(self, tag: str, code: int) -> None:
        """Put the mode of that name to a code."""
        ...


class Plc:
    """The controller. `tags`: those of the plant, the watchdog, and one mode for all set-points if the plant has none.

    `operator`: a simulated operator puts loops to remote again so long (ns of plant time) after they went to local; 0: nobody does.
    """

    def __init__(self, plant: Plant, clock: Clock, watchdog: int, operator: int = 0) -> None:
        self._plant, self._clock, self._watchdog, self._operator = plant, clock, watchdog, operator
        own: list[Tag] = []
        if WATCHDOG not in plant.tags.index:
            own.append(Tag(name=WATCHDOG, description="count of messages from the supervisor, as the controller sees it"))
        written = [tag.name for tag in plant.tags.tags if tag.writable and not tag.safety]
        if isinstance(plant, Switched):
            self.loops = dict(plant.loops)
        else:
            own.append(Tag(name=MODE, kind="mode", states=MODES, description="who moves the set-points"))
            self.loops = {name: Loop(MODE, REMOTE, LOCAL) for name in written}
        self.tags = TagTable([*plant.tags.tags, *own])
        self._own = dict.fromkeys([tag.name for tag in own], 0.0) | (
            {MODE: float(REMOTE)} if own and own[-1].name == MODE else {}
        )
        self._writable = frozenset(written)
        self._modes = frozenset(loop.mode for loop in self.loops.values())
        self._local: dict[str, float] = {}  # what stands there while nobody remote moves it
        self._count: float | None = None  # what was written to a watchdog that the plant has itself
        self._away: dict[str, int] = {}  # mode -> since when it is not in remote
        self._fed = 0  # plant time of the last sign of life in remote; 0: nobody is in charge
        self.shed = 0  # how often it was

    async def frame(self) -> Frame:
        """Return every tag as of now; sheds first, if the supervisor is gone."""
        frame = await self._plant.read()
        if not self._local:
            self._local = {name: frame[name] for name in self._writable}
        if self._fed and self._clock.now() - self._fed > self._watchdog:
            await self._shed(frame)
            frame = await self._plant.read()
        if self._operator and (back := [m for m, since in self._away.items() if frame.at - since > self._operator]):
            for mode in back:
                self._switch(mode, REMOTE)
            frame = await self._plant.read()
        if self._count is not None:  # the plant's own count of messages is hidden by what was written
            value = frame.value.copy()
            value[frame.table.index[WATCHDOG]] = self._count
            frame = Frame(frame.at, frame.table, value, frame.source_at, frame.seen_at, frame.status)
        if not self._own:
            return frame
        n = len(self._own)
        stamps = np.full(n, frame.at, dtype=np.int64)
        return Frame(
            frame.at, self.tags, np.append(frame.value, list(self._own.values())), np.append(frame.source_at, stamps),
            np.append(frame.seen_at, stamps), np.append(frame.status, np.zeros(n, dtype=np.uint32)),
        )  # fmt: skip

    async def _shed(self, frame: Frame) -> None:
        self._fed, self.shed = 0, self.shed + 1
        moved = [
            Verdict(Proposal(tag, value, "shed", "plc"), value, "") for tag, value in self._local.items() if frame[tag] != value
        ]
        if moved:
            await self._plant.write(moved)
        for mode in self._modes:
            self._switch(mode, LOCAL)

    def _switch(self, mode: str, code: int) -> None:
        if code == REMOTE:
            self._away.pop(mode, None)
        else:
            self._away.setdefault(mode, self._clock.now())
        if mode in self._own:
            self._own[mode] = float(code)
        elif isinstance(self._plant, Switched):
            self._plant.switch(mode, code)

    async def set(self, tag: str, value: object) -> int:
        """Take a write from the wire; return its OPC UA status code."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            return WRONG_TYPE
        frame = await self.frame()
        now = frame.at
        if tag == WATCHDOG:
            if WATCHDOG in self._own:
                self._own[WATCHDOG] = float(value)
            else:
                self._count = float(value)
            await self._plant.write([])
            self._fed = now if any(self._value(frame, mode) == REMOTE for mode in self._modes) else 0
            return GOOD
        if tag in self._modes:
            if value not in MODES:
                return OUT_OF_RANGE
            self._switch(tag, int(value))
            if value != REMOTE:
                self._fed = 0
            return GOOD
        if tag not in self._writable:
            return NOT_WRITABLE
        spec = self.tags[tag]
        if spec.low is None or spec.high is None or not spec.low <= value <= spec.high:  # the clamp
            return OUT_OF_RANGE
        loop = self.loops.get(tag)
        remote = loop is None or self._value(frame, loop.mode) == loop.remote
        if not remote:
            return BAD_STATE
        receipts = await self._plant.write([Verdict(Proposal(tag, float(value), "wire", "wire"), float(value), "")])
        if receipts[0].state != "settled":
            return BAD_STATE
        self._fed = now
        return GOOD

    def _value(self, frame: Frame, tag: str) -> float:
        return self._own[tag] if tag in self._own else frame[tag]
