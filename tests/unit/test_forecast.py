"""Forecast: better than the season before, in time, honest about its error, and untroubled by gaps."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog

from jayul.core.types import BAD, GOOD, SECOND, Tag, TagTable
from jayul.learn import Card, Carded, Setting
from jayul.learn.forecast import Forecast, ForecastConfig, _quantile, forecast
from jayul.testing import START, make_frame

HOUR = 3600 * SECOND
DAY = 24
TABLE = TagTable([Tag(name="y", unit="kW")])
OPTIONS: dict[str, Any] = {
    "target": "y", "step": "1 h", "horizon": "3 h", "seasons": ("1 d",), "first": "10 d", "window": "20 d", "refit": "2 d",
    "calibrate": "5 d",
}  # fmt: skip
INTERVAL = {"low", "median", "high"}
Said = list[dict[str, float]]


def series(days: int, seed: int, noise: float = 1.0) -> np.ndarray:
    chance, hours = np.random.default_rng(seed), np.arange(days * DAY)
    return 20 + 5 * np.sin(2 * np.pi * hours / DAY) + noise * chance.standard_normal(len(hours))


def make(**options: Any) -> Forecast:
    return forecast(ForecastConfig(**OPTIONS | options), Setting("f", TABLE))


def watch(y: np.ndarray, *, bad: tuple[int, ...] = (), missing: tuple[int, ...] = (), **options: Any) -> tuple[Said, Card]:
    """Return what was said at each hour and the last card; `bad` hours are not fresh, `missing` hours have no tick."""
    model = make(**options)
    state, said = model.learn(()), []
    for i, value in enumerate(y):
        readings = ()
        if i not in missing:
            frame = make_frame(TABLE, {"y": value}, START + i * HOUR, status=BAD if i in bad else GOOD)
            state, readings = model.infer(state, frame)
        said.append({r.tag.removeprefix("f."): r.value for r in readings})
    return said, model.card(state)


@cache
def plain(seed: int = 0) -> tuple[np.ndarray, Said, Card]:
    y = series(40, seed)
    return y, *watch(y)


GAP = tuple(range(600, 606))


@pytest.mark.parametrize("seed", range(3))
def test_it_beats_the_season_before_where_there_is_noise(seed: int):
    _, said, card = plain(seed)
    assert said[-1]["ratio"] < 0.85
    assert card.measured["ratio"] == pytest.approx(said[-1]["ratio"])


def test_the_interval_holds_its_share():
    for coverage in (0.5, 0.8):
        shares = [watch(series(40, seed), coverage=coverage)[0][-1]["inside"] for seed in range(4)]
        assert abs(np.mean(shares) - coverage) < 0.06


@pytest.mark.parametrize("cut", [30, 250, 600, 900])
def test_what_it_says_depends_on_nothing_later(cut: int):
    y, said, _ = plain()
    other = np.append(y[: cut + 1], series(40, 99)[cut + 1 :] * 3)
    again, _ = watch(other)
    assert again[: cut + 1] == said[: cut + 1]
    assert again != said


@pytest.mark.parametrize("horizon", [1, 21, 24, 30, 48])
def test_it_forecasts_at_any_horizon(horizon: int):
    y = series(25, 0)
    said, _ = watch(y, horizon=f"{horizon} h", window="15 d")
    assert all("median" in row for row in said[15 * DAY :])
    errors = [said[i - horizon]["median"] - y[i] for i in range(15 * DAY + horizon, len(y))]
    assert np.abs(errors).mean() < 1.3


def test_the_interval_follows_the_errors_of_late():
    y = np.concatenate([series(15, 0), series(25, 1, noise=4.0), series(25, 2)])
    said, _ = watch(y, refit="1000 d", calibrate="10 d")
    calm, wild, again = (
        np.mean([row["high"] - row["low"] for row in said[day * DAY - 48 : day * DAY]]) for day in (15, 40, 65)
    )
    assert wild > 2 * calm
    assert again < 1.4 * calm


def test_an_interval_that_is_narrowed_keeps_its_median():
    chance = np.random.default_rng(0)
    y = np.append(chance.lognormal(0.0, 2.0, 15 * DAY), np.full(10 * DAY, 6.0) + 1e-3 * chance.standard_normal(10 * DAY))
    made = [row for row in watch(y, refit="1000 d", ridge=1e9)[0] if "median" in row]
    assert all(row["low"] <= row["median"] <= row["high"] for row in made)
    assert any(row["low"] == row["median"] for row in made)


def test_it_speaks_of_the_interval_only_once_it_is_fitted():
    _, said, card = plain()
    first = next(i for i, row in enumerate(said) if "median" in row)
    assert 10 * DAY - 1 <= first <= 11 * DAY
    assert all(row.keys() >= INTERVAL | {"naive"} for row in said[first:])
    assert next(i for i, row in enumerate(said) if "inside" in row) == first + 3, "once the first forecast has come due"
    assert len(card.fits) == 1


def test_it_is_fitted_anew_on_the_last_window():
    _, _, card = plain()
    fit = card.fits[0]
    assert START + 37 * DAY * HOUR < fit.end < START + 40 * DAY * HOUR
    assert (fit.end - fit.begin, fit.rows) == ((20 * DAY - 1) * HOUR, 20 * DAY)


@pytest.mark.parametrize(("horizon", "back"), [(3, 21), (24, 0), (30, 18), (48, 0), (50, 22)])
def test_naive_is_the_value_whole_seasons_before_the_time_that_is_forecast(horizon: int, back: int):
    y = series(6, 0)
    said, _ = watch(y, horizon=f"{horizon} h")
    assert [row.get("naive") for row in said] == [None] * back + y[: len(y) - back].tolist()
    assert (horizon + back) % DAY == 0


def test_naive_is_that_of_the_season_that_did_better():
    y = series(30, 0, noise=0.3)
    said, _ = watch(y, seasons=("6 h", "1 d"))
    assert [row["naive"] for row in said[20 * DAY :]] == y[20 * DAY - 21 : -21].tolist()


@pytest.mark.parametrize("seasons", [("1 d",), ("12 h", "1 d")])
@pytest.mark.parametrize("bad", [(), GAP], ids=["whole", "gap"])
def test_ratio_and_inside_equal_a_recomputation_from_what_was_said(seasons: tuple[str, ...], bad: tuple[int, ...]):
    y, ahead = series(35, 5), 3
    said, card = watch(y, bad=bad, seasons=seasons)
    errors, inside, rows = np.zeros(1 + len(seasons)), 0, 0
    for i in range(len(y)):
        due = said[i - ahead] if i >= ahead else {}
        before = [i - {"12 h": 12, "1 d": DAY}[season] for season in seasons]
        if "median" in due and i not in bad and not set(before) & set(bad):
            errors += np.abs(y[i] - np.array([due["median"], *y[before]]))
            inside, rows = inside + (due["low"] <= y[i] <= due["high"]), rows + 1
        assert said[i].get("inside") == (pytest.approx(inside / rows) if rows else None)
        assert said[i].get("ratio") == (pytest.approx(errors[0] / errors[1:].min()) if rows else None)
    mae, naive = errors[0] / rows, errors[1:].min() / rows
    figures = {"mae": mae, "mae-naive": naive, "ratio": mae / naive, "inside": inside / rows, "nominal": 0.8, "rows": rows}
    assert card.measured == pytest.approx(figures)
    assert (card.kind, card.peer, card.unit, card.reads) == ("forecast", "seasonal naive", "kW", ("y",))


def test_no_forecast_leans_on_a_gap():
    said, _ = watch(series(40, 0), bad=GAP)
    assert not any(row.keys() & INTERVAL for row in said[GAP[0] : GAP[-1] + DAY]), "the mean of the last season is not known"
    assert [i for i, row in enumerate(said) if i > 500 and "naive" not in row] == [i + 21 for i in GAP]


def test_what_stands_in_a_tag_that_is_not_fresh_is_not_seen():
    y, _, _ = plain()
    poisoned = y.copy()
    poisoned[list(GAP)] = 1e6
    assert watch(poisoned, bad=GAP) == watch(y, bad=GAP)


def test_it_recovers_from_a_gap():
    y, whole, _ = plain()
    said, card = watch(y, bad=GAP)
    late = range(GAP[-1] + 6 * DAY, len(y))
    assert all(said[i].keys() == whole[i].keys() for i in late)
    assert max(abs(said[i]["median"] - whole[i]["median"]) for i in late) < 2.0
    assert card.measured["ratio"] < 0.85


def test_a_missing_tick_is_a_gap():
    y, _, _ = plain()
    missing, _ = watch(y, missing=GAP)
    bad, _ = watch(y, bad=GAP)
    assert missing[GAP[-1] + 1 :] == bad[GAP[-1] + 1 :]


def test_ticks_between_two_steps_change_nothing():
    model, y = make(), series(20, 0)
    state, said = model.learn(()), []
    for i in range(4 * len(y)):
        value = y[i // 4] if i % 4 == 0 else 1e6
        state, readings = model.infer(state, make_frame(TABLE, {"y": value}, START + i * HOUR // 4))
        said.append({r.tag.removeprefix("f."): r.value for r in readings})
    steps, _ = watch(y)
    assert said == [row for row in steps for _ in range(4)]


def test_low_median_and_high_are_in_order():
    chance = np.random.default_rng(1)
    shapes = [series(30, 1), series(30, 2, noise=0.0), 1e-6 * chance.standard_cauchy(30 * DAY), chance.integers(0, 2, 30 * DAY)]
    for y in shapes:
        made = [row for row in watch(y.astype(float))[0] if row.keys() & INTERVAL]
        assert len(made) > 10 * DAY
        assert all(row["low"] <= row["median"] <= row["high"] for row in made)


def test_a_quantity_that_never_moves_is_not_fitted():
    said, card = watch(np.full(20 * DAY, 5.0))
    assert {tuple(row) for row in said[DAY:]} == {("naive",)}
    assert (card.fits, card.measured) == ((), {"nominal": 0.8})


def test_a_season_that_repeats_exactly_has_no_ratio():
    said, card = watch(np.tile(np.arange(24.0), 20))
    assert "inside" in said[-1]
    assert "ratio" not in said[-1]
    assert "ratio" not in card.measured


def test_nothing_is_said_without_data():
    said, card = watch(np.zeros(48), bad=tuple(range(48)))
    assert not any(said)
    assert card.fits == ()
    assert isinstance(make(), Carded)


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"horizon": "90 min"}, "'horizon' is no multiple"),
        ({"first": "90 min"}, "'first' is no multiple"),
        ({"window": "90 min"}, "'window' is no multiple"),
        ({"refit": "90 min"}, "'refit' is no multiple"),
        ({"calibrate": "90 min"}, "'calibrate' is no multiple"),
        ({"step": "soon"}, "'soon'"),
        ({"horizon": "0 h"}, "'0 h'"),
        ({"seasons": ("1 h",)}, "at least two steps"),
        ({"seasons": ("1 d", "150 min")}, "at least two steps"),
        ({"seasons": ()}, "'seasons' must"),
        ({"coverage": 0.0}, "'coverage' must lie"),
        ({"coverage": 1.0}, "'coverage' must lie"),
        ({"coverage": math.nan}, "'coverage' must lie"),
        ({"ridge": 0.0}, "'ridge' must be above 0"),
    ],
)
def test_wrong_configurations_are_refused(wrong: dict[str, Any], what: str):
    with pytest.raises(ValueError, match=what):
        ForecastConfig(**OPTIONS | wrong)


def test_an_unknown_tag_is_refused():
    with pytest.raises(ValueError, match="unknown tag 'none'"):
        make(target="none")


# quantile regression


def pinball(z: np.ndarray, y: np.ndarray, weights: np.ndarray, q: float) -> float:
    errors = y - z @ weights
    return float(np.maximum(q * errors, (q - 1) * errors).mean())


def problem(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features with a constant, and a target whose noise is skewed and grows with the first feature."""
    chance = np.random.default_rng(seed)
    z = np.column_stack([np.ones(150), chance.standard_normal((150, 3))])
    return z, z @ np.array([3.0, 1.0, -2.0, 0.5]) + (1 + 0.5 * np.abs(z[:, 1])) * chance.exponential(1.0, 150)


