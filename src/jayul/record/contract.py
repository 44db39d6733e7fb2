"""What is expected of each tag's samples: the `[contract]` of a manifest, tag by tag, and compiled over a list of names.

Durations are text (`1 s`, `10 min`); an empty text, or no number, means that nothing is expected.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np

from jayul.core.expr import ExprError, duration
from jayul.core.types import SECOND, SKEW

SHORTEST = SECOND // 1000  # of a rate
DURATIONS = ("rate", "frozen", "late", "delay")


class TagContract(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is expected of one tag. `low`, `high` are in `unit`, which must be the tag's.

    `rate`: a sample is expected every so often; empty: on change, nothing is expected. `frozen`: so long without a change of
    the value counts as frozen; empty: it may stand still. `monotone` "rising": a counter; a fall is counted. `late`: known so
    much later than its source time is late; `delay`: of a laboratory, allowed before that. `missing`: share of the expected
    samples of an hour that may be missing. `discard`: what is not stored but only counted. Raises ValueError.
    """

    unit: str = ""
    rate: str = ""
    low: float | None = None
    high: float | None = None
    frozen: str = ""
    monotone: Literal["", "rising"] = ""
    late: str = ""
    delay: str = ""
    missing: float = 0.05
    discard: tuple[Literal["bad", "out_of_range", "late", "ahead"], ...] = ()

    def __post_init__(self) -> None:
        for key in DURATIONS:
            span(getattr(self, key))
        if self.rate and span(self.rate) < SHORTEST:
            raise ValueError("'rate' must be at least 1 ms")
        for key in ("low", "high"):
            if not math.isfinite(getattr(self, key) or 0.0):
                raise ValueError(f"'{key}' is not a number")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError("'low' must lie below 'high'")
        if not 0 <= self.missing <= 1:
            raise ValueError("'missing' must lie between 0 and 1")


def span(text: str) -> int:
    """Return a duration in ns, 0 if there is none. Raises ValueError."""
    try:
        return duration(text) if text else 0
    except ExprError as error:
        raise ValueError(str(error)) from None


class Contract:
    """What is expected of the tags `names`, in columns over their positions; a tag without a contract expects nothing.

    `rate`, `frozen`, `late` (with `delay`), in ns int64, 0: none; `low`, `high` float64, infinite: none; `rising` bool;
    `discard` by kind, bool; `least`: least coverage. Raises ValueError for a tag that is not among `names`.
    """

    def __init__(self, tags: Mapping[str, TagContract], names: Sequence[str], least: float = 0.9) -> None:
        for name in tags:
            if name not in names:
                raise ValueError(f"unknown tag '{name}'")
        self.tags, self.names, self.least = dict(tags), tuple(names), least
        rows = [tags.get(name, TagContract()) for name in names]
        self.rate = np.array([span(row.rate) for row in rows], dtype=np.int64)
        self.frozen = np.array([span(row.frozen) for row in rows], dtype=np.int64)
        self.late = np.array([span(row.late) + span(row.delay) if row.late else 0 for row in rows], dtype=np.int64)
        self.grace = np.array([span(row.late) + span(row.delay) + SKEW for row in rows], dtype=np.int64)
        self.low = np.array([-math.inf if row.low is None else row.low for row in rows], dtype=np.float64)
        self.high = np.array([math.inf if row.high is None else row.high for row in rows], dtype=np.float64)
        self.rising = np.array([row.monotone == "rising" for row in rows], dtype=np.bool_)
        self.missing = np.array([row.missing for row in rows], dtype=np.float64)
        kinds = ("bad", "out_of_range", "late", "ahead")
        self.discard = {kind: np.array([kind in row.discard for row in rows], dtype=np.bool_) for kind in kinds}
