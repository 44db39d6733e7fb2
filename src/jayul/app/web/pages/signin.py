"""Sign in and out."""

from __future__ import annotations

import hmac

import anyio
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from jayul.app.texts import _
from jayul.app.web import view
from jayul.app.web.accounts import Accounts
from jayul.app.web.security import Forbidden, Sessions, session_of


def show_signin(request: Request) -> Response:
    """Return the page."""
    return view.page(request, "signin.html", then=_then(request.query_params.get("then", "/")), trouble="", name="")


def _then(path: str) -> str:
    return path if path.startswith("/") and not path.startswith("//") and "\\" not in path else "/"


async def sign_in(request: Request) -> Response:
    """Let a person in: a new session, so that one that was planted before is worth nothing."""
    form, session = await request.form(), session_of(request)
    name, password, then = (str(form.get(key, "")) for key in ("name", "password", "then"))
    if not hmac.compare_digest(str(form.get("csrf", "")).encode(), session.csrf.encode()):
        raise Forbidden(403, _("the page is out of date; load it again"))
    where = request.client.host if request.client else ""
    if not (request.app.state.tries.passes(f"{where}/{name[:100]}") and request.app.state.tries.passes(f"{where}/*")):
        return view.page(
            request, "signin.html", 429, then=_then(then), name=name[:100], trouble=_("Too many tries; wait a minute.")
        )
    accounts: Accounts = request.app.state.accounts
    found = await anyio.to_thread.run_sync(accounts.enter, name, password[:1000])
    if found is None:
        return view.page(
            request, "signin.html", 401, then=_then(then), name=name[:100], trouble=_("Name or password is wrong.")
        )
    sessions: Sessions = request.app.state.sessions
    sessions.end(session)
    request.scope["session"] = sessions.new(*found)
    return RedirectResponse(_then(then), 303)


async def sign_out(request: Request) -> Response:
    """Forget the session and its open key."""
    form, session = await request.form(), session_of(request)
    if hmac.compare_digest(str(form.get("csrf", "")).encode(), session.csrf.encode()):
        request.app.state.sessions.end(session)
        request.scope["session"] = request.app.state.sessions.new()
    return RedirectResponse("/", 303)
