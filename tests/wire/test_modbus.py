"""The Modbus link against our own server in another process: readings, writes, lost links, frozen devices."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from modbus_kit import WRITE, Peer, bad, good, line, link, play, played, table, until, wish

from jayul.core.clock import Wall, monotonic
from jayul.core.types import SECOND, Tag, same
from jayul.plant.errors import Refused, Unreachable
from jayul.plant.link import Linked, Simulated
from jayul.plant.modbus.client import ModbusConfig, modbus
from jayul.plant.modbus.declare import COUNT, pack, unpack
from jayul.plant.modbus.server import addresses
from jayul.plant.newest import NO_COMMUNICATION
from jayul.testing import check_plant

ALL = addresses(line().tags)
UNKNOWN_ADDRESS, DECODING = 0x8034_0000, 0x8007_0000


def test_every_tag_is_read(tmp_path: Path):
    async def go() -> None:
        async with link(peer.port, table(tmp_path, ALL)) as plant:
            assert isinstance(plant, Linked)
            frame = await plant.read()
            assert good(frame)
            assert frame.table.names == line().tags.names
            assert (frame["TIC1.SP"], frame["TIC1.MODE"], frame["TIC1.PV"]) == (55.0, 2.0, 55.0)
            assert (frame.source_at == frame.seen_at).all()
            assert all(frame.fresh(name) for name in frame.table.names)
            assert plant.loops == line().loops
            seen = frame.seen_at.copy()
            await until(plant, lambda frame: bool((frame.seen_at > seen).all()))
            batch = plant.samples()
            assert len(batch.tag) >= 2 * len(ALL)
            health = plant.health()
            assert (health.connected, health.connections, health.shed, health.missing) == (True, 1, 0, ())
            assert health.received >= len(batch.tag)

    with played() as peer:
        play(go)


def test_the_plant_passes_the_conformance_check(tmp_path: Path):
    doubles = {name: f"holding {4 * i} float64" for i, name in enumerate(ALL)}  # the check wants the very value that was sent
    with played(table=doubles) as peer:
        config = ModbusConfig(url=f"modbus://127.0.0.1:{peer.port}", tags=str(table(tmp_path, doubles)), write=WRITE)
        check_plant(lambda clock: modbus(config, clock), seeded=False)


def test_the_controller_sheds_when_the_link_is_gone(tmp_path: Path):
    async def go() -> None:
        path = table(tmp_path, ALL)
        async with link(peer.port, path, write=WRITE) as gateway:
            await gateway.read()
            assert [r.state for r in await gateway.write([wish("TIC1.SP", 60.0)])] == ["settled"]
        async with link(peer.port, path) as plant:
            assert (await plant.read())["TIC1.SP"] == 60.0
            frame = await until(plant, lambda frame: frame["TIC1.MODE"] == 1.0, 20.0)
            assert frame["TIC1.SP"] == 55.0

    with played(speed=60, watchdog=120) as peer:  # two seconds
        play(go)


def test_a_simulated_peer_declares_itself(tmp_path: Path):
    async def go() -> None:
        async with link(peer.port, table(tmp_path, ALL)) as plant:
            declared = await plant.declared()
            assert declared is not None
            assert declared.speed == 300.0
            assert abs(declared.wall_ns - Wall().now()) < 60 * SECOND
        peer.kill()
        async with link(peer.port, tmp_path / "tags.csv") as plant:
            with pytest.raises(Unreachable, match=r"no Modbus device answers at modbus://127.0.0.1:\d+"):
                await plant.declared()
            assert plant.health().connections == 0

    with played(speed=300) as peer:
        play(go)


def test_a_declaration_survives_its_registers():
    declared = Simulated(600.5, 1_767_225_600 * SECOND + 1, -5)
    assert len(pack(declared)) == COUNT
    assert unpack(pack(declared)) == declared
    assert unpack([0] * COUNT) is None
    assert unpack(pack(Simulated(-1.0, 0, 0))) is None


def test_a_write_is_applied_and_read_back(tmp_path: Path):
    async def go() -> None:
        async with link(peer.port, table(tmp_path, ALL), write=WRITE, watchdog="WATCHDOG") as plant:
            await plant.read()
            receipts = await plant.write([wish("TIC1.SP", 60.1), wish("LIC1.SP", 51.0)])
            assert [(r.tag, r.allowed, r.state) for r in receipts] == [
                ("TIC1.SP", 60.1, "settled"),
                ("LIC1.SP", 51.0, "settled"),
            ]
            frame = await plant.read()
            assert frame["TIC1.SP"] == receipts[0].applied == float(np.float32(60.1))
            assert same(frame["TIC1.SP"], 60.1)
            assert list(await plant.write([])) == []
            (sign,) = await plant.write([wish("WATCHDOG", 3000.0)])  # the tank's controller counts in its own way
            assert (sign.state, sign.applied) == ("settled", 3000.0)

    with played() as peer:
        play(go)


REFUSED: list[list[tuple[str, float]]] = [
    [("TIC1.SP", 60.0), ("LIC1.SP", 99.0)],  # the controller's clamp
    [("LIC1.SP", 99.0), ("TIC1.SP", 60.0)],
    [("TIC1.SP", 60.0), ("TIC1.MODE", 1.0), ("LIC1.SP", 51.0)],  # not in its mode any more when LIC1 is written
    [("TIC1.SP", 60.0), ("ESD1.RESET", 1.0)],  # a safety system's
    [("TIC1.SP", 60.0), ("TIC1.PV", 60.0)],  # not named in `write`
    [("TIC1.SP", 60.0), ("no such tag", 1.0)],
    [("LIC1.SP", 51.0), ("TIC1.SP", float("nan"))],
    [("LIC1.SP", 51.0), ("TIC1.SP", 1e39)],  # more than a float32 holds
    [("TIC1.SP", 60.0), ("TIC1.SP", 61.0)],  # one of them would be lost
]


@pytest.mark.parametrize("wishes", REFUSED, ids=lambda wishes: "+".join(f"{tag}={value:g}" for tag, value in wishes))
def test_a_write_is_all_or_none(tmp_path: Path, wishes: list[tuple[str, float]], tank_peer: Peer):
    async def go() -> None:
        async with link(tank_peer.port, table(tmp_path, ALL), write=(*WRITE, "ESD1.RESET")) as plant:
            before = await plant.read()
            receipts = await plant.write([wish(tag, value) for tag, value in wishes])
            assert [r.tag for r in receipts] == [tag for tag, _ in wishes]
            assert {r.state for r in receipts} == {"rejected"}
            seen = before.seen_at.copy()
            after = await until(plant, lambda frame: bool((frame.seen_at > seen).all()))
            for tag in ("TIC1.SP", "LIC1.SP", "TIC1.MODE", "ESD1.RESET"):
                assert after[tag] == before[tag], tag

    play(go)


@pytest.fixture(scope="module")
def tank_peer() -> Any:
    with played() as peer:
        yield peer


def test_a_device_that_is_killed_comes_back_within_five_seconds(tmp_path: Path):
    async def go() -> None:
        async with link(peer.port, table(tmp_path, ALL), write=WRITE) as plant:
            assert good(await plant.read())
            peer.kill()
            frame = await until(plant, bad, 2.0)
            assert set(frame.status.tolist()) == {NO_COMMUNICATION}
            assert [r.state for r in await plant.write([wish("TIC1.SP", 60.0)])] == ["unknown"]
            assert plant.health().trouble
            await asyncio.sleep(3)  # long enough for the longest wait between attempts
            peer.start()
            await until(plant, good, 5.0)
            assert plant.health().connections == 2
            assert plant.health().trouble == ""

    with played() as peer:
        play(go)


@pytest.mark.parametrize("later", [0.0, 0.3])  # the second waits for a poll that will not be answered
def test_a_device_that_stands_still_is_noticed_and_a_write_to_it_is_unknown(tmp_path: Path, later: float):
    async def go() -> None:
        async with link(peer.port, table(tmp_path, ALL), write=WRITE, timeout=0.5) as plant:
            assert good(await plant.read())
            peer.freeze()
            begun = monotonic()
            await asyncio.sleep(later)
            assert [r.state for r in await plant.write([wish("TIC1.SP", 60.0)])] == ["unknown"]
            await until(plant, bad, 2.0)
            assert monotonic() - begun < 5
            peer.thaw()
            await until(plant, good, 5.0)

    with played() as peer:
        play(go)


def test_thirty_reconnections_leak_nothing(tmp_path: Path):
    def open_files() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    async def go() -> None:
        async with link(peer.port, table(tmp_path, ALL), poll=0.01) as plant:
            assert good(await plant.read())
            tasks, files = len(asyncio.all_tasks()), open_files()
            for _ in range(30):
                assert plant._wire is not None
                plant._wire._writer.transport.abort()  # the network's doing
                await until(plant, bad)
                await until(plant, good)
            assert plant.health().connections == 31
            await asyncio.sleep(0.1)
            assert len(asyncio.all_tasks()) == tasks
            assert open_files() <= files

    with played() as peer:
        play(go)


def test_only_addresses_that_do_not_exist_are_bad(tmp_path: Path):
    places = ALL | {
        "X1": "holding 1 float32",
        "X2": "holding 3000",
        "X3": "input 0",
        "X4": "coil 7",
        "X5": "holding 0 float32 unit=9",
    }
    places["GAP"] = f"holding {2 * len(ALL) + 2} float32"  # within the gap that is read along

    async def go() -> None:
        async with link(peer.port, table(tmp_path, places)) as plant:
            frame = await plant.read()
            wrong = {name: frame.status[i] for i, name in enumerate(frame.table.names) if frame.status[i]}
            assert wrong == {**dict.fromkeys(("X2", "X3", "X4", "GAP"), UNKNOWN_ADDRESS), "X5": NO_COMMUNICATION}
            assert sorted(plant.health().missing) == ["GAP", "X2", "X3", "X4"]
            assert plant.health().connected
            seen = frame.seen_at.copy()
            frame = await until(plant, lambda frame: bool((frame.seen_at > seen)[: len(ALL)].all()))
            assert frame.fresh("TIC1.PV")

    with played() as peer:
        play(go)


def test_a_frozen_device_grows_old(tmp_path: Path):
    fault = {"tag": "TIC1.PV", "kind": "frozen", "after": "1 s", "lasts": "10 h"}
    tags = {
        "TIC1.PV": Tag(name="TIC1.PV", stale_after=0.5),
        "TIC1.SP": Tag(name="TIC1.SP", stale_after=0.5),
        "FI2.PV": Tag(name="FI2.PV"),
    }

    async def go() -> None:
        path = table(tmp_path, {name: ALL[name] for name in tags}, tags)
        async with link(peer.port, path, alive="TIC1.PV") as plant:
            assert (await plant.read()).fresh("TIC1.SP")
            frame = await until(plant, lambda frame: not frame.fresh("TIC1.SP"))
            assert good(frame), "it answers, but it does not live"
            assert len(set(frame.source_at.tolist())) == 1
            assert (frame.seen_at > frame.source_at).all()
        async with link(peer.port, path, alive="FI2.PV") as plant:
            first = (await plant.read()).source_at.copy()
            await until(plant, lambda frame: bool((frame.source_at > first).all()), 20.0)

    with played(fault=[fault], speed=60) as peer:
        play(go)


def test_a_tag_that_is_bad_at_the_source_is_bad_here(tmp_path: Path):
    async def go() -> None:
        async with link(peer.port, table(tmp_path, ALL)) as plant:
            frame = await until(plant, lambda frame: bool(frame.status.any()))
            assert {name for i, name in enumerate(frame.table.names) if frame.status[i]} == {"TIC1.PV", "FI1.PV"}
            assert frame.status[frame.table.index["TIC1.PV"]] == DECODING
            assert np.isnan(frame["TIC1.PV"])

    with played(
        fault=[
            {"tag": tag, "kind": kind, "after": "1 s", "lasts": "10 h"} for tag, kind in (("TIC1.PV", "bad"), ("FI1.PV", "nan"))
        ]
    ) as peer:
        play(go)


SHAPES = {"TIC1.SP": "holding 0 int16 scale=0.1 offset=-40", "LIC1.SP": "holding 1 float64 word=little byte=little unit=3",
          "TIC1.MODE": "holding 5 uint32 word=little", "GRADE": "discrete 4", "TIC1.PV": "input 2 float32 unit=3", "WATCHDOG": "holding 9 int64"}  # fmt: skip


def test_every_area_type_and_order_comes_through(tmp_path: Path):
    async def go() -> None:
        async with link(peer.port, table(tmp_path, SHAPES), write=WRITE, blocks=False) as plant:
            frame = await plant.read()
            assert frame["TIC1.SP"] == pytest.approx(55.0, abs=1e-9)
            assert [frame[name] for name in ("LIC1.SP", "TIC1.MODE", "GRADE", "WATCHDOG")] == [50.0, 2.0, 0.0, 0.0]
            assert frame.fresh("TIC1.PV")
            receipts = await plant.write([wish("TIC1.SP", 60.14), wish("LIC1.SP", 51.3)])
            assert [r.state for r in receipts] == ["settled"] * 2
            assert [r.applied for r in receipts] == [pytest.approx(60.1, abs=1e-9), 51.3]
            assert [r.state for r in await plant.write([wish("TIC1.MODE", 1.0)])] == ["settled"]
            assert [r.state for r in await plant.write([wish("WATCHDOG", 9.0)])] == ["settled"]

    with played(table=SHAPES, only=list(SHAPES)) as peer:
        play(go)


def test_what_another_connection_wrote_is_taken_in(tmp_path: Path):
    async def go() -> None:
        path = table(tmp_path, ALL)
        async with link(peer.port, path, poll=30) as loop, link(peer.port, path, write=WRITE) as gateway:
            assert (await loop.read())["TIC1.SP"] == 55.0
            receipts = await gateway.write([wish("TIC1.SP", 61.0)])
            loop.took(receipts)
            assert (await loop.read())["TIC1.SP"] == 61.0

    with played() as peer:
        play(go)


NOT_SO: list[tuple[dict[str, Any], str]] = [
    ({"url": "opc.tcp://h:1"}, r"'url' is 'opc.tcp://h:1'; write modbus://HOST:PORT"),
    ({"url": "modbus://h:99999"}, "write modbus://HOST:PORT"),
    ({"url": "modbus://a..b:1"}, "write modbus://HOST:PORT"),
    ({"write": ("NONE",)}, "'write' names 'NONE', which is no tag of"),
    ({"alive": "NONE"}, "'alive' names 'NONE'"),
    ({"write": ("D",)}, "'write' names 'D', whose address is discrete"),
]


@pytest.mark.parametrize(("config", "said"), NOT_SO)
def test_a_mistake_is_one_line(tmp_path: Path, config: dict[str, Any], said: str):
    path = table(tmp_path, {"A": "holding 0", "D": "discrete 1"}, {})
    with pytest.raises(Refused, match=said) as found:
        modbus(ModbusConfig(**{"url": "modbus://127.0.0.1:1", "tags": str(path)} | config), Wall())
    assert "\n" not in str(found.value)


def test_a_wrong_address_names_its_tag(tmp_path: Path):
    path = table(tmp_path, {"A": "holding 0", "B": "4x101"}, {})
    with pytest.raises(Refused, match=r"tags.csv, tag 'B': 'address': '4x101' is no address; write for example: holding 100"):
        modbus(ModbusConfig(url="modbus://127.0.0.1:1", tags=str(path)), Wall())


@pytest.mark.parametrize("wrong", [{"poll": 0}, {"timeout": 0}, {"timeout": 61}, {"unit": 256}, {"speed": 0}])
def test_a_wrong_key_is_refused(wrong: dict[str, float]):
    with pytest.raises(ValueError, match="must lie"):
        ModbusConfig(url="modbus://h", tags="t", **wrong)  # type: ignore[arg-type]


def test_our_server_outlives_any_client(tmp_path: Path):
    chance = np.random.default_rng(7)

    def rubbish() -> None:
        for k in range(200):
            blob = chance.bytes(int(chance.integers(1, 300)))
            if k % 2:  # a header that is right before a body that is not
                blob = struct.pack(">HHHB", k, 0, 1 + len(blob[:250]), 1) + bytes([int(chance.integers(1, 25))]) + blob[1:250]
            with socket.create_connection(("127.0.0.1", peer.port)) as guest:
                guest.sendall(blob)

    async def go() -> None:
        async with link(peer.port, table(tmp_path, ALL)) as plant:
            before = await plant.read()
            await asyncio.to_thread(rubbish)
            seen = plant.health().received
            await until(plant, lambda frame: good(frame) and plant.health().received > seen + len(ALL))
            assert plant.health().connections == 1
            after = await plant.read()
            assert [after[tag] for tag in ("TIC1.SP", "LIC1.SP", "TIC1.MODE")] == [
                before[tag] for tag in ("TIC1.SP", "LIC1.SP", "TIC1.MODE")
            ]

    with played() as peer:
        play(go)


def test_without_the_extra_the_configuration_is_there_and_the_plant_says_what_to_install(tmp_path: Path):
    script = """if True:
        import sys
        sys.modules["pymodbus"] = None
        from jayul.core.clock import Wall
        from jayul.plant.modbus.client import ModbusConfig, modbus
        modbus(ModbusConfig(url="modbus://127.0.0.1:1", tags=sys.argv[1]), Wall())
    """
    path = table(tmp_path, {"A": "holding 0"}, {})
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
    assert "Refused: a Modbus plant needs the extra 'modbus': pip install 'jayul[modbus]'" in done.stderr
