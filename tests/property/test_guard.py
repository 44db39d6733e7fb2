"""Properties of the guard over random tags, frames, writers and batches; the limits are computed here anew."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from jayul.core.guard import Applied, Context, Writer, judge
from jayul.core.types import BAD, SECOND, Frame, MovePlan, Proposal, Tag, TagTable, Verdict
from jayul.rules.basic import BASIC
from jayul.rules.plan import within_plan
from jayul.rules.require import require

PROFILE = settings(derandomize=True, max_examples=200, deadline=None, database=None)
AT = 1_767_225_600 * SECOND
PERIOD = 30 * SECOND
HOUR = 3600 * SECOND
CONDITION = "guard.require.0"
RULES = (*BASIC, within_plan, require({CONDITION: "IN > 0"}))
NAMES = ("T0", "T1", "T2", "T3")
WRITERS = ("a", "b", "c")
UNCERTAIN = 0x4000_0000

tenths = st.integers(-900, 900).map(lambda n: n / 10)
small = st.integers(1, 300).map(lambda n: n / 10)
odd_values = st.sampled_from([math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, -0.0, "50", None, True, 50, 10**400])

TAG_FAULTS = [
    *({"low": low} for low in (None, math.nan, 1000.0)),
    *({"high": high} for high in (None, math.nan, -1000.0)),
    *({"max_step": step} for step in (None, math.nan, math.inf, 0.0, -1.0)),
    {"unit": ""},
    {"stale_after": 0.0},
    {"writable": False},
    {"safety": True},
]
FRAME_FAULTS = [
    *({"value": value} for value in (math.nan, math.inf, -math.inf, 0.0)),
    *({"status": status} for status in (BAD, UNCERTAIN, 0xC000_0000, 0x3FFF_FFFF)),
    *({"source_at": AT + ahead * SECOND} for ahead in (-60, -61, 5, 6)),
    *({"seen_at": AT + ahead * SECOND} for ahead in (-61, -60, -6, -5)),
    *({"source_at": AT + ahead * SECOND, "seen_at": AT + ahead * SECOND} for ahead in (-60, -61, 5, 6)),
    *({"source_at": end, "seen_at": end} for end in (-(2**63), 2**63 - 1)),
    *({"source_at": end} for end in (-(2**63), 2**63 - 1)),
]
PROPOSAL_FAULTS = [
    *({"by": by} for by in ("nobody", "")),
    *({"tag": tag} for tag in (CONDITION, "IN", "GHOST", "")),
    *({"needs": needs} for needs in ((), ("GHOST",), ("T0", "T1"))),
    *({"expires": AT + ahead} for ahead in (-1, 0, 1)),
    *({"plan": plan} for plan in ("", "another")),
]


def faults(names, choices):
    """Draw up to two faults, each with the name that it befalls."""
    return st.lists(st.tuples(st.sampled_from(names), st.sampled_from(choices)), max_size=2)


@st.composite
def frames(draw):
    """Tags in order with a value in or near their range, but for a few faults."""
    table, values = [], []
    for name, (low, width, step) in zip(
        NAMES, draw(st.lists(st.tuples(tenths, small, small), min_size=4, max_size=4)), strict=True
    ):
        table.append(Tag(name=name, unit="degC", low=low, high=low + width, max_step=step, writable=True))
        values.append(low + draw(st.integers(-1, 11)) / 10 * width)
    for name, fault in draw(faults(NAMES, TAG_FAULTS)):
        table[NAMES.index(name)] = replace(table[NAMES.index(name)], **fault)
    known = TagTable([*table, Tag(name="IN"), Tag(name=CONDITION, kind="derived")])
    return frame_of(known, [*values, 1.0, 1.0], draw(faults(known.names, FRAME_FAULTS)))


def frame_of(table, values, befallen):
    n = len(values)
    columns = {"value": np.array(values), "status": np.zeros(n, dtype=np.uint32)}
    columns |= {"source_at": np.full(n, AT, dtype=np.int64), "seen_at": np.full(n, AT, dtype=np.int64)}
    for name, fault in befallen:
        for column, cell in fault.items():
            columns[column][table.index[name]] = cell
    return Frame(AT, table, **columns)


@st.composite
def writers(draw, by):
    tags = draw(st.sampled_from([NAMES] * 9 + [NAMES[:2], NAMES[2:], ()]))
    plan = None
    if draw(st.booleans()):
        targets = draw(st.dictionaries(st.sampled_from(NAMES), tenths, min_size=1))
        ramp = {name: draw(small) * 120 for name in targets}
        plan = MovePlan("", by, targets, ramp, "test", AT - HOUR, AT + draw(st.sampled_from([HOUR, HOUR, 0, -1]))).sealed()
    return Writer(tags, draw(st.booleans()), plan)


@st.composite
def situations(draw):
    frame = draw(frames())
    near = draw(st.dictionaries(st.sampled_from(NAMES), st.sampled_from([0.0, 0.0, 0.5, -0.5, 3.0])))
    last = {name: Applied(frame[name] + away, AT, "a") for name, away in near.items()}
    context = Context(frame, {by: draw(writers(by)) for by in WRITERS}, last, PERIOD)
    asked = []
    tag_by_tag = st.lists(st.sampled_from(NAMES), min_size=1, unique=True)
    for tag in draw(st.one_of(tag_by_tag, tag_by_tag, st.lists(st.sampled_from(NAMES), min_size=1, max_size=5))):
        by, away = draw(st.sampled_from(WRITERS)), draw(tenths)
        plan = context.writers[by].plan
        asked.append(Proposal(tag, frame[tag] + away / 5, "test", by, needs=("IN",), plan=plan.id if plan else ""))
    for i, fault in draw(faults(range(len(asked)), [*PROPOSAL_FAULTS, None])):
        asked[i] = replace(asked[i], **(fault or {"value": draw(odd_values)}))
    return context, asked


def is_fresh(frame, name):
    """Say anew, without Frame.fresh, whether a reading may be relied on."""
    if name not in frame.table.names:
        return False
    i = frame.table.names.index(name)
    source, seen, limit = int(frame.source_at[i]), int(frame.seen_at[i]), frame.table.tags[i].stale_after * SECOND
    young = frame.at - source <= limit and frame.at - seen <= limit
    ahead = source - seen > 5 * SECOND or seen - frame.at > 5 * SECOND
    return int(frame.status[i]) >> 30 == 0 and young and not ahead and math.isfinite(frame.value[i])


def within(value, low, high):
    """Compare with room for the rounding of the last place."""
    room = 4 * math.ulp(max(abs(value), abs(low), abs(high)))
    return low - room <= value <= high + room


def reasons_against(context, proposal, value, others):
    """List, independently of the rules, why this value may not be let out."""
    tag, writer = context.frame.table.get(proposal.tag), context.writers.get(proposal.by)
    if tag is None or writer is None or proposal.tag not in writer.tags:
        return ["allow-list"]
    if type(value) is not float or not math.isfinite(value):
        return ["not-a-number"]
    if tag.safety or not tag.writable or None in (tag.low, tag.high, tag.max_step) or not tag.unit:
        return ["not writable"]
    found = [name for name in (proposal.tag, *proposal.needs) if not is_fresh(context.frame, name)]
    if 0 < proposal.expires < AT:
        found.append("expired")
    if writer.may_write and any(
        o.tag == proposal.tag and o.by in context.writers and context.writers[o.by].may_write for o in others
    ):
        found.append("single")
    if not tag.low <= value <= tag.high:
        found.append("range")
    now = context.frame[proposal.tag]
    last = context.last[proposal.tag].value if proposal.tag in context.last else now
    if not all(within(value, stood - tag.max_step, stood + tag.max_step) for stood in (now, last)):
        found.append("step")
    if plan := writer.plan:
        if proposal.plan != plan.id or proposal.tag not in plan.targets or plan.expires < AT:
            return [*found, "plan"]
        reach, target = plan.ramp[proposal.tag] * PERIOD / HOUR, plan.targets[proposal.tag]
        if not within(value, max(now - reach, min(now, target)), min(now + reach, max(now, target))):
            found.append("ramp")
    if not is_fresh(context.frame, CONDITION) or context.frame[CONDITION] != 1.0:
        found.append("condition")
    return found


def stands_well(context, name):
    """Say whether the plant's own value lies inside the range and one step from the last applied one."""
    tag, now = context.frame.table[name], context.frame[name]
    last = context.last[name].value if name in context.last else now
    return tag.low <= now <= tag.high and abs(now - last) <= tag.max_step


