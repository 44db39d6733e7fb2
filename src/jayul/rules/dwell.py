"""Dwell: after a move a tag rests for the whole window before it is moved again. A value that stays is no move."""

from __future__ import annotations

from jayul.core.guard import Context, Rule, refuse
from jayul.core.types import Proposal, Verdict
from jayul.rules import Moved, Setting, history, known, still


class DwellConfig(Moved, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`window`: how long a tag rests."""


def dwell(config: DwellConfig, setting: Setting) -> Rule:
    """Make the rule."""
    known(setting, config.tags)
    past = history(setting, config.tags, "count")

    def rule(context: Context, proposal: Proposal) -> Verdict | None:
        if not config.meant(proposal) or still(context, proposal):
            return None
        if (found := past(context, proposal.tag)) is None:
            return refuse(proposal, "dwell", f"unknown how '{proposal.tag}' moved before")
        return refuse(proposal, "dwell", f"'{proposal.tag}' rests for {config.window} after a move") if found[0] else None

    return rule
