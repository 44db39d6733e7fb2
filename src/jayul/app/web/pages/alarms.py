"""Alarms and findings (ISA-18.2): the list as it stands, floods and days, one alarm with its story, and what people do about it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from jayul.app import show
from jayul.app.texts import _
from jayul.app.web import threads, view
from jayul.app.web.desk import Screen
from jayul.app.web.folds import Fold, folded
from jayul.app.web.pages.common import Page, Query, handed, live, page_of, query_of, refusal, shown
from jayul.app.web.security import Forbidden, Session, person
from jayul.core.guard import HOUR
from jayul.core.types import Event
from jayul.project import people
from jayul.project.alarms import ACTS, PRIORITIES, SHELF, Alarm, Row, Spell, body_of
from jayul.project.problem import N_, ManifestError

STATES = {
    "active-unacknowledged": N_("active, unacknowledged"), "active-acknowledged": N_("active, acknowledged"),
    "returned-unacknowledged": N_("returned, unacknowledged"), "shelved": N_("shelved"), "closed": N_("closed"),
}  # fmt: skip
SHAPES = {
    "active-unacknowledged": "▲", "active-acknowledged": "△", "returned-unacknowledged": "▽", "shelved": "◫", "closed": "·",
}  # fmt: skip
RANKS = {"high": N_("high"), "medium": N_("medium"), "low": N_("low")}
KINDS = {
    "finding": N_("finding"), "input": N_("input"), "failed": N_("failure"), "write": N_("write"), "demotion": N_("demotion"),
    "override": N_("override"), "event": N_("refused act"),
}  # fmt: skip
RECEIPTS = {
    "overridden": N_("another value stands there"), "rejected": N_("the plant rejected it"), "missed": N_("not applied"),
    "unknown": N_("unknown"),
}  # fmt: skip
DONE = {
    "acknowledge": N_("acknowledged"), "shelve": N_("shelved"), "unshelve": N_("back from the shelf"), "note": N_("note"),
}  # fmt: skip
MALFORMED = {"act-malformed": N_("the act cannot be understood"), **show.REASONS}
HOURS = (1, 2, 4, 8)
FILTERS = ("view", "state", "kind", "priority", "key", "day", "text")
DAYS = 14


class Day(msgspec.Struct, frozen=True):
    """Alarms that came on one day of the plant, by priority."""

    day: str
    counts: dict[str, int]
    total: int


class Board(msgspec.Struct, frozen=True):
    """All that the page shows."""

    rows: Page[Row]
    active: int
    waiting: int
    standing: int
    shelved: int
    floods: tuple[Spell, ...]
    flooding: bool
    days: tuple[Day, ...]
    most: int
    mood: str
    over: bool  # the run is complete


def title(alarm: Alarm) -> str:
    """Say in a few words what an alarm says."""
    code = _(show.REASONS.get(alarm.code, alarm.code))
    if alarm.kind == "event":
        kind, who = alarm.subject.split(" ", 1)
        return _("refused: {kind} by {who} ({reason})").format(
            kind=_(show.KINDS.get(kind, kind)), who=show.who(who), reason=code
        )
    texts = {
        "finding": N_("{name} rings"), "input": N_("{name} is not fresh and good"), "failed": N_("{name} raised an error"),
        "write": N_("write to {name}: {reason}"), "demotion": N_("{name} demoted: {reason}"),
        "override": N_("{name}: another hand changed the value"),
    }  # fmt: skip
    if alarm.kind == "write":
        code = _(RECEIPTS.get(alarm.code, alarm.code))
    return _(texts[alarm.kind]).format(name=alarm.subject, reason=code)


def stops(alarm: Alarm) -> list[str]:
    """Say what an alarm stopped."""
    found = []
    for (policy, code), n in alarm.stopped.items():
        if code in show.RULES:
            found.append(_("{policy}: {n} proposals refused ({rule})").format(policy=policy, n=n, rule=_(show.RULES[code])))
        else:
            found.append(_("{policy}: demoted ({reason})").format(policy=policy, reason=_(show.REASONS.get(code, code))))
    return found


def _wanted(query: Query, zone: ZoneInfo) -> Callable[[Row], bool]:
    def wanted(row: Row) -> bool:
        alarm = row.alarm
        pairs = ((query["state"], row.state), (query["kind"], alarm.kind), (query["priority"], alarm.priority))
        if any(want and want != have for want, have in pairs) or query["key"] not in ("", alarm.key):
            return False
        if query["day"] and _day(alarm.at, zone) != query["day"]:
            return False
        if query["text"].casefold() not in f"{title(alarm)} {' '.join(alarm.top)}".casefold():
            return False
        return bool(query["view"]) or query["state"] != "" or row.state != "closed"

    return wanted


def _day(at: int, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(at // 1_000_000_000, zone).strftime("%Y-%m-%d")


def look(screen: Screen, query: Query) -> Board:
    """Gather what the page shows."""
    zone = view.zone(screen)
    with folded(screen, query.tick) as fold:
        now = fold.alarms.rows()
        every = query["view"] == "episodes" or bool(query["key"] or query["day"])
        rows = [row for row in (fold.alarms.rows(every=True) if every else now) if _wanted(query, zone)(row)]
        rows.sort(key=lambda row: _rank(row, every=every))
        floods, days = tuple(fold.alarms.floods()), _days(fold, zone)
    active = [row for row in now if row.state.startswith("active")]
    waiting = [row for row in now if row.state.endswith("-unacknowledged")]
    flooding = bool(floods and not floods[-1].end)
    urgent = flooding or any(row.alarm.priority == "high" for row in waiting)
    over = query.tick is None and screen.complete  # nobody can act on them any more
    mood = "well" if over else "trouble" if urgent else "person" if waiting else "well"
    return Board(
        page_of(rows, query.page), len(active), len(waiting), sum(row.standing for row in now),
        sum(row.state == "shelved" for row in now), floods[::-1], flooding, days,
        max((d.total for d in days), default=1), mood, over,
    )  # fmt: skip


def _rank(row: Row, *, every: bool) -> tuple[Any, ...]:
    """Order by time where each episode stands, else what asks for a person first."""
    if every:
        return (-row.alarm.at,)
    order = ("active-unacknowledged", "returned-unacknowledged", "active-acknowledged", "shelved", "closed")
    return order.index(row.state), PRIORITIES.index(row.alarm.priority), -row.alarm.at


def _days(fold: Fold, zone: ZoneInfo) -> tuple[Day, ...]:
    found: dict[str, dict[str, int]] = {}
    for alarm in fold.alarms.episodes:
        if not alarm.silent:
            counts = found.setdefault(_day(alarm.at, zone), dict.fromkeys(PRIORITIES, 0))
            counts[alarm.priority] += 1
    return tuple(Day(day, counts, sum(counts.values())) for day, counts in sorted(found.items(), reverse=True)[:DAYS])


WORDS: dict[str, Any] = {
    "title": title, "stops": stops, "STATES": STATES, "SHAPES": SHAPES, "RANKS": RANKS, "KINDS": KINDS, "DONE": DONE,
    "MALFORMED": MALFORMED, "HOURS": HOURS,
}  # fmt: skip


def body(screen: Screen, query: Query) -> str:
    """Render what changes."""
    return view.fragment("alarms_body.html", board=look(screen, query), q=query, **shown(screen, query.tick), **WORDS)


async def show_alarms(request: Request, screen: Screen) -> HTMLResponse:
    """Return the page."""
    query = query_of(request, *FILTERS)
    text = await anyio.to_thread.run_sync(body, screen, query)
    return view.page(request, "alarms.html", screen=screen, here="alarms", body=text, q=query, **WORDS)


def stream_alarms(request: Request, screen: Screen) -> Response:
    """Stream the list as it changes."""
    query = query_of(request, *FILTERS)
    return live(request, screen, f"alarms-{query.name}", lambda screen: body(screen, query))


def one(screen: Screen, name: str, number: int | None = None) -> str:
    """Render the story of one alarm; empty if there is none of that id."""
    with folded(screen, number) as fold:
        alarm = fold.alarms.find(name)
        if alarm is None:
            return ""
        row, times = fold.alarms.row(alarm), fold.alarms.by_key[alarm.key][-20:]
        others = [fold.alarms.row(other) for other in reversed(times) if other is not alarm]
        acts = fold.alarms.acts.get(alarm.key, [])[-100:]
        values = {"row": row, "others": others, "acts": acts[::-1], "now": fold.alarms.at}
        return view.fragment("alarm_body.html", **values, **shown(screen, number), **WORDS)


async def show_alarm(request: Request, screen: Screen) -> HTMLResponse:
    """Return the page of one alarm."""
    name, query = request.path_params["alarm"], query_of(request)
    text = await anyio.to_thread.run_sync(one, screen, name, query.tick)
    if not text:
        return view.page(request, "wrong.html", 404, screen=screen, text=_("There is no such alarm."))
    return view.page(request, "alarm.html", screen=screen, here="alarms", body=text, name=name, short=_short(name), **WORDS)


def _short(name: str) -> str:
    return Query({"alarm": name}).name


def stream_alarm(request: Request, screen: Screen) -> Response:
    """Stream the story of one alarm as it changes."""
    name = request.path_params["alarm"]
    return live(request, screen, f"alarm-{_short(name)}", lambda screen: one(screen, name))


def hand_in(screen: Screen, session: Session, name: str, what: str, text: str, hours: float) -> Event:
    """Hand a person's act on an alarm to the loop. Raises Forbidden, ManifestError."""
    if what in ("shelve", "note") and not text:
        raise Forbidden(409, _("say why") if what == "shelve" else _("the note is empty"))
    if what == "shelve" and not 0 < hours <= SHELF / HOUR:
        raise Forbidden(409, _("an alarm is shelved for more than 0 and at most 8 hours"))
    with folded(screen) as fold:
        there, at = fold.alarms.find(name), fold.alarms.at
    if there is None:
        raise Forbidden(404, _("There is no such alarm."))
    body = body_of(name, what, text, at + int(hours * HOUR) if what == "shelve" else 0)
    return people.note(screen.out, screen.timeline.header, body, by=session.name, signer=session.signer)


