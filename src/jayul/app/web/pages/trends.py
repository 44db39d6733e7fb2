"""Trends: any tags on one time axis, from the first sample to the newest; what happened marked; everything in the address."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import anyio
import msgspec
import pyarrow as pa
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from jayul.app import show
from jayul.app.texts import _, current
from jayul.app.web import replay, stream, view
from jayul.app.web.desk import Screen
from jayul.app.web.export import WRITERS, Sent
from jayul.app.web.security import Forbidden
from jayul.core.clock import monotonic
from jayul.core.types import SECOND, Tag
from jayul.project.curves import DAY, Curve, draw, extent, holds, open_ends
from jayul.project.marks import Mark, Marks
from jayul.project.problem import N_
from jayul.project.run import read_summary
from jayul.project.stretches import stretches
from jayul.project.tail import MS, Cursor, News, Tail
from jayul.record.chain import Broken
from jayul.record.history import Reader

MOST_TAGS = 12
WIDEST = 8_192  # pixel columns
MOST_MARKS = 400  # in one answer; the newest
LASTS = {"1h": 3600, "8h": 28_800, "24h": 86_400, "7d": 604_800}  # s
UNITS = {"m": 60, "h": 3600, "d": 86_400}  # s
LATEST = 2**62  # ns, 2116: later than anything
KEPT = 64  # rendered events
AT_ONCE = 250_000  # samples of an export that are in memory
BEAT = 1.0  # s after which the history is looked at although the journal said nothing
TEXTS = {
    "gap": N_("no data"), "bad": N_("bad or uncertain"), "most": N_("At most 12 tags at a time."),
    "lost": N_("The data could not be loaded: {why}"), "empty": N_("Nothing was recorded in this range."),
    "remove": N_("Remove {tag}"), "found": N_("{n} of {of} tags"), "unit": N_("without unit"), "goes": N_("goes on"),
    "more": N_("{n} earlier marks are not listed; zoom in."), "columns": N_("one column: {span}"),
    "samples": N_("every sample"), "limit": N_("limit"), "others": N_("{first} and {n} more"),
    "h": N_("{n} h"), "min": N_("{n} min"), "s": N_("{n} s"),
}  # fmt: skip
KINDS = {
    "alarm": N_("alarm"), "move": N_("move"), "level": N_("level"), "block": N_("block"), "person": N_("person"),
}  # fmt: skip
ACTS = {
    "approval": N_("approved"), "rejection": N_("rejected"), "signature": N_("signed"), "demotion": N_("demoted"),
    "override": N_("override"), "limit": N_("limit set"), "stop": N_("stopped"), "configuration": N_("configuration"),
    "note": N_("note"),
}  # fmt: skip


class Live:
    """What is kept of a run while its trends are looked at."""

    def __init__(self, screen: Screen) -> None:
        self.reader, self.lock = Reader(screen.out / "history"), threading.Lock()
        self.marks = Marks(screen.timeline)
        self.tail = Tail(screen.out / "history", screen.timeline.span()[1] - 10 * SECOND)
        self._looked, self._version = -BEAT, -1
        self._made: dict[tuple[int, tuple[str, ...], str], bytes] = {}

    def look(self, version: int) -> None:
        """Look for what is new, once for all who follow."""
        if version != self._version or monotonic() - self._looked >= BEAT:
            self._version, self._looked = version, monotonic()
            self.marks.refresh()
            if self.tail.read():
                self._made = {}

    def event(self, news: News, tags: tuple[str, ...], since: int | None) -> bytes:
        """Return the event of what is new; rendered once for all who follow the same tags."""
        key, made = (news.number, tags, current()), self._made
        if since is None and key in made:
            return made[key]
        marks = [said(mark) for mark in self.marks.between(max(since or 0, news.since) * MS, news.known * MS)]
        body = {"newest": self.marks.newest(), "tags": news.of(tags, since), "marks": marks}
        found = _event("trend", msgspec.json.encode(body).decode(), self.tail.after(news))
        if since is None and len(made) < KEPT:  # what somebody asks for alone is not kept
            made[key] = found
        return found

    def ticked(self, told: int, cursor: Cursor) -> bytes:
        """Return the event of a run that ticks without a new sample: what happened since a time (ns)."""
        newest = self.marks.newest()
        marks = [said(mark) for mark in self.marks.between(told, newest)]
        return _event("trend", msgspec.json.encode({"newest": newest, "tags": {}, "marks": marks}).decode(), cursor)


def _event(name: str, data: str, cursor: Cursor) -> bytes:
    return f"id: {cursor}\n".encode() + stream.event(name, data)


_LIVE: WeakKeyDictionary[Screen, Live] = WeakKeyDictionary()


def live_of(screen: Screen) -> Live:
    """Return what is kept of a run."""
    if screen not in _LIVE:
        _LIVE.setdefault(screen, Live(screen))  # requests that come at once share one
    return _LIVE[screen]


class Asked(msgspec.Struct, frozen=True):
    """What an address asks for. Times in ns; `last`: up to the newest, and follow it; `until`: nothing from then on (a replay)."""

    tags: tuple[Tag, ...]
    low: int
    high: int
    last: str
    until: int = LATEST

    @property
    def known_at(self) -> int | None:
        """What is shown was known then (ns): the history rounds that up to whole milliseconds."""
        return None if self.until == LATEST else -((1 - self.until) // MS) * MS


def asked(request: Request, screen: Screen) -> Asked:
    """Read tags and range of an address. Raises Forbidden with what is wrong."""
    query = request.query_params
    table, names = screen.timeline.table, list[str]()
    for text in query.getlist("tags"):
        names += [text] if text in table.index or text in _others(screen, text) else [name for name in text.split(",") if name]
    names = list(dict.fromkeys(names))
    if len(names) > MOST_TAGS:
        raise Forbidden(400, _("At most 12 tags at a time."))
    found = [table.get(name) or next(iter(_others(screen, name).values()), None) for name in names]
    if unknown := [name for name, tag in zip(names, found, strict=True) if tag is None]:
        raise Forbidden(400, no_tag(unknown[0]))
    begin, newest = screen.timeline.span()
    played = replay.of(request, screen)
    newest, until = (played.at, played.at + 1) if played else (newest, LATEST)
    if query.get("from") and query.get("to"):
        low, high, last = instant(query["from"]), instant(query["to"]), ""
    else:
        last = query.get("last", "8h")
        low, high = (begin, newest) if last == "all" else (newest - length(last), newest)
    if high < low or abs(low) > LATEST or abs(high) > LATEST:
        raise Forbidden(400, _("'to' must be later than 'from'"))
    return Asked(tuple(tag for tag in found if tag), low, high + (last != ""), last, until)


def no_tag(name: str) -> str:
    """Say that there is no such tag."""
    return _("there is no tag '{tag}' in this run").format(tag=name[:100])


def instant(text: str) -> int:
    """Return a time in ns: digits are ns, else ISO 8601 (UTC if it names no zone). Raises Forbidden."""
    try:
        if text.lstrip("-").isdigit():
            return int(text)
        at = dt.datetime.fromisoformat(text.replace(" ", "+"))
        at = at if at.tzinfo else at.replace(tzinfo=dt.UTC)
        return (at - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1) * 1000
    except (ValueError, OverflowError):
        raise Forbidden(400, _("'{text}' is not a time; write 2026-01-31T08:00:00Z").format(text=text[:40])) from None


def length(text: str) -> int:
    """Return a duration such as 8h in ns. Raises Forbidden."""
    if text[:-1].isdigit() and text[-1:] in UNITS and 0 < int(text[:-1]) < 100_000:
        return int(text[:-1]) * UNITS[text[-1]] * SECOND
    raise Forbidden(400, _("'{text}' is not a duration; write 8h, 7d or all").format(text=text[:40]))


def known_tags(screen: Screen) -> list[Tag]:
    """Return the tags that can be drawn: those that the journal keeps, and others that stand in the history."""
    return [*screen.timeline.table.tags, *_others(screen).values()]


_NAMES: WeakKeyDictionary[Screen, list[str]] = WeakKeyDictionary()


def _others(screen: Screen, name: str | None = None) -> dict[str, Tag]:
    """Return the tags (or the one) of the history that the journal does not keep; read once, as that takes a while."""
    live = live_of(screen)
    with live.lock:
        if not _NAMES.get(screen) or (name is not None and name not in _NAMES[screen]):
            _NAMES[screen] = live.reader.downsample(step=DAY)["tag"].unique().to_pylist()  # quicker than from all samples
        index = screen.timeline.table.index
        return {n: Tag(name=n, unit="") for n in _NAMES[screen] if n not in index and name in (None, n)}


def said(mark: Mark) -> dict[str, Any]:
    """Return a mark with its words in the reader's language."""
    before, after = mark.before, mark.after
    if mark.kind == "level":
        short, reason = _(show.LEVELS[str(after)]), _(show.REASONS.get(mark.what, mark.what))
        text = f"{mark.who}: {_(show.LEVELS[str(before)])} → {short} ({reason})"
    elif mark.kind == "block":
        short = _(ARMS[mark.what])
        text = _("{policy}: block {n}, {arm}").format(policy=mark.who, n=mark.count, arm=short)
    elif mark.kind == "move":
        to = view.number(after if isinstance(after, float) else None)
        short = f"{mark.tag} → {to}"
        text = _("{policy}: {tag} → {to} in {n} writes, {state}").format(
            policy=mark.who, tag=mark.tag, to=to, n=mark.count, state=_(STATES.get(mark.what, mark.what))
        )
    elif mark.kind == "person":
        short = _(ACTS.get(mark.what, mark.what))
        text = f"{show.who(mark.who)}: {short}" + (f" ({mark.tag})" if mark.tag else "")
    else:
        short = text = mark.tag
    return {
        "kind": mark.kind, "word": _(KINDS[mark.kind]), "at": mark.at, "until": mark.until, "open": mark.open, "what": mark.what,
        "tag": mark.tag, "who": mark.who, "short": short, "text": text,
    }  # fmt: skip


