"""What stands before every page: headers that a browser keeps to, sessions, tokens against forged requests, limits of rate."""

from __future__ import annotations

import hmac
from collections import deque
from collections.abc import Callable

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request, cookie_parser
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jayul.app import texts
from jayul.app.texts import _
from jayul.app.web.accounts import Account, Role, may
from jayul.core.clock import monotonic
from jayul.record.sign import Signer, new_id

COOKIE = "jayul_session"
IDLE = 30 * 60.0  # s without a request of a person (streams do not count)
LONGEST = 12 * 3600.0  # s
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "content-security-policy": POLICY, "x-content-type-options": "nosniff", "x-frame-options": "DENY",
    "referrer-policy": "same-origin", "cross-origin-opener-policy": "same-origin", "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()", "cache-control": "no-store",
}  # fmt: skip

MOST_BODY = 1 << 20  # bytes of a request's body where no file is handed in
FILES = "/new/file"  # there it may be larger
OWN = ("cache-control", "content-security-policy")  # what a page may say otherwise: of itself, never of what it was given


class Session(msgspec.Struct):
    """Who is there. `csrf` must come with every request that changes something. `signer`: the person's open key."""

    id: str
    csrf: str
    account: Account | None = None
    signer: Signer | None = None
    began: float = 0.0
    seen: float = 0.0

    @property
    def role(self) -> str:
        """The role, "viewer" for somebody who has not signed in."""
        return self.account.role if self.account else "viewer"

    @property
    def name(self) -> str:
        """The name, empty for somebody who has not signed in."""
        return self.account.name if self.account else ""


class Sessions:
    """All sessions, in memory: a restart signs everybody out. `known`: the account of a name as it is now, if there is one.

    Of those who have not signed in `most` are kept, the newest; they never push out anybody who has.
    """

    def __init__(
        self, now: Callable[[], float] = monotonic, most: int = 10_000, known: Callable[[str], Account | None] | None = None
    ) -> None:
        self._now, self._most, self._known = now, most, known
        self._all: dict[str, Session] = {}
        self._swept = now()

    def get(self, key: str | None, *, person: bool = True) -> Session | None:
        """Return a session that has not expired; `person`: this counts as a sign of life."""
        session = self._all.get(key or "")
        if session is None:
            return None
        if self._over(session) or not self._same(session):
            self.end(session)
            return None
        if person:
            session.seen = self._now()
        return session

    def new(self, account: Account | None = None, signer: Signer | None = None) -> Session:
        """Begin a session."""
        if len(self._all) >= self._most or self._now() - self._swept > IDLE:
            self._swept = self._now()
            for each in [each for each in self._all.values() if self._over(each)]:
                self.end(each)
            nobody = [each for each in self._all.values() if each.account is None]
            for each in nobody[: max(0, len(nobody) - self._most + 1 + self._most // 10)]:
                self.end(each)
        session = Session(new_id() + new_id(), new_id() + new_id(), account, signer, self._now(), self._now())
        self._all[session.id] = session
        return session

    def _over(self, session: Session) -> bool:
        return self._now() - session.seen > IDLE or self._now() - session.began > LONGEST

    def _same(self, session: Session) -> bool:
        """Say whether the account is still there, with the same role and password."""
        return session.account is None or self._known is None or self._known(session.account.name) == session.account

    def end(self, session: Session) -> None:
        """Forget a session and its open key."""
        self._all.pop(session.id, None)


class Limit:
    """At most `count` calls by one key within `seconds`."""

    def __init__(self, count: int, seconds: float, now: Callable[[], float] = monotonic) -> None:
        self._count, self._seconds, self._now = count, seconds, now
        self._calls: dict[str, deque[float]] = {}

    def passes(self, key: str) -> bool:
        """Say whether one more call is within the limit, and count it."""
        now = self._now()
        for other in [name for name, calls in self._calls.items() if not calls or now - calls[-1] > self._seconds]:
            del self._calls[other]
        calls = self._calls.setdefault(key, deque())
        while calls and now - calls[0] > self._seconds:
            calls.popleft()
        if len(calls) >= self._count:
            return False
        calls.append(now)
        return True


class Front:
    """ASGI middleware: language, session, headers; refuses foreign hosts and requests without their token."""

    def __init__(self, app: ASGIApp, sessions: Sessions, hosts: frozenset[str], *, secure: bool) -> None:
        self._app, self._sessions, self._hosts, self._secure = app, sessions, hosts, secure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        values = cookie_parser(headers.get("cookie", ""))
        language = values.get("jayul_lang") or headers.get("accept-language", "")[:2]
        texts.here(language if language in texts.LANGUAGES else "en")
        cookie = cookie_name(headers.get("host", ""), secure=self._secure)
        session = self._sessions.get(values.get(cookie), person="/stream" not in scope["path"])
        fresh = session is None
        session = session or self._sessions.new()
        scope["session"], scope["theme"] = session, values.get("jayul_theme", "")

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                out = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    if name not in OWN or name not in out:
                        out[name] = value
                now = scope["session"]
                if fresh or now is not session:
                    out.append("set-cookie", _cookie(cookie, now.id, secure=self._secure))
            await send(message)

        refused = self._refused(scope, headers)
        await (refused or self._app)(scope, receive, dressed)

    def _refused(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        host = headers.get("host", "").rsplit(":", 1)[0].strip("[]")
        if self._hosts and host not in self._hosts:
            return PlainTextResponse(_("this address is not served here"), 421)
        origin = headers.get("origin", "")
        length = headers.get("content-length", "0")
        if scope["path"] != FILES and ("transfer-encoding" in headers or not length.isdecimal() or int(length) > MOST_BODY):
            return PlainTextResponse(_("the request is too large"), 413)
        if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            if origin and origin.split("://")[-1] != headers.get("host", ""):
                return PlainTextResponse(_("the request comes from another site"), 403)
            if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
                return PlainTextResponse(_("the request comes from another site"), 403)
        return None


def cookie_name(host: str, *, secure: bool) -> str:
    """Return what the session's cookie is called. Browsers send cookies to all ports of a host: each port has its own name.

    `host`: as the browser names it (host:port). Over TLS the name begins with `__Host-`: only this host can set such a one.
    """
    port = host.rpartition(":")[2]
    own = f"_{port}" if port.isascii() and port.isdecimal() and len(port) <= 5 else ""
    return ("__Host-" if secure else "") + COOKIE + own


def _cookie(name: str, key: str, *, secure: bool) -> str:
    return f"{name}={key}; Path=/; HttpOnly; SameSite=Strict" + ("; Secure" if secure else "")


def session_of(request: Request) -> Session:
    """Return the session of a request."""
    found: Session = request.scope["session"]
    return found


class Forbidden(Exception):
    """Not this person, or not without the token. `status` is that of HTTP."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


async def person(request: Request, least: Role) -> Session:
    """Return the session of a person who may change something. Raises Forbidden: no token, not signed in, or another role."""
    session = session_of(request)
    sent = request.headers.get("x-csrf") or str((await request.form()).get("csrf", ""))
    if not hmac.compare_digest(sent.encode(), session.csrf.encode()):
        raise Forbidden(403, _("the page is out of date; load it again"))
    if session.account is None:
        raise Forbidden(401, _("sign in first"))
    if not may(session.role, least):
        raise Forbidden(403, _("your role may not do this"))
    return session
