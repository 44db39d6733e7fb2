"""What `decode` reads from bytes is what asyncua wrote, for every type, every mask, and anything else."""

from __future__ import annotations

import math
import struct
from datetime import UTC, datetime

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_to_binary
from hypothesis import given
from hypothesis import strategies as st

from jayul.plant.opcua import decode
from jayul.plant.opcua.address import Address, parse, show
from jayul.plant.opcua.session import TROUBLE, variant

FLOAT = st.floats(allow_nan=False, width=32)
RANGES = {k: (-(2 ** (8 * struct.calcsize(c) - 1)), 2 ** (8 * struct.calcsize(c) - 1) - 1) if c.islower() else (0, 2 ** (8 * struct.calcsize(c)) - 1)
          for k, c in decode.NUMBERS.items() if c not in "?fd"}  # fmt: skip
NUMBER = st.one_of(
    [st.builds(ua.Variant, st.integers(*bounds), st.just(ua.VariantType(kind))) for kind, bounds in RANGES.items()]
    + [st.builds(ua.Variant, FLOAT, st.just(kind)) for kind in (ua.VariantType.Float, ua.VariantType.Double)]
    + [st.builds(ua.Variant, st.booleans(), st.just(ua.VariantType.Boolean))]
)
OTHER = st.one_of(
    st.builds(ua.Variant, st.text(max_size=9), st.just(ua.VariantType.String)),
    st.builds(ua.Variant, st.lists(st.floats(allow_nan=False), max_size=4), st.just(ua.VariantType.Double)),
    st.just(ua.Variant(None, ua.VariantType.Null)),
    st.just(ua.Variant(ua.LocalizedText("x"), ua.VariantType.LocalizedText)),
    st.just(ua.Variant(ua.Range(Low=0, High=1), ua.VariantType.ExtensionObject)),
)
DATES = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)).map(lambda d: d.replace(tzinfo=UTC))  # noqa: DTZ001
VALUE = st.builds(
    ua.DataValue, st.one_of(NUMBER, OTHER), st.one_of(st.none(), st.builds(ua.StatusCode, st.integers(0, 2**32 - 1))),
    st.one_of(st.none(), DATES), st.one_of(st.none(), DATES), st.one_of(st.none(), st.just(7)), st.one_of(st.none(), st.just(7)),
)  # fmt: skip


def written_right(value: ua.DataValue) -> bool:
    """Asyncua puts the source's picoseconds behind the server's time, unlike Part 6, 5.2.2.17; without one of them it does not matter."""
    source, server = (
        value.SourcePicoseconds and not value.SourceTimestamp,
        value.ServerPicoseconds and not value.ServerTimestamp,
    )
    return not source and not server and not (value.SourcePicoseconds and value.ServerTimestamp)


def ns(date: datetime | None) -> int:
    if date is None:
        return 0
    past = date - datetime(1970, 1, 1, tzinfo=UTC)
    return (past.days * 86_400_000_000 + past.seconds * 1_000_000 + past.microseconds) * 1000


def expected(value: ua.DataValue) -> tuple[float, int, int, int]:
    inner, status = value.Value.Value, value.StatusCode.value if value.StatusCode is not None else 0
    if not isinstance(inner, bool | int | float):
        inner, status = math.nan, status if status >= 0x8000_0000 else decode.TYPE_MISMATCH
    return float(inner), status, ns(value.SourceTimestamp), ns(value.ServerTimestamp)


