"""Seen: no move to where a tag never stood, and none while something to watch stands where it never stood, in this operating state.

What models and people know of a line ends there. The box is learned while the line runs and counts what lies `after` back
(derived as tags, as `learn/seen` says); a state that was not seen for that long is not known at all.
"""

from __future__ import annotations

import math

from jayul.core.guard import Context, Rule, narrow, refuse
from jayul.core.types import Proposal, Verdict
from jayul.rules import Leave, Setting, history, known, span


class BoxConfig(Leave, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`tags` that are moved; `watch`: further ones; `state`: its tag; `margin`: how far beyond, as share of its width."""

    watch: tuple[str, ...] = ()
    state: str = ""
    after: str = "24 h"
    margin: float = 0.0

    @property
    def reads(self) -> tuple[str, ...]:
        """What is watched, and the tag of the state."""
        return (*self.watch, *filter(None, [self.state]))

    def __post_init__(self) -> None:
        span(self.after)
        if not self.tags:
            raise ValueError("'tags' names no tag")
        if not 0 <= self.margin < math.inf:
            raise ValueError("'margin' must not be negative")


def seen(config: BoxConfig, setting: Setting) -> Rule:
    """Make the rule. Raises ValueError for an unknown tag."""
    known(setting, (*config.tags, *config.reads))
    box = history(setting, (*config.tags, *config.watch), "low", "high")

    def rule(context: Context, proposal: Proposal) -> Verdict | None:
        if not config.meant(proposal):
            return None
        frame = context.frame
        for tag in config.reads:
            if not frame.fresh(tag):
                return refuse(proposal, "seen", f"'{tag}' is not fresh and good")
        for tag in (*config.watch, proposal.tag):
            if (found := box(context, tag)) is None:
                return refuse(proposal, "seen", f"'{tag}' was not seen for {config.after} in this state")
            room = config.margin * (found[1] - found[0])
            low, high = found[0] - room, found[1] + room
            if tag != proposal.tag and not low <= frame[tag] <= high:
                return refuse(proposal, "seen", f"'{tag}' is {frame[tag]:g}, where it never stood: {low:g} to {high:g}")
        return narrow(proposal, low, high, "seen", "'{}' stood within {:g} to {:g} so far", tag, low, high)

    return rule
