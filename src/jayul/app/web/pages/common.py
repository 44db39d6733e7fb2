"""What the pages of the record share: filters in an address, pages of a list, times in the plant's zone, live parts."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, StreamingResponse

from jayul.app import show
from jayul.app.texts import _
from jayul.app.web import stream, view
from jayul.app.web.desk import Screen
from jayul.app.web.security import Forbidden
from jayul.core.types import Event
from jayul.project.problem import ManifestError

SIZE = 100  # lines on a page
LATELY, MOST_ACTS = 500, 50  # ticks in which an act is looked for, and how many of one click
T = TypeVar("T")
MADE = stream.Rendered()


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list: `number` counts from 1, `first` is the place of its first line."""

    lines: tuple[T, ...]
    number: int
    pages: int
    total: int
    first: int


def page_of(lines: Sequence[T], number: int, size: int = SIZE) -> Page[T]:
    """Return a page; one that is not there becomes the nearest that is."""
    pages = max(1, -(-len(lines) // size))
    number = min(max(number, 1), pages)
    first = (number - 1) * size
    return Page(tuple(lines[first : first + size]), number, pages, len(lines), first + 1)


class Query(msgspec.Struct, frozen=True):
    """What an address asks for: filters by name (those that are not empty), the page, the tick of a replay."""

    given: dict[str, str]
    page: int = 1
    tick: int | None = None

    def __getitem__(self, name: str) -> str:
        return self.given.get(name, "")

    def but(self, **changed: object) -> str:
        """Return the address' query with some of it changed; an empty value takes a filter away, a new filter goes to page 1."""
        rest = {**self.given, **({"tick": str(self.tick)} if self.tick is not None else {})}
        rest |= {name: str(value) for name, value in changed.items()}
        return "?" + urlencode({name: value for name, value in rest.items() if value})

    @property
    def name(self) -> str:
        """A short name of this query, the same for the same query."""
        text = repr((sorted(self.given.items()), self.page, self.tick))
        return hashlib.blake2s(text.encode(), digest_size=6).hexdigest()


def query_of(request: Request, *names: str) -> Query:
    """Read the filters of these names from an address."""
    found = {name: request.query_params.get(name, "").strip()[:200] for name in names}
    page, tick = (request.query_params.get(name, "") for name in ("page", "tick"))
    return Query(
        {name: value for name, value in found.items() if value}, int(page[:9]) if page.isdecimal() else 1,
        int(tick[:12]) if tick.isdecimal() else None,
    )  # fmt: skip


def instant(text: str, zone: ZoneInfo) -> int:
    """Read the time of a form (plant time) as ns UTC; 0 if it is none."""
    try:
        return int(dt.datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()) * 1_000_000_000
    except (ValueError, OverflowError):
        return 0


def live(request: Request, screen: Screen, name: str, render: Any, role: str = "") -> StreamingResponse:
    """Stream a part of a page under an event's name; `role`: for whom it is rendered, if that matters."""
    return stream.pages(request, screen, name, render, MADE, role)


def refusal(error: ManifestError, screen: Screen) -> Forbidden:
    """Return what a person is told whose act cannot be taken: neither the run's folder nor an option of a command before it."""
    found = error.problem
    plain = found.file == str(screen.out) or found.file.startswith("--")
    return Forbidden(409, show.mistake(found) if plain else show.problem(found))


def handed(screen: Screen, events: Sequence[Event]) -> HTMLResponse:
    """Say that acts were handed to the loop; what becomes of them follows."""
    return HTMLResponse(_told(screen, [event.id for event in events], len(screen.timeline)))


def told(request: Request, screen: Screen) -> HTMLResponse:
    """Say what became of acts by now."""
    ids, since = request.query_params.get("ids", "").split(","), request.query_params.get("since", "")
    return HTMLResponse(_told(screen, ids[:MOST_ACTS], int(since[:12]) if since.isascii() and since.isdecimal() else 0))


def _told(screen: Screen, ids: Sequence[str], since: int) -> str:
    timeline, found = screen.timeline, dict[str, tuple[int, str]]()
    for n in range(max(since, len(timeline) - LATELY), len(timeline)):
        found |= {heard.event.id: (n, heard.refused) for heard in timeline[n].decision.events if heard.event.id in ids}
    refused = [(n, reason) for n, reason in found.values() if reason]
    if refused:
        n, reason = refused[0]
        text = _("It does not count (tick {n}): {reason}").format(n=n, reason=_(show.REASONS.get(reason, reason)))
    elif len(found) == len(set(ids)):
        text = _("The loop has taken it (tick {n}).").format(n=max(n for n, _refused in found.values()))
    elif screen.standing == "stopped":
        text = _("Handed in, but no process works on this run: it counts only once the run goes on.")
    else:
        text = _("Handed in; the loop takes it at its next tick.")
    waits = not refused and len(found) < len(set(ids))
    return view.fragment(
        "told.html", text=text, waits=waits, trouble=bool(refused), screen=screen, ids=",".join(ids), since=since
    )


def shown(screen: Screen, number: int | None) -> dict[str, Any]:
    """Return what every part of a page is rendered with."""
    return {"screen": screen, "zone": view.zone(screen), "number": number}
