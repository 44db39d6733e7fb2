"""Moves: what was asked, allowed and applied, and why; what the run cost its people; the orders that are in force."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
from jayul.app.web.folds import folded
from jayul.app.web.pages.common import Page, Query, handed, instant, live, page_of, query_of, refusal, shown
from jayul.app.web.security import Forbidden, person
from jayul.core.types import Event, Tag
from jayul.project import people
from jayul.project.look import Standing
from jayul.project.moves import Move, Wanted, each
from jayul.project.problem import N_, ManifestError
from jayul.project.run import read_summary
from jayul.project.summary import Effort
from jayul.record.journal import Header

WORDS = {"allowed": N_("allowed"), "narrowed": N_("narrowed"), "refused": N_("refused")}
SHAPES = {"allowed": "✓", "narrowed": "◐", "refused": "✕"}
RECEIPTS = {
    "settled": N_("applied"), "pending": N_("not read back yet"), "overridden": N_("another value stands there"),
    "rejected": N_("the plant rejected it"), "missed": N_("not applied"), "unknown": N_("unknown"),
}  # fmt: skip
FILTERS = ("policy", "tag", "rule", "answer", "since", "until")


class Post(msgspec.Struct, frozen=True):
    """A tag that is written here: its value, the limits of its tag, the orders about it."""

    tag: Tag
    value: float
    orders: tuple[Event, ...]


class Board(msgspec.Struct, frozen=True):
    """All that the page shows."""

    lines: Page[Move]
    verdicts: dict[str, int]
    applied: int
    breaches: int
    effort: Effort
    standings: tuple[Standing, ...]
    asks: dict[str, str]
    posts: tuple[Post, ...]
    rules: tuple[str, ...]
    complete: bool


def look(screen: Screen, query: Query) -> Board:
    """Gather what the page shows."""
    zone = view.zone(screen)
    wanted = Wanted(
        query["policy"],
        query["tag"],
        query["rule"],
        query["answer"],
        instant(query["since"], zone),
        instant(query["until"], zone),
    )
    with folded(screen, query.tick) as fold:
        lines = [line for line in reversed(fold.moves.lines) if wanted.lets(line)]
        page = page_of([msgspec.structs.replace(line, states=dict(line.states)) for line in lines], query.page)
        tally, effort = fold.tally, msgspec.structs.replace(fold.effort())
        rules = tuple(sorted({line.rule for line in fold.moves.lines if line.rule}))
        number = fold.ticks - 1
    done = read_summary(screen.out)
    complete = bool(done and done.complete) or query.tick is not None
    applied = sum(row.applied for row in tally.tags.values())
    standings, asks, posts = _orders(screen, number)
    return Board(page, tally.verdicts(), applied, tally.breaches, effort, standings, asks, posts, rules, complete)


def _orders(screen: Screen, number: int) -> tuple[tuple[Standing, ...], dict[str, str], tuple[Post, ...]]:
    """Return where each policy stands, what waits for a person there, and the tags that are written with their orders."""
    timeline = screen.timeline
    if number < 0:
        return (), {}, ()
    moment = timeline.moment(number)
    orders = [event for event in moment.state.orders.values() if event.body.get("clear") is not True]
    written = dict.fromkeys(tag for seat in timeline.line.seats for tag in sorted(seat.tags) if tag in timeline.table.index)
    posts = [
        Post(timeline.table[name], moment.frame[name], tuple(event for event in orders if event.body["tag"] == name))
        for name in written
    ]
    asks = {ask.policy: str(ask.kind) for ask in moment.tick.decision.asks}
    return tuple(timeline.standings(moment.state)), asks, tuple(posts)


def why(line: Move) -> str:
    """Say why the guard answered as it did."""
    rule = _(show.RULES.get(line.rule, line.rule))
    if line.rule == "require" and line.reason:
        return show.reason(line.reason)  # it says so itself
    return f"{rule}: {show.reason(line.reason)}" if line.reason else rule


def ordered(event: Event) -> str:
    """Say what a person ordered."""
    body = event.body
    if body.get("lock"):
        return _("locked: nobody but people writes it")
    ends = [show.number(body[key]) if key in body else _("no limit") for key in ("low", "high")]
    return _("limits: {low} to {high}").format(low=ends[0], high=ends[1])


def lasted(line: Move, where: ZoneInfo) -> str:
    """Write when a line began and ended; the end has its date if that is another day."""
    begun = view.clock(line.at, where)
    if line.until <= line.tick:
        return begun
    end = view.clock(line.until_at, where)
    return f"{begun} – {end.removeprefix(begun[:11])}"


FORMS: dict[str, Any] = {
    "why": why, "ordered": ordered, "lasted": lasted, "ANSWERS": WORDS, "SHAPES": SHAPES, "RECEIPTS": RECEIPTS,
    "RULES": show.RULES,
}  # fmt: skip


def body(screen: Screen, query: Query) -> str:
    """Render what changes."""
    return view.fragment("moves_body.html", board=look(screen, query), q=query, **shown(screen, query.tick), **FORMS)


async def show_moves(request: Request, screen: Screen) -> HTMLResponse:
    """Return the page."""
    query = query_of(request, *FILTERS)

    def gather() -> tuple[str, Board]:
        return body(screen, query), look(screen, query)

    text, board = await anyio.to_thread.run_sync(gather)
    policies, tags = screen.timeline.header.policies, [post.tag.name for post in board.posts]
    return view.page(
        request,
        "moves.html",
        screen=screen,
        here="moves",
        body=text,
        q=query,
        policies=policies,
        tags=tags,
        board=board,
        **FORMS,
    )


def stream_moves(request: Request, screen: Screen) -> Response:
    """Stream the list as it changes."""
    query = query_of(request, *FILTERS)
    return live(request, screen, f"moves-{query.name}", lambda screen: body(screen, query))


async def show_line(request: Request, screen: Screen) -> HTMLResponse:
    """Return every tick of one line: asked, allowed, applied."""
    first, last = request.path_params["first"], request.path_params["last"]
    query = query_of(request, "policy", "tag")

    def gather() -> tuple[Page[int], list[Move]]:
        end = min(last + 1, len(screen.timeline))
        page = page_of(range(min(first, end), end), query.page)
        return page, each((screen.timeline[n] for n in page.lines), query["policy"], query["tag"])

    page, lines = await anyio.to_thread.run_sync(gather)
    if not page.lines:
        return view.page(request, "wrong.html", 404, screen=screen, text=_("There is no such tick."))
    values = {"page": page, "lines": lines, "q": query, "first": first, "last": last}
    return view.page(request, "move.html", here="moves", **values, **shown(screen, None), **FORMS)


def _number(text: str) -> float | None:
    """Read a limit of a form. Raises Forbidden."""
    if not text.strip():
        return None
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise Forbidden(409, _("'{text}' is no number").format(text=text[:40]))
    return value


def in_force(screen: Screen) -> tuple[Header, Sequence[Event]]:
    """Return the header of a run, and the orders of people that are in force at its newest tick."""
    timeline = screen.timeline
    return timeline.header, list(timeline.moment(len(timeline) - 1).state.orders.values()) if len(timeline) else ()


def _said(form: Mapping[str, str], by: str) -> dict[str, Any]:
    """Return what a form orders. Raises Forbidden."""
    said: dict[str, Any] = {"reason": form["reason"]} if form.get("reason") else {}
    match form.get("order"):
        case "limits":
            limits = {key: value for key in ("low", "high") if (value := _number(form.get(key, ""))) is not None}
            if not limits:
                raise Forbidden(409, _("Give a low limit, a high limit, or both."))
            if len(limits) == 2 and limits["low"] >= limits["high"]:
                raise Forbidden(409, _("The low limit is not below the high one."))
            return said | limits
        case "lock":
            return said | {"lock": True}
        case "clear":
            return said | {"clear": True} | ({"of": form["of"]} if form.get("of", by) not in ("", by) else {})
    raise Forbidden(409, _("Say what is ordered: limits, a lock, or the end of an order."))


def _sensible(tag: Tag, said: Mapping[str, Any], orders: Sequence[Event], by: str) -> None:
    """Raise Forbidden for an order that would change nothing: limits outside of the tag's range, an end without an order."""
    low, high = -math.inf if tag.low is None else tag.low, math.inf if tag.high is None else tag.high
    if any(not low <= said[key] <= high for key in ("low", "high") if key in said):
        text = _("The range of {tag} is {low} to {high}, and it stands: give limits within it.")
        raise Forbidden(409, text.format(tag=tag.name, low=view.number(tag.low), high=view.number(tag.high)))
    whose = said.get("of", by)
    standing = [
        event for event in orders if event.by == whose and event.body["tag"] == tag.name and not event.body.get("clear")
    ]
    if said.get("clear") and not standing:
        text = _("No order of {name} on {tag} is in force; one that was just given counts from the next tick on.")
        raise Forbidden(409, text.format(name=whose, tag=tag.name))


async def order(request: Request, screen: Screen) -> Response:
    """Hand a person's order about a tag to the loop: limits, lock, clear."""
    session = await person(request, "operator")
    form = {key: str(value).strip()[:500] for key, value in (await request.form()).items()}
    said = _said(form, session.name)

    def hand_in() -> Event:
        tag, known = form.get("tag", ""), in_force(screen)
        written = next((found for found in known[0].tags if found.name == tag and found.writable), None)
        if written is not None:
            _sensible(written, said, known[1], session.name)
        return people.order(screen.out, tag, said, by=session.name, signer=session.signer, known=known)

    try:
        done = await threads.act(request, hand_in)
    except ManifestError as error:
        raise refusal(error, screen) from None
    return await threads.act(request, handed, screen, [done])


def routes(on_run: Any) -> Sequence[Route]:
    """Return the routes of these pages."""
    return [
        Route("/r/{run}/moves", on_run(show_moves)),
        Route("/r/{run}/moves/stream", on_run(stream_moves)),
        Route("/r/{run}/moves/order", on_run(order), methods=["POST"]),
        Route("/r/{run}/moves/{first:int}-{last:int}", on_run(show_line)),
    ]
