"""The guard: what may leave. Deny by default; rules narrow or refuse and never widen.

A rule is a pure function `(context, proposal) -> Verdict | None`: None has no objection, a Verdict with `allowed=None`
refuses, any other Verdict narrows to a value between the last one and the asked one. `judge` scales every batch (the
proposals of one writer for one plan) along the asked move until the tightest rule is met, then runs every rule again on
what came out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import msgspec
from msgspec.structs import replace

from jayul.core.types import SECOND, Frame, MovePlan, Proposal, Tag, Verdict

HOUR = 3600 * SECOND


class Applied(NamedTuple):
    """The last value that the plant took from us for a tag, when, and from which writer."""

    value: float
    at: int
    by: str


class Writer(msgspec.Struct, frozen=True):
    """One who may propose: its allow-list, whether its level lets it write now, and the plan that it must stay within."""

    tags: Collection[str] = ()
    may_write: bool = False
    plan: MovePlan | None = None


class Context(msgspec.Struct, frozen=True):
    """What rules may look at. `last` lacks tags that we do not hold; `asked` counts, by tag, proposals that could be written."""

    frame: Frame
    writers: Mapping[str, Writer]
    last: Mapping[str, Applied]
    period: int  # ns
    asked: Mapping[str, int] = {}

    def tag(self, proposal: Proposal) -> Tag | None:
        """Return the tag that is asked for, or None if there is no such tag."""
        return self.frame.table.get(proposal.tag)

    def writer(self, proposal: Proposal) -> Writer:
        """Return who asks; somebody unknown may do nothing."""
        return self.writers.get(proposal.by, _NOBODY)

    def now(self, proposal: Proposal) -> float:
        """Return the value that stands in the plant now (NaN if there is no such tag)."""
        return self.frame[proposal.tag] if proposal.tag in self.frame.table.index else math.nan


Rule: TypeAlias = Callable[[Context, Proposal], Verdict | None]
_NOBODY = Writer()


def refuse(proposal: Proposal, rule: str, reason: str) -> Verdict:
    """Return the verdict that lets nothing through."""
    return Verdict(proposal, None, rule, reason)


def narrow(proposal: Proposal, low: float, high: float, rule: str, reason: str) -> Verdict | None:
    """Narrow the asked value into [low, high]; an empty interval refuses."""
    if low <= proposal.value <= high:
        return None
    if not low <= high or math.isnan(proposal.value):
        return refuse(proposal, rule, reason)
    return Verdict(proposal, float(min(max(proposal.value, low), high)), rule, reason)


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
    """Refuse a safety tag, a read-only tag, and a tag without range, step, unit or staleness limit: no bound, no write."""
    tag = context.tag(proposal)
    if tag is None or tag.safety:
        return refuse(proposal, "safety-tag", f"'{proposal.tag}' belongs to the safety system")
    if not tag.writable:
        return refuse(proposal, "read-only", f"'{proposal.tag}' is not writable")
    if tag.low is None or tag.high is None or tag.max_step is None or not tag.unit or not tag.stale_after > 0:
        return refuse(proposal, "unbounded", f"'{proposal.tag}' lacks low, high, max_step, unit or stale_after")
    return None


def unexpired(context: Context, proposal: Proposal) -> Verdict | None:
    """Refuse a proposal past its time."""
    if proposal.expires and context.frame.at > proposal.expires:
        return refuse(proposal, "expired", "the proposal is past its time")
    return None


def inputs(context: Context, proposal: Proposal) -> Verdict | None:
    """Refuse while the tag itself or any input that was relied on is stale, bad, future-dated, not finite or unknown."""
    for name in (proposal.tag, *proposal.needs):
        if not context.frame.fresh(name):
            return refuse(proposal, "inputs", f"'{name}' is not fresh and good")
    return None


def single(context: Context, proposal: Proposal) -> Verdict | None:
    """Refuse if two proposals that could be written ask for the same tag; what is only shadowed is in nobody's way."""
    if context.writer(proposal).may_write and context.asked.get(proposal.tag, 0) > 1:
        return refuse(proposal, "single", f"more than one proposal for '{proposal.tag}'")
    return None


