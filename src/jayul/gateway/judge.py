"""What the gateway lets through: the portable rules, asked again over its own frame and its own memory. Pure."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any

import msgspec

from jayul.core.expr import ExprError
from jayul.core.guard import FALLBACK, Applied, Context, Rule, Writer, judge, refuse
from jayul.core.types import Frame, Proposal, TagTable, Verdict, same
from jayul.gateway.envelope import Envelope
from jayul.plant.errors import Refused
from jayul.plant.table import Loop, at_speed
from jayul.rules import Setting
from jayul.rules.basic import PORTABLE, in_range, number, writable
from jayul.rules.halfspace import HalfspaceConfig, halfspaces


class Judgement(msgspec.Struct, frozen=True):
    """`verdicts`: our own, in order. `code` and `detail` say why nothing may be written; empty: all of them may."""

    verdicts: tuple[Verdict, ...]
    code: str = ""
    detail: str = ""


class Judge:
    """The rules of an envelope. Raises Refused if one cannot be asked here."""

    def __init__(self, envelope: Envelope) -> None:
        self.table = at_speed(envelope.tags, envelope.speed)
        own = further(envelope, self.table)
        self._rules: tuple[Rule, ...] = (*PORTABLE, fresh, remote(envelope.loops), *own)
        self._back: tuple[Rule, ...] = (number, writable, fresh, in_range, *own)  # without the step: see decision 0016
        self._writers = {name: Writer(frozenset(tags), may_write=True) for name, tags in envelope.writers.items()}
        self._period = envelope.period

    def __call__(self, frame: Frame, last: Mapping[str, Applied], asked: Sequence[Verdict]) -> Judgement:
        """Judge what a brain allowed, over a frame on our `table`. All or none: one objection refuses everything."""
        proposals = list[Proposal]()
        for verdict in asked:
            if verdict.allowed is None:
                return Judgement((), "no-value", f"'{verdict.proposal.tag}' was not allowed, and yet is to be written")
            proposals.append(msgspec.structs.replace(verdict.proposal, value=verdict.allowed))
        verdicts = judge(Context(frame, self._writers, last, self._period), proposals, self._rules)
        for verdict in verdicts:
            value = verdict.proposal.value
            if verdict.allowed is None:
                return Judgement(verdicts, verdict.rule, f"{verdict.proposal.tag}: {verdict.reason}")
            if not same(verdict.allowed, value):
                reason = f"{verdict.proposal.tag}: {value:g} is asked, {verdict.allowed:g} would be allowed: {verdict.reason}"
                return Judgement(verdicts, verdict.rule, reason)
        return Judgement(verdicts)

    def back(self, frame: Frame, values: Mapping[str, float]) -> str:
        """Return what speaks against writing these values back together, whatever the step; empty: nothing."""
        wishes = [Proposal(tag, value, "back", FALLBACK) for tag, value in values.items()]
        for verdict in judge(Context(frame, {}, {}, self._period), wishes, self._back):
            if verdict.allowed != verdict.proposal.value:
                return f"{verdict.proposal.tag}: {verdict.rule}: {verdict.reason}"
        return ""


def fresh(context: Context, proposal: Proposal) -> Verdict | None:
    """Refuse while our own reading of the tag is not fresh and good."""
    if context.frame.fresh(proposal.tag):
        return None
    return refuse(proposal, "inputs", f"the gateway has no fresh, good reading of '{proposal.tag}'")


def remote(loops: Mapping[str, Loop]) -> Rule:
    """Make the rule that a tag is moved only while its loop's mode reads remote."""

    def rule(context: Context, proposal: Proposal) -> Verdict | None:
        loop = loops.get(proposal.tag)
        if loop is None:
            return None
        if not context.frame.fresh(loop.mode):
            return refuse(proposal, "mode", f"unknown in which state '{loop.mode}' is")
        code = context.frame[loop.mode]
        return None if code == loop.remote else refuse(proposal, "mode", f"'{loop.mode}' is {code:g}, not {loop.remote:g}")

    return rule


def further(envelope: Envelope, table: TagTable) -> list[Rule]:
    """Make the envelope's further rules; half-spaces are held together. Raises Refused."""
    points, rules, halves = {point.name: point for point in entry_points(group="jayul.rules")}, list[Rule](), []
    for i, (kind, options) in enumerate(envelope.rules):
        if kind not in points:
            raise Refused(f"envelope: there is no rule '{kind}'; there are: {', '.join(sorted(points))}")
        make = points[kind].load()
        of = typing.get_type_hints(make)[next(iter(inspect.signature(make).parameters))]
        if not getattr(of, "portable", False):
            raise Refused(f"envelope: the rule '{kind}' is not portable and cannot be asked in the gateway; take it out")
        try:
            config: Any = msgspec.convert(options, of)
            rule: Rule = make(config, Setting(f"gateway.{i}", table))
        except (msgspec.ValidationError, ValueError, ExprError) as error:
            raise Refused(f"envelope: rule {i} ('{kind}'): {error}") from None
        if isinstance(config, HalfspaceConfig):
            halves.append(config)
        else:
            rules.append(rule)
    return [*rules, halfspaces(halves, Setting("gateway", table))] if halves else rules
