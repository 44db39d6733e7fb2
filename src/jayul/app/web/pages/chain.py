"""The chain: who did what (audit), the journal's head, and its verification when somebody asks for it."""

from __future__ import annotations

import csv
import io
import re
from typing import Any
from weakref import WeakKeyDictionary

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from jayul.app import records, show
from jayul.app.proofs import CONCLUSIONS
from jayul.app.texts import _
from jayul.app.web import threads, view
from jayul.app.web.desk import Screen
from jayul.app.web.pages.alarms import DONE
from jayul.app.web.pages.common import Page, Query, page_of, query_of, shown
from jayul.app.web.pages.moves import RECEIPTS
from jayul.app.web.security import person
from jayul.core.clock import today
from jayul.project.audit import Entry, Filter, audit
from jayul.project.look import check
from jayul.project.problem import N_
from jayul.record.verify import Report

KINDS = {
    "level": N_("level"), "plan": N_("plan"), "refused": N_("refused"), "narrowed": N_("narrowed"), "receipt": N_("receipt"),
    "configuration": N_("change"), "override": N_("override"), "stop": N_("stop"), **show.KINDS,
}  # fmt: skip
WORDS = {
    "level": N_("level"), "since": N_("since tick"), "plan": N_("plan"), "conclusion": N_("conclusion"), "high": N_("upper limit"),
    "low": N_("lower limit"), "name": N_("name"),
    "pairs": N_("pairs"), "passed": N_("passed"), "unit": N_("unit"), "value": N_("value"),
    "lock": N_("lock"), "clear": N_("ended"), "of": N_("order of"), "alarm": N_("alarm"), "act": N_("act"), "text": N_("text"),
}  # fmt: skip
VALUES: dict[str, dict[str, str]] = {"level": show.LEVELS, "conclusion": CONCLUSIONS, "act": DONE}
TRUTH = {"True": N_("yes"), "False": N_("no")}
SPLIT = re.compile(rf", (?=(?:{'|'.join(WORDS)}) )")
FLOAT = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
FILTERS = ("kind", "who", "subject", "since", "until")


class Verification(msgspec.Struct, frozen=True):
    """What a verification found, and when (ns UTC)."""

    at: int
    report: Report


_verified: WeakKeyDictionary[Screen, Verification] = WeakKeyDictionary()


def last_of(screen: Screen) -> Verification | None:
    """Return what the last verification of a run in this process found."""
    return _verified.get(screen)


def _wanted(query: Query) -> Filter:
    since, until = (int(query[name][:12]) if query[name].isdecimal() else None for name in ("since", "until"))
    if query.tick is not None:
        until = min(query.tick, query.tick if until is None else until)
    return Filter((query["kind"],) if query["kind"] else (), query["who"], query["subject"], since or 0, until)


def _lines(screen: Screen, query: Query) -> tuple[Page[Entry], list[str]]:
    found = audit(screen.out, Filter(until=query.tick))
    wanted = _wanted(query)
    return page_of([entry for entry in reversed(found) if wanted.lets(entry)], query.page), sorted(
        {e.who for e in found if e.who}
    )


def why(text: str) -> str:
    """Say why, in the language of the reader."""
    return _(show.REASONS[text]) if text in show.REASONS else show.reason(text)


def what(entry: Entry) -> str:
    """Say what happened, in the language of the reader as far as it is Jayul's own words."""
    first, arrow, last = entry.what.partition(" -> ")
    if entry.kind == "level" and arrow:
        return f"{_(show.LEVELS[first])} → {_(show.LEVELS[last])}"
    if entry.kind == "plan":
        return entry.what.replace(" to ", " → ")
    if entry.kind in show.KINDS:
        return ", ".join(_said(part) for part in SPLIT.split(entry.what))
    value, colon, state = entry.what.partition(": ")
    if entry.kind == "receipt" and colon:
        return f"{value}: {_(RECEIPTS.get(state, state))}"
    return _(show.RULES[entry.what]) if entry.what in show.RULES else entry.what


def _said(part: str) -> str:
    """Say one of the facts of an event, as `name value`."""
    name, _space, value = part.partition(" ")
    if name not in WORDS:
        return part
    if value in (known := VALUES.get(name, TRUTH)):
        value = _(known[value])
    elif FLOAT.fullmatch(value):
        value = view.number(float(value))
    return f"{_(WORDS[name])} {value[:16] if name == 'plan' else value}"


async def show_audit(request: Request, screen: Screen) -> HTMLResponse:
    """Return the page."""
    query = query_of(request, *FILTERS)
    page, people = await anyio.to_thread.run_sync(_lines, screen, query)
    values: dict[str, Any] = {
        "page": page,
        "people": [(name, show.who(name)) for name in people],
        "q": query,
        "KINDS": KINDS,
        "what": what,
        "why": why,
    }
    values |= {"verified": last_of(screen), "head": screen.timeline.head}
    return view.page(request, "audit.html", here="evidence", **values, **shown(screen, query.tick))


async def audit_csv(request: Request, screen: Screen) -> Response:
    """Return the audit lines that the filters let through, as a file."""
    wanted = _wanted(query_of(request, *FILTERS))

    def write() -> str:
        text = io.StringIO()
        records.audit_lines(csv.writer(text), audit(screen.out, wanted))
        return text.getvalue()

    text = await anyio.to_thread.run_sync(write)
    return Response(text.encode("utf-8-sig"), media_type="text/csv; charset=utf-8", headers=attachment("audit.csv"))


def attachment(name: str) -> dict[str, str]:
    """Return the header that makes a browser save an answer."""
    return {"content-disposition": f'attachment; filename="{name}"'}


async def verify_now(request: Request, screen: Screen) -> Response:
    """Verify the journal from its beginning; say what was found."""
    await person(request, "viewer")
    report = await threads.slow(request, check, screen.out, (), None)
    _verified[screen] = Verification(today(), report)
    if request.headers.get("hx-request"):
        return HTMLResponse(view.fragment("verified.html", verified=last_of(screen), **shown(screen, None)))
    return RedirectResponse(f"/r/{screen.id}/audit", 303)


def head_text(_request: Request, screen: Screen) -> Response:
    """Return the head of the journal as far as it was read, as a file that `jayul verify --head` takes."""
    return PlainTextResponse(screen.timeline.head + "\n", headers=attachment("head.txt"))


def routes(on_run: Any) -> list[Route]:
    """Return the routes of these pages."""
    return [
        Route("/r/{run}/audit", on_run(show_audit)),
        Route("/r/{run}/audit.csv", on_run(audit_csv)),
        Route("/r/{run}/head.txt", on_run(head_text)),
        Route("/r/{run}/verify", on_run(verify_now), methods=["POST"]),
    ]
