"""The guard: what may leave. Deny by default; rules narrow or refuse and never widen. They stand in the room `rules/`.

A rule is a pure function `(context, proposal) -> Verdict | None`: None has no objection, a Verdict with `allowed=None`
refuses, any other Verdict narrows to a value between the last one and the asked one. `judge` scales every batch (the
proposals of one writer for one plan) along the asked move until the tightest rule is met, then runs every rule again on
what came out. Batches are judged one after another: each sees where those before it will go.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import msgspec
from msgspec.structs import replace

from jayul.core.types import SECOND, Event, Frame, MovePlan, Proposal, Tag, Verdict

HOUR = 3600 * SECOND
FALLBACK = "fallback"  # the writer that brings a demoted policy's tags back


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
    """What rules may look at. `last` lacks tags that we do not hold; `asked` counts, by tag, proposals that could be written.

    `batch`: the values that are asked for together; `moving`: where tags will go that were judged before, at this tick.
    `orders`: by tag and person, the newest order of a person about a tag (a limit, a lock).
    """

    frame: Frame
    writers: Mapping[str, Writer]
    last: Mapping[str, Applied]
    period: int  # ns
    asked: Mapping[str, int] = {}
    batch: Mapping[str, float] = {}
    moving: Mapping[str, float] = {}
    orders: Mapping[tuple[str, str], Event] = {}

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


def narrow(proposal: Proposal, low: float, high: float, rule: str, reason: str, *values: object) -> Verdict | None:
    """Narrow the asked value into [low, high]; an empty interval refuses. `values` are put into the reason, if it is needed."""
    if low <= proposal.value <= high:
        return None
    allowed = float(min(max(proposal.value, low), high)) if low <= high and not math.isnan(proposal.value) else None
    return Verdict(proposal, allowed, rule, reason.format(*values) if values else reason)


def judge(context: Context, proposals: Sequence[Proposal], rules: Sequence[Rule]) -> tuple[Verdict, ...]:
    """Return one verdict for each proposal, in order. Nothing moves that nobody proposed."""
    if not proposals:
        return ()
    context = replace(context, asked=Counter([p.tag for p in proposals if context.writer(p).may_write]))
    batches: dict[tuple[str, str], list[int]] = {}
    for i, proposal in enumerate(proposals):
        batches.setdefault((proposal.by, proposal.plan), []).append(i)
    verdicts: dict[int, Verdict] = {}
    for members in batches.values():
        found = _judge_batch(context, [proposals[i] for i in members], rules)
        verdicts.update(zip(members, found, strict=True))
        sent = {v.proposal.tag: v.allowed for v in found if v.allowed is not None and context.writer(v.proposal).may_write}
        context = replace(context, moving={**context.moving, **sent})
    return tuple(verdicts[i] for i in range(len(proposals)))


def _judge_batch(context: Context, batch: Sequence[Proposal], rules: Sequence[Rule]) -> list[Verdict]:
    objections = _together(context, batch, rules)
    if not any(objections):
        return [Verdict(p, p.value, "") for p in batch]
    if any(found and found[-1].allowed is None for found in objections):
        return [_refused(p, found) for p, found in zip(batch, objections, strict=True)]
    share, tightest = min(((_share(context, v), v) for found in objections for v in found), key=lambda pair: pair[0])
    values = [_move(context, p, share, found) for p, found in zip(batch, objections, strict=True)]
    again = _together(context, [replace(p, value=value) for p, value in zip(batch, values, strict=True)], rules)
    if any(again):
        return [_refused(p, found) for p, found in zip(batch, again, strict=True)]
    return [Verdict(p, value, tightest.rule, tightest.reason) for p, value in zip(batch, values, strict=True)]


def _together(context: Context, batch: Sequence[Proposal], rules: Sequence[Rule]) -> list[list[Verdict]]:
    """Return the objections to each proposal, where all of them would be written together."""
    context = replace(context, batch={p.tag: p.value for p in batch})
    return [_objections(context, p, rules) for p in batch]


def _objections(context: Context, proposal: Proposal, rules: Sequence[Rule]) -> list[Verdict]:
    """Return what the rules narrow, in order; a refusal ends the list. No rules, no move: deny by default."""
    found = [] if rules else [refuse(proposal, "no-rules", "no rules are given")]
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
