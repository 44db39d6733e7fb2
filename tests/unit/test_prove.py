"""Proof: blocks by the plan's rules, and the conclusion from synthetic plants whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from jayul.prove.effect import Effect, Row, blocks_of, coverage, judge
from jayul.prove.plan import Held, Limit, Plan

MIN = 60_000_000_000
PERIOD, BLOCK = 10 * MIN, 600 * MIN


def plan(pairs: int = 8, seed: int = 0, **more) -> Plan:
    chance = np.random.default_rng(seed)
    arms = ("on", "off", *(arm for coin in chance.integers(0, 2, pairs) for arm in (("on", "off") if coin else ("off", "on"))))
    starts = tuple(i * BLOCK for i in range(len(arms)))
    base = {
        "wash_out": 200 * MIN,
        "alarm": "alarm",
        "recover": 60 * MIN,
        "drivers": ("grade",),
        "limits": (Limit("pv", high=9.0),),
    }
    held = (Held("flow", ratio=0.99), Held("purity", within=1.0))
    return Plan("p", "kpi", "USD/h", {"sp": 62.0}, starts, arms, len(arms) * BLOCK, 2, held=held, **(base | more))


def plant(
    p: Plan, effect: float, *, seed: int = 0, noise: float = 1.0, change: Callable[[dict, str, int], None] | None = None
) -> list[Row]:
    """Rows of a plant with autocorrelated noise and a lagging answer to its arm."""
    chance, rows, drift, lag = np.random.default_rng(seed + 1000), [], 0.0, 0.0
    for at in range(0, p.end, PERIOD):
        arm = p.arms[min(at // BLOCK, len(p.arms) - 1)]
        drift = 0.95 * drift + noise * math.sqrt(1 - 0.95**2) * chance.standard_normal()
        lag += 0.3 * ((arm == "on") - lag)
        values = {
            "kpi": 100 - effect * lag + drift,
            "sp": 62.0 if arm == "on" else 55.0,
            "flow": 6.0,
            "purity": 99.0,
            "pv": 5.0,
        }
        values |= {"grade": 0.0, "alarm": 0.0}
        if change:
            change(values, arm, at)
        rows.append(Row(at, values))
    return rows


def run(p: Plan, rows: list[Row]) -> Effect:
    return judge(p, blocks_of(p, rows, PERIOD))


def test_a_benefit_is_proven_and_its_interval_covers_the_truth() -> None:
    p = plan()
    found = run(p, plant(p, 5.0, noise=0.5))
    assert found.conclusion == "proven", found.reasons
    assert found.benefit is not None
    assert found.benefit[1] < 5.0 < found.benefit[2]
    assert found.pairs == found.pairs_planned == 8
    assert [b.left_out for b in found.blocks[:2]] == ["commissioning"] * 2
    assert found.plan == p.digest()


def test_harm_is_called_worse() -> None:
    p = plan()
    assert run(p, plant(p, -5.0, noise=0.5)).conclusion == "worse"


def test_no_effect_is_hardly_ever_proven_nor_worse() -> None:
    verdicts = [run(plan(seed=s), plant(plan(seed=s), 0.0, seed=s)).conclusion for s in range(80)]
    assert sum(v in ("proven", "worse") for v in verdicts) <= 9


def test_five_pairs_are_too_few_for_the_coin() -> None:
    p = plan(pairs=5)
    found = run(p, plant(p, 20.0, noise=0.1))
    assert found.conclusion == "not proven"
    assert found.reasons[-1].startswith("the coin alone could have done it: e-value 2")
    assert found.p_exact == pytest.approx(2 / 32)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda v, arm, at: v.update(flow=5.0 if arm == "on" else 6.0), "not held: flow"),
        (lambda v, arm, at: v.update(purity=96.0 if arm == "on" else 99.0), "not held: purity"),
        (
            lambda v, arm, at: v.update(pv=9.5 if arm == "on" and at % (50 * MIN) == 0 else 5.0),
            "more minutes outside a limit than off",
        ),
    ],
)
def test_a_constraint_that_is_not_held_is_not_proven(change, reason) -> None:
    p = plan()
    found = run(p, plant(p, 5.0, noise=0.5, change=change))
    assert found.conclusion == "not proven"
    assert reason in found.reasons


def test_a_driver_that_follows_the_arm_is_confounded() -> None:
    p = plan()
    found = run(p, plant(p, 5.0, noise=0.5, change=lambda v, arm, at: v.update(grade=float(arm == "on"))))
    assert found.conclusion == "confounded"


def test_alarms_take_their_ticks_and_a_block_with_too_little_left_takes_its_pair() -> None:
    p = plan()
    start = p.starts[6] + 210 * MIN
    found = run(
        p,
        plant(
            p,
            5.0,
            noise=0.5,
            change=lambda v, arm, at: v.update(
                alarm=float(start <= at < start + 250 * MIN), kpi=v["kpi"] + 50 * (start <= at < start + 250 * MIN)
            ),
        ),
    )
    assert found.blocks[6].left_out == "too few ticks"
    assert found.pairs == 7
    assert found.conclusion == "proven"


def test_a_block_that_did_not_stand_in_its_arm_is_left_out() -> None:
    p = plan()
    on = next(i for i, arm in enumerate(p.arms) if arm == "on" and i > 2)
    found = run(p, plant(p, 5.0, noise=0.5, change=lambda v, arm, at: v.update(sp=55.0) if at // BLOCK == on else None))
    assert found.blocks[on].left_out == "not in its arm"


def test_missing_values_are_not_made_up() -> None:
    p = plan()
    found = run(p, plant(p, 5.0, noise=0.5, change=lambda v, arm, at: v.update(kpi=math.nan)))
    assert found.conclusion == "void"
    assert found.benefit is None


def test_wash_out_is_left_out() -> None:
    p = plan()
    rows = plant(p, 5.0, noise=0.0)
    assert run(p, rows).benefit[0] == pytest.approx(5.0, abs=0.05)
    everything = plan(pairs=8).__class__(**{f: getattr(p, f) for f in p.__struct_fields__} | {"wash_out": 1})
    assert run(everything, rows).benefit[0] < 4.9


def test_any_change_of_the_plan_changes_its_digest() -> None:
    assert len({plan().digest(), plan(seed=1).digest(), plan(recover=1).digest(), plan(confidence=0.9).digest()}) == 4


def test_an_effect_that_still_changes_within_the_blocks_is_void() -> None:
    p = plan(wash_out=10 * MIN)

    def slow(values: dict, arm: str, at: int) -> None:  # half of the way after 300 min
        values["kpi"] -= 5.0 * (arm == "on") * (1 - 0.5 ** (at % BLOCK / (300 * MIN)))

    found = run(p, plant(p, 0.0, noise=0.3, change=slow))
    assert found.conclusion == "void"
    assert found.reasons[0].startswith("carry-over")


def test_a_wash_out_that_is_not_in_the_plan_is_found_by_the_commissioning_blocks() -> None:
    p = plan(wash_out=0)
    found = run(p, plant(p, 5.0, noise=0.02))
    took = [block.settled for block in found.blocks[:2]]
    assert found.wash_out == pytest.approx(1.25 * max(took))
    assert found.conclusion == "proven"
    assert found.benefit[0] == pytest.approx(5.0, abs=0.1)


def test_data_that_is_missing_in_one_arm_more_than_in_the_other_is_confounded() -> None:
    p = plan()
    change = lambda v, arm, at: v.update(kpi=math.nan) if arm == "on" and at % (40 * MIN) == 0 else None  # noqa: E731
    found = run(p, plant(p, 5.0, noise=0.5, change=change))
    assert found.conclusion == "confounded"
    assert (
        found.reasons == ("the share of ticks that count differs between the arms by 25 points",)
        or "points" in found.reasons[0]
    )


def test_what_is_compared_is_the_kpi_less_its_twin() -> None:
    p = plan(twin="twin")
    calm, rows = plant(p, 0.0, noise=3.0), plant(p, 5.0, noise=3.0)
    rows = [Row(row.at, row.values | {"twin": off.values["kpi"]}) for row, off in zip(rows, calm, strict=True)]
    found = run(p, rows)
    assert found.conclusion == "proven"
    assert found.absolute[0] == pytest.approx(5.0, abs=0.01)
    assert run(plan(), plant(p, 5.0, noise=3.0)).looks[-1].e_benefit < found.looks[-1].e_benefit


def test_it_says_how_much_longer_an_effect_like_this_one_would_take() -> None:
    p = plan(seed=3)
    found = run(p, plant(p, 0.8, noise=1.0, seed=3))
    assert found.conclusion == "not proven"
    assert found.more_hours is not None
    assert found.more_hours % 20 == 0
    assert found.more_hours > 0


def test_no_worse_than_is_a_claim_of_its_own() -> None:
    p = plan(no_worse=2.0)
    assert run(p, plant(p, 0.0, noise=0.5)).conclusion == "proven"
    assert run(plan(), plant(p, 0.0, noise=0.5)).conclusion == "not proven"
    assert run(p, plant(p, -8.0, noise=0.5)).conclusion == "worse"
    assert run(p, plant(p, -2.0, noise=0.5)).conclusion == "not proven"
    found, plain = run(p, plant(p, 1.0, noise=0.5)), run(plan(), plant(p, 1.0, noise=0.5))
    assert found.absolute == plain.absolute, "the interval is of the effect, whatever is claimed"


def test_advice_is_judged_by_what_was_assigned_whatever_people_did() -> None:
    def half_followed(values: dict, arm: str, at: int) -> None:
        if arm == "on" and (at // BLOCK) % 3 == 0:
            values.update(sp=55.0, kpi=values["kpi"] + 8.0)  # nobody followed: no saving in these blocks

    p, bound = plan(pairs=20, assigned=True), plan(pairs=20)
    found = run(p, plant(p, 8.0, noise=0.5, change=half_followed))
    strict = run(bound, plant(bound, 8.0, noise=0.5, change=half_followed))
    assert found.pairs == 20 > strict.pairs
    assert found.conclusion == "proven"
    assert found.absolute[0] < strict.absolute[0]
    assert 0.4 < found.followed["on"] < 0.9
    assert found.followed["off"] == 0.0
    assert strict.followed["on"] == pytest.approx(1.0)


def test_what_the_smallest_effect_of_interest_takes_is_reported() -> None:
    p, hours = plan(smallest=1.0), 20.0  # a pair
    found = run(p, plant(p, 0.0, noise=0.5))
    assert found.smallest_hours is not None
    assert found.smallest_hours % hours == 0
    half = run(plan(smallest=0.5), plant(p, 0.0, noise=0.5))
    assert half.smallest_hours is None or half.smallest_hours > found.smallest_hours >= 6 * hours
    assert run(plan(), plant(p, 0.0, noise=0.5)).smallest_hours is None


def test_below_the_least_coverage_nothing_is_concluded() -> None:
    def lossy(values: dict, arm: str, at: int) -> None:
        if at // PERIOD % 5 == 0:
            values["flow"] = math.nan

    asked = plan(least_coverage=0.9)
    rows = plant(asked, 8.0, change=lossy)
    blocks = blocks_of(asked, rows, PERIOD)
    assert coverage(blocks[2:]) == pytest.approx(0.8)
    found = judge(asked, blocks)
    assert (found.conclusion, found.reasons) == ("void", ("coverage 80.0 %, at least 90 % is asked for",))
    assert run(plan(least_coverage=0.8), rows).conclusion == "proven"
    whole = [row for row in plant(asked, 8.0) if row.at // PERIOD % 5]  # ticks that are not there at all
    assert run(asked, whole).conclusion == "void"
    assert coverage(blocks_of(asked, [], PERIOD)) is None


def test_a_block_that_goes_on_is_due_up_to_now() -> None:
    asked = plan(least_coverage=0.9)
    rows = [row for row in plant(asked, 8.0) if row.at < 6.5 * BLOCK]
    assert coverage(blocks_of(asked, rows, PERIOD)[2:]) == pytest.approx(1.0)
