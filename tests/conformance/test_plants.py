"""Every plant passes `check_plant`; every line of that check is shown to fail on a plant that is bad in one way."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from jayul.core.clock import Sim
from jayul.core.types import BAD, SECOND, Frame, Proposal, Receipt, Tag, TagTable, Verdict
from jayul.plant.errors import Unreachable
from jayul.plant.files import FilesConfig, files
from jayul.plant.remote import Remote, RemoteConfig, remote
from jayul.plant.sim.tank import Fault, Tank, TankConfig, tank
from jayul.testing import START, check_plant

KINDS = ("frozen", "silent", "bad", "nan", "future", "manual", "override")
SERVER = """
import asyncio, sys
from pathlib import Path
from jayul.core.clock import Sim
from jayul.plant.remote import serve
from jayul.plant.sim.tank import TankConfig, tank
clock = Sim(int(sys.argv[2]), 7)
asyncio.run(serve(tank(TankConfig(), clock), clock, Path(sys.argv[1]), ready=lambda: print("ready", flush=True)))
"""


@pytest.fixture
def serve_tank(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Give a way to start a tank in another process; each has ended when the test is over."""
    started: list[subprocess.Popen[str]] = []

    def start(name: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", SERVER, str(tmp_path / name), str(START)]
        started.append(process := subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("config", [TankConfig(), TankConfig(effect=-0.1, confounded=True, watchdog="1 min")])
def test_the_tank(config: TankConfig):
    check_plant(lambda clock: tank(config, clock))
    check_plant(lambda clock: tank(config, clock), period=600 * SECOND, ticks=30)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tag", ["TIC1.PV", "TIC1.SP"])
def test_the_tank_with_faults(kind: str, tag: str):
    config = TankConfig(fault=(Fault(tag, kind, "3 min", "4 min", 57.0), Fault("LIC1.PV", "bad", "9 min", "1 h")))  # type: ignore[arg-type]
    check_plant(lambda clock: tank(config, clock))


@pytest.mark.parametrize("seeded", [True, False])
def test_files(seeded: bool, tmp_path: Path):
    rows = "".join(f"2026-01-01T00:{i:02}:00Z,{50 + i},{'' if i == 5 else i}\n" for i in range(30))
    (tmp_path / "d.csv").write_text("time,SP,PV\n" + rows)
    tag = Tag(name="SP", low=40.0, high=70.0, max_step=2.0, writable=True)
    check_plant(lambda clock: files(FilesConfig(str(tmp_path / "d.csv"), tag=(tag,)), clock), seeded=seeded)


def test_remote(tmp_path: Path, serve_tank):
    number = count()

    def make(clock: Sim) -> Remote:
        serve_tank(name := f"{next(number)}.sock")
        return remote(RemoteConfig(str(tmp_path / name)), clock)

    check_plant(make)


def test_remote_gives_the_bytes_of_the_plant_that_it_serves(tmp_path: Path, serve_tank):
    serve_tank("s")

    async def watch(make: Callable[[Sim], Remote | Tank]) -> list[bytes]:
        clock, found = Sim(START, 7), []
        plant = make(clock)
        for i in range(20):
            await clock.until(START + i * 60 * SECOND)
            found.append((await plant.read()).digest())
            await plant.write([Verdict(Proposal("TIC1.SP", 55.0 + i / 10, "w", "p"), 55.0 + i / 10, "")])
        if isinstance(plant, Remote):
            await plant.close()
        return found

    there = asyncio.run(watch(lambda clock: remote(RemoteConfig(str(tmp_path / "s")), clock)))
    assert there == asyncio.run(watch(lambda clock: tank(TankConfig(), clock)))


def test_a_lost_link_marks_readings_bad_and_writes_unknown_and_is_made_again(tmp_path: Path, serve_tank):
    process = serve_tank("s")
    move = [Verdict(Proposal("TIC1.SP", 55.5, "w", "p"), 55.5, ""), Verdict(Proposal("LIC1.SP", 51.0, "w", "p"), None, "range")]

    async def live() -> None:
        clock = Sim(START, 7)
        plant = remote(RemoteConfig(str(tmp_path / "s")), clock)
        good = await plant.read()
        assert good.fresh("TIC1.PV")
        process.kill()
        process.wait()
        for _ in range(2):
            lost = await plant.read()
            assert (lost.table, lost.at) == (plant.tags, clock.now())
            assert (lost.status == BAD).all()
            assert np.isnan(lost.value).all()
            assert not any(lost.fresh(name) for name in lost.table.names)
        assert [(r.tag, r.applied, r.state) for r in await plant.write(move)] == [("TIC1.SP", None, "unknown")]
        serve_tank("s")
        assert (await plant.read()).fresh("TIC1.PV")
        assert [(r.tag, r.applied, r.state) for r in await plant.write(move)] == [("TIC1.SP", 55.5, "settled")]
        await plant.close()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(live())


def test_a_plant_that_does_not_answer_is_unreachable(tmp_path: Path):
    with pytest.raises(Unreachable, match="no plant answers"):
        remote(RemoteConfig(str(tmp_path / "none")), Sim(START))


# plants that are bad in one way


class Bad:
    """A tank behind a wrapper; each subclass spoils one thing."""

    def __init__(self, clock: Sim) -> None:
        self.inner, self.clock = tank(TankConfig(), clock), clock
        self.tags = self.inner.tags

    async def read(self) -> Frame:
        return await self.inner.read()

    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]:
        return await self.inner.write(verdicts)


def rebuilt(frame: Frame, at: int | None = None, value: np.ndarray | None = None, ahead: int = 0) -> Frame:
    value = frame.value.copy() if value is None else value
    stamps = frame.source_at + ahead, frame.seen_at.copy()
    return Frame(frame.at if at is None else at, frame.table, value, *stamps, frame.status.copy())


class OtherTable(Bad):
    async def read(self) -> Frame:
        frame = await self.inner.read()
        table = TagTable([Tag(name=f"{name}x") for name in frame.table.names])
        return Frame(frame.at, table, frame.value, frame.source_at, frame.seen_at, frame.status)


class OtherTime(Bad):
    async def read(self) -> Frame:
        return rebuilt(await self.inner.read(), at=self.clock.now() - 1)


class Moody(Bad):
    reads = count()

    async def read(self) -> Frame:
        frame = await self.inner.read()
        return rebuilt(frame, value=frame.value + (np.arange(len(frame.value)) == 3) * next(self.reads))


class Ahead(Bad):
    async def read(self) -> Frame:
        return rebuilt(await self.inner.read(), ahead=6 * SECOND)


class Chatty(Bad):
    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]:
        return await self.inner.write(verdicts) or [Receipt("TIC1.SP", 55.0, 55.0, self.clock.now(), "settled")]


