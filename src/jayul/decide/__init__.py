"""Policies: frames in, wishes out. They never write.

A policy is one pure function `(state, frame, plan) -> (state, wishes)`. The manifest names a factory
`(config, setting) -> (policy, plan)`, where `plan` is the standing data that the policy reads at every tick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np

from jayul.core.expr import ExprError, duration
from jayul.core.guard import HOUR
from jayul.core.types import Frame, MovePlan, Proposal, same

SPREAD = "spread"  # the model that says how far the inputs of moves spread


class Setting(msgspec.Struct, frozen=True):
    """What a policy's factory may know: name, allow-list, inputs, period, start and end of the run (ns), chance."""

    name: str
    tags: tuple[str, ...]
    needs: tuple[str, ...]
    period: int
    start: int
    rng: Callable[[str], np.random.Generator]  # noqa: TID251 - the type, handed in by the clock
    end: int = 0


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An abort limit: while a plan runs, `tag` must stay fresh and within [low, high]."""

    tag: str
    low: float
    high: float


class Move(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where to go and how fast: `target` by tag, `per_hour` by tag (the tag's unit an hour), abort limits.

    `band`: an approval is good while every input stays within so many standard deviations of where it stood when the plan was
    laid (0: however it moves).
    """

    target: dict[str, float]
    per_hour: dict[str, float]
    effect: str = ""
    abort: tuple[Limit, ...] = ()
    band: float = 3.0

    def __post_init__(self) -> None:
        if not 0 <= self.band < float("inf"):
            raise ValueError("'band' must not be negative")
        if lacks := sorted(self.target.keys() - self.per_hour.keys()):
            raise ValueError(f"'per_hour' lacks '{lacks[0]}'")
        if not all(rate > 0 for rate in self.per_hour.values()):
            raise ValueError("'per_hour' must be above 0")


def span(text: str) -> int:
    """Read a duration of a configuration. Raises ValueError, which the manifest's check turns into one line."""
    try:
        return duration(text)
    except ExprError as error:
        raise ValueError(str(error)) from error


def reached(frame: Frame, targets: Mapping[str, float]) -> bool:
    """Say whether every target is known to stand in the plant."""
    return all(frame.fresh(tag) and same(frame[tag], target) for tag, target in targets.items())


def lay(setting: Setting, move: Move, targets: dict[str, float], reason: str, frame: Frame, expires: int) -> MovePlan:
    """Make the move plan from a move to these targets, laid at this frame; `expires` in ns."""
    abort = tuple((limit.tag, limit.low, limit.high) for limit in move.abort)
    targets = dict(sorted(targets.items()))  # whatever the order of the manifest: a replay reads it sorted
    ramp = {tag: move.per_hour[tag] for tag in targets}
    return MovePlan(
        "", setting.name, targets, ramp, reason, frame.at, expires, abort, _band(setting, move.band, frame)
    ).sealed()


def _band(setting: Setting, reach: float, frame: Frame) -> tuple[tuple[str, float, float], ...]:
    """Return where each input may stand for an approval to be good, as far as its spread is known."""
    known = [name for name in setting.needs if reach and frame.fresh(name) and frame.fresh(f"{SPREAD}.{name}")]
    spreads = {name: reach * frame[f"{SPREAD}.{name}"] for name in known}
    return tuple((name, frame[name] - sd, frame[name] + sd) for name, sd in spreads.items() if sd > 0)


def toward(setting: Setting, move: Move, plan: MovePlan, frame: Frame) -> Sequence[Proposal]:
    """Propose the next step of a plan for each tag that is not there yet; a tag whose value is not known waits."""
    wishes: list[Proposal] = []
    for tag, target in plan.targets.items():
        if frame.fresh(tag) and not same(frame[tag], target):
            reach = plan.ramp[tag] * setting.period / HOUR
            value = min(max(target, frame[tag] - reach), frame[tag] + reach)
            wishes.append(Proposal(tag, value, plan.reason, setting.name, setting.needs, move.effect, plan=plan.id))
    return wishes
