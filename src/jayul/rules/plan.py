"""A proposal made under a move plan stays within that plan."""

from __future__ import annotations

from jayul.core.guard import HOUR, Context, narrow, refuse
from jayul.core.types import Proposal, Verdict


def within_plan(context: Context, proposal: Proposal) -> Verdict | None:
    """Narrow to the move plan on the table: its targets, its ramp, its time. A writer without a plan is not bound."""
    plan = context.writer(proposal).plan
    if plan is None:
        return None
    if proposal.plan != plan.id or proposal.tag not in plan.targets:
        return refuse(proposal, "plan", f"'{proposal.tag}' is not part of plan {plan.id}")
    if context.frame.at > plan.expires:
        return refuse(proposal, "plan", f"plan {plan.id} has expired")
    now, target = context.now(proposal), plan.targets[proposal.tag]
    reach = plan.ramp.get(proposal.tag, 0.0) * context.period / HOUR
    low, high = max(min(now, target), now - reach), min(max(now, target), now + reach)
    return narrow(proposal, low, high, "plan", "plan {}: ramp to {:g}", plan.id, target)
