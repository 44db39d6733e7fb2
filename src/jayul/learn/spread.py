"""Spread: the standard deviation of tags about a running mean, forgetting with a time constant; `<name>.<tag>`, in the tag's unit.

Source: exponentially weighted mean and variance (West 1979; Finch 2009). Unknown until a tag has been good for one time constant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from jayul.core.types import BAD_NO_DATA, GOOD, Frame, Reading, Tag
from jayul.learn import Setting, known, span


class SpreadConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`tags` to watch; `over`: the time constant."""

    tags: tuple[str, ...]
    over: str = "1 h"

    def __post_init__(self) -> None:
        span(self.over)
        if not self.tags:
            raise ValueError("'tags' names no tag")


def spread(config: SpreadConfig, setting: Setting) -> Spread:
    """Make the model. Raises ValueError for an unknown tag."""
    known(setting, config.tags)
    return Spread(config, setting)


class _Seen(NamedTuple):
    """Of one tag: since when and until when it was good (ns), mean and variance."""

    since: int
    at: int
    mean: float
    variance: float


class Spread:
    """The model; its state is what was seen of each tag."""

    def __init__(self, config: SpreadConfig, setting: Setting) -> None:
        self.needs, self._over = config.tags, span(config.over)
        self._names = [f"{setting.name}.{tag}" for tag in config.tags]
        self.tags = tuple(
            Tag(name=name, unit=setting.tags[tag].unit, kind="derived", description=f"standard deviation over {config.over}")
            for name, tag in zip(self._names, config.tags, strict=True)
        )

    def learn(self, frames: Sequence[Frame]) -> Any:  # noqa: ARG002 - it learns while it runs
        """Return the empty state."""
        return (None,) * len(self.needs)

    def infer(self, state: Any, frame: Frame) -> tuple[Any, Sequence[Reading]]:
        """Return the spread of each tag; a tag that is not fresh keeps what was seen of it."""
        after, readings = [], []
        for name, tag, seen in zip(self._names, self.needs, state, strict=True):
            if not frame.fresh(tag):
                after.append(seen)
                continue
            now = self._add(seen, frame.at, frame[tag]) if seen else _Seen(frame.at, frame.at, frame[tag], 0.0)
            after.append(now)
            ready = now.at - now.since >= self._over
            readings.append(Reading(name, math.sqrt(now.variance), GOOD if ready else BAD_NO_DATA))
        return tuple(after), readings

    def _add(self, seen: _Seen, at: int, value: float) -> _Seen:
        share = -math.expm1(-(at - seen.at) / self._over)
        gap = value - seen.mean
        return _Seen(seen.since, at, seen.mean + share * gap, (1 - share) * (seen.variance + share * gap * gap))
