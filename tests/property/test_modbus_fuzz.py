"""Whatever a device sends, nothing crashes, and only a whole answer to what was asked becomes a reading, with its exact value."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jayul.core.clock import Wall
from jayul.core.types import Tag
from jayul.plant.modbus.address import Address, Area, decode, encode, halves, parse, plan
from jayul.plant.modbus.client import ModbusConfig, modbus
from jayul.plant.modbus.wire import Objection, Wire
from jayul.plant.table import Table, write_table

HASTY = 0.1  # s: how long the client waits here


class Device:
    """A device that sends `reply` to every request, the transaction number filled in where it says so, and then waits or hangs up."""

    def __init__(self) -> None:
        self.reply, self.number, self.ahead, self.hangs_up = b"", True, 0, False
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                guest, _ = self._door.accept()
                with contextlib.suppress(OSError), guest:
                    while request := guest.recv(300):
                        number = struct.pack(">H", (int.from_bytes(request[:2]) + self.ahead) % 65536)
                        guest.sendall(number + self.reply[2:] if self.number else self.reply)
                        if self.hangs_up:
                            break

    def close(self) -> None:
        self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        self._thread.join()


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    found = Device()
    yield found
    found.close()


def expected(reply: bytes, unit: int, function: int, count: int, bits: bool) -> list[int] | None:
    """Return what a reply says if it is, byte for byte, an answer to the request; written down without the code under test."""
    size = (count + 7) // 8 if bits else 2 * count
    head = struct.pack(">HHBBB", 0, 3 + size, unit, function, size)
    if reply[2:9] != head or len(reply) < 9 + size:
        return None
    data = reply[9 : 9 + size]
    if bits:
        return [data[i // 8] >> i % 8 & 1 for i in range(count)]
    return list(struct.unpack(f">{count}H", data))


def answer(function: int, data: bytes, **wrong: int) -> bytes:
    """Return an answer; `wrong`: fields of it that are not as they should be, and `cut`, bytes that are missing (or too many)."""
    head = {"protocol": 0, "length": len(data) + 3, "unit": 1, "function": function, "size": len(data)} | wrong
    cut = head.pop("cut", 0)
    whole = struct.pack(">HHHBBB", 0, *head.values()) + data
    return whole[: len(whole) - cut] if cut >= 0 else whole + bytes(-cut)


@st.composite
def replies(draw: st.DrawFn, function: int = 3, size: int = 6) -> bytes:
    """Answers of `size` bytes that are right but for at most two fields, or anything."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=300))
    size = max(0, size + draw(st.sampled_from([0, 0, 0, 0, -2, -1, 1, 2])))
    data = draw(st.binary(min_size=size, max_size=size))
    fields = {
        "protocol": st.integers(0, 65535), "length": st.integers(0, size + 8), "unit": st.integers(0, 255), "size": st.integers(0, size + 4),
        "function": st.sampled_from([1, 2, 3, 4, 5, 6, 16, 0, 43, 0x81, 0x82, 0x83, 0x84, 255]), "cut": st.integers(-9, 9),
    }  # fmt: skip
    names = draw(st.lists(st.sampled_from(sorted(fields)), max_size=2))
    return answer(data=data, **{"function": function} | {name: draw(fields[name]) for name in names})


