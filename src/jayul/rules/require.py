"""Conditions of the manifest: while one of them does not hold, or is unknown, nothing may be written."""

from __future__ import annotations

from collections.abc import Mapping

from jayul.core.guard import Context, Rule, refuse
from jayul.core.types import Proposal, Verdict


def require(conditions: Mapping[str, str]) -> Rule:
    """Make the rule from derived tags (1 while their condition holds) and the text of each condition."""

    def rule(context: Context, proposal: Proposal) -> Verdict | None:
        for tag, text in conditions.items():
            if not context.frame.fresh(tag):
                return refuse(proposal, "require", f"unknown whether {text}")
            if context.frame[tag] != 1.0:
                return refuse(proposal, "require", f"does not hold: {text}")
        return None

    return rule
