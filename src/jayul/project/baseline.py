"""Measure what a run's `[baseline]` asks for, from its journal alone: before and after a change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jayul.core.types import Frame, TagTable
from jayul.project.look import header_of
from jayul.project.manifest import parse_canonical
from jayul.project.plans import baseline_plan
from jayul.project.problem import N_
from jayul.project.run import refuse, ticks_of
from jayul.prove.baseline import Baseline, BaselinePlan, judge_baseline
from jayul.prove.effect import Row
from jayul.record.files import OsFiles


def has_baseline(out: Path) -> bool:
    """Say whether a run compares before and after."""
    return parse_canonical(header_of(out, OsFiles(out / "journal", create=False)).manifest).baseline is not None


def measure_baseline(out: Path) -> Baseline:
    """Compare before and after. Raises ManifestError if the run has no `[baseline]`, Corrupt."""
    files = OsFiles(out / "journal", create=False)
    header = header_of(out, files)
    plan = baseline_plan(parse_canonical(header.manifest))
    if plan is None:
        raise refuse(out, N_("has no [baseline]; add it to the manifest and run anew"))
    return judge_baseline(plan, _rows(files, TagTable(header.tags), plan))


def _rows(files: OsFiles, kept: TagTable, plan: BaselinePlan) -> Iterator[Row]:
    names = (plan.kpi, *plan.drivers)
    take = np.array([kept.index[name] for name in names])
    for decision, _ in ticks_of(files):
        frame = Frame.from_columns(decision.at, kept, decision.columns)
        values = np.where(frame.status < 0x4000_0000, frame.value, np.nan)[take].tolist()
        yield Row(decision.at, dict(zip(names, values, strict=True)))
