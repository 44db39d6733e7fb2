"""How verdicts on a batch come about: narrowing, scaling along the asked move, refusing as a whole, one batch after another."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace
from situations import ALL, BOUNDED, PERIOD, ask, said, small

from jayul.core import guard
from jayul.core.guard import Context, Writer, narrow
from jayul.core.types import TagTable, Verdict
from jayul.rules.basic import BASIC, PORTABLE
from jayul.testing import make_frame


def judge(context, proposals, rules=BASIC):
    return guard.judge(context, proposals, rules)


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
    assert small(50.0).now(ask()) == 50.0
    assert math.isnan(small().now(ask(tag="NONE")))


def test_judge_allows_unchanged_what_no_rule_objects_to():
    assert judge(small(), [ask(51.0)]) == (Verdict(ask(51.0), 51.0, ""),)


def test_judge_of_nothing_is_nothing():
    assert judge(small(), []) == ()


def test_judge_narrows_to_the_tightest_rule_and_names_it():
    (verdict,) = judge(small(69.0), [ask(75.0)])
    assert said(verdict) == (70.0, "range")
    (verdict,) = judge(small(60.0), [ask(75.0)])
    assert said(verdict) == (62.0, "step")
    assert "2 degC" in verdict.reason


@pytest.mark.parametrize(
    ("now", "limits", "value", "allowed"),
    [(-53.6, {"low": -99.0, "high": -4.5}, 34.0, -4.5), (36.7, {"low": -16.7, "high": 99.0}, -57.3, -16.7)],
)
def test_rounding_never_carries_a_scaled_value_past_its_limit(now, limits, value, allowed):
    table = TagTable([replace(BOUNDED, max_step=200.0, **limits)])
    assert said(judge(small(now, table=table), [ask(value)])[0]) == (allowed, "range")


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
    verdicts = judge(small(writers=writers), [ask(51.0), ask(49.0, by="q")])
    assert [said(v) for v in verdicts] == [(51.0, ""), (49.0, "")]


def test_two_in_shadow_may_ask_for_the_same_tag():
    writers = {"p": Writer(ALL), "q": Writer(ALL)}
    assert [v.allowed for v in judge(small(writers=writers), [ask(51.0), ask(49.0, by="q")])] == [51.0, 49.0]


def test_asked_is_counted_anew_whatever_the_context_says():
    assert judge(small(asked={"SP": 7}), [ask(51.0)])[0].allowed == 51.0


@pytest.mark.parametrize(("now", "value"), [(75.0, 75.0), (75.0, 75.5), (75.0, 60.0), (30.0, 29.0)])
def test_a_plant_further_outside_its_range_than_a_step_is_left_alone(now, value):
    assert judge(small(now), [ask(value)])[0].allowed is None


def test_a_plant_outside_its_range_may_be_brought_back_in_one_step():
    assert said(judge(small(71.0), [ask(69.5)])[0]) == (69.5, "")


def test_any_objection_to_the_scaled_values_refuses():
    verdicts = judge(pair(), [ask(51.0), ask(64.0, "SP2")], (*BASIC, not_near_fifty))
    assert [said(v) for v in verdicts] == [(None, "odd"), (None, "batch")]


def not_near_fifty(context, proposal):
    return guard.refuse(proposal, "odd", "too near") if 50.0 < proposal.value < 50.5 else None


def test_without_rules_nothing_is_allowed():
    assert said(judge(small(), [ask(51.0)], ())[0]) == (None, "no-rules")
    assert judge(small(), [ask(50.0)], ())[0].allowed is None


def against(context, proposal):
    return Verdict(proposal, 49.0, "x", "y") if proposal.value > 50 else None


@pytest.mark.parametrize(
    ("now", "asked", "last", "rules"),
    [(75.0, 76.0, None, BASIC), (50.0, 44.0, 62.0, BASIC), (50.0, 51.0, None, (*BASIC, against))],
)
def test_nothing_moves_the_other_way(now, asked, last, rules):
    table = TagTable([replace(BOUNDED, max_step=10.0)])
    allowed = judge(small(now, last=last, table=table), [ask(asked)], rules)[0].allowed
    assert allowed is None or min(now, asked) <= allowed <= max(now, asked)


def test_two_that_may_write_the_same_tag_are_both_refused():
    writers = {"p": Writer(ALL, may_write=True), "q": Writer(ALL, may_write=True)}
    verdicts = judge(small(writers=writers), [ask(51.0), ask(51.0, by="q")])
    assert [said(v) for v in verdicts] == [(None, "single"), (None, "single")]


def test_a_refused_batch_keeps_its_wishes():
    asked = [ask(51.0), ask(64.0, "SP2")]
    for rules in ((*BASIC, not_near_fifty), (), (lambda c, p: guard.refuse(p, "no", "why"),)):
        assert [v.proposal for v in judge(pair(), asked, rules)] == asked


def test_a_value_without_an_objection_is_allowed_to_the_last_digit_beside_one_that_is_held_back_by_less():
    limit = 1.0

    def below(context, proposal):
        return narrow(proposal, -math.inf, limit, "below", "too high") if proposal.tag == "SP" else None

    now, asked = -10.8, 43.9
    assert now + (asked - now) != asked
    context = Context(make_frame(PAIR, {"SP": -1e9, "SP2": now}), {"p": Writer(("SP", "SP2"), True)}, {}, PERIOD)
    verdicts = judge(context, [ask(math.nextafter(limit, 2.0)), ask(asked, "SP2")], (below,))
    assert [v.allowed for v in verdicts] == [limit, asked]


def test_a_rule_that_widens_does_not_carry_a_value_further_than_asked():
    def wider(context, proposal):
        return Verdict(proposal, 52.0, "wider", "more is better") if proposal.value == 51.0 else None

    assert said(judge(small(), [ask(51.0)], (wider,))[0]) == (None, "wider")


def test_an_objection_to_what_stands_still_carries_nothing_else_further_than_asked():
    def odd(context, proposal):
        stands = proposal.tag == "SP" and context.batch["SP2"] == 61.0
        return Verdict(proposal, 49.0, "odd", "not beside 61") if stands else None

    verdicts = judge(pair(), [ask(50.0), ask(61.0, "SP2")], (odd,))
    assert [said(v) for v in verdicts] == [(None, "odd"), (None, "batch")]


def test_what_a_reason_is_filled_with_is_put_in_only_if_it_is_given():
    assert narrow(ask(5.0), 0.0, 1.0, "r", "{:g} of {}", 2.0, "m").reason == "2 of m"
    assert narrow(ask(5.0), 0.0, 1.0, "r", "set by {somebody}").reason == "set by {somebody}"


def test_who_is_unknown_may_do_nothing():
    assert small().writer(ask(by="stranger")) == Writer((), may_write=False, plan=None)


def test_the_basic_rules_stand_in_this_order():
    names = ["number", "allow_list", "writable", "unexpired", "inputs", "single", "in_range", "step"]
    assert [rule.__name__ for rule in BASIC] == names
    assert [rule.__name__ for rule in PORTABLE] == [name for name in names if name != "inputs"]


def test_the_name_of_the_way_back_is_that_of_the_record():
    assert guard.FALLBACK == "fallback"
