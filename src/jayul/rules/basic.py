"""The basic rules, which every line has: what is a number, who may ask for what, no bound no write, fresh inputs, range, step."""

from __future__ import annotations

import math

from jayul.core.guard import Context, Rule, narrow, refuse
from jayul.core.types import Proposal, Verdict


def number(context: Context, proposal: Proposal) -> Verdict | None:
    """Refuse what is not a finite float."""
    if type(proposal.value) is not float or not math.isfinite(proposal.value):
        return refuse(proposal, "not-a-number", f"asked value {proposal.value!r} is not a finite number")
    return None


def allow_list(context: Context, proposal: Proposal) -> Verdict | None:
    """Refuse an unknown tag, and a tag that is not on its writer's list."""
    if context.tag(proposal) is None:
        return refuse(proposal, "unknown-tag", f"no tag '{proposal.tag}'")
    if proposal.tag not in context.writer(proposal).tags:
        return refuse(proposal, "allow-list", f"'{proposal.by}' may not write '{proposal.tag}'")
    return None


def writable(context: Context, proposal: Proposal) -> Verdict | None:
    """Refuse a safety tag, a read-only tag, a value in another unit, and a tag without a bound: no bound, no write."""
    tag = context.tag(proposal)
    if tag is None or tag.safety:
        return refuse(proposal, "safety-tag", f"'{proposal.tag}' belongs to the safety system")
    if not tag.writable:
        return refuse(proposal, "read-only", f"'{proposal.tag}' is not writable")
    if tag.low is None or tag.high is None or tag.max_step is None or not tag.unit or not tag.stale_after > 0:
        return refuse(proposal, "unbounded", f"'{proposal.tag}' lacks low, high, max_step, unit or stale_after")
    if proposal.unit not in ("", tag.unit):
        return refuse(proposal, "unit", f"asked in {proposal.unit}, '{proposal.tag}' is in {tag.unit}")
    return None


def inputs(context: Context, proposal: Proposal) -> Verdict | None:
    """Refuse while the tag itself or any input that was relied on is stale, bad, future-dated, not finite or unknown."""
    for name in (proposal.tag, *proposal.needs):
        if not context.frame.fresh(name):
            return refuse(proposal, "inputs", f"'{name}' is not fresh and good")
    return None


def in_range(context: Context, proposal: Proposal) -> Verdict | None:
    """Narrow to the tag's range."""
    tag = context.tag(proposal)
    if tag is None or tag.low is None or tag.high is None:
        return refuse(proposal, "range", "no range")
    return narrow(proposal, tag.low, tag.high, "range", "range {:g} to {:g} {}", tag.low, tag.high, tag.unit)


def step(context: Context, proposal: Proposal) -> Verdict | None:
    """Narrow to the largest step, counted from the last applied value and from what stands in the plant now."""
    tag, now = context.tag(proposal), context.now(proposal)
    if tag is None or tag.max_step is None:
        return refuse(proposal, "step", "no step limit")
    last = context.last[proposal.tag].value if proposal.tag in context.last else now
    low, high = max(now, last) - tag.max_step, min(now, last) + tag.max_step
    return narrow(proposal, low, high, "step", "step {:g} {} from {:g}", tag.max_step, tag.unit, last)


def unexpired(context: Context, proposal: Proposal) -> Verdict | None:
    """Refuse a proposal past its time."""
    if proposal.expires and context.frame.at > proposal.expires:
        return refuse(proposal, "expired", "the proposal is past its time")
    return None


def single(context: Context, proposal: Proposal) -> Verdict | None:
    """Refuse if two proposals that could be written ask for the same tag; what is only shadowed is in nobody's way."""
    if context.writer(proposal).may_write and context.asked.get(proposal.tag, 0) > 1:
        return refuse(proposal, "single", f"more than one proposal for '{proposal.tag}'")
    return None


PORTABLE: tuple[Rule, ...] = (number, allow_list, writable, unexpired, single, in_range, step)  # see `rules.For.portable`
BASIC: tuple[Rule, ...] = (number, allow_list, writable, unexpired, inputs, single, in_range, step)
