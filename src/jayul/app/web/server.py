"""The app: routes, and what stands before them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from jayul.app import show
from jayul.app.texts import LANGUAGES, _
from jayul.app.web import replay, threads, view
from jayul.app.web.accounts import Accounts
from jayul.app.web.api import routes as api
from jayul.app.web.desk import Desk, NoTick, NotYet, Screen, patience
from jayul.app.web.drafts import Drafts
from jayul.app.web.pages import alarms, chain, evidence, moves, new, now, papers, projects, signin, trends
from jayul.app.web.pages.common import told
from jayul.app.web.security import Forbidden, Front, Limit, Sessions, session_of
from jayul.app.web.works import Works
from jayul.project.problem import ManifestError
from jayul.record.journal import Corrupt
from jayul.record.sign import key_folder

PATIENCE = 1.0  # s that a page waits for a run to be read, before it says how far that is
Handler = Callable[[Request, Screen], Response | Awaitable[Response]]


class Config(msgspec.Struct, frozen=True):
    """How to serve. `roots`: folders with runs. `hosts`: names that it answers to (empty: any). `private`: sign in to look.

    `accounts`, `state`: the file of accounts, and the folder of what the server keeps for itself (both in the key folder if None).
    """

    roots: tuple[Path, ...]
    hosts: frozenset[str] = frozenset(("localhost", "127.0.0.1", "::1"))
    private: bool = False
    secure: bool = False
    accounts: Path | None = None
    state: Path | None = None


def create(config: Config) -> Starlette:
    """Make the app."""
    desk, accounts = Desk(config.roots), Accounts(config.accounts)
    sessions = Sessions(known=lambda name: accounts.all().get(name))

    def on_run(handler: Handler, *, unread: bool = False) -> Callable[[Request], Awaitable[Response]]:
        """Find the run that an address names, and read it, which `unread` leaves to the handler."""

        async def on(request: Request) -> Response:
            if config.private and session_of(request).account is None:
                return RedirectResponse(f"/signin?then={request.url.path}", 303)
            screen = await threads.act(request, desk.screen, request.path_params["run"])
            if screen is None:
                return view.page(request, "wrong.html", 404, text=_("There is no such run."))
            try:
                if not unread:
                    patience.set(None if "text/event-stream" in request.headers.get("accept", "") else PATIENCE)
                    await screen.ready()
                    if not len(screen.timeline):
                        raise NoTick
                patience.set(PATIENCE)
                found = handler(request, screen)
                answer = found if isinstance(found, Response) else await found
                return Response(headers={"hx-refresh": "true"}) if _asks_again(request) else answer
            except NotYet as error:
                return _not_yet(request, screen, error)

        return on

    routes = [
        Route("/", projects.show_projects),
        Route("/projects/stream", projects.projects_stream),
        Route("/projects/log/{run}", projects.show_log),
        Route("/projects/{what:str}", projects.work, methods=["POST"]),
        Route("/new", new.show_source),
        Route("/new/file", new.take_file, methods=["POST"]),
        Route("/new/address", new.take_address, methods=["POST"]),
        Route("/new/{draft}/create", new.create, methods=["POST"]),
        Route("/new/{draft}/{step}", new.show_step),
        Route("/new/{draft}/{step}", new.take_step, methods=["POST"]),
        Route("/signin", signin.show_signin),
        Route("/signin", signin.sign_in, methods=["POST"]),
        Route("/signout", signin.sign_out, methods=["POST"]),
        Route("/language/{language}", _language),
        Route("/theme/{theme}", _theme),
        Route("/r/{run}", on_run(lambda request, screen: RedirectResponse(f"/r/{screen.id}/now", 307))),
        Route("/r/{run}/now", on_run(now.show_now)),
        Route("/r/{run}/now/stream", on_run(now.follow)),
        Route("/r/{run}/trends", on_run(trends.show_trends)),
        Route("/r/{run}/trends/data", on_run(trends.data)),
        Route("/r/{run}/trends/tags", on_run(trends.tags)),
        Route("/r/{run}/trends/stream", on_run(trends.follow)),
        Route("/r/{run}/trends/export", on_run(trends.export)),
        Route("/r/{run}/replay/stream", on_run(replay.played)),
        Route("/r/{run}/told", on_run(told, unread=True)),
        Route("/r/{run}/act/{act:str}", on_run(now.act, unread=True), methods=["POST"]),
        *alarms.routes(on_run),
        *moves.routes(on_run),
        *evidence.routes(on_run),
        *chain.routes(on_run),
        *papers.routes(on_run),
        *api.routes(),
        Mount("/static", StaticFiles(packages=[("jayul.app.web", "static")])),
    ]

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        desk.close()

    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[Middleware(Front, sessions=sessions, hosts=config.hosts, secure=config.secure)],
        exception_handlers={Forbidden: _forbidden, ManifestError: _mistake, Corrupt: _damaged, OSError: _disk, 404: _missing},  # type: ignore[dict-item]
    )
    app.state.desk, app.state.sessions, app.state.accounts, app.state.config = desk, sessions, accounts, config
    app.state.threads = threads.Threads()
    own = config.state or key_folder() / "web"
    app.state.tries, app.state.works, app.state.drafts = Limit(8, 60.0), Works(own / "logs"), Drafts(own / "drafts")
    return app


def _forbidden(request: Request, error: Forbidden) -> Response:
    if request.headers.get("hx-request"):
        return HTMLResponse(view.fragment("said.html", text=str(error)), error.status, headers={"hx-reswap": "innerHTML"})
    return view.page(request, "wrong.html", error.status, text=str(error))


def _asks_again(request: Request) -> bool:
    """Say whether it is the page that says how far the reading has come, which asks whether it may give way."""
    return request.headers.get("hx-target") == "reading"


def _not_yet(request: Request, screen: Screen, error: NotYet) -> Response:
    """Say how far the reading of a run has come; the page follows by itself, and its run can be handed back meanwhile."""
    done = {"n": f"{error.done:,}", "all": f"{error.ticks:,}"}
    if request.method != "GET" or ("text/html" not in request.headers.get("accept", "") and not _asks_again(request)):
        late = _("This run is being read: {n} of {all} ticks. Try again.").format(**done)
        if request.method == "GET":
            return JSONResponse({"error": late}, 503, headers={"retry-after": "1"})
        return _forbidden(request, Forbidden(503, late))
    text = _("This run is being read: {n} of {all} ticks. The page follows by itself.").format(**done)
    values = {
        "text": _("This run has no tick yet. The page follows by itself.") if isinstance(error, NoTick) else text,
        "error": error,
    }
    if _asks_again(request):
        return HTMLResponse(view.fragment("reading_body.html", **values), 202)
    past = "tick" in request.query_params
    return view.page(
        request, "reading.html", 202, query=request.url.query, run=screen.timeline.header.project,
        screen=None if past else screen, **values,
    )  # fmt: skip


def _mistake(request: Request, error: ManifestError) -> Response:
    return view.page(request, "wrong.html", 409, text=show.problem(error.problem))


def _damaged(request: Request, error: Corrupt) -> Response:
    text = _("the journal is damaged from tick {tick} on ({where}: {what}); look with: jayul verify")
    return view.page(
        request, "wrong.html", 500, text=text.format(tick=max(error.tick, 0), where=error.segment, what=error.what)
    )


def _disk(request: Request, error: OSError) -> Response:
    """Say what the disk did not do: full, gone, or not ours."""
    text = _("It could not be read: {error}") if request.method == "GET" else _("The act could not be written: {error}")
    return _forbidden(request, Forbidden(503, text.format(error=error.strerror or error)))


def _missing(request: Request, error: Exception) -> Response:  # noqa: ARG001 - the shape of a handler
    return view.page(request, "wrong.html", 404, text=_("There is no such page."))


def _back(request: Request) -> str:
    """Return the page that a request came from, of this site alone."""
    then = request.query_params.get("then", "/")
    return then if then.startswith("/") and not then.startswith("//") and "\\" not in then else "/"


def _language(request: Request) -> Response:
    language = request.path_params["language"]
    if language not in LANGUAGES:
        return PlainTextResponse(_("There is no such page."), 404)
    answer = RedirectResponse(_back(request), 303)
    answer.set_cookie("jayul_lang", language, max_age=31_536_000, samesite="strict", httponly=True)
    return answer


def _theme(request: Request) -> Response:
    theme = request.path_params["theme"]
    if theme not in ("light", "dark", "system"):
        return PlainTextResponse(_("There is no such page."), 404)
    answer = RedirectResponse(_back(request), 303)
    answer.set_cookie("jayul_theme", "" if theme == "system" else theme, max_age=31_536_000, samesite="strict", httponly=True)
    return answer
