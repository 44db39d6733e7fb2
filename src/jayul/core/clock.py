"""Time, sleep and random numbers: the only file of the house that touches them (ruff bans them elsewhere)."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from jayul.core.types import SECOND


def _rng(seed: int, key: str) -> np.random.Generator:
    return np.random.default_rng(list(hashlib.sha256(f"{seed}/{key}".encode()).digest()))


def monotonic() -> float:
    """Return seconds of a clock that never goes back; for durations outside the run (commit windows, progress)."""
    return time.monotonic()


def today() -> int:
    """Return the time of day, UTC ns, for acts outside a run (a person's signature)."""
    return time.time_ns()


class Clock(Protocol):
    """The one source of time and chance for a run."""

    def now(self) -> int:
        """Return the time, UTC ns."""

    async def until(self, at: int) -> None:
        """Return when the time is `at`, or at once if it has passed."""

    def rng(self, key: str) -> np.random.Generator:
        """Return a generator that depends on the run's seed and on `key` alone."""


class Sim:
    """Simulated time: it stands still until somebody waits."""

    def __init__(self, start: int, seed: int = 0) -> None:
        self._now, self._seed = start, seed

    def now(self) -> int:
        return self._now

    async def until(self, at: int) -> None:
        self._now = max(self._now, at)

    def rng(self, key: str) -> np.random.Generator:
        return _rng(self._seed, key)


class Wall:
    """The time of day, or a multiple of it against a simulated peer. `stopped` ends a wait early.

    `anchor`: the peer's time and the time of day at which it was that (ns), so that both clocks show the same.
    """

    def __init__(self, seed: int = 0, *, speed: float = 1.0, stopped: Callable[[], bool] = bool, anchor: Sequence[int] = ()):
        self._seed, self._speed, self._stopped, self._steady = seed, speed, stopped, time.monotonic_ns()
        self._began = anchor[0] + int((time.time_ns() - anchor[1]) * speed) if anchor else time.time_ns()

    def now(self) -> int:
        return self._began + int((time.monotonic_ns() - self._steady) * self._speed)

    async def until(self, at: int) -> None:
        while (left := (at - self.now()) / self._speed / SECOND) > 0 and not self._stopped():
            await asyncio.sleep(min(left, 0.2))

    def rng(self, key: str) -> np.random.Generator:
        return _rng(self._seed, key)
