"""PCA monitoring: Hotelling's T2 and the squared prediction error (SPE), one model per regime, with contributions.

A regime is where the set-points stand. After it has stood for `settle`, the first `train` of it fits the model, the `test` that
follows (never seen by the fit) sets the limits; from then on it is watched. `<name>.alarm` is 1 after `count` ticks in a row
beyond a limit, until `clear` ticks in a row within both. `<name>.top1` to `.top3` name the largest contributions. Ramps and
settling are not judged: regime 0. At least one component is left out of the model, so that SPE has something to say.

Sources: Jackson & Mudholkar 1979 (SPE); Kourti & MacGregor 1996 (contributions); Russell, Chiang & Braatz 2000 (on this plant).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from jayul.core.types import Frame, Reading, Tag
from jayul.learn import Card, Fitted, Setting, digest_of, known, span, together

TOP = 3
LEAST = 10  # rows, and at least twice the tags, below which nothing is fitted, whatever the time


class PcaConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`tags` to watch; `regime`: the set-points that make one (none: it is always the same). `explained`: share of variance kept.
    `margin`: on the limits.
    """

    tags: tuple[str, ...]
    settle: str
    train: str
    test: str
    regime: tuple[str, ...] = ()
    explained: float = 0.9
    margin: float = 1.5
    count: int = 4
    clear: int = 1

    def __post_init__(self) -> None:
        for text in (self.settle, self.train, self.test):
            span(text)
        if not self.tags:
            raise ValueError("'tags' names no tag")
        if not 0 < self.explained < 1 or min(self.count, self.clear) < 1 or self.margin < 1:
            raise ValueError("'explained' must lie between 0 and 1, 'count', 'clear' and 'margin' must be at least 1")


def pca(config: PcaConfig, setting: Setting) -> Pca:
    """Make the model. Raises ValueError for an unknown tag."""
    known(setting, (*config.tags, *config.regime))
    return Pca(config, setting.name, setting.least)


class Fit(msgspec.Struct, frozen=True):
    """A fitted regime: mean and scale [n], loadings [n, k], score variances [k], limits."""

    mean: np.ndarray
    scale: np.ndarray
    loadings: np.ndarray
    variances: np.ndarray
    t2_limit: float
    spe_limit: float
    seen: Fitted


class Memory(msgspec.Struct, frozen=True):
    """Where the set-points stand and since when; what was collected of this stay, what is fitted; ticks in a row beyond a limit.

    `missed`: ticks of this stay with an input that was not fresh. `watched` and `alarmed` count ticks since the first fit,
    `refused` the fits that too little data was there for.
    """

    key: tuple[float, ...] | None = None
    since: int = 0
    rows: tuple[np.ndarray, ...] = ()
    missed: int = 0
    fits: dict[tuple[float, ...], Fit] = {}
    beyond: int = 0
    within: int = 0
    rings: bool = False
    watched: int = 0
    alarmed: int = 0
    refused: int = 0


