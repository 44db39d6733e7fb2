"""Every rule passes `check_rule`; every line of that check is shown to fail on a rule that is bad in one way."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from jayul.core import guard
from jayul.core.guard import Context, Rule
from jayul.core.types import Event, Proposal, Reading, Tag, TagTable, Verdict
from jayul.rules import Setting
from jayul.rules.age import AgeConfig, age
from jayul.rules.basic import BASIC
from jayul.rules.between import BetweenConfig, between
from jayul.rules.dwell import DwellConfig, dwell
from jayul.rules.halfspace import HalfspaceConfig, halfspace
from jayul.rules.hours import HoursConfig, hours
from jayul.rules.mode import ModeConfig, mode
from jayul.rules.moves import MovesConfig, moves
from jayul.rules.orders import orders
from jayul.rules.plan import within_plan
from jayul.rules.rate import RateConfig, rate
from jayul.rules.require import require
from jayul.rules.travel import TravelConfig, travel
from jayul.testing import DEMO_TAGS, START, check_rule

WIDE = TagTable([*DEMO_TAGS.tags, *(Tag(name=f"r.SP.{what}", kind="derived") for what in ("count", "travel", "low", "high"))])
HERE = np.arange(len(DEMO_TAGS.tags))


def made(make: Any, config: Any, table: TagTable) -> Rule:
    return make(config, Setting("r", table))


def order(by: str = "Kim", **body: Any) -> tuple[tuple[str, str], Event]:
    return ("SP", by), Event("limit", by, START, {"tag": "SP", **body}, "id")


def remembering(rule: Rule, **figures: float) -> Rule:
    """Give the rule a history in every frame."""
    readings = [Reading(f"r.SP.{what}", value) for what, value in figures.items()]

    def wider(context: Context, proposal: Proposal) -> Verdict | None:
        return rule(replace(context, frame=context.frame.spread(WIDE, HERE, HERE).join(readings)), proposal)

    return wider


def together(rule: Rule) -> Rule:
    """Ask for the proposal as the batch that it is."""
    return lambda context, proposal: rule(replace(context, batch={proposal.tag: proposal.value}), proposal)


def under(*given: tuple[tuple[str, str], Event]) -> Rule:
    return lambda context, proposal: orders(replace(context, orders=dict(given)), proposal)


CONFORMING: dict[str, Rule] = {
    "rate": remembering(made(rate, RateConfig(tags=("SP",), window="1 h", most=20.0), WIDE), low=45.0, high=60.0),
    "rate spent": remembering(made(rate, RateConfig(tags=("SP",), window="1 h", most=2.0), WIDE), low=45.0, high=60.0),
    "rate unknown": made(rate, RateConfig(tags=("SP",), window="1 h", most=2.0), DEMO_TAGS),
    "travel": remembering(made(travel, TravelConfig(tags=("SP", "BARE"), window="1 h", most=7.0), WIDE), travel=2.0),
    "travel spent": remembering(made(travel, TravelConfig(tags=("SP",), window="1 h", most=7.0), WIDE), travel=9.0),
    "moves": remembering(made(moves, MovesConfig(tags=("SP",), window="1 h", most=2), WIDE), count=1.0),
    "moves spent": remembering(made(moves, MovesConfig(tags=("SP",), window="1 h", most=2), WIDE), count=2.0),
    "dwell": remembering(made(dwell, DwellConfig(tags=("SP",), window="1 h"), WIDE), count=0.0),
    "dwell spent": remembering(made(dwell, DwellConfig(tags=("SP",), window="1 h"), WIDE), count=1.0),
    "mode": made(mode, ModeConfig(mode="TRIP", takes=(0,)), DEMO_TAGS),
    "mode off": made(mode, ModeConfig(mode="TRIP", takes=(1,)), DEMO_TAGS),
    "between": made(between, BetweenConfig(tags=("SP",), high="PV"), DEMO_TAGS),
    "between low": made(between, BetweenConfig(tags=("SP", "BARE"), low="PV"), DEMO_TAGS),
    "between both": made(between, BetweenConfig(tags=("SP",), low="BARE", high="PV"), DEMO_TAGS),
    "between none": made(between, BetweenConfig(tags=("SP",), low="PV", high="BARE"), DEMO_TAGS),
    "hours": made(hours, HoursConfig(timezone="UTC"), DEMO_TAGS),
    "hours off": made(hours, HoursConfig(timezone="UTC", begin="08:00", end="16:00"), DEMO_TAGS),
    "age": made(age, AgeConfig(of=("PV",), most="1 min"), DEMO_TAGS),
    "half-space": together(made(halfspace, HalfspaceConfig({"SP": 1.0, "PV": 1.0}, 110.0), DEMO_TAGS)),
    "half-space negative": together(made(halfspace, HalfspaceConfig({"SP": -2.0, "BARE": 1.0}, -90.0), DEMO_TAGS)),
    "half-space alone": made(halfspace, HalfspaceConfig({"SP": 1.0}, 60.0), DEMO_TAGS),
    "limits": under(order(low=45.0, high=60.0), order("Lee", high=55.0)),
    "limits that leave nothing": under(order(high=45.0), order("Lee", low=55.0)),
    "lock": under(order(lock=True)),
    "clear": under(order(clear=True)),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFORMING)
def test_conformance(name: str) -> None:
    check_rule(CONFORMING[name])


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


def test_the_conformance_check_finds_a_rule_that_widens() -> None:
    def strides(context: Context, proposal: Proposal) -> Verdict | None:
        now = context.now(proposal)
        return Verdict(proposal, now + 2.0, "x", "y") if 0 < proposal.value - now < 1 else None

    with pytest.raises(AssertionError, match="widened"):
        check_rule(strides)
