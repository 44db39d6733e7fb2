"""An exact e-process for coin-ordered pairs: how sure one may be after every pair, however often one looks.

The coin of a pair decides the sign of its difference D (off - on) and nothing else, if the policy does nothing: given all sizes
|D|, signs are fair. So for every positive c, exp(c x) / cosh(c x) with x = D / (root mean square of the sizes so far) has mean 1,
whatever the distribution and the autocorrelation; products over pairs are a test martingale, and by Ville's inequality it ever
reaches 1 / a with probability at most a. Both sides get half of 1 - confidence. The interval holds every constant effect d for
which the process of D - d stayed below; it asks for an effect that is the same in every pair, the test for none does not.

Sources: Ville 1939; Ramdas, Gruenwald, Vovk, Shafer 2023 (Statistical Science 38); de la Pena 1999 (self-normalised sums).
"""

from __future__ import annotations

import functools
import math

import msgspec
import numpy as np

from jayul.core.clock import Sim

RATES = np.array([0.2, 0.5, 1.5, 4.0])  # c: for effects from a fifth to several times the spread of a pair
WEIGHTS = np.array([0.1, 0.2, 0.2, 0.5])  # the last alone makes six pairs of one sign enough at 95 %


class Look(msgspec.Struct, frozen=True):
    """After so many pairs: e-values so far (largest) for benefit and harm; mean and anytime interval, None where it has no end."""

    pairs: int
    e_benefit: float
    e_harm: float
    mean: float
    low: float | None
    high: float | None


def threshold(confidence: float) -> float:
    """Return the e-value from which on a side is shown."""
    return 2.0 / (1.0 - confidence)


@functools.cache
def floor(confidence: float) -> int:
    """Return the number of pairs below which nothing can be shown: 6 at 95 %, as 2 ** 5 < 40."""
    return next(n for n in range(1, 1000) if float(e_values(np.ones(n))[-1]) >= threshold(confidence))


def e_values(differences: np.ndarray) -> np.ndarray:
    """Return the e-value for a positive effect after each pair; `differences` float64 [..., n], along the last axis."""
    sizes = np.sqrt(np.cumsum(differences**2, axis=-1) / np.arange(1, differences.shape[-1] + 1))
    x = np.divide(differences, sizes, out=np.zeros_like(differences), where=sizes > 0)
    total = np.full(differences.shape, -np.inf)
    for rate, weight in zip(RATES, WEIGHTS, strict=True):
        factors = rate * x - np.logaddexp(rate * x, -rate * x) + math.log(2.0)
        total = np.logaddexp(total, math.log(weight) + np.cumsum(factors, axis=-1))
    found: np.ndarray = np.exp(np.minimum(total, 700.0))
    return found


def looks(differences: np.ndarray, confidence: float, margin: float = 0.0) -> tuple[Look, ...]:
    """Return what could be said after each pair; `differences` float64 [n], in order of time.

    With a `margin` (in the same unit) the e-values are for "no worse than by that much", and for worse than that.
    """
    if not len(differences):
        return ()
    good, bad = (np.maximum.accumulate(e_values(sign * (differences + margin))) for sign in (1.0, -1.0))
    found, low, high = list[Look](), -math.inf, math.inf
    for n in range(1, len(differences) + 1):
        least, most = _ends(differences[:n], threshold(confidence))
        low, high = max(low, least), min(high, most)
        mean = float(differences[:n].mean())
        found.append(Look(n, float(good[n - 1]), float(bad[n - 1]), mean, _finite(low), _finite(high)))
    return tuple(found)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _ends(differences: np.ndarray, bound: float) -> tuple[float, float]:
    """Return the ends of the effects that the pairs so far do not exclude now."""
    return -_upper(-differences, bound), _upper(differences, bound)


def _upper(differences: np.ndarray, bound: float) -> float:
    """Return above which effect every one is excluded: e-values for `less` at or above the bound."""
    if float(e_values(np.ones(len(differences)))[-1]) < bound:  # even differences that are all alike would not exclude anything
        return math.inf
    centre, width = float(np.median(differences)), float(np.ptp(differences)) or abs(float(differences[0])) or 1.0
    inside, outside = centre, centre + width
    while _excluded(differences, outside, bound) is False:
        inside, outside = outside, outside + 2.0 * (outside - centre)
    for _ in range(40):
        middle = 0.5 * (inside + outside)
        inside, outside = (inside, middle) if _excluded(differences, middle, bound) else (middle, outside)
    return outside


def _excluded(differences: np.ndarray, effect: float, bound: float) -> bool:
    return bool(e_values(effect - differences)[-1] >= bound)


@functools.cache
def pairs_needed(ratio: float, power: float = 0.8, confidence: float = 0.95, most: int = 400) -> int | None:
    """Return how many pairs show, with this power, an effect of `ratio` standard deviations of a pair's difference.

    By simulation of 2,000 experiments with normal differences (fixed seed); None: more than `most`.
    """
    if not ratio > 0:
        return None
    normal = Sim(0).rng("prove/power").standard_normal((2000, most))
    shown = e_values(normal + ratio) >= threshold(confidence)
    first = np.sort(np.where(shown.any(axis=1), shown.argmax(axis=1) + 1, most + 1))
    needed = int(first[math.ceil(power * len(first)) - 1])
    return needed if needed <= most else None
