"""The simulated tank behind an OPC UA server of its own process, read and moved by the OPC UA plant."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from opcua_kit import HERE, Process, config, plant, running, until, verdict

from jayul.core.clock import Wall, today
from jayul.core.types import SECOND, Frame, Receipt, Verdict
from jayul.plant.link import Simulated
from jayul.plant.newest import OVERFLOW
from jayul.plant.opcua.browse import browse, unique, unit_of
from jayul.plant.opcua.client import opcua
from jayul.plant.opcua.server import addresses, serve
from jayul.plant.sim.plc import WATCHDOG, Plc
from jayul.plant.sim.tank import TAGS, TankConfig
from jayul.plant.sim.tank import tank as make_tank
from jayul.plant.table import Table, read_table, write_table
from jayul.testing import START, check_plant

WRITE = ("TIC1.SP", "LIC1.SP", "TIC1.MODE", WATCHDOG)


@pytest.fixture
def tags(tmp_path: Path) -> str:
    where = addresses(TAGS)
    own = tuple(replace(tag, address=where[tag.name]) for tag in TAGS.tags)
    path = tmp_path / "tank.csv"
    write_table(path, Table(own))
    return str(path)


def tank(speed: float) -> Process:
    return Process([sys.executable, str(HERE / "peers/plant.py"), str(speed), "7", "0"])


def test_it_declares_itself_and_is_read_on_its_own_clock(tags: str) -> None:
    async def drive() -> None:
        with running(tank(200.0)) as server:
            mine = config(server.port, tags, speed=200.0, write=WRITE)
            declared = await opcua(mine, Wall()).declared()
            assert declared is not None
            assert declared.speed == 200.0
            async with plant(mine, declared.clock(1)) as made:
                for _ in range(3):
                    frame = await made.read()
                    assert [name for name in frame.table.names if not frame.fresh(name)] == []
                    await asyncio.sleep(0.7)
                age = (frame.at - frame.source_at).max() / SECOND
                assert age < 200.0, "everything is younger than a second of wall time"

    asyncio.run(drive())


def test_writes_are_the_controllers_to_take_or_refuse(tags: str) -> None:
    async def drive() -> None:
        with running(tank(20.0)) as server:
            mine = config(server.port, tags, speed=20.0, write=WRITE)
            declared = await opcua(mine, Wall()).declared()
            assert declared is not None
            async with plant(mine, declared.clock(1)) as made:
                await made.read()
                (receipt,) = await made.write([verdict("TIC1.SP", 56.5)])
                assert (receipt.state, receipt.applied) == ("settled", 56.5)
                assert (await made.read())["TIC1.SP"] == 56.5
                assert [r.state for r in await made.write([verdict("TIC1.SP", 99.0)])] == ["rejected"], "the clamp"
                both = await made.write([verdict("LIC1.SP", 55.0), verdict("TIC1.SP", 99.0)])
                assert [r.state for r in both] == ["rejected", "rejected"]
                frame = await until(made, lambda f: f["LIC1.SP"] == 50.0)
                assert frame["TIC1.SP"] == 56.5, "all or none"
                (receipt,) = await made.write([verdict("TIC1.MODE", 1.0)])
                assert receipt.state == "settled"
                assert [r.state for r in await made.write([verdict("TIC1.SP", 57.0)])] == ["rejected"], "local: the operator's"
                assert [r.state for r in await made.write([verdict("TIC1.MODE", 2.0)])] == ["settled"]
                assert [r.state for r in await made.write([verdict("TIC1.SP", 57.0)])] == ["settled"]
                await made.write([verdict(WATCHDOG, 3.0)])
                assert (await made.read()).fresh(WATCHDOG)

    asyncio.run(drive())


def test_history_is_what_was_seen(tags: str) -> None:
    async def drive() -> None:
        with running(tank(2000.0)) as server:
            mine = config(server.port, tags, speed=2000.0)
            declared = await opcua(mine, Wall()).declared()
            assert declared is not None
            async with plant(mine, declared.clock(1)) as made:
                begun = (await made.read()).at
                await asyncio.sleep(2.5)
                end = (await made.read()).at
                at, value, status = await made.history("TIC1.PV", begun - 3600 * SECOND, end + 60 * SECOND)
                assert (np.diff(at) > 0).all()
                assert not status.any()
                batch = made.samples()
                mine_too = batch.tag == made.tags.index["TIC1.PV"]
                seen = dict(zip(batch.source_at[mine_too].tolist(), batch.value[mine_too].tolist(), strict=True))
                kept = dict(zip(at.tolist(), value.tolist(), strict=True))
                assert len(seen) > 50
                assert {t: v for t, v in seen.items() if t < end}.items() <= kept.items()

    asyncio.run(drive())


def test_the_plant_passes_the_conformance_check(tags: str, tmp_path: Path) -> None:
    table = read_table(Path(tags))
    patient = tmp_path / "patient.csv"
    write_table(patient, Table(tuple(replace(tag, stale_after=3600.0) for tag in table.tags)))
    with running(tank(1.0)) as server:
        mine = config(server.port, str(patient), write=("TIC1.SP", "LIC1.SP"))
        check_plant(lambda clock: opcua(mine, clock), seeded=False)


def test_a_queue_that_runs_over_is_owned_up_to(tags: str) -> None:
    async def drive() -> None:
        with running(tank(2000.0)) as server:
            mine = config(server.port, tags, speed=2000.0, interval=1.0)  # ten samples in the queue, and fifty to come
            declared = await opcua(mine, Wall()).declared()
            assert declared is not None
            async with plant(mine, declared.clock(1)) as made:
                await until(made, lambda f: made.health().overflowed > 20, 10.0)
                batch = made.samples()
                own = batch.tag == made.tags.index["TIC1.PV"]
                steps, flagged = np.diff(batch.source_at[own]) > 1000 * SECOND, batch.status[own][1:] & OVERFLOW == OVERFLOW
                assert steps.any()
                assert flagged[steps].all(), "a long gap that the server did not own up to"

    asyncio.run(drive())


def test_browsing_gives_back_the_tags_under_their_own_names(tags: str) -> None:
    with running(tank(1.0)) as server:
        found = {tag.name: tag for tag in asyncio.run(browse(f"opcua://127.0.0.1:{server.port}")).tags}
    own = {tag.name: tag for tag in TAGS.tags}
    assert found.keys() == own.keys()
    for name, tag in own.items():
        mine = found[name]
        assert (mine.unit, mine.states, mine.address) == (tag.unit, tag.states, f"nsu=urn:jayul:simulated;s={name}")
        assert (mine.low, mine.high) == (tag.low, tag.high)
        assert not mine.writable


@pytest.mark.parametrize(
    ("shown", "unit"), [("°C", "degC"), ("m³/h", "m3/h"), ("kWh", "kW.h"), ("%", "%"), ("bar", "bar"), ("a lot/of what?", "")]
)
def test_units_as_servers_show_them(shown: str, unit: str) -> None:
    assert unit_of(shown) == unit


def test_names_are_unique_and_without_what_all_have_in_common() -> None:
    assert unique([("Plant", "TIC1.SP"), ("Plant", "TIC1.PV")]) == ["TIC1.SP", "TIC1.PV"]
    assert unique([("A", "T 1", "SP"), ("A", "T 2", "SP"), ("A", "T 2", "SP")]) == ["T_1.SP", "T_2.SP", "T_2.SP_2"]
    assert unique([("A", "X")]) == ["X"]
    assert unique([]) == []


class Broken:
    """A tank one of whose tags cannot be shown."""

    def __init__(self, clock: Wall) -> None:
        self._tank = make_tank(TankConfig(), clock)
        self.tags, self.loops = self._tank.tags, self._tank.loops

    async def read(self) -> Frame:
        frame = await self._tank.read()
        value, at = frame.value.copy(), frame.source_at.copy()
        value[self.tags.index["GRADE"]] = math.inf  # no Int32 holds it
        at[self.tags.index["PRICE1"]] = -(2**62)  # no date
        return Frame(frame.at, frame.table, value, at, frame.seen_at.copy(), frame.status.copy())

    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]:
        return await self._tank.write(verdicts)

    def switch(self, tag: str, code: int) -> None:
        self._tank.switch(tag, code)


def test_a_bad_node_does_not_stop_the_scan(tags: str) -> None:
    async def drive() -> None:
        declared = Simulated(1000.0, START, today())
        clock = declared.clock(1)
        ports: asyncio.Queue[int] = asyncio.Queue()
        playing = asyncio.create_task(
            serve(Plc(Broken(clock), clock, 10**15), clock, declared, "127.0.0.1", 0, ready=ports.put_nowait)
        )
        async with plant(config(await ports.get(), tags, speed=1000.0), declared.clock(2)) as made:
            first = await until(made, lambda f: f.fresh("TIC1.PV"))
            frame = await until(made, lambda f: f["TIC1.PV"] != first["TIC1.PV"])
            assert frame.fresh("TIC2.PV")
            assert not frame.fresh("GRADE")
        playing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await playing

    asyncio.run(drive())
