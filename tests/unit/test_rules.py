"""Each further rule: what it allows, narrows and refuses, at the bound itself and on both sides of it."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from jayul.core.guard import FALLBACK, Context, Rule, Writer, judge
from jayul.core.types import BAD, GOOD, SECOND, Event, Frame, Proposal, Reading, Tag, TagTable, Verdict
from jayul.rules import Setting
from jayul.rules.age import AgeConfig, age
from jayul.rules.between import BetweenConfig, between
from jayul.rules.dwell import DwellConfig, dwell
from jayul.rules.halfspace import HalfspaceConfig, halfspace
from jayul.rules.hours import HoursConfig, hours
from jayul.rules.mode import ModeConfig, mode
from jayul.rules.moves import MovesConfig, moves
from jayul.rules.orders import orders, sound
from jayul.rules.rate import RateConfig, rate
from jayul.rules.travel import TravelConfig, travel
from jayul.testing import DEMO_TAGS, START, check_rule

MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
FIGURES = [Tag(name=f"r.SP.{what}", kind="derived") for what in ("count", "travel", "low", "high")]
TABLE = TagTable(
    [
        Tag(name="SP", unit="degC", low=0.0, high=100.0, max_step=100.0, writable=True),
        Tag(name="SP2", unit="degC", low=0.0, high=100.0, max_step=100.0, writable=True),
        Tag(name="LOW", unit="degC"),
        Tag(name="HIGH", unit="degC"),
        Tag(name="LEVEL", unit="%"),
        Tag(name="MODE", kind="mode", states={0: "MAN", 1: "AUTO", 2: "RCAS"}),
        Tag(name="CODE", kind="mode"),
        Tag(name="LAB", kind="laboratory", stale_after=86400.0),
        *FIGURES,
    ]
)
STANDS = {"SP": 50.0, "SP2": 20.0, "LOW": 45.0, "HIGH": 60.0, "MODE": 2.0, "CODE": 7.0}
QUIET = {"r.SP.count": 0.0, "r.SP.travel": 0.0, "r.SP.low": 50.0, "r.SP.high": 50.0}
Said = tuple[float | None, str] | None


def frame_of(values: Mapping[str, float] = {}, *, at: int = START, ages: Mapping[str, int] = {}, bad: str = "") -> Frame:
    known = {**STANDS, **QUIET, **values}
    value = np.array([known.get(name, 0.0) for name in TABLE.names])
    source = np.array([at - ages.get(name, 0) for name in TABLE.names], dtype=np.int64)
    status = np.array([BAD if name == bad else GOOD for name in TABLE.names], dtype=np.uint32)
    return Frame(at, TABLE, value, source, np.full(len(value), at, dtype=np.int64), status)


def context(frame: Frame | None = None, **more: Any) -> Context:
    return Context(
        frame or frame_of(), {"p": Writer(TABLE.names, True), "q": Writer(TABLE.names, True)}, {}, 30 * SECOND, **more
    )


def ask(value: float = 51.0, tag: str = "SP", by: str = "p") -> Proposal:
    return Proposal(tag, value, "test", by)


def said(verdict: Verdict | None) -> Said:
    return verdict and (verdict.allowed, verdict.rule)


def made(make: Callable[[Any, Setting], Rule], config: Any, table: TagTable = TABLE) -> Rule:
    return make(config, Setting("r", table))


RATE = made(rate, RateConfig(tags=("SP",), window="1 h", most=4.0))
TRAVEL = made(travel, TravelConfig(tags=("SP",), window="1 h", most=4.0))
MOVES = made(moves, MovesConfig(tags=("SP",), window="1 h", most=3))
DWELL = made(dwell, DwellConfig(tags=("SP",), window="1 h"))
MODE = made(mode, ModeConfig(tags=("SP",), mode="MODE", takes=("RCAS",)))
BETWEEN = made(between, BetweenConfig(tags=("SP",), low="LOW", high="HIGH"))
AGE = made(age, AgeConfig(tags=("SP",), of=("LAB",), most="8 h"))
HALF = made(halfspace, HalfspaceConfig({"SP": 1.0, "SP2": 2.0}, 100.0))
NIGHT = made(hours, HoursConfig(tags=("SP",), timezone="UTC", begin="22:00", end="06:00"))
DAY = made(hours, HoursConfig(tags=("SP",), timezone="UTC", begin="08:00", end="16:00"))

ABOVE, BELOW = math.nextafter(52.0, 99.0), math.nextafter(47.0, 0.0)
STRICT: list[tuple[Rule, dict[str, float], float, Said]] = [
    (RATE, {"r.SP.low": 48.0, "r.SP.high": 51.0}, 52.0, None),
    (RATE, {"r.SP.low": 48.0, "r.SP.high": 51.0}, ABOVE, (52.0, "rate")),
    (RATE, {"r.SP.low": 48.0, "r.SP.high": 51.0}, 47.0, None),
    (RATE, {"r.SP.low": 48.0, "r.SP.high": 51.0}, BELOW, (47.0, "rate")),
    (RATE, {"r.SP.low": 48.0, "r.SP.high": 52.0}, 90.0, (52.0, "rate")),
    (RATE, {"r.SP.low": 46.0, "r.SP.high": 54.0}, 50.0, None),
    (RATE, {"r.SP.low": 46.0, "r.SP.high": 54.0}, 51.0, (50.0, "rate")),
    (RATE, {"r.SP.low": 45.9, "r.SP.high": 54.0}, 50.0, (None, "rate")),
    (RATE, {}, math.nan, (None, "rate")),
    (TRAVEL, {"r.SP.travel": 2.0}, 52.0, None),
    (TRAVEL, {"r.SP.travel": 2.0}, ABOVE, (52.0, "travel")),
    (TRAVEL, {"r.SP.travel": 1.0}, 47.0, None),
    (TRAVEL, {"r.SP.travel": 1.0}, BELOW, (47.0, "travel")),
    (TRAVEL, {"r.SP.travel": 4.0}, 51.0, (50.0, "travel")),
    (TRAVEL, {"r.SP.travel": 9.0}, 49.0, (50.0, "travel")),
    (TRAVEL, {"r.SP.travel": 9.0}, 50.0, None),
    (MOVES, {"r.SP.count": 2.0}, 90.0, None),
    (MOVES, {"r.SP.count": 3.0}, 50.1, (None, "moves")),
    (MOVES, {"r.SP.count": 4.0}, 49.9, (None, "moves")),
    (MOVES, {"r.SP.count": 9.0}, 50.0, None),
    (MOVES, {"r.SP.count": 9.0}, math.nextafter(50.0, 99.0), (None, "moves")),
    (DWELL, {"r.SP.count": 0.0}, 90.0, None),
    (DWELL, {"r.SP.count": 1.0}, 50.1, (None, "dwell")),
    (DWELL, {"r.SP.count": 1.0}, 50.0, None),
    (DWELL, {"r.SP.count": 1.0}, math.nextafter(50.0, 99.0), (None, "dwell")),
    (MODE, {"MODE": 2.0}, 90.0, None),
    (MODE, {"MODE": 1.0}, 51.0, (None, "mode")),
    (MODE, {"MODE": 1.9999}, 51.0, (None, "mode")),
    (MODE, {"MODE": 5.0}, 51.0, (None, "mode")),
    (BETWEEN, {}, 60.0, None),
    (BETWEEN, {}, math.nextafter(60.0, 99.0), (60.0, "between")),
    (BETWEEN, {}, 45.0, None),
    (BETWEEN, {}, math.nextafter(45.0, 0.0), (45.0, "between")),
    (BETWEEN, {"LOW": 60.0}, 99.0, (60.0, "between")),
    (BETWEEN, {"LOW": 60.1}, 60.0, (None, "between")),
]


@pytest.mark.parametrize(("rule", "values", "value", "expected"), STRICT)
def test_a_rule_at_its_bound(rule: Rule, values: dict[str, float], value: float, expected: Said) -> None:
    assert said(rule(context(frame_of(values)), ask(value))) == expected


RELIED_ON: list[tuple[Rule, str, str]] = [
    (RATE, "rate", "r.SP.low"),
    (RATE, "rate", "r.SP.high"),
    (TRAVEL, "travel", "r.SP.travel"),
    (MOVES, "moves", "r.SP.count"),
    (DWELL, "dwell", "r.SP.count"),
    (MODE, "mode", "MODE"),
    (BETWEEN, "between", "LOW"),
    (BETWEEN, "between", "HIGH"),
    (AGE, "age", "LAB"),
]


@pytest.mark.parametrize(
    "ill",
    [{"bad": True}, {"ages": 2 * 86400 * SECOND}, {"ages": -6 * SECOND}, {"value": math.nan}, {"value": math.inf}],
    ids=str,
)
@pytest.mark.parametrize(("rule", "code", "name"), RELIED_ON)
def test_what_a_rule_relies_on_must_be_fresh_and_good(rule: Rule, code: str, name: str, ill: dict[str, Any]) -> None:
    frame = frame_of(
        {name: ill["value"]} if "value" in ill else {},
        ages={name: ill["ages"]} if "ages" in ill else {},
        bad=name if "bad" in ill else "",
    )
    assert rule(context(), ask()) is None
    assert said(rule(context(frame), ask())) == (None, code)


def test_a_rule_without_its_history_in_the_frame_refuses() -> None:
    bare = TagTable([TABLE["SP"]])
    frame = Frame(START, bare, np.array([50.0]), np.array([START]), np.array([START]), np.zeros(1, dtype=np.uint32))
    for make, config in (
        (rate, RateConfig(tags=("SP",), window="1 h", most=4.0)),
        (travel, TravelConfig(tags=("SP",), window="1 h", most=4.0)),
        (moves, MovesConfig(tags=("SP",), window="1 h", most=4)),
        (dwell, DwellConfig(tags=("SP",), window="1 h")),
    ):
        verdict = made(make, config, bare)(context(frame), ask())
        assert verdict is not None
        assert verdict.allowed is None


SPENT = {"r.SP.count": 9.0, "r.SP.travel": 9.0, "r.SP.low": 30.0, "r.SP.high": 50.0, "MODE": 0.0, "LOW": 60.0, "HIGH": 40.0}
LATE = {"LAB": 9 * HOUR}
EVERY: dict[str, Rule] = {
    "rate": RATE, "travel": TRAVEL, "moves": MOVES, "dwell": DWELL, "mode": MODE, "between": BETWEEN, "age": AGE, "hours": DAY,
    "halfspace": HALF,
}  # fmt: skip
SPARED = {"travel", "moves", "dwell", "hours"}


def spent(tag: str, by: str) -> tuple[Context, Proposal]:
    """Make a situation in which every rule objects to what is asked for SP."""
    proposal = ask(90.0, tag, by)
    return context(frame_of(SPENT, ages=LATE), batch={tag: 90.0, "SP2": 30.0}), proposal


@pytest.mark.parametrize("kind", EVERY)
def test_every_rule_objects_to_a_policy(kind: str) -> None:
    verdict = EVERY[kind](*spent("SP", "p"))
    assert verdict is not None
    assert verdict.rule == kind


@pytest.mark.parametrize("kind", EVERY)
def test_the_way_back_is_spared_by_rules_that_spare_wear_and_staff_and_by_no_other(kind: str) -> None:
    assert (EVERY[kind](*spent("SP", FALLBACK)) is None) == (kind in SPARED)


def test_orders_hold_up_the_way_back_too() -> None:
    assert said(orders(ordered(order(lock=True)), ask(by=FALLBACK))) == (None, "lock")


@pytest.mark.parametrize("kind", EVERY)
def test_a_tag_that_a_rule_is_not_for_is_left_alone(kind: str) -> None:
    assert EVERY[kind](*spent("LEVEL", "p")) is None


@pytest.mark.parametrize("tag", ["SP", "SP2", "LEVEL", "GHOST"])
@pytest.mark.parametrize(
    "rule",
    [
        made(mode, ModeConfig(mode="MODE", takes=("RCAS",))),
        made(hours, HoursConfig(timezone="UTC", begin="08:00", end="16:00")),
        made(age, AgeConfig(of=("LAB",), most="8 h")),
    ],
)
def test_without_tags_a_rule_is_for_all(rule: Rule, tag: str) -> None:
    verdict = rule(*spent(tag, "p"))
    assert verdict is not None
    assert verdict.allowed is None


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
    assert (rule(context(frame_of({tag: code})), ask()) is None) == taken


@pytest.mark.parametrize(("tag", "state"), [("MODE", "CAS"), ("MODE", 3), ("MODE", "2"), ("MODE", "rcas"), ("CODE", "RCAS")])
def test_a_state_that_is_not_there_is_found_when_the_rule_is_made(tag: str, state: str | int) -> None:
    with pytest.raises(ValueError, match=f"'{tag}' has no state '{state}'"):
        made(mode, ModeConfig(mode=tag, takes=("RCAS", state) if tag == "MODE" else (state,)))


def test_a_refusal_names_the_state_that_stands() -> None:
    verdict = MODE(context(frame_of({"MODE": 0.0})), ask())
    assert verdict is not None
    assert "MAN" in verdict.reason


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
    assert said(made(between, config)(context(), ask(value))) == expected


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
    assert said(AGE(context(frame_of(ages={"LAB": late})), ask())) == expected


def test_every_tag_of_age_must_be_young() -> None:
    rule = made(age, AgeConfig(of=("LAB", "LEVEL"), most="30 s"))
    assert rule(context(frame_of(ages={"LEVEL": 30 * SECOND})), ask()) is None
    assert said(rule(context(frame_of(ages={"LEVEL": 31 * SECOND})), ask())) == (None, "age")


# hours

UTC8 = HoursConfig(timezone="UTC", days=("mon", "tue", "wed", "thu", "fri"), begin="08:00", end="16:00")
SHIFT = HoursConfig(timezone="UTC", days=("fri",), begin="22:00", end="06:00")
WHOLE = HoursConfig(timezone="UTC", days=("sat",))
BERLIN = HoursConfig(timezone="Europe/Berlin", begin="02:00", end="03:00")
SEOUL = HoursConfig(timezone="Asia/Seoul", days=("mon",), begin="09:00", end="18:00")


@pytest.mark.parametrize(
    ("config", "at", "inside"),
    [
        (UTC8, "2026-01-01 07:59:59", False),  # a Thursday
        (UTC8, "2026-01-01 08:00:00", True),
        (UTC8, "2026-01-01 15:59:59", True),
        (UTC8, "2026-01-01 16:00:00", False),
        (UTC8, "2026-01-03 12:00:00", False),
        (SHIFT, "2026-01-02 21:59:59", False),
        (SHIFT, "2026-01-02 22:00:00", True),
        (SHIFT, "2026-01-02 23:59:59", True),
        (SHIFT, "2026-01-03 00:00:00", True),
        (SHIFT, "2026-01-03 05:59:59", True),
        (SHIFT, "2026-01-03 06:00:00", False),
        (SHIFT, "2026-01-03 22:00:00", False),
        (SHIFT, "2026-01-02 05:00:00", False),
        (WHOLE, "2026-01-02 23:59:59", False),
        (WHOLE, "2026-01-03 00:00:00", True),
        (WHOLE, "2026-01-03 23:59:59", True),
        (WHOLE, "2026-01-04 00:00:00", False),
        (BERLIN, "2026-01-10 00:59:59", False),
        (BERLIN, "2026-01-10 01:00:00", True),
        (BERLIN, "2026-07-10 00:00:00", True),
        (BERLIN, "2026-07-10 01:00:00", False),
        (BERLIN, "2026-03-29 00:59:59", False),  # the hour from 2 to 3 is left out on this day
        (BERLIN, "2026-03-29 01:00:00", False),
        (BERLIN, "2026-10-25 00:30:00", True),  # and comes twice on this one
        (BERLIN, "2026-10-25 01:30:00", True),
        (BERLIN, "2026-10-25 02:00:00", False),
        (SEOUL, "2026-01-04 23:59:59", False),
        (SEOUL, "2026-01-05 00:00:00", True),
        (SEOUL, "2026-01-05 08:59:59", True),
        (SEOUL, "2026-01-05 09:00:00", False),
    ],
)
def test_hours(config: HoursConfig, at: str, inside: bool) -> None:
    instant = int(dt.datetime.fromisoformat(f"{at}+00:00").timestamp()) * SECOND
    for within in (0, SECOND - 1):
        verdict = made(hours, config)(context(frame_of(at=instant + within)), ask())
        assert said(verdict) == (None if inside else (None, "hours"))


@pytest.mark.parametrize(("begin", "end"), [("00:00", "24:00"), ("20:00", "20:01"), ("23:59", "00:00"), ("0:00", "0:01")])
def test_hours_that_can_be_written(begin: str, end: str) -> None:
    made(hours, HoursConfig(timezone="UTC", begin=begin, end=end))


@pytest.mark.parametrize(
    "text", ["", "8", "8:0", "08:60", "24:01", "25:00", "-1:00", "08.30", "08:30:00", "8 :30", "1e1:00", "ten"]
)
@pytest.mark.parametrize("key", ["begin", "end"])
def test_what_is_no_time_of_day(key: str, text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' is no time of day"):
        HoursConfig(timezone="UTC", **{key: text})


@pytest.mark.parametrize("zone", ["", "Mars/Phobos", "../x", "Europe", "UTC+9", "/etc/passwd", "Asia/Seoul\0"])
def test_what_is_no_timezone(zone: str) -> None:
    with pytest.raises(ValueError, match="timezone"):
        HoursConfig(timezone=zone)


# configurations that cannot be meant


@pytest.mark.parametrize(
    ("config", "values"),
    [
        (RateConfig, {"tags": ("SP",), "window": "1 h", "most": 0.0}),
        (RateConfig, {"tags": ("SP",), "window": "1 h", "most": -1.0}),
        (RateConfig, {"tags": ("SP",), "window": "1 h", "most": math.nan}),
        (RateConfig, {"tags": ("SP",), "window": "1 h", "most": math.inf}),
        (RateConfig, {"tags": (), "window": "1 h", "most": 1.0}),
        (RateConfig, {"tags": ("SP",), "window": "an hour", "most": 1.0}),
        (TravelConfig, {"tags": ("SP",), "window": "1 h", "most": 0.0}),
        (TravelConfig, {"tags": ("SP",), "window": "1 h", "most": math.nan}),
        (TravelConfig, {"tags": (), "window": "1 h", "most": 1.0}),
        (MovesConfig, {"tags": ("SP",), "window": "1 h", "most": 0}),
        (MovesConfig, {"tags": ("SP",), "window": "0 h", "most": 1}),
        (MovesConfig, {"tags": (), "window": "1 h", "most": 1}),
        (DwellConfig, {"tags": (), "window": "1 h"}),
        (DwellConfig, {"tags": ("SP",), "window": ""}),
        (ModeConfig, {"mode": "MODE", "takes": ()}),
        (BetweenConfig, {"tags": ("SP",)}),
        (BetweenConfig, {"low": "LOW"}),
        (AgeConfig, {"of": (), "most": "1 h"}),
        (AgeConfig, {"of": ("LAB",), "most": "1"}),
        (HoursConfig, {"timezone": "UTC", "days": ()}),
        (HoursConfig, {"timezone": "UTC", "begin": "08:00", "end": "08:00"}),
        (HalfspaceConfig, {"weights": {}, "most": 1.0}),
        (HalfspaceConfig, {"weights": {"SP": 0.0}, "most": 1.0}),
        (HalfspaceConfig, {"weights": {"SP": math.nan}, "most": 1.0}),
        (HalfspaceConfig, {"weights": {"SP": math.inf}, "most": 1.0}),
        (HalfspaceConfig, {"weights": {"SP": 1.0}, "most": math.nan}),
    ],
)
def test_a_configuration_that_cannot_be_meant(config: Callable[..., Any], values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        config(**values)


@pytest.mark.parametrize(
    ("make", "config"),
    [
        (rate, RateConfig(tags=("GHOST",), window="1 h", most=4.0)),
        (travel, TravelConfig(tags=("GHOST",), window="1 h", most=4.0)),
        (moves, MovesConfig(tags=("GHOST",), window="1 h", most=4)),
        (dwell, DwellConfig(tags=("GHOST",), window="1 h")),
        (mode, ModeConfig(tags=("GHOST",), mode="MODE", takes=(1,))),
        (mode, ModeConfig(mode="GHOST", takes=(1,))),
        (between, BetweenConfig(tags=("GHOST",), low="LOW")),
        (between, BetweenConfig(tags=("SP",), low="GHOST")),
        (between, BetweenConfig(tags=("SP",), low="LOW", high="GHOST")),
        (hours, HoursConfig(tags=("GHOST",), timezone="UTC")),
        (age, AgeConfig(tags=("GHOST",), of=("LAB",), most="1 h")),
        (age, AgeConfig(of=("LAB", "GHOST"), most="1 h")),
        (halfspace, HalfspaceConfig({"SP": 1.0, "GHOST": 1.0}, 1.0)),
    ],
)
def test_an_unknown_tag_is_found_when_the_rule_is_made(make: Callable[[Any, Setting], Rule], config: Any) -> None:
    with pytest.raises(ValueError, match="GHOST"):
        made(make, config)


# halfspace: SP + 2 SP2 <= 100, and SP = 50, SP2 = 20 stand


def allowed(asked: Mapping[str, float], rule: Rule = HALF, **more: Any) -> list[float | None]:
    return [v.allowed for v in judge(context(**more), [ask(value, tag) for tag, value in asked.items()], [rule])]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"SP": 60.0}, [60.0]),
        ({"SP": 62.0}, [60.0]),
        ({"SP": 40.0}, [40.0]),
        ({"SP2": 25.0}, [25.0]),
        ({"SP2": 30.0}, [25.0]),
        ({"SP": 55.0, "SP2": 22.5}, [55.0, 22.5]),
        ({"SP": 60.0, "SP2": 25.0}, [55.0, 22.5]),
        ({"SP": 70.0, "SP2": 15.0}, [70.0, 15.0]),
        ({"SP": 80.0, "SP2": 15.0}, [65.0, 17.5]),
        ({"SP": 70.0, "SP2": 20.0}, [60.0, 20.0]),
        ({"LEVEL": 1e9}, [1e9]),
    ],
)
def test_a_half_space_takes_the_largest_share_of_the_move(asked: dict[str, float], expected: list[float]) -> None:
    found = allowed(asked)
    assert found == pytest.approx(expected, rel=1e-7)
    there = {"SP": 50.0, "SP2": 20.0} | dict(zip(asked, found, strict=True))
    assert there["SP"] + 2 * there["SP2"] <= 100.0


def test_a_batch_is_held_against_what_moved_before_it_at_the_same_tick() -> None:
    first, second = judge(context(), [ask(58.0), ask(30.0, "SP2", "q")], [HALF])
    assert first.allowed == 58.0
    assert second.allowed == pytest.approx(21.0, rel=1e-7)
    assert 58.0 + 2 * second.allowed <= 100.0


def test_what_is_only_shadowed_takes_no_room() -> None:
    quiet = replace(context(), writers={"p": Writer(TABLE.names, False), "q": Writer(TABLE.names, True)})
    assert judge(quiet, [ask(60.0), ask(25.0, "SP2", "q")], [HALF])[1].allowed == 25.0


def test_room_that_a_batch_before_made_may_be_used() -> None:
    assert allowed({"SP2": 30.0}, moving={"SP": 40.0}) == [30.0]
    assert allowed({"SP2": 25.0}, moving={"SP": 60.0}) == pytest.approx([20.0])


OUTSIDE = {"SP": 90.0, "SP2": 20.0}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"SP": 91.0}, [90.0]),
        ({"SP": 89.0}, [89.0]),
        ({"SP": 40.0}, [40.0]),
        ({"SP2": 20.1}, [20.0]),
        ({"SP2": 19.0}, [19.0]),
        ({"SP": 91.0, "SP2": 18.0}, [91.0, 18.0]),
        ({"SP": 95.0, "SP2": 19.0}, [90.0, 20.0]),
        ({"SP": 90.0}, [90.0]),
    ],
)
def test_from_outside_only_a_move_inwards_is_allowed(asked: dict[str, float], expected: list[float]) -> None:
    assert allowed(asked, frame=frame_of(OUTSIDE)) == expected


@pytest.mark.parametrize(
    ("weights", "most", "asked", "expected"),
    [
        ({"SP": -1.0}, -45.0, {"SP": 40.0}, [45.0]),
        ({"SP": -1.0}, -45.0, {"SP": 99.0}, [99.0]),
        ({"SP": 1.0, "SP2": -1.0}, 35.0, {"SP": 60.0}, [55.0]),
        ({"SP": 1.0, "SP2": -1.0}, 35.0, {"SP2": 10.0}, [15.0]),
        ({"SP": 1.0, "SP2": -1.0}, 35.0, {"SP": 60.0, "SP2": 30.0}, [60.0, 30.0]),
        ({"SP": 1.0, "SP2": -1.0}, 0.0, {"SP": 40.0}, [40.0]),
        ({"SP": 1.0, "SP2": -1.0}, 0.0, {"SP2": 10.0}, [20.0]),
    ],
)
def test_negative_weights(weights: dict[str, float], most: float, asked: dict[str, float], expected: list[float]) -> None:
    assert allowed(asked, made(halfspace, HalfspaceConfig(weights, most))) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["SP", "SP2"])
@pytest.mark.parametrize("tag", ["SP", "SP2"])
def test_every_tag_of_the_sum_must_be_fresh(tag: str, name: str) -> None:
    assert allowed({tag: 0.0}, frame=frame_of(bad=name)) == [None]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_half_space_lets_nothing_infinite_upwards_through(value: float) -> None:
    found = allowed({"SP": value})
    assert found in ([None], [-math.inf]) if value < 0 else found == [None]


def test_a_half_space_is_never_crossed_over_thousands_of_random_moves() -> None:
    chance = np.random.default_rng(11)
    names, outside = ("SP", "SP2", "LEVEL"), 0
    for _ in range(4000):
        n = int(chance.integers(1, 4))
        scale = 10.0 ** chance.integers(-3, 6, size=n)
        weights = {name: float(w) for name, w in zip(names, chance.normal(size=n) / scale, strict=False)}
        now = {name: float(v) for name, v in zip(names, chance.normal(size=n) * scale, strict=False)}
        asked = {name: now[name] + float(d) for name, d in zip(names, chance.normal(size=n) * scale, strict=False)}
        stood = math.fsum(weights[name] * now[name] for name in weights)
        most = stood + float(chance.choice([-0.5, 0.0, 1e-12, 1e-3, 0.3, 2.0]))
        rule = made(halfspace, HalfspaceConfig(weights, most))
        found = judge(context(frame_of(now)), [ask(value, name) for name, value in asked.items()], [rule])
        goes = math.fsum(weights[v.proposal.tag] * (now[v.proposal.tag] if v.allowed is None else v.allowed) for v in found)
        wanted = math.fsum(weights[name] * asked[name] for name in weights)
        assert goes <= most or goes <= stood
        if stood < most < wanted:
            size = abs(most) + sum(abs(weights[name]) * (abs(now[name]) + abs(asked[name])) for name in weights)
            assert goes >= most - 3e-9 * size - 1e-15
            outside += 1
    assert outside > 500


# orders


def order(by: str = "Kim", tag: str = "SP", at: int = START, **body: Any) -> tuple[tuple[str, str], Event]:
    return (tag, body.get("of", by)), Event("limit", by, at, {"tag": tag, **body}, "id")


def ordered(*given: tuple[tuple[str, str], Event]) -> Context:
    return context(orders=dict(given))


@pytest.mark.parametrize(
    ("given", "value", "expected"),
    [
        ([], 99.0, None),
        ([order(high=60.0)], 60.0, None),
        ([order(high=60.0)], math.nextafter(60.0, 99.0), (60.0, "limit")),
        ([order(high=60.0)], -1e9, None),
        ([order(low=45.0)], 45.0, None),
        ([order(low=45.0)], math.nextafter(45.0, 0.0), (45.0, "limit")),
        ([order(low=45, high=60)], 61.0, (60.0, "limit")),
        ([order(high=60.0), order("Lee", high=55.0)], 58.0, (55.0, "limit")),
        ([order(high=55.0), order("Lee", high=60.0)], 58.0, (55.0, "limit")),
        ([order(low=45.0, high=60.0), order("Lee", low=48.0, high=70.0)], 46.0, (48.0, "limit")),
        ([order(high=45.0), order("Lee", low=46.0)], 45.5, (None, "limit")),
        ([order(lock=True)], 50.0, (None, "lock")),
        ([order(high=99.0), order("Lee", lock=True)], 51.0, (None, "lock")),
        ([order(lock=True), order("Lee", clear=True)], 51.0, (None, "lock")),
        ([order(lock=True), order("Lee", high=99.0)], 51.0, (None, "lock")),
        ([order(clear=True)], 99.0, None),
        ([order(clear=True), order("Lee", high=55.0)], 58.0, (55.0, "limit")),
        ([order("Kim", of="Lee", clear=True)], 99.0, None),
        ([order(tag="SP2", lock=True)], 99.0, None),
        ([order(tag="SP2", high=1.0), order(high=60.0)], 99.0, (60.0, "limit")),
        ([order(high=60.0)], math.nan, (None, "limit")),
    ],
)
def test_orders(given: list[tuple[tuple[str, str], Event]], value: float, expected: Said) -> None:
    for turned in (given, given[::-1]):
        assert said(orders(ordered(*turned), ask(value))) == expected


def test_orders_are_named_with_who_gave_them() -> None:
    limits = orders(ordered(order("Lee", high=55.0), order("Kim", low=45.0)), ask(99.0))
    lock = orders(ordered(order("Lee", lock=True)), ask())
    assert limits is not None
    assert lock is not None
    assert "Kim, Lee" in limits.reason
    assert "Lee" in lock.reason


@pytest.mark.parametrize(
    ("body", "good"),
    [
        ({"low": 1.0}, True),
        ({"high": 1}, True),
        ({"low": 1.0, "high": 2.0}, True),
        ({"low": -2, "high": -1.5}, True),
        ({"lock": True}, True),
        ({"clear": True}, True),
        ({"clear": True, "of": "Lee"}, True),
        ({"lock": True, "reason": "work"}, True),
        ({"lock": True, "clear": False}, True),
        ({}, False),
        ({"lock": False}, False),
        ({"clear": 1}, False),
        ({"lock": "yes"}, False),
        ({"lock": True, "clear": True}, False),
        ({"lock": True, "low": 1.0}, False),
        ({"clear": True, "high": 1.0}, False),
        ({"low": 2.0, "high": 1.0}, False),
        ({"low": 2.0, "high": 2.0}, False),
        ({"low": math.nan}, False),
        ({"high": math.inf}, False),
        ({"low": -math.inf, "high": 1.0}, False),
        ({"low": "1"}, False),
        ({"low": True}, False),
        ({"low": None}, False),
        ({"high": [1.0]}, False),
        ({"clear": True, "of": 7}, False),
        ({"clear": True, "of": None}, False),
        ({"lock": True, "tag": 7}, False),
        ({"lock": True, "tag": None}, False),
    ],
)
def test_sound(body: dict[str, Any], good: bool) -> None:
    assert sound({"tag": "SP", **body}) is good


def test_an_order_without_a_tag_is_not_sound() -> None:
    assert not sound({"lock": True})


# the conformance check, over the tags that it brings

WIDE = TagTable([*DEMO_TAGS.tags, *FIGURES])
HERE = np.arange(len(DEMO_TAGS.tags))


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


@pytest.mark.parametrize(
    "config", [RateConfig, TravelConfig, MovesConfig, DwellConfig, ModeConfig, BetweenConfig, HoursConfig, AgeConfig]
)
def test_unknown_keys_are_refused(config: type) -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field `nope`"):
        msgspec.convert({"nope": 1}, config)
