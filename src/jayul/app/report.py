"""The report of a run: one page that a plant manager reads in a minute, then what a sceptic needs. HTML that prints well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from jayul.app import show
from jayul.app.texts import _
from jayul.core.types import TagTable
from jayul.project.look import header_of, status
from jayul.project.problem import N_
from jayul.project.proof import measure, plan_of, rows_of
from jayul.project.run import read_summary, refuse
from jayul.prove import report as figures
from jayul.record.files import OsFiles, write_whole

POINTS = 1500  # of the trend: means of so many stretches


def write(out: Path, language: str, to: Path | None = None) -> Path:
    """Write `reports/report.LANG.html` of a complete run. Raises ManifestError."""
    path = to or out / "reports" / f"report.{language}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, render(out, language).encode())
    return path


def render(out: Path, language: str) -> str:
    """Return the page."""
    summary, now = read_summary(out), status(out)
    if summary is None or not summary.complete:
        raise refuse(out, N_("is not complete; a report needs a complete run"))
    loader = jinja2.PackageLoader("jayul.app", "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    environment.globals.update(_=_, show=show, conclusions=show.CONCLUSIONS, why=show.WHY)
    page = environment.get_template("report.html")
    return page.render(s=summary, header=now.header, language=language, out=out, **_figures(out, bool(summary.proof)))


def _figures(out: Path, proven: bool) -> dict[str, Any]:
    if not proven:
        return {"effect": None, "plan": None, "trend": "", "forest": ""}
    files, plan, effect = OsFiles(out / "journal", create=False), plan_of(out), measure(out)
    header = header_of(out, files)
    rows = list(rows_of(files, TagTable(header.tags), plan))
    parts = np.array_split(np.array([(row.at, row.values[plan.kpi]) for row in rows]), min(POINTS, len(rows)))
    hours = [float(part[:, 0].mean() - header.start) / 3.6e12 for part in parts]
    values = [float(np.mean(part[:, 1])) for part in parts]
    trend = figures.trend(effect, hours, values, plan.unit, header.start)
    forest = figures.forest(effect, plan.kpi, plan.unit)
    return {"effect": effect, "plan": plan, "trend": Markup(trend), "forest": Markup(forest)}  # noqa: S704 - our own numbers