@settings(PROFILE, max_examples=100)
@given(situations())
def test_there_is_one_verdict_for_each_proposal_in_order_and_always_the_same(situation):
    context, asked = situation
    verdicts = judge(context, asked, RULES)
    assert repr(verdicts) == repr(judge(context, asked, RULES))
    assert len(verdicts) == len(asked)
    assert all(verdict.proposal is proposal for verdict, proposal in zip(verdicts, asked, strict=True))


@settings(PROFILE, max_examples=400)
@given(situations())
def test_no_allowed_value_violates_a_limit(situation):
    context, asked = situation
    for i, verdict in enumerate(judge(context, asked, RULES)):
        if verdict.allowed is not None:
            others = asked[:i] + asked[i + 1 :]
            assert reasons_against(context, verdict.proposal, verdict.allowed, others) == []


@PROFILE
@given(situations())
def test_what_is_asked_within_all_limits_alone_in_its_batch_is_allowed_unchanged(situation):
    context, asked = situation
    for i, verdict in enumerate(judge(context, asked, RULES)):
        p, others = verdict.proposal, asked[:i] + asked[i + 1 :]
        if (p.by, p.plan) in {(o.by, o.plan) for o in others} or reasons_against(context, p, p.value, others):
            continue
        tag, now = context.frame.table[p.tag], context.frame[p.tag]
        margin = tag.max_step * (1 - 1e-9) - abs(p.value - now) > 0 and tag.max_step > 0 and tag.stale_after > 0
        if margin and p.tag not in context.last and context.writers[p.by].plan is None:
            assert (verdict.allowed, verdict.rule) == (p.value, "")


