"""What the endpoints about a run's record do: alarms, moves, effort, audit, coverage, claims, curves; and projects."""

from __future__ import annotations

import msgspec
from starlette.requests import Request

from jayul.app.web.api.shapes import (
    AlarmSaid,
    AtTick,
    Covered,
    NoQuery,
    ProjectSaid,
    Said,
    WantedAlarms,
    WantedAudit,
    WantedCoverage,
    WantedCurves,
    WantedMoves,
    Work,
)
from jayul.app.web.desk import Screen
from jayul.app.web.folds import folded
from jayul.app.web.pages import evidence, heat, projects, trends
from jayul.app.web.security import Forbidden, Session
from jayul.core.types import SECOND
from jayul.project.alarms import Row
from jayul.project.audit import Entry, Filter, audit
from jayul.project.cases import Case, cases
from jayul.project.curves import Curve, draw, extent, open_ends
from jayul.project.moves import Move, Wanted
from jayul.project.summary import Effort


def alarms(screen: Screen, query: WantedAlarms) -> list[AlarmSaid]:
    """Return each alarm as it stands (its newest episode), or every episode; the newest first."""
    with folded(screen, query.tick) as fold:
        rows = [row for row in fold.alarms.rows(every=query.every) if query.state in ("", row.state)]
        return [_said(row) for row in sorted(rows, key=lambda row: -row.alarm.at)]


def _said(row: Row) -> AlarmSaid:
    alarm = row.alarm
    stopped = [f"{policy}: {code}" for policy, code in alarm.stopped]
    return AlarmSaid(
        alarm.id, alarm.kind, alarm.subject, alarm.code, row.state, alarm.priority, alarm.tick, alarm.at, alarm.until or None,
        row.seconds, row.times, alarm.first_out, row.standing, list(alarm.top), list(alarm.relied), stopped, list(row.acts),
    )  # fmt: skip


def moves(screen: Screen, query: WantedMoves) -> list[Move]:
    """Return what was asked, allowed and applied, one line for each stretch of ticks with the same answer; the newest first."""
    wanted = Wanted(query.policy, query.tag, query.rule, query.answer, query.start or 0, query.end or 0)
    with folded(screen, query.tick) as fold:
        found = [line for line in reversed(fold.moves.lines) if wanted.lets(line)][query.skip : query.skip + query.limit]
        return [msgspec.structs.replace(line, states=dict(line.states)) for line in found]


def effort(screen: Screen, query: AtTick) -> Effort:
    """Return what the run cost its people."""
    with folded(screen, query.tick) as fold:
        return msgspec.structs.replace(fold.effort())


def audit_lines(screen: Screen, query: WantedAudit) -> list[Entry]:
    """Return who did what and what became of it, in order."""
    kinds = (query.kind,) if query.kind else ()
    found = audit(screen.out, Filter(kinds, query.who, query.subject, query.since, query.until))
    return found[query.skip : query.skip + query.limit]


def coverage(screen: Screen, query: WantedCoverage) -> list[Covered]:
    """Return, for each tag and hour, what was expected and what was good."""
    with folded(screen, query.tick) as fold:
        _tags, cells = evidence.cells(screen, fold, query.source)
    return [Covered(tag, hour, heat.share_of(counts), dict(counts)) for (tag, hour), counts in sorted(cells.items())]


def claims(screen: Screen, query: NoQuery) -> list[Case]:  # noqa: ARG001 - the shape of a call
    """Return the claims of a run."""
    return cases([screen.out / "claims"]) if (screen.out / "claims").is_dir() else []


def curves(screen: Screen, query: WantedCurves) -> list[Curve]:
    """Return tags as curves of at most so many columns: every sample, or the least and greatest of each column."""
    known = {tag.name: tag for tag in trends.known_tags(screen)}
    names = list(dict.fromkeys(name for name in query.tags.split(",") if name))
    if unknown := [name for name in names if name not in known]:
        raise Forbidden(404, trends.no_tag(unknown[0]))
    live = trends.live_of(screen)
    live.look(screen.version)
    with live.lock:
        low, high = extent(live.reader, names, screen.timeline.span())
        low, high = query.start if query.start is not None else low, query.end if query.end is not None else high
        if high <= low:
            return []
        tags = [known[name] for name in names]
        drawn = draw(live.reader, tags, low, high, query.columns, live.marks.silences(SECOND))
    begin, newest = screen.timeline.span()
    return [open_ends(tag, curve, max(low, begin), min(high, newest)) for tag, curve in zip(tags, drawn, strict=True)]


def all_projects(request: Request, query: NoQuery) -> list[ProjectSaid]:  # noqa: ARG001 - the shape of a call
    """Return all projects with the ids of their runs."""
    listing = projects.gather(request)
    return [
        ProjectSaid(entry.id, entry.project.name, entry.problem, [row.card.id for row in entry.rows])
        for entry in listing.entries
    ]


def work(request: Request, session: Session, body: Work) -> Said:  # noqa: ARG001 - the shape of a call
    """Start a project, pause a run, or go on with it."""
    told = projects.WORK[body.what](request, body.name)
    request.app.state.desk.anew()
    return Said(told)
