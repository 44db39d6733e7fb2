"""Replay: any page of a run as it was at a tick. The address holds tick and speed; the pace comes from the server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import StreamingResponse

from jayul.app.web import stream
from jayul.app.web.desk import NotYet, Screen
from jayul.core.clock import monotonic
from jayul.project.notable import KINDS, Notable

SPEEDS = (1, 10, 60, 600, 3_600, 10_000)
PAGES = ("now", "trends", "alarms", "moves", "evidence")  # that show any tick
QUIET = 10.0  # s without a new tick after which the stream says that it is there
RAIL = 1_000  # places on the rail of marks


class Replay(msgspec.Struct, frozen=True):
    """What is replayed: the tick, of how many, its time (ns UTC), the speed (0: it stands still), what happened around it."""

    path: str
    given: dict[str, str]  # of the address, without tick and speed
    tick: int
    last: int
    at: int
    speed: float
    before: int | None
    after: int | None
    rail: dict[str, tuple[int, ...]]
    counts: dict[str, int]

    def url(self, tick: int | None = None, speed: float = 0) -> str:
        """Return the address of this page at a tick; it plays if a speed is given."""
        return f"{self.path}?{urlencode({**self.given, **self._position(self.tick if tick is None else tick, speed)})}"

    @property
    def live(self) -> str:
        """The address of this page as it is now."""
        return self.path + (f"?{urlencode(self.given)}" if self.given else "")

    def carried(self, page: str) -> str:
        """Return what another page's address takes with it."""
        return f"?{urlencode(self._position(self.tick, self.speed))}" if page in PAGES else ""

    @staticmethod
    def _position(tick: int, speed: float) -> dict[str, str]:
        return {"tick": str(tick), **({"speed": f"{speed:g}"} if speed else {})}


def of(request: Request, screen: Screen) -> Replay | None:
    """Return what an address asks to be replayed; None where the run is to be seen as it is now."""
    asked = _whole(request.query_params.get("tick", ""))
    timeline = screen.timeline
    if asked is None or not len(timeline):
        return None
    last = len(timeline) - 1
    tick = min(asked, last)
    given = {key: value for key, value in request.query_params.items() if key not in ("tick", "speed")}
    marks = timeline.marks
    return Replay(
        request.url.path, given, tick, last, timeline.time_of(tick), _speed(request), marks.before(tick), marks.after(tick),
        _rail(marks, last), {kind: len(ticks) for kind, ticks in marks.by_kind.items()},
    )  # fmt: skip


def _whole(text: str) -> int | None:
    return int(text[:12]) if text.isascii() and text.isdecimal() else None


def _speed(request: Request) -> float:
    wanted = _whole(request.query_params.get("speed", "")) or 0
    return float(min(wanted, SPEEDS[-1]))


def _rail(marks: Notable, last: int) -> dict[str, tuple[int, ...]]:
    """Return the places of the marks on the rail, each once."""
    return {kind: marks.rail(kind, last, RAIL) for kind in KINDS}


def played(request: Request, screen: Screen) -> StreamingResponse:
    """Stream the tick that is to be shown, at the speed of the address, until the newest. One that comes back goes on there."""
    timeline, speed = screen.timeline, _speed(request) or 1.0
    first = _whole(request.headers.get("last-event-id", "")) or _whole(request.query_params.get("tick", "")) or 0
    period = timeline.line.period / 1e9

    async def body() -> AsyncIterator[bytes]:
        yield b"retry: 1000\n\n"
        began, shown, said = monotonic(), -1, monotonic()
        while not await request.is_disconnected() and stream.may_go_on(request):
            with contextlib.suppress(NotYet):
                await screen.ready()
            last = len(timeline) - 1
            tick = min(first + int((monotonic() - began) * speed / period), last)
            if tick != shown:
                yield stream.event("at", str(tick), tick)
                shown, said = tick, monotonic()
            elif monotonic() - said > QUIET:
                yield stream.BEAT
                said = monotonic()
            if tick >= last:
                yield stream.event("end", str(last), last)
                return
            await anyio.sleep(1 / stream.MOST)

    return StreamingResponse(body(), media_type="text/event-stream", headers=stream.HEADERS)
