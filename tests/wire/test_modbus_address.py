"""Addresses: read, refused in one line, decoded, encoded without ever wrapping, merged to requests."""

from __future__ import annotations

import math
import struct

import pytest
from msgspec.structs import replace

from jayul.plant.modbus.address import Address, Block, blank, decode, encode, halves, parse, plan

READ = [
    ("holding 100", Address("holding", 100)),
    ("input 7 int16 scale=0.1", Address("input", 7, "int16", scale=0.1)),
    ("coil 3", Address("coil", 3, "bool")),
    ("discrete 65535 bool unit=2", Address("discrete", 65535, "bool", unit=2)),
    ("holding 5 bit=3", Address("holding", 5, "bool", bit=3)),
    (
        "  holding  100 float32 word=little byte=little scale=0.1 offset=-40 unit=1 ",
        Address("holding", 100, "float32", word="little", byte="little", scale=0.1, offset=-40.0, unit=1),
    ),
]
WRONG = [
    ("", "is no address; write for example: holding 100 float32"),
    ("holding", "is no address"),
    ("40101 float32", "'40101' is no area; there is: holding, input, coil, discrete"),
    ("holding x", "'address' is 'x'; write a whole number from 0 to 65535"),
    ("holding 65536", "'address' is '65536'"),
    ("holding -1", "'address' is '-1'"),
    ("holding 1 float", "'float' is no type; there is: int16,"),
    ("holding 1 float32 int16", "'type' stands twice"),
    ("holding 1 unit=1 unit=2", "'unit' stands twice"),
    ("holding 1 unit=256", "'unit' is '256'; write a whole number from 0 to 255"),
    ("holding 1 bit=16", "'bit' is '16'; write a whole number from 0 to 15"),
    ("holding 1 int32 bit=1", "'bit' picks one bit of one register, not of int32"),
    ("holding 1 word=middle", "'middle' is no word; there is: big, little"),
    ("holding 1 scale=0", "'scale' is '0'; write a number other than 0"),
    ("holding 1 scale=nan", "'scale' is 'nan'"),
    ("holding 1 offset=inf", "'offset' is 'inf'; write a number"),
    ("holding 1 at=5", "'at' stands twice"),
    ("holding 1 colour=red", "unknown 'colour='; there is: bit, word, byte, scale, offset, unit"),
    ("coil 1 scale=2", "'scale' means nothing for a coil"),
    ("coil 1 int16", "a coil is one bit, no int16"),
    ("holding 1 bool scale=2", "'scale' and 'offset' mean nothing for a bool"),
    ("holding 1 bit=1 offset=2", "'scale' and 'offset' mean nothing for a b"),
    ("holding 65535 float32", "a float32 at 65535 reaches beyond the last register, 65535"),
]


@pytest.mark.parametrize(("text", "address"), READ)
def test_an_address_is_read(text: str, address: Address):
    assert parse(text) == address


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_a_mistake_is_one_line(text: str, said: str):
    with pytest.raises(ValueError, match=r"\w") as found:
        parse(text)
    assert said in str(found.value)
    assert "\n" not in str(found.value)


def test_word_and_byte_order():
    data = struct.pack(">f", 123.5)
    a, b = struct.unpack(">2H", data)
    c, d = struct.unpack("<2H", data)
    for text, raw in (("", [a, b]), ("word=little", [b, a]), ("byte=little", [c, d]), ("word=little byte=little", [d, c])):
        address = parse("holding 0 float32 " + text)
        assert decode(address, raw) == 123.5
        assert encode(address, 123.5) == raw


VALUES = [
    ("int16", [0xFFFF], -1), ("uint16", [0xFFFF], 65535), ("int32", [0xFFFF, 0xFFFE], -2), ("uint32", [0xFFFF, 0xFFFE], 4294967294),
    ("int64", [0x8000, 0, 0, 0], -(2.0**63)), ("uint64", [0x8000, 0, 0, 0], 2.0**63), ("float64", [0x3FF8, 0, 0, 0], 1.5), ("bool", [1], 1),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "raw", "value"), VALUES)
def test_every_type(kind: str, raw: list[int], value: float):
    address = parse(f"holding 0 {kind}")
    assert decode(address, raw) == value
    assert encode(address, value) == raw


TOO_MUCH = [
    ("int16", 32768), ("int16", -32769), ("uint16", -1), ("uint16", 65536), ("int32", 2.0**31), ("uint32", 2.0**32), ("int64", 2.0**63),
    ("uint64", 2.0**64), ("uint64", -1), ("float32", 1e39), ("int16", math.nan), ("float32", math.inf), ("float64", math.nan), ("bool", 2),
    ("bool", 0.5), ("int16 scale=0.1", 3276.8), ("float64 scale=1e-300", 1e300), ("uint16 offset=-40", -41),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value"), TOO_MUCH)
def test_what_does_not_fit_is_refused_and_never_wraps(kind: str, value: float):
    with pytest.raises(ValueError, match=r"does not fit|cannot be written|neither 0 nor 1"):
        encode(parse(f"holding 0 {kind}"), value)


def test_a_scaled_value_is_the_nearest_that_the_register_holds():
    address = parse("holding 0 int16 scale=0.1 offset=-40")
    assert encode(address, 21.26) == [613]
    assert decode(address, [613]) == pytest.approx(21.3, abs=1e-12)


def test_a_bit_leaves_the_others_alone():
    address = parse("holding 0 bit=3")
    assert [decode(address, [raw]) for raw in (0b1000, 0b0111)] == [1.0, 0.0]
    assert encode(address, 1, [0b0001]) == [0b1001]
    assert encode(address, 0, [0b1111]) == [0b0111]
    swapped = parse("holding 0 bit=3 byte=little")
    assert encode(swapped, 1, [0x0100]) == [0x0900]


def test_no_value():
    assert math.isnan(decode(parse("holding 0 float32 word=little"), blank(parse("holding 0 float32 word=little")) or [0, 0]))
    assert math.isnan(decode(parse("holding 0 float64"), blank(parse("holding 0 float64")) or [0] * 4))
    assert blank(parse("holding 0 int16")) is None


def of(*texts: str) -> dict[int, Address]:
    return {i: replace(a, unit=max(a.unit, 0)) for i, a in enumerate(map(parse, texts))}


def test_neighbours_are_read_together():
    assert plan(of("holding 12 float32", "holding 0", "holding 9")) == [Block(0, "holding", 0, 14, (1, 2, 0))]
    assert len(plan(of("holding 0", "holding 10"))) == 2, "nine lie between"
    assert len(plan(of("holding 0", "holding 1"), None)) == 2
    assert len(plan(of("holding 0", "input 1", "holding 2 unit=1"))) == 3
    assert plan(of("holding 3 bit=1", "holding 3 bit=2", "holding 2 float64")) == [Block(0, "holding", 2, 4, (2, 0, 1))]


def test_a_request_never_grows_too_long():
    many = plan(of(*(f"holding {2 * i} float32" for i in range(200))))
    assert [block.count for block in many] == [120, 120, 120, 40]
    assert [block.count for block in plan(of(*(f"coil {i}" for i in range(2000))))] == [1900, 100]


def test_halves_are_as_short_as_their_tags_allow():
    places = of("holding 0", "holding 5", "holding 9")
    (block,) = plan(places)
    assert halves(block, places) == [Block(0, "holding", 0, 1, (0,)), Block(0, "holding", 5, 5, (1, 2))]
