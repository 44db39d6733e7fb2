"""Switchback: follow an arm schedule of on and off blocks; each block is one move plan, open until the block ends.

The schedule is data. It is drawn before the start: in pairs whose order is decided by a fair coin, or given block by block.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Literal

import msgspec

from jayul.core.loop import Policy, Wish
from jayul.core.types import Frame, MovePlan
from jayul.decide import Move, Setting, lay, reached, span, toward
from jayul.decide.baseline import first_seen

Arm = Literal["on", "off"]


class SwitchbackConfig(Move, frozen=True, forbid_unknown_fields=True):
    """`begin`: when the first block starts, after the start of the run; `block`: how long each is.

    First so many `commissioning` blocks, on and off in turn, then `pairs` in drawn order; or explicit `arms` instead of both.
    `watch`: after that, to the end of the run, groups of so many blocks: a pair in drawn order, then on (0: the line goes back).
    """

    begin: str = "1 ms"
    block: str = "4 h"
    commissioning: int = 0
    pairs: int = 4
    arms: tuple[Arm, ...] = ()
    watch: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.target:
            raise ValueError("'target' names no tag")
        span(self.begin)
        span(self.block)
        if self.pairs < 1:
            raise ValueError("'pairs' must be at least 1")
        if self.commissioning < 0:
            raise ValueError("'commissioning' must not be negative")
        if self.watch and (self.watch < 4 or self.watch % 2):
            raise ValueError("'watch' must be an even number of blocks, at least 4")


class Schedule(msgspec.Struct, frozen=True):
    """When each block starts (ns), which arm it is, and when the last one ends; beyond it the line is off.

    The first `proof` blocks (commissioning included) are those of the proof; the others watch.
    """

    move: SwitchbackConfig
    starts: tuple[int, ...]
    arms: tuple[Arm, ...]
    end: int
    proof: int = 0

    def at(self, now: int) -> tuple[Arm, int, int]:
        """Return arm, number (-1 before the first) and end of the block at a time."""
        i = bisect_right(self.starts, now) - 1
        if i < 0:
            return "off", -1, self.starts[0] - 1
        if now >= self.end:
            return "off", len(self.arms), now + span(self.move.block)
        return self.arms[i], i, (self.starts[i + 1] if i + 1 < len(self.starts) else self.end) - 1


class _Memory(msgspec.Struct, frozen=True):
    origin: dict[str, float]
    block: int = -2
    plan: MovePlan | None = None


def schedule(config: SwitchbackConfig, setting: Setting) -> Schedule:
    """Draw the arms (a coin for the order within each pair, from the run's seed), or take the given ones."""
    arms = config.arms
    if not arms:
        coins = setting.rng(f"{setting.name}/arms").integers(0, 2, config.pairs).tolist()
        drawn = tuple(arm for coin in coins for arm in (("on", "off") if coin else ("off", "on")))
        arms = tuple("off" if i % 2 else "on" for i in range(config.commissioning)) + drawn
    first, block, proof = setting.start + span(config.begin), span(config.block), len(arms)
    if config.watch:
        groups = max(0, (setting.end - first) // block - proof) // config.watch
        coins = setting.rng(f"{setting.name}/watch").integers(0, 2, groups).tolist()
        stretch: list[Arm] = ["on"] * (config.watch - 2)
        for coin in coins:
            pair: tuple[Arm, Arm] = ("on", "off") if coin else ("off", "on")
            arms += (*pair, *stretch)
    starts = tuple(first + i * block for i in range(len(arms)))
    return Schedule(config, starts, arms, first + len(arms) * block, proof)


def switchback(config: SwitchbackConfig, setting: Setting) -> tuple[Policy, Schedule]:
    """Make the policy; its standing data is the schedule."""
    tags = tuple(config.target)

    def policy(state: _Memory | None, frame: Frame, plan: Schedule) -> tuple[_Memory, Sequence[Wish]]:
        state = state or _Memory({})
        origin = first_seen(state.origin, frame, tags)
        arm, block, end = plan.at(frame.at)
        targets = plan.move.target if arm == "on" else origin
        if len(origin) < len(tags) or reached(frame, targets):
            return _Memory(origin, state.block, state.plan), ()
        if state.plan is not None and state.block == block and frame.at <= state.plan.expires:
            return _Memory(origin, block, state.plan), toward(setting, plan.move, state.plan, frame)
        move = lay(setting, plan.move, targets, f"block {block + 1}: {arm}", frame, end)
        return _Memory(origin, block, move), [move, *toward(setting, plan.move, move, frame)]

    return policy, schedule(config, setting)
