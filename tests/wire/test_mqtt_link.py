"""What a link on MQTT makes of payloads, ages, repetitions, drops and processes that stand still."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mqtt_kit import Forward, Mosquitto, Process, bare, no_more, plant, publisher, set_to, tank_table, until

from jayul.core.clock import Wall
from jayul.core.types import BAD, BAD_NO_DATA, SECOND, Tag
from jayul.plant.errors import Refused
from jayul.plant.mqtt import client as client_file
from jayul.plant.mqtt.client import Mqtt, MqttConfig, mqtt
from jayul.plant.mqtt.payload import LAST_USABLE, UNDECODED, PayloadConfig, text_of
from jayul.plant.newest import TYPE_MISMATCH


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    found = Mosquitto(tmp_path)
    yield found
    found.kill()


@pytest.fixture
def publish(broker: Mosquitto) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def start(kind: str = "json") -> Process:
        started.append(publisher(broker.port, 1.0, kind))
        return started[-1]

    yield start
    for process in started:
        process.kill()


def said(value: object, age: float = 0.0, **more: object) -> str:
    return json.dumps({"value": value, "time": text_of(Wall().now() - int(age * SECOND), "iso"), **more})


async def one(found: Mqtt, name: str = "A") -> tuple[float, int, float]:
    """Return value, status and age (s) of one tag."""
    await asyncio.sleep(0.3)
    frame = await found.read()
    i = frame.table.index[name]
    return frame[name], int(frame.status[i]), (frame.at - int(frame.source_at[i])) / SECOND


def test_templates(broker: Mosquitto, tmp_path: Path):
    tags = bare(
        tmp_path / "t.csv", Tag(name="A", address="line/a"), Tag(name="B", address="line/b d.pv[1]"),
        Tag(name="C", address="line/b d.mode", kind="mode", states={0: "MAN", 2: "RCAS"}),
    )  # fmt: skip

    async def live() -> None:
        found = plant(tags, broker.port, payload=PayloadConfig("v", "d.at", "q", "ms"))
        assert (await found.read()).status.tolist() == [BAD_NO_DATA] * 3
        broker.pub("line/a", '{"v": 5, "q": "Bad_NotConnected", "d": {"at": 1700000000500}}')
        assert (await one(found))[:2] == (5.0, BAD)
        assert (await found.read()).source_at[0] == 1_700_000_000_500_000_000
        broker.pub("line/a", '{"v": true}')
        value, status, age = await one(found)
        assert (value, status) == (1.0, 0)
        assert age < 5, "a message without a time is as old as its arrival"
        broker.pub("line/b", '{"d": {"pv": [1, 2.5], "mode": "RCAS"}}')
        assert (await one(found, "B"))[:2] == (2.5, 0)
        assert (await one(found, "C"))[:2] == (2.0, 0)
        for text, status in (
            ("not JSON", UNDECODED), ('{"v": "cold"}', TYPE_MISMATCH), ('{"v": null}', TYPE_MISMATCH), ('{"w": 1}', UNDECODED),
            ('{"v": 1, "d": {"at": "yesterday"}}', UNDECODED), ('{"v": 1e999}', 0x8000_0000), ("", UNDECODED),
        ):  # fmt: skip
            broker.pub("line/a", text)
            found_status = (await one(found))[1]
            assert found_status >= status >= BAD, text
            broker.pub("line/a", '{"v": 1}')
            assert (await one(found))[1] == 0
        await found.close()

        found = plant(tags, broker.port, payload=PayloadConfig("", "", ""))
        await found.read()
        broker.pub("line/a", "21.5")
        assert (await one(found))[:2] == (21.5, 0)
        await found.close()

    asyncio.run(live())


def test_what_is_retained_is_as_old_as_its_own_time(broker: Mosquitto, tmp_path: Path):
    names = ["dated", "old", "undated"]
    tags = bare(tmp_path / "t.csv", *(Tag(name=name, address=f"line/{name}", stale_after=5) for name in names))
    broker.pub("line/dated", said(1), "-r")
    broker.pub("line/old", said(2, age=3600), "-r")
    broker.pub("line/undated", '{"value": 3}', "-r")

    async def live() -> None:
        found = plant(tags, broker.port)
        frame = await found.read()
        assert [frame[name] for name in names] == [1, 2, 3]
        assert [frame.fresh(name) for name in names] == [True, False, False]
        assert frame.status.tolist() == [0, 0, LAST_USABLE]
        assert frame.at - frame.source_at[1] > 3500 * SECOND
        assert frame.at - frame.seen_at[1] < 5 * SECOND
        assert sorted(found.samples().tag.tolist()) == [0, 1], "a sample of unknown age is none for the history"
        broker.pub("line/undated", '{"value": 4}')
        assert (await one(found, "undated"))[:2] == (4.0, 0)
        await found.close()

    asyncio.run(live())


@pytest.mark.parametrize("how", ["messages", "alive", "online"])
def test_a_set_point_that_stands_still_is_as_fresh_as_its_publisher(broker: Mosquitto, tmp_path: Path, how: str):
    tags = bare(
        tmp_path / "t.csv", Tag(name="SP", address="line/sp", kind="set-point", stale_after=2),
        Tag(name="PV", address="line/pv", stale_after=2), Tag(name="BEAT", address="line/beat", stale_after=2),
    )  # fmt: skip
    broker.pub("line/sp", said(55, age=3600), "-r")
    if how == "online":
        broker.pub("line/$online", "online", "-r")

    async def live() -> None:
        found = plant(tags, broker.port, **({"alive": "BEAT"} if how == "alive" else {}))
        await found.read()
        for k in range(3):
            broker.pub("line/pv", said(k))
            broker.pub("line/beat", said(k))
            await asyncio.sleep(0.2)
            assert (await found.read()).fresh("SP")
        for _ in range(14):  # the value of `alive` repeats, the others come on
            broker.pub("line/pv", said(9))
            broker.pub("line/beat", said(2))
            await asyncio.sleep(0.2)
        frame = await found.read()
        assert frame.fresh("SP") == frame.fresh("PV") == (how != "alive")
        await asyncio.sleep(2.5)
        frame = await found.read()
        assert frame.fresh("SP") == (how == "online")
        assert not frame.fresh("PV")
        if how == "online":
            broker.pub("line/$online", "offline", "-r")
            await until(found, lambda frame: no_more(frame, found.tags), 2)
            broker.pub("line/pv", said(9))
            await asyncio.sleep(0.3)
            assert no_more(await found.read(), found.tags), "from a publisher that is said to be gone"
            broker.pub("line/$online", "online", "-r")
            await until(found, lambda frame: frame.fresh("SP"), 2)
        await found.close()

    asyncio.run(live())


def test_what_is_delivered_twice_counts_once_and_what_comes_late_is_never_the_newest(broker: Mosquitto, tmp_path: Path):
    tags = bare(tmp_path / "t.csv", Tag(name="A", address="line/a"))

    async def live() -> None:
        found = plant(tags, broker.port)
        await found.read()
        first, second = said(1, age=2), said(2, age=1)
        for message in (first, second, first, second, first):
            broker.pub("line/a", message, "-q", "1")
        assert (await one(found))[0] == 2.0
        assert found.samples().value.tolist() == [1.0, 2.0]
        assert found.health().received == 2
        await found.close()

    asyncio.run(live())


def test_nothing_is_lost_over_a_short_drop(broker: Mosquitto, tmp_path: Path):
    tags = bare(tmp_path / "t.csv", Tag(name="A", address="line/a"))

    async def live() -> None:
        async with Forward(broker.port) as wire:
            found = plant(tags, wire.port)
            await found.read()
            broker.pub("line/a", said(0), "-q", "1")
            await one(found)
            await wire.cut()
            await until(found, lambda frame: no_more(frame, found.tags), 5)
            for k in range(1, 6):
                broker.pub("line/a", said(k), "-q", "1")
            await wire.open()
            await until(found, lambda frame: frame.fresh("A") and frame["A"] == 5, 5)
            assert found.samples().value.tolist() == [0, 1, 2, 3, 4, 5]
            await found.close()

    asyncio.run(live())


def test_thirty_drops_leave_nothing_behind(broker: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(client_file, "STEADY", 0.0)  # try again at once each time
    tags = bare(tmp_path / "t.csv", Tag(name="A", address="line/a"))
    broker.pub("line/a", said(1), "-r")

    async def live() -> None:
        def held() -> tuple[int, int, int]:
            return len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd")), threading.active_count()  # noqa: PTH208

        async with Forward(broker.port) as wire:
            found = plant(tags, wire.port)
            await found.read()
            for k in range(30):
                await wire.cut()
                await until(found, lambda frame: no_more(frame, found.tags), 5)
                await wire.open()
                await until(found, lambda frame: frame.fresh("A"), 5)
                if k == 9:
                    before = held()  # the worker threads for connecting are all there by now
            after = held()
            assert found.health().connections == 31
            await found.close()
            assert after[0] <= before[0]
            assert after[1] <= before[1]
            assert after[2] <= before[2]
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(live())


def test_a_publisher_that_stands_still_is_found_out(broker: Mosquitto, publish, tmp_path: Path):
    process = publish()

    async def live() -> None:
        found = plant(tank_table(tmp_path / "t.csv"), broker.port)
        assert (await found.read()).fresh("TIC1.PV")
        process.send(signal.SIGSTOP)
        await until(found, lambda frame: no_more(frame, found.tags), 15)
        process.send(signal.SIGCONT)
        await until(found, lambda frame: all(map(frame.fresh, found.tags.names)), 5)
        await found.close()

    asyncio.run(live())


def test_a_broker_that_stands_still_is_found_out(broker: Mosquitto, publish, tmp_path: Path):
    publish()

    async def live() -> None:
        found = plant(tank_table(tmp_path / "t.csv"), broker.port, write=("TIC1.SP",))
        assert (await found.read()).fresh("TIC1.PV")
        broker.process.send_signal(signal.SIGSTOP)
        assert (await set_to(found, {"TIC1.SP": 57.0}))[0].state == "unknown"
        await until(found, lambda frame: no_more(frame, found.tags), 15)
        assert not found.health().connected
        broker.process.send_signal(signal.SIGCONT)
        await until(found, lambda frame: all(map(frame.fresh, found.tags.names)), 5)
        await found.close()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(live())


def test_a_write_that_does_not_show_is_unknown_and_is_not_delivered_later(broker: Mosquitto, tmp_path: Path):
    tags = bare(tmp_path / "t.csv", Tag(name="SP", address="line/sp", writable=True), Tag(name="X", address="line/x"))
    absent = ("-i", "plc", "-c", "-x", "100", "-q", "1")
    assert broker.sub("line/sp/set", *absent, "-E") == []  # it subscribes, and leaves

    async def live() -> None:
        found = plant(tags, broker.port, write=("SP",))
        await found.read()
        (receipt,) = await set_to(found, {"SP": 5.0})
        assert (receipt.state, receipt.applied) == ("unknown", None)
        (receipt,) = await set_to(found, {"X": 5.0})
        assert receipt.state == "rejected", "it may not be written"
        writing = asyncio.create_task(set_to(found, {"SP": 6.0}))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(broker.pub, "line/sp", said(4))
        (receipt,) = await writing
        assert (receipt.state, receipt.applied) == ("overridden", 4.0)
        await found.close()
        await asyncio.sleep(2.5)

    asyncio.run(live())
    assert broker.sub("line/sp/set", *absent) == []


def test_what_another_connection_wrote_is_taken_in(broker: Mosquitto, publish, tmp_path: Path):
    publish()

    async def live() -> None:
        table = tank_table(tmp_path / "t.csv")
        eye, hand = plant(table, broker.port), plant(table, broker.port, write=("TIC1.SP",))
        await eye.read()
        receipts = await set_to(hand, {"TIC1.SP": 57.0})
        eye.took(receipts)
        for _ in range(20):
            assert (await eye.read())["TIC1.SP"] == 57.0
            await asyncio.sleep(0.02)
        await eye.close()
        await hand.close()

    asyncio.run(live())


WRONG = [
    ({"url": "http://h"}, "write mqtt://HOST:1883"),
    ({"url": "mqtt://h:x"}, "write mqtt://HOST:1883"),
    ({"url": "mqtt://me:secret@h"}, "write it in 'user'"),
    ({"password_file": "none"}, "the password cannot be read here"),
    ({"url": "mqtts://h", "ca": "none"}, "cannot be used"),
    ({"ca": "ca.pem"}, "need TLS"),
    ({"url": "mqtts://h", "certificate": "c.pem"}, "go together"),
    ({"write": ("B",)}, "there is no tag 'B'"),
    ({"sparkplug": True}, "is not 'group/edge/device metric'"),
]


@pytest.mark.parametrize(("config", "words"), WRONG, ids=[words for _, words in WRONG])
def test_a_mistake_is_one_line(tmp_path: Path, config: dict[str, object], words: str):
    tags = bare(tmp_path / "t.csv", Tag(name="A", address="line/a"))
    whole = {"url": "mqtt://h", "tags": str(tags)} | config
    with pytest.raises(Refused) as found:
        mqtt(MqttConfig(**whole), Wall())  # type: ignore[arg-type]
    assert words in str(found.value)
    assert "\n" not in str(found.value)
    assert "secret" not in str(found.value)


def test_an_address_is_a_topic(tmp_path: Path):
    for address in ("line/+", "#"):
        tags = bare(tmp_path / "t.csv", Tag(name="A", address=address))
        with pytest.raises(Refused, match="begin with a topic without"):
            plant(tags, 1)


def test_a_broker_that_comes_late(broker: Mosquitto, publish, tmp_path: Path):
    broker.kill()

    async def live() -> None:
        found = plant(tank_table(tmp_path / "t.csv"), broker.port, write=("TIC1.SP",))
        assert set((await found.read()).status.tolist()) == {BAD_NO_DATA}
        assert "no broker answers" in found.health().trouble
        assert (await set_to(found, {"TIC1.SP": 57.0}))[0].state == "unknown"
        broker.start()
        await asyncio.to_thread(publish)
        await until(found, lambda frame: all(map(frame.fresh, found.tags.names)), 5)
        assert found.health().trouble == ""
        await found.close()

    asyncio.run(live())


@pytest.mark.parametrize("wait", [0.0, 0.05, 1.0])
def test_it_can_be_closed_while_it_connects(broker: Mosquitto, tmp_path: Path, wait: float):
    tags = bare(tmp_path / "t.csv", Tag(name="A", address="line/a"))
    broker.process.send_signal(signal.SIGSTOP)

    async def live() -> None:
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        found = plant(tags, broker.port)
        reading = asyncio.create_task(found.read())
        await asyncio.sleep(wait)
        await found.close()
        await reading
        assert no_more(await found.read(), found.tags), "closed is closed"
        assert len(asyncio.all_tasks()) == 1
        assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208

    asyncio.run(live())
