"""Forecast: what a quantity will be `horizon` from now, as three quantiles, beside the seasonal naive forecast.

Ridge-penalised quantile regression on lags, seasonal lags, running means and harmonics, fitted anew every `refit` on the last
`window`; the interval is widened or narrowed by the errors of the last `calibrate`. Nothing but the quantity's own past is used.
`<name>.low`, `.median`, `.high` and `.naive` are for `horizon` ahead. `.ratio` (mean absolute error of the median over that of the
better seasonal naive) and `.inside` (share within the interval) judge every forecast that has come due: each was made before.

Sources: Koenker & Bassett 1978 (quantile regression); Schlossmacher 1973 (by reweighted least squares); Romano et al. 2019
(conformalised quantiles); Hyndman & Athanasopoulos, Forecasting, 3rd ed. (seasonal naive).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from jayul.core.types import Frame, Reading, Tag
from jayul.learn import Card, Fitted, Setting, digest_of, known, span, together

CYCLES, REPEATS, SHORT = 3, 4, 4  # harmonics by season, repeats of the longest season, samples of the short mean
ROUNDS, CALM = 15, 0.01  # of reweighting; errors below CALM standard deviations weigh alike
LEAST = 100  # rows or errors below which nothing is fitted or calibrated


class ForecastConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`target`, sampled every `step`; `seasons`: after which it tends to repeat; `coverage`: share that the interval is to hold.

    The first fit comes after `first` of data.
    """

    target: str
    step: str
    horizon: str
    seasons: tuple[str, ...] = ("1 d", "7 d")
    first: str = "60 d"
    window: str = "120 d"
    refit: str = "7 d"
    calibrate: str = "28 d"
    coverage: float = 0.8
    ridge: float = 10.0

    def __post_init__(self) -> None:
        step = span(self.step)
        for key in ("horizon", "first", "window", "refit", "calibrate"):
            if span(getattr(self, key)) % step:
                raise ValueError(f"'{key}' is no multiple of 'step'")
        if min(span(self.window), span(self.calibrate)) < LEAST * step:
            raise ValueError(f"'window' and 'calibrate' must be at least {LEAST} steps")
        if span(self.first) > span(self.window):
            raise ValueError("'first' must not be longer than 'window'")
        if not self.seasons or any(span(text) % step or span(text) < 2 * step for text in self.seasons):
            raise ValueError("'seasons' must be multiples of 'step', at least two steps long")
        if not (self.ridge > 0 and 0 < self.coverage < 1):
            raise ValueError("'ridge' must be above 0, 'coverage' must lie between 0 and 1")


def forecast(config: ForecastConfig, setting: Setting) -> Forecast:
    """Make the model. Raises ValueError for an unknown tag."""
    known(setting, (config.target,))
    return Forecast(config, setting.name, setting.tags[config.target].unit, setting.least)


class Fit(msgspec.Struct, frozen=True):
    """Weights [3, features] of the quantiles, over standardised features: mean and scale [features]."""

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    seen: Fitted


class Memory(msgspec.Struct, frozen=True):
    """`y`: samples, newest last; `at`: time of the newest. `open`: forecasts [horizon, 4 + seasons], oldest first, NaN where none:
    low, median, high, by how much the interval was widened, each seasonal naive.

    `scores`: by how much values lay outside the interval before it was widened, newest last. `errors`: sums of absolute errors, of
    the median and of each seasonal naive; `judged`, `inside`: counts; `refused`: fits that too little data was there for.
    """

    at: int
    y: np.ndarray
    open: np.ndarray
    scores: np.ndarray
    errors: np.ndarray
    judged: int = 0
    inside: int = 0
    fit: Fit | None = None
    fitted_at: int = 0
    said: tuple[float, ...] = ()
    refused: int = 0


