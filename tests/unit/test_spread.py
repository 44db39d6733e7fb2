"""Spread: the standard deviation about a running mean, unknown until it has been watched for long enough."""

from __future__ import annotations

import math

import numpy as np
import pytest

from jayul.core.types import BAD, SECOND, Tag, TagTable
from jayul.learn import Setting
from jayul.learn.spread import SpreadConfig, spread
from jayul.testing import START, check_model, make_frame

TABLE = TagTable(
    [
        Tag(name="A", unit="degC", stale_after=60),
        Tag(name="B"),
        Tag(name="s.A", kind="derived"),
        Tag(name="s.B", kind="derived"),
    ]
)


def run(values: list[float], over: str = "10 min", status: dict[int, int] | None = None):
    model = spread(SpreadConfig(("A",), over), Setting("s", TABLE))
    state, found = model.learn(()), []
    for i, value in enumerate(values):
        frame = make_frame(TABLE, {"A": value}, START + i * 10 * SECOND, status=(status or {}).get(i, 0))
        state, readings = model.infer(state, frame)
        found.append(readings[0] if readings else None)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_it_tells_the_standard_deviation_of_noise(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(50, 2.0, 3000)
    late = [reading.value for reading in run(noise.tolist())[600:]]
    assert np.mean(late) == pytest.approx(2.0, rel=0.1)


def test_it_is_unknown_until_one_time_constant_has_passed() -> None:
    found = run([50.0 + i % 2 for i in range(100)])
    assert all(reading.status for reading in found[:60])
    assert not any(reading.status for reading in found[60:])


def test_a_constant_has_no_spread_and_a_gap_is_no_movement() -> None:
    found = run([50.0] * 100, status={70: BAD, 71: BAD})
    assert found[70] is None
    assert found[99].value == 0.0
    assert math.isfinite(found[72].value)


def test_it_conforms() -> None:
    frames = [make_frame(TABLE, {"A": 50.0 + i % 3, "B": float(i)}, START + i * 10 * SECOND) for i in range(90)]
    check_model(lambda: spread(SpreadConfig(("A", "B"), "5 min"), Setting("s", TABLE)), frames)
    with pytest.raises(ValueError, match="unknown tag"):
        spread(SpreadConfig(("C",)), Setting("s", TABLE))
