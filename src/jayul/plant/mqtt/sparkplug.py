"""Sparkplug B payloads: the protobuf subset that numbers need, written by hand; every read is checked against the end of the data.

Eclipse Tahu's `sparkplug_b.proto`. Unknown fields (data sets, templates, metadata) are skipped. Signed integers stand in unsigned
fields as two's complement of their datatype's width.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, FLOAT, DOUBLE, BOOLEAN, STRING, DATETIME, TEXT = range(1, 15)
MOST = 200_000  # metrics in one payload
_SIGNED = {INT8: 8, INT16: 16, INT32: 32, INT64: 64}
_QUALITY = {192: 0, 0: 0x8000_0000, 500: 0x4000_0000}  # property "Quality": good, bad, stale -> OPC UA severity


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric. `value` is None where it is null or of a type that is no number and no text; `at` in ms; `status` OPC UA."""

    name: str = ""
    alias: int | None = None
    at: int | None = None
    kind: int = 0  # datatype; 0: as in the birth
    value: int | float | bool | str | None = None
    historical: bool = False
    status: int = 0


class Payload(msgspec.Struct, frozen=True):
    """One message. `at` in ms."""

    metrics: tuple[Metric, ...] = ()
    at: int | None = None
    seq: int | None = None


def decode(data: bytes) -> Payload | None:
    """Read a payload; None if it is none."""
    metrics, at, seq = [], None, None
    try:
        for number, value in _fields(data):
            if number == 1 and isinstance(value, int):
                at = value
            elif number == 2 and isinstance(value, bytes):
                metrics.append(_metric(value))
                if len(metrics) > MOST:
                    return None
            elif number == 3 and isinstance(value, int):
                seq = value
    except ValueError:
        return None
    return Payload(tuple(metrics), at, seq)


def encode(payload: Payload) -> bytes:
    """Write a payload; each metric that has a value needs its datatype."""
    out = b"" if payload.at is None else _number(1, payload.at)
    out += b"".join(_piece(2, _encode(metric)) for metric in payload.metrics)
    return out if payload.seq is None else out + _number(3, payload.seq)


def signed(value: int, kind: int) -> int:
    """Return the number that an unsigned field holds, by its datatype."""
    if (bits := _SIGNED.get(kind)) is None:
        return value
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _metric(data: bytes) -> Metric:
    name, alias, at, kind, historical, null, status = "", None, None, 0, False, False, 0
    value: int | float | bool | str | None = None
    for number, raw in _fields(data):
        if isinstance(raw, int):
            if number == 2:
                alias = raw
            elif number == 3:
                at = raw
            elif number == 4:
                kind = raw
            elif number == 5:
                historical = bool(raw)
            elif number == 7:
                null = bool(raw)
            elif number == 10:
                value = raw & 0xFFFF_FFFF
            elif number == 11:
                value = raw
            elif number == 14:
                value = bool(raw)
        elif number == 1:
            name = raw.decode()
        elif number == 9:
            status = _quality(raw)
        elif number == 12 and len(raw) == 4:
            value = struct.unpack("<f", raw)[0]
        elif number == 13 and len(raw) == 8:
            value = struct.unpack("<d", raw)[0]
        elif number == 15:
            value = raw.decode()
    if type(value) is int:
        value = signed(value, kind)
    return Metric(name=name, alias=alias, at=at, kind=kind, value=None if null else value, historical=historical, status=status)


def _quality(data: bytes) -> int:
    """Return the status that a property set names; a quality that nobody knows is uncertain."""
    keys, values = list[bytes](), list[bytes]()
    for number, raw in _fields(data):
        if isinstance(raw, bytes) and number in (1, 2):
            (keys if number == 1 else values).append(raw)
    for key, value in zip(keys, values, strict=False):
        if key == b"Quality":
            code = next((raw for number, raw in _fields(value) if number in (3, 4) and isinstance(raw, int)), -1)
            return _QUALITY.get(code, 0x4000_0000)
    return 0


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of each field: varints as int, all else as bytes. Raises ValueError at anything cut short."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        else:
            size = {1: 8, 5: 4}.get(wire, -1)
        if size < 0 or size > len(data) - at or not number:
            raise ValueError("a field runs over the end, or is of an unknown kind")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for k in range(10):
        if at + k >= len(data):
            break
        byte = data[at + k]
        value |= (byte & 0x7F) << 7 * k
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at + k + 1
    raise ValueError("a number runs over the end")


def _encode(metric: Metric) -> bytes:
    out = _piece(1, metric.name.encode()) if metric.name else b""
    for number, count in ((2, metric.alias), (3, metric.at), (4, metric.kind or None)):
        out += b"" if count is None else _number(number, count)
    out += _number(5, 1) if metric.historical else b""
    out += _properties(metric.status) if metric.status else b""
    kind, value = metric.kind, metric.value
    if value is None:
        return out + _number(7, 1)
    if isinstance(value, str):
        return out + _piece(15, value.encode())
    if kind == FLOAT:
        return out + b"\x65" + struct.pack("<f", value)
    if kind == DOUBLE:
        return out + b"\x69" + struct.pack("<d", value)
    if kind == BOOLEAN:
        return out + _number(14, int(bool(value)))
    bits = 64 if kind in (INT64, UINT32, UINT64, DATETIME) else 32
    return out + _number(11 if bits == 64 else 10, int(value) & ((1 << bits) - 1))


def _properties(status: int) -> bytes:
    code = 0 if status >= 0x8000_0000 else 500 if status >= 0x4000_0000 else 192
    return _piece(9, _piece(1, b"Quality") + _piece(2, _number(1, INT32) + _number(3, code)))


def _number(field: int, value: int) -> bytes:
    return _count(field << 3) + _count(value)


def _piece(field: int, data: bytes) -> bytes:
    return _count(field << 3 | 2) + _count(len(data)) + data


def _count(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
