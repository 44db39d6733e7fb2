"""The report of a run: one page that a plant manager reads in a minute, then what a sceptic needs. HTML that prints well."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jinja2
import numpy as np
from markupsafe import Markup

from jayul.app import claims, proofs, show
from jayul.app.texts import _
from jayul.core.expr import duration
from jayul.core.guard import HOUR
from jayul.core.types import Frame, TagTable
from jayul.project.baseline import has_baseline, measure_baseline
from jayul.project.cases import cases
from jayul.project.look import header_of, status
from jayul.project.manifest import parse_canonical
from jayul.project.problem import N_
from jayul.project.proof import measure, plan_of, rows_of
from jayul.project.run import read_summary, refuse, ticks_of
from jayul.project.summary import KPI, Summary
from jayul.prove import report as figures
from jayul.prove.claim import Money, unmeasured
from jayul.prove.sequential import threshold
from jayul.record.files import OsFiles, write_whole

NOTHING = (float("nan"), float("nan"), float("nan"))
DAYS = 14  # of a forecast that are drawn
POINTS = 1500  # of the trend: means of so many stretches


def write(out: Path, language: str, to: Path | None = None) -> Path:
    """Write `reports/report.LANG.html` of a complete run. Raises ManifestError."""
    path = to or out / "reports" / f"report.{language}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, render(out, language).encode())
    return path


def render(out: Path, language: str, theme: str = "", back: str = "") -> str:
    """Return the page. `theme`: light or dark (else as the reader's system is); `back`: where a link above it leads."""
    summary, now = read_summary(out), status(out)
    if summary is None or not summary.complete:
        raise refuse(out, N_("is not complete; a report needs a complete run"))
    loader = jinja2.PackageLoader("jayul.app", "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    environment.globals.update(
        _=_, show=show, proofs=proofs, claims=claims, conclusions=proofs.CONCLUSIONS, why=proofs.WHY, models=show.MODELS
    )
    page = environment.get_template("report.html")
    made = cases([out / "claims"]) if (out / "claims").is_dir() else []
    drawn = {
        "baseline": measure_baseline(out) if has_baseline(out) else None,
        "forecasts": _forecasts(out, summary),
        **_figures(out, summary),
        "made": [c for c in made if c.genuine],
    }
    return page.render(s=summary, header=now.header, language=language, theme=theme, back=back, out=out, **drawn)


def _forecasts(out: Path, summary: Summary) -> dict[str, Markup]:
    """Draw, for each forecast, its quantity over the last `DAYS` days and what had been said of them before."""
    names = [name for name, card in summary.models.items() if card.kind == "forecast"]
    if not names:
        return {}
    files, figures_of = OsFiles(out / "journal", create=False), {}
    header = header_of(out, files)
    table, manifest = TagTable(header.tags), parse_canonical(header.manifest)
    zone = ZoneInfo(summary.timezone)
    ahead = {model.name: duration(model.options["horizon"]) for model in manifest.models if model.name in names}
    ticks = [(decision.at, Frame.from_columns(decision.at, table, decision.columns)) for decision, _ in ticks_of(files)]
    recent = [(at, frame) for at, frame in ticks if at > ticks[-1][0] - DAYS * 24 * HOUR]
    for name in names:
        target = summary.models[name].reads[0]
        low, median, high = (f"{name}.{part}" for part in ("low", "median", "high"))
        said = {at + ahead[name]: (frame[low], frame[median], frame[high]) for at, frame in ticks}
        hours = [(at - header.start) / HOUR for at, _ in recent]
        actual = [frame[target] for _, frame in recent]
        rows = [said.get(at, NOTHING) for at, _ in recent]
        drawn = figures.band(hours, actual, rows, table[target].unit, _days(recent[0][0], recent[-1][0], header.start, zone))
        figures_of[name] = Markup(drawn)  # noqa: S704 - our own numbers
    return figures_of


def _kpi_trend(out: Path) -> str:
    """Draw the KPI of a run that proves nothing: means of so many stretches."""
    files = OsFiles(out / "journal", create=False)
    header = header_of(out, files)
    table = TagTable(header.tags)
    if KPI not in table.index:
        return ""
    ticks = [(decision.at, Frame.from_columns(decision.at, table, decision.columns)[KPI]) for decision, _ in ticks_of(files)]
    known = [(at, value) for at, value in ticks if not np.isnan(value)]
    if len(known) < 2:
        return ""
    parts = np.array_split(np.array([((at - header.start) / HOUR, value) for at, value in known]), min(POINTS, len(known)))
    hours, values = ([float(part[:, column].mean()) for part in parts] for column in (0, 1))
    return figures.line(hours, values, table[KPI].unit)


def _days(first: int, last: int, start: int, zone: ZoneInfo) -> dict[float, str]:
    """Return hour after the start -> date, for every other midnight between two times (ns)."""
    begin = dt.datetime.fromtimestamp(first / 1e9, zone).replace(hour=0, minute=0, second=0, microsecond=0)
    marks = {}
    for day in range(1, DAYS + 1, 2):
        midnight = begin + dt.timedelta(days=day)
        if midnight.timestamp() * 1e9 <= last:
            marks[(midnight.timestamp() * 1e9 - start) / HOUR] = midnight.strftime("%m-%d")
    return marks


def _figures(out: Path, summary: Summary) -> dict[str, Any]:
    if not summary.proof:
        return {"effect": None, "plan": None, "trend": Markup(_kpi_trend(out)), "forest": "", "evidence": ""}  # noqa: S704 - our own numbers
    files, plan, effect = OsFiles(out / "journal", create=False), plan_of(out), measure(out)
    header = header_of(out, files)
    rows = list(rows_of(files, TagTable(header.tags), plan))
    parts = np.array_split(np.array([(row.at, row.values[plan.kpi]) for row in rows]), min(POINTS, len(rows)))
    hours = [float(part[:, 0].mean() - header.start) / 3.6e12 for part in parts]
    values = [float(np.mean(part[:, 1])) for part in parts]
    trend = figures.trend(effect, hours, values, plan.unit, header.start)
    forest = figures.forest(effect, plan)
    drawn = {"trend": trend, "forest": forest, "evidence": figures.evidence(effect, threshold(plan.confidence))}
    inside = [row.at for row in rows if plan.starts[0] <= row.at < max(plan.end, plan.watch_end)]
    unknown = Money(why="hours_per_year is not given")
    silent = list(unmeasured(plan, (inside[-1] - inside[0]) / 3.6e12, summary.money or unknown))
    return {"effect": effect, "plan": plan, "unmeasured": silent, **{name: Markup(svg) for name, svg in drawn.items()}}  # noqa: S704 - our own numbers
