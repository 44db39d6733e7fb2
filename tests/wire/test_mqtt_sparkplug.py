"""Sparkplug B as a host sees it, message by message: what no foreign edge node can be made to send in time."""

from __future__ import annotations

import subprocess
import sys

import pytest

from jayul.core.types import BAD, Tag, TagTable
from jayul.plant.errors import Refused
from jayul.plant.mqtt import edge as edge_file
from jayul.plant.mqtt.edge import Edge
from jayul.plant.mqtt.payload import UNCERTAIN
from jayul.plant.mqtt.sparkplug import DOUBLE, INT8, UINT64, Metric, Payload, decode, encode

TAGS = TagTable(
    [Tag(name="P", address="g/e/d Tank 1/Pressure"), Tag(name="N", address="g/e Count"), Tag(name="Q", address="g/e/f Q")]
)
AT = 1_767_254_400_000


def bd(number: int) -> Metric:
    return Metric(name="bdSeq", kind=UINT64, value=number)


def births(edge: Edge, number: int = 1) -> None:
    """Play the births of node and device d; the next sequence number is 2."""
    count = Metric(name="Count", alias=7, at=AT, kind=INT8, value=-3)
    edge.hear("spBv1.0/g/NBIRTH/e", encode(Payload((bd(number), count), AT, 0)))
    pressure = Metric(name="Tank 1/Pressure", alias=8, at=AT, kind=DOUBLE, value=1.5)
    edge.hear("spBv1.0/g/DBIRTH/e/d", encode(Payload((pressure,), AT, 1)))


def pressure(edge: Edge, seq: int, **more: object) -> tuple[float, int, int | None, bool] | None:
    metric = Metric(**({"alias": 8, "at": AT + seq, "kind": DOUBLE, "value": 2.5} | more))  # type: ignore[arg-type]
    found = edge.hear("spBv1.0/g/DDATA/e/d", encode(Payload((metric,), AT, seq))).samples
    return tuple(found[0][1:]) if found else None  # type: ignore[return-value]


def test_births_name_what_data_calls_by_number():
    edge = Edge(TAGS)
    births(edge)
    assert pressure(edge, 2) == (2.5, 0, (AT + 2) * 1_000_000, False)
    said = edge.hear("spBv1.0/g/NDATA/e", encode(Payload((Metric(alias=7, value=-4, kind=INT8),), AT, 3))).samples
    assert said == [(1, -4.0, 0, AT * 1_000_000, False)]
    untyped = b"\x12\x07\x10\x07\x50\xfb\x01\x18\x00\x18\x04"  # alias 7, int_value 251, no datatype: the birth's is Int8
    assert edge.hear("spBv1.0/g/NDATA/e", untyped).samples[0].value == -5.0
    assert [edge.online(i) for i in range(3)] == [True, True, False]
    assert edge.missing() == []


def test_the_death_of_an_earlier_session_does_not_count():
    edge = Edge(TAGS)
    births(edge, 4)
    assert not edge.hear("spBv1.0/g/NDEATH/e", encode(Payload((bd(3),), AT))).lost
    assert edge.online(0)
    assert sorted(edge.hear("spBv1.0/g/NDEATH/e", encode(Payload((bd(4),), AT))).lost) == [0, 1, 2]
    assert not edge.online(0)


def test_a_rebirth_of_the_same_session_loses_no_reading_and_a_new_session_does():
    edge = Edge(TAGS)
    births(edge, 4)
    again = encode(Payload((bd(4), Metric(name="Count", kind=INT8, value=1)), AT, 0))
    assert edge.hear("spBv1.0/g/NBIRTH/e", again).lost == []
    assert not edge.online(0), "the device is not born again yet"
    births(edge, 4)
    after = encode(Payload((bd(5), Metric(name="Count", kind=INT8, value=1)), AT, 0))
    assert sorted(edge.hear("spBv1.0/g/NBIRTH/e", after).lost) == [0, 2]


def test_the_sequence_runs_over_and_a_gap_is_uncertain_until_the_rebirth(monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr(edge_file, "monotonic", lambda: now[0])
    edge = Edge(TAGS)
    births(edge)
    for seq in [*range(2, 256), 0, 1]:
        assert pressure(edge, seq)[1] == 0  # type: ignore[index]
    metric = Metric(name="Tank 1/Pressure", kind=DOUBLE, value=2.5)
    heard = edge.hear("spBv1.0/g/DDATA/e/d", encode(Payload((metric,), AT, 3)))
    assert heard.samples[0].status == UNCERTAIN == heard.status
    assert sorted(heard.lost) == [0, 1, 2]
    ((topic, wish),) = heard.send
    assert topic == "spBv1.0/g/NCMD/e"
    assert decode(wish).metrics[0].name == "Node Control/Rebirth"  # type: ignore[union-attr]
    assert pressure(edge, 4)[1] == UNCERTAIN, "in order again, but what was missed is missed"  # type: ignore[index]
    assert not edge.hear("spBv1.0/g/DDATA/e/d", encode(Payload((metric,), AT, 9))).send, "asked for once, not with each message"
    now[0] += 2.5
    assert edge.hear("spBv1.0/g/DDATA/e/d", encode(Payload((metric,), AT, 19))).send
    births(edge)
    assert pressure(edge, 2)[1] == 0  # type: ignore[index]


def test_null_quality_and_history():
    edge = Edge(TAGS)
    births(edge)
    assert pressure(edge, 2, value=None)[1] >= BAD  # type: ignore[index]
    assert pressure(edge, 3, status=BAD)[:2] == (2.5, BAD)  # type: ignore[index]
    assert pressure(edge, 4, status=UNCERTAIN)[:2] == (2.5, UNCERTAIN)  # type: ignore[index]
    assert pressure(edge, 5, historical=True)[3] is True  # type: ignore[index]
    assert pressure(edge, 6, value=float("nan"))[1] >= BAD  # type: ignore[index]
    assert pressure(edge, 7, at=1 << 60)[1:3] == (UNCERTAIN, None)  # type: ignore[index]
    heard = edge.hear("spBv1.0/g/DDATA/e/d", b"\x12\xff")
    assert (sorted(heard.lost), heard.status) == ([0, 1, 2], UNCERTAIN), "what cannot be read may have been anything"


def test_an_address_is_used_once_and_has_a_metric():
    with pytest.raises(Refused, match="stands there twice"):
        Edge(TagTable([Tag(name="A", address="g/e/d X"), Tag(name="B", address="g/e/d X")]))
    with pytest.raises(Refused, match="'group/edge/device metric'"):
        Edge(TagTable([Tag(name="A", address="g/e/d")]))


def test_without_the_library_it_says_what_to_install():
    script = """
import sys
sys.modules["paho"] = None
from jayul.core.clock import Wall
from jayul.plant.errors import Refused
from jayul.plant.mqtt.client import MqttConfig, mqtt
try:
    mqtt(MqttConfig(url="mqtt://h", tags="t"), Wall())
except Refused as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "a plant on MQTT needs the extra 'mqtt': pip install 'jayul[mqtt]'\n"
