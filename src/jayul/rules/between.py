"""Between: limits that stand in the plant itself, as tags: EURange, set-point clamps of the DCS, an operator's narrower limits."""

from __future__ import annotations

import math
from typing import ClassVar

from jayul.core.guard import Context, Rule, narrow, refuse
from jayul.core.types import Proposal, Verdict
from jayul.rules import For, Setting, known


class BetweenConfig(For, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`low`, `high`: tags that hold the limits, in the unit of the tag that is moved. One of the two may be missing."""

    portable: ClassVar[bool] = True

    low: str = ""
    high: str = ""

    @property
    def reads(self) -> tuple[str, ...]:
        """The tags that hold the limits."""
        return tuple(name for name in (self.low, self.high) if name)

    def __post_init__(self) -> None:
        if not (self.low or self.high):
            raise ValueError("name a tag for 'low', 'high' or both")
        if not self.tags:
            raise ValueError("'tags' names no tag")


def between(config: BetweenConfig, setting: Setting) -> Rule:
    """Make the rule. Raises ValueError for an unknown tag, or one of another unit."""
    limits = config.reads
    known(setting, (*config.tags, *limits))
    for tag in config.tags:
        for name in limits:
            if setting.tags[name].unit != setting.tags[tag].unit:
                raise ValueError(f"'{name}' is in {setting.tags[name].unit}, '{tag}' in {setting.tags[tag].unit}")

    def rule(context: Context, proposal: Proposal) -> Verdict | None:
        if not config.meant(proposal):
            return None
        if stale := [name for name in limits if not context.frame.fresh(name)]:
            return refuse(proposal, "between", f"the limit '{stale[0]}' is not fresh and good")
        low = context.frame[config.low] if config.low else -math.inf
        high = context.frame[config.high] if config.high else math.inf
        return narrow(proposal, low, high, "between", "limits of the plant: {:g} to {:g}", low, high)

    return rule
