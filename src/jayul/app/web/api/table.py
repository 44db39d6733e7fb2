"""The table of endpoints, and the OpenAPI description that follows from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

from jayul import __version__
from jayul.app.web import api
from jayul.app.web.accounts import Role
from jayul.app.web.api import calls, records
from jayul.app.web.api.shapes import (
    Act,
    AlarmSaid,
    AtTick,
    Covered,
    Credentials,
    Entered,
    NoQuery,
    Problem,
    ProjectSaid,
    Reading,
    Run,
    Said,
    Samples,
    Since,
    State,
    Taken,
    TickSaid,
    WantedAlarms,
    WantedAudit,
    WantedCoverage,
    WantedCurves,
    WantedMoves,
    Work,
)
from jayul.app.web.security import COOKIE
from jayul.core.types import Tag
from jayul.project.audit import Entry
from jayul.project.cases import Case
from jayul.project.curves import Curve
from jayul.project.moves import Move
from jayul.project.summary import Effort


class Endpoint(msgspec.Struct, frozen=True):
    """One line of the table. `role`: the least that may call it (None: anybody who may look)."""

    method: Literal["GET", "POST"]
    path: str
    summary: str
    call: Callable[..., Any]
    query: type = NoQuery
    body: type | None = None
    answer: Any = None
    form: str = "application/json"
    role: Role | None = None
    errors: tuple[int, ...] = ()


_LOOK, _ACT = (404,), (401, 403, 404, 409)
_EVENTS = "Every tick, as server-sent events"
ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("GET", "/runs", "All runs", calls.runs, answer=list[Run]),
    Endpoint("GET", "/runs/{run}", "Where a run stands", calls.state, AtTick, answer=State, errors=_LOOK),
    Endpoint("GET", "/runs/{run}/values", "All tags at a tick", calls.values, AtTick, answer=dict[str, Reading], errors=_LOOK),
    Endpoint("GET", "/runs/{run}/tags", "The tags", calls.tags, answer=tuple[Tag, ...], errors=_LOOK),
    Endpoint("GET", "/runs/{run}/ticks", "Ticks in order", calls.ticks, Since, answer=list[TickSaid], errors=_LOOK),
    Endpoint("GET", "/runs/{run}/samples", "Samples of the history", calls.samples, Samples, form="text/csv", errors=(404, 413)),
    Endpoint("GET", "/runs/{run}/events", _EVENTS, calls.events, form="text/event-stream", errors=_LOOK),
    Endpoint("GET", "/runs/{run}/curves", "Tags as curves", records.curves, WantedCurves, answer=list[Curve], errors=_LOOK),
    Endpoint("GET", "/runs/{run}/alarms", "Alarms", records.alarms, WantedAlarms, answer=list[AlarmSaid], errors=_LOOK),
    Endpoint("GET", "/runs/{run}/moves", "Asked, allowed, applied", records.moves, WantedMoves, answer=list[Move], errors=_LOOK),
    Endpoint("GET", "/runs/{run}/effort", "What a run cost people", records.effort, AtTick, answer=Effort, errors=_LOOK),
    Endpoint("GET", "/runs/{run}/audit", "Who did what", records.audit_lines, WantedAudit, answer=list[Entry], errors=_LOOK),
    Endpoint(
        "GET", "/runs/{run}/coverage", "Coverage by hour", records.coverage, WantedCoverage, answer=list[Covered], errors=_LOOK
    ),
    Endpoint("GET", "/runs/{run}/claims", "Claims", records.claims, answer=list[Case], errors=_LOOK),
    Endpoint("GET", "/projects", "All projects", records.all_projects, answer=list[ProjectSaid]),
    Endpoint(
        "POST", "/projects", "Start, pause, go on", records.work, body=Work, answer=Said, role="engineer", errors=(403, 409)
    ),
    Endpoint("GET", "/session", "Who is signed in", calls.entered, answer=Entered),
    Endpoint("POST", "/session", "Sign in", calls.enter, body=Credentials, answer=Entered, errors=(401, 429)),
    Endpoint("POST", "/runs/{run}/acts", "What a person does", calls.act, body=Act, answer=Taken, role="operator", errors=_ACT),
)  # fmt: skip


def openapi(endpoints: Sequence[Endpoint], cookie: str = COOKIE) -> dict[str, Any]:
    """Return the OpenAPI 3.1 description of a table of endpoints. `cookie`: what the session's is called."""
    types = [Problem, *(kind for e in endpoints for kind in (e.query, e.body, e.answer) if kind is not None)]
    schemas, parts = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    schema = {repr(kind): found for kind, found in zip(types, schemas, strict=True)}
    paths: dict[str, Any] = {}
    for e in endpoints:
        told = {"application/json": {"schema": schema[repr(Problem)]}}
        answers: dict[str, Any] = {"200": {"description": e.summary, "content": {e.form: {}}}}
        if e.form == "text/csv":
            answers["200"]["content"]["application/vnd.apache.arrow.stream"] = {}
        if e.answer is not None:
            answers["200"]["content"][e.form] = {"schema": schema[repr(e.answer)]}
        for status in sorted({400, 422, 401, *e.errors, *([413] if e.body else []), *([503] if "{run}" in e.path else [])}):
            answers[str(status)] = {"description": "an error, in one line", "content": told}
        known = parts[e.query.__name__]
        parameters = [
            {"name": name, "in": "query", "required": name in known.get("required", ()), "schema": found}
            for name, found in known.get("properties", {}).items()
        ]
        if "{run}" in e.path:
            parameters.insert(0, {"name": "run", "in": "path", "required": True, "schema": {"type": "string"}})
        doc: dict[str, Any] = {
            "summary": e.summary,
            "description": e.call.__doc__ or "",
            "parameters": parameters,
            "responses": answers,
        }
        if e.body is not None:
            doc["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema[repr(e.body)]}}}
        if e.role is not None:
            doc["security"] = [{"session": [], "csrf": []}]
        paths.setdefault("/api/v1" + e.path, {})[e.method.lower()] = doc
    keys = {
        "session": {"type": "apiKey", "in": "cookie", "name": cookie},
        "csrf": {"type": "apiKey", "in": "header", "name": "X-CSRF"},
    }
    info = {"title": "Jayul", "version": __version__, "description": (api.__doc__ or "").partition("\n\n")[2].strip()}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": parts, "securitySchemes": keys}}
