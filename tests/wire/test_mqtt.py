"""A plant on MQTT: our publisher in another process behind a mosquitto broker, and mosquitto's own clients."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mqtt_kit import Mosquitto, Process, bare, no_more, plant, publisher, set_to, tank_table, until

from jayul.core.types import Tag
from jayul.plant.errors import Unreachable
from jayul.plant.link import Linked
from jayul.testing import _check_writes

WRITE = ("TIC1.SP", "LIC1.SP", "TIC1.MODE")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    found = Mosquitto(tmp_path)
    yield found
    found.kill()


@pytest.fixture
def publish(broker: Mosquitto) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def start(speed: float = 1.0, kind: str = "json") -> Process:
        started.append(publisher(broker.port, speed, kind))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tank_table(tmp_path / "tags.csv")


def test_it_reads_what_is_published_and_writes(broker: Mosquitto, publish, table: Path):
    publish()

    async def live() -> None:
        found = plant(table, broker.port, online="jayul/$online", write=WRITE)
        assert isinstance(found, Linked)
        assert found.loops["TIC1.SP"].mode == "TIC1.MODE"
        frame = await found.read()
        assert all(frame.fresh(name) for name in frame.table.names), frame.status
        assert 40 < frame["TIC1.PV"] < 70
        assert list(await found.write([])) == []
        (receipt,) = await set_to(found, {"TIC1.SP": 57.0})
        assert (receipt.state, receipt.applied) == ("settled", 57.0)
        assert (await found.read())["TIC1.SP"] == 57.0
        assert json.loads(broker.sub("jayul/TIC1.SP")[0])["value"] == 57.0
        (receipt,) = await set_to(found, {"TIC1.SP": 90.0})
        assert (receipt.state, receipt.applied) == ("rejected", None)
        (receipt,) = await set_to(found, {"ESD1.RESET": 1.0})
        assert receipt.state == "rejected"
        assert (await found.read())["TIC1.SP"] == 57.0
        assert found.health().connected
        assert found.health().missing == ()
        await found.close()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(live())


@pytest.mark.parametrize("batch", ["jayul/$write", ""])
def test_several_are_written_all_or_none(broker: Mosquitto, publish, table: Path, batch: str):
    publish()

    async def live() -> None:
        found = plant(table, broker.port, write=WRITE, batch=batch)
        before = await found.read()
        receipts = await set_to(found, {"TIC1.SP": 58.0, "LIC1.SP": 52.0})
        assert [(r.tag, r.state, r.applied) for r in receipts] == [("TIC1.SP", "settled", 58.0), ("LIC1.SP", "settled", 52.0)]
        receipts = await set_to(found, {"TIC1.SP": 59.0, "LIC1.SP": 99.0})
        assert [r.state for r in receipts] == ["rejected", "rejected"]
        receipts = await set_to(found, {"TIC1.SP": 60.0, "no such tag": 1.0})
        assert [r.state for r in receipts] == ["rejected", "rejected"]
        frame = await found.read()
        assert (frame["TIC1.SP"], frame["LIC1.SP"]) == (58.0, 52.0)
        assert (before["TIC1.SP"], before["LIC1.SP"]) == (55.0, 50.0)
        await set_to(found, {"TIC1.MODE": 1.0})
        assert [r.state for r in await set_to(found, {"TIC1.SP": 59.0})] == ["rejected"]
        await found.close()

    asyncio.run(live())


def test_a_publisher_that_is_killed_marks_all_bad_and_one_that_comes_back_all_good(broker: Mosquitto, publish, table: Path):
    process = publish()

    async def live() -> None:
        found = plant(table, broker.port, online="jayul/$online", write=WRITE)
        assert (await found.read()).fresh("TIC1.PV")
        process.kill()
        await until(found, lambda frame: no_more(frame, found.tags), 5)
        assert (await set_to(found, {"TIC1.SP": 57.0}))[0].state == "unknown"
        assert found.health().connected, "the broker is there all the while"
        publish()
        await until(found, lambda frame: all(map(frame.fresh, found.tags.names)), 5)
        await found.close()

    asyncio.run(live())


def test_the_broker_is_killed_and_comes_back(broker: Mosquitto, publish, table: Path):
    publish()

    async def live() -> None:
        found = plant(table, broker.port, online="jayul/$online")
        await found.read()
        for _ in range(2):
            broker.kill()
            await until(found, lambda frame: no_more(frame, found.tags), 5)
            for _ in range(20):
                await asyncio.sleep(0.05)
                assert no_more(await found.read(), found.tags)
            broker.start()
            await until(found, lambda frame: all(map(frame.fresh, found.tags.names)), 5)
        assert found.health().connections == 3
        await found.close()

    asyncio.run(live())


def test_a_declaration_is_found(broker: Mosquitto, publish, table: Path):
    async def ask() -> object:
        found = plant(table, broker.port)
        try:
            return await found.declared()
        finally:
            await found.close()

    assert asyncio.run(ask()) is None
    publish(600.0)
    declared = asyncio.run(ask())
    assert getattr(declared, "speed", None) == 600.0
    broker.kill()
    with pytest.raises(Unreachable, match="no broker answers"):
        asyncio.run(ask())


def test_a_plant_that_is_played_fast_is_fresh(broker: Mosquitto, publish, table: Path):
    publish(600.0)

    async def live() -> None:
        asking = plant(table, broker.port)
        declared = await asking.declared()
        assert declared is not None
        found = plant(table, broker.port, clock=declared.clock(0), speed=600.0, online="jayul/$online")
        await found.read()
        for _ in range(20):
            frame = await found.read()
            assert [name for name in frame.table.names if not frame.fresh(name)] == []
            await asyncio.sleep(0.05)
        assert len(found.samples().tag) > 100
        await found.close()

    asyncio.run(live())


def test_sparkplug_is_read_and_written_all_or_none(broker: Mosquitto, publish, tmp_path: Path):
    process = publish(kind="sparkplug")

    async def live() -> None:
        found = plant(tank_table(tmp_path / "t.csv", sparkplug=True), broker.port, sparkplug=True, write=WRITE)
        await found.read()
        await until(found, lambda frame: all(map(frame.fresh, found.tags.names)), 3)
        assert found.health().missing == ()
        declared = await found.declared()
        assert declared is not None
        assert declared.speed == 1.0
        receipts = await set_to(found, {"TIC1.SP": 58.0, "LIC1.SP": 52.0})
        assert [(r.state, r.applied) for r in receipts] == [("settled", 58.0), ("settled", 52.0)]
        receipts = await set_to(found, {"TIC1.SP": 59.0, "LIC1.SP": 99.0})
        assert not {"settled"} & {r.state for r in receipts}
        frame = await found.read()
        assert (frame["TIC1.SP"], frame["LIC1.SP"]) == (58.0, 52.0)
        broker.kill()
        await until(found, lambda frame: no_more(frame, found.tags), 5)
        broker.start()
        await until(found, lambda frame: all(map(frame.fresh, found.tags.names)), 5)
        process.kill()
        await until(found, lambda frame: no_more(frame, found.tags), 5)
        await found.close()

    asyncio.run(live())


def test_the_checks_of_every_plant(broker: Mosquitto, publish, table: Path):
    """What `check_plant` asks of any plant, on the time of day: no simulated clock drives another process."""
    publish()

    async def live() -> None:
        found = plant(table, broker.port, write=WRITE)
        await found.read()
        await _check_writes(found, await found.read())
        await found.close()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(live())


def test_a_publisher_that_is_stopped_says_so(broker: Mosquitto, publish):
    process = publish()
    assert broker.sub("jayul/$online") == ["online"]
    process.send(signal.SIGINT)
    process.process.wait(10)
    assert broker.sub("jayul/$online") == ["offline"]


def test_a_session_with_a_name_goes_on_where_it_was(broker: Mosquitto, tmp_path: Path):
    tags = bare(tmp_path / "t.csv", Tag(name="A", address="line/a"))

    async def live(count: int) -> list[float]:
        found = plant(tags, broker.port, client_id="line-1")
        await found.read()
        for _ in range(50):
            if found.health().received >= count:
                break
            await asyncio.sleep(0.05)
        await found.close()
        return list(found.samples().value.tolist())

    assert asyncio.run(live(0)) == []
    for k in range(5):
        broker.pub("line/a", f'{{"value": {k}, "time": "2026-01-01T00:00:0{k}Z"}}', "-q", "1")
    assert asyncio.run(live(5)) == [0, 1, 2, 3, 4], "what was published while no process ran"
