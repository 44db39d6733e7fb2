"""Projects and their runs: where each stands, start, pause, go on; and what a newcomer does next."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from jayul.app import show
from jayul.app.texts import _, current
from jayul.app.web import stream, view
from jayul.app.web.accounts import may
from jayul.app.web.desk import Card, Desk
from jayul.app.web.security import Forbidden, person, session_of
from jayul.app.web.works import Works
from jayul.project.draft import slug
from jayul.project.hold import holder
from jayul.project.overview import Project, arguments_to_go_on, read_project
from jayul.project.people import hand_over

BEAT = 1.0  # s between two looks at the list
QUIET = 10.0  # s after which a stream says that it still lives
STATES = {"running": "▶", "interrupted": "‖", "complete": "■"}


class Row(msgspec.Struct, frozen=True):
    """A run in the list. `late`: it runs, but its last tick is older than three periods; `arguments`: how it goes on, if it can."""

    card: Card
    project: str  # id, empty if there is none
    late: bool
    stopping: bool
    starting: bool
    arguments: tuple[str, ...] | None
    said: str
    failed: bool


class Entry(msgspec.Struct, frozen=True):
    """A project in the list with its runs. `said`: why its last start did not come to a run."""

    id: str
    project: Project
    problem: str
    rows: tuple[Row, ...]
    said: str


class Listing(msgspec.Struct, frozen=True):
    """All that the page shows. `strangers`: runs whose project is not here."""

    entries: tuple[Entry, ...]
    strangers: tuple[Row, ...]
    waits: tuple[Card, ...]
    any_account: bool


def gather(request: Request) -> Listing:
    """Look at everything, once a second at most for all who read one language."""
    desk: Desk = request.app.state.desk
    return desk.shared(f"list {current()}", lambda: _gather(request.app.state))


def _gather(state: Any) -> Listing:
    desk: Desk = state.desk
    works: Works = state.works
    projects, cards = desk.projects(), desk.runs()
    rows = [_row(card, projects, works) for card in cards]
    there, accounts = {card.out for card in cards}, bool(state.accounts.all())
    entries = tuple(
        Entry(
            key, project, show.problem(project.problem) if project.problem else "",
            tuple(row for row in rows if row.project == key), _refused(project, desk, works, there),
        )
        for key, project in projects.items()
    )  # fmt: skip
    waits = tuple(card for card in cards if card.seen and card.seen.waits and card.seen.state == "running")
    return Listing(entries, tuple(row for row in rows if not row.project), waits, accounts)


def _row(card: Card, projects: dict[str, Project], works: Works) -> Row:
    seen, mine, arguments = card.seen, "", None
    if seen is not None:
        for key, project in projects.items():
            found = arguments_to_go_on(project, seen.header)
            if found is not None and (arguments is None or project.folder in card.out.parents):
                mine, arguments = key, tuple(found)
        if not mine:
            mine = next((key for key, project in projects.items() if project.name == seen.header.project), "")
    late = seen is not None and seen.state == "running" and seen.age > max(3 * seen.period, 15.0) and seen.plant in _WIRES
    return Row(
        card, mine, late, works.stopping(card.out), works.starting(card.out), arguments, works.said(card.out),
        works.failed(card.out) != 0,
    )  # fmt: skip


_WIRES = ("opcua", "modbus", "mqtt")


def _refused(project: Project, desk: Desk, works: Works, there: set[Path]) -> str:
    """Return what the last start said that ended without a run."""
    out = _out(desk, project)
    return works.said(out) if out not in there and works.failed(out) else ""


def _out(desk: Desk, project: Project) -> Path:
    """Return the folder of a project's next run."""
    stem = f"{slug(project.name) or 'project'}-run-"
    return next(out for n in itertools.count(1) if not (out := desk.home / f"{stem}{n}").exists())


def body(request: Request, listing: Listing) -> str:
    """Render the list for the person who asks."""
    session = session_of(request)
    return view.fragment(
        "projects_body.html", listing=listing, session=session, may_start=may(session.role, "engineer") and session.account,
        states=STATES, home=request.app.state.desk.home, roots=request.app.state.desk.roots,
    )  # fmt: skip


