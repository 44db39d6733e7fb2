"""Measure what a run's proof plan asks for, from its journal alone, and say how a known disturbance was found."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Protocol, runtime_checkable

import msgspec
from msgspec.structs import replace

from jayul.core.expr import duration
from jayul.core.types import Frame, TagTable
from jayul.project.look import header_of
from jayul.project.manifest import load, parse_canonical
from jayul.project.monitor import Rows, watched
from jayul.project.price import money
from jayul.project.problem import N_
from jayul.project.run import Result, refuse, ticks_of, write_summary
from jayul.project.summary import Arms, Fault, Proof
from jayul.project.wire import wire
from jayul.prove.claim import priced_at
from jayul.prove.effect import Effect, blocks_of, judge
from jayul.prove.plan import Plan
from jayul.prove.watch import Watched
from jayul.record.files import OsFiles

DESIGN = "coin-ordered pairs of on/off blocks, exact e-process on pair differences, anytime interval"


@runtime_checkable
class Disturbed(Protocol):
    """A simulated plant whose disturbances are known: (name or number, begin ns, end ns)."""

    drawn: tuple[tuple[int, int, int], ...]


def plan_of(out: Path) -> Plan:
    """Return the proof plan that stands in a run's header. Raises ManifestError if there is none."""
    header = header_of(out, OsFiles(out / "journal", create=False))
    if not header.proof:
        raise refuse(out, N_("has no proof plan; add [proof] to the manifest and run anew"))
    return msgspec.json.decode(header.proof, type=Plan)


def measure(out: Path) -> Effect:
    """Cut the run into its blocks and judge. Raises ManifestError, Corrupt."""
    files, plan = OsFiles(out / "journal", create=False), plan_of(out)
    header = header_of(out, files)
    period = duration(parse_canonical(header.manifest).run.period)
    return judge(plan, blocks_of(plan, rows_of(files, TagTable(header.tags), plan), period))


def rows_of(files: OsFiles, kept: TagTable, plan: Plan) -> Rows:
    """Read the tags that a plan needs from a journal."""
    rows = Rows(plan, kept)
    for decision, _ in ticks_of(files):
        rows.add(decision)
    return rows


def conclude(result: Result, project: Path) -> Result:
    """Add proof and fault to the summary of a complete run that has a plan, and write it."""
    header = header_of(result.out, OsFiles(result.out / "journal", create=False))
    if not header.proof or not result.summary.complete or result.summary.proof is not None:
        return result
    plan, effect, kpi = plan_of(result.out), measure(result.out), result.summary.kpi
    manifest = parse_canonical(header.manifest)
    assert manifest.kpi is not None
    assert manifest.proof is not None
    worth = money(manifest.kpi, manifest.proof, header.price, "price.yaml")
    counted = [block for block in effect.blocks if not block.left_out]
    value, low, high = effect.benefit or (None, None, None)
    arms = {tag: Arms(known(means["on"]), known(means["off"])) for tag, means in effect.held.items()}
    summary = replace(
        result.summary,
        kpi={**kpi, "baseline": effect.kpi_off, "active": effect.kpi_on} if kpi else None,
        production=next((arms[held.tag] for held in plan.held if held.ratio is not None), None),
        quality=next((arms[held.tag] for held in plan.held if held.within is not None), None),
        limit_minutes=Arms(effect.limit_minutes["on"], effect.limit_minutes["off"]),
        blocks=Arms(sum(b.arm == "on" for b in counted), sum(b.arm == "off" for b in counted)),
        benefit={
            "value": value, "unit": "%", "low": low, "high": high, "confidence": plan.confidence, "design": DESIGN,
            "conclusion": effect.conclusion,
        },
        proof=_proof(effect),
        watched=_watched(result.out, plan, effect),
        fault=_fault(result.out, project, header.seed, plan.alarm),
        money=priced_at(worth, effect),
    )  # fmt: skip
    write_summary(result.out, summary)
    return replace(result, summary=summary)


def known(value: float) -> float | None:
    """Return a number, or None if it is none: JSON knows no NaN."""
    return None if math.isnan(value) else value


def _watched(out: Path, plan: Plan, effect: Effect) -> Watched | None:
    if not plan.watch_arms or effect.conclusion != "proven":
        return None
    files = OsFiles(out / "journal", create=False)
    header = header_of(out, files)
    period = duration(parse_canonical(header.manifest).run.period)
    return watched(plan, effect, rows_of(files, TagTable(header.tags), plan), period)


def _proof(effect: Effect) -> Proof:
    why: dict[str, int] = {}
    for block in effect.blocks:
        if block.left_out:
            why[block.left_out] = why.get(block.left_out, 0) + 1
    return Proof(effect.conclusion, effect.reasons, effect.absolute, effect.p_exact, why, effect.plan,
                 effect.looks[-1].e_benefit if effect.looks else None, effect.more_hours)  # fmt: skip


def _fault(out: Path, project: Path, seed: int, alarm: str) -> Fault | None:
    """Hold the alarms against the disturbance that the simulated plant knows it had."""
    if not alarm:
        return None
    plant = wire(load(project), project if project.is_dir() else project.parent, seed).plant
    if not isinstance(plant, Disturbed) or not plant.drawn:
        return None
    (number, begin, end), files = plant.drawn[0], OsFiles(out / "journal", create=False)
    kept, model = TagTable(header_of(out, files).tags), alarm.rsplit(".", 1)[0]
    for decision, _ in ticks_of(files):
        if begin <= decision.at < end:
            frame = Frame.from_columns(decision.at, kept, decision.columns)
            if frame[alarm] == 1.0:
                tops = [kept[f"{model}.top{i}"].states[int(frame[f"{model}.top{i}"])] for i in (1, 2, 3)]
                return Fault(f"IDV {number}", (decision.at - begin) / 60e9, tops)
    return Fault(f"IDV {number}", None, [])
