"""Seen: between which values tags stood so far, by operating state; `<name>.<tag>.low` and `.high`, in the tag's unit.

What was seen counts only once it lies `after` back, so that a new excursion is not at once a matter of course.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from jayul.core.types import Frame, Reading, Tag
from jayul.learn import Setting, known, span

PIECES = 24  # into which `after` is cut: what was seen counts after `after`, or up to a 24th of it later
NOTHING = (math.inf, -math.inf)
Span = tuple[float, float]  # lowest and highest; NOTHING if never seen


class SeenConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`tags` to watch; `state`: the tag of the operating state (none: there is one state only); `after`: see above."""

    tags: tuple[str, ...]
    state: str = ""
    after: str = "24 h"

    def __post_init__(self) -> None:
        span(self.after)
        if not self.tags:
            raise ValueError("'tags' names no tag")


def seen(config: SeenConfig, setting: Setting) -> Seen:
    """Make the model. Raises ValueError for an unknown tag."""
    known(setting, (*config.tags, *filter(None, [config.state])))
    return Seen(config, setting)


class _Piece(NamedTuple):
    """What was seen within one stretch of time from `begin` (ns), by tag."""

    begin: int
    spans: tuple[Span, ...]


class _Box(NamedTuple):
    """Of one operating state: what counts, and what does not count yet, oldest first."""

    counts: tuple[Span, ...]
    recent: tuple[_Piece, ...]


class Seen:
    """The model; its state is a box for each operating state, by code."""

    def __init__(self, config: SeenConfig, setting: Setting) -> None:
        self.needs = (*config.tags, config.state) if config.state else config.tags
        self._watched, self._state, self._after = config.tags, config.state, span(config.after)
        self._width = max(1, self._after // PIECES)
        self._names = [(f"{setting.name}.{tag}.low", f"{setting.name}.{tag}.high") for tag in config.tags]
        self.tags = tuple(
            Tag(name=name, unit=setting.tags[tag].unit, kind="derived")
            for tag, pair in zip(config.tags, self._names, strict=True)
            for name in pair
        )

    def learn(self, frames: Sequence[Frame]) -> Any:  # noqa: ARG002 - it learns while it runs
        """Return the empty state."""
        return {}

    def infer(self, state: Any, frame: Frame) -> tuple[Any, Sequence[Reading]]:
        """Return the box of the operating state that the line is in; nothing for a tag that was not seen in it for long enough."""
        if self._state and not frame.fresh(self._state):
            return state, ()
        code = frame[self._state] if self._state else 0.0
        box = self._add(state.get(code), frame)
        readings = list[Reading]()
        for names, (low, high) in zip(self._names, box.counts, strict=True):
            if low <= high:
                readings += [Reading(names[0], low), Reading(names[1], high)]
        return {**state, code: box}, readings

    def _add(self, box: _Box | None, frame: Frame) -> _Box:
        here = tuple((frame[tag], frame[tag]) if frame.fresh(tag) else NOTHING for tag in self._watched)
        counts, recent = box or _Box((NOTHING,) * len(here), ())
        if recent and frame.at - recent[-1].begin < self._width:
            recent = (*recent[:-1], _Piece(recent[-1].begin, _join(recent[-1].spans, here)))
        else:
            recent = (*recent, _Piece(frame.at, here))
        while recent and recent[0].begin + self._width + self._after <= frame.at:
            counts, recent = _join(counts, recent[0].spans), recent[1:]
        return _Box(counts, recent)


def _join(a: tuple[Span, ...], b: tuple[Span, ...]) -> tuple[Span, ...]:
    return tuple([(min(p[0], q[0]), max(p[1], q[1])) for p, q in zip(a, b, strict=True)])
