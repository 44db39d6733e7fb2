"""Server-sent events. What many look at is rendered once; a client that comes back says how far it had come (Last-Event-ID)."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from weakref import WeakKeyDictionary

import anyio
from starlette.requests import Request
from starlette.responses import StreamingResponse

from jayul.app.texts import current
from jayul.app.web.desk import NotYet, Screen, patience
from jayul.app.web.security import session_of

HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
MOST = 2.0  # pages a second, however fast a simulated plant runs
KEPT = 64  # renderings of a run
BEAT = b"event: beat\ndata:\n\n"  # nothing is new; a page that hears nothing for long says so


def event(name: str, data: str, number: int | None = None) -> bytes:
    """Return one event as it goes over the wire."""
    head = f"event: {name}\n" + (f"id: {number}\n" if number is not None else "")
    return (head + "".join(f"data: {line}\n" for line in re.split(r"\r\n|\r|\n", data)) + "\n").encode()


class _View:
    """One rendering: of which version of the run, its text, the event. Who renders holds the lock; others are not held up."""

    def __init__(self) -> None:
        self.version, self.text, self.event, self.lock = -1, "", b"", anyio.Lock()


class Rendered:
    """The newest rendering of a view, made once for all who look at it in one language (and one role, if it depends on that)."""

    def __init__(self) -> None:
        self._runs: WeakKeyDictionary[Screen, OrderedDict[tuple[str, str, str], _View]] = WeakKeyDictionary()

    async def get(self, screen: Screen, view: str, render: Callable[[Screen], str], role: str = "") -> bytes:
        """Return the event of a view as it is now: the very same object as before if nothing on it changed."""
        views, key = self._runs.setdefault(screen, OrderedDict()), (view, current(), role)
        found = views.setdefault(key, _View())
        views.move_to_end(key)
        while len(views) > KEPT:
            views.popitem(last=False)
        async with found.lock:
            version = screen.version
            if found.version != version:
                text = await anyio.to_thread.run_sync(render, screen)
                if text != found.text or not found.event:
                    found.text, found.event = text, event(view, text, len(screen.timeline) - 1)
                found.version = version
            return found.event


def may_go_on(request: Request) -> bool:
    """Say whether who looks may still look: a stream ends with the session of who began it."""
    state, session = request.app.state, session_of(request)
    if session.account is None:
        return not state.config.private
    return state.sessions.get(session.id, person=False) is not None


def pages(
    request: Request, screen: Screen, view: str, render: Callable[[Screen], str], made: Rendered, role: str = ""
) -> StreamingResponse:
    """Stream a view of a run: the whole of it at once, then whenever something changed. `role`: for whom it is rendered."""

    async def body() -> AsyncIterator[bytes]:
        yield b"retry: 1000\n\n"
        sent = None
        async for changed in screen.changes():
            if await request.is_disconnected() or not may_go_on(request):
                return
            found = sent
            if changed or sent is None:
                before = patience.set(0.0)  # what is still being made comes with a later turn
                try:
                    found = await made.get(screen, view, render, role)
                except NotYet:
                    found = None
                finally:
                    patience.reset(before)
            yield found if found is not None and found is not sent else BEAT
            sent = found
            await anyio.sleep(1 / MOST)

    return StreamingResponse(body(), media_type="text/event-stream", headers=HEADERS)
