"""Modbus with counterparts that nobody here wrote: modbus-serial (npm) as device and as client, mbpoll (libmodbus) as client."""

from __future__ import annotations

import json
import math
import os
import re
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from modbus_kit import HERE, Peer, bad, line, link, play, played, table, until, wish
from peers import node_modules, program

from jayul.core.types import Tag
from jayul.plant.modbus.client import DECODING, UNKNOWN_ADDRESS
from jayul.plant.modbus.server import addresses
from jayul.plant.newest import NO_COMMUNICATION

ALL = addresses(line().tags)
PLACES = {
    "FLOAT": "holding 0 float32", "SWAPPED": "holding 2 float32 word=little", "BYTES": "holding 4 float32 byte=little",
    "DOUBLE": "holding 6 float64", "SCALED": "holding 10 int16 scale=0.1 offset=-40", "WIDE": "holding 11 int32 word=little",
    "BIT": "holding 13 bit=9", "LONG": "holding 14 uint64", "INPUT": "input 100 int16", "COIL": "coil 5", "INDEX": "discrete 8",
    "BROKEN": "holding 18 float32",
}  # fmt: skip
VALUES = {
    "FLOAT": 1.5, "SWAPPED": -2.25, "BYTES": 1e10, "DOUBLE": math.pi, "SCALED": 21.3, "WIDE": -70000.0, "BIT": 1.0, "LONG": 2.0**52 + 1,
    "INPUT": -5.0, "COIL": 1.0, "INDEX": 0.0,
}  # fmt: skip


def words(fmt: str, value: float) -> list[int]:
    data = struct.pack(fmt, value)
    return list(struct.unpack(f">{len(data) // 2}H", data))


def device() -> dict[str, Any]:
    """Return what a PLC programmer would have put into the registers, written down without the code under test."""
    swapped, wide = words(">f", -2.25)[::-1], words(">i", -70000)[::-1]
    in_bytes = list(struct.unpack("<2H", struct.pack(">f", 1e10)))
    holding = [
        *words(">f", 1.5),
        *swapped,
        *in_bytes,
        *words(">d", math.pi),
        613,
        *wide,
        1 << 9,
        *words(">Q", 2**52 + 1),
        0x7FC0,
        0,
    ]
    return {
        "holding": dict(enumerate(holding)), "input": {100: 65531}, "coil": {5: True, 6: False}, "discrete": {8: False},
        "limits": {10: [500, 700]},
    }  # fmt: skip


def serial(**more: Any) -> Peer:
    """Start the npm device."""
    env = {"NODE_PATH": str(node_modules("modbus-serial"))}
    return Peer(["node", str(HERE / "peers" / "modbus_server.js")], device() | more, env)


def places(tmp_path: Path, **more: str) -> Path:
    tags = {name: Tag(name=name, writable=True, low=-1e12, high=1e12) for name in PLACES}
    return table(tmp_path, PLACES | more, tags)


def test_every_type_and_order_is_read_from_a_foreign_device(tmp_path: Path):
    async def go() -> None:
        async with link(peer.port, places(tmp_path, GONE="holding 400 float32", NEAR="holding 22", NONE="input 7")) as plant:
            frame = await plant.read()
            for name, value in VALUES.items():
                assert frame.fresh(name), name
                assert frame[name] == (pytest.approx(value, abs=1e-12) if name == "SCALED" else value), name
            status = {name: int(frame.status[i]) for i, name in enumerate(frame.table.names) if frame.status[i]}
            assert status == {"BROKEN": DECODING, "GONE": UNKNOWN_ADDRESS, "NEAR": UNKNOWN_ADDRESS, "NONE": UNKNOWN_ADDRESS}
            assert await plant.declared() is None

    with serial() as peer:
        play(go)


