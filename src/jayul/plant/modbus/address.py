"""Where a tag lies in a Modbus device and how its registers are read.

    holding 100 float32 word=little scale=0.1 offset=-40 unit=1

    area    holding, input (registers of 16 bits), coil, discrete (single bits)
    number  zero-based address as it goes over the wire: the register that a manual calls 40101 or 4x101 is `holding 100`
    type    int16 uint16 int32 uint32 int64 uint64 float32 float64 bool; left out: uint16, and bool in coil and discrete
    bit=    0 (lowest) to 15: one bit of a register
    word=   big (the register with the highest bits first) or little; byte= big or little within each register
    scale=, offset=   value = raw * scale + offset
    unit=   unit identifier, 0 to 255; left out: that of the connection

Everything here is pure.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, get_args

import msgspec

Area = Literal["holding", "input", "coil", "discrete"]
Type = Literal["int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64", "bool"]
Order = Literal["big", "little"]
_FORMAT = {
    "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q", "float32": "f", "float64": "d",
    "bool": "H",
}  # fmt: skip
GAP = 8  # so many addresses that nobody asked for are read along, rather than asking twice
MOST = {"holding": 120, "input": 120, "coil": 1900, "discrete": 1900}  # in one request; the protocol ends at 125 and 2000
WRITABLE = ("holding", "coil")


class Address(msgspec.Struct, frozen=True):
    """One tag's place and reading; see the module. `bit` is -1 for a whole value, `unit` -1 for the connection's own."""

    area: Area
    at: int
    type: Type = "uint16"
    bit: int = -1
    word: Order = "big"
    byte: Order = "big"
    scale: float = 1.0
    offset: float = 0.0
    unit: int = -1

    @property
    def count(self) -> int:
        """How many registers (or, in coil and discrete, bits) it takes."""
        return 1 if self.area in ("coil", "discrete") else struct.calcsize(">" + _FORMAT[self.type]) // 2

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.at + self.count


class Block(msgspec.Struct, frozen=True):
    """One request: `count` addresses from `start`, and the positions of the tags that lie there."""

    unit: int
    area: Area
    start: int
    count: int
    members: tuple[int, ...]


def parse(text: str) -> Address:
    """Read an address. Raises ValueError: one line that says what is wrong and what to write instead."""
    words = text.split()
    if len(words) < 2:
        raise ValueError(f"'{' '.join(words)}' is no address; write for example: holding 100 float32")
    area, number = words[0], words[1]
    fields: dict[str, object] = {"area": _one_of(area, "area", get_args(Area)), "at": _whole(number, "address", 0, 65535)}
    bits = area in ("coil", "discrete")
    for word in words[2:]:
        key, equals, given = word.partition("=")
        if not equals:
            key, given = "type", word
        if key in fields:
            raise ValueError(f"'{key}' stands twice; leave one out")
        fields[key] = _field(key, given)
    if bits and (other := set(fields) - {"area", "at", "type", "unit"}):
        raise ValueError(f"'{min(other)}' means nothing for a {area}, which is one bit; leave it out")
    fields.setdefault("type", "bool" if bits or "bit" in fields else "uint16")
    address = msgspec.convert(fields, Address)
    _check(address)
    return address


def _field(key: str, given: str) -> object:
    if key == "type":
        return _one_of(given, "type", get_args(Type))
    if key in ("word", "byte"):
        return _one_of(given, key, get_args(Order))
    if key == "bit":
        return _whole(given, key, 0, 15)
    if key == "unit":
        return _whole(given, key, 0, 255)
    if key not in ("scale", "offset"):
        raise ValueError(f"unknown '{key}='; there is: bit, word, byte, scale, offset, unit")
    try:
        number = float(given)
    except ValueError:
        number = math.nan
    if key == "scale" and number == 0:
        raise ValueError(f"'{key}' is '{given}'; write a number other than 0")
    if not math.isfinite(number):
        raise ValueError(f"'{key}' is '{given}'; write a number")
    return number


def _one_of(given: str, what: str, known: Sequence[str]) -> str:
    if given not in known:
        raise ValueError(f"'{given}' is no {what}; there is: {', '.join(known)}")
    return given


def _whole(given: str, what: str, low: int, high: int) -> int:
    if not (given.isascii() and given.isdigit() and len(given) <= 6 and low <= int(given) <= high):
        raise ValueError(f"'{what}' is '{given}'; write a whole number from {low} to {high}")
    return int(given)


def _check(address: Address) -> None:
    if address.area in ("coil", "discrete") and address.type != "bool":
        raise ValueError(f"a {address.area} is one bit, no {address.type}; leave the type out")
    if address.bit >= 0 and address.type not in ("bool", "uint16"):
        raise ValueError(f"'bit' picks one bit of one register, not of {address.type}; leave the type out")
    if address.type == "bool" and (address.scale, address.offset) != (1.0, 0.0):
        raise ValueError("'scale' and 'offset' mean nothing for a bool; leave them out")
    if address.bit >= 0 and (address.scale, address.offset) != (1.0, 0.0):
        raise ValueError("'scale' and 'offset' mean nothing for a bit; leave them out")
    if address.end > 65536:
        raise ValueError(f"a {address.type} at {address.at} reaches beyond the last register, 65535")


def decode(address: Address, raw: Sequence[int]) -> float:
    """Return the value of `count` registers (0 to 65535) or of one bit. It may be NaN or infinite, if it is a float."""
    if address.area in ("coil", "discrete"):
        return float(raw[0] != 0)
    words = raw if address.word == "big" else raw[::-1]
    data = struct.pack(f"{'>' if address.byte == 'big' else '<'}{len(words)}H", *words)
    (number,) = struct.unpack(">" + _FORMAT[address.type], data)
    if address.bit >= 0:
        return float(number >> address.bit & 1)
    if address.type == "bool":
        return float(number != 0)
    return float(number) if address.scale == 1 and address.offset == 0 else number * address.scale + address.offset


def encode(address: Address, value: float, before: Sequence[int] = (0,)) -> list[int]:
    """Return the registers (or the one bit) that hold a value, the nearest that they can.

    `before`: what stands there now; only for a bit of a register, whose other bits stay. Raises ValueError if it does not fit.
    """
    if not math.isfinite(value):
        raise ValueError(f"{value} cannot be written")
    if address.type == "bool" or address.bit >= 0:
        if value not in (0, 1):
            raise ValueError(f"{value:g} is neither 0 nor 1")
        if address.area in ("coil", "discrete"):
            return [int(value)]
    if address.bit >= 0:
        (register,) = _swapped(address, before)
        return _swapped(address, [register & ~(1 << address.bit) | int(value) << address.bit])
    number = value if address.scale == 1 and address.offset == 0 else (value - address.offset) / address.scale
    try:
        whole = number + 0.0 if address.type.startswith("float") and math.isfinite(number) else round(number)  # + 0.0: no -0.0
        words = _words(address, struct.pack(">" + _FORMAT[address.type], whole))
    except (struct.error, OverflowError):
        words = None
    if words is None or not math.isfinite(decode(address, words)):
        raise ValueError(f"{value:g} does not fit in {address.type} at scale {address.scale:g}")
    return words


def blank(address: Address) -> list[int] | None:
    """Return the registers that say "no value": NaN. None if the type has none."""
    return _words(address, struct.pack(">" + _FORMAT[address.type], math.nan)) if address.type.startswith("float") else None


def _words(address: Address, data: bytes) -> list[int]:
    """Return bytes, the highest first, as registers in the order in which they lie."""
    words = _swapped(address, struct.unpack(f">{len(data) // 2}H", data))
    return words if address.word == "big" else words[::-1]


def _swapped(address: Address, words: Sequence[int]) -> list[int]:
    """Swap the bytes of each register, if that is how they lie."""
    return list(words) if address.byte == "big" else [(word & 0xFF) << 8 | word >> 8 for word in words]


def plan(addresses: Mapping[int, Address], gap: int | None = GAP) -> list[Block]:
    """Return the requests that read these addresses (by position): neighbours go together, never across units or areas.

    Each address names its unit. `gap`: so many addresses may lie between neighbours (None: nothing goes together).
    """
    places = sorted((a.unit, a.area, a.at, a.end, i) for i, a in addresses.items())
    blocks = list[Block]()
    for of, area, at, end, i in places:
        last = blocks[-1] if blocks else None
        if last is not None and gap is not None and (last.unit, last.area) == (of, area):
            count = max(last.start + last.count, end) - last.start
            if at - (last.start + last.count) <= gap and count <= MOST[area]:
                blocks[-1] = Block(of, area, last.start, count, (*last.members, i))
                continue
        blocks.append(Block(of, area, at, end - at, (i,)))
    return blocks


def halves(block: Block, addresses: Mapping[int, Address]) -> list[Block]:
    """Return a request as two, each as short as the tags in it allow; one for a single tag is returned as it is."""
    middle = len(block.members) // 2
    parts: Iterable[tuple[int, ...]] = (block.members[:middle], block.members[middle:])
    return [found for part in parts for found in plan({i: addresses[i] for i in part})]