async def show_projects(request: Request) -> Response:
    """Return the page."""
    if request.app.state.config.private and session_of(request).account is None:
        return RedirectResponse("/signin", 303)
    listing = await anyio.to_thread.run_sync(gather, request)
    return view.page(request, "projects.html", here="projects", body=body(request, listing))


async def projects_stream(request: Request) -> Response:
    """Stream the list whenever it changes."""
    if request.app.state.config.private and session_of(request).account is None:
        return RedirectResponse("/signin", 303)

    async def events() -> AsyncIterator[bytes]:
        yield b"retry: 1000\n\n"
        before, quiet = "", 0.0
        while not await request.is_disconnected():
            text = body(request, await anyio.to_thread.run_sync(gather, request))
            if text != before:
                yield stream.event("projects", text)
                before, quiet = text, 0.0
            elif quiet >= QUIET:
                yield b": still here\n\n"
                quiet = 0.0
            await anyio.sleep(BEAT)
            quiet += BEAT

    return StreamingResponse(events(), media_type="text/event-stream", headers={"x-accel-buffering": "no"})


async def show_log(request: Request) -> Response:
    """Return what a run said that was started here."""
    if session_of(request).account is None:
        return RedirectResponse("/signin?then=/", 303)
    row = await anyio.to_thread.run_sync(_run, request, request.path_params["run"])
    return view.page(request, "log.html", row=row)


async def work(request: Request) -> Response:
    """Start a project, or pause a run or go on with it."""
    await person(request, "engineer")
    form, what = await request.form(), request.path_params["what"]
    name = str(form.get("name", ""))
    if (does := WORK.get(what)) is None:
        raise Forbidden(404, _("There is no such page."))
    told = await anyio.to_thread.run_sync(does, request, name)
    request.app.state.desk.anew()
    if not request.headers.get("hx-request"):
        return RedirectResponse("/", 303)
    return Response(view.fragment("said.html", text=told), media_type="text/html")


def _start(request: Request, name: str) -> str:
    state = request.app.state
    project = state.desk.projects().get(name)
    if project is None or project.manifest is None:
        raise Forbidden(409, _("There is no such project."))
    out = start_project(request, project.folder)
    return _("{project} is being started; its run goes into {out}.").format(project=project.name, out=view.home(out))


def start_project(request: Request, folder: Path) -> Path:
    """Start a project; return the folder of its run."""
    state = request.app.state
    out = _out(state.desk, read_project(folder))
    state.desk.home.mkdir(parents=True, exist_ok=True)
    if not state.works.start(folder, out):
        raise Forbidden(409, _("This run is under way already."))
    state.works.when_there(out, lambda: _noted(request, out, "start"))
    return out


def _noted(request: Request, out: Path, act: str) -> None:
    """Have the run's own record say who did this to it."""
    hand_over(out, "note", session_of(request).name, {"act": act}, sign=False)


def _run(request: Request, name: str) -> Row:
    row = next((row for row in _rows(gather(request)) if row.card.id == name), None)
    if row is None:
        raise Forbidden(409, _("There is no such run."))
    return row


def _rows(listing: Listing) -> list[Row]:
    return [*(row for entry in listing.entries for row in entry.rows), *listing.strangers]


def _pause(request: Request, name: str) -> str:
    row = _run(request, name)
    if holder(row.card.out) is not None:
        _noted(request, row.card.out, "pause")
    try:
        done = request.app.state.works.pause(row.card.out)
    except PermissionError:
        raise Forbidden(409, _("This run belongs to another user of this machine; stop it there.")) from None
    if not done:
        raise Forbidden(409, _("This run is not under way."))
    return _("{run} stops at the end of its tick.").format(run=name)


def _go_on(request: Request, name: str) -> str:
    row, state = _run(request, name), request.app.state
    project = state.desk.projects().get(row.project)
    if project is None or row.arguments is None:
        raise Forbidden(409, _("The manifest of this run is not here as it was; go on with it where it was started."))
    if not state.works.start(project.folder, row.card.out, row.arguments):
        raise Forbidden(409, _("This run is under way already."))
    _noted(request, row.card.out, "go on")
    return _("{run} goes on.").format(run=name)


WORK: dict[str, Callable[[Request, str], str]] = {"start": _start, "pause": _pause, "go-on": _go_on}