@settings(PROFILE, max_examples=400)
@given(situations())
def test_an_allowed_value_lies_between_the_current_and_the_asked_one(situation):
    context, asked = situation
    for verdict in judge(context, asked, RULES):
        name = verdict.proposal.tag
        if verdict.allowed is not None and stands_well(context, name):
            low, high = sorted((context.frame[name], verdict.proposal.value))
            assert low <= verdict.allowed <= high


@settings(PROFILE, max_examples=250)
@given(situations())
def test_judging_again_what_was_allowed_changes_nothing(situation):
    context, asked = situation
    allowed = [replace(v.proposal, value=v.allowed) for v in judge(context, asked, RULES) if v.allowed is not None]
    for verdict in judge(context, allowed, RULES):
        assert (verdict.allowed, verdict.rule) == (verdict.proposal.value, "")


SOUND = TagTable(
    [
        *(Tag(name=name, unit="degC", low=-100.0, high=100.0, max_step=50.0, writable=True) for name in NAMES),
        Tag(name="IN"),
        Tag(name=CONDITION, kind="derived"),
    ]
)


def sound(frame=None, *, last=None):
    every = {by: Writer(NAMES, may_write=True) for by in WRITERS}
    return Context(frame or frame_of(SOUND, [0.0, 0.0, 0.0, 0.0, 1.0, 1.0], ()), every, last or {}, PERIOD)


def ask(tag="T0", value=10.0, by="a", **more):
    return Proposal(tag, value, "test", by, needs=("IN",), **more)