def test_a_foreign_device_takes_writes_all_or_none(tmp_path: Path):
    async def go() -> None:
        async with link(
            peer.port, places(tmp_path), write=tuple(name for name in PLACES if name not in ("INPUT", "INDEX"))
        ) as plant:
            await plant.read()
            values = VALUES | {
                "FLOAT": 7.5,
                "SWAPPED": 8.5,
                "DOUBLE": 9.25,
                "SCALED": 25.0,
                "WIDE": 123456.0,
                "BIT": 0.0,
                "LONG": 7.0,
            }
            wishes = [wish(name, values[name]) for name in ("FLOAT", "SWAPPED", "DOUBLE", "SCALED", "WIDE", "BIT", "LONG")]
            receipts = await plant.write([*wishes, wish("COIL", 0.0)])
            assert {r.state for r in receipts} == {"settled"}
            assert [r.applied for r in receipts] == [pytest.approx(r.allowed, abs=1e-9) for r in receipts]
            receipts = await plant.write([wish("FLOAT", 1.0), wish("COIL", 1.0), wish("SCALED", 45.0), wish("LONG", 8.0)])
            assert {r.state for r in receipts} == {"rejected"}, "SCALED would be 850, outside 500 to 700"
            assert (await plant.write([wish("INPUT", 1.0)]))[0].state == "rejected"
        async with link(peer.port, tmp_path / "tags.csv") as fresh:
            frame = await fresh.read()
            assert {name: frame[name] for name in ("FLOAT", "COIL", "LONG", "DOUBLE")} == {
                "FLOAT": 7.5,
                "COIL": 0,
                "LONG": 7,
                "DOUBLE": 9.25,
            }
            assert frame["SCALED"] == pytest.approx(25.0, abs=1e-9)

    with serial() as peer:
        play(go)


ENDS: list[tuple[dict[str, Any], list[tuple[str, str, float | None]], dict[str, float]]] = [
    ({"slow": [14, 15, 16, 17]}, [("FLOAT", "settled", 7.5), ("LONG", "settled", 7.0)], {"FLOAT": 7.5, "LONG": 7.0}),
    ({"stuck": [14, 15, 16, 17]}, [("FLOAT", "settled", 7.5), ("LONG", "overridden", 2.0**52 + 1)], {"FLOAT": 7.5, "LONG": 2.0**52 + 1}),
    ({"limits": {14: [1, 2]}}, [("FLOAT", "rejected", None), ("LONG", "rejected", None)], {"FLOAT": 1.5, "LONG": 2.0**52 + 1}),
    ({"limits": {17: [0, 5]}}, [("FLOAT", "rejected", None), ("LONG", "rejected", None)], {"FLOAT": 1.5, "LONG": 2.0**52 + 1}),
    ({"limits": {14: [1, 2]}, "once": [0]}, [("FLOAT", "unknown", None), ("LONG", "rejected", None)], {"FLOAT": 7.5, "LONG": 2.0**52 + 1}),
    ({"mute": [14]}, [("FLOAT", "rejected", None), ("LONG", "unknown", None)], {"FLOAT": 1.5}),
    ({"mute": [0]}, [("FLOAT", "unknown", None), ("LONG", "rejected", None)], {"LONG": 2.0**52 + 1}),
]  # fmt: skip


@pytest.mark.parametrize(("device", "ends", "stands"), ENDS, ids=[str(case[0]) for case in ENDS])
def test_how_a_write_may_end(
    tmp_path: Path, device: dict[str, Any], ends: list[tuple[str, str, float | None]], stands: dict[str, float]
):
    async def go() -> None:
        async with link(peer.port, places(tmp_path), write=("FLOAT", "LONG"), timeout=0.3) as plant:
            await plant.read()
            receipts = await plant.write([wish("FLOAT", 7.5), wish("LONG", 7.0)])
            assert [(r.tag, r.state, r.applied) for r in receipts] == ends
            frame = await plant.read()
            for tag, state, applied in ends:
                assert state in ("rejected", "unknown") or frame[tag] == applied, (
                    "what was read back stands in the frame at once"
                )
            before = frame.seen_at.copy()
            frame = await until(plant, lambda frame: frame.fresh("FLOAT") and bool((frame.seen_at > before).all()))
            assert {tag: frame[tag] for tag in stands} == stands

    with serial(**device) as peer:
        play(go)


def test_an_address_that_comes_to_be_is_found_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("jayul.plant.modbus.scan.AGAIN", 0.3)

    async def go() -> None:
        path = table(
            tmp_path, {"OLD": "holding 0", "NEW": "holding 1"}, {name: Tag(name=name, writable=True) for name in ("OLD", "NEW")}
        )
        async with link(peer.port, path, write=("OLD",)) as plant:
            assert [status == 0 for status in (await plant.read()).status] == [True, False]
            assert plant.health().missing == ("NEW",)
            assert (await plant.write([wish("OLD", 7.0)]))[0].state == "settled"
            await until(plant, lambda frame: frame.fresh("NEW"))
            assert (plant.health().missing, plant.health().connections) == ((), 1)

    with serial(holding={0: 1}, reveals=0) as peer:
        play(go)