ARMS = {"on": N_("on"), "off": N_("off"), "planned": N_("planned, not driven")}
STATES = {
    "settled": N_("settled"), "pending": N_("pending"), "overridden": N_("overridden"), "rejected": N_("rejected"),
    "missed": N_("missed"), "unknown": N_("unknown"),
}  # fmt: skip


class Shown(msgspec.Struct, frozen=True):
    """The answer to a question for data. Times in ns UTC; `known`: the stream goes on from there."""

    low: int
    high: int
    known: str
    newest: int
    curves: list[Curve]
    marks: list[dict[str, Any]]
    unlisted: int


def gather(screen: Screen, asks: Asked, width: int) -> bytes:
    """Return curves and marks as JSON. Raises Broken, OSError."""
    live = live_of(screen)
    live.look(screen.version)
    known, low, high = str(live.tail.cursor), asks.low, asks.high
    names = [tag.name for tag in asks.tags]
    with live.lock:
        if asks.last == "all" and names:
            low, high = extent(live.reader, names, (low, high))
            high = min(high, asks.until)
        silences, end = live.marks.silences(SECOND), min(high, asks.until)
        columns = max(width * (end - low) // max(high - low, 1), 16)
        drawn = draw(live.reader, asks.tags, low, end, columns, silences, asks.known_at) if names and end > low else []
    newest = min(live.marks.newest(), asks.until)
    begin = max(low, screen.timeline.span()[0])
    curves = [
        open_ends(tag, _before(curve, asks.until), begin, min(end, newest))
        for tag, curve in zip(asks.tags, drawn, strict=bool(drawn))
    ]
    marks = [_till(mark, asks.until) for mark in live.marks.between(low, end)]
    listed = [said(mark) for mark in marks[-MOST_MARKS:]]
    return msgspec.json.encode(Shown(low, high, known, newest, curves, listed, len(marks) - len(listed)))


def _before(curve: Curve, until: int) -> Curve:
    """Return a curve without what came at a time or later; a column that holds some of it goes as a whole."""
    n = sum(at + curve.step <= until - (not curve.step) for at in curve.at)
    bad, gaps = ([(a, min(b, until)) for a, b in spans if a < until] for spans in (curve.bad, curve.gaps))
    return msgspec.structs.replace(
        curve, at=curve.at[:n], value=curve.value[:n], min=curve.min[:n], max=curve.max[:n], bad=bad, gaps=gaps
    )


def _till(mark: Mark, until: int) -> Mark:
    """Return a mark as it stood at a time: what ended later still goes on."""
    return mark if mark.until < until else msgspec.structs.replace(mark, until=until - 1, open=True)


async def data(request: Request, screen: Screen) -> Response:
    """Return curves and marks of a range as JSON."""
    try:
        asks = await anyio.to_thread.run_sync(asked, request, screen)
        width = min(max(int(request.query_params.get("width", "1200")), 16), WIDEST)
        return Response(await anyio.to_thread.run_sync(gather, screen, asks, width), media_type="application/json")
    except Forbidden as error:
        return JSONResponse({"error": str(error)}, error.status)
    except ValueError:
        return JSONResponse({"error": _("'width' must be a whole number of pixels")}, 400)
    except (Broken, OSError) as error:
        return JSONResponse({"error": _("the history cannot be read: {why}").format(why=error)}, 500)


async def tags(request: Request, screen: Screen) -> Response:  # noqa: ARG001 - the shape of a handler
    """Return the tags that can be drawn, as JSON."""
    found = await anyio.to_thread.run_sync(known_tags, screen)
    rows = [
        {
            "name": tag.name, "unit": "" if tag.unit == "1" else tag.unit, "kind": tag.kind, "low": tag.low, "high": tag.high,
            "description": tag.description, "stale_after": tag.stale_after,
            "states": {str(code): show.state(tag, code) for code in tag.states},
            "holds": holds(tag),
        }
        for tag in found
    ]  # fmt: skip
    return Response(msgspec.json.encode(rows), media_type="application/json")


async def follow(request: Request, screen: Screen) -> Response:
    """Stream what becomes known of tags after a cursor: the Last-Event-ID, or `since` (also a time in ms, from which on).

    Every sample comes once. The cursor of a server before this one counts as its time: what was known at it may come again.
    """
    try:
        asks = await anyio.to_thread.run_sync(asked, request, screen)
        live, names = live_of(screen), tuple(sorted(tag.name for tag in asks.tags))
        text = request.headers.get("last-event-id") or request.query_params.get("since")
        since = Cursor.of(text) if text else live.tail.cursor
    except Forbidden as error:
        return JSONResponse({"error": str(error)}, error.status)
    except ValueError:
        return JSONResponse({"error": _("'since' is a time in milliseconds, or the id of an event")}, 400)

    async def body() -> AsyncIterator[bytes]:
        cursor, quiet, told, told_at = since, 0.0, live.marks.newest(), monotonic()
        yield b"retry: 1000\n\n"
        async for _changed in screen.changes(BEAT):
            if await request.is_disconnected() or not stream.may_go_on(request):
                return
            await anyio.to_thread.run_sync(live.look, screen.version)
            news = live.tail.since(cursor)
            if news is None:  # away for too long: what was missed is read again as a whole
                cursor = live.tail.cursor
                yield _event("again", "{}", cursor)
            for part, at in news or ():
                yield live.event(part, names, at)
                cursor = live.tail.after(part)
            newest = live.marks.newest()
            if not news and newest > told and monotonic() - told_at >= 2 * BEAT:  # the run ticks, but nothing is recorded
                yield live.ticked(told, cursor)
            if news or monotonic() - told_at >= 2 * BEAT:
                told, told_at = newest, monotonic()
            quiet = 0.0 if news else quiet + BEAT
            if quiet >= 10:
                yield stream.BEAT
                quiet = 0.0
            await anyio.sleep(1 / stream.MOST)

    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(body(), media_type="text/event-stream", headers=headers)


async def export(request: Request, screen: Screen) -> Response:
    """Return the samples of a range as a file, every value as it was recorded."""
    form = request.query_params.get("format", "csv")
    if form not in WRITERS:
        return JSONResponse({"error": _("'format' is csv or parquet")}, 400)
    try:
        asks = await anyio.to_thread.run_sync(asked, request, screen)
    except Forbidden as error:
        return JSONResponse({"error": str(error)}, error.status)
    name = f"trends.{form}"
    media = "text/csv" if form == "csv" else "application/vnd.apache.parquet"
    return Sent(WRITERS[form](_rows(screen, asks)), media, {"content-disposition": f'attachment; filename="{name}"'})


def _rows(screen: Screen, asks: Asked) -> Iterator[pa.Table]:
    """Yield the samples of each tag, so many at a time, with their unit."""
    reader = Reader(screen.out / "history")
    names = [tag.name for tag in asks.tags]
    low, high = extent(reader, names, (asks.low, asks.high)) if asks.last == "all" and names else (asks.low, asks.high)
    for tag in asks.tags:
        for part in stretches(reader, [tag.name], low, min(high, asks.until), AT_ONCE, asks.known_at):
            table = reader.samples([tag.name], part.low, part.high, asks.known_at)
            if table.num_rows:
                yield table.append_column("unit", pa.repeat(tag.unit, table.num_rows))


async def show_trends(request: Request, screen: Screen) -> Response:
    """Return the page."""
    texts = {key: _(text) for key, text in TEXTS.items()}
    first = [tag.name for tag in screen.timeline.table.tags[:4]]
    begin, newest = screen.timeline.span()
    done = read_summary(screen.out)
    return view.page(
        request, "trends.html", screen=screen, here="trends", texts=texts, first=first, zone=view.zone(screen).key,
        complete=bool(done and done.complete),
        last="8h" if newest - begin >= length("8h") else "all",
        lasts=(("1h", _("1 h")), ("8h", _("8 h")), ("24h", _("24 h")), ("7d", _("7 d")), ("all", _("All"))),
    )  # fmt: skip
