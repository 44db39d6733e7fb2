"""What each endpoint does."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from typing import Any

import anyio
import msgspec
import pyarrow as pa
from pyarrow import csv
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from jayul.app import show
from jayul.app.texts import _
from jayul.app.web.accounts import Role, may
from jayul.app.web.api.shapes import (
    MOST,
    Act,
    AtTick,
    Credentials,
    Entered,
    NoQuery,
    Reading,
    Run,
    Samples,
    Since,
    State,
    Taken,
    TickSaid,
)
from jayul.app.web.desk import Desk, Screen
from jayul.app.web.pages import alarms
from jayul.app.web.pages.moves import in_force
from jayul.app.web.pages.now import waiting
from jayul.app.web.security import Session, session_of
from jayul.app.web.stream import HEADERS, event, may_go_on
from jayul.core.types import Tag
from jayul.plant.journal import Tick
from jayul.project.look import rows
from jayul.project.people import hand_back, hand_in, order
from jayul.project.problem import ManifestError
from jayul.project.stretches import stretches

ROWS = 1_000_000  # samples in one answer


class Wrong(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def runs(request: Request, query: NoQuery) -> list[Run]:  # noqa: ARG001 - the shape of a call
    """Return all runs."""
    desk: Desk = request.app.state.desk
    return [
        Run(card.id, seen.header.project if (seen := card.seen) else "", seen.state == "complete" if seen else None,
            seen.levels if seen else {})
        for card in desk.runs()
    ]  # fmt: skip


def state(screen: Screen, query: AtTick) -> State:
    """Return where a run stands."""
    timeline, number = screen.timeline, _number(screen, query.tick)
    moment = timeline.moment(number)
    decision, header = moment.tick.decision, timeline.header
    standings = timeline.standings(moment.state)
    return State(
        screen.id, header.project, number, decision.at, timeline.head, header.signatures_simulated, standings, decision.asks,
        moment.plans, screen.trouble,
    )  # fmt: skip


def values(screen: Screen, query: AtTick) -> dict[str, Reading]:
    """Return every tag that the journal keeps, as it stood at a tick."""
    moment = screen.timeline.moment(_number(screen, query.tick))
    frame = moment.frame
    found = {}
    for i, tag in enumerate(frame.table.tags):
        value = float(frame.value[i])
        shown = value if math.isfinite(value) else None
        found[tag.name] = Reading(shown, tag.unit, int(frame.status[i]), int(frame.source_at[i]), frame.fresh(tag.name))
    return found


def tags(screen: Screen, query: NoQuery) -> tuple[Tag, ...]:  # noqa: ARG001 - the shape of a call
    """Return the tags that the journal keeps."""
    return screen.timeline.table.tags


def ticks(screen: Screen, query: Since) -> list[TickSaid]:
    """Return ticks in order."""
    timeline = screen.timeline
    last = min(query.since + query.limit, len(timeline))
    return [said(screen, timeline[n]) for n in range(query.since, last)]


def said(screen: Screen, tick: Tick) -> TickSaid:
    """Return what a tick says."""
    decision, outcome = tick
    levels = {name: level.name.lower() for name, level in zip(screen.timeline.header.policies, decision.levels, strict=True)}
    events = [
        {"kind": h.event.kind, "by": h.event.by, "at": h.event.at, "id": h.event.id, "body": h.event.body, "refused": h.refused}
        for h in decision.events
    ]
    return TickSaid(decision.tick, decision.at, levels, rows(tick), decision.changes, events, outcome is None)


def samples(screen: Screen, query: Samples) -> Response:
    """Return samples of the history. How many there are is counted before one is read."""
    reader, names, n = screen.history, query.tags.split(","), 0
    end = query.start or 0
    for stretch in stretches(reader, names, query.start, query.end, ROWS // 8, query.known_at):
        n, end = n + stretch.n, stretch.high
        if n > ROWS and stretch.n == n:
            raise Wrong(
                413, _("more than {most} samples within two minutes; ask for less time or fewer tags").format(most=ROWS)
            )
        if n > ROWS:
            text = _("more than {most} samples; ask with end={end}, then from there on, or for fewer tags")
            raise Wrong(413, text.format(most=ROWS, end=stretch.low))
    table = reader.samples(names if n else [], query.start, end, query.known_at)
    sink = pa.BufferOutputStream()
    if query.form == "arrow":
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        return Response(sink.getvalue().to_pybytes(), media_type="application/vnd.apache.arrow.stream")

    at, known = (table[name].cast(pa.int64()) for name in ("source_at", "known_at"))
    plain = pa.table([table["tag"].cast(pa.string()), at, table["value"], table["status"], known],
                     names=["tag", "source_at_ns", "value", "status", "known_at_ms"])  # fmt: skip
    csv.write_csv(plain, sink)
    return Response(sink.getvalue().to_pybytes(), media_type="text/csv")


def events(request: Request, screen: Screen) -> Response:
    """Stream every tick; ids are ticks."""
    came = request.headers.get("last-event-id", "")
    if came and not came.isdecimal():
        raise Wrong(422, _("Last-Event-ID is the number of a tick"))
    first = int(came) + 1 if came else max(len(screen.timeline) - 1, 0)

    async def body() -> AsyncIterator[bytes]:
        nonlocal first
        yield b"retry: 1000\n\n"
        async for changed in screen.changes():
            if await request.is_disconnected() or not may_go_on(request):
                return
            while first < (there := len(screen.timeline)):
                upto = min(there, first + MOST)
                yield await anyio.to_thread.run_sync(_events, screen, first, upto)
                first = upto
            if not changed:
                yield b": still here\n\n"

    return StreamingResponse(body(), media_type="text/event-stream", headers=HEADERS)


def _events(screen: Screen, first: int, upto: int) -> bytes:
    return b"".join(
        event("tick", msgspec.json.encode(said(screen, screen.timeline[n])).decode(), n) for n in range(first, upto)
    )


def entered(request: Request, query: NoQuery) -> Entered:  # noqa: ARG001 - the shape of a call
    """Say who is signed in (nobody: an empty name, who may look as a viewer)."""
    session = session_of(request)
    return Entered(session.name, session.role, session.csrf)


def enter(request: Request, body: Credentials) -> Entered:
    """Sign in: the answer sets a session cookie."""
    where = request.client.host if request.client else ""
    tries = request.app.state.tries
    if not (tries.passes(f"{where}/{body.name}") and tries.passes(f"{where}/*")):
        raise Wrong(429, _("Too many tries; wait a minute."))
    found = request.app.state.accounts.enter(body.name, body.password)
    if found is None:
        raise Wrong(401, _("Name or password is wrong."))
    request.app.state.sessions.end(session_of(request))
    session: Session = request.app.state.sessions.new(*found)
    request.scope["session"] = session
    return Entered(session.name, session.role, session.csrf)


LEAST: dict[str, Role] = {"sign": "engineer"}  # of acts that an operator may not do


def act(screen: Screen, session: Session, body: Act) -> Taken:
    """Hand a person's act to the loop."""
    if not may(session.role, LEAST.get(body.act, "operator")):
        raise Wrong(403, _("your role may not do this"))
    by, signer, out = session.name, session.signer, screen.out
    try:
        match body.act:
            case "demote":
                done = [hand_in(out, None, by=by, demote=body.policy, reason=body.reason, known=waiting(screen))]
            case "hand-back":
                done = hand_back(out, screen.timeline.header, by=by, reason=body.reason)
            case "approve" | "reject" | "sign":
                told: dict[str, Any] = {"by": by, "reason": body.reason, "signer": signer, "known": waiting(screen)}
                done = [hand_in(out, body.ask, reject=body.act == "reject", **told)]
            case "limit":
                done = [
                    order(out, body.tag, {**_ends(body), "reason": body.reason}, by=by, signer=signer, known=in_force(screen))
                ]
            case "acknowledge" | "shelve" | "unshelve" | "note":
                done = [alarms.hand_in(screen, session, body.alarm, body.act, body.reason.strip(), body.hours)]
            case what:
                of = {"of": body.of} if what == "clear" and body.of not in ("", by) else {}
                wish = {what: True, "reason": body.reason, **of}
                done = [order(out, body.tag, wish, by=by, signer=signer, known=in_force(screen))]
    except ManifestError as error:
        raise Wrong(409, show.problem(error.problem)) from None
    return Taken([event.id for event in done])


def _ends(body: Act) -> dict[str, float]:
    """Return the limits that were given: both or one."""
    return {name: value for name, value in (("low", body.low), ("high", body.high)) if value is not None}


def _number(screen: Screen, tick: int | None) -> int:
    """Return the number of a tick. Raises Wrong if there is none."""
    count = len(screen.timeline)
    number = count - 1 if tick is None else tick
    if not 0 <= number < count:
        raise Wrong(404, _("there is no tick {tick}; the last is {last}").format(tick=tick or 0, last=count - 1))
    return number
