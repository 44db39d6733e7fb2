"""Asked, allowed, applied: each proposal with the guard's answer and what the plant did, runs of equal answers as one line."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from jayul.core.types import Decision, Outcome, Verdict
from jayul.plant.journal import Tick

ANSWERS = ("allowed", "narrowed", "refused")


class Move(msgspec.Struct):
    """Ticks without a gap in which one policy asked for one tag and got the same answer by the same rule.

    `tick` to `until` with their times (ns); values of the first and the last tick; `sent`: so many went to the plant; `states`: of
    the receipts. `why` is the policy's word, `reason` that of the rule, at the first tick.
    """

    policy: str
    tag: str
    answer: str
    rule: str
    reason: str
    why: str
    plan: str
    tick: int
    at: int
    until: int
    until_at: int
    asked: tuple[float, float]
    allowed: tuple[float | None, float | None]
    applied: float | None = None
    sent: int = 0
    states: dict[str, int] = {}


class Wanted(msgspec.Struct, frozen=True):
    """Which lines: empty lets everything through. `since`, `until` are times (ns)."""

    policy: str = ""
    tag: str = ""
    rule: str = ""
    answer: str = ""
    since: int = 0
    until: int = 0

    def lets(self, move: Move) -> bool:
        """Say whether a line is wanted."""
        pairs = ((self.policy, move.policy), (self.tag, move.tag), (self.rule, move.rule), (self.answer, move.answer))
        inside = move.until_at >= self.since and (not self.until or move.at <= self.until)
        return inside and all(wanted in ("", have) for wanted, have in pairs)


def answer_of(verdict: Verdict) -> str:
    """Return allowed, narrowed or refused."""
    if verdict.allowed is None:
        return "refused"
    return "narrowed" if verdict.rule else "allowed"


class Moves:
    """The fold. `add` takes finished ticks in order; `lines` are in order of their first tick."""

    def __init__(self) -> None:
        self.lines: list[Move] = []
        self._open: dict[tuple[str, str, str, str], Move] = {}

    def copy(self) -> Moves:
        """Return another that goes its own way from here; lines that are over are shared."""
        made = copy.copy(self)
        own = {id(line): replace(line, states=dict(line.states)) for line in self._open.values()}
        made._open = {key: own[id(line)] for key, line in self._open.items()}
        made.lines = [own.get(id(line), line) for line in self.lines]
        return made

    def add(self, tick: Tick) -> None:
        """Take one finished tick."""
        if not tick.decision.verdicts:
            self._open = {}
            return
        now: dict[tuple[str, str, str, str], Move] = {}
        for i, verdict in enumerate(tick.decision.verdicts):
            p = verdict.proposal
            key = p.by, p.tag, answer_of(verdict), verdict.rule
            line = now.get(key) or self._open.get(key)
            if line is None:
                line = single(tick.decision, verdict)
                self.lines.append(line)
            _extend(line, tick, i, verdict)
            now[key] = line
        self._open = now


def single(decision: Decision, verdict: Verdict) -> Move:
    """Return the line of one verdict, before anything of it was sent."""
    p = verdict.proposal
    return Move(
        p.by, p.tag, answer_of(verdict), verdict.rule, verdict.reason, p.why, p.plan, decision.tick, decision.at,
        decision.tick, decision.at, (p.value, p.value), (verdict.allowed, verdict.allowed), states={},
    )  # fmt: skip


def _extend(line: Move, tick: Tick, i: int, verdict: Verdict) -> None:
    decision = tick.decision
    line.until, line.until_at = decision.tick, decision.at
    line.asked = line.asked[0], verdict.proposal.value
    line.allowed = line.allowed[0], verdict.allowed
    if i in decision.writes:
        line.sent += 1
        _receive(line, tick.outcome)


def _receive(line: Move, outcome: Outcome | None) -> None:
    """Take in what became of a value that was sent; without a receipt it is unknown."""
    receipt = next((r for r in outcome.receipts if r.tag == line.tag), None) if outcome else None
    state = receipt.state if receipt else "unknown"
    line.states[state] = line.states.get(state, 0) + 1
    line.applied = receipt.applied if receipt else None


def each(ticks: Iterable[Tick], policy: str, tag: str) -> list[Move]:
    """Return one line for each verdict of a policy on a tag, in order."""
    found = []
    for tick in ticks:
        for i, verdict in enumerate(tick.decision.verdicts):
            if verdict.proposal.by == policy and verdict.proposal.tag == tag:
                line = single(tick.decision, verdict)
                _extend(line, tick, i, verdict)
                found.append(line)
    return found
