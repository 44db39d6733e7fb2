"""Series that a historian compressed are found, and those that nobody compressed are left alone; false alarms are counted."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jayul.record.compressed import compressed_at_source, judge

S = 10**9
DATA = Path(os.environ.get("JAYUL_SHARED", Path(__file__).parents[3] / "shared")) / "data"
N = 3000


def swinging_door(at: np.ndarray, value: np.ndarray, deviation: float) -> np.ndarray:
    """Return what the swinging-door algorithm (Bristol, US 4,669,097) keeps: positions."""
    kept, low, high = [0], -np.inf, np.inf
    for i in range(1, len(at)):
        span = at[i] - at[kept[-1]]
        low, high = (
            max(low, (value[i] - deviation - value[kept[-1]]) / span),
            min(high, (value[i] + deviation - value[kept[-1]]) / span),
        )
        if low > high:
            kept.append(i - 1)
            span = at[i] - at[i - 1]
            low, high = (value[i] - deviation - value[i - 1]) / span, (value[i] + deviation - value[i - 1]) / span
    return np.array([*kept, len(at) - 1])


def deadband(value: np.ndarray, width: float) -> np.ndarray:
    """Return what is reported by exception: positions."""
    kept = [0]
    for i in range(1, len(value)):
        if abs(value[i] - value[kept[-1]]) > width:
            kept.append(i)
    return np.array(kept)


def _ar(chance: np.random.Generator) -> np.ndarray:
    noise, out = chance.normal(size=N), np.zeros(N)
    for i in range(1, N):
        out[i] = 0.97 * out[i - 1] + noise[i]
    return out


SIGNALS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "noise": lambda chance: chance.normal(size=N),
    "autoregressive": _ar,
    "walk": lambda chance: np.cumsum(chance.normal(size=N)),
    "wave": lambda chance: 10 * np.sin(np.arange(N) / 150 + chance.uniform(0, 6)) + chance.normal(size=N),
}
AT = np.arange(N, dtype=np.int64) * S


def noise_of(value: np.ndarray) -> float:
    return float(np.std(np.diff(value)))


@pytest.mark.parametrize(
    ("name", "wide"), [*((name, wide) for name in SIGNALS for wide in (0.25, 0.5)), ("noise", 1.0), ("wave", 1.0)]
)
def test_a_swinging_door_is_found(name: str, wide: float) -> None:
    found = 0
    for seed in range(20):
        value = SIGNALS[name](np.random.default_rng(seed))
        kept = swinging_door(AT / S, value, wide * noise_of(value))
        found += judge(AT[kept], value[kept]).kind == "swinging door"
    print(name, wide, found, "of 20")
    assert found >= 18


@pytest.mark.parametrize("name", ["autoregressive", "walk"])
def test_a_wide_door_on_a_wandering_signal_is_not_found(name: str) -> None:
    """What the docstring of the module says it cannot do; a better statistic would show here."""
    value = SIGNALS[name](np.random.default_rng(0))
    kept = swinging_door(AT / S, value, 2 * noise_of(value))
    assert len(kept) < N // 10
    assert not judge(AT[kept], value[kept]).suspected


@pytest.mark.parametrize("name", SIGNALS)
def test_a_deadband_is_found(name: str) -> None:
    for seed in range(20):
        value = SIGNALS[name](np.random.default_rng(seed))
        kept = deadband(value, noise_of(value))
        assert judge(AT[kept], value[kept]).kind == "deadband"


@pytest.mark.parametrize("decimals", [None, 3])
@pytest.mark.parametrize("name", SIGNALS)
def test_interpolation_on_a_grid_is_found(name: str, decimals: int | None) -> None:
    for seed in range(20):
        value = SIGNALS[name](np.random.default_rng(seed))
        kept = swinging_door(AT / S, value, noise_of(value))
        again = np.interp(AT, AT[kept], value[kept])
        assert judge(AT, again if decimals is None else np.round(again, decimals)).kind == "interpolated"


def test_uncompressed_series_are_left_alone() -> None:
    """Even and uneven times, lost samples, coarse converters, counters, ramps: at most 1 % false alarms."""
    alarms, tried = list[str](), 0
    for seed in range(100):
        for name, make in SIGNALS.items():
            chance = np.random.default_rng(seed)
            value = make(chance)
            some = np.sort(chance.choice(N, N // 5, replace=False))
            lossy = np.sort(chance.choice(N, N - N // 10, replace=False))
            coarse = np.round(value)
            changes = np.flatnonzero(np.diff(coarse, prepend=np.nan) != 0)
            jitter = AT + chance.integers(-S // 20, S // 20, size=N)
            cases = {
                "even": (AT, value), "two decimals": (AT, np.round(value, 2)), "at random times": (AT[some], value[some]),
                "lossy": (AT[lossy], value[lossy]), "jitter": (jitter, value), "coarse": (AT, coarse),
                "on change": (AT[changes], coarse[changes]), "counter": (AT, np.cumsum(np.abs(value))),
                "smooth": (AT, np.round(50 + 10 * np.sin(np.arange(N) / (100 + seed)), 3)),
                "ramps": (AT, np.abs((np.arange(N) * 0.25 + seed) % 200 - 100)),
            }  # fmt: skip
            for case, series in cases.items():
                tried += 1
                if judge(*series).suspected:
                    alarms.append(f"{name}, {case}, {seed}")
    print(len(alarms), "false alarms of", tried)
    assert len(alarms) <= tried // 100, alarms[:20]


def test_too_few_samples_give_no_verdict() -> None:
    assert not judge(AT[:50], np.arange(50.0)).suspected
    table = pa.table({"tag": ["A", "A"], "source_at": [0, S], "value": [1.0, 2.0], "status": pa.array([0, 0], pa.uint32())})
    assert compressed_at_source(table)["A"].samples == 2


def public() -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Return columns of public plant data: name, times, values."""
    found = []
    for path in sorted((DATA / "tep-braatz").glob("d*.dat")):
        data = np.loadtxt(path)
        data = data.T if data.shape[0] == 52 else data
        found += [
            (f"{path.stem}.{i}", np.arange(len(data), dtype=np.int64) * 180 * S, column) for i, column in enumerate(data.T)
        ]
    for path in sorted((DATA / "skab" / "data").rglob("*.csv")):
        with path.open() as file:
            names = file.readline().strip().split(";")
        rows = np.genfromtxt(path, delimiter=";", skip_header=1, usecols=range(1, 9))
        at = np.genfromtxt(path, delimiter=";", skip_header=1, usecols=0, dtype="datetime64[ns]").astype(np.int64)
        found += [(f"{path.stem}.{names[i + 1]}", at, rows[:, i]) for i in range(8)]
    return found


@pytest.mark.skipif(not DATA.exists(), reason="the public data is not here")
def test_false_alarms_on_public_data_are_few() -> None:
    alarms, tried = list[str](), 0
    for name, at, value in public():
        times, first = np.unique(at, return_index=True)
        fine = value[first][np.isfinite(value[first])]
        verdict = judge(times[np.isfinite(value[first])], fine)
        tried += verdict.samples >= 100
        alarms += [f"{name} {verdict.kind} {verdict.figure:.3g}"] if verdict.suspected else []
    print(len(alarms), "false alarms of", tried, alarms[:20])
    assert tried > 1000
    assert len(alarms) <= tried // 100
