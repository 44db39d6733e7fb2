"""Seen: at the edge of the box itself and on both sides of it, what is watched, what was never seen, the way back."""

from __future__ import annotations

import math
from typing import Any

import pytest
from situations import ask, frame_of, made, said, wide

from jayul.core.guard import FALLBACK, Context, Rule
from jayul.core.types import Tag, TagTable, Verdict
from jayul.rules.seen import BoxConfig, seen
from jayul.testing import make_frame

FIGURES = [f"r.{tag}.{what}" for tag in ("SP", "SP2", "PV") for what in ("low", "high")]
TABLE = TagTable(
    [
        *(Tag(name=name, unit="degC") for name in ("SP", "SP2", "PV")),
        Tag(name="STATE", kind="mode", states={0: "UP", 1: "RUN"}),
        *(Tag(name=name, kind="derived") for name in FIGURES),
    ]
)
STANDS = {"SP": 50.0, "SP2": 20.0, "PV": 58.0, "STATE": 1.0}
STANDS |= {"r.SP.low": 45.0, "r.SP.high": 55.0, "r.SP2.low": 19.0, "r.SP2.high": 23.0, "r.PV.low": 57.0, "r.PV.high": 61.0}


def rule_of(**config: Any) -> Rule:
    return made(seen, BoxConfig(**{"tags": ("SP", "SP2"), "watch": ("PV",), "state": "STATE", **config}), TABLE)


def there(**values: float) -> Context:
    known = {**STANDS, **{name.replace("_", "."): value for name, value in values.items()}}
    return wide(make_frame(TABLE, known))


ABOVE, BELOW = math.nextafter(55.0, 99.0), math.nextafter(45.0, 0.0)


@pytest.mark.parametrize(
    ("margin", "value", "allowed"),
    [
        (0.0, 55.0, "as asked"), (0.0, 45.0, "as asked"), (0.0, ABOVE, 55.0), (0.0, BELOW, 45.0), (0.0, math.nan, None),
        (0.5, 60.0, "as asked"), (0.5, 40.0, "as asked"), (0.5, 60.1, 60.0), (0.5, 39.9, 40.0),
    ],
)  # fmt: skip
def test_a_tag_stays_in_its_box(margin: float, value: float, allowed: Any) -> None:
    verdict = rule_of(margin=margin)(there(), ask(value))
    assert said(verdict) == (None if allowed == "as asked" else (allowed, "seen"))


def test_each_tag_has_a_box_of_its_own() -> None:
    assert said(rule_of()(there(), ask(22.0, "SP2"))) is None
    assert said(rule_of()(there(), ask(24.0, "SP2"))) == (23.0, "seen")


@pytest.mark.parametrize(
    ("margin", "pv", "refused"),
    [
        (0.0, 57.0, False), (0.0, 61.0, False), (0.0, 56.9, True), (0.0, 61.1, True),
        (0.25, 56.0, False), (0.25, 62.0, False), (0.25, 55.9, True), (0.25, 62.1, True),
    ],
)  # fmt: skip
def test_nothing_is_moved_while_what_is_watched_stands_outside_its_box(margin: float, pv: float, refused: bool) -> None:
    assert said(rule_of(margin=margin)(there(PV=pv), ask())) == ((None, "seen") if refused else None)


def test_what_stands_outside_may_be_brought_back_and_goes_no_further_out() -> None:
    rule = rule_of(watch=("SP", "PV"))
    assert rule(there(SP=60.0), ask(54.0)) is None
    assert said(rule(there(SP=60.0), ask(61.0))) == (55.0, "seen")


@pytest.mark.parametrize("name", ["PV", "STATE", "r_SP_low", "r_SP_high", "r_PV_low", "r_PV_high"])
def test_what_is_not_known_refuses(name: str) -> None:
    assert said(rule_of()(there(**{name: math.nan}), ask())) == (None, "seen")


@pytest.mark.parametrize("name", ["r_SP2_low", "r_SP2_high", "SP2"])
def test_what_is_not_looked_at_need_not_be_known(name: str) -> None:
    assert rule_of()(there(**{name: math.nan}), ask()) is None


def test_without_a_state_there_is_one_box() -> None:
    assert rule_of(state="")(there(STATE=math.nan), ask()) is None


def test_the_way_back_and_other_tags_are_left_alone() -> None:
    assert rule_of()(there(PV=99.0), ask(99.0, by=FALLBACK)) is None
    assert rule_of()(there(PV=99.0), ask(99.0, "PV")) is None


@pytest.mark.parametrize(
    ("values", "value", "allowed", "reason"),
    [
        ({}, 56.0, 55.0, "'SP' stood within 45 to 55 so far"),
        ({"PV": 99.0}, 51.0, None, "'PV' is 99, where it never stood: 57 to 61"),
        ({"PV": math.nan}, 51.0, None, "'PV' is not fresh and good"),
        ({"STATE": math.nan}, 51.0, None, "'STATE' is not fresh and good"),
        ({"r_SP_low": math.nan}, 51.0, None, "'SP' was not seen for 24 h in this state"),
        ({"r_PV_high": math.nan}, 51.0, None, "'PV' was not seen for 24 h in this state"),
    ],
)
def test_it_says_why(values: dict[str, float], value: float, allowed: float | None, reason: str) -> None:
    assert rule_of()(there(**values), ask(value)) == Verdict(ask(value), allowed, "seen", reason)


def test_it_reads_what_is_watched_and_the_state() -> None:
    assert BoxConfig(tags=("SP",), watch=("PV",), state="STATE").reads == ("PV", "STATE")
    assert BoxConfig(tags=("SP",)).reads == ()


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"tags": ()}, "'tags' names no tag"),
        ({"after": "soon"}, "duration 'soon' cannot be read; write it like '30 s', '10 min' or '1.5 h'"),
        ({"margin": -0.1}, "'margin' must not be negative"),
        ({"margin": math.nan}, "'margin' must not be negative"),
        ({"margin": math.inf}, "'margin' must not be negative"),
        ({"tags": ("SP", "GHOST")}, "unknown tag 'GHOST'"),
        ({"watch": ("GHOST",)}, "unknown tag 'GHOST'"),
        ({"state": "GHOST"}, "unknown tag 'GHOST'"),
    ],
)
def test_a_configuration_that_cannot_be_meant(config: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        rule_of(**config)
    assert str(error.value) == says


def test_a_rule_without_its_box_in_the_frame_refuses() -> None:
    assert said(made(seen, BoxConfig(tags=("SP",)))(wide(frame_of()), ask(50.0))) is None  # the low and high of SP stand there
    assert said(made(seen, BoxConfig(tags=("SP2",)))(wide(frame_of()), ask(20.0, "SP2"))) == (None, "seen")