@pytest.mark.parametrize("q", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(3))
def test_a_quantile_is_as_good_as_the_exact_solution(seed: int, q: float):
    z, y = problem(seed)
    n, k = z.shape
    cost = np.concatenate([np.zeros(k), np.full(n, q), np.full(n, 1 - q)])
    exact = linprog(cost, A_eq=np.hstack([z, np.eye(n), -np.eye(n)]), b_eq=y, bounds=[(None, None)] * k + [(0, None)] * (2 * n))
    least = exact.fun / n
    assert pinball(z, y, exact.x[:k], q) == pytest.approx(least)
    assert least - 1e-9 <= pinball(z, y, _quantile(z, y, q, 1e-9), q) < 1.01 * least


@pytest.mark.parametrize("q", [0.1, 0.5, 0.9])
def test_a_quantile_leaves_its_share_below(q: float):
    for seed in range(3):
        z, y = problem(seed)
        assert abs(np.mean(y < z @ _quantile(z, y, q, 1e-9)) - q) < 0.04


def test_the_ridge_draws_all_but_the_constant_to_nought():
    z, y = problem(0)
    weights = _quantile(z, y, 0.5, 1e9)
    assert np.abs(weights[1:]).max() < 1e-3
    assert pinball(z, y, weights, 0.5) == pytest.approx(pinball(z[:, :1], y, np.array([np.median(y)]), 0.5), rel=0.01)