FAULTS = [
    {"value": math.nan},
    {"value": math.inf},
    {"value": -math.inf},
    {"status": BAD},
    {"status": UNCERTAIN},
    {"source_at": AT - 61 * SECOND},
    {"source_at": AT + 6 * SECOND},
    {"seen_at": AT - 61 * SECOND},
    {"seen_at": AT + 6 * SECOND, "source_at": AT + 6 * SECOND},
    {"source_at": -(2**63)},
    {"source_at": 2**63 - 1},
    {"seen_at": -(2**63), "source_at": -(2**63)},
    {"seen_at": 2**63 - 1, "source_at": 2**63 - 1},
]


@pytest.mark.parametrize("name", ["T0", "IN", CONDITION])
@pytest.mark.parametrize("fault", FAULTS)
@given(value=tenths)
@settings(PROFILE, max_examples=10)
def test_while_tag_need_or_condition_is_unknown_nothing_passes(value, fault, name):
    frame = frame_of(SOUND, [0.0, 0.0, 0.0, 0.0, 1.0, 1.0], [(name, fault)])
    assert judge(sound(frame), [ask(value=value)], RULES)[0].allowed is None


@PROFILE
@given(odd_values.filter(lambda v: type(v) is not float or not math.isfinite(v)), st.sampled_from(NAMES))
def test_what_is_not_a_finite_float_is_refused(value, tag):
    verdict = judge(sound(), [ask(tag, value)], RULES)[0]
    assert (verdict.allowed, verdict.rule) == (None, "not-a-number")


@PROFILE
@given(tenths, st.text(max_size=8).filter(lambda name: name not in NAMES))
def test_an_unknown_tag_or_one_that_is_not_listed_is_refused(value, name):
    verdict = judge(sound(), [ask(name, value)], RULES)[0]
    assert verdict.allowed is None
    assert verdict.rule in ("unknown-tag", "allow-list")


@PROFILE
@given(tenths, st.text(max_size=8).filter(lambda name: name not in WRITERS))
def test_an_unknown_writer_may_do_nothing(value, by):
    verdict = judge(sound(), [ask(value=value, by=by)], RULES)[0]
    assert (verdict.allowed, verdict.rule) == (None, "allow-list")


@PROFILE
@given(st.lists(st.sampled_from(WRITERS), min_size=2, max_size=4), tenths)
def test_several_proposals_for_one_tag_are_all_refused(bys, value):
    verdicts = judge(sound(), [ask(value=value, by=by) for by in bys], RULES)
    assert [(v.allowed, v.rule) for v in verdicts] == [(None, "single")] * len(bys)


@st.composite
def moves(draw):
    """One writer, perhaps with a plan, moves up to four tags that stand well; limits and values are arbitrary."""
    names = NAMES[: draw(st.integers(1, 4))]
    table, values, last, asked, targets, ramp = [], [], {}, {}, {}, {}
    for name in names:
        now, below, above, step = draw(tenths), draw(small), draw(small), draw(small)
        table.append(Tag(name=name, unit="degC", low=now - below, high=now + above, max_step=step, writable=True))
        values.append(now)
        if draw(st.booleans()):
            last[name] = Applied(now + draw(st.floats(-0.9, 0.9)) * step, AT, "a")
        asked[name] = draw(tenths)
        targets[name], ramp[name] = draw(tenths), draw(small) * 120
    stamps = np.full(len(names), AT, dtype=np.int64)
    frame = Frame(AT, TagTable(table), np.array(values), stamps, stamps.copy(), np.zeros(len(names), dtype=np.uint32))
    plan = MovePlan("", "a", targets, ramp, "test", AT, AT + HOUR).sealed() if draw(st.booleans()) else None
    context = Context(frame, {"a": Writer(names, True, plan)}, last, PERIOD)
    return context, [Proposal(name, asked[name], "test", "a", plan=plan.id if plan else "") for name in names]


