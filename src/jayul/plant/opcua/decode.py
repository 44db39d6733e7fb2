"""What a server sends most, read straight from the bytes: publish and read responses (OPC UA Part 6, 5.2).

A sample of a number costs about a microsecond; whatever is not a plain number is left to asyncua.
"""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import nodeid_from_binary, struct_from_binary, variant_from_binary

EPOCH = 116_444_736_000_000_000  # 1970-01-01 in intervals of 100 ns since 1601-01-01
LAST = 2**63 - 1
TYPE_MISMATCH = 0x8074_0000  # OPC UA Bad_TypeMismatch
NUMBERS = {1: "?", 2: "b", 3: "B", 4: "h", 5: "H", 6: "i", 7: "I", 8: "q", 9: "Q", 10: "f", 11: "d"}  # by built-in type
DATA_CHANGE, STATUS_CHANGE = 811, 820  # binary encodings of DataChangeNotification and StatusChangeNotification

Value = tuple[float, int, int, int]  # value, status, source and server time (ns UTC; 0: none)
Item = tuple[int, float, int, int, int]  # client handle, value, status, source and server time

_KEY, _HANDLE_KEY, _U32, _I32, _I64 = (struct.Struct(f"<{code}") for code in ("H", "IH", "I", "i", "q"))
_LAYOUTS: dict[int, tuple[struct.Struct, int, int, int]] = {}


class Published(NamedTuple):
    """One message of a subscription. `kept`: it holds notifications, so that its number counts; `status`: of the subscription."""

    subscription: int
    sequence: int
    kept: bool
    items: list[Item]
    status: int


def _layouts() -> None:
    """Note, by encoding mask and type, how a DataValue lies in the bytes and where status, source and server time stand."""
    for mask in range(1, 64, 2):
        if (mask & 0x10 and not mask & 0x04) or (mask & 0x20 and not mask & 0x08):
            continue  # picoseconds without a time
        for kind, code in NUMBERS.items():
            text, at, found = "<" + code, 1, [0, 0, 0]
            for place, (bit, part) in enumerate(((0x02, "I"), (0x04, "q"), (0x08, "q"))):
                if mask & bit:
                    text, found[place], at = text + part, at, at + 1
                if mask & bit << 2 and bit > 0x02:
                    text, at = text + "H", at + 1
            _LAYOUTS[mask | kind << 8] = (struct.Struct(text), *found)  # type: ignore[assignment]


_layouts()


def when(ticks: int) -> int:
    """Return a time of the wire as ns UTC; 0 for none."""
    return min((ticks - EPOCH) * 100, LAST) if ticks > EPOCH else 0


def plain(value: ua.DataValue) -> Value:
    """Return what asyncua has read as numbers; NaN and Bad_TypeMismatch if it is none."""
    status = value.StatusCode.value if value.StatusCode is not None else 0
    times = [0 if at is None else when(ua.datetime_to_win_epoch(at)) for at in (value.SourceTimestamp, value.ServerTimestamp)]
    if value.SourcePicoseconds is not None:
        times[1] = 0  # asyncua looks for them behind the server's time, not before it as Part 6, 5.2.2.17 has them
    return *_number(value.Value.Value if value.Value is not None else None, status), times[0], times[1]


def _number(value: object, status: int) -> tuple[float, int]:
    if isinstance(value, bool | int | float):
        return float(value), status
    return math.nan, status if status >= 0x8000_0000 else TYPE_MISMATCH


def _slow(data: bytes, at: int) -> tuple[Value, int]:
    """Read a DataValue that is no plain number, or has none."""
    mask, at = data[at], at + 1
    inner: object = None
    if mask & 0x01:
        buffer = Buffer(data, at)
        inner, at = variant_from_binary(buffer).Value, buffer.cur_pos
    found = [0, 0, 0]
    for place, (bit, part) in enumerate(((0x02, _U32), (0x04, _I64), (0x08, _I64))):
        if mask & bit:
            found[place], at = part.unpack_from(data, at)[0], at + part.size
        if mask & bit << 2 and bit > 0x02:
            at += 2  # picoseconds
    return (*_number(inner, found[0]), when(found[1]), when(found[2])), at


def values(data: bytes, at: int, count: int) -> list[Value]:
    """Read `count` DataValues from `at` on."""
    found = []
    layouts, key_at = _LAYOUTS, _KEY.unpack_from
    for _ in range(count):
        layout = layouts.get(key_at(data, at)[0]) if at + 2 <= len(data) else None
        if layout is None:
            value, at = _slow(data, at)
            found.append(value)
            continue
        shape, status, source, server = layout
        parts = shape.unpack_from(data, at + 2)
        at += 2 + shape.size
        found.append(
            (float(parts[0]), parts[status] if status else 0, when(parts[source]) if source else 0,
             when(parts[server]) if server else 0)
        )  # fmt: skip
    return found


def _items(data: bytes, at: int, found: list[Item]) -> None:
    """Read the monitored items of a DataChangeNotification. This is the path that every sample takes: it is kept flat."""
    count, at = _I32.unpack_from(data, at)[0], at + 4
    layouts, head, add, epoch, last = _LAYOUTS.get, _HANDLE_KEY.unpack_from, found.append, EPOCH, LAST
    for _ in range(count):
        handle, key = head(data, at)
        layout = layouts(key)
        if layout is None:
            value, at = _slow(data, at + 4)
            add((handle, *value))
            continue
        shape, status, source, server = layout
        parts = shape.unpack_from(data, at + 6)
        at += 6 + shape.size
        from_source = parts[source] - epoch if source else 0
        from_server = parts[server] - epoch if server else 0
        add((
            handle, parts[0], parts[status] if status else 0,
            min(from_source * 100, last) if from_source > 0 else 0, min(from_server * 100, last) if from_server > 0 else 0,
        ))  # fmt: skip


def _head(buffer: Buffer) -> ua.ResponseHeader:
    nodeid_from_binary(buffer)
    header = struct_from_binary(ua.ResponseHeader, buffer)
    header.ServiceResult.check()
    return header


def published(buffer: Buffer) -> Published:
    """Read a publish response. Raises ua.UaError, or struct.error and its like for junk."""
    _head(buffer)
    data, at = buffer._data, buffer.cur_pos
    subscription, count = struct.unpack_from("<Ii", data, at)
    at += 8 + 4 * max(count, 0) + 1  # available sequence numbers, more notifications
    sequence, _, count = struct.unpack_from("<Iqi", data, at)
    at += 16
    found: list[Item] = []
    status = 0
    for _ in range(max(count, 0)):
        part = Buffer(data, at)
        kind = nodeid_from_binary(part)
        at = part.cur_pos
        encoding, length = struct.unpack_from("<Bi", data, at)
        if kind.NamespaceIndex != 0 or encoding != 1:
            raise ua.UaError("a notification is in no known encoding")
        if kind.Identifier == DATA_CHANGE:
            _items(data, at + 5, found)
        elif kind.Identifier == STATUS_CHANGE:
            status = _U32.unpack_from(data, at + 5)[0]
        at += 5 + length
    return Published(subscription, sequence, count > 0, found, status)


def read(buffer: Buffer) -> tuple[int, list[Value]]:
    """Read a read response: the server's time (ns UTC, 0: none) and the values."""
    header = _head(buffer)
    at = buffer.cur_pos
    count = _I32.unpack_from(buffer._data, at)[0]
    sent = 0 if header.Timestamp is None else when(ua.datetime_to_win_epoch(header.Timestamp))
    return sent, values(buffer._data, at + 4, max(count, 0))
