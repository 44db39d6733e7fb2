"""A claim's figures: what differs, what is not measured, what it is worth."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace

from jayul.prove.claim import Money, differs, figures, plain, priced_at, unmeasured
from jayul.prove.effect import Row, blocks_of, judge
from jayul.prove.plan import Held, Limit, Plan

HOUR = 3_600_000_000_000
ARMS = ("on", "off", "off", "on", "on", "off", "on", "off", "off", "on", "off", "on")
PLAN = Plan("p", "kpi", "USD/h", {"sp": 1.0}, tuple(i * 4 * HOUR for i in range(12)), ARMS, 48 * HOUR, 0, HOUR)
WORTH = Money(currency="USD", factor=2.0, hours_per_year=8000.0, pack="p")


def rows(saving: float) -> list[Row]:
    return [
        Row(at, {"kpi": 100.0 - saving * (ARMS[at // (4 * HOUR)] == "on") + math.sin(at), "sp": float(ARMS[at // (4 * HOUR)] == "on")})
        for at in range(0, PLAN.end, HOUR // 6)
    ]  # fmt: skip


def test_figures_hold_the_whole_effect_and_what_it_is_worth() -> None:
    found = figures(PLAN, rows(5.0), HOUR // 6, WORTH)
    effect = judge(PLAN, blocks_of(PLAN, rows(5.0), HOUR // 6))
    assert found.effect == plain(effect)
    assert found.money.per_year == tuple(16_000 * end for end in effect.absolute)
    assert (found.coverage, found.ticks) == ({"kpi": 1.0, "sp": 1.0}, 288)
    assert found.plant_hours == pytest.approx(48 - 1 / 6)


def test_coverage_counts_what_is_not_a_number() -> None:
    found = [Row(row.at, {**row.values, "kpi": math.nan}) if i % 4 == 0 else row for i, row in enumerate(rows(5.0))]
    assert figures(PLAN, found, HOUR // 6, WORTH).coverage == {"kpi": 0.75, "sp": 1.0}


@pytest.mark.parametrize("conclusion", ["confounded", "void"])
def test_nothing_is_worth_anything_that_was_not_judged(conclusion: str) -> None:
    effect = replace(judge(PLAN, blocks_of(PLAN, rows(5.0), HOUR // 6)), conclusion=conclusion)
    found = priced_at(WORTH, effect)
    assert (found.per_year, found.why) == (None, "no benefit could be judged")


def test_an_end_that_is_open_stays_open() -> None:
    effect = replace(judge(PLAN, blocks_of(PLAN, rows(5.0), HOUR // 6)), absolute=(1.0, None, None))
    assert priced_at(WORTH, effect).per_year == (16_000.0, None, None)
    unknown = Money(why="hours_per_year is not given", factor=2.0)
    assert priced_at(unknown, effect) == unknown


def test_what_is_not_measured_follows_the_plan() -> None:
    bare = list(unmeasured(PLAN, 48.0, Money(why="x")))
    full = replace(PLAN, held=(Held("a", ratio=0.9), Held("b", within=1.0)), limits=(Limit("c", high=1.0),), drivers=("d",))
    kept = list(unmeasured(full, 48.0, Money(per_year=(1.0, 0.0, 2.0))))
    assert len(bare) == len(kept) + 5
    assert set(kept) < set(bare)
    assert bare[-1] == "money: x"


@pytest.mark.parametrize(
    ("claimed", "found", "where"),
    [
        ({"a": 1}, {"a": 1}, None),
        ({"a": 1}, {"a": 1.0}, "a"),
        ({"a": 0.0}, {"a": -0.0}, "a"),
        ({"a": 0.1 + 0.2}, {"a": 0.3}, "a"),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, "a[1].b"),
        ({"a": [1]}, {"a": [1, 2]}, "a"),
        ({"a": None}, {}, ""),
        ({"a": 1, "b": 1}, {"a": 1}, "b"),
        ({"a": {"b": 1}}, {"a": [1]}, "a"),
    ],
)
def test_the_first_difference_is_named(claimed: object, found: object, where: str | None) -> None:
    first = differs(claimed, found)
    assert (first[0] if first else None) == where
