"""Each further rule: what it allows, narrows and refuses, at the bound itself and on both sides of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from situations import HOUR, TABLE, Said, ask, frame_of, made, reason, said, wide

from jayul.core.guard import FALLBACK, Context, Rule
from jayul.core.types import SECOND, Frame, Proposal, Tag, TagTable
from jayul.rules.age import AgeConfig, age
from jayul.rules.between import BetweenConfig, between
from jayul.rules.dwell import DwellConfig, dwell
from jayul.rules.halfspace import HalfspaceConfig, halfspace
from jayul.rules.hours import HoursConfig, hours
from jayul.rules.mode import ModeConfig, mode
from jayul.rules.moves import MovesConfig, moves
from jayul.rules.rate import RateConfig, rate
from jayul.rules.seen import BoxConfig
from jayul.rules.travel import TravelConfig, travel
from jayul.testing import START, make_frame

RULES: dict[str, Callable[[], Rule]] = {
    "rate": lambda: made(rate, RateConfig(tags=("SP",), window="1 h", most=4.0)),
    "travel": lambda: made(travel, TravelConfig(tags=("SP",), window="1 h", most=4.0)),
    "moves": lambda: made(moves, MovesConfig(tags=("SP",), window="1 h", most=3)),
    "dwell": lambda: made(dwell, DwellConfig(tags=("SP",), window="1 h")),
    "mode": lambda: made(mode, ModeConfig(tags=("SP",), mode="MODE", takes=("RCAS",))),
    "between": lambda: made(between, BetweenConfig(tags=("SP",), low="LOW", high="HIGH")),
    "age": lambda: made(age, AgeConfig(tags=("SP",), of=("LAB",), most="8 h")),
    "hours": lambda: made(hours, HoursConfig(tags=("SP",), timezone="UTC", begin="08:00", end="16:00")),
    "halfspace": lambda: made(halfspace, HalfspaceConfig({"SP": 1.0, "SP2": 2.0}, 100.0)),
}
ABOVE, BELOW = math.nextafter(52.0, 99.0), math.nextafter(47.0, 0.0)
STRICT: list[tuple[str, dict[str, float], float, Said]] = [
    ("rate", {"r.SP.low": 48.0, "r.SP.high": 51.0}, 52.0, None),
    ("rate", {"r.SP.low": 48.0, "r.SP.high": 51.0}, ABOVE, (52.0, "rate")),
    ("rate", {"r.SP.low": 48.0, "r.SP.high": 51.0}, 47.0, None),
    ("rate", {"r.SP.low": 48.0, "r.SP.high": 51.0}, BELOW, (47.0, "rate")),
    ("rate", {"r.SP.low": 48.0, "r.SP.high": 52.0}, 90.0, (52.0, "rate")),
    ("rate", {"r.SP.low": 46.0, "r.SP.high": 54.0}, 50.0, None),
    ("rate", {"r.SP.low": 46.0, "r.SP.high": 54.0}, 51.0, (50.0, "rate")),
    ("rate", {"r.SP.low": 45.9, "r.SP.high": 54.0}, 50.0, (None, "rate")),
    ("rate", {}, math.nan, (None, "rate")),
    ("travel", {"r.SP.travel": 2.0}, 52.0, None),
    ("travel", {"r.SP.travel": 2.0}, ABOVE, (52.0, "travel")),
    ("travel", {"r.SP.travel": 1.0}, 47.0, None),
    ("travel", {"r.SP.travel": 1.0}, BELOW, (47.0, "travel")),
    ("travel", {"r.SP.travel": 4.0}, 51.0, (50.0, "travel")),
    ("travel", {"r.SP.travel": 9.0}, 49.0, (50.0, "travel")),
    ("travel", {"r.SP.travel": 9.0}, 50.0, None),
    ("moves", {"r.SP.count": 2.0}, 90.0, None),
    ("moves", {"r.SP.count": 3.0}, 50.1, (None, "moves")),
    ("moves", {"r.SP.count": 4.0}, 49.9, (None, "moves")),
    ("moves", {"r.SP.count": 9.0}, 50.0, None),
    ("moves", {"r.SP.count": 9.0}, math.nextafter(50.0, 99.0), (None, "moves")),
    ("dwell", {"r.SP.count": 0.0}, 90.0, None),
    ("dwell", {"r.SP.count": 1.0}, 50.1, (None, "dwell")),
    ("dwell", {"r.SP.count": 1.0}, 50.0, None),
    ("dwell", {"r.SP.count": 1.0}, math.nextafter(50.0, 99.0), (None, "dwell")),
    ("mode", {"MODE": 2.0}, 90.0, None),
    ("mode", {"MODE": 1.0}, 51.0, (None, "mode")),
    ("mode", {"MODE": 1.9999}, 51.0, (None, "mode")),
    ("mode", {"MODE": 5.0}, 51.0, (None, "mode")),
    ("between", {}, 60.0, None),
    ("between", {}, math.nextafter(60.0, 99.0), (60.0, "between")),
    ("between", {}, 45.0, None),
    ("between", {}, math.nextafter(45.0, 0.0), (45.0, "between")),
    ("between", {"LOW": 60.0}, 99.0, (60.0, "between")),
    ("between", {"LOW": 60.1}, 60.0, (None, "between")),
]


@pytest.mark.parametrize(("kind", "values", "value", "expected"), STRICT)
def test_a_rule_at_its_bound(kind: str, values: dict[str, float], value: float, expected: Said) -> None:
    assert said(RULES[kind]()(wide(frame_of(values)), ask(value))) == expected


RELIED_ON: list[tuple[str, str]] = [
    ("rate", "r.SP.low"),
    ("rate", "r.SP.high"),
    ("travel", "r.SP.travel"),
    ("moves", "r.SP.count"),
    ("dwell", "r.SP.count"),
    ("mode", "MODE"),
    ("between", "LOW"),
    ("between", "HIGH"),
    ("age", "LAB"),
]


@pytest.mark.parametrize(
    "ill",
    [{"bad": True}, {"ages": 2 * 86400 * SECOND}, {"ages": -6 * SECOND}, {"value": math.nan}, {"value": math.inf}],
    ids=str,
)
@pytest.mark.parametrize(("kind", "name"), RELIED_ON)
def test_what_a_rule_relies_on_must_be_fresh_and_good(kind: str, name: str, ill: dict[str, Any]) -> None:
    rule = RULES[kind]()
    frame = frame_of(
        {name: ill["value"]} if "value" in ill else {},
        ages={name: ill["ages"]} if "ages" in ill else {},
        bad=name if "bad" in ill else "",
    )
    assert rule(wide(), ask()) is None
    assert said(rule(wide(frame), ask())) == (None, kind)


def test_a_rule_without_its_history_in_the_frame_refuses() -> None:
    bare = TagTable([TABLE["SP"]])
    frame = Frame(START, bare, np.array([50.0]), np.array([START]), np.array([START]), np.zeros(1, dtype=np.uint32))
    for make, config in (
        (rate, RateConfig(tags=("SP",), window="1 h", most=4.0)),
        (travel, TravelConfig(tags=("SP",), window="1 h", most=4.0)),
        (moves, MovesConfig(tags=("SP",), window="1 h", most=4)),
        (dwell, DwellConfig(tags=("SP",), window="1 h")),
    ):
        verdict = made(make, config, bare)(wide(frame), ask())
        assert verdict is not None
        assert verdict.allowed is None


SPENT = {"r.SP.count": 9.0, "r.SP.travel": 9.0, "r.SP.low": 30.0, "r.SP.high": 50.0, "MODE": 0.0, "LOW": 60.0, "HIGH": 40.0}
LATE = {"LAB": 9 * HOUR}
SPARED = {"travel", "moves", "dwell", "hours"}


def spent(tag: str, by: str) -> tuple[Context, Proposal]:
    """Make a situation in which every rule objects to what is asked for SP."""
    proposal = ask(90.0, tag, by)
    return wide(frame_of(SPENT, ages=LATE), batch={tag: 90.0, "SP2": 30.0}), proposal


@pytest.mark.parametrize("kind", RULES)
def test_every_rule_objects_to_a_policy(kind: str) -> None:
    verdict = RULES[kind]()(*spent("SP", "p"))
    assert verdict is not None
    assert verdict.rule == kind


@pytest.mark.parametrize("kind", RULES)
def test_the_way_back_is_spared_by_rules_that_spare_wear_and_staff_and_by_no_other(kind: str) -> None:
    assert (RULES[kind]()(*spent("SP", FALLBACK)) is None) == (kind in SPARED)


@pytest.mark.parametrize("kind", RULES)
def test_a_tag_that_a_rule_is_not_for_is_left_alone(kind: str) -> None:
    assert RULES[kind]()(*spent("LEVEL", "p")) is None


FOR_ALL: dict[str, Callable[[], Rule]] = {
    "mode": lambda: made(mode, ModeConfig(mode="MODE", takes=("RCAS",))),
    "hours": lambda: made(hours, HoursConfig(timezone="UTC", begin="08:00", end="16:00")),
    "age": lambda: made(age, AgeConfig(of=("LAB",), most="8 h")),
}


@pytest.mark.parametrize("tag", ["SP", "SP2", "LEVEL", "GHOST"])
@pytest.mark.parametrize("kind", FOR_ALL)
def test_without_tags_a_rule_is_for_all(kind: str, tag: str) -> None:
    assert said(FOR_ALL[kind]()(*spent(tag, "p"))) == (None, kind)


# mode


@pytest.mark.parametrize(
    ("tag", "takes", "code", "taken"),
    [
        ("MODE", ("AUTO", "RCAS"), 1.0, True),
        ("MODE", ("AUTO", "RCAS"), 0.0, False),
        ("MODE", (2,), 2.0, True),
        ("MODE", (2,), 0.0, False),
        ("MODE", (0, "RCAS"), 0.0, True),
        ("CODE", (7,), 7.0, True),
        ("CODE", (7,), 7.5, False),
        ("CODE", (-1,), -1.0, True),
    ],
)
def test_mode_by_name_or_code(tag: str, takes: tuple[str | int, ...], code: float, taken: bool) -> None:
    rule = made(mode, ModeConfig(mode=tag, takes=takes))
    assert (rule(wide(frame_of({tag: code})), ask()) is None) == taken


@pytest.mark.parametrize(("tag", "state"), [("MODE", "CAS"), ("MODE", 3), ("MODE", "2"), ("MODE", "rcas"), ("CODE", "RCAS")])
def test_a_state_that_is_not_there_is_found_when_the_rule_is_made(tag: str, state: str | int) -> None:
    with pytest.raises(ValueError, match=f"'{tag}' has no state '{state}'"):
        made(mode, ModeConfig(mode=tag, takes=("RCAS", state) if tag == "MODE" else (state,)))


# between


@pytest.mark.parametrize(
    ("config", "value", "expected"),
    [
        (BetweenConfig(tags=("SP",), low="LOW"), 1e9, None),
        (BetweenConfig(tags=("SP",), low="LOW"), 44.0, (45.0, "between")),
        (BetweenConfig(tags=("SP",), high="HIGH"), -1e9, None),
        (BetweenConfig(tags=("SP",), high="HIGH"), 61.0, (60.0, "between")),
    ],
)
def test_one_limit_may_be_missing(config: BetweenConfig, value: float, expected: Said) -> None:
    assert said(made(between, config)(wide(), ask(value))) == expected


@pytest.mark.parametrize("limits", [{"low": "LEVEL"}, {"high": "LEVEL"}, {"low": "LOW", "high": "LEVEL"}])
def test_a_limit_in_another_unit_is_refused(limits: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="'LEVEL' is in %, 'SP' in degC"):
        made(between, BetweenConfig(tags=("SP",), **limits))


# age


@pytest.mark.parametrize(
    ("late", "expected"),
    [(0, None), (8 * HOUR, None), (8 * HOUR + 1, (None, "age")), (-SECOND, None), (25 * HOUR, (None, "age"))],
)
def test_age_counts_from_the_source_time(late: int, expected: Said) -> None:
    assert said(RULES["age"]()(wide(frame_of(ages={"LAB": late})), ask())) == expected


def test_every_tag_of_age_must_be_young() -> None:
    rule = made(age, AgeConfig(of=("LAB", "LEVEL"), most="30 s"))
    assert rule(wide(frame_of(ages={"LEVEL": 30 * SECOND})), ask()) is None
    assert said(rule(wide(frame_of(ages={"LEVEL": 31 * SECOND})), ask())) == (None, "age")


@pytest.mark.parametrize("config", [RateConfig, TravelConfig])
@pytest.mark.parametrize("most", [5e-324, 0.5, 1.0, 1e308])
def test_any_bound_above_zero_can_be_given(config: Callable[..., Any], most: float) -> None:
    assert config(tags=("SP",), window="1 h", most=most).most == most


def test_a_single_move_may_be_the_most() -> None:
    rule = made(moves, MovesConfig(tags=("SP",), window="1 h", most=1))
    assert rule(wide(frame_of({"r.SP.count": 0.0})), ask()) is None
    assert said(rule(wide(frame_of({"r.SP.count": 1.0})), ask())) == (None, "moves")


@pytest.mark.parametrize(
    ("config", "portable"),
    [
        (RateConfig, False), (TravelConfig, False), (MovesConfig, False), (DwellConfig, False), (BoxConfig, False),
        (ModeConfig, True), (BetweenConfig, True), (HoursConfig, True), (AgeConfig, True), (HalfspaceConfig, True),
    ],
)  # fmt: skip
def test_which_rules_can_be_judged_anew_elsewhere(config: Any, portable: bool) -> None:
    assert config.portable is portable


@pytest.mark.parametrize(
    "config", [RateConfig, TravelConfig, MovesConfig, DwellConfig, ModeConfig, BetweenConfig, HoursConfig, AgeConfig]
)
def test_unknown_keys_are_refused(config: type) -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field `nope`"):
        msgspec.convert({"nope": 1}, config)


def test_every_code_of_a_state_is_taken() -> None:
    table = TagTable([Tag(name="M", kind="mode", states={0: "MAN", 1: "AUTO", 2: "AUTO"})])
    rule = made(mode, ModeConfig(mode="M", takes=("AUTO",)), table)
    for code, taken in ((0.0, False), (1.0, True), (2.0, True)):
        frame = make_frame(table, {"M": code})
        assert (rule(Context(frame, {}, {}, SECOND), ask(tag="M")) is None) == taken


@pytest.mark.parametrize(
    ("tag", "code", "text"),
    [
        ("MODE", 0.0, "'MODE' is MAN"),
        ("MODE", 5.0, "'MODE' is 5"),
        ("MODE", 1.5, "'MODE' is 1.5"),  # a code between two states is not named after one
        ("CODE", 6.0, "'CODE' is 6"),
    ],
)
def test_a_refusal_names_the_state_that_stands(tag: str, code: float, text: str) -> None:
    rule = made(mode, ModeConfig(mode=tag, takes=(2,)))
    assert reason(rule(wide(frame_of({tag: code})), ask())) == text
