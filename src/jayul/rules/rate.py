"""Rate: a tag may not go further than so much from any value that it had within the window, whoever moved it."""

from __future__ import annotations

import math

from jayul.core.guard import Context, Rule, narrow, refuse
from jayul.core.types import Proposal, Verdict
from jayul.rules import Moved, Setting, history, known


class RateConfig(Moved, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`most`: largest difference to any value within `window`, in the tag's unit."""

    most: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.most < math.inf:
            raise ValueError("'most' must be above 0")


def rate(config: RateConfig, setting: Setting) -> Rule:
    """Make the rule."""
    known(setting, config.tags)
    past = history(setting, config.tags, "low", "high")

    text = f"at most {config.most:g} in {config.window}"

    def rule(context: Context, proposal: Proposal) -> Verdict | None:
        if proposal.tag not in config.tags:  # the way back, too
            return None
        if (found := past(context, proposal.tag)) is None:
            return refuse(proposal, "rate", f"unknown how '{proposal.tag}' moved before")
        low, high = found
        return narrow(proposal, high - config.most, low + config.most, "rate", text)

    return rule
