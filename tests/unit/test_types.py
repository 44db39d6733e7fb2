"""The nouns: frames and their freshness, tag tables, sealed plans, what a signature covers."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from jayul.core.types import (
    BAD,
    BAD_NO_DATA,
    GOOD,
    SECOND,
    SKEW,
    Decision,
    Event,
    Frame,
    Heard,
    Level,
    MovePlan,
    Outcome,
    Proposal,
    Reading,
    Receipt,
    Tag,
    TagTable,
    Verdict,
)  # fmt: skip

AT = 1_767_225_600 * SECOND
TABLE = TagTable([Tag(name="A", unit="degC", stale_after=10.0), Tag(name="B"), Tag(name="C", kind="derived")])
COLUMNS = ("value", "source_at", "seen_at", "status")


def frame(at=AT, table=TABLE, **cells):
    """Make a good frame; `cells` are the first cells of the columns named."""
    n = len(table.tags)
    columns = {"value": np.arange(1.0, n + 1), "status": np.zeros(n, dtype=np.uint32)}
    columns |= {"source_at": np.full(n, AT, dtype=np.int64), "seen_at": np.full(n, AT, dtype=np.int64)}
    for name, cell in cells.items():
        columns[name][0] = cell
    return Frame(at, table, **columns)


def test_a_good_young_finite_reading_is_fresh():
    assert frame().fresh("A")


@pytest.mark.parametrize(
    ("cells", "fresh"),
    [
        ({"status": 0x3FFF_FFFF}, True),
        ({"status": 0x4000_0000}, False),
        ({"status": BAD}, False),
        ({"status": BAD_NO_DATA}, False),
        ({"status": 0xC000_0000}, False),
        ({"status": 0xFFFF_FFFF}, False),
        ({"value": math.nan}, False),
        ({"value": math.inf}, False),
        ({"value": -math.inf}, False),
        ({"value": 1e308}, True),
        ({"source_at": AT - 10 * SECOND}, True),
        ({"source_at": AT - 10 * SECOND - 1}, False),
        ({"source_at": AT - 10 * SECOND, "seen_at": AT - 10 * SECOND}, True),
        ({"source_at": AT - 10 * SECOND - 1, "seen_at": AT - 10 * SECOND - 1}, False),
        ({"source_at": AT - 5 * SECOND, "seen_at": AT - 10 * SECOND}, True),
        ({"source_at": AT - 6 * SECOND, "seen_at": AT - 10 * SECOND - 1}, False),
        ({"source_at": AT + SKEW}, True),
        ({"source_at": AT + SKEW + 1}, False),
        ({"source_at": AT + SKEW, "seen_at": AT + SKEW}, True),
        ({"source_at": AT + SKEW + 1, "seen_at": AT + SKEW + 1}, False),
        ({"source_at": AT - 5 * SECOND, "seen_at": AT + SKEW + 1}, False),
        ({"source_at": 0}, False),
        ({"seen_at": 0, "source_at": 0}, False),
        ({"source_at": -(2**63)}, False),
        ({"source_at": 2**63 - 1}, False),
        ({"seen_at": -(2**63)}, False),
        ({"seen_at": 2**63 - 1}, False),
        ({"seen_at": -(2**63), "source_at": -(2**63)}, False),
        ({"seen_at": 2**63 - 1, "source_at": 2**63 - 1}, False),
    ],
)
def test_each_condition_of_freshness_counts_alone(cells, fresh):
    seen = frame(**cells)
    assert (seen.fresh("A"), seen.fresh("B"), seen.fresh("C")) == (fresh, True, True)


def test_each_tag_has_its_own_staleness_limit():
    later = frame(at=AT + 30 * SECOND)
    assert (later.fresh("A"), later.fresh("B")) == (False, True)


def test_an_unknown_tag_is_never_fresh():
    assert not frame().fresh("GHOST")


def test_a_value_is_read_by_name_as_a_float():
    assert type(frame()["B"]) is float
    assert frame()["B"] == 2.0


def test_an_unknown_tag_has_no_value():
    with pytest.raises(KeyError):
        frame()["GHOST"]


@pytest.mark.parametrize("column", COLUMNS)
def test_the_columns_of_a_frame_cannot_be_changed(column):
    with pytest.raises(ValueError, match="read-only"):
        getattr(frame(), column)[0] = 0


@pytest.mark.parametrize("column", COLUMNS)
def test_columns_must_be_as_long_as_the_table(column):
    columns = {name: getattr(frame(), name) for name in COLUMNS}
    with pytest.raises(ValueError, match="as long as"):
        Frame(AT, TABLE, **{**columns, column: columns[column][:2]})


def test_join_fills_in_readings_at_the_instant_of_the_frame():
    joined = frame(at=AT + 5, seen_at=0, source_at=0).join([Reading("A", 7.5), Reading("C", math.nan, BAD)])
    assert (joined["A"], joined.fresh("A")) == (7.5, True)
    assert (joined.source_at[0], joined.seen_at[0]) == (AT + 5, AT + 5)
    assert (joined.status[2], joined.fresh("C")) == (BAD, False)


def test_join_leaves_the_frame_and_its_other_tags_alone():
    before = frame()
    joined = before.join([Reading("C", 9.0)])
    assert (before["C"], joined["C"]) == (3.0, 9.0)
    assert joined.columns(np.array([0, 1])) == before.columns(np.array([0, 1]))


def test_join_of_nothing_is_the_same_frame():
    assert frame().join([]).digest() == frame().digest()


@pytest.mark.parametrize("reading", [Reading("GHOST", 1.0), Reading("A", 1.0, -1), Reading("A", "x")])
def test_join_raises_for_what_has_no_place(reading):
    with pytest.raises((KeyError, OverflowError, ValueError)):
        frame().join([Reading("B", 1.0), reading])


def test_spread_puts_columns_on_another_table_and_marks_the_rest_as_without_data():
    wide = TagTable([Tag(name=name) for name in ("X", "B", "Y", "A")])
    spread = frame(status=0x0001_0000, source_at=AT - 3, seen_at=AT - 2).spread(wide, np.array([0, 1]), np.array([3, 1]))
    assert (spread.at, spread.table) == (AT, wide)
    assert (spread["A"], spread["B"]) == (1.0, 2.0)
    assert (spread.source_at[3], spread.seen_at[3], spread.status[3]) == (AT - 3, AT - 2, 0x0001_0000)
    assert all(math.isnan(spread[name]) and not spread.fresh(name) for name in ("X", "Y"))
    assert [spread.status[i] for i in (0, 2)] == [BAD_NO_DATA] * 2


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("place", [0, 2])
def test_the_digest_changes_with_every_cell(column, place):
    columns = {name: getattr(frame(), name).copy() for name in COLUMNS}
    columns[column][place] += 1
    assert Frame(AT, TABLE, **columns).digest() != frame().digest()


def test_the_digest_changes_with_instant_and_table():
    other = TagTable([replace(TABLE.tags[0], high=1.0), *TABLE.tags[1:]])
    assert len({frame().digest(), frame(at=AT + 1).digest(), frame(table=other).digest()}) == 3
    assert frame().digest() == frame().digest()


def test_the_digest_tells_zeros_and_nans_of_different_bits_apart():
    assert frame(value=0.0).digest() != frame(value=-0.0).digest()


@settings(derandomize=True, max_examples=100, deadline=None, database=None)
@given(
    st.lists(
        st.tuples(st.floats(), st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**32 - 1)),
        min_size=3,
        max_size=3,
    ),
    st.integers(-(2**63), 2**63 - 1),
)
def test_columns_make_the_same_frame_again(rows, at):
    kinds = (np.float64, np.int64, np.int64, np.uint32)
    made = Frame(
        at, TABLE, *(np.array(column, dtype=kind) for column, kind in zip(zip(*rows, strict=True), kinds, strict=True))
    )
    again = Frame.from_columns(at, TABLE, made.columns())
    assert again.digest() == made.digest()
    assert again.columns() == made.columns()


def test_columns_of_some_positions_are_those_of_a_narrower_table():
    narrow = TagTable([TABLE["C"], TABLE["A"]])
    again = Frame.from_columns(AT, narrow, frame().columns(np.array([2, 0])))
    assert (again["C"], again["A"]) == (3.0, 1.0)


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("change", [lambda column: column[:-1], lambda column: column + column, lambda column: b""])
def test_columns_of_the_wrong_length_are_refused(place, change):
    columns = list(frame().columns())
    columns[place] = change(columns[place])
    with pytest.raises(ValueError, match=r"."):
        Frame.from_columns(AT, TABLE, tuple(columns))


def test_a_tag_table_is_read_by_name():
    assert (TABLE["B"], TABLE.get("B"), TABLE.get("GHOST")) == (TABLE.tags[1], TABLE.tags[1], None)
    assert (TABLE.names, dict(TABLE.index)) == (("A", "B", "C"), {"A": 0, "B": 1, "C": 2})
    with pytest.raises(KeyError):
        TABLE["GHOST"]


def test_a_name_that_stands_twice_is_refused_and_named():
    with pytest.raises(ValueError, match="tag named twice: B"):
        TagTable([Tag(name=name) for name in ("A", "B", "C", "B")])


def test_an_empty_table_has_empty_frames():
    empty = TagTable([])
    blank = Frame.from_columns(AT, empty, (b"", b"", b"", b""))
    assert (blank.fresh("A"), blank.columns()) == (False, (b"", b"", b"", b""))


OTHER = {
    "name": "Z", "unit": "K", "kind": "mode", "low": 1.0, "high": 2.0, "max_step": 0.5, "stale_after": 11.0, "writable": True,
    "safety": True, "states": {1: "run"}, "address": "ns=2", "description": "other",
}  # fmt: skip


@pytest.mark.parametrize("field", Tag.__struct_fields__)
def test_the_digest_of_a_table_covers_every_field_of_a_tag(field):
    assert TagTable([replace(TABLE.tags[0], **{field: OTHER[field]})]).digest != TagTable([TABLE.tags[0]]).digest


def test_the_digest_of_a_table_covers_the_order():
    assert TagTable(TABLE.tags[::-1]).digest != TABLE.digest


PLAN = MovePlan("", "p", {"A": 60.0}, {"A": 120.0}, "because", AT, AT + 1, (("B", 0.0, 1.0),))
CHANGES = {
    "by": "q",
    "targets": {"A": 60.1},
    "ramp": {"A": 121.0},
    "reason": "why not",
    "start": AT + 1,
    "expires": AT + 2,
    "abort": (("B", 0.0, 1.5),),
    "band": (("B", 0.0, 1.5),),
}


@pytest.mark.parametrize("field", [name for name in MovePlan.__struct_fields__ if name != "id"])
def test_the_seal_of_a_plan_binds_every_field(field):
    assert replace(PLAN, **{field: CHANGES[field]}).sealed().id != PLAN.sealed().id


def test_sealing_changes_the_id_alone_and_only_once():
    sealed = PLAN.sealed()
    assert replace(sealed, id="") == PLAN
    assert sealed.sealed() == sealed == replace(PLAN, id="something").sealed()
    assert len(sealed.id) == 16


def test_a_sealed_plan_is_still_sealed_after_the_journal():
    sealed = PLAN.sealed()
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(sealed), type=MovePlan)
    assert again.sealed() == again == sealed


EVENT = Event("approval", "kim", AT, {"policy": "p", "plan": "1"}, "id-1", b"signature")
OTHERS = {"kind": "rejection", "by": "lee", "at": AT + 1, "body": {"policy": "p", "plan": "2"}, "id": "id-2"}


@pytest.mark.parametrize("field", list(OTHERS))
def test_a_signature_covers_every_other_field_of_an_event(field):
    assert replace(EVENT, **{field: OTHERS[field]}).message() != EVENT.message()


def test_a_signature_does_not_cover_itself():
    assert replace(EVENT, signature=b"").message() == EVENT.message()
    assert set(Event.__struct_fields__) == {*OTHERS, "signature"}


def test_the_order_of_an_events_body_does_not_matter():
    assert replace(EVENT, body={"plan": "1", "policy": "p"}).message() == EVENT.message()


@pytest.mark.parametrize(
    "body", [{}, {"plan": "1"}, {"policy": "p", "plan": 1}, {"policy": "p", "plan": "1", "x": None}, {"policy": {"p": "1"}}]
)
def test_another_body_is_another_message(body):
    assert replace(EVENT, body=body).message() != EVENT.message()


def test_fields_cannot_run_into_each_other():
    assert replace(EVENT, by="ki", id="mid").message() != replace(EVENT, by="kim", id="id").message()


def test_an_event_has_the_same_message_after_the_journal():
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(EVENT), type=Event)
    assert (again, again.message()) == (EVENT, EVENT.message())


PROPOSAL = Proposal("A", 1.5, "why", "p", ("B",), "warmer", AT, "plan")


@pytest.mark.parametrize(
    "noun",
    [
        PROPOSAL,
        PLAN,
        EVENT,
        Verdict(PROPOSAL, None, "range", "why"),
        Receipt("A", 1.5, None, AT, "unknown"),
        Reading("A", 1.5),
        Outcome(3, (Receipt("A", 1.5, 1.5, AT, "settled"),)),
        Decision(
            3, AT, b"digest", frame().columns(), (Heard(EVENT, "not-authorised"),), (PLAN,), (Verdict(PROPOSAL, 1.5, ""),),
            (Level.AUTO,), (), (), (0,), ("model",),
        ),
    ],
    ids=lambda noun: type(noun).__name__,
)  # fmt: skip
def test_a_noun_is_frozen_and_survives_the_journal(noun):
    with pytest.raises(AttributeError):
        setattr(noun, noun.__struct_fields__[0], None)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(noun), type=type(noun)) == noun


def test_a_tag_is_frozen_and_bears_no_unknown_field():
    with pytest.raises(AttributeError):
        TABLE["A"].safety = False
    with pytest.raises(msgspec.ValidationError, match="hi"):
        msgspec.convert({"name": "A", "hi": 1.0}, Tag)


def test_levels_are_in_order():
    assert list(Level) == [Level.RECORD, Level.SHADOW, Level.ADVISE, Level.CONFIRM, Level.AUTO] == [0, 1, 2, 3, 4]


def test_good_is_good():
    assert frame(status=GOOD).fresh("A")
