"""Movement: what tags did within a window, by whichever hand: count of moves, sum of movements, lowest and highest value.

Derives `<name>.<tag>.count`, `.travel`, `.low`, `.high`. The value that stood when the window began belongs to it.
A tag that is not fresh is not known to have moved; the difference counts when it is back.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import msgspec

from jayul.core.types import Frame, Reading, Tag
from jayul.learn import Setting, known, span


class MovementConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`tags` to watch over `window`."""

    tags: tuple[str, ...]
    window: str

    def __post_init__(self) -> None:
        span(self.window)
        if not self.tags:
            raise ValueError("'tags' names no tag")


def movement(config: MovementConfig, setting: Setting) -> Movement:
    """Make the model. Raises ValueError for an unknown tag."""
    known(setting, config.tags)
    return Movement(config, setting)


class Movement:
    """The model; its state is, for each tag, the times and values at which it changed, and the value before the window."""

    def __init__(self, config: MovementConfig, setting: Setting) -> None:
        self.needs, self._window, self._name = config.tags, span(config.window), setting.name
        self.tags = tuple(
            Tag(name=f"{setting.name}.{tag}.{what}", unit="1" if what == "count" else setting.tags[tag].unit, kind="derived")
            for tag in config.tags
            for what in ("count", "travel", "low", "high")
        )

    def learn(self, frames: Sequence[Frame]) -> Any:  # noqa: ARG002 - there is nothing to learn
        """Return the empty state."""
        return ()

    def infer(self, state: Any, frame: Frame) -> tuple[Any, Sequence[Reading]]:
        """Return the four figures of each tag; none for a tag that was never good."""
        begin, after, readings = frame.at - self._window, [], list[Reading]()
        for tag, past in zip(self.needs, state or ((),) * len(self.needs), strict=True):
            if frame.fresh(tag) and not (past and past[-1][1] == frame[tag]):
                past = (*past, (frame.at, frame[tag]))
            first = next((i for i in range(len(past) - 1, -1, -1) if past[i][0] <= begin), 0)
            past = past[first:]
            after.append(past)
            if past:
                values = [value for _, value in past]
                moves = [b - a for a, b in itertools.pairwise(values)]
                figures = {"count": len(moves), "travel": sum(map(abs, moves)), "low": min(values), "high": max(values)}
                readings += [Reading(f"{self._name}.{tag}.{what}", float(number)) for what, number in figures.items()]
        return tuple(after), readings
