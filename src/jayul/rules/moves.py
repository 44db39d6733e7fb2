"""Moves: a tag is moved at most so often within a window. A value that stays is no move."""

from __future__ import annotations

from jayul.core.guard import Context, Rule, refuse
from jayul.core.types import Proposal, Verdict
from jayul.rules import Moved, Setting, history, known, still


class MovesConfig(Moved, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`most`: largest number of moves within `window`."""

    most: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.most < 1:
            raise ValueError("'most' must be at least 1")


def moves(config: MovesConfig, setting: Setting) -> Rule:
    """Make the rule."""
    known(setting, config.tags)
    past = history(setting, config.tags, "count")

    def rule(context: Context, proposal: Proposal) -> Verdict | None:
        if not config.meant(proposal) or still(context, proposal):
            return None
        if (found := past(context, proposal.tag)) is None:
            return refuse(proposal, "moves", f"unknown how '{proposal.tag}' moved before")
        return refuse(proposal, "moves", f"at most {config.most} moves in {config.window}") if found[0] >= config.most else None

    return rule
