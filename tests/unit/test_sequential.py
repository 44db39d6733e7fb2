"""The e-process: a fair game without an effect, whatever the sizes; and an interval that is good at every look."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jayul.prove.sequential import e_values, floor, looks, pairs_needed, threshold

PROFILE = settings(derandomize=True, max_examples=100, deadline=None, database=None)
sizes = st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=1, max_size=9)


@PROFILE
@given(sizes)
def test_over_all_falls_of_the_coins_the_mean_is_one(values: list[float]) -> None:
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=len(values))))
    assert e_values(signs * np.array(values)).mean(axis=0) == pytest.approx(np.ones(len(values)), rel=1e-9)


@PROFILE
@given(sizes)
def test_it_ever_reaches_the_bound_in_no_more_than_its_share_of_all_falls(values: list[float]) -> None:
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=len(values))))
    for bound in (2.0, 5.0, 20.0, 40.0):
        assert (e_values(signs * np.array(values)).max(axis=1) >= bound).mean() <= 1 / bound


@PROFILE
@given(sizes, st.floats(1e-3, 1e3))
def test_units_do_not_matter(values: list[float], factor: float) -> None:
    given_ = np.array(values)
    if given_.any() and given_[given_ > 0].min() > 1e-100:
        assert e_values(given_ * factor) == pytest.approx(e_values(given_), rel=1e-6)


def test_the_least_number_of_pairs() -> None:
    assert [floor(c) for c in (0.8, 0.9, 0.95, 0.99)] == [4, 5, 6, 9]
    assert e_values(np.ones(6))[-1] >= threshold(0.95) > e_values(np.ones(5))[-1]


def test_heavy_tails_and_drift_do_not_break_it() -> None:
    chance, shown = np.random.default_rng(0), 0
    for _ in range(2000):
        walk = np.cumsum(chance.standard_cauchy(40))  # a wandering plant: neither mean nor variance
        differences = (walk[::2] - walk[1::2]) * chance.choice((-1.0, 1.0), 20)
        shown += bool(max(e_values(differences).max(), e_values(-differences).max()) >= 40)
    assert shown <= 2000 * 0.05 + 3 * math.sqrt(2000 * 0.05 * 0.95)


def test_the_interval_holds_the_truth_at_every_look() -> None:
    chance, wrong = np.random.default_rng(1), 0
    for _ in range(150):
        found = looks(3.0 + chance.standard_normal(12), 0.95)
        wrong += any((k.low is not None and k.low > 3.0) or (k.high is not None and k.high < 3.0) for k in found)
    assert wrong <= 150 * 0.05 + 3 * math.sqrt(150 * 0.05 * 0.95)


def test_the_interval_narrows_and_has_no_ends_before_the_sixth_pair() -> None:
    found = looks(np.array([1.0, 1.2, 0.9, 1.1, 1.0, 1.05, 0.95, 1.1]), 0.95)
    assert [(look.low, look.high) for look in found[:5]] == [(None, None)] * 5
    ends = [(look.low, look.high) for look in found[5:]]
    assert all(a[0] <= b[0] <= b[1] <= a[1] for a, b in itertools.pairwise(ends))
    assert ends[-1][0] > 0
    assert found[-1].e_benefit >= 40 > 1 > found[-1].e_harm


def test_the_interval_excludes_zero_only_where_the_e_value_does() -> None:
    chance = np.random.default_rng(2)
    for _ in range(40):
        for look in looks(0.8 + chance.standard_normal(14), 0.95):
            assert (look.low is not None and look.low > 0) == (look.e_benefit >= 40)


def test_how_many_pairs_an_effect_needs() -> None:
    needed = [pairs_needed(ratio) for ratio in (10.0, 2.0, 1.0, 0.5)]
    assert needed == sorted(needed)
    assert needed[0] == 6
    assert pairs_needed(0.0) is None
    assert pairs_needed(0.01) is None
    chance = np.random.default_rng(5)
    shown = [bool(e_values(1.0 + chance.standard_normal(needed[2])).max() >= 40) for _ in range(1000)]
    assert 0.75 <= np.mean(shown) <= 0.87


def test_nothing_was_seen() -> None:
    assert looks(np.array([]), 0.95) == ()
    assert looks(np.zeros(8), 0.95)[-1].e_benefit <= 1.0
