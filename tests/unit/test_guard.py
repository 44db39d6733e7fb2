"""Each rule of the guard: what it refuses, what it narrows, and the code that it gives."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace

from jayul.core import guard
from jayul.core.guard import Applied, Context, Writer, narrow
from jayul.core.types import BAD, SECOND, MovePlan, Proposal, Tag, TagTable, Verdict
from jayul.rules import basic
from jayul.rules.basic import BASIC
from jayul.rules.plan import within_plan
from jayul.rules.require import require
from jayul.testing import DEMO_TAGS, START, check_rule, make_frame


def judge(context, proposals, rules=BASIC):
    return guard.judge(context, proposals, rules)


PERIOD = 30 * SECOND
HOUR = 3600 * SECOND
PLAN = MovePlan("", "p", {"SP": 60.0}, {"SP": 120.0}, "test", START, START + HOUR).sealed()
ALL = frozenset(DEMO_TAGS.names)


def context(now=50.0, *, writers=None, last=None, table=DEMO_TAGS, asked=None, **frame):
    last = {"SP": Applied(last, START, "p")} if last is not None else {}
    values = {"SP": now, "PV": 50.0}
    every = writers or {"p": Writer(ALL, may_write=True)}
    return Context(make_frame(table, values, **frame), every, last, PERIOD, asked or {})


def ask(value=51.0, tag="SP", by="p", **more):
    return Proposal(tag, value, "test", by, **more)


def said(verdict):
    return verdict and (verdict.allowed, verdict.rule)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "51", None, True, 51, 10**400, 51j])
def test_number_refuses_what_is_not_a_finite_float(value):
    assert said(basic.number(context(), ask(value))) == (None, "not-a-number")


@pytest.mark.parametrize("value", [51.0, -0.0, 5e-324, 1.7976931348623157e308])
def test_number_lets_finite_floats_pass(value):
    assert basic.number(context(), ask(value)) is None


@pytest.mark.parametrize(
    ("tag", "by", "listed", "expected"),
    [
        ("SP", "p", ("SP",), None),
        ("NONE", "p", ("SP", "NONE"), (None, "unknown-tag")),
        ("SP", "p", (), (None, "allow-list")),
        ("SP", "p", ("PV",), (None, "allow-list")),
        ("SP", "stranger", ("SP",), (None, "allow-list")),
    ],
)
def test_allow_list(tag, by, listed, expected):
    assert said(basic.allow_list(context(writers={"p": Writer(listed, True)}), ask(tag=tag, by=by))) == expected


BOUNDED = Tag(name="SP", unit="degC", low=40.0, high=70.0, max_step=2.0, writable=True)


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        (BOUNDED, None),
        (replace(BOUNDED, safety=True), "safety-tag"),
        (replace(BOUNDED, safety=True, writable=False), "safety-tag"),
        (replace(BOUNDED, writable=False), "read-only"),
        (replace(BOUNDED, low=None), "unbounded"),
        (replace(BOUNDED, high=None), "unbounded"),
        (replace(BOUNDED, max_step=None), "unbounded"),
        (replace(BOUNDED, unit=""), "unbounded"),
        (replace(BOUNDED, stale_after=0.5), None),
        (replace(BOUNDED, stale_after=0.0), "unbounded"),
        (replace(BOUNDED, stale_after=-1.0), "unbounded"),
    ],
)
def test_writable(tag, code):
    verdict = basic.writable(context(table=TagTable([tag])), ask())
    assert said(verdict) == (code and (None, code))


def test_writable_takes_an_unknown_tag_for_a_safety_tag():
    assert said(basic.writable(context(), ask(tag="NONE"))) == (None, "safety-tag")


@pytest.mark.parametrize(
    ("expires", "code"), [(0, None), (START, None), (START + 1, None), (START - 1, "expired"), (1, "expired")]
)
def test_unexpired(expires, code):
    assert said(basic.unexpired(context(), ask(expires=expires))) == (code and (None, code))


@pytest.mark.parametrize(
    ("frame", "needs", "code"),
    [
        ({}, (), None),
        ({}, ("PV",), None),
        ({"age": 60 * SECOND}, ("PV",), None),
        ({"age": 60 * SECOND + 1}, (), "inputs"),
        ({"age": -5 * SECOND}, (), None),
        ({"age": -5 * SECOND - 1}, (), "inputs"),
        ({"status": BAD}, (), "inputs"),
        ({"now": math.nan}, (), "inputs"),
        ({"now": math.inf}, (), "inputs"),
        ({}, ("GHOST",), "inputs"),
        ({}, ("PV", "GHOST"), "inputs"),
    ],
)
def test_inputs(frame, needs, code):
    assert said(basic.inputs(context(**frame), ask(needs=needs))) == (code and (None, code))


def test_inputs_names_the_one_that_is_not_good():
    assert "'GHOST'" in basic.inputs(context(), ask(needs=("PV", "GHOST"))).reason


@pytest.mark.parametrize(
    ("asked", "may_write", "code"),
    [
        ({"SP": 1}, True, None),
        ({"SP": 2}, True, "single"),
        ({"SP": 1}, False, None),
        ({"SP": 9}, False, None),
        ({}, False, None),
        ({"PV": 3}, True, None),
    ],
)
def test_single(asked, may_write, code):
    writers = {"p": Writer(ALL, may_write)}
    assert said(basic.single(context(writers=writers, asked=asked), ask())) == (code and (None, code))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (40.0, None),
        (70.0, None),
        (70.1, (70.0, "range")),
        (39.9, (40.0, "range")),
        (math.inf, (70.0, "range")),
        (math.nan, (None, "range")),
    ],
)
def test_in_range(value, expected):
    assert said(basic.in_range(context(), ask(value))) == expected


@pytest.mark.parametrize("tag", ["BARE", "NONE"])
def test_in_range_refuses_a_tag_without_range(tag):
    assert said(basic.in_range(context(), ask(tag=tag))) == (None, "range")


@pytest.mark.parametrize("limits", [{"low": None}, {"high": None}, {"low": math.nan}, {"high": math.nan}, {"low": 71.0}])
def test_in_range_refuses_where_no_value_can_be_right(limits):
    assert said(basic.in_range(context(table=TagTable([replace(BOUNDED, **limits)])), ask())) == (None, "range")


@pytest.mark.parametrize(
    ("now", "last", "value", "expected"),
    [
        (50.0, None, 52.0, None),
        (50.0, None, 48.0, None),
        (50.0, None, 52.5, (52.0, "step")),
        (50.0, None, 47.5, (48.0, "step")),
        (50.0, 49.0, 52.0, (51.0, "step")),  # the last applied value counts
        (50.0, 51.0, 53.0, (52.0, "step")),  # and so does the one that stands in the plant
        (50.0, 51.0, 48.0, (49.0, "step")),
        (50.0, 55.0, 52.0, (None, "step")),  # no value is within one step of both
        (math.nan, None, 51.0, (None, "step")),
    ],
)
def test_step(now, last, value, expected):
    assert said(basic.step(context(now, last=last), ask(value))) == expected


@pytest.mark.parametrize("value", [45.0, 55.0])
def test_a_last_value_that_is_not_a_number_does_not_widen_the_step(value):
    allowed = basic.step(context(50.0, last=math.nan), ask(value)).allowed
    assert allowed is None or abs(allowed - 50.0) <= 2.0


@pytest.mark.parametrize("tag", ["BARE", "NONE"])
def test_step_refuses_a_tag_without_step_limit(tag):
    assert said(basic.step(context(), ask(tag=tag))) == (None, "step")


@pytest.mark.parametrize("max_step", [math.nan, -1.0])
def test_step_refuses_where_no_step_can_be_right(max_step):
    assert said(basic.step(context(table=TagTable([replace(BOUNDED, max_step=max_step)])), ask())) == (None, "step")


@pytest.mark.parametrize(
    ("plan", "proposal", "expected"),
    [
        (None, ask(69.0), None),
        (None, ask(69.0, plan="any"), None),
        (PLAN, ask(51.0, plan=PLAN.id), None),
        (PLAN, ask(50.0, plan=PLAN.id), None),
        (PLAN, ask(51.5, plan=PLAN.id), (51.0, "plan")),  # 120 an hour is 1 a period
        (PLAN, ask(49.0, plan=PLAN.id), (50.0, "plan")),  # away from the target
        (PLAN, ask(51.0), (None, "plan")),
        (PLAN, ask(51.0, plan="another"), (None, "plan")),
        (PLAN, ask(51.0, tag="PV", plan=PLAN.id), (None, "plan")),
        (PLAN, ask(math.nan, plan=PLAN.id), (None, "plan")),
        (replace(PLAN, expires=START), ask(51.0, plan=PLAN.id), None),
        (replace(PLAN, expires=START - 1), ask(51.0, plan=PLAN.id), (None, "plan")),
        (replace(PLAN, targets={"SP": 50.5}), ask(51.0, plan=PLAN.id), (50.5, "plan")),
        (replace(PLAN, targets={"SP": 45.0}), ask(48.0, plan=PLAN.id), (49.0, "plan")),
    ],
)
def test_within_plan(plan, proposal, expected):
    assert said(within_plan(context(writers={"p": Writer(ALL, True, plan)}), proposal)) == expected


CONDITIONS = TagTable([BOUNDED, Tag(name="c0", kind="derived"), Tag(name="c1", kind="derived")])


@pytest.mark.parametrize(
    ("c0", "c1", "reason"),
    [
        (1.0, 1.0, None),
        (0.0, 1.0, "does not hold: PV > 1"),
        (1.0, 0.0, "does not hold: PV < 9"),
        (0.5, 1.0, "does not hold: PV > 1"),
        (math.nan, 1.0, "unknown whether PV > 1"),
        (1.0, math.inf, "unknown whether PV < 9"),
    ],
)
def test_require_refuses_unless_every_condition_is_known_to_hold(c0, c1, reason):
    frame = make_frame(CONDITIONS, {"SP": 50.0, "c0": c0, "c1": c1})
    verdict = require({"c0": "PV > 1", "c1": "PV < 9"})(Context(frame, {}, {}, PERIOD), ask())
    assert (verdict and (verdict.allowed, verdict.rule, verdict.reason)) == (reason and (None, "require", reason))


def test_require_refuses_when_its_tag_is_missing():
    assert said(require({"gone": "PV > 1"})(context(), ask())) == (None, "require")


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [
        (5.0, 0.0, 10.0, None),
        (0.0, 0.0, 10.0, None),
        (10.0, 0.0, 10.0, None),
        (11.0, 0.0, 10.0, (10.0, "r")),
        (-1.0, 0.0, 10.0, (0.0, "r")),
        (5.0, 3.0, 3.0, (3.0, "r")),
        (5.0, 10.0, 0.0, (None, "r")),
        (5.0, math.nan, 10.0, (None, "r")),
        (5.0, 0.0, math.nan, (None, "r")),
        (math.nan, 0.0, 10.0, (None, "r")),
    ],
)
def test_narrow(value, low, high, expected):
    assert said(narrow(ask(value), low, high, "r", "why")) == expected


def test_now_is_what_stands_in_the_plant_and_nan_for_an_unknown_tag():
    assert context(50.0).now(ask()) == 50.0
    assert math.isnan(context().now(ask(tag="NONE")))


def test_judge_allows_unchanged_what_no_rule_objects_to():
    assert judge(context(), [ask(51.0)]) == (Verdict(ask(51.0), 51.0, ""),)


def test_judge_of_nothing_is_nothing():
    assert judge(context(), []) == ()


def test_judge_narrows_to_the_tightest_rule_and_names_it():
    (verdict,) = judge(context(69.0), [ask(75.0)])
    assert said(verdict) == (70.0, "range")
    (verdict,) = judge(context(60.0), [ask(75.0)])
    assert said(verdict) == (62.0, "step")
    assert "2 degC" in verdict.reason


@pytest.mark.parametrize(
    ("now", "limits", "value", "allowed"),
    [(-53.6, {"low": -99.0, "high": -4.5}, 34.0, -4.5), (36.7, {"low": -16.7, "high": 99.0}, -57.3, -16.7)],
)
def test_rounding_never_carries_a_scaled_value_past_its_limit(now, limits, value, allowed):
    table = TagTable([replace(BOUNDED, max_step=200.0, **limits)])
    assert said(judge(context(now, table=table), [ask(value)])[0]) == (allowed, "range")


PAIR = TagTable([BOUNDED, replace(BOUNDED, name="SP2", max_step=1.0)])


def pair(**more):
    frame = make_frame(PAIR, {"SP": 50.0, "SP2": 60.0})
    return Context(frame, {"p": Writer(("SP", "SP2"), True), "q": Writer(("SP", "SP2"), True)}, {}, PERIOD, **more)


def test_a_batch_is_scaled_together_along_the_asked_move():
    verdicts = judge(pair(), [ask(51.0), ask(64.0, "SP2")])
    assert [said(v) for v in verdicts] == [(50.25, "step"), (61.0, "step")]


def test_batches_of_different_writers_or_plans_are_scaled_apart():
    assert [v.allowed for v in judge(pair(), [ask(51.0), ask(64.0, "SP2", by="q")])] == [51.0, 61.0]
    assert [v.allowed for v in judge(pair(), [ask(51.0), ask(64.0, "SP2", plan="two")])] == [51.0, 61.0]


def test_one_refused_part_refuses_the_whole_batch():
    verdicts = judge(pair(), [ask(51.0), ask(60.5, "SP2", needs=("GHOST",))])
    assert [said(v) for v in verdicts] == [(None, "batch"), (None, "inputs")]


def test_one_refused_part_leaves_other_batches_alone():
    verdicts = judge(pair(), [ask(51.0), ask(math.nan, "SP2", by="q")])
    assert [said(v) for v in verdicts] == [(51.0, ""), (None, "not-a-number")]


def test_who_only_shadows_is_in_nobodys_way():
    writers = {"p": Writer(ALL, may_write=True), "q": Writer(ALL, may_write=False)}
    verdicts = judge(context(writers=writers), [ask(51.0), ask(49.0, by="q")])
    assert [said(v) for v in verdicts] == [(51.0, ""), (49.0, "")]


def test_two_in_shadow_may_ask_for_the_same_tag():
    writers = {"p": Writer(ALL), "q": Writer(ALL)}
    assert [v.allowed for v in judge(context(writers=writers), [ask(51.0), ask(49.0, by="q")])] == [51.0, 49.0]


def test_asked_is_counted_anew_whatever_the_context_says():
    assert judge(context(asked={"SP": 7}), [ask(51.0)])[0].allowed == 51.0


@pytest.mark.parametrize(("now", "value"), [(75.0, 75.0), (75.0, 75.5), (75.0, 60.0), (30.0, 29.0)])
def test_a_plant_further_outside_its_range_than_a_step_is_left_alone(now, value):
    assert judge(context(now), [ask(value)])[0].allowed is None


def test_a_plant_outside_its_range_may_be_brought_back_in_one_step():
    assert said(judge(context(71.0), [ask(69.5)])[0]) == (69.5, "")


def test_any_objection_to_the_scaled_values_refuses():
    verdicts = judge(pair(), [ask(51.0), ask(64.0, "SP2")], (*BASIC, not_near_fifty))
    assert [said(v) for v in verdicts] == [(None, "odd"), (None, "batch")]


def not_near_fifty(context, proposal):
    return guard.refuse(proposal, "odd", "too near") if 50.0 < proposal.value < 50.5 else None


def test_without_rules_nothing_is_allowed():
    assert said(judge(context(), [ask(51.0)], ())[0]) == (None, "no-rules")
    assert judge(context(), [ask(50.0)], ())[0].allowed is None


@pytest.mark.parametrize("rule", [*BASIC, within_plan, require({"PV": "PV = 1"})])
def test_every_rule_passes_check_rule(rule):
    check_rule(rule)


def widens(context, proposal):
    return Verdict(proposal, proposal.value + 1.0, "bad", "wider")


def narrows_to_nan(context, proposal):
    return Verdict(proposal, math.nan, "bad", "nan")


def narrows_to_infinity(context, proposal):
    return Verdict(proposal, math.inf, "bad", "inf")


def halves(context, proposal):
    now = context.now(proposal)
    half = now + (proposal.value - now) / 2
    return Verdict(proposal, half, "bad", "half") if math.isfinite(half) and half != proposal.value else None


def has_no_code(context, proposal):
    return Verdict(proposal, None, "", "why")


def gives_no_reason(context, proposal):
    return Verdict(proposal, None, "bad")


def objects_to_what_it_allows(context, proposal):
    return Verdict(proposal, proposal.value, "bad", "as asked")


def changes_the_proposal(context, proposal):
    return Verdict(replace(proposal, value=45.0), None, "bad", "another proposal")


def moody():
    calls = []

    def rule(context, proposal):
        calls.append(proposal)
        return guard.refuse(proposal, "bad", "every second time") if len(calls) % 2 else None

    return rule


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (widens, "objected to by the rule itself"),
        (halves, "objected to by the rule itself"),
        (narrows_to_nan, "narrowed to nan"),
        (narrows_to_infinity, "narrowed to inf"),
        (has_no_code, "no code"),
        (gives_no_reason, "no reason"),
        (objects_to_what_it_allows, "allows what was asked"),
        (changes_the_proposal, "proposal was changed"),
        (moody(), "different verdicts"),
    ],
)
def test_check_rule_fails_for_a_bad_rule(rule, says):
    with pytest.raises(AssertionError, match=says):
        check_rule(rule)


def test_check_rule_fails_for_a_rule_that_raises():
    with pytest.raises(KeyError):
        check_rule(lambda context, proposal: context.last[proposal.tag] and None)
