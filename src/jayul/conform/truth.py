"""Values that can be held against the truth: a function of the tag's number and of the source time, exact to the microsecond.

    value = 1000 (number + 1) + (source time in us modulo 700 s) / 1e6

The period does not divide an hour, so that a clock that is an hour off shows in the value; and no two tags share a value.
"""

from __future__ import annotations

import math

PERIOD = 700_000_000  # us
EXACT = 2e-6  # s, and of the value: what a 64-bit float and times of 100 ns keep


def truth(number: int, source_at: int) -> float:
    """Return the value that the tag of that number has at a source time (ns UTC)."""
    return 1000.0 * (number + 1) + source_at // 1000 % PERIOD / 1e6


def true(number: int, value: float, source_at: int) -> bool:
    """Say whether that was the tag's value at that source time."""
    return abs(value - truth(number, source_at)) <= EXACT


def between(number: int, value: float, first: int, last: int) -> bool:
    """Say whether that was the tag's value at some moment between two times (ns UTC), less than one period apart."""
    moment = (value - 1000.0 * (number + 1)) * 1e6
    if not math.isfinite(moment) or not -1 <= moment < PERIOD + 1:
        return False
    return (moment - first / 1000 + 2) % PERIOD <= (last - first) / 1000 + 4
