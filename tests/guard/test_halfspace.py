"""Half-spaces: the largest share of a move, batches one after another, from outside, negative weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace
from situations import TABLE, ask, frame_of, made, wide

from jayul.core.guard import Rule, Writer, judge
from jayul.core.types import Frame
from jayul.rules import Setting
from jayul.rules.halfspace import HalfspaceConfig, halfspace, halfspaces


def half() -> Rule:
    """Make SP + 2 SP2 <= 100; SP = 50 and SP2 = 20 stand."""
    return made(halfspace, HalfspaceConfig({"SP": 1.0, "SP2": 2.0}, 100.0))


def allowed(asked: Mapping[str, float], rule: Rule | None = None, **more: Any) -> list[float | None]:
    return [v.allowed for v in judge(wide(**more), [ask(value, tag) for tag, value in asked.items()], [rule or half()])]


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
    first, second = judge(wide(), [ask(58.0), ask(30.0, "SP2", "q")], [half()])
    assert first.allowed == 58.0
    assert second.allowed == pytest.approx(21.0, rel=1e-7)
    assert 58.0 + 2 * second.allowed <= 100.0


def test_what_is_only_shadowed_takes_no_room() -> None:
    quiet = replace(wide(), writers={"p": Writer(TABLE.names, False), "q": Writer(TABLE.names, True)})
    assert judge(quiet, [ask(60.0), ask(25.0, "SP2", "q")], [half()])[1].allowed == 25.0


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
        ({"SP": 92.0, "SP2": 19.0}, [92.0, 19.0]),  # along the bound, no further out
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


@pytest.mark.parametrize(
    ("weights", "most", "asked", "size"),
    [({"SP": 1.0}, 60.0, 100.0, 50 + 100 + 60), ({"SP": -2.0}, -90.0, 40.0, 2 * (50 + 40) + 90)],
)
def test_a_move_ends_a_billionth_of_the_size_of_the_sum_inside_the_bound(
    weights: dict[str, float], most: float, asked: float, size: float
) -> None:
    (found,) = allowed({"SP": asked}, made(halfspace, HalfspaceConfig(weights, most)))
    assert found is not None
    assert most - weights["SP"] * found == pytest.approx(1e-9 * size, rel=1e-5)


@pytest.mark.parametrize(
    ("asked", "expected", "reasons"),
    [
        ({"SP": 60.0}, [55.0], ["1 SP <= 55"]),
        ({"SP2": 30.0}, [25.0], ["1 SP + 2 SP2 <= 100"]),
        ({"SP": 60.0, "SP2": 30.0}, [53.333333, 23.333333], ["1 SP + 2 SP2 <= 100"] * 2),
        ({"SP": 60.0, "SP2": 21.0}, [55.0, 20.5], ["1 SP <= 55"] * 2),
        ({"LEVEL": 9.0}, [4.0], ["1 LEVEL <= 4"]),
        ({"SP": 51.0, "LEVEL": 3.0}, [51.0, 3.0], ["", ""]),
    ],
)
def test_the_tightest_of_many_half_spaces_decides(asked: dict[str, float], expected: list[float], reasons: list[str]) -> None:
    configs = [
        HalfspaceConfig({"SP": 1.0, "SP2": 2.0}, 100.0),
        HalfspaceConfig({"SP": 1.0}, 55.0),
        HalfspaceConfig({"LEVEL": 1.0}, 4.0),
    ]
    for turned in (configs, configs[::-1]):
        verdicts = judge(wide(), [ask(value, tag) for tag, value in asked.items()], [halfspaces(turned, Setting("r", TABLE))])
        assert [v.allowed for v in verdicts] == pytest.approx(expected, rel=1e-6)
        assert [v.reason for v in verdicts] == reasons


@pytest.mark.parametrize("ill", [None, math.nan, math.inf, -math.inf])
def test_what_is_not_good_holds_up_only_the_half_spaces_that_it_stands_in(ill: float | None) -> None:
    configs = [HalfspaceConfig({"SP": 1.0, "SP2": 1.0}, 100.0), HalfspaceConfig({"LEVEL": 1.0}, 4.0)]
    rule, asked = halfspaces(configs, Setting("r", TABLE)), [ask(51.0), ask(3.0, "LEVEL", "q")]
    for name, expected in (("SP2", [None, 3.0]), ("LEVEL", [51.0, None])):
        frame = frame_of(bad=name) if ill is None else frame_of({name: ill})
        assert [v.allowed for v in judge(wide(frame), asked, [rule])] == expected


def test_a_move_inside_is_let_through_to_the_last_digit() -> None:
    now, asked = next((n, a) for n in (i / 10 for i in range(100)) for a in (i / 10 for i in range(100)) if n + (a - n) < a > n)
    rule = made(halfspace, HalfspaceConfig({"SP": 1.0}, 100.0))
    context = wide(frame_of({"SP": now}), batch={"SP": asked})
    assert rule(context, ask(asked)) is None


def test_sums_beyond_all_numbers_are_no_error_and_let_nothing_further_out() -> None:
    rule = made(halfspace, HalfspaceConfig({"SP": 1.0}, 100.0))
    for asked, expected in ((1.75e308, 1.7e308), (1.0e308, 1.0e308)):
        assert allowed({"SP": asked}, rule, frame=frame_of({"SP": 1.7e308})) == [expected]


def test_what_is_common_to_a_batch_is_computed_once() -> None:
    looked: list[str] = []

    class Watched(Frame):
        def fresh(self, name: str) -> bool:
            looked.append(name)
            return super().fresh(name)

    frame = frame_of()
    watched = Watched(frame.at, TABLE, frame.value, frame.source_at, frame.seen_at, frame.status)
    judge(wide(watched), [ask(51.0), ask(21.0, "SP2")], [half()])
    assert looked == ["SP", "SP2"]
