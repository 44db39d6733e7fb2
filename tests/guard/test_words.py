"""What an operator and an engineer read, word by word: the reason of every refusal, and what is wrong with a configuration."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace
from situations import BOUNDED, PLAN, TABLE, ask, frame_of, made, order, ordered, small, wide

from jayul.core.guard import Rule, Writer, judge
from jayul.core.types import Proposal, TagTable, Verdict
from jayul.rules import For, Leave, Setting, basic
from jayul.rules.age import AgeConfig, age
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
from jayul.testing import START

BASIC: list[tuple[Rule, dict[str, Any], Proposal, float | None, str, str]] = [
    (basic.number, {}, ask(math.inf), None, "not-a-number", "asked value inf is not a finite number"),
    (basic.number, {}, ask("51"), None, "not-a-number", "asked value '51' is not a finite number"),
    (basic.allow_list, {}, ask(tag="NONE"), None, "unknown-tag", "no tag 'NONE'"),
    (basic.allow_list, {}, ask(by="q"), None, "allow-list", "'q' may not write 'SP'"),
    (basic.writable, {}, ask(tag="TRIP"), None, "safety-tag", "'TRIP' belongs to the safety system"),
    (basic.writable, {}, ask(tag="PV"), None, "read-only", "'PV' is not writable"),
    (basic.writable, {}, ask(tag="BARE"), None, "unbounded", "'BARE' lacks low, high, max_step, unit or stale_after"),
    (basic.writable, {}, ask(unit="K"), None, "unit", "asked in K, 'SP' is in degC"),
    (basic.unexpired, {}, ask(expires=START - 1), None, "expired", "the proposal is past its time"),
    (basic.inputs, {}, ask(needs=("PV", "GHOST")), None, "inputs", "'GHOST' is not fresh and good"),
    (basic.single, {"asked": {"SP": 2}}, ask(), None, "single", "more than one proposal for 'SP'"),
    (basic.in_range, {}, ask(71.0), 70.0, "range", "range 40 to 70 degC"),
    (basic.in_range, {}, ask(math.nan), None, "range", "range 40 to 70 degC"),
    (basic.in_range, {}, ask(tag="BARE"), None, "range", "no range"),
    (basic.step, {}, ask(53.0), 52.0, "step", "step 2 degC from 50"),
    (basic.step, {"last": 49.5}, ask(53.0), 51.5, "step", "step 2 degC from 49.5"),
    (basic.step, {}, ask(tag="BARE"), None, "step", "no step limit"),
]


@pytest.mark.parametrize(
    ("rule", "more", "proposal", "allowed", "code", "reason"), BASIC, ids=lambda value: value if type(value) is str else ""
)
def test_a_basic_rule_says(
    rule: Rule, more: dict[str, Any], proposal: Proposal, allowed: float | None, code: str, reason: str
) -> None:
    assert rule(small(**more), proposal) == Verdict(proposal, allowed, code, reason)


@pytest.mark.parametrize(
    ("proposal", "expires", "allowed", "reason"),
    [
        (ask(51.0), 0, None, f"'SP' is not part of plan {PLAN.id}"),
        (ask(51.0, plan=PLAN.id), START - 1, None, f"plan {PLAN.id} has expired"),
        (ask(52.0, plan=PLAN.id), 0, 51.0, f"plan {PLAN.id}: ramp to 60"),
    ],
)
def test_a_plan_says(proposal: Proposal, expires: int, allowed: float | None, reason: str) -> None:
    plan = replace(PLAN, expires=expires or PLAN.expires)
    context = small(writers={"p": Writer(("SP",), True, plan)})
    assert within_plan(context, proposal) == Verdict(proposal, allowed, "plan", reason)


@pytest.mark.parametrize(
    ("status", "value", "reason"),
    [(0, 0.0, "does not hold: SP > 1 [degC]"), (0x8000_0000, 1.0, "unknown whether SP > 1 [degC]")],
)
def test_a_condition_says(status: int, value: float, reason: str) -> None:
    context = small(table=TagTable([replace(BOUNDED, name="SP")]), now=value, status=status)
    assert require({"SP": "SP > 1 [degC]"})(context, ask()) == Verdict(ask(), None, "require", reason)


RATE = RateConfig(tags=("SP",), window="1 h", most=4.0)
TRAVEL = TravelConfig(tags=("SP",), window="1 h", most=4.5)
MOVES = MovesConfig(tags=("SP",), window="2 h", most=3)
DWELL = DwellConfig(tags=("SP",), window="30 min")
BETWEEN = BetweenConfig(tags=("SP",), low="LOW", high="HIGH")
SAYS: list[tuple[Callable[[], Rule], dict[str, float], float, float | None, str, str]] = [
    (lambda: made(rate, RATE), {"r.SP.low": 49.0}, 54.0, 53.0, "rate", "at most 4 in 1 h"),
    (lambda: made(rate, RATE), {"r.SP.low": math.nan}, 51.0, None, "rate", "unknown how 'SP' moved before"),
    (lambda: made(travel, TRAVEL), {"r.SP.travel": 2.0}, 53.0, 52.5, "travel", "at most 4.5 of movement in 1 h"),
    (lambda: made(travel, TRAVEL), {"r.SP.travel": math.nan}, 51.0, None, "travel", "unknown how 'SP' moved before"),
    (lambda: made(moves, MOVES), {"r.SP.count": 3.0}, 51.0, None, "moves", "at most 3 moves in 2 h"),
    (lambda: made(moves, MOVES), {"r.SP.count": math.nan}, 51.0, None, "moves", "unknown how 'SP' moved before"),
    (lambda: made(dwell, DWELL), {"r.SP.count": 1.0}, 51.0, None, "dwell", "'SP' rests for 30 min after a move"),
    (lambda: made(dwell, DWELL), {"r.SP.count": math.nan}, 51.0, None, "dwell", "unknown how 'SP' moved before"),
    (lambda: made(mode, ModeConfig(mode="MODE", takes=(1,))), {}, 51.0, None, "mode", "'MODE' is RCAS"),
    (lambda: made(mode, ModeConfig(mode="MODE", takes=(1,))), {"MODE": math.nan}, 51.0, None, "mode", "unknown in which state 'MODE' is"),
    (lambda: made(between, BETWEEN), {}, 61.0, 60.0, "between", "limits of the plant: 45 to 60"),
    (lambda: made(between, BETWEEN), {"LOW": math.nan}, 51.0, None, "between", "the limit 'LOW' is not fresh and good"),
    (lambda: made(between, BETWEEN), {"LOW": math.nan, "HIGH": math.nan}, 51.0, None, "between", "the limit 'LOW' is not fresh and good"),
    (lambda: made(between, BetweenConfig(tags=("SP",), high="HIGH")), {}, 61.0, 60.0, "between", "limits of the plant: -inf to 60"),
    (lambda: made(between, BetweenConfig(tags=("SP",), low="LOW")), {}, 44.0, 45.0, "between", "limits of the plant: 45 to inf"),
    (lambda: made(age, AgeConfig(of=("LAB",), most="8 h")), {"LAB": math.nan}, 51.0, None, "age", "'LAB' is older than 8 h, or not good"),
    (lambda: made(hours, HoursConfig(timezone="UTC", begin="08:00")), {}, 51.0, None, "hours", "Thu 00:00 is outside the hours for moves"),
    (lambda: made(hours, HoursConfig(timezone="Asia/Seoul", end="08:00")), {}, 51.0, None, "hours", "Thu 09:00 is outside the hours for moves"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "values", "value", "allowed", "code", "reason"), SAYS)
def test_a_further_rule_says(
    make: Callable[[], Rule], values: dict[str, float], value: float, allowed: float | None, code: str, reason: str
) -> None:
    assert make()(wide(frame_of(values)), ask(value)) == Verdict(ask(value), allowed, code, reason)


def test_a_half_space_says_which_sum_it_bounds() -> None:
    rule = made(halfspace, HalfspaceConfig({"SP2": 2.0, "SP": 1.5}, 115.0))
    (verdict,) = judge(wide(), [ask(52.0)], [rule])
    assert verdict == Verdict(ask(52.0), 50.0, "halfspace", "1.5 SP + 2 SP2 <= 115")
    verdict = rule(wide(frame_of(bad="SP2"), batch={"SP": 49.0}), ask(49.0))
    assert verdict == Verdict(ask(49.0), None, "halfspace", "'SP2' is not fresh and good")


@pytest.mark.parametrize(
    ("given", "allowed", "code", "reason"),
    [
        ([order("Lee", lock=True)], None, "lock", "'SP' is locked by Lee"),
        ([order("Lee", high=55.5), order("Kim", low=45.0)], 55.5, "limit", "limits set by Kim, Lee: 45 to 55.5"),
        ([order("Kim", high=55.0)], 55.0, "limit", "limits set by Kim: -inf to 55"),
        ([order("Kim", low=95.0)], 95.0, "limit", "limits set by Kim: 95 to inf"),
        ([order("Kim", clear=True), order("Lee", high=55.0)], 55.0, "limit", "limits set by Lee: -inf to 55"),
        ([order("{Kim}", high=55.0)], 55.0, "limit", "limits set by {Kim}: -inf to 55"),
    ],
)
def test_orders_say_who_gave_them(given: list[Any], allowed: float | None, code: str, reason: str) -> None:
    assert orders(ordered(*given), ask(90.0)) == Verdict(ask(90.0), allowed, code, reason)


def test_the_guard_says_when_it_has_no_rules() -> None:
    assert judge(wide(), [ask()], []) == (Verdict(ask(), None, "no-rules", "no rules are given"),)


def test_the_guard_says_when_another_part_of_a_move_was_refused() -> None:
    asked = [ask(), ask(tag="GHOST")]
    assert judge(wide(), asked, [basic.inputs]) == (
        Verdict(asked[0], None, "batch", "another part of the same move was refused"),
        Verdict(asked[1], None, "inputs", "'GHOST' is not fresh and good"),
    )


NO_DURATION = "duration 'an hour' cannot be read; write it like '30 s', '10 min' or '1.5 h'"
NO_TAG = "'tags' names no tag"
NO_TIME = "'days', 'from' and 'to' leave no time at all"
NOT_FINITE = "'weights' and 'most' must be finite, and no weight 0"
ONE = {"tags": ("SP",), "window": "1 h"}


@pytest.mark.parametrize(
    ("config", "values", "says"),
    [
        (RateConfig, {**ONE, "most": 0.0}, "'most' must be above 0"),
        (RateConfig, {**ONE, "most": -1.0}, "'most' must be above 0"),
        (RateConfig, {**ONE, "most": math.nan}, "'most' must be above 0"),
        (RateConfig, {**ONE, "most": math.inf}, "'most' must be above 0"),
        (RateConfig, {"window": "1 h", "most": 1.0}, NO_TAG),
        (RateConfig, {**ONE, "window": "an hour", "most": 1.0}, NO_DURATION),
        (TravelConfig, {**ONE, "most": 0.0}, "'most' must be above 0"),
        (TravelConfig, {**ONE, "most": math.nan}, "'most' must be above 0"),
        (TravelConfig, {**ONE, "most": math.inf}, "'most' must be above 0"),
        (TravelConfig, {"window": "1 h", "most": 1.0}, NO_TAG),
        (MovesConfig, {**ONE, "most": 0}, "'most' must be at least 1"),
        (MovesConfig, {**ONE, "window": "an hour", "most": 1}, NO_DURATION),
        (MovesConfig, {"window": "1 h", "most": 1}, NO_TAG),
        (DwellConfig, {"window": "1 h"}, NO_TAG),
        (DwellConfig, {**ONE, "window": "an hour"}, NO_DURATION),
        (ModeConfig, {"mode": "MODE", "takes": ()}, "'takes' names no state"),
        (BetweenConfig, {"tags": ("SP",)}, "name a tag for 'low', 'high' or both"),
        (BetweenConfig, {"low": "LOW"}, NO_TAG),
        (AgeConfig, {"of": (), "most": "1 h"}, "'of' names no tag"),
        (AgeConfig, {"of": ("LAB",), "most": "an hour"}, NO_DURATION),
        (HoursConfig, {"timezone": "UTC", "days": ()}, NO_TIME),
        (HoursConfig, {"timezone": "UTC", "begin": "08:00", "end": "08:00"}, NO_TIME),
        (HoursConfig, {"timezone": "UTC", "begin": "24:00", "end": "00:00"}, NO_TIME),
        (HoursConfig, {"timezone": "UTC", "begin": "24:00", "end": "24:00"}, NO_TIME),
        (HoursConfig, {"timezone": "UTC", "begin": "00:00", "end": "00:00"}, NO_TIME),
        (HoursConfig, {"timezone": "Mars"}, "timezone 'Mars' is unknown; write it like 'Asia/Seoul'"),
        (HoursConfig, {"timezone": "UTC", "begin": "8"}, "'8' is no time of day; write it like '08:30'"),
        (HoursConfig, {"timezone": "UTC", "end": "24:01"}, "'24:01' is no time of day; write it like '08:30'"),
        (HalfspaceConfig, {"weights": {}, "most": 1.0}, NOT_FINITE),
        (HalfspaceConfig, {"weights": {"SP": 1.0, "SP2": 0.0}, "most": 1.0}, NOT_FINITE),
        (HalfspaceConfig, {"weights": {"SP": math.nan}, "most": 1.0}, NOT_FINITE),
        (HalfspaceConfig, {"weights": {"SP": math.inf}, "most": 1.0}, NOT_FINITE),
        (HalfspaceConfig, {"weights": {"SP": 1.0}, "most": math.nan}, NOT_FINITE),
    ],
)
def test_a_configuration_that_cannot_be_meant(config: Callable[..., Any], values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        config(**values)
    assert str(error.value) == says


@pytest.mark.parametrize(
    ("make", "config", "says"),
    [
        (rate, RateConfig(tags=("SP", "GHOST", "NONE"), window="1 h", most=4.0), "unknown tag 'GHOST'"),
        (travel, TravelConfig(tags=("GHOST",), window="1 h", most=4.0), "unknown tag 'GHOST'"),
        (moves, MovesConfig(tags=("GHOST",), window="1 h", most=4), "unknown tag 'GHOST'"),
        (dwell, DwellConfig(tags=("GHOST",), window="1 h"), "unknown tag 'GHOST'"),
        (mode, ModeConfig(tags=("GHOST",), mode="MODE", takes=(1,)), "unknown tag 'GHOST'"),
        (mode, ModeConfig(mode="GHOST", takes=(1,)), "unknown tag 'GHOST'"),
        (mode, ModeConfig(mode="MODE", takes=("RCAS", "CAS")), "'MODE' has no state 'CAS'; there are MAN, AUTO, RCAS"),
        (mode, ModeConfig(mode="MODE", takes=(3,)), "'MODE' has no state '3'; there are MAN, AUTO, RCAS"),
        (mode, ModeConfig(mode="MODE", takes=("2",)), "'MODE' has no state '2'; there are MAN, AUTO, RCAS"),
        (mode, ModeConfig(mode="MODE", takes=("rcas",)), "'MODE' has no state 'rcas'; there are MAN, AUTO, RCAS"),
        (mode, ModeConfig(mode="CODE", takes=("RCAS",)), "'CODE' has no state 'RCAS'; there are codes only"),
        (between, BetweenConfig(tags=("GHOST",), low="LOW"), "unknown tag 'GHOST'"),
        (between, BetweenConfig(tags=("SP",), low="GHOST"), "unknown tag 'GHOST'"),
        (between, BetweenConfig(tags=("SP",), low="LOW", high="GHOST"), "unknown tag 'GHOST'"),
        (between, BetweenConfig(tags=("SP",), low="LOW", high="LEVEL"), "'LEVEL' is in %, 'SP' in degC"),
        (hours, HoursConfig(tags=("GHOST",), timezone="UTC"), "unknown tag 'GHOST'"),
        (age, AgeConfig(tags=("GHOST",), of=("LAB",), most="1 h"), "unknown tag 'GHOST'"),
        (age, AgeConfig(of=("LAB", "GHOST"), most="1 h"), "unknown tag 'GHOST'"),
        (halfspace, HalfspaceConfig({"SP": 1.0, "GHOST": 1.0}, 1.0), "unknown tag 'GHOST'"),
    ],
)
def test_what_is_not_there_is_found_when_the_rule_is_made(make: Callable[[Any, Setting], Rule], config: Any, says: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        made(make, config)
    assert str(error.value) == says


@pytest.mark.parametrize(
    ("config", "reads"),
    [
        (For(tags=("SP",)), ()),
        (Leave(tags=("SP",)), ()),
        (RATE, ()),
        (AgeConfig(of=("LAB", "PV"), most="1 h"), ("LAB", "PV")),
        (BETWEEN, ("LOW", "HIGH")),
        (BetweenConfig(tags=("SP",), high="HIGH"), ("HIGH",)),
        (ModeConfig(mode="MODE", takes=(1,)), ("MODE",)),
        (HalfspaceConfig({"SP": 1.0, "SP2": 1.0}, 1.0), ("SP", "SP2")),
    ],
)
def test_a_configuration_says_what_its_rule_reads(config: Any, reads: tuple[str, ...]) -> None:
    assert config.reads == reads


def test_a_setting_is_the_name_of_the_history_and_the_tags_of_the_frame() -> None:
    assert Setting("r", TABLE).name == "r"
    assert Setting("r", TABLE).tags is TABLE
