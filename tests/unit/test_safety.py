"""What must never happen again: a move the other way, a model that vouches for others, a wish that breaks the record."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from jayul.core.guard import Applied
from jayul.core.ladder import Offer, Rung, Terms
from jayul.core.loop import FALLBACK, Fallback, Line, Seat, start, step
from jayul.core.types import Decision, Level, MovePlan, Proposal, Reading, Tag, TagTable
from jayul.rules.basic import BASIC
from jayul.rules.plan import within_plan
from jayul.testing import START, make_frame

TAG = Tag(name="SP", unit="degC", kind="set-point", low=40.0, high=70.0, max_step=10.0, writable=True)
TAGS = TagTable([TAG, replace(TAG, name="SP2"), Tag(name="PV", unit="degC")])


def line(policy, *, models=None, fallback=None) -> Line:
    here = np.arange(3)
    seat = Seat("p", policy, None, frozenset({"SP", "SP2"}), ("PV",), Terms({}))
    return Line(TAGS, here, here, here, 30 * 10**9, models or {}, (seat,), fallback or {}, (*BASIC, within_plan))


def at(level: Level, of: Line, offer: Offer | None = None, last: dict | None = None):
    state = start(of)
    return replace(state, rungs={"p": Rung(level, offer=offer)}, last=last or {}, origin=dict.fromkeys(last or {}, 50.0))


class Liar:
    """A model that says that a set-point is fresh."""

    tags, needs = (Tag(name="x", kind="derived"),), ("PV",)

    def learn(self, frames):
        return None

    def infer(self, state, frame):
        return state, [Reading("SP", 50.0)]


def test_a_model_cannot_vouch_for_a_tag_that_is_not_its_own() -> None:
    wish = Proposal("SP", 52.0, "test", "p")
    of = line(lambda state, frame, plan: (None, [wish]), models={"liar": (Liar(), None)})
    _, decision, _ = step(of, at(Level.AUTO, of), make_frame(TAGS, {"SP": 50.0}, age=61 * 10**9), [])
    assert decision.failed == ("liar",)
    assert decision.writes == ()


GOOD = MovePlan("", "p", {"SP": 60.0}, {"SP": 1.0}, "test", START, START + 1).sealed()


@pytest.mark.parametrize(
    "wish",
    [
        Proposal("SP", "abc", "test", "p"), Proposal("SP", None, "test", "p"), Proposal("SP", 10**400, "test", "p"),
        Proposal("SP", 51.0, None, "p"), Proposal("SP", 51.0, "test", "p", needs=None), Proposal("SP", 51.0, "test", "p", plan=["x"]),
        Proposal("SP", 51.0, "test", "p", expires="x"), Proposal(["SP"], 51.0, "test", "p"), Proposal("SP", 51.0, "test", "q"),
        replace(GOOD, targets={"SP": "x"}), replace(GOOD, targets={"SP": 61.0}), replace(GOOD, by="q"), "a text", None,
    ],
)  # fmt: skip
def test_a_wish_that_is_not_one_fails_its_policy_and_leaves_the_record_whole(wish) -> None:
    of = line(lambda state, frame, plan: (None, [wish]))
    state, decision, _ = step(of, at(Level.AUTO, of), make_frame(TAGS, {"SP": 50.0, "PV": 1.0}), [])
    assert decision.failed == ("p",)
    assert decision.verdicts == ()
    assert state.rungs["p"].level == Level.RECORD
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(decision), type=Decision) == decision


def test_nan_is_refused_and_recorded() -> None:
    of = line(lambda state, frame, plan: (None, [Proposal("SP", math.nan, "test", "p")]))
    _, decision, _ = step(of, at(Level.AUTO, of), make_frame(TAGS, {"SP": 50.0, "PV": 1.0}), [])
    assert decision.verdicts[0].rule == "not-a-number"
    assert decision.writes == ()


def test_one_tag_that_cannot_go_back_does_not_keep_the_other() -> None:
    back = Fallback("ramp", 600.0)
    of = line(lambda state, frame, plan: (None, ()), fallback={"SP": back, "SP2": back})
    held = {"SP": Applied(60.0, START, "p"), "SP2": Applied(60.0, START, "p")}
    frame = make_frame(TAGS, {"SP": 60.0, "SP2": 60.0, "PV": 1.0})
    status = frame.status.copy()
    status[0] = 0x8000_0000
    frame = type(frame)(frame.at, TAGS, frame.value, frame.source_at, frame.seen_at, status)
    _, decision, _ = step(of, at(Level.ADVISE, of, last=held), frame, [])
    assert [decision.verdicts[i].proposal.tag for i in decision.writes] == ["SP2"]
    assert {v.proposal.by for v in decision.verdicts} == {FALLBACK}


def test_the_worse_reason_decides() -> None:
    def fails(state, frame, plan):
        raise RuntimeError

    of = line(fails)
    state = replace(at(Level.AUTO, of), signals={"p": (1, 0, "write-rejected")})
    _, decision, _ = step(of, state, make_frame(TAGS, {"SP": 50.0, "PV": 1.0}), [])
    assert [(c.after, c.reason) for c in decision.changes] == [(Level.RECORD, "policy-failed")]
