"""Soft sensor: finds a linear truth, says how sure it is and where it has not been, and goes on when the target is silent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from jayul.core.types import SECOND, Frame, Tag, TagTable
from jayul.learn import Carded, Setting
from jayul.learn.softsensor import Softsensor, SoftsensorConfig, softsensor
from jayul.testing import START, make_frame

MIN = 60 * SECOND
TABLE = TagTable([Tag(name=name, unit=unit) for name, unit in (("a", "degC"), ("b", "bar"), ("c", "m3/h"), ("y", "%"))])
WEIGHTS, OFFSET = np.array([2.0, -1.5, 0.25]), 40.0
OPTIONS: dict[str, Any] = {"target": "y", "tags": ("a", "b", "c"), "train": "300 min", "test": "200 min"}
READY = 500  # the row at which it is fitted; from the next on it speaks


def rows(n: int, seed: int, noise: float = 0.5) -> np.ndarray:
    """Return [n, 4]: three inputs of different size, and the target that they make."""
    chance = np.random.default_rng(seed)
    x = np.array([60.0, 5.0, 100.0]) + np.array([2.0, 1.0, 10.0]) * chance.uniform(-1, 1, (n, 3))
    return np.column_stack([x, OFFSET + x @ WEIGHTS + noise * chance.standard_normal(n)])


def frame(minute: int, row: np.ndarray, stale: str = "") -> Frame:
    made = make_frame(TABLE, dict(zip(TABLE.names, row.tolist(), strict=True)), START + minute * MIN)
    if not stale:
        return made
    source = made.source_at.copy()
    source[TABLE.index[stale]] -= 2 * MIN
    return Frame(made.at, TABLE, made.value, source, made.seen_at, made.status)


def make(**options: Any) -> Softsensor:
    return softsensor(SoftsensorConfig(**OPTIONS | options), Setting("s", TABLE))


def watch(model: Softsensor, data: np.ndarray, stale: str = "", since: int = 0) -> tuple[Any, list[dict[str, float]]]:
    """Return the last state and what was said at each row; from `since` on the tag `stale` is not fresh."""
    state, said = model.learn(()), []
    for i, row in enumerate(data):
        state, readings = model.infer(state, frame(i, row, stale if i >= since else ""))
        said.append({r.tag.removeprefix("s."): r.value for r in readings})
    return state, said


@pytest.mark.parametrize("seed", range(3))
def test_it_recovers_the_target(seed: int):
    data = rows(READY + 200, seed, noise=0.1)
    state, said = watch(make(ridge=0.01), data)
    assert np.allclose(state.fit.weights, WEIGHTS, atol=0.1)
    errors = [row["value"] - data[i, -1] for i, row in enumerate(said) if row]
    assert len(errors) == 199
    assert np.sqrt(np.mean(np.square(errors))) < 0.12


@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_the_interval_holds_its_share_of_fresh_data(coverage: float):
    shares = []
    for seed in range(8):
        data = rows(READY + 400, seed)
        _, said = watch(make(coverage=coverage), data)
        shares.append(np.mean([row["low"] <= data[i, -1] <= row["high"] for i, row in enumerate(said) if row]))
    assert abs(np.mean(shares) - coverage) < 0.04


def test_the_interval_lies_evenly_about_the_value():
    _, said = watch(make(), rows(READY + 20, 0))
    widths = [(row["high"] - row["value"], row["value"] - row["low"]) for row in said[READY + 1 :]]
    assert np.allclose(widths, widths[0][0])
    assert widths[0][0] > 0


def test_it_says_nothing_before_it_has_a_fit():
    model, data = make(), rows(READY + 3, 0)
    state, said = watch(model, data)
    assert [i for i, row in enumerate(said) if row] == [READY + 1, READY + 2]
    assert set(said[-1]) == {"value", "low", "high", "trusted"}
    early, _ = watch(model, data[:READY])
    assert early.fit is None
    assert state.rows == (), "what was collected is let go"


def test_it_is_frozen_once_it_is_fitted():
    model, data = make(), rows(READY + 200, 0)
    data[READY + 1 :, -1] += 1000.0
    state, said = watch(model, data)
    before, _ = watch(model, data[: READY + 1])
    assert model.card(state) == model.card(before)
    assert max(row["value"] for row in said if row) < 300.0


def test_it_is_trusted_only_where_it_has_been():
    model, data = make(), rows(READY + 1, 0)
    state, _ = watch(model, data)
    seen = data[:300]
    reach = 0.1 * np.ptp(seen[:, 0])
    for a, trusted in (
        (60.0, 1.0),
        (seen[:, 0].max() + 0.9 * reach, 1.0),
        (seen[:, 0].max() + 1.1 * reach, 0.0),
        (seen[:, 0].min() - 0.9 * reach, 1.0),
        (seen[:, 0].min() - 1.1 * reach, 0.0),
    ):
        _, readings = model.infer(state, frame(READY + 1, np.array([a, 5.0, 100.0, 0.0])))
        assert {r.tag: r.value for r in readings}["s.trusted"] == trusted


def test_it_goes_on_when_the_target_falls_silent():
    data = rows(READY + 100, 0)
    _, heard = watch(make(), data)
    _, deaf = watch(make(), data, stale="y", since=READY + 1)
    assert deaf == heard
    assert all(deaf[READY + 1 :])


def test_rows_without_the_target_are_not_learnt_from():
    data = rows(READY + 100, 0)
    state, said = watch(make(), data, stale="y", since=READY)
    assert state.fit is None
    assert not any(said)


@pytest.mark.parametrize("tag", OPTIONS["tags"])
def test_it_says_nothing_while_an_input_is_stale(tag: str):
    model, data = make(), rows(READY + 2, 0)
    state, _ = watch(model, data[: READY + 1])
    same, readings = model.infer(state, frame(READY + 1, data[-1], stale=tag))
    assert not readings
    assert same is state
    assert model.infer(state, frame(READY + 1, data[-1]))[1]


def test_a_constant_input_does_no_harm():
    data = rows(READY + 50, 0)
    data[:, 1] = 5.0
    data[:, 3] = OFFSET + data[:, :3] @ WEIGHTS
    state, said = watch(make(ridge=1e-6), data)
    assert state.fit.weights[1] == 0.0
    assert np.allclose([row["value"] for row in said[READY + 1 :]], data[READY + 1 :, -1])
    assert {row["trusted"] for row in said[READY + 1 :]} == {1.0}


def test_a_constant_target_does_no_harm():
    data = rows(READY + 2, 0)
    data[:, -1] = 7.0
    state, said = watch(make(), data)
    assert said[-1]["low"] <= said[-1]["value"] <= said[-1]["high"]
    assert said[-1]["value"] == pytest.approx(7.0)
    assert make().card(state).measured["mae"] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("ridge", [0.01, 1.0, 300.0])
def test_the_card_equals_a_recomputation(ridge: float):
    """Ridge as plain least squares: one more row for each input, of the root of the penalty."""
    model, data = make(ridge=ridge), rows(READY + 50, 3)
    state, _ = watch(model, data)
    seen, unseen = data[:300], data[300 : READY + 1]
    mean, scale, middle = seen[:, :3].mean(axis=0), seen[:, :3].std(axis=0), seen[:, 3].mean()
    z = np.vstack([(seen[:, :3] - mean) / scale, np.sqrt(ridge) * np.eye(3)])
    weights = np.linalg.lstsq(z, np.append(seen[:, 3] - middle, np.zeros(3)), rcond=None)[0]
    mae = np.abs(unseen[:, 3] - middle - (unseen[:, :3] - mean) / scale @ weights).mean()
    naive = np.abs(unseen[:, 3] - middle).mean()
    card = model.card(state)
    assert card.measured == pytest.approx({"mae": mae, "mae-naive": naive, "ratio": mae / naive, "rows": 201})
    assert [(fit.begin, fit.end, fit.rows) for fit in card.fits] == [(START, START + 299 * MIN, 300)]
    assert (card.kind, card.peer, card.unit, card.reads) == ("softsensor", "mean", "%", ("y", "a", "b", "c"))


def test_the_card_is_empty_before_there_is_a_fit():
    model = make()
    card = model.card(model.learn(()))
    assert isinstance(model, Carded)
    assert (card.fits, card.measured) == ((), {})
    assert card.derives == ("s.value", "s.low", "s.high", "s.trusted")


def test_its_tags_bear_the_unit_of_the_target():
    assert [tag.unit for tag in make().tags] == ["%", "%", "%", "1"]


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"tags": ("a", "y")}, "explain itself"),
        ({"tags": ()}, "names no tag"),
        ({"coverage": 0.0}, "'coverage' must lie"),
        ({"coverage": 1.0}, "'coverage' must lie"),
        ({"coverage": float("nan")}, "'coverage' must lie"),
        ({"ridge": 0.0}, "'ridge' must be above 0"),
        ({"ridge": -1.0}, "'ridge' must be above 0"),
        ({"train": "soon"}, "'soon'"),
        ({"test": "0 h"}, "'0 h'"),
    ],
)
def test_wrong_configurations_are_refused(wrong: dict[str, Any], what: str):
    with pytest.raises(ValueError, match=what):
        SoftsensorConfig(**OPTIONS | wrong)


@pytest.mark.parametrize("wrong", [{"target": "none"}, {"tags": ("a", "none")}])
def test_an_unknown_tag_is_refused(wrong: dict[str, Any]):
    with pytest.raises(ValueError, match="unknown tag 'none'"):
        make(**wrong)