def envelope(context, proposal):
    tag, now, plan = context.frame.table[proposal.tag], context.frame[proposal.tag], context.writers["a"].plan
    last = context.last[proposal.tag].value if proposal.tag in context.last else now
    low = max(tag.low, now - tag.max_step, last - tag.max_step)
    high = min(tag.high, now + tag.max_step, last + tag.max_step)
    if plan:
        reach, target = plan.ramp[proposal.tag] * PERIOD / HOUR, plan.targets[proposal.tag]
        low, high = max(low, now - reach, min(now, target)), min(high, now + reach, max(now, target))
    return low, high


def largest_share(context, asked):
    """Find by bisection the largest share of the asked move that every envelope holds."""

    def fits(share):
        for p in asked:
            now, (low, high) = context.frame[p.tag], envelope(context, p)
            if not low <= now + share * (p.value - now) <= high:
                return False
        return True

    if fits(1.0):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


@settings(PROFILE, max_examples=400)
@given(moves())
def test_a_batch_is_scaled_along_its_move_as_far_as_every_limit_allows(move):
    context, asked = move
    share = largest_share(context, asked)
    for verdict in judge(context, asked, (*BASIC, within_plan)):
        now, want = context.frame[verdict.proposal.tag], verdict.proposal.value
        assert verdict.allowed is not None, verdict.reason
        rounding = 8 * math.ulp(max(abs(now), abs(want), 1.0))
        assert abs(verdict.allowed - (now + share * (want - now))) <= 1e-12 * abs(want - now) + rounding


@settings(PROFILE, max_examples=100)
@given(moves())
def test_a_tag_asked_to_stay_stays_while_others_move(move):
    context, asked = move
    asked = [replace(asked[0], value=context.frame[asked[0].tag]), *asked[1:]]
    assert judge(context, asked, (*BASIC, within_plan))[0].allowed == asked[0].value


@PROFILE
@given(st.lists(tenths, min_size=2, max_size=4), st.data())
def test_one_refused_member_refuses_its_batch_and_no_other(values, data):
    doomed = [ask(name, value, plan="one") for name, value in zip(NAMES, values[:-1], strict=False)]
    other = ask(NAMES[len(values) - 1], values[-1], by=data.draw(st.sampled_from(["a", "b"])), plan="two")
    i = data.draw(st.integers(0, len(doomed) - 1))
    doomed[i] = replace(doomed[i], needs=("GHOST",))
    alone = judge(sound(), [other], RULES)
    *first, last = judge(sound(), [*doomed, other], RULES)
    assert [v.allowed for v in first] == [None] * len(doomed)
    assert first[i].rule == "inputs"
    assert (last,) == alone
    assert last.allowed is not None


FURTHER = [
    lambda now, asked: now + 2 * (asked - now),
    lambda now, asked: now + 1e9 * (asked - now),
    lambda now, asked: math.nextafter(asked, math.copysign(math.inf, asked - now)),
    lambda now, asked: math.copysign(math.inf, asked - now),
    lambda now, asked: math.copysign(math.inf, now - asked),
    lambda now, asked: math.nan,
]


@pytest.mark.parametrize("further", FURTHER)
@pytest.mark.parametrize("place", [0, len(BASIC)])
@pytest.mark.parametrize("stubborn", [True, False])
@given(st.lists(tenths, min_size=1, max_size=3))
@settings(PROFILE, max_examples=25)
def test_a_rule_that_widens_or_returns_nan_never_lets_out_more_than_was_asked(further, place, stubborn, values):
    context = sound()
    asked = [ask(name, value) for name, value in zip(NAMES, values, strict=False)]
    wishes = {p.tag: p.value for p in asked}
    assume(all(value != 0.0 for value in values))

    def widen(context, proposal):
        if stubborn or proposal.value == wishes[proposal.tag]:
            return Verdict(proposal, further(0.0, proposal.value), "widen", "bad rule")
        return None

    rules = (*BASIC[:place], widen, *BASIC[place:])
    for verdict in judge(context, asked, rules):
        low, high = sorted((0.0, verdict.proposal.value))
        assert verdict.allowed is None or low <= verdict.allowed <= high
