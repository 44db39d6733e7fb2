"""Routes made of the table: who may call, what is checked, how errors are said."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jayul.app.texts import _
from jayul.app.web import threads
from jayul.app.web.accounts import Role, may
from jayul.app.web.api.calls import Wrong, events
from jayul.app.web.api.shapes import Act, Problem
from jayul.app.web.api.table import ENDPOINTS, Endpoint, openapi
from jayul.app.web.desk import NotYet, patience
from jayul.app.web.security import Forbidden, Session, cookie_name, session_of

BODY = 64_000  # bytes of a request


def routes() -> list[Route]:
    """Return the routes of all endpoints, and of the description: one for each path, so that a 405 names all its methods."""
    paths: dict[str, dict[str, Endpoint]] = {}
    for found in ENDPOINTS:
        paths.setdefault("/api/v1" + found.path, {})[found.method] = found
    made = [Route(path, _handler(methods), methods=list(methods)) for path, methods in paths.items()]
    return [*made, Route("/api/v1/openapi.json", describe)]


def _handler(endpoints: dict[str, Endpoint]) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        try:
            return await _answer(endpoints.get(request.method) or endpoints["GET"], request)
        except (Wrong, Forbidden) as error:
            return _json(Problem(str(error)), error.status)
        except NotYet as error:
            text = _("This run is being read: {n} of {all} ticks. Try again.").format(n=error.done, all=error.ticks)
            return _json(Problem(text), 503)
        except OSError as error:
            return _json(Problem(_("The disk did not do it: {error}").format(error=error.strerror or error)), 503)
        except msgspec.ValidationError as error:
            return _json(Problem(str(error)), 422)
        except msgspec.DecodeError as error:
            return _json(Problem(f"not JSON: {error}"), 422)

    return handle


async def _answer(endpoint: Endpoint, request: Request) -> Response:
    config, session = request.app.state.config, session_of(request)
    if config.private and session.account is None and endpoint.path != "/session":
        raise Wrong(401, _("sign in first"))
    if endpoint.role is not None:
        _person(request, session, endpoint.role)
    arguments: list[Any] = []
    if "{run}" in endpoint.path:
        screen = await threads.act(request, request.app.state.desk.screen, request.path_params["run"])
        if screen is None:
            raise Wrong(404, _("There is no such run."))
        arguments.append(screen)
    said: Any = msgspec.json.decode(await _body(request), type=endpoint.body) if endpoint.body is not None else None
    if arguments and not (isinstance(said, Act) and said.act == "hand-back"):  # which needs the header of a run alone
        await arguments[0].ready()
    if endpoint.call is events:
        return events(request, arguments[0])
    if not arguments:
        arguments.append(request)
    if endpoint.role is not None:
        arguments.append(session)
    arguments.append(msgspec.convert(_plain(request), endpoint.query, strict=False) if said is None else said)
    if endpoint.role is not None:
        patience.set(threads.TURN)
        found = await threads.act(request, endpoint.call, *arguments)
    else:
        found = await threads.patient(request, endpoint.call, *arguments)
    return found if isinstance(found, Response) else _json(found)


def _plain(request: Request) -> dict[str, str]:
    names = [name for name, _ in request.query_params.multi_items()]
    if twice := [name for name in names if names.count(name) > 1]:
        raise msgspec.ValidationError(f"`{twice[0]}` stands there twice")
    return dict(request.query_params)


async def _body(request: Request) -> bytes:
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > BODY:
            raise Wrong(413, _("the request is too large"))
    return data


def _person(request: Request, session: Session, least: Role) -> None:
    if session.account is None:
        raise Wrong(401, _("sign in first"))
    if not hmac.compare_digest(request.headers.get("x-csrf", "").encode(), session.csrf.encode()):
        raise Wrong(403, _("the header X-CSRF is missing or out of date"))
    if not may(session.role, least):
        raise Wrong(403, _("your role may not do this"))


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def describe(request: Request) -> Response:
    """Return the OpenAPI description."""
    secure = request.app.state.config.secure
    return _json(openapi(ENDPOINTS, cookie_name(request.headers.get("host", ""), secure=secure)))