class Pca:
    """The model."""

    def __init__(self, config: PcaConfig, name: str, least: float = 0.0) -> None:
        self._config, self._name, self._least = config, name, least
        self.needs = tuple(dict.fromkeys((*config.tags, *config.regime)))
        self._settle, self._train, self._test = (span(text) for text in (config.settle, config.train, config.test))
        names = dict(enumerate(config.tags))
        self.tags = (
            Tag(name=f"{name}.t2", kind="derived", description="Hotelling's T2 over its limit"),
            Tag(name=f"{name}.spe", kind="derived", description="squared prediction error over its limit"),
            Tag(
                name=f"{name}.alarm",
                kind="derived",
                states={0: "well", 1: "fault"},
                description=f"{config.count} ticks beyond a limit",
            ),
            Tag(name=f"{name}.regime", kind="derived", states={0: "settling", 1: "learning", 2: "watched"}),
            *(
                Tag(name=f"{name}.top{i + 1}", kind="derived", states=names, description="largest contribution")
                for i in range(TOP)
            ),
        )

    def learn(self, frames: Sequence[Frame]) -> Memory:  # noqa: ARG002 - it learns while it runs, regime by regime
        """Return the empty memory."""
        return Memory()

    def infer(self, state: Any, frame: Frame) -> tuple[Any, Sequence[Reading]]:
        """Return T2 and SPE over their limits, alarm, regime and contributions; nothing while an input is not fresh."""
        memory: Memory = state
        if not all(map(frame.fresh, self.needs)):
            missed = memory.missed + (memory.key is not None and frame.at - memory.since >= self._settle)
            return msgspec.structs.replace(memory, beyond=0, missed=missed), ()
        key = tuple(round(frame[tag], 6) for tag in self._config.regime)
        if key != memory.key:
            memory = msgspec.structs.replace(memory, key=key, since=frame.at, beyond=0, rings=False, rows=(), missed=0)
        if frame.at - memory.since < self._settle:
            return memory, self._say(regime=0)
        row = np.array([frame[tag] for tag in self._config.tags])
        if (fit := memory.fits.get(key)) is None:
            return self._collect(memory, key, row, frame.at), self._say(regime=1)
        t2, spe, order = _distances(fit, row)
        beyond = memory.beyond + 1 if max(t2, spe) > 1 else 0
        within = 0 if beyond else memory.within + 1
        alarm = beyond >= self._config.count or (memory.rings and within < self._config.clear)
        said = self._say(regime=2, t2=t2, spe=spe, alarm=alarm, order=order)
        counts = {"watched": memory.watched + 1, "alarmed": memory.alarmed + alarm}
        return msgspec.structs.replace(memory, beyond=beyond, within=within, rings=alarm, **counts), said

    def _collect(self, memory: Memory, key: tuple[float, ...], row: np.ndarray, at: int) -> Memory:
        rows = (*memory.rows, row)
        share = self._train / (self._train + self._test)
        enough = min(len(rows) * share, len(rows) * (1 - share)) >= max(LEAST, 2 * len(row))
        if at - memory.since < self._settle + self._train + self._test or not enough:
            return msgspec.structs.replace(memory, rows=rows)
        coverage = len(rows) / (len(rows) + memory.missed)
        if coverage < self._least:  # from here on anew
            since, refused = at - self._settle, memory.refused + 1
            return msgspec.structs.replace(memory, rows=(row,), missed=0, since=since, refused=refused)
        begin = memory.since + self._settle
        regime = dict(zip(self._config.regime, key, strict=True))
        matrix, count = np.array(rows), int(len(rows) * share)
        digest = digest_of(self._config.tags, matrix[:count])
        fit = self._fit(matrix, share, Fitted(begin, begin + self._train, count, regime, digest, coverage))
        return msgspec.structs.replace(memory, rows=(), fits={**memory.fits, key: fit})

    def card(self, state: Any) -> Card:
        """Return the fit of each regime and the share of watched ticks that rang; the truth about them is not known."""
        measured = {"rows": float(state.watched), "alarms": state.alarmed / state.watched} if state.watched else {}
        fits = tuple(fit.seen for fit in state.fits.values())
        return Card(
            "pca", self.needs, tuple(tag.name for tag in self.tags), fits, measured, "", "1", *together(fits), state.refused
        )

    def _fit(self, rows: np.ndarray, share: float, about: Fitted) -> Fit:
        seen, unseen = rows[: int(len(rows) * share)], rows[int(len(rows) * share) :]
        mean, scale = seen.mean(axis=0), seen.std(axis=0)
        scale = np.where(scale > 1e-9 * np.maximum(1.0, np.abs(mean)), scale, np.inf)  # what never moved says nothing
        values, vectors = np.linalg.eigh(np.atleast_2d(np.cov((seen - mean) / scale, rowvar=False)))
        values, vectors = values[::-1], vectors[:, ::-1]
        moving = int(np.isfinite(scale).sum())
        k = max(1, min(moving - 1, int(np.searchsorted(np.cumsum(values), self._config.explained * values.sum())) + 1))
        fit = Fit(mean, scale, np.ascontiguousarray(vectors[:, :k]), np.maximum(values[:k], 1e-12), 1.0, 1.0, about)
        found = np.array([_distances(fit, row)[:2] for row in unseen])
        t2_limit, spe_limit = (np.quantile(found, 0.99, axis=0) * self._config.margin).tolist()
        return msgspec.structs.replace(
            fit, t2_limit=t2_limit if moving else np.inf, spe_limit=spe_limit if moving > 1 else np.inf
        )

    def _say(
        self, *, regime: int, t2: float = 0.0, spe: float = 0.0, alarm: bool = False, order: Sequence[int] = (0,) * TOP
    ) -> list[Reading]:
        values = {"t2": t2, "spe": spe, "alarm": float(alarm), "regime": float(regime)}
        values |= {f"top{i + 1}": float(order[i]) for i in range(TOP)}
        return [Reading(f"{self._name}.{name}", value) for name, value in values.items()]


def _distances(fit: Fit, row: np.ndarray) -> tuple[float, float, list[int]]:
    """Return T2 and SPE over their limits, and the positions of the largest contributions to the larger of the two."""
    z = (row - fit.mean) / fit.scale
    scores = z @ fit.loadings
    rest = z - fit.loadings @ scores
    t2 = float(np.sum(scores**2 / fit.variances)) / fit.t2_limit
    spe = float(rest @ rest) / fit.spe_limit
    shares = rest**2 if spe >= t2 else z * (fit.loadings @ (scores / fit.variances))
    top = np.argsort(-shares, kind="stable")[:TOP].tolist()
    return t2, spe, (top * TOP)[:TOP]
