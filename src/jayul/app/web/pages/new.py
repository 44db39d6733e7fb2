"""Set up a project, step by step: from a recording or from a plant's address to a project that records."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import msgspec
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from jayul.app import show
from jayul.app.texts import _
from jayul.app.web import view
from jayul.app.web.accounts import may
from jayul.app.web.drafts import Drafts
from jayul.app.web.pages.projects import start_project
from jayul.app.web.security import Forbidden, Session, person, session_of
from jayul.plant.errors import Refused, Unreachable
from jayul.plant.files import FORMATS, FilesConfig
from jayul.plant.imports.options import Options
from jayul.plant.imports.wide import TIME, put_in_order
from jayul.plant.recognise import DELIMITERS, ENCODINGS, ENDINGS, Recognised, recognise
from jayul.plant.table import read_table
from jayul.project import draft as drafting
from jayul.project.draft import MOST, TABLE, Draft, Row
from jayul.project.manifest import NAME
from jayul.project.problem import N_, ManifestError

ORDERED = "records.parquet"  # a recording that was put in order
LARGEST = 200 << 20  # bytes of a file
FIELDS = 7 * MOST + 100  # of a form
STEPS = (("understood", N_("Understood")), ("tags", N_("Tags")), ("name", N_("Name")), ("check", N_("Check")))
KINDS = {"measured": N_("measured"), "set-point": N_("set-point"), "manipulated": N_("manipulated"), "mode": N_("mode")}
SAID = ("time", "time_format", "timezone", "encoding", "delimiter")
TROUBLE = (Refused, Unreachable, ManifestError, OSError)


def _told(error: Exception) -> str:
    return show.problem(error.problem) if isinstance(error, ManifestError) else show.reason(error)


def _engineer(request: Request) -> Session:
    session = session_of(request)
    if session.account is None or not may(session.role, "engineer"):
        raise Forbidden(401 if session.account is None else 403, _("An engineer sets up projects; sign in as one."))
    return session


def _draft(request: Request) -> Draft:
    drafts: Drafts = request.app.state.drafts
    found = drafts.get(request.path_params["draft"], _engineer(request).name)
    if found is None:
        raise Forbidden(404, _("This set-up is not there any more; begin anew."))
    return found


def show_source(request: Request) -> Response:
    """Return the first step: where the data comes from."""
    _engineer(request)
    return _source(request)


def _source(request: Request, trouble: str = "", url: str = "", status: int = 200) -> Response:
    return view.page(
        request,
        "new_source.html",
        status,
        trouble=trouble,
        url=url,
        endings=",".join(ENDINGS),
        most=LARGEST >> 20,
        step="",
        steps=STEPS,
    )


async def take_file(request: Request) -> Response:
    """Take a recording, and find out how it is to be read."""
    _engineer(request)  # before a byte of it is read
    try:
        return await _take_file(request)
    finally:
        await request.close()


async def _take_file(request: Request) -> Response:
    length = request.headers.get("content-length", "")
    if not length.isdecimal() or int(length) > LARGEST:
        text = _("The file is too large: at most {n} MB. Set the project up by hand.")
        return _source(request, text.format(n=LARGEST >> 20), status=413)
    session = await person(request, "engineer")
    upload = (await request.form()).get("file")
    if not isinstance(upload, UploadFile) or not upload.filename:
        return _source(request, _("Choose a file."), status=409)
    drafts: Drafts = request.app.state.drafts
    draft = drafts.new(session.name)
    name = Path(upload.filename.replace("\\", "/"))
    draft.file = (drafting.slug(name.stem) or "data") + name.suffix.lower()
    path = drafts.project(draft) / draft.file
    try:
        if name.suffix.lower() not in ENDINGS:
            raise Refused(f"{name.name}: unknown kind of file '{name.suffix}'; use .csv, .parquet or .xlsx")
        await anyio.to_thread.run_sync(_copy, upload, path)
        await anyio.to_thread.run_sync(_recognise, draft, path)
    except TROUBLE as error:
        drafts.drop(draft)
        return _source(request, _told(error).replace(f"{path.parent}/", ""), status=409)
    draft.name = draft.name or name.stem
    drafts.keep(draft)
    return RedirectResponse(f"/new/{draft.id}/understood", 303)


def _recognise(draft: Draft, path: Path) -> None:
    """Read a file as it stands, or put it in order first, where more tags are understood so. Raises Refused, OSError."""
    plain, why = None, None
    try:
        plain = recognise(path)
    except Refused as error:
        why = error
    numbers = [column for column in plain.columns if column.share > 0] if plain else []
    if plain is None or len(numbers) < len(plain.columns):
        ordered = path.with_name(ORDERED)
        try:
            understood = put_in_order(path, Options(timezone="UTC"), ordered)
        except Refused as error:
            if plain is None:
                raise why or error from None
        else:
            if sum(series.count > series.bad for series in understood.tags) > len(numbers):
                draft.original, draft.file = draft.file, ORDERED
                _take_in(draft, recognise(ordered), {series.name: series.unit for series in understood.tags})
                return
            ordered.unlink()
    if plain is not None:
        _take_in(draft, plain)


def _copy(upload: UploadFile, path: Path) -> None:
    with path.open("wb") as file:
        while part := upload.file.read(1 << 20):
            file.write(part)


def _take_in(draft: Draft, found: Recognised, units: Mapping[str, str] | None = None) -> None:
    """Put what was recognised into a draft; what a person said of tags that are still there stays."""
    config, survey, before = found.config, found.survey, {row.source: row for row in draft.rows}
    plain = FilesConfig(path="")
    draft.options = {
        key: value for key in SAID if (value := getattr(config, key)) != getattr(plain, key) or key in ("time", "timezone")
    }
    draft.times = list(found.times)
    draft.rows = [
        before.get(column.name)
        or Row(
            column.name, column.name, (units or {}).get(column.name) or column.unit, use=column.share > 0, good=column.share > 0,
            seen="–" if column.low is None else f"{view.number(column.low)} … {view.number(column.high)} ({column.share:.0%})",
        )
        for column in found.columns
    ]  # fmt: skip
    seconds = survey.interval / 1e9
    draft.period = draft.period or _span(seconds)
    draft.stale = max(1.0, 3 * seconds)
    zone = config.timezone
    draft.facts = {
        "rows": survey.rows, "first": show.instant_exact(survey.first, zone), "last": show.instant_exact(survey.last, zone),
        "interval": seconds, "gaps": survey.gaps, "longest": survey.longest / 1e9, "empty": list(survey.empty),
    }  # fmt: skip


def _span(seconds: float) -> str:
    for size, word in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {word}"
    return f"{seconds:g} s" if seconds >= 1 else f"{max(1, round(seconds * 1000))} ms"


async def take_address(request: Request) -> Response:
    """Look at the plant that a person names, and at nothing else."""
    _engineer(request)
    try:
        return await _take_address(request)
    finally:
        await request.close()


async def _take_address(request: Request) -> Response:
    length = request.headers.get("content-length", "")
    if not length.isdecimal() or int(length) > 10 << 20:
        return _source(request, _("The tag table is too large."), status=413)
    session = await person(request, "engineer")
    form = await request.form()
    text, upload, drafts = str(form.get("url", ""))[:300], form.get("table"), request.app.state.drafts
    draft = drafts.new(session.name)
    folder = drafts.project(draft)
    try:
        kind, url = drafting.address(text)
        if isinstance(upload, UploadFile) and upload.filename:
            await anyio.to_thread.run_sync(_copy, upload, folder / TABLE)
        found = await anyio.to_thread.run_sync(drafting.reach, kind, url, folder)
    except TROUBLE as error:
        drafts.drop(draft)
        return _source(request, _told(error).replace(f"{folder}/", ""), text, 409)
    draft.url, draft.speed, draft.period = url, found.speed, "1 s" if found.speed in (0, 1) else "30 s"
    draft.rows = [
        Row(
            tag.name, tag.name, tag.unit if tag.unit != "1" else "", tag.kind, _written(tag.low), _written(tag.high),
            seen=_value(found.values.get(tag.name), tag.states), good=tag.name in found.values, use=True,
        )
        for tag in found.table.tags[:MOST]
    ]  # fmt: skip
    draft.facts = {
        "url": url,
        "kind": kind,
        "tags": len(found.table.tags),
        "good": len(found.values),
        "left_out": found.left_out,
    }
    drafts.keep(draft)
    return RedirectResponse(f"/new/{draft.id}/understood", 303)


def _written(value: float | None) -> str:
    return "" if value is None else f"{value:.12g}"


def _value(value: float | None, states: dict[int, str]) -> str:
    if value is None or math.isnan(value):
        return "–"
    return states.get(int(value), view.number(value))


def show_step(request: Request) -> Response:
    """Return a step as it stands."""
    draft, step = _draft(request), request.path_params["step"]
    if step == "check":
        return _checked(request, draft)
    if step not in dict(STEPS):
        raise Forbidden(404, _("There is no such page."))
    return _step(request, draft, step)


def _step(request: Request, draft: Draft, step: str, trouble: list[tuple[str, str]] | None = None) -> Response:
    return view.page(
        request,
        f"new_{step}.html",
        409 if trouble else 200,
        draft=draft,
        step=step,
        steps=STEPS,
        trouble=trouble or [],
        kinds=KINDS,
        forms=FORMATS,
        encodings=ENCODINGS,
        delimiters=DELIMITERS,
        home=request.app.state.desk.home,
        wrong={where for where, _ in trouble or []},
    )


async def take_step(request: Request) -> Response:
    """Keep what was said, and go on or back."""
    draft, step = _draft(request), request.path_params["step"]
    form = await request.form(max_fields=FIELDS)
    await person(request, "engineer")
    if step not in dict(STEPS):
        raise Forbidden(404, _("There is no such page."))
    trouble = await anyio.to_thread.run_sync(
        {"understood": _understood, "tags": _tags, "name": _name}.get(step, _nothing), request, draft, form
    )
    request.app.state.drafts.keep(draft)
    way = str(form.get("go", "next"))
    if way == "back" or not trouble:
        return RedirectResponse(_next(draft, step, way), 303)
    return _step(request, draft, step, trouble)


def _next(draft: Draft, step: str, way: str) -> str:
    names = [name for name, _ in STEPS]
    if way == "same":
        return f"/new/{draft.id}/{step}"
    place = names.index(step) + (-1 if way == "back" else 1)
    return f"/new/{draft.id}/{names[min(place, len(names) - 1)]}" if place >= 0 else "/new"


def _nothing(request: Request, draft: Draft, form: FormData) -> list[tuple[str, str]]:  # noqa: ARG001 - the shape of a step
    return []


def _understood(request: Request, draft: Draft, form: FormData) -> list[tuple[str, str]]:
    """Read the recording again as the person says."""
    if draft.url:
        return []
    said = {key: str(form[key])[:100] for key in SAID if key in form}
    if said.get("delimiter") == "tab":
        said["delimiter"] = "\t"
    path = request.app.state.drafts.project(draft) / draft.file
    if draft.original:
        return _again(draft, path, said.get("timezone", ""))
    if all(said.get(key, "") in ("", draft.options.get(key, getattr(FilesConfig(path=""), key))) for key in SAID):
        return []
    try:
        config = msgspec.convert({"path": str(path)} | {key: value for key, value in said.items() if value}, FilesConfig)
        _take_in(draft, recognise(path, config))
    except (*TROUBLE, ValueError, msgspec.ValidationError) as error:
        return [("", _told(error).replace(f"{path.parent}/", ""))]
    return []


def _again(draft: Draft, path: Path, zone: str) -> list[tuple[str, str]]:
    """Put a file in order again, with times in another zone."""
    if not zone or zone == draft.options.get("timezone"):
        return []
    try:
        understood = put_in_order(path.with_name(draft.original), Options(timezone=zone), path)
        config = FilesConfig(path=str(path), time=TIME, timezone=zone)
        _take_in(draft, recognise(path, config), {series.name: series.unit for series in understood.tags})
    except (*TROUBLE, ValueError) as error:
        return [("", _told(error).replace(f"{path.parent}/", ""))]
    return []


def _tags(request: Request, draft: Draft, form: FormData) -> list[tuple[str, str]]:  # noqa: ARG001
    for i, row in enumerate(draft.rows):
        row.use = f"use-{i}" in form
        row.unit, row.low, row.high = (str(form.get(f"{key}-{i}", ""))[:60] for key in ("unit", "low", "high"))
        row.name = str(form.get(f"name-{i}", row.name))[:120] if draft.url else row.source
        row.kind = kind if (kind := str(form.get(f"kind-{i}", ""))) in KINDS else row.kind
    return [
        (where, (f"{where}: " if where else "") + _(text).format(**params)) for where, text, params in drafting.wrong(draft)
    ]


def _name(request: Request, draft: Draft, form: FormData) -> list[tuple[str, str]]:
    draft.name, draft.description, draft.period = (
        str(form.get(key, "")).strip()[:200] for key in ("name", "description", "period")
    )
    found = drafting.wrong_name(draft, request.app.state.desk.home)
    return [("period" if "period" in found else "name", _(found))] if found else []


def _checked(request: Request, draft: Draft) -> Response:
    """Write the manifest into the draft's own folder, check it there, and show both."""
    folder = request.app.state.drafts.project(draft)
    found, trouble = None, ""
    try:
        if drafting.wrong(draft) or drafting.wrong_name(draft, request.app.state.desk.home):
            return RedirectResponse(f"/new/{draft.id}/{'tags' if drafting.wrong(draft) else 'name'}", 303)
        drafting.write(draft, folder, _)
        found = drafting.check(folder)
    except TROUBLE as error:
        trouble = _told(error).replace(f"{folder}/", "")
    text = (folder / NAME).read_text(encoding="utf-8") if (folder / NAME).exists() else ""
    table = len(read_table(folder / TABLE).tags) if draft.url and not trouble else 0
    return view.page(
        request,
        "new_check.html",
        draft=draft,
        step="check",
        steps=STEPS,
        trouble=[("", trouble)] if trouble else [],
        found=found,
        text=text,
        table=table,
        target=request.app.state.desk.home / drafting.slug(draft.name),
    )


async def create(request: Request) -> Response:
    """Put the project in place, and start it if that is asked for."""
    draft = _draft(request)
    form = await request.form()
    await person(request, "engineer")
    state = request.app.state

    def make() -> Any:
        folder = state.drafts.project(draft)
        if drafting.wrong(draft) or drafting.wrong_name(draft, state.desk.home):
            return None
        drafting.write(draft, folder, _)
        drafting.check(folder)
        made = drafting.put_in_place(draft, folder, state.desk.home)
        state.drafts.drop(draft)
        return made

    made = await anyio.to_thread.run_sync(make)
    if made is None:
        return RedirectResponse(f"/new/{draft.id}/check", 303)
    if form.get("go") == "start":
        await anyio.to_thread.run_sync(start_project, request, made)
    state.desk.anew()
    return RedirectResponse("/", 303)