async def act(request: Request, screen: Screen) -> Response:
    """Hand a person's act on an alarm to the loop: acknowledge, shelve, unshelve, note."""
    session = await person(request, "operator")
    form = await request.form()
    name, what, text = (str(form.get(key, "")).strip()[:500] for key in ("alarm", "act", "reason"))
    if what not in ACTS:
        raise Forbidden(404, _("There is no such page."))
    hours = _hours(str(form.get("hours", "")))
    try:
        done = await threads.act(request, hand_in, screen, session, name, what, text, hours)
    except ManifestError as error:
        raise refusal(error, screen) from None
    return await threads.act(request, handed, screen, [done])


def _hours(text: str) -> float:
    """Read for how long an alarm is shelved; 0 if it is no number."""
    try:
        return float(text)
    except ValueError:
        return 0.0


def routes(on_run: Any) -> list[Route]:
    """Return the routes of these pages."""
    return [
        Route("/r/{run}/alarms", on_run(show_alarms)),
        Route("/r/{run}/alarms/stream", on_run(stream_alarms)),
        Route("/r/{run}/alarms/act", on_run(act), methods=["POST"]),
        Route("/r/{run}/alarms/one/{alarm:path}/stream", on_run(stream_alarm)),
        Route("/r/{run}/alarms/one/{alarm:path}", on_run(show_alarm)),
    ]