class Mute(Bad):
    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]:
        await self.inner.write(verdicts)
        return []


class Muddled(Bad):
    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]:
        return [Receipt("LIC2.PV", r.allowed, r.applied, r.at, r.state) for r in await self.inner.write(verdicts)]


class Elsewhere(Bad):
    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]:
        receipts = await self.inner.write(verdicts)
        return [Receipt(r.tag, r.allowed, r.allowed + 0.1, r.at, r.state) for r in receipts]


class Liar(Bad):
    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]:
        known = all(v.proposal.tag in self.tags.index for v in verdicts)
        state = "settled" if known else "rejected"
        return [Receipt(v.proposal.tag, v.allowed, v.allowed, 0, state) for v in verdicts if v.allowed is not None]  # type: ignore[arg-type]


class Believer(Bad):
    """It says of every write that it was taken."""

    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]:
        return [Receipt(v.proposal.tag, v.allowed, v.allowed, 0, "settled") for v in verdicts if v.allowed is not None]


class Partial(Bad):
    """It takes what it can of a write, and says so."""

    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]:
        able = [v for v in verdicts if v.proposal.tag in self.tags.index]
        unable = [Receipt(v.proposal.tag, v.allowed or 0.0, None, 0, "rejected") for v in verdicts if v not in able]
        return [*await self.inner.write(able), *unable]


class Sly(Partial):
    """It takes what it can of a write, and says that it took nothing."""

    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]:
        receipts = await super().write(verdicts)
        if all(r.state == "settled" for r in receipts):
            return receipts
        return [Receipt(r.tag, r.allowed, None, r.at, "rejected") for r in receipts]


class Leaky(Bad):
    kept: list[asyncio.Task[bool]] = []  # noqa: RUF012 - a leak is what this is about

    async def read(self) -> Frame:
        self.kept.append(asyncio.create_task(asyncio.Event().wait()))
        return await self.inner.read()


BAD_PLANTS = [
    (OtherTable, "not on the plant's tag table"),
    (OtherTime, "not of the clock's time"),
    (Moody, "same seed does not give the same bytes"),
    (Chatty, "an empty write has receipts"),
    (Mute, "no receipt of its own"),
    (Muddled, "no receipt of its own"),
    (Elsewhere, "settled at another value"),
    (Liar, "reads back otherwise"),
    (Believer, "part of a write was taken, part was not"),
    (Partial, "part of a write was taken, part was not"),
    (Sly, "a write that was refused changed the plant"),
    (Leaky, "a task is left behind"),
]


@pytest.mark.parametrize(("plant", "what"), BAD_PLANTS)
def test_the_check_finds_what_is_bad(plant: type[Bad], what: str):
    with pytest.raises(AssertionError, match=what):
        check_plant(plant)


@pytest.mark.parametrize("seeded", [True, False])
@pytest.mark.parametrize("plant", [Bad, Ahead])  # a source whose clock runs ahead is the frame's to mark, not the plant's fault
def test_the_wrapper_alone_is_not_what_is_found(plant: type[Bad], seeded: bool):
    check_plant(plant, seeded=seeded)
    assert asyncio.run(plant(Sim(START, 7)).read()).fresh("TIC1.PV") is (plant is Bad)
