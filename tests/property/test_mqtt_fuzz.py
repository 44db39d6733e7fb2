"""Arbitrary bytes into what reads payloads: no error, no false good reading; what is written reads the same."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import struct

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from jayul.core.clock import Sim
from jayul.core.types import BAD, Tag, TagTable
from jayul.plant.errors import Refused, Unreachable
from jayul.plant.mqtt import sparkplug as spb
from jayul.plant.mqtt.broker import Broker, Where
from jayul.plant.mqtt.dialect import Plain
from jayul.plant.mqtt.edge import Edge
from jayul.plant.mqtt.payload import PayloadConfig, document, encode, instant, sample, text_of
from jayul.plant.mqtt.sparkplug import Metric, Payload

CONFIGS = [
    PayloadConfig(),
    PayloadConfig("", "", ""),
    PayloadConfig("a[0].b", "t", "q", "ns"),
    PayloadConfig("v", "s.t", "", "s"),
]
TAGS = TagTable(
    [Tag(name="A", address="g/e/d Pressure"), Tag(name="B", address="g/e Count"), Tag(name="C", address="g/e/d Mode")]
)
PLAIN = TagTable([Tag(name="A", address="t"), Tag(name="B", address="t b[1].c"), Tag(name="C", address="u")])
scalars = st.none() | st.booleans() | st.integers() | st.floats(width=64) | st.text(max_size=20)
trees = st.recursive(
    scalars, lambda t: st.lists(t, max_size=4) | st.dictionaries(st.sampled_from("abtqvs") | st.text(max_size=3), t, max_size=4)
)
NAMES = st.text(max_size=12)
INTS = {spb.INT8: 8, spb.INT16: 16, spb.INT32: 32, spb.INT64: 64}
UINTS = {spb.UINT8: 8, spb.UINT16: 16, spb.UINT32: 32, spb.UINT64: 64, spb.DATETIME: 64}


def check(value: float, status: int) -> None:
    assert 0 <= status < 1 << 32
    assert math.isfinite(value) or status >= BAD
    assert type(value) is float


@given(st.binary(max_size=300) | trees.map(lambda tree: json.dumps(tree).encode()), st.sampled_from(CONFIGS))
@example(b"[" * 100_000, CONFIGS[0])
@example(b'{"value": ' + b"9" * 5000 + b"}", CONFIGS[0])
@example(b'{"value": 1e999}', CONFIGS[0])
@example(b'{"value": 1, "time": "9999-12-31T23:59:59.999999999Z"}', CONFIGS[0])
def test_any_json(payload: bytes, config: PayloadConfig):
    value, status, source_at = sample(config, document(payload))
    check(value, status)
    assert source_at is None or 0 < source_at < 1 << 62


@given(st.binary(max_size=100), st.sampled_from(["t", "u", "x", "", "t/set"]))
def test_any_message(payload: bytes, topic: str):
    for got in Plain(PLAIN, PayloadConfig(), (), "/set", "").hear(topic, payload).samples:
        check(got.value, got.status)


@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(1_000_000, (1 << 62) - 1),
    st.sampled_from(["iso", "ms", "ns"]),
)
def test_json_reads_as_written(value: float, at: int, unit: str):
    at = min(at, 253_402_300_799_000_000_000)  # the year 9999
    config = PayloadConfig("a.b", "t", "q", unit)  # type: ignore[arg-type]
    got = sample(config, document(encode(config, value, at, 0)))
    grain = 1_000_000 if unit == "ms" else 1
    assert got == (value, 0, at // grain * grain)


@given(st.text(max_size=40) | st.integers() | st.floats() | st.none(), st.sampled_from(["iso", "s", "ms", "ns"]))
def test_any_time(stamp: object, unit: str):
    found = instant(stamp, unit)
    assert found is None or 0 < found < 1 << 62
    if found is not None and found < 253_402_300_799_000_000_000 and unit == "iso":
        assert instant(text_of(found, "iso"), "iso") == found


@st.composite
def metrics(draw: st.DrawFn, names: st.SearchStrategy[str] = NAMES) -> Metric:
    kind = draw(st.integers(1, 14))
    if kind in INTS:
        value: object = draw(st.integers(-(1 << INTS[kind] - 1), (1 << INTS[kind] - 1) - 1))
    elif kind in UINTS:
        value = draw(st.integers(0, (1 << UINTS[kind]) - 1))
    elif kind in (spb.FLOAT, spb.DOUBLE):
        value = draw(st.floats(width=32 if kind == spb.FLOAT else 64, allow_nan=False))
    else:
        value = draw(st.booleans()) if kind == spb.BOOLEAN else draw(st.text(max_size=20))
    return Metric(
        name=draw(names), alias=draw(st.none() | st.integers(0, (1 << 64) - 1)), at=draw(st.none() | st.integers(0, (1 << 64) - 1)),
        kind=kind, value=draw(st.none() | st.just(value)), historical=draw(st.booleans()),  # type: ignore[arg-type]
        status=draw(st.sampled_from([0, 0x4000_0000, 0x8000_0000])),
    )  # fmt: skip


payloads = st.builds(
    lambda some, at, seq: Payload(tuple(some), at, seq), st.lists(metrics(), max_size=6),
    st.none() | st.integers(0, (1 << 64) - 1), st.none() | st.integers(0, 255),
)  # fmt: skip


@given(payloads)
def test_sparkplug_reads_as_written(payload: Payload):
    assert spb.decode(spb.encode(payload)) == payload


@given(st.binary(max_size=400))
@example(b"\x12\xff\xff\xff\xff\x7f")
@example(b"\xff" * 400)
@example(b"\x0a" * 400)
def test_any_bytes(data: bytes):
    found = spb.decode(data)
    assert found is None or len(found.metrics) <= len(data) // 2


@given(payloads, st.data())
def test_a_payload_that_was_tampered_with(payload: Payload, data: st.DataObject):
    whole = bytearray(spb.encode(payload) or b"\x00")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        how = data.draw(st.sampled_from(["flip", "cut", "grow", "double"]))
        if how == "flip":
            whole[at] ^= 1 << data.draw(st.integers(0, 7))
        elif how == "cut":
            del whole[at + 1 :]
        elif how == "grow":
            whole[at:at] = data.draw(st.binary(max_size=12))
        else:
            whole += whole[at:]
    spb.decode(bytes(whole))


KINDS = ["NBIRTH", "DBIRTH", "NDATA", "DDATA", "NDEATH", "DDEATH", "NCMD", "DCMD", "STATE", "x"]
known = st.sampled_from(["Pressure", "Count", "Mode", "bdSeq", "", "Other"])
messages = st.tuples(
    st.sampled_from(KINDS), st.sampled_from(["", "/d", "/other", "/d/d"]),
    st.binary(max_size=60) | st.builds(
        lambda some, seq: spb.encode(Payload(tuple(some), 1_700_000_000_000, seq)), st.lists(metrics(known), max_size=5), st.integers(0, 255)
    ),
)  # fmt: skip


@given(st.lists(messages, max_size=12))
def test_any_course_of_messages(course: list[tuple[str, str, bytes]]):
    edge, born = Edge(TAGS), False
    for kind, device, payload in course:
        heard = edge.hear(f"spBv1.0/g/{kind}/e{device}", payload)
        born = born or kind == "NBIRTH"
        for got in heard.samples:
            check(got.value, got.status)
            assert got.status or born, "good before any birth"
        assert set(heard.lost) <= {0, 1, 2}
        if kind == "NDEATH" and heard.lost:
            assert not any(edge.online(i) for i in range(3))
        for topic, wish in heard.send:
            assert topic == "spBv1.0/g/NCMD/e"
            assert spb.decode(wish) is not None
    edge.gone()
    assert not any(edge.online(i) for i in range(3))


def test_signed_numbers_stand_in_unsigned_fields():
    wire = spb.encode(Payload((Metric(name="a", kind=spb.INT16, value=-300),)))
    assert b"\x50\xd4\xfd\xff\xff\x0f" in wire  # field 10, 2**32 - 300
    assert struct.pack("<d", 2.5) in spb.encode(Payload((Metric(name="a", kind=spb.DOUBLE, value=2.5),)))
    assert msgspec.structs.asdict(spb.decode(wire).metrics[0])["value"] == -300  # type: ignore[union-attr]


WELCOME = b"\x20\x03\x00\x00\x00"  # CONNACK
TWICE = b"\x20\x09\x00\x00\x06\x21\x00\x14\x21\x00\x14"  # CONNACK with a property that must not stand twice


def test_a_broker_that_talks_nonsense():
    """Bytes that are not MQTT, before and after the welcome, end the connection and nothing else."""
    clock, said = Sim(0, 3), []
    rng = clock.rng("nonsense")

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        junk = rng.bytes(int(rng.integers(1, 200)))
        if len(said) % 2:  # a packet of each kind, of the right length
            body = rng.bytes(int(rng.integers(0, 100)))
            junk = WELCOME + bytes([int(rng.integers(0, 256)), len(body)]) + body + junk
        junk = junk if said else TWICE
        said.append(junk)
        writer.write(junk)
        with contextlib.suppress(OSError):
            await writer.drain()
        await asyncio.sleep(0.005)
        writer.close()

    async def live() -> None:
        strange: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: strange.append(context))
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        heard: list[bytes] = []
        for k in range(150):
            broker = Broker(Where("127.0.0.1", port), f"c{k}", lambda topic, payload, retained: heard.append(payload))
            try:
                await broker.connect()
                await broker.subscribe(["a"])
            except (Unreachable, Refused):
                pass
            finally:
                broker.close()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.05)
        assert not strange, strange
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(live())
    assert len(said) == 150
