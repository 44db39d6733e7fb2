"""Movement over a window, held against a recomputation from all that was ever seen."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from jayul.core.types import BAD, GOOD, SECOND, Frame, Tag, TagTable
from jayul.learn import Setting
from jayul.learn.movement import MovementConfig, movement
from jayul.testing import START

TABLE = TagTable([Tag(name="A", unit="degC"), Tag(name="B", unit="%")])
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
Past = list[tuple[int, float]]


def frame_of(at: int, a: float = 1.0, b: float = 1.0, *, bad: bool = False) -> Frame:
    stamps = np.full(2, at, dtype=np.int64)
    status = np.array([BAD if bad else GOOD, GOOD], dtype=np.uint32)
    return Frame(at, TABLE, np.array([a, b]), stamps, stamps.copy(), status)


def watch(frames: list[Frame], window: str = "5 min", tags: tuple[str, ...] = ("A",)) -> list[dict[str, float]]:
    """Return what the model says at every frame, names without its own."""
    model = movement(MovementConfig(tags, window), Setting("m", TABLE))
    state: Any = model.learn(frames)
    found = []
    for frame in frames:
        state, readings = model.infer(state, frame)
        found.append({reading.tag.removeprefix("m."): reading.value for reading in readings})
    return found


def values_of(*values: float, step: int = MINUTE) -> list[Frame]:
    return [frame_of(START + i * step, value, bad=math.isnan(value)) for i, value in enumerate(values)]


def anew(seen: Past, begin: int) -> dict[str, float]:
    """Recompute from everything that was seen well: the value that stood when the window began, and all after it."""
    steps = [pair for i, pair in enumerate(seen) if i == 0 or pair[1] != seen[i - 1][1]]
    standing = [pair for pair in steps if pair[0] <= begin][-1:]
    values = [value for _, value in standing + [pair for pair in steps if pair[0] > begin]]
    moves = [b - a for a, b in itertools.pairwise(values)]
    figures = {"count": float(len(moves)), "travel": sum(map(abs, moves)), "low": min(values), "high": max(values)}
    return {f"A.{what}": value for what, value in figures.items()}


@pytest.mark.parametrize("seed", range(20))
def test_against_a_recomputation_with_stale_stretches(seed: int) -> None:
    chance = np.random.default_rng(seed)
    at, value, ill, frames, expected = START, 50.0, 0, [], []
    minutes, seen = int(chance.integers(1, 30)), Past()
    for _ in range(400):
        at += int(chance.choice([30, 60, 60, 600])) * SECOND
        value += float(chance.choice([0, 0, 0, 1, -1, 0.25, -3]))
        ill = max(0, ill - 1) or (int(chance.integers(1, 30)) if chance.random() < 0.05 else 0)
        frames.append(frame_of(at, value, bad=ill > 0))
        seen += [] if ill else [(at, value)]
        expected.append(anew(seen, at - minutes * MINUTE) if seen else {})
    assert watch(frames, f"{minutes} min") == expected


@pytest.mark.parametrize(
    ("values", "count", "travel", "low", "high"),
    [
        ((1.0,), 0, 0, 1, 1),
        ((1.0, 1.0, 1.0), 0, 0, 1, 1),
        ((1.0, 3.0), 1, 2, 1, 3),
        ((1.0, 3.0, 2.0), 2, 3, 1, 3),
        ((1.0, 3.0, 1.0, 3.0), 3, 6, 1, 3),
        ((1.0, math.nan, 4.0), 1, 3, 1, 4),
        ((1.0, math.nan, math.nan, 1.0), 0, 0, 1, 1),
        ((math.nan, 4.0), 0, 0, 4, 4),
        ((1.0, 4.0, math.nan, math.nan), 1, 3, 1, 4),
        ((1.0, 3.0, 3.0, 3.0, 3.0, 3.0), 1, 2, 1, 3),  # the move of minute 1 is 4 minutes old
        ((1.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0), 0, 0, 3, 3),  # and now 5: the window has just passed it
    ],
)  # fmt: skip
def test_movement(values: tuple[float, ...], count: float, travel: float, low: float, high: float) -> None:
    assert watch(values_of(*values))[-1] == {"A.count": count, "A.travel": travel, "A.low": low, "A.high": high}


def test_a_tag_that_was_never_good_has_no_figures() -> None:
    assert watch(values_of(math.nan, math.nan)) == [{}, {}]


def test_a_value_that_stood_before_a_long_silence_still_counts() -> None:
    silent = [frame_of(START + i * MINUTE, 9.0, bad=True) for i in range(1, 60)]
    found = watch([frame_of(START, 1.0), *silent, frame_of(START + HOUR, 5.0)])
    assert found[-1] == {"A.count": 1.0, "A.travel": 4.0, "A.low": 1.0, "A.high": 5.0}


def test_many_small_moves_are_moves() -> None:
    found = watch(values_of(*(1.0 + i * 1e-12 for i in range(6))))
    assert [figures["A.count"] for figures in found] == [0, 1, 2, 3, 4, 5]


def test_tags_are_watched_apart_and_carry_their_unit() -> None:
    frames = [frame_of(START + i * MINUTE, 1.0, float(i)) for i in range(4)]
    found = watch(frames, tags=("B", "A"))[-1]
    assert (found["A.count"], found["B.count"], found["B.travel"]) == (0, 3, 3)
    model = movement(MovementConfig(("B", "A"), "5 min"), Setting("m", TABLE))
    assert model.needs == ("B", "A")
    assert [(tag.name, tag.unit) for tag in model.tags if "count" not in tag.name] == [
        ("m.B.travel", "%"), ("m.B.low", "%"), ("m.B.high", "%"), ("m.A.travel", "degC"), ("m.A.low", "degC"), ("m.A.high", "degC"),
    ]  # fmt: skip


def test_the_state_holds_no_more_than_the_window() -> None:
    model = movement(MovementConfig(("A",), "5 min"), Setting("m", TABLE))
    state: Any = model.learn(())
    for frame in values_of(*(float(i) for i in range(500))):
        state, _ = model.infer(state, frame)
    assert len(state[0]) <= 6


@pytest.mark.parametrize(("tags", "window"), [((), "1 h"), (("A",), "1"), (("A",), "")])
def test_a_configuration_that_cannot_be_meant(tags: tuple[str, ...], window: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        MovementConfig(tags, window)


def test_an_unknown_tag_is_found_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="GHOST"):
        movement(MovementConfig(("A", "GHOST"), "1 h"), Setting("m", TABLE))
