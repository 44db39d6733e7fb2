"""Travel: the sum of all movements of a tag within a window is bounded, so that a valve is not worn out by hunting."""

from __future__ import annotations

import math

from jayul.core.guard import Context, Rule, narrow, refuse
from jayul.core.types import Proposal, Verdict
from jayul.rules import Moved, Setting, history, known


class TravelConfig(Moved, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`most`: largest sum of movements, up and down, within `window`, in the tag's unit."""

    most: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.most < math.inf:
            raise ValueError("'most' must be above 0")


def travel(config: TravelConfig, setting: Setting) -> Rule:
    """Make the rule."""
    known(setting, config.tags)
    past = history(setting, config.tags, "travel")

    text = f"at most {config.most:g} of movement in {config.window}"

    def rule(context: Context, proposal: Proposal) -> Verdict | None:
        if not config.meant(proposal):
            return None
        if (found := past(context, proposal.tag)) is None:
            return refuse(proposal, "travel", f"unknown how '{proposal.tag}' moved before")
        now, left = context.now(proposal), max(config.most - found[0], 0.0)
        return narrow(proposal, now - left, now + left, "travel", text)

    return rule