class Forecast:
    """The model."""

    def __init__(self, config: ForecastConfig, name: str, unit: str, least: float = 0.0) -> None:
        self._least = least
        self._config, self._name, self.needs = config, name, (config.target,)
        self._step = span(config.step)
        self._ahead, self._first, self._window, self._refit, self._keep = (
            span(text) // self._step for text in (config.horizon, config.first, config.window, config.refit, config.calibrate)
        )
        self._seasons = sorted(span(text) // self._step for text in config.seasons)
        longest = self._seasons[-1]
        self._past = longest * (math.ceil(self._ahead / longest) + REPEATS)  # how far back a feature looks
        self._quantiles = ((1 - config.coverage) / 2, 0.5, (1 + config.coverage) / 2)
        words = ("low", "median", "high", "naive")
        self.tags = (
            *(
                Tag(name=f"{name}.{word}", unit=unit, kind="derived", description=f"{config.target} in {config.horizon}")
                for word in words
            ),
            Tag(name=f"{name}.ratio", kind="derived", description="error so far, over that of the better seasonal naive"),
            Tag(name=f"{name}.inside", kind="derived", description="share so far within the interval"),
        )

    def learn(self, frames: Sequence[Frame]) -> Memory:  # noqa: ARG002 - it learns while it runs
        """Return the empty memory."""
        width = 4 + len(self._seasons)
        return Memory(0, np.empty(0), np.full((self._ahead, width), np.nan), np.empty(0), np.zeros(1 + len(self._seasons)))

    def infer(self, state: Any, frame: Frame) -> tuple[Any, Sequence[Reading]]:
        """Return the forecast of the newest step. A sample that is not fresh is a gap: no forecast leans on it."""
        memory: Memory = state
        if not memory.at:
            memory = msgspec.structs.replace(memory, at=frame.at - self._step)
        steps = (frame.at - memory.at) // self._step
        for missed in range(steps):
            value = frame[self._config.target] if missed == steps - 1 and frame.fresh(self._config.target) else math.nan
            memory = self._take(memory, value)
        names = ("low", "median", "high", "naive", "ratio", "inside")
        said = [Reading(f"{self._name}.{n}", v) for n, v in zip(names, memory.said, strict=False) if not math.isnan(v)]
        return memory, said

    def _take(self, memory: Memory, value: float) -> Memory:
        """Take one step: judge the forecast that has come due, learn if it is time, forecast."""
        at, y = memory.at + self._step, np.append(memory.y, value)[-(self._window + self._past + self._ahead) :]
        memory = self._judge(msgspec.structs.replace(memory, at=at, y=y), value)
        if len(y) >= self._first and (memory.fit is None or at - memory.fitted_at >= self._refit * self._step):
            fit = self._fit(y, at)
            short = fit is not None and (fit.seen.coverage or 0.0) < self._least
            kept, refused = memory.fit if short or fit is None else fit, memory.refused + short
            memory = msgspec.structs.replace(memory, fit=kept, fitted_at=at, refused=refused)
        naive = [self._naive(y, season) for season in self._seasons]
        *made, more = self._predict(memory, y, at)
        known = memory.judged > 0
        ratio = memory.errors[0] / memory.errors[1:].min() if known and memory.errors[1:].min() > 0 else math.nan
        said = (
            *made,
            naive[int(np.argmin(memory.errors[1:]))],
            float(ratio),
            memory.inside / memory.judged if known else math.nan,
        )
        return msgspec.structs.replace(memory, open=np.vstack([memory.open[1:], [*made, more, *naive]]), said=said)

    def _judge(self, memory: Memory, value: float) -> Memory:
        due = memory.open[0]
        if math.isnan(value) or np.isnan(due).any():
            return memory
        low, median, high, more = due[:4]
        scores = np.append(memory.scores, max(low - value, value - high) + more)[-self._keep :]
        errors = memory.errors + np.abs(value - np.append(median, due[4:]))
        inside = memory.inside + int(low <= value <= high)
        return msgspec.structs.replace(memory, scores=scores, errors=errors, judged=memory.judged + 1, inside=inside)

    def _naive(self, y: np.ndarray, season: int) -> float:
        """Return the value one season (or as many as it takes) before the time that is forecast."""
        back = season * math.ceil(self._ahead / season) - self._ahead
        return float(y[-1 - back]) if len(y) > back else math.nan

    def _features(self, y: np.ndarray, due: np.ndarray, at: int) -> np.ndarray:
        """Return [rows, features] for the positions in `y` that are forecast (`due`); `at`: time (ns) of the newest sample."""
        now, columns = due - self._ahead, [np.ones(len(due))]
        total, gaps = (np.concatenate([[0], np.cumsum(part)]) for part in (np.nan_to_num(y), np.isnan(y)))

        def mean(first: np.ndarray, count: int) -> np.ndarray:
            """Return the mean of `count` samples from each position on."""
            return np.where(gaps[first + count] > gaps[first], np.nan, (total[first + count] - total[first]) / count)

        columns += [y[now], mean(now - SHORT + 1, SHORT)]
        for season in self._seasons:
            back = season * math.ceil(self._ahead / season)
            columns += [y[due - back], mean(now - season + 1, season)]
        repeats = np.stack([y[due - back - k * season] for k in range(REPEATS)])  # of the longest season
        around = max(min(SHORT, back - self._ahead), 0)
        columns += [*repeats[1:], np.median(repeats, axis=0), mean(due - back - SHORT, SHORT + 1 + around)]
        time = at + (due - (len(y) - 1)) * self._step
        for season in self._seasons:
            angle = 2 * np.pi * ((time % (season * self._step)) / (season * self._step))
            for k in range(1, CYCLES + 1):
                columns += [np.sin(k * angle), np.cos(k * angle)]
        return np.column_stack(columns)

    def _fit(self, y: np.ndarray, at: int) -> Fit | None:
        due = np.arange(max(self._past + self._ahead, len(y) - self._window), len(y))
        if not len(due):
            return None
        x = self._features(y, due, at)
        good = np.isfinite(x).all(axis=1) & np.isfinite(y[due])
        x, target = x[good], y[due][good]
        if len(target) < LEAST or not target.std():
            return None
        mean, scale = x.mean(axis=0), x.std(axis=0)
        scale = np.where(scale > 1e-9 * np.maximum(1.0, np.abs(mean)), scale, np.inf)
        mean[0], scale[0] = 0.0, 1.0  # the constant
        z = (x - mean) / scale
        weights = np.array([_quantile(z, target, q, self._config.ridge) for q in self._quantiles])
        times = at - (len(y) - 1 - due[good][[0, -1]]) * self._step
        digest = digest_of((self._config.target,), y[:, None])  # all that features could look back to; NaN where there is a gap
        about = Fitted(int(times[0]), int(times[1]), len(target), {}, digest, len(target) / len(due))
        return Fit(mean, scale, weights, about)

    def _predict(self, memory: Memory, y: np.ndarray, at: int) -> list[float]:
        if memory.fit is None or len(y) < self._past + 1:
            return [math.nan] * 4
        padded = np.append(y[-self._past - 1 :], np.full(self._ahead, np.nan))
        x = self._features(padded, np.array([len(padded) - 1]), at + self._ahead * self._step)[0]
        low, median, high = np.sort(memory.fit.weights @ ((x - memory.fit.mean) / memory.fit.scale))
        more = float(np.quantile(memory.scores, self._config.coverage)) if len(memory.scores) >= LEAST else 0.0
        return [float(min(low - more, median)), float(median), float(max(high + more, median)), more]

    def card(self, state: Any) -> Card:
        """Return the last fit and how every forecast that came due did; the peer is the better seasonal naive."""
        memory: Memory = state
        measured = {"nominal": self._config.coverage}
        if memory.judged:
            mae, *naive = (memory.errors / memory.judged).tolist()
            measured |= {
                "mae": mae,
                "mae-naive": min(naive),
                "rows": float(memory.judged),
                "inside": memory.inside / memory.judged,
            }
            measured |= {"ratio": mae / min(naive)} if min(naive) else {}
        fits, names = (memory.fit.seen,) if memory.fit else (), tuple(tag.name for tag in self.tags)
        return Card(
            "forecast", self.needs, names, fits, measured, "seasonal naive", self.tags[0].unit, *together(fits), memory.refused
        )


def _quantile(z: np.ndarray, y: np.ndarray, q: float, ridge: float) -> np.ndarray:
    """Return the weights of one quantile: least squares, reweighted by the slope of the pinball loss over the error."""
    calm = CALM * float(y.std())
    penalty = np.eye(z.shape[1])
    penalty[0, 0] = 0.0
    weights: np.ndarray = np.linalg.solve(z.T @ z + ridge * penalty, z.T @ y)
    for _ in range(ROUNDS):
        errors = y - z @ weights
        pull = np.where(errors > 0, q, 1 - q) * calm / np.maximum(np.abs(errors), calm)
        weights = np.linalg.solve((z * pull[:, None]).T @ z + CALM * ridge * penalty, (z * pull[:, None]).T @ y)
    return weights
