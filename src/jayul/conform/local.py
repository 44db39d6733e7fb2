"""The clauses that apply to a plant that plays in this process (`tank`, `tennessee_eastman`, `files`) or behind a Unix socket.

There is no network to break and nothing to compare with, so that most checks do not apply; those that do are the same as in
`jayul.testing.check_plant`, and are run afresh.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from jayul.conform.check import Figures
from jayul.conform.evidence import Result, Tier
from jayul.conform.peer import Peer
from jayul.conform.rig import Failed, Left, NotTried
from jayul.core.clock import Clock, Sim, monotonic
from jayul.core.types import SECOND, Frame, Plant, Proposal, Tag, Verdict, same
from jayul.plant.errors import Refused, Unreachable
from jayul.plant.link import pause

START = 1_767_225_600 * SECOND  # 2026-01-01 UTC
PERIOD, TICKS = 30 * SECOND, 20
RECORDING = "time,A,B\n" + "".join(f"2026-01-01T00:{k // 2:02d}:{k % 2 * 30:02d}Z,{k},{100 + k}\n" for k in range(60))


class Bed:
    """Makes plants of one kind; a kind behind a socket has a process of its own to talk to."""

    def __init__(self, kind: str, make: Callable[[Mapping[str, Any], Clock], Any], folder: Path) -> None:
        self.kind, self._make, self._folder = kind, make, folder
        self.peer: Peer | None = None

    async def start(self) -> None:
        """Start what is needed. Raises Unreachable."""
        if self.kind == "files":
            (self._folder / "recording.csv").write_text(RECORDING)
        if self.kind == "remote":
            self.peer = Peer("remote", "--socket", str(self._folder / "plant.sock"), port=False)
            await self.peer.start()

    def plant(self, clock: Sim) -> Plant:
        """Make one. Raises Refused if it cannot be made from nothing but its kind."""
        keys: dict[str, Any] = {}
        if self.kind == "files":
            keys = {"path": str(self._folder / "recording.csv")}
        if self.kind == "remote":
            keys = {"socket": str(self._folder / "plant.sock")}
        try:
            found: Plant = self._make(keys, clock)
        except (msgspec.ValidationError, ImportError) as error:
            raise Refused(f"a plant of kind '{self.kind}' cannot be made from its kind alone: {error}") from None
        return found

    async def fresh(self) -> tuple[Plant, Sim, Frame]:
        """Make one, at a time at which it knows something, and read it."""
        clock = Sim(START, 7)
        plant = self.plant(clock)
        await clock.until(START + PERIOD)
        return plant, clock, await plant.read()

    @property
    def remote(self) -> Peer:
        """The other process. Raises NotTried."""
        if self.peer is None:
            raise NotTried("there is no other process")
        return self.peer


async def _close(plant: Plant) -> None:
    if (close := getattr(plant, "close", None)) is not None:
        await close()


def _writable(plant: Plant, frame: Frame) -> list[Tag]:
    return [
        tag for tag in plant.tags.tags
        if tag.writable and not tag.safety and tag.low is not None and tag.high is not None and frame.fresh(tag.name)
    ]  # fmt: skip


async def _set(plant: Plant, values: Mapping[str, float]) -> list[str]:
    wishes = [Proposal(tag, value, "conform", "conform") for tag, value in values.items()]
    receipts = await plant.write([Verdict(wish, wish.value, "") for wish in wishes])
    for receipt in receipts:
        if receipt.state == "settled" and (receipt.applied is None or not same(receipt.applied, values[receipt.tag])):
            raise Failed(f"{receipt.tag} is settled at {receipt.applied}, not at what was sent")
    return [receipt.state for receipt in receipts]


async def _reads(bed: Bed) -> Figures:
    clock = Sim(START, 7)
    plant = bed.plant(clock)
    fresh = 0
    for i in range(TICKS):
        await clock.until(START + i * PERIOD)
        frame = await plant.read()
        if frame.table.names != plant.tags.names:
            raise Failed("a frame is not on the plant's tag table")
        if frame.at != clock.now():
            raise Failed("a frame is not of the clock's time")
        fresh += sum(frame.fresh(name) for name in plant.tags.names)
    await _close(plant)
    if not fresh:
        raise Failed("not one reading was fresh")
    return {"tags": float(len(plant.tags.tags)), "fresh_readings": float(fresh)}


async def _write(bed: Bed) -> Figures:
    plant, _, frame = await bed.fresh()
    tags = _writable(plant, frame)
    if not tags:
        await _close(plant)
        raise Absent("nothing of it can be written")
    settled = 0
    for tag in tags:
        value = (frame[tag.name] + (tag.low or 0.0) + (tag.high or 0.0)) / 3
        states = await _set(plant, {tag.name: value})
        if len(states) != 1:
            raise Failed(f"a write to {tag.name} has {len(states)} receipts")
        if states == ["settled"]:
            settled += 1
            if not same((await plant.read())[tag.name], value):
                raise Failed(f"{tag.name} is settled, but the next read shows another value")
    await _close(plant)
    if not settled:
        raise Failed("not one write to a writable tag was settled")
    return {"settled": float(settled), "writable": float(len(tags))}


async def _empty(bed: Bed) -> Figures:
    plant, _, _ = await bed.fresh()
    if await plant.write([]):
        raise Failed("an empty write has receipts")
    if await plant.write([Verdict(Proposal(plant.tags.names[0], 1.0, "", ""), None, "rule", "refused by the guard")]):
        raise Failed("what the guard refused has a receipt")
    await _close(plant)
    return {}


async def _closes(bed: Bed) -> Figures:
    plant, _, _ = await bed.fresh()
    await _close(plant)
    before = Left.now()
    plant, _, _ = await bed.fresh()
    await _close(plant)
    begun, never = monotonic(), asyncio.Event()
    while any(have > had for have, had in zip(Left.now(), before, strict=True)):
        if monotonic() - begun > 2.0:
            raise Failed(f"left behind after close(): tasks, files, threads were {before}, are {Left.now()}")
        await pause(never, 0.05)
    return {}


async def _all_or_none(bed: Bed) -> Figures:
    plant, _, frame = await bed.fresh()
    tags = _writable(plant, frame)
    if not tags:
        await _close(plant)
        raise Absent("nothing of it can be written")
    tag = tags[0]
    before = frame[tag.name]
    value = before + (tag.max_step or 1.0) / 2 * (1 if before < (tag.high or before) else -1)
    states = await _set(plant, {tag.name: value, "no such tag": 1.0})
    if "settled" in states:
        raise Failed("part of a write was taken, part was not")
    if not same((await plant.read())[tag.name], before):
        raise Failed("a write that was refused changed the plant")
    await _close(plant)
    return {}


async def _refused(bed: Bed) -> Figures:
    plant, _, _ = await bed.fresh()
    names = ["no such tag", *(tag.name for tag in plant.tags.tags if tag.safety or not tag.writable)][:8]
    for name in names:
        if "settled" in await _set(plant, {name: 1.0}):
            raise Failed(f"a write to '{name}', which cannot be written, is said to be settled")
    await _close(plant)
    return {"tried": float(len(names))}


async def _same_bytes(bed: Bed) -> Figures:
    if bed.peer is not None:
        raise Absent("the plant lives on in its own process")
    runs = list[list[bytes]]()
    for _ in range(2):
        clock = Sim(START, 7)
        plant, digests = bed.plant(clock), list[bytes]()
        for i in range(TICKS):
            await clock.until(START + i * PERIOD)
            digests.append((await plant.read()).digest())
        await _close(plant)
        runs.append(digests)
    if runs[0] != runs[1]:
        raise Failed("the same seed does not give the same bytes")
    return {"frames": float(TICKS)}


async def _killed(bed: Bed) -> Figures:
    plant, clock, frame = await bed.fresh()
    if not any(frame.fresh(name) for name in plant.tags.names):
        raise Failed("nothing was fresh before")
    await bed.remote.kill()
    frame = await plant.read()
    if any(frame.fresh(name) for name in plant.tags.names):
        raise Failed("readings passed as fresh after the process was killed")
    await bed.remote.start()
    begun = monotonic()
    await clock.until(clock.now() + PERIOD)
    frame = await plant.read()
    if not any(frame.fresh(name) for name in plant.tags.names):
        raise Failed("data did not resume with the first read after the process came back")
    await _close(plant)
    return {"back_s": monotonic() - begun}


async def _answer_lost(bed: Bed) -> Figures:
    plant, _, frame = await bed.fresh()
    tag = _writable(plant, frame)[0]
    await bed.remote.tell("writes", how="drop")
    states = await _set(plant, {tag.name: frame[tag.name] + 0.5})
    await bed.remote.tell("writes", how="take")
    if states != ["unknown"]:
        raise Failed(f"a write whose answer was lost is said to be {states}")
    frame = await plant.read()
    if not any(frame.fresh(name) for name in plant.tags.names):
        raise Failed("nothing was fresh after a lost answer")
    await _close(plant)
    return {}


class Absent(Exception):
    """A clause does not apply: why."""


class Clause(NamedTuple):
    """One clause; `kinds`: those that it can apply to (none: all)."""

    name: str
    tier: Tier
    proves: str
    run: Callable[[Bed], Awaitable[Figures]]
    kinds: tuple[str, ...] = ()


CHECKS = (
    Clause("reads", "bronze", "Frames are on the plant's own tag table and of the clock's time.", _reads),
    Clause("write", "bronze", "A write that is settled shows in the next read.", _write),
    Clause("empty write", "bronze", "A write of nothing, or of what the guard refused, has no receipt.", _empty),
    Clause("close", "bronze", "After close() no task, socket or thread is left.", _closes),
    Clause("killed", "bronze", "After kill -9 nothing passes as fresh; data resumes when it is back.", _killed, ("remote",)),
    Clause("all or none", "silver", "Of a write one part of which is impossible nothing stands.", _all_or_none),
    Clause("refused", "silver", "A write to what cannot be written is never called settled.", _refused),
    Clause("same bytes", "silver", "The same seed gives the same bytes.", _same_bytes),
    Clause("answer lost", "gold", "A write whose answer is lost is unknown, never settled.", _answer_lost, ("remote",)),
)  # fmt: skip


async def run(kind: str, make: Callable[[Mapping[str, Any], Clock], Any], progress: Callable[[Result], None]) -> list[Result]:
    """Run every clause that applies."""
    results = list[Result]()
    with tempfile.TemporaryDirectory() as folder:
        bed = Bed(kind, make, Path(folder))
        why = ""
        try:
            await bed.start()
            bed.plant(Sim(START, 7))
        except (Refused, Unreachable) as error:
            why = str(error)
        for clause in CHECKS:
            result = await _carry_out(clause, bed, why)
            progress(result)
            results.append(result)
        if bed.peer is not None:
            await bed.peer.close()
    return results


async def _carry_out(clause: Clause, bed: Bed, why: str) -> Result:
    head = clause.name, clause.tier, clause.proves
    if clause.kinds and bed.kind not in clause.kinds:
        return Result(*head, "not applicable", "it plays in this process: there is no link to lose")
    if why:
        return Result(*head, "not tried", why)
    try:
        figures = await clause.run(bed)
    except Absent as reason:
        return Result(*head, "not applicable", str(reason))
    except Failed as failed:
        return Result(*head, "failed", str(failed))
    except (NotTried, Unreachable, Refused) as reason:
        return Result(*head, "not tried", str(reason))
    return Result(*head, "passed", "", {name: round(value, 3) for name, value in figures.items()})
