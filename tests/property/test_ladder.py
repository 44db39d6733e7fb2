"""Properties of the ladder over random sequences of ticks, falls and events."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from jayul.core import ladder
from jayul.core.ladder import FALLS, Gate, Rung, Terms
from jayul.core.types import SECOND, Event, Level, MovePlan
from jayul.testing import DEMO_TAGS, START, make_frame

PLAN = MovePlan("", "p", {"SP": 60.0}, {"SP": 120.0}, "test", START, START + 3600 * SECOND).sealed()
FRAME = make_frame(DEMO_TAGS, {"SP": 50.0, "PV": 50.0})

some_terms = st.builds(
    lambda levels, **more: Terms(
        {level: Gate(ticks=1, evidence=("e",) * (level == Level.CONFIRM)) for level in levels}, **more
    ),
    st.sets(st.sampled_from(list(Level)[1:])),
    stale_ticks=st.integers(1, 3),
    veto_ticks=st.integers(1, 3),
)
signals = st.tuples(st.just("tick"), st.booleans(), st.integers(0, 3), st.booleans())
falls = st.tuples(st.just("fall"), st.sampled_from(sorted(FALLS)))
events = st.one_of(
    st.tuples(st.just("signature"), st.sampled_from(["", "next", *(level.name.lower() for level in Level)]), st.booleans()),
    st.tuples(st.just("evidence"), st.booleans()),
    st.tuples(st.just("approval"), st.booleans()),
    st.tuples(st.sampled_from(["rejection", "demotion", "note", "stop"])),
)
honest = st.just(("signature", "next", True))


def play(rung, among, act, tick):
    """Do one act of a random sequence; return the rung, whether a signature was accepted, and the changes."""
    kind, *more = act
    if kind == "tick":
        fresh, asked, vetoed = more
        rung, reason = ladder.fold(rung, among, fresh, asked, asked if vetoed else 0)
        return (*(ladder.fall(rung, tick, reason, "p") if reason else (rung, ())), False)
    if kind == "fall":
        return (*ladder.fall(rung, tick, more[0], "p"), False)
    body = {"plan": PLAN.id}
    if kind == "signature":
        level = Level(min(rung.level + 1, 4)).name.lower() if more[0] == "next" else more[0]
        body = {"level": level, "since": rung.since if more[1] else rung.since - 1}
    if kind == "evidence":
        body = {"name": "e", "passed": more[0]}
    event = Event(kind, "kim", START, {"policy": "p", **body}, "id")
    rung, changes, refused = ladder.hear(rung, among, event, FRAME, tick, "p")
    return rung, changes, kind == "signature" and not refused


@settings(derandomize=True, max_examples=300, deadline=None, database=None)
@given(some_terms, st.lists(st.one_of(signals, honest, signals, honest, falls, events), max_size=40))
def test_the_level_rises_by_one_on_an_accepted_signature_only_and_never_without_a_gate(among, acts):
    rung = Rung()
    for tick, act in enumerate(acts, 1):
        before = rung
        rung, changes, signed = play(before, among, act, tick)
        assert [(c.before, c.after) for c in changes] == ([(before.level, rung.level)] if before.level != rung.level else [])
        if rung.level > before.level:
            assert signed
            assert rung.level == before.level + 1
            assert rung.level in among.gates
            assert ladder.missing(before, among) == {}
        else:
            assert not signed
        if rung.level != before.level:
            assert (rung.since, rung.ticks, rung.asked) == (tick, 0, 0)
