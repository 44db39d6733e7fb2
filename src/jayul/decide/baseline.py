"""Baseline, the policy "off": ramp back to the set-points that stood there before, through the guard like any other move."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from jayul.core.loop import Policy, Wish
from jayul.core.types import Frame, MovePlan
from jayul.decide import Limit, Move, Setting, lay, reached, span, toward


class BaselineConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`per_hour` by tag; `target` by tag where the set-points from before are known (else those of the first good frame)."""

    per_hour: dict[str, float]
    target: dict[str, float] = {}
    within: str = "8 h"
    abort: tuple[Limit, ...] = ()

    def __post_init__(self) -> None:
        span(self.within)
        if not self.per_hour:
            raise ValueError("'per_hour' names no tag")
        Move(self.target, self.per_hour)


class _Memory(msgspec.Struct, frozen=True):
    origin: dict[str, float]
    plan: MovePlan | None = None


def first_seen(origin: dict[str, float], frame: Frame, tags: Sequence[str]) -> dict[str, float]:
    """Return the origin, completed with tags whose first good value this frame brings."""
    new = {tag: frame[tag] for tag in tags if tag not in origin and frame.fresh(tag)}
    return origin | new if new else origin


def baseline(config: BaselineConfig, setting: Setting) -> tuple[Policy, Move]:
    """Make the policy; its standing data is the move with the targets that are known beforehand."""
    tags, within = tuple(config.per_hour), span(config.within)

    def policy(state: _Memory | None, frame: Frame, plan: Move) -> tuple[_Memory, Sequence[Wish]]:
        origin = first_seen(state.origin if state else plan.target, frame, tags)
        if len(origin) < len(tags) or reached(frame, origin):
            return _Memory(origin), ()
        if state and state.plan and frame.at <= state.plan.expires:
            return state, toward(setting, plan, state.plan, frame)
        move = lay(setting, plan, origin, "back to the baseline set-points", frame, frame.at + within)
        return _Memory(origin, move), [move, *toward(setting, plan, move, frame)]

    return policy, Move(config.target, config.per_hour, abort=config.abort)
