"""How pages are made: templates in the reader's language, numbers and times as the trade writes them."""

from __future__ import annotations

import datetime as dt
import math
import re
import shlex
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jinja2
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from jayul import __version__
from jayul.app import show
from jayul.app.proofs import CONCLUSIONS
from jayul.app.texts import LANGUAGES, _, current
from jayul.app.web import replay
from jayul.app.web.accounts import may
from jayul.app.web.desk import Screen
from jayul.app.web.security import session_of
from jayul.project.manifest import parse_canonical
from jayul.project.problem import N_

PAGES = (
    ("now", N_("Now")), ("trends", N_("Trends")), ("alarms", N_("Alarms")), ("moves", N_("Moves")), ("evidence", N_("Evidence")),
)  # fmt: skip
ROLES = {"viewer": N_("viewer"), "operator": N_("operator"), "engineer": N_("engineer")}


@cache
def environment() -> jinja2.Environment:
    """Return the templates."""
    loader = jinja2.PackageLoader("jayul.app", "templates/web")
    made = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.globals.update(_=_, show=show, PAGES=PAGES, LANGUAGES=LANGUAGES, current=current, may=may, version=__version__)
    made.globals.update(ROLES=ROLES, CONCLUSIONS=CONCLUSIONS, SPEEDS=replay.SPEEDS, REPLAYED=replay.PAGES, zone_name=zone_name)
    made.globals.update(command=command, translated=translated, plain=plain, known=known)
    made.filters.update(number=number, clock=clock, span=span, breaks=breaks, home=home)
    return made


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a whole page. Templates may use `session`, `screen`, `replay` (or None), `here` (the page's key), `theme`, `path`."""
    values = {"screen": None, "here": "", **values}
    values["replay"] = replay.of(request, values["screen"]) if values["screen"] else None
    text = (
        environment()
        .get_template(template)
        .render(
            session=session_of(request),
            theme=request.scope.get("theme", ""),
            path=request.url.path,
            address=_address(request),
            **values,
        )
    )
    return HTMLResponse(text, status)


def _address(request: Request) -> str:
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def fragment(name: str, **values: Any) -> str:
    """Return a part of a page."""
    return environment().get_template(name).render(**values)


def translated(texts: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return codes with their texts, for a list to choose from."""
    return [(code, _(text)) for code, text in texts.items()]


def plain(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return names as they are, for a list to choose from."""
    return [(name, name) for name in names]


def known(texts: Mapping[str, str], codes: Iterable[str]) -> list[tuple[str, str]]:
    """Return these codes with their texts, for a list to choose from; a code without a text stands for itself."""
    return [(code, _(texts.get(code, code))) for code in codes]


def zone(screen: Screen) -> ZoneInfo:
    """Return the time zone of a run's plant."""
    return ZoneInfo(str(parse_canonical(screen.timeline.header.manifest).plant.options.get("timezone", "UTC")))


def zone_name(screen: Screen) -> str:
    """Return the name of that time zone."""
    return str(zone(screen))


def number(value: float | None, digits: int = 4) -> str:
    """Write a number with so many significant digits; a dash where there is none."""
    if value is None or math.isnan(value):
        return "–"
    if value and not 1e-4 <= abs(value) < 1e7:
        return f"{value:.{digits - 1}e}"
    left = max(0, math.floor(math.log10(abs(value))) + 1) if value else 1
    return f"{value:,.{max(0, digits - left)}f}"


def breaks(name: str) -> Markup:
    """Return a name that a line may break behind each sign that joins its parts."""
    return Markup("<wbr>").join(re.split(r"(?<=[_/])", name))  # what is joined is escaped


def home(path: Path) -> str:
    """Return a path as people write it: from their home folder on."""
    return f"~/{path.relative_to(Path.home())}" if path.is_relative_to(Path.home()) else str(path)


def command(word: str, path: Path) -> str:
    """Return a command about a path as it can be pasted into a shell."""
    plain = shlex.quote(str(path)) == str(path)
    return f"jayul {word} {home(path) if plain else shlex.quote(str(path))}"


def clock(at: int, where: ZoneInfo, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Write a time (ns UTC) in a time zone."""
    return dt.datetime.fromtimestamp(at // 1_000_000_000, where).strftime(form)


def span(seconds: float) -> str:
    """Write a duration in the largest unit that fits."""
    for size, word in ((86_400, N_("{n} d")), (3_600, N_("{n} h")), (60, N_("{n} min"))):
        if abs(seconds) >= size:
            return _(word).format(n=number(seconds / size, 2))
    return _("{n} s").format(n=number(seconds, 2))
