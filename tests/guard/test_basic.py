"""The basic rules, the plan and the conditions: what each refuses, what it narrows, and the code that it gives."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace
from situations import ALL, BOUNDED, PERIOD, PLAN, ask, said, small

from jayul.core.guard import Context, Writer
from jayul.core.types import BAD, SECOND, Tag, TagTable
from jayul.rules import basic
from jayul.rules.plan import within_plan
from jayul.rules.require import require
from jayul.testing import START, make_frame


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "51", None, True, 51, 10**400, 51j])
def test_number_refuses_what_is_not_a_finite_float(value):
    assert said(basic.number(small(), ask(value))) == (None, "not-a-number")


@pytest.mark.parametrize("value", [51.0, -0.0, 5e-324, 1.7976931348623157e308])
def test_number_lets_finite_floats_pass(value):
    assert basic.number(small(), ask(value)) is None


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
    assert said(basic.allow_list(small(writers={"p": Writer(listed, True)}), ask(tag=tag, by=by))) == expected


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
    verdict = basic.writable(small(table=TagTable([tag])), ask())
    assert said(verdict) == (code and (None, code))


def test_writable_takes_an_unknown_tag_for_a_safety_tag():
    assert said(basic.writable(small(), ask(tag="NONE"))) == (None, "safety-tag")


@pytest.mark.parametrize(
    ("expires", "code"), [(0, None), (START, None), (START + 1, None), (START - 1, "expired"), (1, "expired")]
)
def test_unexpired(expires, code):
    assert said(basic.unexpired(small(), ask(expires=expires))) == (code and (None, code))


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
    assert said(basic.inputs(small(**frame), ask(needs=needs))) == (code and (None, code))


def test_inputs_names_the_one_that_is_not_good():
    assert "'GHOST'" in basic.inputs(small(), ask(needs=("PV", "GHOST"))).reason


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
    assert said(basic.single(small(writers=writers, asked=asked), ask())) == (code and (None, code))


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
    assert said(basic.in_range(small(), ask(value))) == expected


@pytest.mark.parametrize("tag", ["BARE", "NONE"])
def test_in_range_refuses_a_tag_without_range(tag):
    assert said(basic.in_range(small(), ask(tag=tag))) == (None, "range")


@pytest.mark.parametrize("limits", [{"low": None}, {"high": None}, {"low": math.nan}, {"high": math.nan}, {"low": 71.0}])
def test_in_range_refuses_where_no_value_can_be_right(limits):
    assert said(basic.in_range(small(table=TagTable([replace(BOUNDED, **limits)])), ask())) == (None, "range")


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
    assert said(basic.step(small(now, last=last), ask(value))) == expected


@pytest.mark.parametrize("value", [45.0, 55.0])
def test_a_last_value_that_is_not_a_number_does_not_widen_the_step(value):
    allowed = basic.step(small(50.0, last=math.nan), ask(value)).allowed
    assert allowed is None or abs(allowed - 50.0) <= 2.0


@pytest.mark.parametrize("tag", ["BARE", "NONE"])
def test_step_refuses_a_tag_without_step_limit(tag):
    assert said(basic.step(small(), ask(tag=tag))) == (None, "step")


@pytest.mark.parametrize("max_step", [math.nan, -1.0])
def test_step_refuses_where_no_step_can_be_right(max_step):
    assert said(basic.step(small(table=TagTable([replace(BOUNDED, max_step=max_step)])), ask())) == (None, "step")


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
        (replace(PLAN, ramp={}), ask(50.0, plan=PLAN.id), None),
        (replace(PLAN, ramp={}), ask(50.001, plan=PLAN.id), (50.0, "plan")),  # no ramp, no move
    ],
)
def test_within_plan(plan, proposal, expected):
    assert said(within_plan(small(writers={"p": Writer(ALL, True, plan)}), proposal)) == expected


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
    assert said(require({"gone": "PV > 1"})(small(), ask())) == (None, "require")
