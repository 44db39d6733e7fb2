"""Units and durations: how they are read, shown, and what cannot be read."""

from __future__ import annotations

import pytest

from jayul.core.expr import ExprError, duration, parse_unit, show_unit
from jayul.core.types import SECOND


@pytest.mark.parametrize(
    ("text", "powers"),
    [
        ("1", {}),
        ("", {}),
        ("m", {"m": 1}),
        ("m3/h", {"m": 3, "h": -1}),
        ("USD/kW/h", {"USD": 1, "kW": -1, "h": -1}),
        ("kW.h", {"kW": 1, "h": 1}),
        ("1/h", {"h": -1}),
        ("m.s-2", {"m": 1, "s": -2}),
        ("m/s2", {"m": 1, "s": -2}),
        ("m2/m", {"m": 1}),
        ("m/m", {}),
        ("%", {"%": 1}),
        ("%/h", {"%": 1, "h": -1}),
        ("°C", {"°C": 1}),
        ("₩/kg", {"₩": 1, "kg": -1}),
        ("KRW/kg{wet}", {"KRW": 1, "kg": -1}),
        (" kPa ", {"kPa": 1}),
    ],
)
def test_parse_unit(text, powers):
    assert parse_unit(text) == powers


def test_a_power_of_zero_is_not_shown():
    assert show_unit({"m": 1, "s": 0}) == "m"
    assert show_unit({"s": 0}) == "1"


@pytest.mark.parametrize("unit", ["1", "m", "m2", "m3", "1/h", "1/h2", "m/s2", "USD/h/kW", "h.kW", "kg.m2/h/s2"])
def test_a_unit_is_shown_as_it_is_written(unit):
    assert show_unit(parse_unit(unit)) == unit


@pytest.mark.parametrize("text", ["m//h", "/", "m.", ".m", "m h", "m^2", "3m", "m3h2", "(m)", "m*h", "2", "-1", "m3.5"])
def test_a_unit_that_cannot_be_read(text):
    with pytest.raises(ExprError, match="cannot be read"):
        parse_unit(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30 s", 30),
        ("10 min", 600),
        ("1.5 h", 5400),
        ("2 d", 172_800),
        ("250 ms", 0.25),
        ("10min", 600),
        (" 1 h ", 3600),
        ("0.000000001 s", 1e-9),
        ("0.0000000015 s", 2e-9),
        ("3000000000 s", 3e9),
    ],
)
def test_duration(text, seconds):
    assert duration(text) == seconds * SECOND


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10",
        "min",
        "-1 s",
        "0 s",
        "0.0 h",
        "1 week",
        "1e3 s",
        "1,5 h",
        "1 h 30 min",
        "nan s",
        "inf s",
        ".5 h",
        "0.0000000009 s",
        "3000000001 s",
        "40000 d",
    ],
)
def test_a_duration_that_cannot_be_read(text):
    with pytest.raises(ExprError, match="cannot be read"):
        duration(text)
