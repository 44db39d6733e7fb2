"""Units of proposals: what is known is converted, everything else goes to the guard as it was asked, which refuses it."""

from __future__ import annotations

import math
from typing import Any

import pint
import pytest

from jayul.core.guard import Context, Writer, judge
from jayul.core.types import Frame, Proposal
from jayul.decide.units import UNITS, convert, converting
from jayul.rules.basic import BASIC
from jayul.testing import DEMO_TAGS, make_frame

FRAME = make_frame(DEMO_TAGS, {"SP": 50.0, "PV": 50.0})
KNOWN = {"SP": DEMO_TAGS["SP"].unit}


@pytest.mark.parametrize(
    ("value", "unit", "into", "expected"),
    [(212.0, "degF", "degC", 100.0), (1.0, "bar", "kPa", 100.0), (50.0, "%", "1", 0.5), (7.2, "t/h", "kg/s", 2.0),
     (6.0, "m3/h", "L/min", 100.0), (0.0, "Cel", "K", 273.15), (1.0, "kWh", "MJ", 3.6), (1.0, "kW.h", "kWh", 1.0)],
)  # fmt: skip
def test_what_measures_the_same_is_converted(value: float, unit: str, into: str, expected: float) -> None:
    assert convert(value, unit, into) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("unit", "into"),
    [("kg", "m"), ("USD/h", "KRW/h"), ("Nm3/h", "m3/h"), ("pH", "H"), ("degC/h", "degF/h"), ("?", "bar"), ("", "bar"), ("a b", "m")],
)  # fmt: skip
def test_what_does_not_measure_the_same_or_is_not_known_is_not(unit: str, into: str) -> None:
    assert convert(1.0, unit, into) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e308])
def test_no_value_that_is_not_finite_comes_out(value: float) -> None:
    assert convert(value, "bar", "Pa") is None


@pytest.mark.parametrize("symbol", sorted(UNITS))
def test_every_symbol_is_a_unit_of_pint(symbol: str) -> None:
    assert pint.UnitRegistry().Unit(UNITS[symbol])
    assert convert(3.0, symbol, symbol) == pytest.approx(3.0)


def asked(proposal: Proposal) -> Proposal:
    def policy(state: Any, frame: Frame, plan: Any) -> tuple[Any, list[Proposal]]:
        return state, [proposal]

    _, (wish,) = converting(policy, KNOWN)(None, FRAME, None)
    assert isinstance(wish, Proposal)
    return wish


def test_a_proposal_in_another_unit_is_judged_in_that_of_its_tag_and_says_what_was_asked() -> None:
    wish = asked(Proposal("SP", 124.0, "warmer", "p", unit="degF"))
    assert (wish.unit, wish.why) == ("degC", "warmer (124 degF)")
    assert wish.value == pytest.approx(51.111, abs=1e-3)


def test_one_without_a_unit_or_in_that_of_its_tag_stays_as_it_is() -> None:
    for unit in ("", "degC"):
        proposal = Proposal("SP", 51.0, "warmer", "p", unit=unit)
        assert asked(proposal) is proposal


@pytest.mark.parametrize("unit", ["kPa", "USD/h", "nonsense unit"])
def test_what_cannot_be_converted_is_refused_by_the_guard(unit: str) -> None:
    wish = asked(Proposal("SP", 51.0, "warmer", "p", unit=unit))
    (verdict,) = judge(Context(FRAME, {"p": Writer(("SP",), True)}, {}, 1), [wish], BASIC)
    assert (verdict.allowed, verdict.rule) == (None, "unit")
