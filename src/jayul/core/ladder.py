"""The ladder: how far each policy may go, as a pure fold of events and ticks. Nobody sets a level.

record -> shadow -> advise -> confirm -> auto. Up: one rung, when the gate's test (fixed in advance) is passed and a named
person signs for this very stay on the rung below. Down: at once, without anybody, with one reason code.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from jayul.core.types import Ask, Change, Event, Frame, Level, MovePlan, same

FALLS: Mapping[str, Level] = {  # reason code of a demotion -> the highest level left
    **dict.fromkeys(("inputs-stale", "override", "plan-aborted", "write-partial", "write-rejected"), Level.ADVISE),
    **dict.fromkeys(("outcome-unknown", "signature-expired"), Level.ADVISE),
    **dict.fromkeys(("veto-streak", "evidence-against"), Level.SHADOW),
    **dict.fromkeys(("policy-failed", "person", "changed"), Level.RECORD),
}


WAITS = frozenset(("hours", "dwell", "moves", "mode", "lock"))  # codes of refusals that say "not now": no fault of the policy


class Gate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The test for one level, over the stay on the level below.

    At least so many `ticks` and `proposals`; `coverage`: smallest share of ticks with fresh inputs; `max_veto_rate`: largest
    share of proposals refused; `evidence`: names that must have been reported as passed.
    """

    ticks: int = 1
    proposals: int = 0
    coverage: float = 0.0
    max_veto_rate: float = 1.0
    evidence: tuple[str, ...] = ()


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a policy has to pass, and how many bad ticks in a row demote it. A level without a gate is never reached."""

    gates: dict[Level, Gate]
    stale_ticks: int = 3
    veto_ticks: int = 5
    signed_ticks: int = 0  # for so many ticks a signature for confirm or auto is good; 0: for ever


class Offer(msgspec.Struct, frozen=True):
    """The move plan on the table: since which tick, who approved it, and why it is closed (empty: open)."""

    plan: MovePlan
    since: int
    approved_by: str = ""
    closed: str = ""


class Rung(msgspec.Struct, frozen=True):
    """Where a policy stands, since when (tick) and why; the counts are of the stay on this rung."""

    level: Level = Level.RECORD
    since: int = 0
    reason: str = "start"
    ticks: int = 0
    fresh: int = 0
    asked: int = 0
    vetoed: int = 0
    stale_run: int = 0
    veto_run: int = 0
    evidence: dict[str, bool] = {}
    offer: Offer | None = None


def fold(rung: Rung, terms: Terms, fresh: bool, asked: int, vetoed: int) -> tuple[Rung, str]:
    """Count one tick: are the inputs fresh now, what was asked and vetoed before. Return also the reason to fall, if any."""
    stale_run = 0 if fresh else rung.stale_run + 1
    veto_run = rung.veto_run + 1 if vetoed else 0 if asked else rung.veto_run
    counts = {"ticks": rung.ticks + 1, "fresh": rung.fresh + fresh, "asked": rung.asked + asked, "vetoed": rung.vetoed + vetoed}
    rung = replace(rung, **counts, stale_run=stale_run, veto_run=veto_run)
    bad = {"inputs-stale": stale_run >= terms.stale_ticks, "veto-streak": veto_run >= terms.veto_ticks}
    bad["signature-expired"] = rung.level >= Level.CONFIRM and 0 < terms.signed_ticks < rung.ticks
    return rung, min(filter(bad.get, bad), key=FALLS.__getitem__, default="")


def fall(rung: Rung, tick: int, reason: str, policy: str, by: str = "") -> tuple[Rung, tuple[Change, ...]]:
    """Demote to what the reason leaves; the plan on the table is closed. Without effect if the rung is low enough."""
    if rung.level <= FALLS[reason]:
        return rung, ()
    offer = rung.offer and replace(rung.offer, closed=rung.offer.closed or reason)
    change = Change(policy, rung.level, FALLS[reason], reason, by)
    return Rung(change.after, tick, reason, evidence=rung.evidence, offer=offer), (change,)


def missing(rung: Rung, terms: Terms) -> dict[str, tuple[float, float]]:
    """Return what the gate to the next level still lacks, as name -> (have, need); empty if it is passed.

    `gate` (0, 1) means that no gate leads on from here. Evidence that stands against the policy closes every gate.
    """
    gate = terms.gates.get(Level(rung.level + 1)) if rung.level < Level.AUTO else None
    if gate is None:
        return {"gate": (0.0, 1.0)}
    share, vetoes = rung.fresh / max(rung.ticks, 1), rung.vetoed / max(rung.asked, 1)
    least = {"ticks": (rung.ticks, gate.ticks), "proposals": (rung.asked, gate.proposals), "coverage": (share, gate.coverage)}
    lacks: dict[str, tuple[float, float]] = {name: pair for name, pair in least.items() if pair[0] < pair[1]}
    if vetoes > gate.max_veto_rate:
        lacks["veto-rate"] = (vetoes, gate.max_veto_rate)
    return lacks | {f"evidence {n}": (0.0, 1.0) for n in (*gate.evidence, *rung.evidence) if not rung.evidence.get(n)}


def asks(rung: Rung, terms: Terms, policy: str) -> tuple[Ask, ...]:
    """Return what waits for a person: the signature for a gate that is passed, the approval of an open plan."""
    found = [] if missing(rung, terms) else [Ask("signature", policy, Level(rung.level + 1).name.lower(), rung.since)]
    if rung.level == Level.CONFIRM and rung.offer and not rung.offer.approved_by and not rung.offer.closed:
        found.append(Ask("approval", policy, rung.offer.plan.id, rung.offer.since))
    return tuple(found)


def hear(rung: Rung, terms: Terms, event: Event, frame: Frame, tick: int, policy: str) -> tuple[Rung, tuple[Change, ...], str]:
    """Take one authentic event about this policy. Return the rung, a change if any, and why it was refused (or empty)."""
    if event.kind == "signature":
        return _signature(rung, terms, event, tick, policy)
    if event.kind in ("approval", "rejection"):
        return _approval(rung, event, frame)
    if event.kind == "evidence":
        name, passed = str(event.body.get("name", "")), event.body.get("passed") is True
        rung = replace(rung, evidence={**rung.evidence, name: passed})
        return (rung, (), "") if passed else (*fall(rung, tick, "evidence-against", policy, event.by), "")
    if event.kind == "demotion":
        return *fall(rung, tick, "person", policy, event.by), ""
    return rung, (), ""


def _signature(rung: Rung, terms: Terms, event: Event, tick: int, policy: str) -> tuple[Rung, tuple[Change, ...], str]:
    after = Level(min(rung.level + 1, Level.AUTO))
    if event.body.get("level") != after.name.lower() or event.body.get("since") != rung.since:
        return rung, (), "signature-for-another-stay"
    if missing(rung, terms):
        return rung, (), "gate-not-passed"
    change = Change(policy, rung.level, after, "signed", event.by)
    return Rung(after, tick, "signed", evidence=rung.evidence, offer=rung.offer), (change,), ""


def _approval(rung: Rung, event: Event, frame: Frame) -> tuple[Rung, tuple[Change, ...], str]:
    offer = rung.offer
    if offer is None or event.body.get("plan") != offer.plan.id:
        return rung, (), "plan-not-on-the-table"
    if event.kind == "rejection" and not offer.closed:
        return replace(rung, offer=replace(offer, closed="rejected")), (), ""
    if offer.approved_by:
        return rung, (), "approval-used"
    if offer.closed or frame.at > offer.plan.expires:
        return rung, (), "plan-closed"
    if rung.level != Level.CONFIRM:
        return rung, (), "level-too-low"
    if not _within(frame, offer.plan.band):
        return rung, (), "situation-changed"
    return replace(rung, offer=replace(offer, approved_by=event.by)), (), ""


def watch(rung: Rung, frame: Frame) -> tuple[Rung, str]:
    """Close a plan that has arrived or run out. Return the rung, and `plan-aborted` if a live plan crosses an abort limit."""
    offer = rung.offer
    if offer is None or offer.closed:
        return rung, ""
    closed, plan = "", offer.plan
    if frame.at > plan.expires:
        closed = "expired"
    elif offer.approved_by or rung.level == Level.AUTO:
        if not _within(frame, plan.abort):
            return rung, "plan-aborted"
        closed = "done" if all(frame.fresh(tag) and same(frame[tag], target) for tag, target in plan.targets.items()) else ""
    return (replace(rung, offer=replace(offer, closed=closed)) if closed else rung), ""


def _within(frame: Frame, limits: tuple[tuple[str, float, float], ...]) -> bool:
    return all(frame.fresh(tag) and low <= frame[tag] <= high for tag, low, high in limits)


def may_write(rung: Rung) -> bool:
    """Say whether the policy's allowed values go to the plant: at auto, or at confirm under an approved, open plan."""
    offer = rung.offer
    if offer is None or offer.closed:
        return rung.level == Level.AUTO and offer is None
    return rung.level == Level.AUTO or (rung.level == Level.CONFIRM and bool(offer.approved_by))
