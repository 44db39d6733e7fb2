"""Soft sensor: a quantity that is dear, late or rare, estimated from others by ridge regression.

The first `train` of good rows fits it, the `test` that follows (never seen by the fit) gives the interval; then it is frozen.
`<name>.value` with `.low` and `.high`; `.trusted` is 1 while every input lies where it was seen during `train`. It goes on when
the target itself falls silent: that is what it is for.

Source: Hoerl & Kennard 1970 (ridge); Lei et al. 2018 (split conformal interval).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from jayul.core.types import Frame, Reading, Tag
from jayul.learn import Card, Fitted, Setting, digest_of, known, span, together

LEAST = 10  # rows of `test`, and of `train` at least twice the tags, below which nothing is fitted, whatever the time
MARGIN = 0.1  # of the range seen, on either side, that still counts as seen


class SoftsensorConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`target` from `tags`; `ridge`: penalty in standard units; `coverage`: share of values that the interval is to hold."""

    target: str
    tags: tuple[str, ...]
    train: str
    test: str
    ridge: float = 1.0
    coverage: float = 0.9

    def __post_init__(self) -> None:
        span(self.train)
        span(self.test)
        if not self.tags:
            raise ValueError("'tags' names no tag")
        if self.target in self.tags:
            raise ValueError("'target' stands among 'tags': it would explain itself")
        if not (self.ridge > 0 and 0 < self.coverage < 1):
            raise ValueError("'ridge' must be above 0, 'coverage' must lie between 0 and 1")


def softsensor(config: SoftsensorConfig, setting: Setting) -> Softsensor:
    """Make the model. Raises ValueError for an unknown tag."""
    known(setting, (config.target, *config.tags))
    return Softsensor(config, setting.name, setting.tags[config.target].unit, setting.least)


class Fit(msgspec.Struct, frozen=True):
    """A fit over inputs [n]: where it was seen, weights [n] in the target's unit per input, offset, half width of the interval."""

    low: np.ndarray
    high: np.ndarray
    weights: np.ndarray
    offset: float
    reach: float
    seen: Fitted
    measured: dict[str, float]


class Memory(msgspec.Struct, frozen=True):
    """What was collected (time, inputs [n] and target) until there is a fit; `missed`: ticks since the first that could not be.

    `refused` counts the fits that too little data was there for.
    """

    at: tuple[int, ...] = ()
    rows: tuple[np.ndarray, ...] = ()
    fit: Fit | None = None
    missed: int = 0
    refused: int = 0


class Softsensor:
    """The model."""

    def __init__(self, config: SoftsensorConfig, name: str, unit: str, least: float = 0.0) -> None:
        self._config, self._name, self._least = config, name, least
        self._train, self._test = span(config.train), span(config.test)
        self.needs = (config.target, *config.tags)
        self.drivers = config.tags  # what it goes by; the target is needed only to learn
        self.tags = (
            Tag(name=f"{name}.value", unit=unit, kind="derived", description=f"{config.target}, estimated"),
            Tag(name=f"{name}.low", unit=unit, kind="derived", description="lower end of its interval"),
            Tag(name=f"{name}.high", unit=unit, kind="derived", description="upper end of its interval"),
            Tag(name=f"{name}.trusted", kind="derived", states={0: "outside what was seen", 1: "as seen"}),
        )

    def learn(self, frames: Sequence[Frame]) -> Memory:  # noqa: ARG002 - it learns while it runs
        """Return the empty memory."""
        return Memory()

    def infer(self, state: Any, frame: Frame) -> tuple[Any, Sequence[Reading]]:
        """Return the estimate; nothing before there is a fit, or while an input is not fresh."""
        memory: Memory = state
        if not all(map(frame.fresh, self._config.tags)):
            return self._miss(memory), ()
        row = np.array([frame[tag] for tag in self._config.tags])
        if memory.fit is None:
            return (self._collect(memory, row, frame) if frame.fresh(self._config.target) else self._miss(memory)), ()
        fit = memory.fit
        value, trusted = float(fit.offset + row @ fit.weights), bool(np.all((row >= fit.low) & (row <= fit.high)))
        said = {"value": value, "low": value - fit.reach, "high": value + fit.reach, "trusted": float(trusted)}
        return memory, [Reading(f"{self._name}.{name}", number) for name, number in said.items()]

    def _miss(self, memory: Memory) -> Memory:
        counts = memory.fit is None and bool(memory.at)
        return msgspec.structs.replace(memory, missed=memory.missed + 1) if counts else memory

    def _collect(self, memory: Memory, row: np.ndarray, frame: Frame) -> Memory:
        at, rows = (*memory.at, frame.at), (*memory.rows, np.append(row, frame[self._config.target]))
        count = sum(time < at[0] + self._train for time in at) if frame.at - at[0] >= self._train + self._test else 0
        if count < max(LEAST, 2 * len(row)) or len(rows) - count < LEAST:
            return msgspec.structs.replace(memory, at=at, rows=rows)
        if len(rows) / (len(rows) + memory.missed) < self._least:  # from here on anew
            return Memory(at[-1:], rows[-1:], refused=memory.refused + 1)
        return Memory(fit=self._fit(np.array(at), np.array(rows), memory.missed), refused=memory.refused)

    def _fit(self, at: np.ndarray, rows: np.ndarray, missed: int) -> Fit:
        count = int(np.searchsorted(at, at[0] + self._train))
        train, unseen = rows[:count], rows[count:]
        x, y = train[:, :-1], train[:, -1]
        mean, scale = x.mean(axis=0), x.std(axis=0)
        scale = np.where(scale > 1e-9 * np.maximum(1.0, np.abs(mean)), scale, np.inf)  # what never moved says nothing
        z = (x - mean) / scale
        weights = np.linalg.solve(z.T @ z + self._config.ridge * np.eye(z.shape[1]), z.T @ (y - y.mean())) / scale
        offset, margin = float(y.mean() - mean @ weights), MARGIN * np.ptp(x, axis=0)
        errors = np.abs(unseen[:, -1] - offset - unseen[:, :-1] @ weights)
        rank = min(len(errors), int(np.ceil((len(errors) + 1) * self._config.coverage)))
        naive = float(np.abs(unseen[:, -1] - y.mean()).mean())
        measured = {"mae": float(errors.mean()), "mae-naive": naive, "rows": float(len(errors))}
        measured |= {"ratio": measured["mae"] / naive} if naive else {}
        return Fit(
            x.min(axis=0) - margin, x.max(axis=0) + margin, weights, offset,
            float(np.sort(errors)[rank - 1]),
            Fitted(
                int(at[0]), int(at[count - 1]), count, {}, digest_of((*self._config.tags, self._config.target), train),
                len(rows) / (len(rows) + missed),
            ),
            measured,
        )  # fmt: skip

    def card(self, state: Any) -> Card:
        """Return what it learned and how well it did on the held-out stretch; the peer is the mean of `train`."""
        fit = state.fit
        names = tuple(tag.name for tag in self.tags)
        fits, measured = ((fit.seen,), fit.measured) if fit else ((), {})
        return Card("softsensor", self.needs, names, fits, measured, "mean", self.tags[0].unit, *together(fits), state.refused)