def in_range(context: Context, proposal: Proposal) -> Verdict | None:
    """Narrow to the tag's range."""
    tag = context.tag(proposal)
    if tag is None or tag.low is None or tag.high is None:
        return refuse(proposal, "range", "no range")
    return narrow(proposal, tag.low, tag.high, "range", f"range {tag.low:g} to {tag.high:g} {tag.unit}")


def step(context: Context, proposal: Proposal) -> Verdict | None:
    """Narrow to the largest step, counted from the last applied value and from what stands in the plant now."""
    tag, now = context.tag(proposal), context.now(proposal)
    if tag is None or tag.max_step is None:
        return refuse(proposal, "step", "no step limit")
    last = context.last[proposal.tag].value if proposal.tag in context.last else now
    low, high = max(now, last) - tag.max_step, min(now, last) + tag.max_step
    return narrow(proposal, low, high, "step", f"step {tag.max_step:g} {tag.unit} from {last:g}")


BASIC: tuple[Rule, ...] = (number, allow_list, writable, unexpired, inputs, single, in_range, step)


def judge(context: Context, proposals: Sequence[Proposal], rules: Sequence[Rule] = BASIC) -> tuple[Verdict, ...]:
    """Return one verdict for each proposal, in order. Nothing moves that nobody proposed."""
    if not proposals:
        return ()
    context = replace(context, asked=Counter([p.tag for p in proposals if context.writer(p).may_write]))
    batches: dict[tuple[str, str], list[int]] = {}
    for i, proposal in enumerate(proposals):
        batches.setdefault((proposal.by, proposal.plan), []).append(i)
    verdicts: dict[int, Verdict] = {}
    for members in batches.values():
        verdicts.update(zip(members, _judge_batch(context, [proposals[i] for i in members], rules), strict=True))
    return tuple(verdicts[i] for i in range(len(proposals)))


def _judge_batch(context: Context, batch: Sequence[Proposal], rules: Sequence[Rule]) -> list[Verdict]:
    objections = [_objections(context, p, rules) for p in batch]
    if not any(objections):
        return [Verdict(p, p.value, "") for p in batch]
    if any(found and found[-1].allowed is None for found in objections):
        return [_refused(p, found) for p, found in zip(batch, objections, strict=True)]
    share, tightest = min(((_share(context, v), v) for found in objections for v in found), key=lambda pair: pair[0])
    values = [_move(context, p, share, found) for p, found in zip(batch, objections, strict=True)]
    again = [_objections(context, replace(p, value=value), rules) for p, value in zip(batch, values, strict=True)]
    if any(again):
        return [_refused(p, found) for p, found in zip(batch, again, strict=True)]
    return [Verdict(p, value, tightest.rule, tightest.reason) for p, value in zip(batch, values, strict=True)]


def _objections(context: Context, proposal: Proposal, rules: Sequence[Rule]) -> list[Verdict]:
    """Return what the rules narrow, in order; a refusal ends the list."""
    found: list[Verdict] = []
    for rule in rules:
        if (verdict := rule(context, proposal)) is not None:
            found.append(verdict)
            if verdict.allowed is None:
                break
    return found


def _refused(proposal: Proposal, found: Sequence[Verdict]) -> Verdict:
    rule, reason = (found[-1].rule, found[-1].reason) if found else ("batch", "another part of the same move was refused")
    return refuse(proposal, rule, reason)


def _share(context: Context, verdict: Verdict) -> float:
    """Return which share in [0, 1] of the asked move ends at the value that a rule allows."""
    now, allowed = context.now(verdict.proposal), verdict.allowed
    move = verdict.proposal.value - now
    return 1.0 if allowed is None or move == 0 else min(1.0, max(0.0, (allowed - now) / move))


def _move(context: Context, proposal: Proposal, share: float, found: Sequence[Verdict]) -> float:
    """Return the value at that share of the asked move; rounding never carries it past a limit of its own."""
    now, asked = context.now(proposal), proposal.value
    if share == 1.0 and not found:
        return asked
    value = now + share * (asked - now)
    for limit in (v.allowed for v in found if v.allowed is not None):
        value = min(value, max(limit, now)) if asked > now else max(value, min(limit, now))
    return value
