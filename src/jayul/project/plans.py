"""Manifest -> the plans of what is to be measured: the proof by on and off blocks, the comparison of before and after."""

from __future__ import annotations

import math

from jayul.core.loop import Line
from jayul.core.types import TagTable
from jayul.decide.switchback import Schedule
from jayul.project.manifest import Manifest, utc
from jayul.project.problem import N_, nearest
from jayul.project.summary import KPI
from jayul.prove.baseline import BaselinePlan, Exclusion
from jayul.prove.plan import Held, Plan
from jayul.prove.sequential import floor


def plan_tags(manifest: Manifest, table: TagTable) -> set[str]:
    """Return the tags that proof and baseline need. Raises ManifestError for an unknown one."""
    before = baseline_plan(manifest)
    for name in before.drivers if before else ():
        if name not in table.index:
            near = nearest(name, table.names)
            manifest.fail(["baseline", "drivers"], N_("unknown tag '{tag}'; did you mean '{near}'?"), tag=name, near=near)
    also = {KPI, *before.drivers} if before else set()
    proof = manifest.proof
    if proof is None:
        return also
    if manifest.kpi is None:
        manifest.fail(["proof"], N_("needs a [kpi]"))
    found = {"production": (proof.production,), "quality": (proof.quality,), "drivers": proof.drivers, "alarm": (proof.alarm,)}
    found["twin"] = (proof.twin,)
    found["limits"] = tuple(limit.tag for limit in proof.limits)
    for key, names in found.items():
        for name in filter(None, names):
            if name not in table.index:
                near = nearest(name, table.names)
                manifest.fail(["proof", key], N_("unknown tag '{tag}'; did you mean '{near}'?"), tag=name, near=near)
    if proof.twin and table[proof.twin].unit != table[KPI].unit:
        have, want = table[proof.twin].unit, table[KPI].unit
        manifest.fail(["proof", "twin"], N_("'{tag}' is in {have}, the KPI in {want}"), tag=proof.twin, have=have, want=want)
    return also | {name for names in found.values() for name in names if name}


def proof_plan(manifest: Manifest, line: Line) -> Plan | None:
    """Return the proof plan that the manifest asks for, with the arms as they were drawn. Raises ManifestError."""
    proof = manifest.proof
    if proof is None or manifest.kpi is None:
        return None
    schedule = next((seat.plan for seat in line.seats if seat.name == proof.policy), None)
    if not isinstance(schedule, Schedule):
        manifest.fail(
            ["proof", "policy"], N_("'{name}' is no policy with an arm schedule (kind switchback)"), name=proof.policy
        )
    wash_out = manifest.span(["proof", "wash_out"], proof.wash_out) if proof.wash_out else 0
    number = schedule.proof
    later = schedule.arms[proof.commissioning : number]
    if not wash_out and proof.commissioning < 2:
        message = N_("without 'wash_out' it takes two commissioning blocks, one each way, to find it")
        manifest.fail(["proof", "commissioning"], message)
    if schedule.move.arms:
        message = N_(
            "the order of the arms is given, not drawn by a coin, so nothing can be shown; use 'pairs' instead of 'arms'"
        )
        manifest.fail(["proof", "policy"], message)
    if not 0 <= proof.no_worse < math.inf:
        manifest.fail(["proof", "no_worse"], N_("must not be negative"))
    if not 0 <= proof.smallest < math.inf:
        manifest.fail(["proof", "smallest"], N_("must not be negative"))
    if not 0.5 <= proof.confidence < 1:
        manifest.fail(["proof", "confidence"], N_("must lie between 0.5 and 1"))
    if len(later) // 2 < (least := floor(proof.confidence)):
        message = N_("{pairs} pairs can never show anything at {confidence} %: it takes at least {least}")
        what = {"pairs": str(len(later) // 2), "confidence": f"{100 * proof.confidence:g}", "least": str(least)}
        manifest.fail(["proof"], message, **what)
    end = (*schedule.starts, schedule.end)[number]
    if wash_out >= end - schedule.starts[number - 1]:
        manifest.fail(["proof", "wash_out"], N_("is not shorter than a block"))
    if not later or len(later) % 2 or any({a, b} != {"on", "off"} for a, b in zip(later[::2], later[1::2], strict=True)):
        manifest.fail(["proof", "commissioning"], N_("what is left of the arms does not come in pairs of on and off"))
    held = [Held(proof.production, ratio=proof.production_ratio)] if proof.production else []
    held += [Held(proof.quality, within=proof.quality_within)] if proof.quality else []
    return Plan(
        proof.policy, KPI, manifest.kpi.unit, schedule.move.target, schedule.starts[:number], schedule.arms[:number], end,
        proof.commissioning, wash_out, proof.alarm, manifest.span(["proof", "recover"], proof.recover), proof.least,
        proof.confidence, tuple(held), proof.limits, proof.drivers, proof.twin, proof.coverage_gap, proof.no_worse,
        proof.assigned, proof.smallest, manifest.contract.least if manifest.contract else 0.0,
        schedule.starts[number:], schedule.arms[number:], schedule.end if schedule.arms[number:] else 0,
    )  # fmt: skip


def baseline_plan(manifest: Manifest) -> BaselinePlan | None:
    """Return the plan of `[baseline]`, or None. Raises ManifestError for what makes no sense."""
    section = manifest.baseline
    if section is None:
        return None
    if manifest.kpi is None:
        manifest.fail(["baseline"], N_("needs a [kpi]"))
    if not section.drivers:
        manifest.fail(["baseline", "drivers"], N_("names no tag; without drivers it is before and after, and nothing else"))
    if not 0.5 <= section.confidence < 1:
        manifest.fail(["baseline", "confidence"], N_("must lie between 0.5 and 1"))
    out = []
    for i, entry in enumerate(section.exclude):
        if utc(entry.end) <= utc(entry.begin):
            manifest.fail(["baseline", "exclude", i, "to"], N_("must lie after 'from'"))
        if not entry.by or not entry.why:
            manifest.fail(["baseline", "exclude", i], N_("says who took it out ('by') and why"))
        out.append(Exclusion(utc(entry.begin), utc(entry.end), entry.by, entry.why))
    mean = manifest.span(["baseline", "mean"], section.mean)
    return BaselinePlan(KPI, manifest.kpi.unit, utc(section.change), mean, section.drivers, tuple(out), section.confidence)