def alike(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return all(x == y or (x != x and y != y) for x, y in zip(a, b, strict=True))


@given(st.lists(VALUE, max_size=6), st.integers(0, 2**32 - 1), st.integers(1, 2**32 - 1))
def test_a_publish_response_is_read_as_it_was_written(values: list[ua.DataValue], subscription: int, sequence: int) -> None:
    values = [v for v in values if written_right(v)]
    response = ua.PublishResponse()
    response.Parameters.SubscriptionId = subscription
    response.Parameters.AvailableSequenceNumbers = [1, 2, 3]
    response.Parameters.NotificationMessage.SequenceNumber = sequence
    items = [ua.MonitoredItemNotification(i, value) for i, value in enumerate(values)]
    response.Parameters.NotificationMessage.NotificationData = [ua.DataChangeNotification(MonitoredItems=items)]
    response.Parameters.Results = [ua.StatusCode()]
    found = decode.published(Buffer(struct_to_binary(response)))
    assert (found.subscription, found.sequence, found.kept, found.status) == (subscription, sequence, True, 0)
    assert [item[0] for item in found.items] == list(range(len(values)))
    for item, value in zip(found.items, values, strict=True):
        assert alike(item[1:], expected(value))


@given(st.lists(VALUE, max_size=6))
def test_a_read_response_is_read_as_it_was_written(values: list[ua.DataValue]) -> None:
    values = [v for v in values if written_right(v)]
    response = ua.ReadResponse(Results=values)
    response.ResponseHeader.Timestamp = datetime(2026, 1, 1, tzinfo=UTC)
    sent, found = decode.read(Buffer(struct_to_binary(response)))
    assert sent == 1_767_225_600_000_000_000
    assert all(alike(a, expected(b)) for a, b in zip(found, values, strict=True))


@given(st.binary(max_size=200))
def test_junk_raises_what_a_link_survives(junk: bytes) -> None:
    for read in (decode.published, decode.read):
        try:
            read(Buffer(junk))
        except TROUBLE:
            continue


def test_a_keep_alive_and_an_end_are_told_from_data() -> None:
    response = ua.PublishResponse()
    response.Parameters.NotificationMessage.SequenceNumber = 5
    found = decode.published(Buffer(struct_to_binary(response)))
    assert (found.sequence, found.kept, found.items) == (5, False, [])
    ended = ua.StatusChangeNotification(Status=ua.StatusCode(0x800A_0000))
    response.Parameters.NotificationMessage.NotificationData = [ended]
    assert decode.published(Buffer(struct_to_binary(response))).status == 0x800A_0000


def test_times_that_cannot_be_are_none_or_the_last_one() -> None:
    assert decode.when(0) == decode.when(-5) == decode.when(decode.EPOCH) == 0
    assert decode.when(2**63 - 1) == decode.LAST


@pytest.mark.parametrize(
    ("value", "kind", "fits"),
    [
        (1.0, "Boolean", True), (0.5, "Boolean", False), (255.0, "Byte", True), (256.0, "Byte", False), (-1.0, "UInt16", False),
        (1.5, "Int32", False), (2.0**40, "Int64", True), (1e39, "Float", False), (1e39, "Double", True), (1.0, "String", False),
        (1.0, "Null", False),
    ],
)  # fmt: skip
def test_a_value_fits_a_type_or_is_not_sent(value: float, kind: str, fits: bool) -> None:
    made = variant(value, ua.VariantType[kind])
    assert (made is not None) == fits
    if made is not None:
        assert made.Value == value
        assert made.VariantType.name == kind


@given(
    st.builds(Address, st.text(min_size=1, max_size=12), st.just("s"), st.text(min_size=1, max_size=12))
    | st.builds(Address, st.text(min_size=1, max_size=12), st.just("i"), st.integers(0, 2**32 - 1))
    | st.builds(Address, st.text(min_size=1, max_size=12), st.just("g"), st.uuids())
    | st.builds(Address, st.text(min_size=1, max_size=12), st.just("b"), st.binary(min_size=1, max_size=12))
)
def test_an_address_survives(address: Address) -> None:
    assert parse(show(address)) == address


@pytest.mark.parametrize(
    ("body", "inner"), [(b"\x0b" + struct.pack("<d", 2.5), 2.5), (b"\x0c" + struct.pack("<i", 1) + b"x", math.nan)]
)
def test_picoseconds_stand_behind_their_own_time(body: bytes, inner: float) -> None:
    data = b"\x3d" + body + struct.pack("<qHqH", decode.EPOCH + 10, 7, decode.EPOCH + 20, 8)
    (found,) = decode.values(data, 0, 1)
    assert alike(found, (inner, 0 if inner == 2.5 else decode.TYPE_MISMATCH, 1000, 2000))