@pytest.mark.parametrize("silent", [1, 2, 3])
def test_a_unit_that_is_silent_does_not_stop_the_others(tmp_path: Path, silent: int):
    units = (1, 2, 3)

    async def go() -> None:
        path = table(tmp_path, {f"U{unit}": f"holding 0 float32 unit={unit}" for unit in units}, {})
        async with link(peer.port, path, timeout=0.3) as plant:
            others = [f"U{unit}" for unit in units if unit != silent]
            await until(plant, lambda frame: all(map(frame.fresh, others)))
            for _ in range(20):
                before = (await plant.read()).seen_at.copy()
                frame = await until(plant, lambda frame, before=before: bool((frame.seen_at > before).sum() == 2))
                assert all(map(frame.fresh, others))
                assert not frame.fresh(f"U{silent}")
            assert plant.health().connections <= 4

    with serial(silent=silent) as peer:
        play(go)


def test_a_foreign_device_that_is_killed_comes_back_within_five_seconds(tmp_path: Path):
    async def go() -> None:
        async with link(peer.port, places(tmp_path)) as plant:
            assert (await plant.read())["FLOAT"] == 1.5
            for _ in range(3):
                peer.kill()
                frame = await until(plant, bad, 2.0)
                assert int(frame.status[0]) == NO_COMMUNICATION
                peer.start()
                await until(plant, lambda frame: frame.fresh("FLOAT"), 5.0)
            assert plant.health().connections == 4

    with serial() as peer:
        play(go)


def test_a_foreign_device_that_stands_still_is_noticed(tmp_path: Path):
    async def go() -> None:
        async with link(peer.port, places(tmp_path), timeout=0.4) as plant:
            assert (await plant.read()).fresh("FLOAT")
            peer.freeze()
            await until(plant, bad, 2.0)
            peer.thaw()
            await until(plant, lambda frame: frame.fresh("FLOAT"), 5.0)

    with serial() as peer:
        play(go)


def test_a_foreign_client_reads_and_writes_our_server():
    def ask(*steps: list[Any]) -> list[Any]:
        env = {**os.environ, "NODE_PATH": str(node_modules("modbus-serial"))}
        command = ["node", str(HERE / "peers" / "modbus_client.js"), str(peer.port), json.dumps(steps)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=True)
        return list(json.loads(done.stdout))

    with played() as peer:
        found = ask(
            ["readHoldingRegisters", 0, 6],
            ["readHoldingRegisters", 65000, 2],
            ["writeRegisters", 2, words(">f", 60.5)],
            ["readHoldingRegisters", 2, 2],
            ["writeRegisters", 2, words(">f", 90.0)],  # beyond the clamp
            ["writeRegisters", 2, [*words(">f", 61.0), *words(">f", 7.0)]],  # the second is no mode
            ["writeRegisters", 0, words(">f", 1.0)],  # a measurement
            ["writeRegister", 2, 0x4270],  # half a value
            ["readHoldingRegisters", 2, 4],
            ["readHoldingRegisters", 900, 1],
            ["readCoils", 0, 1],
            ["writeRegisters", 4, words(">f", 1.0)],  # the operator takes it out of remote
            ["writeRegisters", 2, words(">f", 60.0)],
        )
    assert found[0] == [*words(">f", 55.0), *words(">f", 55.0), *words(">f", 2.0)]
    assert bytes(struct.pack(">2H", *found[1])) == b"JAYL"
    assert found[3] == words(">f", 60.5)
    assert found[4] == found[5] == found[7] == {"exception": 3}
    assert found[6] == {"exception": 2}
    assert found[8] == [*words(">f", 60.5), *words(">f", 2.0)], "what was refused changed nothing"
    assert found[9] == found[10] == {"exception": 2}
    assert found[12] == {"exception": 4}


def test_libmodbus_reads_and_writes_our_server():
    def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [program("mbpoll"), "-m", "tcp", "-p", str(peer.port), "-0", "-B", "-1", "-q", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)

    def value(at: int, kind: str = "4:float") -> str:
        done = ask("-t", kind, "-r", str(at), "127.0.0.1")
        (found,) = re.findall(rf"^\[{at}\]:\s*(\S+)", done.stdout, re.M)
        return str(found)

    with played() as peer:
        assert (value(2), value(4)) == ("55", "2")
        done = ask("-t", "4:float", "-r", "2", "127.0.0.1", "61.5")
        assert done.returncode == 0, done.stderr
        assert value(2) == "61.5"
        done = ask("-t", "4:float", "-r", "2", "127.0.0.1", "99")
        assert done.returncode != 0
        assert "Illegal data value" in done.stdout + done.stderr
        assert "Illegal data address" in (late := ask("-t", "4", "-r", "900", "127.0.0.1")).stdout + late.stderr
        assert value(2) == "61.5"