AREAS: list[tuple[Area, int]] = [("holding", 3), ("input", 4), ("coil", 1), ("discrete", 2)]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(area=st.sampled_from(AREAS), count=st.integers(1, 9), ahead=st.sampled_from([0, 0, 0, 1, 65535]), data=st.data())
def test_a_reply_is_exact_or_it_is_none(
    device: Device, area: tuple[Area, int], count: int, ahead: int, data: st.DataObject
) -> None:
    kind, function = area
    bits = kind in ("coil", "discrete")
    reply = data.draw(replies(function, (count + 7) // 8 if bits else 2 * count))
    device.reply, device.number, device.ahead, device.hangs_up = reply, True, ahead, data.draw(st.booleans())
    found = asyncio.run(ask(device, kind, count))
    right = expected(reply, 1, function, count, bits) if ahead == 0 else None
    if found is not None:
        assert found == right


async def ask(device: Device, kind: Area, count: int, patience: float = HASTY) -> list[int] | None:
    wire = await Wire.open("127.0.0.1", device.port, patience)
    try:
        return await wire.read(1, kind, 0, count)
    except (OSError, Objection):
        return None
    finally:
        wire.close()


FOUR = b"\x3f\xc0\x00\x00"
WRONG = {
    "another function": answer(4, FOUR), "a write": answer(16, FOUR), "another unit": answer(3, FOUR, unit=2),
    "another protocol": answer(3, FOUR, protocol=1), "fewer bytes than it says": answer(3, FOUR, cut=1),
    "more bytes than it says": answer(3, FOUR, length=9, cut=-2), "one register": answer(3, FOUR[:2]), "three registers": answer(3, FOUR + b"ab"),
    "size too small": answer(3, FOUR, size=2), "size too large": answer(3, FOUR, size=6), "odd size": answer(3, FOUR, size=3),
    "length too small": answer(3, FOUR, length=5), "length 0": answer(3, FOUR, length=0), "nothing": b"\0\0",
    "an exception to something else": struct.pack(">HHHBBB", 0, 0, 3, 1, 0x84, 2), "an exception without a code": struct.pack(">HHHBB", 0, 0, 2, 1, 0x83),
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_foreign_or_garbled_reply_is_never_a_reading(device: Device, name: str) -> None:
    device.reply, device.number, device.ahead, device.hangs_up = WRONG[name], True, 0, False
    assert asyncio.run(ask(device, "holding", 2)) is None


ECHO = struct.pack(">HHHBBHH", 0, 0, 6, 1, 16, 5, 2)  # of two registers written at 5
ECHOES = {
    "right": ECHO, "another address": ECHO[:9] + b"\x06" + ECHO[10:], "another count": ECHO[:-1] + b"\x01", "cut": ECHO[:-1],
    "another function": ECHO[:7] + b"\x06" + ECHO[8:], "a read": answer(3, FOUR),
}  # fmt: skip


@pytest.mark.parametrize("name", ECHOES)
def test_only_the_write_that_was_sent_is_acknowledged(device: Device, name: str) -> None:
    device.reply, device.number, device.ahead, device.hangs_up = ECHOES[name], True, 0, False

    async def write() -> bool:
        wire = await Wire.open("127.0.0.1", device.port, 10.0 if name == "right" else HASTY)
        try:
            await wire.write(1, "holding", 5, [1, 2])
        except OSError:
            return False
        finally:
            wire.close()
        return True

    assert asyncio.run(write()) == (name == "right")


@pytest.mark.parametrize("ahead", [1, 65535])
def test_a_reply_to_another_request_is_never_a_reading(device: Device, ahead: int) -> None:
    device.reply, device.number, device.ahead, device.hangs_up = answer(3, FOUR), True, ahead, False
    assert asyncio.run(ask(device, "holding", 2)) is None


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(registers=st.lists(st.integers(0, 65535), min_size=1, max_size=8))
def test_a_whole_answer_is_taken(device: Device, registers: list[int]) -> None:
    device.reply, device.number, device.ahead, device.hangs_up = (
        answer(3, struct.pack(f">{len(registers)}H", *registers)),
        True,
        0,
        True,
    )
    assert asyncio.run(ask(device, "holding", len(registers), 10.0)) == registers


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reply=replies(), number=st.booleans(), hangs_up=st.booleans())
def test_a_plant_outlives_any_device(
    device: Device,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    reply: bytes,
    number: bool,
    hangs_up: bool,
) -> None:
    monkeypatch.setattr("jayul.plant.modbus.client.FIRST", HASTY)
    path = tmp_path_factory.getbasetemp() / "fuzz.csv"
    write_table(
        path,
        Table(
            (Tag(name="A", address="holding 0 float32"), Tag(name="B", address="holding 2"), Tag(name="C", address="coil 0"))
        ),
    )
    device.reply, device.number, device.ahead, device.hangs_up = reply, number, 0, hangs_up

    async def go() -> None:
        config = ModbusConfig(url=f"modbus://127.0.0.1:{device.port}", tags=str(path), timeout=HASTY, poll=0.001)
        plant = modbus(config, Wall())
        for _ in range(3):
            frame = await plant.read()
            await asyncio.sleep(0.01)
            for i, name in enumerate(frame.table.names):
                if frame.status[i] == 0:
                    raw = expected(reply, 1, 3, 3, bits=False) if name != "C" else expected(reply, 1, 1, 1, bits=True)
                    assert raw is not None, (name, frame.value)
                    value = {"A": struct.unpack(">f", struct.pack(">2H", *(raw * 2)[:2]))[0], "B": (raw * 3)[2], "C": raw[0]}[
                        name
                    ]
                    assert frame.value[i] == value
        await plant.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(go())


TYPES = ["int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
RANGES = {"int16": (-(2**15), 2**15 - 1), "uint16": (0, 2**16 - 1), "int32": (-(2**31), 2**31 - 1), "uint32": (0, 2**32 - 1),
          "int64": (-(2**63), 2**63 - 1), "uint64": (0, 2**64 - 1)}  # fmt: skip
orders = st.sampled_from(["big", "little"])


@given(st.sampled_from(TYPES), orders, orders, st.data())
def test_what_fits_comes_back(kind: str, word: str, byte: str, data: st.DataObject) -> None:
    address = parse(f"holding 0 {kind} word={word} byte={byte}")
    low, high = RANGES.get(kind, (0, 0))
    if kind in RANGES:
        value = float(data.draw(st.integers(max(low, -(2**53)), min(high, 2**53))))
    else:
        value = data.draw(st.floats(width=int(kind[5:]), allow_nan=False, allow_infinity=False))  # type: ignore[arg-type]
    raw = encode(address, value)
    assert len(raw) == address.count
    assert all(0 <= register <= 65535 for register in raw)
    assert decode(address, raw) == value


@given(
    st.sampled_from(TYPES), st.floats(), st.floats(1e-6, 1e6) | st.floats(-1e6, -1e-6), st.floats(-1e6, 1e6)
)  # fmt: skip
def test_a_value_is_near_or_refused(kind: str, value: float, scale: float, offset: float) -> None:
    address = Address("holding", 0, kind, scale=scale, offset=offset)  # type: ignore[arg-type]
    try:
        raw = encode(address, value)
    except ValueError:
        return
    rounding = abs(scale) / 2 if kind in RANGES else 0.0
    slack = 1e-6 * (abs(value) + abs(offset)) + 1e-37 * abs(scale)  # of a float32, and of the sum
    assert abs(decode(address, raw) - value) <= rounding + slack


@given(st.sampled_from(TYPES), st.floats(allow_nan=False, allow_infinity=False))
def test_nothing_wraps(kind: str, value: float) -> None:
    if kind not in RANGES:
        return
    low, high = RANGES[kind]
    if low <= round(value) <= high:
        assert decode(parse(f"holding 0 {kind}"), encode(parse(f"holding 0 {kind}"), value)) == float(round(value))
    else:
        with pytest.raises(ValueError, match="does not fit"):
            encode(parse(f"holding 0 {kind}"), value)


@given(st.sampled_from([*TYPES, "bool", "bit=7"]), orders, orders, st.lists(st.integers(0, 65535), min_size=4, max_size=4))
def test_any_register_is_read(kind: str, word: str, byte: str, raw: list[int]) -> None:
    address = parse(f"input 0 {kind} word={word} byte={byte}")
    value = decode(address, raw[: address.count])
    assert isinstance(value, float)
    if math.isfinite(value) and kind in RANGES and abs(value) < 2**53:
        assert encode(address, value) == raw[: address.count]


LETTERS = st.text(st.sampled_from("holdingputcoi 0159=-.einfbyteword\n\t\0٣²"), max_size=30)
NEAR = st.lists(
    st.sampled_from(["holding", "coil", "input", "0", "65535", "99999", "float32", "bool", "bit=3", "bit=", "word=little", "scale=0.1",
                     "scale=1e999", "offset=-40", "unit=300", "=", "at=3", "area=coil", "unit=1"]),
    max_size=6,
).map(" ".join)  # fmt: skip


@settings(max_examples=500)
@given(st.text() | LETTERS | NEAR)
def test_any_text_is_an_address_or_one_line(text: str) -> None:
    try:
        address = parse(text)
    except ValueError as error:
        said = str(error)
    else:
        said = ""
        assert 0 <= address.at < address.end <= 65536
        assert math.isfinite(decode(address, [0] * address.count))
    assert len(said.splitlines()) <= 1


spots = st.lists(
    st.tuples(st.sampled_from(["holding", "input", "coil"]), st.integers(0, 400), st.sampled_from(TYPES), st.integers(1, 2)),
    max_size=60,
)


@given(spots, st.sampled_from([None, 0, 8]))
def test_a_plan_reads_every_tag_once(places: list[tuple[str, int, str, int]], gap: int | None) -> None:
    found = {
        i: parse(f"{area} {at} {'bool' if area == 'coil' else kind} unit={unit}")
        for i, (area, at, kind, unit) in enumerate(places)
    }
    blocks = plan(found, gap)
    assert sorted(i for block in blocks for i in block.members) == list(found)
    for block in blocks:
        assert 1 <= block.count <= (1900 if block.area == "coil" else 120)
        for i in block.members:
            assert (found[i].unit, found[i].area) == (block.unit, block.area)
            assert block.start <= found[i].at
            assert found[i].end <= block.start + block.count
        if len(block.members) > 1:
            assert sorted(i for half in halves(block, found) for i in half.members) == sorted(block.members)
