"""Orders of people about tags: limits, locks, clears, and which of them can be understood."""

from __future__ import annotations

import math
from typing import Any

import pytest
from situations import Order, Said, ask, order, ordered, said

from jayul.core.guard import FALLBACK
from jayul.rules.orders import orders, sound


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
        ([order(tag="SP2", high=1.0)], math.nan, None),
    ],
)
def test_orders(given: list[Order], value: float, expected: Said) -> None:
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
        ({"low": -1e300}, False),
        ({"high": 1e300}, False),
        ({"high": math.nextafter(1e300, 0.0)}, True),
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


def test_orders_hold_up_the_way_back_too() -> None:
    assert said(orders(ordered(order(lock=True)), ask(by=FALLBACK))) == (None, "lock")


def test_sound_survives_huge_integers():
    assert not sound({"tag": "SP", "low": 10**400})
