"""Whatever a brain says, what reaches the plant lies within the envelope, and what goes back is what stood there before."""

from __future__ import annotations

import math

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from jayul.core.guard import FALLBACK
from jayul.core.loop import Fallback
from jayul.core.types import BAD, SECOND, Frame, Proposal, Receipt, Tag, Verdict, same
from jayul.gateway.charge import Charge, fold
from jayul.gateway.envelope import Envelope
from jayul.gateway.journal import Judged, Wrote
from jayul.gateway.judge import Judge
from jayul.plant.protocol import Said
from jayul.plant.table import Loop
from jayul.testing import START

PERIOD = 60 * SECOND
SP = Tag(name="A", unit="degC", kind="set-point", low=40.0, high=60.0, max_step=2.0, writable=True, address="a")
ENVELOPE = Envelope(
    project="p", run="00" * 32, plant="none", options={},
    tags=(SP, replace(SP, name="B", low=-5.0, high=5.0, max_step=0.5), replace(SP, name="TRIP", safety=True),
          replace(SP, name="C"), replace(SP, name="BARE", low=None), Tag(name="M", kind="mode"), Tag(name="PV")),
    loops={"A": Loop("M", 2, 1), "B": Loop("M", 2, 1)}, writers={"p": ("A", "B"), "q": ("B", "BARE"), FALLBACK: ("A", "B")},
    rules=(("halfspace", {"weights": {"A": 1.0, "B": 4.0}, "most": 62.0}),
           ("between", {"tags": ["A"], "high": "C"})),
    fallback={"A": Fallback("ramp", 1.0), "B": Fallback("hold")}, period=PERIOD,
)  # fmt: skip
JUDGE = Judge(ENVELOPE)
NAMES = [tag.name for tag in ENVELOPE.tags]
NUMBER = st.one_of(
    st.floats(width=64), st.floats(38, 62), st.floats(-6, 6), st.sampled_from([40.0, 50.0, 52.0, 60.0, 60.00001])
)
VERDICTS = st.lists(
    st.builds(
        lambda tag, asked, allowed, by, plan, unit, expires: Verdict(
            Proposal(tag, asked, "w", by, expires=expires, plan=plan, unit=unit), allowed, ""
        ),
        st.sampled_from([*NAMES, "NONE", ""]), NUMBER, st.one_of(NUMBER, NUMBER, NUMBER, st.none()),
        st.sampled_from(["p", "p", "p", "q", FALLBACK, "x"]), st.sampled_from(["", "1"]), st.sampled_from(["", "", "degC", "K"]),
        st.sampled_from([0, 0, START - 1, 1 << 62]),
    ),
    max_size=4,
)  # fmt: skip


def frame(values: dict[str, float], at: int, bad: str = "") -> Frame:
    stamps = np.full(len(NAMES), at, dtype=np.int64)
    status = np.array([BAD if name == bad else 0 for name in NAMES], dtype=np.uint32)
    return Frame(at, JUDGE.table, np.array([values[name] for name in NAMES]), stamps, stamps.copy(), status)


def within(values: dict[str, float], verdicts: tuple[Verdict, ...], bad: str) -> None:
    """Hold what is about to be written against the envelope, with nothing of the judge's own code."""
    after = values | {v.proposal.tag: v.allowed for v in verdicts}
    assert len({v.proposal.tag for v in verdicts}) == len(verdicts)
    for verdict in verdicts:
        tag, value = verdict.proposal.tag, verdict.allowed
        low, high, step = {"A": (40.0, min(60.0, values["C"]), 2.0), "B": (-5.0, 5.0, 0.5)}[tag]
        assert type(value) is float
        assert math.isfinite(value)
        assert low <= value <= high
        assert abs(value - values[tag]) <= step * (1 + 1e-12)
        assert values["M"] == 2.0
        assert bad not in (tag, "M", "A", "B")
        assert verdict.proposal.by in ("p", FALLBACK) or (verdict.proposal.by, tag) == ("q", "B")
    before, then = (x["A"] + 4 * x["B"] for x in (values, after))
    assert then <= 62.0 + 1e-6 or then <= before + 1e-9


@settings(max_examples=600, deadline=None)
@given(
    st.lists(
        st.tuples(VERDICTS, st.sampled_from(["settled", "rejected", "unknown"]), st.sampled_from(["", "", "", "A", "M", "C"])),
        max_size=6,
    ),
    st.floats(40, 60), st.floats(-5, 5), st.sampled_from([2.0, 2.0, 2.0, 1.0]), st.floats(39, 61),
)  # fmt: skip
def test_what_reaches_the_plant_lies_within_the_envelope(story, a, b, mode, limit):
    values = {"A": a, "B": b, "TRIP": 0.0, "C": limit, "BARE": 1.0, "M": mode, "PV": 0.0}
    first, charge, at, entries = dict(values), Charge(ENVELOPE), START, []
    for asked, state, bad in story:
        at += PERIOD
        now = frame(values, at, bad)
        charge.look(now)
        found = JUDGE(now, charge.last(now), asked)
        if found.code:
            assert found.detail
            continue
        within(values, found.verdicts, bad)
        assert len(found.verdicts) == len(asked), "all or none"
        assert all(same(own.allowed, theirs.allowed) for own, theirs in zip(found.verdicts, asked, strict=True))
        origin = charge.origins(found.verdicts, now)
        receipts = tuple(
            Receipt(v.proposal.tag, v.allowed, v.allowed if state == "settled" else None, at, state) for v in found.verdicts
        )
        charge.took(found.verdicts, origin, receipts, at)
        entries += [Judged(at, 0, b"", (), found.verdicts, origin=origin), Wrote(at, receipts)]
        if state != "rejected":
            values |= {v.proposal.tag: v.allowed for v in found.verdicts}
    now = frame(values, at + 1)
    charge.look(now)
    back = charge.back(now)
    assert set(back) <= {"A"}, "B is to be held"
    assert set(back.values()) <= {first["A"]}, "what stood there before the first move"
    if back and not JUDGE.back(now, back):
        assert back["A"] <= limit
        assert back["A"] + 4 * values["B"] <= 62 + 1e-6 or back["A"] <= values["A"]
    assert set(charge.modes(now)) <= {"M"}
    again = Charge(ENVELOPE)
    fold(again, entries)
    again.look(now)
    assert again.held == charge.held, "a restart knows what was held"


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=300) | st.builds(lambda v: msgspec.msgpack.encode(["said", b"n", 1, 2, "write", 3, b"", v]), VERDICTS)
)
def test_bytes_are_a_message_or_refused_by_name(data: bytes):
    try:
        said = msgspec.msgpack.decode(data, type=Said)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return
    values = {"A": 50.0, "B": 0.0, "TRIP": 0.0, "C": 60.0, "BARE": 1.0, "M": 2.0, "PV": 0.0}
    found = JUDGE(frame(values, START), {}, said.verdicts)
    if not found.code:
        within(values, found.verdicts, "")
